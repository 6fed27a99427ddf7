//! Fine-tuning of a model directory on conversations: whole, by adapters, resumed; mistakes are refused.

use std::path::Path;

use palestra::config::RunFile;
use serde_json::Value;

use crate::command::Sandbox;
use crate::tiny_run::{checkpoints, metrics_lines, write_model};

/// Chat template of the model of these tests.
pub const TEMPLATE: &str = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}.{% endfor %}\
                        {% if add_generation_prompt %}a:{% endif %}";

/// Run that learns the conversations `chats.jsonl` from the model `m`.
pub const RUN: &str = "\
name = \"tuned\"
seed = 3
start_from = \"m\"
[text]
files = [\"chats.jsonl\"]
validation = [\"chats.jsonl\"]
format = \"messages\"
window = 32
batch = 2
samples = 1
sample_tokens = 3
[supervised]
[optimizer]
learning_rate = 1e-2
[train]
updates = 4
checkpoint_every = 2
evaluate_every = 2
threads = 1
";

/// A model directory with 40 tokens, conversations, and a run file.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new().with("tuned.toml", RUN);
    write_model_and_chats(sandbox.path());
    sandbox
}

/// Writes a model directory `m` and conversations `chats.jsonl`.
pub fn write_model_and_chats(folder: &Path) {
    let mut chats = String::new();
    for (ask, answer) in [("one", "two"), ("two", "three"), ("three", "four"), ("a long way", "round"), ("end", "no")] {
        chats += &format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{ask}\"}}, {{\"role\": \"assistant\", \
             \"content\": \"{answer}\"}}]}}\n"
        );
    }
    std::fs::write(folder.join("chats.jsonl"), chats).unwrap();
    write_model(folder, TEMPLATE);
}

fn train(sandbox: &Sandbox, out: &str, options: &[&str]) -> Value {
    let device = ["--device", palestra::model::ops::available_devices().pop().unwrap()];
    sandbox.run(&[&["train", "tuned.toml", "--quiet", "--json", "--out", out][..], &device, options].concat()).json()
}

/// Options that train only adapters.
pub const LORA: [&str; 4] = ["--set", "lora.rank=2", "--set", "lora.targets=[\"*.attention.*\"]"];

/// The same beside weights in 4 bits.
pub const QLORA: [&str; 6] = [LORA[0], LORA[1], LORA[2], LORA[3], "--set", "lora.quantize=nf4"];

/// Files of a run's last checkpoint.
pub fn outcome(sandbox: &Sandbox, out: &str) -> Vec<(String, Vec<u8>)> {
    let last = checkpoints(&sandbox.path().join(out)).pop().unwrap();
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(last)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Checks that two outcomes have the same files with the same bytes, without printing the bytes.
#[track_caller]
pub fn assert_same_files(found: &[(String, Vec<u8>)], expected: &[(String, Vec<u8>)], about: &str) {
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{about}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert!(found == expected, "{about}: {name} differs");
    }
}

#[test]
fn conversations_become_likelier_and_a_resumed_run_has_the_same_bits() {
    // Measured on the training data: four steps on a few words do not generalise.
    let kinds: [(&str, &[&str]); 4] =
        [("whole", &[]), ("adapters", &LORA), ("quantised", &QLORA), ("again", &["--set", "text.packing=false"])];
    for (out, options) in kinds {
        let sandbox = sandbox();
        let report = train(&sandbox, out, options);
        let nll = |when: &str| report["text"][when]["mean_nll"].as_f64().unwrap();
        assert!(nll("after") < nll("before"), "{out}: {report}");
        assert_eq!(metrics_lines(&sandbox.path().join(out)).len(), 4);
        let done = outcome(&sandbox, out);
        std::fs::remove_dir_all(sandbox.path().join(out).join("checkpoints/step-00000004")).unwrap();
        train(&sandbox, out, &[options, &["--resume"]].concat());
        assert_same_files(&outcome(&sandbox, out), &done, out);
        let names: Vec<&str> = done.iter().map(|(name, _)| name.as_str()).collect();
        let [config, weights] = match out {
            "adapters" | "quantised" => ["adapter_config.json", "adapter_model.safetensors"],
            _ => ["config.json", "model.safetensors"],
        };
        for name in [config, weights, "chat_template.jinja", "generation_config.json", "tokenizer.json"] {
            assert!(names.contains(&name), "{out}: {name} is not among {names:?}");
        }
    }
}

#[test]
fn gradient_checkpointing_changes_no_loss() {
    let sandbox = sandbox();
    let first_loss = |out: &str, options: &[&str]| -> f64 {
        train(&sandbox, out, &[options, &["--set", "train.updates=1", "--set", "text.batch=5"]].concat());
        let line: Value = serde_json::from_str(&metrics_lines(&sandbox.path().join(out))[0]).unwrap();
        assert_eq!((&line["data/examples_cut"], &line["data/examples_dropped"]), (&0.0.into(), &0.0.into()));
        line["loss/nll"].as_f64().unwrap()
    };
    let apart = first_loss("a", &["--set", "text.packing=false"]);
    let again = first_loss("b", &["--set", "text.packing=false", "--set", "train.gradient_checkpointing=true"]);
    assert!((apart - again).abs() < 1e-5, "{apart} {again}");
}

#[test]
fn a_run_of_adapters_writes_as_its_model_with_them() {
    let sandbox = sandbox();
    train(&sandbox, "out", &LORA);
    let last = checkpoints(&sandbox.path().join("out")).pop().unwrap().display().to_string();
    let write = |model: &str, more: &[&str]| {
        let args =
            ["generate", model, "--chat", "--prompt", "one", "--max-new-tokens", "6", "--quiet", "--device", "flex"];
        sandbox.run(&[&args[..], more].concat()).success()
    };
    assert_eq!(write("out", &[]), write("m", &["--adapter", &last]));
    let eval = |model: &str| {
        std::fs::write(sandbox.path().join("t.txt"), "u:one.a:two.").unwrap();
        sandbox.run(&["eval", model, "--data", "t.txt", "--json", "--quiet"]).json()["mean_nll"].as_f64().unwrap()
    };
    assert!(eval("out") < eval("m"), "it was trained on this");
}

#[test]
fn adapters_beside_quantised_weights_are_used_and_merged_with_those() {
    let sandbox = sandbox().with("text.txt", "u:one.a:two.");
    train(&sandbox, "out", &QLORA);
    sandbox.run(&["merge", "out", "--out", "merged", "--quiet"]).success();
    let measured = |model: &str| {
        let texts = ["eval", model, "--data", "text.txt", "--device", "flex", "--json"];
        sandbox.run(&texts).json()["mean_nll"].as_f64().unwrap()
    };
    let (adapted, merged) = (measured("out"), measured("merged"));
    assert!((adapted - merged).abs() < 1e-5, "{adapted} {merged}");
    // Beside the weights of the model itself, the adapters compute something else.
    let config = checkpoints(&sandbox.path().join("out")).pop().unwrap().join("adapter_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("\"base_quantization\": \"nf4\""), "{text}");
    std::fs::create_dir(sandbox.path().join("plain")).unwrap();
    std::fs::write(sandbox.path().join("plain/adapter_config.json"), text.replace("nf4", "none")).unwrap();
    let weights = "adapter_model.safetensors";
    std::fs::copy(config.with_file_name(weights), sandbox.path().join("plain").join(weights)).unwrap();
    assert!((measured("plain") - adapted).abs() > 1e-4);
}

#[test]
fn merged_adapters_are_a_model_that_answers_as_before() {
    let template = TEMPLATE.replace("{{ m.role", "!{{ m.role").replace("%}a:", "%}!a:");
    let sandbox = sandbox().with("own.jinja", &template).with("text.txt", "!u:one.!a:two.");
    let options = [&LORA[..], &["--set", "text.chat_template=own.jinja"]].concat();
    train(&sandbox, "out", &options);
    let merge = |args: &[&str]| sandbox.run(&[&["merge"], args, &["--json"]].concat()).json();
    let report = merge(&["out", "--out", "models/whole"]);
    assert_eq!((&report["adapted_layers"], &report["dtype"]), (&8.into(), &"float32".into()), "{report}");
    let measured = |model: &str| {
        let texts = ["eval", model, "--data", "text.txt", "--device", "flex", "--json"];
        sandbox.run(&texts).json()["mean_nll"].as_f64().unwrap()
    };
    let (before, whole) = (measured("out"), measured("models/whole"));
    assert!((before - whole).abs() < 1e-5 && (measured("m") - whole).abs() > 1e-3, "{before} {whole}");
    let answer = |model: &str| {
        let args = ["generate", model, "--chat", "--prompt", "one", "--max-new-tokens", "6", "--device", "flex"];
        sandbox.run(&[&args[..], &["--quiet"]].concat()).success()
    };
    assert_eq!(answer("models/whole"), answer("out"));

    // Naming the model and the adapters separately gives the same bytes; 16-bit numbers take half of them.
    merge(&["m", "--adapter", "out", "--out", "apart"]);
    let files = |directory: &str| -> Vec<(String, Vec<u8>)> {
        let paths = std::fs::read_dir(sandbox.path().join(directory)).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let whole = files("models/whole");
    let names: Vec<&str> = whole.iter().map(|(name, _)| name.as_str()).collect();
    let expected =
        ["chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(names, expected);
    assert!(whole[0].1 == template.as_bytes(), "the chat template that it was trained with");
    assert!(files("apart") == whole);
    let half = merge(&["out", "--out", "half", "--dtype", "bf16"])["bytes"].as_u64().unwrap();
    assert!(half < report["bytes"].as_u64().unwrap() * 3 / 5, "{half} {report}");
    assert!((measured("half") - before).abs() < 0.05);

    // A run can start from the merged model.
    let again = ["train", "tuned.toml", "--quiet", "--set", "start_from=models/whole", "--set", "train.updates=1"];
    sandbox.run(&[&again[..], &["--out", "again"]].concat()).success();
}

#[test]
fn a_run_starts_from_the_directory_of_a_run() {
    let sandbox = sandbox();
    train(&sandbox, "first", &["--set", "train.updates=2"]);
    // Its checkpoint has the chat template and the end tokens of the model that it started from.
    train(&sandbox, "second", &["--set", "start_from=first", "--set", "train.updates=1"]);
    let of = |run: &str, step: &str, file: &str| {
        std::fs::read_to_string(sandbox.path().join(run).join("checkpoints").join(step).join(file)).unwrap()
    };
    assert_eq!(of("second", "step-00000001", "chat_template.jinja"), TEMPLATE);
    let generation = "generation_config.json";
    assert_eq!(of("second", "step-00000001", generation), of("first", "step-00000002", generation));

    // Of a run with adapters the model has them merged, for a run that trains all weights and for one with new adapters.
    let one = ["--set", "train.updates=1"];
    train(&sandbox, "adapters", &LORA);
    sandbox.run(&["merge", "adapters", "--out", "merged", "--quiet"]).success();
    let from = |model: &str, name: &str, adapters: &[&str]| {
        let start = format!("start_from={model}");
        train(&sandbox, name, &[adapters, &one, &["--set", &start]].concat());
        let texts = ["eval", name, "--data", "texts.txt", "--device", "flex", "--json"];
        sandbox.run(&texts).json()["mean_nll"].as_f64().unwrap()
    };
    std::fs::write(sandbox.path().join("texts.txt"), "u:one.a:two.").unwrap();
    for (name, adapters) in [("all", &[][..]), ("more", &LORA[..])] {
        let ours = from("adapters", name, adapters);
        let merged = from("merged", &format!("{name}-merged"), adapters);
        assert!((ours - merged).abs() < 1e-3, "{name}: {ours} {merged}");
    }
    let run = std::fs::read_to_string(sandbox.path().join("more/run.toml")).unwrap();
    assert!(run.contains("adapters/checkpoints/step-00000004\""), "the run that it started from may go on: {run}");
    sandbox.run(&["merge", "more", "--out", "merged-twice", "--quiet"]).success();
    let resumed = ["train", "more/run.toml", "--out", "more", "--resume", "--set", "train.updates=2", "--quiet"];
    sandbox.run(&resumed).success();
}

#[test]
fn limits_of_the_template_are_settings() {
    let text = "name = \"x\"\nstart_from = \"m\"\n[text]\nfiles = [\"a.jsonl\"]\n[template_limits]\nsteps = 5000000\n";
    let load = |overrides: &[&str]| RunFile::from_toml("folder/run.toml", text, overrides);
    let limits = load(&[]).unwrap().template_limits;
    assert_eq!((limits.steps, limits.tag_bytes, limits.template_bytes), (5_000_000, 8192, 262_144));
    for (wrong, said) in [
        ("template_limits.steps=0", "template_limits.steps: 0 is not between 1 and 100000000"),
        ("template_limits.tag_bytes=65537", "template_limits.tag_bytes: 65537 is not between 1 and 65536"),
        (
            "template_limits.template_bytes=5000000",
            "template_limits.template_bytes: 5000000 is not between 1 and 1048576",
        ),
        ("template_limits.tags=5", "tags"),
    ] {
        let error = load(&[wrong]).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_template_that_takes_more_than_its_limits_is_refused() {
    let sandbox = sandbox();
    let error = |set: &str| {
        let command = ["train", "tuned.toml", "--quiet", "--set", set, "--out", "out"];
        sandbox.run(&command).stderr
    };
    let told = error("template_limits.steps=5");
    assert!(told.contains("steps; a conversation of this length should not need them"), "{told}");
    let told = error("template_limits.template_bytes=20");
    assert!(told.contains("a chat template has at most 20"), "{told}");
    assert!(!sandbox.path().join("out").exists(), "nothing is begun");
    // The limits of a run hold for its checkpoints, whichever command reads them.
    train(&sandbox, "out", &["--set", "train.updates=1"]);
    let generate = |model: &str| {
        let args = ["generate", model, "--chat", "--prompt", "three", "--quiet", "--device", "flex"];
        sandbox.run(&args)
    };
    generate("out").success();
    let file = sandbox.path().join("out/run.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let run: toml::Table = text.parse().unwrap();
    let fewer = run["template_limits"]["steps"].to_string();
    std::fs::write(&file, text.replace(&format!("steps = {fewer}"), "steps = 5")).unwrap();
    for model in ["out", "out/checkpoints/step-00000001"] {
        let told = generate(model).stderr;
        assert!(told.contains("steps; a conversation of this length should not need them"), "{model}: {told}");
    }
}

#[test]
fn a_plan_counts_what_is_trained() {
    let sandbox = sandbox();
    let planned = |options: &[&str]| sandbox.run(&[&["plan", "tuned.toml", "--json"], options].concat()).json();
    let number = |plan: &Value, field: &str| plan.pointer(field).and_then(Value::as_u64).unwrap();
    let whole = planned(&[]);
    let parameters = number(&whole, "/parameters");
    assert_eq!(number(&whole, "/trained_parameters"), parameters);
    // Rank 2 on query and output of 24 x 24, key and value of 24 x 12, in two layers.
    let adapters = 2 * 2 * (2 * (24 + 24) + 2 * (24 + 12));
    // The calculation needs only the shape of start_from.
    std::fs::remove_file(sandbox.path().join("m/model.safetensors")).unwrap();
    let lora = planned(&[&LORA[..], &["--gpus", "1", "--tflops", "1"]].concat());
    assert_eq!([number(&lora, "/parameters"), number(&lora, "/trained_parameters")], [parameters + adapters, adapters]);
    assert_eq!(number(&lora, "/memory/moments"), 8 * adapters);
    assert_eq!(number(&lora, "/memory/gradients"), 4 * adapters);
    let quantised = planned(&[&QLORA[..], &["--gpus", "1", "--tflops", "1"]].concat());
    // In each of two layers: 24 x 24 twice, 24 x 12 twice, 24 x 28 three times. A block of 64 numbers takes 33 bytes, a matrix
    // 8 more.
    let (blocks, numbers) = (2 * (2 * 9 + 2 * 5 + 3 * 11), 2 * (2 * 24 * 24 + 2 * 24 * 12 + 3 * 24 * 28));
    let expected = 4 * (parameters + adapters - numbers) + 33 * blocks + 8 * 2 * 7;
    assert_eq!(number(&quantised, "/memory/weights"), expected);
    let frozen = "--set=optimizer.group=[{pattern='blocks.0.*',learning_rate_scale=0.0}]";
    let half = planned(&[frozen, "--gpus", "1", "--tflops", "1"]);
    assert!(number(&half, "/trained_parameters") < parameters);
    assert_eq!(number(&half, "/memory/moments"), 8 * number(&half, "/trained_parameters"));
}

#[test]
fn the_rows_of_a_run_are_shown_with_what_is_learned() {
    let sandbox = sandbox();
    let args = ["rows", "tuned.toml", "--quiet", "--set", "text.packing=false", "--steps", "2"];
    let text = sandbox.run(&args).success();
    assert_eq!(text.matches("--- step").count(), 4, "two rows a step: {text}");
    let is_row = |line: &&str| line.starts_with("u:") && line.contains(".a:⟦") && line.ends_with('⟧');
    assert_eq!(text.lines().filter(is_row).count(), 4, "{text}");
    let json = sandbox.run(&[&args[..], &["--json"]].concat()).json();
    for row in json["steps"].as_array().unwrap().iter().flat_map(|rows| rows.as_array().unwrap()) {
        let count = |key: &str| row[key].as_array().unwrap().len();
        assert!(0 < count("counted") && count("counted") < count("tokens") && count("borders") == 0, "{row}");
    }
    let other = sandbox.run(&["rows", "tuned.toml", "--quiet", "--set", "text.format=completion"]);
    assert_eq!((other.code, other.stdout.as_str()), (Some(1), ""));
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let sandbox = sandbox();
    let refused = |options: &[&str], message: &str| {
        let found = sandbox.run(&[&["train", "tuned.toml", "--quiet", "--out", "out"][..], options].concat());
        assert!(found.stderr.contains(message), "{} is not {message}", found.stderr);
        assert_eq!((found.code, found.stdout.as_str(), found.stderr.lines().count()), (Some(1), "", 1));
        assert!(!sandbox.path().join("out").exists(), "nothing is written");
    };
    refused(&["--set", "text.format=lines"], "text.format");
    refused(&["--set", "lora.targets=[\"*.querry\"]"], "lora.targets: \"*.querry\" matches no layer");
    let frozen = "--set=optimizer.group=[{pattern=\"layers.0.*\", learning_rate_scale=0.0}]";
    refused(&[frozen], "optimizer.group.pattern: \"layers.0.*\" freezes nothing");
    std::fs::write(sandbox.path().join("chats.jsonl"), "").unwrap();
    refused(&[], "chats.jsonl: there is no row in it");
}

#[test]
fn a_template_that_rewrites_turns_is_read_as_the_run_says() {
    let forgets = "{% for m in messages %}{{ m.role[0] }}:{{ m.content if loop.last else m.content.split('?')[-1] }}.\
                   {% endfor %}{% if add_generation_prompt %}a:{% endif %}";
    let said = |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
    let chat = [said("user", "one"), said("assistant", "so?a"), said("user", "two"), said("assistant", "so?b")];
    let line = serde_json::json!({"messages": chat}).to_string();
    let sandbox = sandbox().with("chats.jsonl", &format!("{line}\n{line}\n")).with("forgets.jinja", forgets);
    let template = ["--set", "text.chat_template=forgets.jinja", "--set", "text.packing=false"];
    let rows = |history: &[&str]| {
        sandbox.run(&[&["rows", "tuned.toml", "--quiet"][..], &template, history].concat()).success()
    };
    let written = rows(&["--set", "text.history=as_written"]);
    assert!(written.contains("\nu:one.a:⟦so?a.⟧u:two.a:⟦so?b.⟧\n"), "{written}");
    let apart = rows(&["--set", "text.history=as_template", "--set", "text.batch=4"]);
    assert_eq!(apart.matches("\nu:one.a:⟦so?a.⟧\n").count(), 2, "{apart}");
    assert_eq!(apart.matches("\nu:one.a:a.u:two.a:⟦so?b.⟧\n").count(), 2, "{apart}");
    let train = [&["train", "tuned.toml", "--device", "flex"][..], &template].concat();
    let ways_out = ["history = \"as_written\"", "history = \"as_template\"", "chat_template = \"qwen3-training\""];
    let refused = sandbox.run(&train);
    assert!(ways_out.iter().all(|way_out| refused.stderr.contains(way_out)), "{}", refused.stderr);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(!sandbox.path().join("runs").exists(), "nothing is written");
    // The last answer alone is learned without a choice.
    let last = serde_json::json!({"prompt": chat[..3], "completion": chat[3..]}).to_string();
    std::fs::write(sandbox.path().join("chats.jsonl"), format!("{last}\n{last}\n")).unwrap();
    let answers = rows(&["--set", "text.format=completion"]);
    assert!(answers.contains("\nu:one.a:a.u:two.a:⟦so?b.⟧\n"), "{answers}");
}

#[test]
fn sets_of_examples_are_mixed_by_weight() {
    let sets = "[[text.corpus]]\nfiles = [\"chats.jsonl\"]\nweight = 3\n[[text.corpus]]\nfiles = [\"questions.csv\"]\n\
                weight = 1\nformat = \"completion\"\n[supervised]\n";
    let run = RUN.replace("files = [\"chats.jsonl\"]\nvalidation", "validation").replace("[supervised]\n", sets);
    let sandbox = sandbox().with("mixed.toml", &run).with("questions.csv", "prompt,completion\nhow many,none\n");
    let shown = sandbox.run(&["rows", "mixed.toml", "--steps", "20", "--set", "text.packing=false"]).success();
    let (chats, questions) = (shown.matches("u:").count(), shown.matches("how many").count());
    assert_eq!(chats + questions, 40, "{shown}");
    assert!((8..=12).contains(&questions), "a quarter of the rows: {questions} in {shown}");
    let trained = sandbox.run(&["train", "mixed.toml", "--quiet", "--json", "--out", "mixed"]).json();
    assert_eq!(trained["updates"], 4, "{trained}");
}
