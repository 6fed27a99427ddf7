//! Policies learn to complete prompts by rewards with a known optimum; rewards are logged; mistakes are refused.

use std::path::Path;

use palestra::config::RunFile;
use palestra::envs::{Episode, Registry, Result, Reward, reward::answer};
use palestra::model::ops::available_devices;
use palestra::report::Display;
use palestra::text::Tokenizer;
use palestra::train_run::{TrainOptions, TrainReport, train_run};
use palestra_datasets::log::{Log, ReadOptions};
use serde_json::Value;

use crate::command::Sandbox;
use crate::tiny_run::{checkpoints, metrics_lines, write_model};

/// Each prompt has a letter of its own. An answer with that letter scores 1, and each x in it costs 0.2.
const PROMPTS: &str = "{\"prompt\": \"p\", \"answer\": \"a\"}\n{\"prompt\": \"q\", \"answer\": \"b\"}\n\
                       {\"prompt\": \"r\", \"answer\": \"c\"}\n";

const RUN: &str = "\
name = \"letters\"
seed = 1
[env]
kind = \"completion\"
options = { file = \"prompts.jsonl\", alphabet = \"x\" }
[[reward]]
kind = \"reference\"
options = { by = \"contains\" }
[[reward]]
kind = \"pattern\"
name = \"crosses\"
weight = -0.2
options = { pattern = \"x\", count = true }
[model]
family = \"gpt2\"
context = 16
layers = 1
width = 16
heads = 2
[rollout]
episodes = 64
max_new_tokens = 3
[optimizer]
learning_rate = 1e-2
schedule = \"linear\"
[evaluation]
episodes = 30
[train]
threads = 1
updates = 40
";

const GRPO: &str = "[grpo]\nbatch = 32\nepochs = 2\nentropy_coefficient = 0.02\n";
const PPO: &str = "[ppo]\nbatch = 32\nentropy_coefficient = 0.02\nvalue_coefficient = 0.1\n";

fn sandbox(run: &str) -> Sandbox {
    Sandbox::new().with("letters.toml", run).with("prompts.jsonl", PROMPTS)
}

fn trained(run: &str, registry: &Registry, device: &str, out: &str, folder: &Path) -> palestra::Result<TrainReport> {
    let path = folder.join("letters.toml");
    std::fs::write(&path, run).unwrap();
    std::fs::write(folder.join("prompts.jsonl"), PROMPTS).unwrap();
    let run = RunFile::load(&path, &[format!("device={device}")])?;
    let out = Some(folder.join(out));
    train_run(run, registry, TrainOptions { out, display: Display::Quiet, ..TrainOptions::default() })
}

#[track_caller]
fn assert_learns(run: &str) {
    for device in available_devices() {
        let folder = tempfile::tempdir().unwrap();
        let report = trained(run, &Registry::builtin(), device, "out", folder.path()).unwrap();
        let (before, after) = (report.before.unwrap(), report.evaluation.unwrap().score);
        assert!(before.mean_return < 0.5, "{device}: {before:?} was good before it learned");
        assert!(after.mean_return > 0.95, "{device}: {after:?} is far from the best, 1");
        assert_eq!((after.info["reference"], after.info["crosses"]), (1.0, 0.0), "{device}: {after:?}");
    }
}

#[test]
fn grpo_learns_what_is_rewarded() {
    assert_learns(&format!("{RUN}{GRPO}").replace("max_new_tokens", "group = 8\nmax_new_tokens"));
}

#[test]
fn ppo_learns_what_is_rewarded() {
    assert_learns(&format!("{RUN}{PPO}"));
}

#[test]
fn dr_grpo_and_rloo_learn_it_too() {
    for (advantage, aggregation) in [("dr_grpo", "constant"), ("rloo", "sequence_mean_token_sum")] {
        let learner = format!("advantage = {advantage:?}\naggregation = {aggregation:?}\n");
        assert_learns(&format!("{RUN}{GRPO}{learner}").replace("max_new_tokens", "group = 8\nmax_new_tokens"));
    }
}

/// Metrics of a run, one object per update.
fn metrics(run_dir: &Path) -> Vec<Value> {
    metrics_lines(run_dir).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn log(folder: &Path) -> Vec<Episode> {
    let log = Log::open(&[folder.display().to_string()], ReadOptions::default()).unwrap();
    log.episodes().map(|located| located.unwrap().episode).collect()
}

const SHORT: [&str; 7] = [
    "--set=train.updates=2",
    "--set=rollout.episodes=8",
    "--set=evaluation.episodes=4",
    "--set=rollout.record=true",
    "--set=rollout.group=4",
    "--set=rollout.measure_kl=true",
    "--quiet",
];

#[test]
fn every_part_of_a_reward_stands_in_metrics_log_and_report() {
    let sandbox = sandbox(&format!("{RUN}{GRPO}"));
    sandbox.run(&[&["train", "letters.toml", "--out", "out"][..], &SHORT].concat()).success();
    let out = sandbox.path().join("out");
    for update in metrics(&out) {
        for name in ["reference_mean", "reference_std", "reference_missing", "crosses_mean"] {
            assert!(update[format!("rewards/{name}")].is_number(), "{name}: {update}");
        }
        for name in ["kl", "scores", "entropy", "rlhf_reward", "reward_std", "frac_reward_zero_std"] {
            assert!(update[format!("objective/{name}")].is_number(), "{name}: {update}");
        }
        assert!(update["rewards/rules_mean"].is_null(), "the environment gives none: {update}");
    }
    assert!(metrics(&out)[0]["objective/kl"].as_f64().unwrap().abs() < 1e-5, "it has not moved yet");
    let unasked = [&["train", "letters.toml", "--quiet", "--out", "unasked"][..], &SHORT[..5]].concat();
    sandbox.run(&unasked).success();
    let unasked = metrics(&sandbox.path().join("unasked"));
    assert!(unasked.iter().all(|update| update["objective/kl"].is_null()), "rules need no second model");
    let episodes = log(&out.join("experience"));
    assert_eq!(episodes.len(), 16);
    for group in episodes.chunks(4) {
        assert!(group.iter().all(|episode| episode.seed == group[0].seed), "a group has one prompt");
    }
    for Episode { turns, reward_source, .. } in &episodes {
        let parts = &turns[0].reward_parts;
        assert_eq!(parts.keys().collect::<Vec<_>>(), ["crosses", "reference"]);
        assert!((parts.values().sum::<f32>() - turns[0].reward).abs() < 1e-6);
        let crosses = turns[0].action.matches('x').count() as f32;
        assert!((parts["crosses"] + 0.2 * crosses).abs() < 1e-6, "parts are weighted");
        assert_eq!(reward_source.as_deref(), Some("rules"));
    }
    sandbox.run(&["log", "check", "out/experience", "--replay", "--tokenizer", "out"]).success();
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("The same before training") && page.contains("crosses"), "samples before and after");
    let told = sandbox.run(&["evaluate", "out", "--json"]).json();
    assert!(told["info"]["reference"].is_number() && told["info"]["crosses"].is_number(), "{told}");
}

/// Reward that scores only answers with an a. If the flag is set, answers with an x score NaN.
struct Odd(bool);

impl Reward for Odd {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let score = |episode: &Episode| match answer(episode) {
            text if self.0 && text.contains('x') => Some(f32::NAN),
            text => text.contains('a').then_some(1.0),
        };
        Ok(episodes.iter().map(score).collect())
    }
}

fn odd(gives_nan: bool) -> Registry {
    Registry::builtin().with_reward("odd", move |_| Ok(Box::new(Odd(gives_nan))))
}

fn odd_run() -> String {
    let small = RUN.replace("updates = 40", "updates = 1").replace("max_new_tokens", "record = true\nmax_new_tokens");
    small.replace("[model]", "[[reward]]\nkind = \"odd\"\n[model]") + PPO
}

#[test]
fn a_reward_that_fails_for_one_answer_is_dropped_and_counted_and_never_0() {
    let folder = tempfile::tempdir().unwrap();
    let report = trained(&odd_run(), &odd(false), "flex", "out", folder.path()).unwrap();
    let out = folder.path().join("out");
    let (update, kept) = (metrics(&out).remove(0), log(&out.join("experience")));
    let missing = update["rewards/odd_missing"].as_f64().unwrap();
    assert!(missing > 0.0 && missing + kept.len() as f64 == 64.0, "{missing} missing, {} kept", kept.len());
    assert_eq!((update["rewards/odd_mean"].as_f64(), update["rewards/odd_std"].as_f64()), (Some(1.0), Some(0.0)));
    assert!(kept.iter().all(|episode| episode.turns[0].reward_parts["odd"] == 1.0));
    let mean = report.evaluation.unwrap().score.info.get("odd").copied();
    assert!(mean.is_none_or(|mean| mean == 1.0), "of no scores there is no mean: {mean:?}");
}

#[test]
fn rewards_that_are_no_numbers_or_all_missing_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let told = trained(&odd_run(), &odd(true), "flex", "nan", folder.path()).unwrap_err().to_string();
    assert!(told.starts_with("reward odd: episode ") && told.ends_with("it must be a finite number"), "{told}");
    let strict = odd_run().replace("kind = \"odd\"", "kind = \"odd\"\nmissing = \"error\"");
    let told = trained(&strict, &odd(false), "flex", "strict", folder.path()).unwrap_err().to_string();
    assert!(told.starts_with("reward odd: episode ") && told.contains("has no score; missing = \"drop\""), "{told}");
    let never = RUN.replace("by = \"contains\"", "column = \"solution\"").replace("updates = 40", "updates = 1") + PPO;
    let told = trained(&never, &Registry::builtin(), "flex", "never", folder.path()).unwrap_err().to_string();
    assert!(told.starts_with("no episode of update 1 has all of its rewards"), "{told}");
}

#[test]
fn what_cannot_be_rewarded_is_refused_before_anything_is_written() {
    let refused = |from: &str, to: &str, message: &str| {
        sandbox(&format!("{RUN}{GRPO}").replace(from, to).replace("max_new_tokens", "group = 4\nmax_new_tokens"))
            .assert_refused(&["train", "letters.toml"], message);
    };
    refused(
        "kind = \"pattern\"",
        "kind = \"patern\"",
        "letters.toml:10: reward.1.kind: no kind of reward `patern`; did you mean `pattern`?",
    );
    refused(
        "pattern = \"x\", count",
        "pattern = \"x\", counts",
        "letters.toml:13: unknown key `counts` in [reward.1.options]; did you mean `count`? known keys: pattern, whole, \
         count, at_most",
    );
    refused(
        "[[reward]]\nkind = \"reference\"",
        "[[reward]]\nkind = \"model\"",
        "letters.toml:8: unknown key `by` in [reward.0.options]; known keys: model, chat, batch, quantize, device",
    );
}

#[test]
fn groups_prompts_and_templates_that_cannot_be_are_refused() {
    let run = format!("{RUN}{GRPO}");
    sandbox(&run).assert_refused(
        &["train", "letters.toml"],
        "letters.toml: rollout.group: 1 is no group; [grpo] holds at least 2 completions of a prompt against each other",
    );
    sandbox(&run).assert_refused(
        &["train", "letters.toml", "--set", "rollout.group=5"],
        "letters.toml --set rollout.group=5: rollout.episodes: 64 is not a multiple of rollout.group = 5",
    );
    sandbox(&run).assert_refused(
        &["train", "letters.toml", "--set", "rollout.group=4", "--set", "rollout.chat=true"],
        "letters.toml --set rollout.group=4 --set rollout.chat=true: rollout.chat: a model from nothing has no chat \
         template; name one that has in start_from",
    );
    let sandbox = Sandbox::new().with("letters.toml", &run).with("prompts.jsonl", "{\"text\": \"p\"}\n");
    let told = sandbox.run(&["train", "letters.toml", "--set", "rollout.group=4"]).stderr;
    assert!(told.contains("prompts.jsonl: line 1, prompt: is missing, and so are turns and messages"), "{told}");
    assert!(!sandbox.path().join("runs").exists());
}

const TEMPLATE: &str = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}.{% endfor %}\
                        {% if add_generation_prompt %}a:{% endif %}";

/// Run that starts from the model directory `m`, with two turns per episode, read by its chat template.
fn chat_run(learner: &str) -> String {
    let (head, tail) = RUN.split_once("[model]").unwrap();
    let tail = tail.split_once("[rollout]").unwrap().1;
    let head = head.replace("seed = 1\n", "seed = 1\nstart_from = \"m\"\n");
    format!("{head}[lora]\nrank = 2\n[rollout]\nchat = true\ncontext = \"transcript\"\ngroup = 2\n{tail}{learner}")
}

#[test]
fn adapters_learn_from_rewards_held_to_the_model_without_them() {
    let kinds = [
        (GRPO, "none", "f32"),
        (PPO, "none", "f32"),
        (GRPO, "nf4", "f32"),
        (PPO, "int8", "f32"),
        (GRPO, "none", "bf16"),
    ];
    for (learner, form, precision) in kinds {
        let run = chat_run(&format!("{learner}kl_coefficient = 0.1\n"))
            .replace("[lora]\n", &format!("[lora]\nquantize = \"{form}\"\n"))
            .replace("[train]\n", &format!("[train]\nprecision = \"{precision}\"\n"));
        let sandbox = Sandbox::new()
            .with("letters.toml", &run)
            .with("prompts.jsonl", "{\"turns\": [\"one\", \"two\"], \"answer\": \"a\"}\n");
        write_model(sandbox.path(), TEMPLATE);
        let train = |out: &str, more: &[&str]| {
            let device = available_devices().pop().unwrap();
            let args = ["train", "letters.toml", "--out", out, "--device", device, "--set=optimizer.schedule=constant"];
            let args = [&args[..], &SHORT[1..3], &["--set=rollout.record=true", "--quiet"], more].concat();
            sandbox.run(&args).success();
        };
        train("whole", &["--set=train.updates=3"]);
        let found = metrics(&sandbox.path().join("whole"));
        let kl = |update: usize| found[update]["objective/kl"].as_f64().unwrap();
        let most = if precision == "bf16" { 1e-3 } else { 1e-4 };
        assert!(kl(0).abs() < most && kl(2).abs() > 1e-4, "the base, then away from it: {} {}", kl(0), kl(2));
        train("parts", &["--set=train.updates=2"]);
        train("parts", &["--set=train.updates=3", "--resume"]);
        for file in ["adapter_model.safetensors", "optimizer.safetensors"] {
            let read = |out: &str| {
                let last = checkpoints(&sandbox.path().join(out)).pop().unwrap();
                std::fs::read(last.join(file)).unwrap()
            };
            assert!(read("whole") == read("parts"), "{file} differs");
        }
        let episode = log(&sandbox.path().join("whole/experience")).remove(0);
        assert_eq!(episode.turns.len(), 2);
        sandbox.run(&["evaluate", "whole", "--quiet"]).success();
    }
}

/// Pairs in which the answer with more letters a is the better one.
fn preferences() -> String {
    let pair = |n: usize| {
        let (more, fewer) = (["a", "aa", "aba"][n % 3], ["b", "c", "bxb"][n / 3 % 3]);
        let prompt = ["p", "q", "r"][n % 3];
        format!("{{\"prompt\": \"{prompt}\", \"chosen\": \"{more}\", \"rejected\": \"{fewer}\"}}\n")
    };
    (0..18).map(pair).collect()
}

const REWARD_MODEL: &str = "\
name = \"scorer\"
[preferences]
files = [\"preferences.jsonl\"]
validation = [\"preferences.jsonl\"]
tokenizer = \"tokenizer.json\"
[reward_model]
[model]
family = \"gpt2\"
context = 16
layers = 1
width = 16
heads = 2
[optimizer]
learning_rate = 1e-2
[train]
updates = 30
threads = 1
";

#[test]
fn a_reward_model_is_trained_and_rewards() {
    let run = RUN.replace(
        "kind = \"reference\"\noptions = { by = \"contains\" }",
        "kind = \"model\"\noptions = { model = \"scorer\" }",
    );
    let sandbox =
        sandbox(&format!("{run}{PPO}")).with("scorer.toml", REWARD_MODEL).with("preferences.jsonl", &preferences());
    let tokenizer = Tokenizer::from_alphabet("abcpqrx").unwrap();
    std::fs::write(sandbox.path().join("tokenizer.json"), tokenizer.to_json().unwrap()).unwrap();
    sandbox.run(&["train", "scorer.toml", "--out", "scorer", "--quiet"]).success();
    let device = available_devices().pop().unwrap();
    let args = ["train", "letters.toml", "--out", "out", "--quiet", "--json", "--device", device];
    let report = sandbox.run(&args).json();
    let mean = |when: &str| report[when]["info"]["model"].as_f64().unwrap();
    assert!(mean("evaluation") > mean("before") + 1.0, "{} to {}", mean("before"), mean("evaluation"));
    let updates = metrics(&sandbox.path().join("out"));
    assert!(updates.iter().all(|update| update["rewards/model_missing"] == 0.0 && update["objective/kl"].is_number()));
    let telling = |path: &str, options: &str| {
        let set = format!("--set=reward.0.options={{ model = {path:?}{options} }}");
        sandbox.run(&["train", "letters.toml", "--out", "no", &set]).stderr
    };
    for (model, options, expected) in [
        (
            "nowhere",
            "",
            "nowhere is no directory; give a Hugging Face model directory, a file .gguf, or the directory of a run",
        ),
        ("out", "", "and no reward model; train one with [reward_model]"),
        ("scorer", ", chat = true", "has no chat template; remove it"),
    ] {
        let told = telling(model, options);
        assert!(told.starts_with("error: options.") && told.contains(expected), "{told}");
    }
    let last = checkpoints(&sandbox.path().join("scorer")).pop().unwrap();
    let other = Tokenizer::from_alphabet("abcpqry").unwrap();
    std::fs::write(last.join("tokenizer.json"), other.to_json().unwrap()).unwrap();
    assert!(telling("scorer", "").contains("was trained with a tokenizer"), "{}", telling("scorer", ""));
    assert!(!sandbox.path().join("no").exists());
}

/// Prompts of the episodes that a run learned from, in their order, and of those that it was evaluated by.
fn prompts(out: &Path) -> (Vec<String>, Vec<String>) {
    let prompt = |episode: &Episode| episode.turns[0].observation.as_text().to_string();
    let learned = log(&out.join("experience")).iter().map(prompt).collect();
    let lines = std::fs::read_to_string(out.join("episodes.jsonl")).unwrap();
    (learned, lines.lines().map(|line| prompt(&serde_json::from_str(line).unwrap())).collect())
}

#[test]
fn every_prompt_is_answered_before_one_comes_again_also_after_a_resume() {
    let sandbox = sandbox(&format!("{RUN}{GRPO}"));
    let short = ["--set=rollout.episodes=6", "--set=rollout.group=2", "--set=evaluation.episodes=3"];
    let train = |out: &str, rest: &[&str]| {
        let args = ["train", "letters.toml", "--quiet", "--set=rollout.record=true", "--out", out];
        sandbox.run(&[&args[..], &short, rest].concat()).success();
    };
    train("whole", &["--set=train.updates=4"]);
    let (learned, evaluated) = prompts(&sandbox.path().join("whole"));
    assert_eq!(learned.len(), 24);
    for pass in learned.chunks(6) {
        assert!(pass.chunks(2).all(|group| group[0] == group[1]), "{pass:?}");
        let mut met: Vec<&String> = pass.iter().step_by(2).collect();
        met.sort();
        assert_eq!(met, ["p", "q", "r"], "{learned:?}");
    }
    let mut evaluated: Vec<&String> = evaluated.iter().collect();
    evaluated.sort();
    assert_eq!(evaluated, ["p", "q", "r"]);
    train("resumed", &["--set=train.updates=2"]);
    train("resumed", &["--set=train.updates=4", "--resume"]);
    assert_eq!(prompts(&sandbox.path().join("resumed")).0, learned);
}

#[test]
fn what_is_evaluated_was_not_learned_from() {
    let rows: String = (0..40).map(|n| format!("{},a\n", "pq".repeat(n + 1))).collect();
    let run = format!("{RUN}{GRPO}").replace("context = 16", "context = 96").replace("prompts.jsonl", "prompts.csv");
    let sandbox = sandbox(&run).with("prompts.csv", &format!("prompt,answer\n{rows}"));
    let short = ["--set=train.updates=1", "--set=rollout.record=true", "--set=rollout.group=2"];
    let train = |out: &str, rest: &[&str]| {
        let args = ["train", "letters.toml", "--quiet", "--set=rollout.episodes=80", "--out", out];
        sandbox.run(&[&args[..], &short, rest].concat())
    };
    train("out", &["--set=evaluation.held_out=0.25"]).success();
    let (learned, evaluated) = prompts(&sandbox.path().join("out"));
    assert!(!evaluated.is_empty() && !evaluated.iter().any(|prompt| learned.contains(prompt)), "{evaluated:?}");
    sandbox.run(&["evaluate", "out", "--episodes", "2", "--quiet"]).success();

    std::fs::write(sandbox.path().join("test.tsv"), "prompt\tanswer\nqp\ta\n").unwrap();
    train("other", &["--set=evaluation.file=test.tsv", "--set=evaluation.episodes=2"]).success();
    assert_eq!(prompts(&sandbox.path().join("other")).1, ["qp", "qp"]);
    let data = std::fs::read_to_string(sandbox.path().join("other/data.json")).unwrap();
    assert!(data.contains("test.tsv") && data.contains("prompts.csv"), "{data}");

    let told = train("both", &["--set=evaluation.file=test.tsv", "--set=evaluation.held_out=0.1"]).stderr;
    assert!(told.contains("evaluation.held_out: 0.1 beside evaluation.file"), "{told}");
    let told = train("no", &["--set=env={id='frozen-lake-4x4'}", "--set=evaluation.held_out=0.1"]).stderr;
    assert!(told.contains("evaluation.held_out: only the environment `completion` has prompts"), "{told}");
}
