//! Training on preferences: reward models and policies are trained, resumed and scored; mistakes are refused.

use std::path::Path;

use palestra::model::ops::{available_devices, open_device};
use palestra::reward_model::RewardModel;
use palestra_datasets::Content;
use serde_json::{Value, json};

use crate::command::Sandbox;
use crate::fine_tuning::{LORA, QLORA, TEMPLATE, assert_same_files, outcome};
use crate::tiny_run::{checkpoints, metrics_lines, write_model};

const RUN: &str = "\
name = \"scorer\"
seed = 3
start_from = \"m\"
[preferences]
files = [\"preferences.jsonl\"]
validation = [\"preferences.jsonl\"]
window = 24
batch = 4
micro_batch = 3
[optimizer]
learning_rate = 1e-2
[train]
updates = 4
checkpoint_every = 2
evaluate_every = 2
threads = 1
";

/// Run file with the section of a learner.
fn run_file(learner: &str) -> String {
    RUN.replace("[optimizer]", &format!("{learner}\n[optimizer]"))
}

/// Model, preferences for six prompts, and run files for every learner of preferences.
pub fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new()
        .with("reward.toml", &run_file("[reward_model]"))
        .with("dpo.toml", &run_file("[dpo]"))
        .with("kto.toml", &run_file("[kto]"));
    write_model_and_preferences(sandbox.path());
    sandbox
}

/// Writes a model directory `m` and the preferences `preferences.jsonl`.
pub fn write_model_and_preferences(folder: &Path) {
    write_model(folder, TEMPLATE);
    let mut lines = String::new();
    for number in 0..6 {
        let prompt = format!("question {}", ["one", "two", "three", "four", "five", "six"][number]);
        for (chosen, rejected) in [(" yes", " no way"), (" yes", " never"), (" surely", " no way")] {
            lines += &format!(
                "{}\n",
                json!({ "prompt": prompt, "chosen": chosen, "rejected": rejected, "topic": format!("t{}", number % 3) })
            );
        }
    }
    std::fs::write(folder.join("preferences.jsonl"), lines).unwrap();
}

/// Report of a finished training run.
pub fn train(sandbox: &Sandbox, file: &str, out: &str, options: &[&str]) -> Value {
    let device = ["--device", available_devices().pop().unwrap()];
    sandbox.run(&[&["train", file, "--quiet", "--json", "--out", out][..], &device, options].concat()).json()
}

#[test]
fn rewards_agree_with_preferences_and_a_resumed_run_has_the_same_bits() {
    let kinds: [(&str, &[&str]); 11] = [
        ("reward.toml", &[]),
        ("reward.toml", &LORA),
        ("dpo.toml", &[]),
        ("reward.toml", &QLORA),
        ("dpo.toml", &LORA),
        ("dpo.toml", &QLORA),
        ("kto.toml", &QLORA),
        ("dpo.toml", &["--set", "dpo.loss=\"simpo\"", "--set", "dpo.beta=2.0"]),
        ("dpo.toml", &["--set", "dpo.loss=\"ipo\"", "--set", "train.gradient_checkpointing=true"]),
        ("kto.toml", &[]),
        ("kto.toml", &["--set", "preferences.micro_batch=0"]),
    ];
    for (file, options) in kinds {
        let sandbox = sandbox();
        let report = train(&sandbox, file, "out", options);
        let score = |when: &str, name: &str| report["preferences"][when][name].as_f64().unwrap();
        // Measured on the training data: four steps on a few words do not generalise.
        assert!(score("after", "accuracy") > 0.9, "{file} {options:?}: {report}");
        assert!(score("after", "mean_margin") > score("before", "mean_margin"), "{file} {options:?}: {report}");
        let run_dir = sandbox.path().join("out");
        let lines = metrics_lines(&run_dir);
        assert_eq!(lines.len(), 4);
        let last: Value = serde_json::from_str(&lines[3]).unwrap();
        for name in ["rewards/chosen", "rewards/rejected", "eval/rewards/accuracies", "eval/rewards/margins"] {
            assert!(last[name].is_number(), "{file}: {name} is not in {last}");
        }
        assert!(std::fs::read_to_string(run_dir.join("plots/reliability.svg")).unwrap().starts_with("<svg"));
        let has_reference = file != "reward.toml" && !options.iter().any(|option| option.contains("simpo"));
        assert_eq!(run_dir.join("reference.json").exists(), has_reference);

        let done = outcome(&sandbox, "out");
        std::fs::remove_dir_all(run_dir.join("checkpoints/step-00000004")).unwrap();
        train(&sandbox, file, "out", &[options, &["--resume"]].concat());
        assert_same_files(&outcome(&sandbox, "out"), &done, &format!("{file} {options:?}"));
    }
}

#[test]
fn a_reward_model_is_a_sequence_classifier_that_scores_texts() {
    for options in [&[][..], &LORA[..]] {
        let sandbox = sandbox();
        let report = train(&sandbox, "reward.toml", "out", options);
        let accuracy = &report["preferences"]["after"]["accuracy"];
        let scored = sandbox.run(&[
            "score",
            "out",
            "--data",
            "preferences.jsonl",
            "--by",
            "topic",
            "--out",
            "s.jsonl",
            "--json",
        ]);
        let scored = scored.json();
        assert_eq!(&scored["accuracy"], accuracy);
        assert_eq!(scored["accuracy_by_group"].as_object().unwrap().len(), 3);
        assert_eq!((&scored["answers"], &scored["preferences"]), (&json!(24), &json!(18)));
        // Both are normalised by the same answers.
        assert!(scored["mean_reward"].as_f64().unwrap().abs() < 1e-4, "{scored}");
        assert!((scored["std_reward"].as_f64().unwrap() - 1.0).abs() < 1e-3, "{scored}");

        let last = checkpoints(&sandbox.path().join("out")).pop().unwrap();
        let config: Value = serde_json::from_str(&std::fs::read_to_string(last.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["architectures"], json!(["LlamaForSequenceClassification"]));
        let device = open_device(available_devices().pop().unwrap()).unwrap();
        let model = RewardModel::open(&sandbox.path().join("out"), &device).unwrap();
        assert_ne!(config["pad_token_id"].as_u64(), model.tokenizer.special().end.map(u64::from));
        let answers = [" yes", " never"].map(|answer| (Content::from("question one"), Content::from(answer)));
        let scores = model.score(&answers, 1).unwrap();
        assert!(scores[0] > scores[1], "{scores:?}");
        let written = std::fs::read_to_string(sandbox.path().join("s.jsonl")).unwrap();
        let first: Value = serde_json::from_str(written.lines().next().unwrap()).unwrap();
        assert_eq!((first["prompt"].as_str(), first["completion"].as_str()), (Some("question one"), Some(" yes")));
        assert!((first["score"].as_f64().unwrap() - f64::from(scores[0])).abs() < 1e-5);

        let add = ["label", "add", "labels.db", "preferences.jsonl", "--json", "--quiet"];
        let args = [&add[..], &["--reward-model", "out", "--order", "active"]].concat();
        let added = sandbox.run(&args).json();
        assert!(added["scored"].as_u64().unwrap() > 0, "{added}");

        // A reward model can be trained further.
        let again = ["--set", "start_from=\"out/checkpoints/step-00000004\"", "--set", "train.updates=1"];
        let report = train(&sandbox, "reward.toml", "again", &again);
        assert_eq!(&report["preferences"]["before"]["accuracy"], accuracy);
    }
}

/// The head is in the form of PEFT, whose `SEQ_CLS` has the module `score`.
#[test]
fn a_checkpoint_of_a_reward_model_of_adapters_scores_and_is_started_from() {
    let sandbox = sandbox();
    train(&sandbox, "reward.toml", "out", &LORA);
    let checkpoint = "out/checkpoints/step-00000002";
    let read = |file: &str| std::fs::read_to_string(sandbox.path().join(checkpoint).join(file)).unwrap();
    let config: Value = serde_json::from_str(&read("adapter_config.json")).unwrap();
    assert_eq!(
        (&config["task_type"], &config["modules_to_save"]),
        (&json!("SEQ_CLS"), &json!(["classifier", "score"]))
    );
    let metrics: Value = serde_json::from_str(&metrics_lines(&sandbox.path().join("out"))[1]).unwrap();
    let accuracy = &metrics["eval/rewards/accuracies"];
    let scored = sandbox.run(&["score", checkpoint, "--data", "preferences.jsonl", "--json"]).json();
    assert_eq!(&scored["accuracy"], accuracy);
    let again = ["--set", &format!("start_from=\"{checkpoint}\""), "--set", "train.updates=1"];
    assert_eq!(&train(&sandbox, "reward.toml", "again", &again)["preferences"]["before"]["accuracy"], accuracy);
    for model in [checkpoint, "out"] {
        for command in [["generate", model, "--prompt", "question"], ["serve", "--policy", model, "--device=flex"]] {
            let refused = sandbox.run(&command).stderr;
            assert!(refused.contains("is a reward model, which writes no text; palestra score takes it"), "{refused}");
        }
    }
}

#[test]
fn a_reward_model_of_adapters_is_whole_in_the_end_and_says_so() {
    let sandbox = sandbox();
    train(&sandbox, "reward.toml", "out", &LORA);
    let device = ["--device", available_devices().pop().unwrap()];
    let more = ["train", "reward.toml", "--quiet", "--out", "out", "--resume", "--set", "train.updates=6"];
    let refused = sandbox.run(&[&more[..], &device, &LORA].concat()).stderr;
    assert!(refused.contains("its adapters were merged when the run ended; start another run from it"), "{refused}");
}

#[test]
fn a_new_head_starts_at_zero_or_at_random_and_one_that_was_trained_as_it_is() {
    let sandbox = sandbox();
    let nll = |options: &[&str], out: &str| -> f64 {
        let report = train(&sandbox, "reward.toml", out, &[&["--set", "train.updates=1"], options].concat());
        report["preferences"]["before"]["mean_nll"].as_f64().unwrap()
    };
    assert_eq!(nll(&[], "zero"), std::f64::consts::LN_2);
    let random = ["--set", "reward_model.head=\"normal\""];
    assert_ne!(nll(&random, "random"), std::f64::consts::LN_2);
    let start = ["--set", "start_from=\"zero/checkpoints/step-00000001\""];
    assert_eq!(nll(&start, "one"), nll(&[start, random].concat(), "other"));
}

#[test]
fn what_is_no_reward_model_or_has_another_tokenizer_is_refused() {
    let sandbox = sandbox();
    let score = |model: &str| sandbox.run(&["score", model, "--data", "preferences.jsonl"]).stderr;
    assert!(score("m").contains("m: is a \"LlamaForCausalLM\", and no reward model"), "{}", score("m"));
    train(&sandbox, "reward.toml", "out", &["--set", "train.updates=2"]);
    let tokenizer = sandbox.path().join("out/checkpoints/step-00000002/tokenizer.json");
    let other = palestra::text::Tokenizer::from_alphabet("abcdefghijklmnopqrstuvwxyz:. ?!è\n012").unwrap();
    std::fs::write(&tokenizer, other.to_json().unwrap()).unwrap();
    let message = score("out");
    assert!(message.contains("was trained with a tokenizer of the fingerprint "), "{message}");
    assert!(message.contains(other.fingerprint()), "{message}");
}

#[test]
fn log_probabilities_of_another_reference_are_refused() {
    let sandbox = sandbox();
    train(&sandbox, "dpo.toml", "out", &["--set", "train.updates=2"]);
    let device = available_devices().pop().unwrap();
    let again =
        ["train", "dpo.toml", "--quiet", "--device", device, "--out", "out", "--resume", "--set=train.updates=4"];
    let resume = || sandbox.run(&again);
    let path = sandbox.path().join("out/reference.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut reference: Value = serde_json::from_str(&text).unwrap();
    for (what, message) in [
        ("model", "its log-probabilities are of the model with the fingerprint 00ff, and this run has "),
        ("answers", "its log-probabilities are of the answers with the fingerprint 00ff, and this run has "),
    ] {
        let own = std::mem::replace(&mut reference["of"][what], json!("00ff"));
        std::fs::write(&path, reference.to_string()).unwrap();
        let refused = resume();
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
        assert!(refused.stderr.contains(own.as_str().unwrap()), "{}", refused.stderr);
        reference["of"][what] = own;
    }
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    let refused = resume();
    assert!(refused.stderr.contains("reference.json: is damaged"), "{}", refused.stderr);
}

#[test]
fn what_does_not_go_together_is_refused_before_anything_is_written() {
    let sandbox = sandbox();
    let refused = |file: &str, set: &str, message: &str| {
        let outcome = sandbox.run(&["train", file, "--quiet", "--out", "out", "--set", set]);
        assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
        assert!(!sandbox.path().join("out").exists());
    };
    refused(
        "dpo.toml",
        "reward_model.center_rewards_coefficient=0.1",
        "[reward_model] and [dpo]: a run has one learner",
    );
    refused(
        "dpo.toml",
        "text.files=[\"preferences.jsonl\"]",
        "[text]: [dpo] learns from preferences alone; remove [text]",
    );
    refused("dpo.toml", "dpo.loss=\"dpo\"", "dpo.loss: unknown value `dpo`");
    refused(
        "reward.toml",
        "preferences.window=100",
        "preferences.window: 100 tokens are more than the model's context of 64",
    );
    refused(
        "reward.toml",
        "preferences.tokenizer=\"t.json\"",
        "preferences.tokenizer: the checkpoint of start_from has its own",
    );
    refused("reward.toml", "preferences.files=[\"none.jsonl\"]", "none.jsonl");
    let sandbox = sandbox.with("bare.toml", "name = \"x\"\n[preferences]\nfiles = [\"preferences.jsonl\"]\n");
    let outcome = sandbox.run(&["train", "bare.toml"]);
    assert!(
        outcome.stderr.contains("[preferences]: no learner is named; add a section [reward_model]"),
        "{}",
        outcome.stderr
    );
    let sandbox = sandbox.with("alone.toml", "name = \"x\"\n[dpo]\n");
    let outcome = sandbox.run(&["train", "alone.toml"]);
    assert!(outcome.stderr.contains("missing key `preferences`: [dpo] learns from files"), "{}", outcome.stderr);
}
