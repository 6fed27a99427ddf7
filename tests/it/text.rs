//! From a text to a language model: vocabularies, token shards, pretraining, and held-out metrics.

use palestra::model::ops::available_devices;
use serde_json::Value;

use crate::command::Sandbox;
use crate::tiny_run::{checkpoints, metrics_lines};

const RUN: &str = "\
name = \"tale\"
seed = 5
[text]
files = [\"tale.txt\"]
batch = 4
micro_batch = 3
samples = 1
sample_tokens = 40
[model]
family = \"gpt2\"
context = 16
layers = 1
width = 16
heads = 2
[optimizer]
learning_rate = 1e-2
[train]
updates = 6
evaluate_every = 2
checkpoint_every = 3
threads = 1
";

/// A text of 4,000 characters that is easy to learn.
fn tale() -> String {
    (0..80).map(|day| format!("On day {day:03} the fox met the hen; all was well.\n")).collect()
}

fn sandbox() -> Sandbox {
    let line = |line| serde_json::json!({ "text": line, "split": "train" }).to_string() + "\n";
    let lines: String = tale().lines().map(line).collect();
    Sandbox::new().with("tale.txt", &tale()).with("tale.toml", RUN).with("tale.jsonl", &lines)
}

/// Sandbox with `bpe/tokenizer.json` and `tale.tokens`.
fn encoded() -> Sandbox {
    let sandbox = sandbox();
    sandbox.run(&["tokenizer", "train", "tale.txt", "--vocab-size", "300", "--out", "bpe", "--quiet"]).success();
    sandbox
        .run(&["tokenizer", "encode", "tale.jsonl", "--tokenizer", "bpe", "--out", "tale.tokens", "--quiet"])
        .success();
    sandbox
}

fn metric(line: &str, name: &str) -> f64 {
    serde_json::from_str::<Value>(line).unwrap()[name].as_f64().unwrap_or_else(|| panic!("{name} is not in {line}"))
}

#[test]
fn vocabularies_are_learned_and_texts_encoded() {
    let sandbox = sandbox();
    for method in ["bpe", "unigram", "characters"] {
        let mut args = vec!["tokenizer", "train", "tale.jsonl", "--method", method, "--out", method, "--json"];
        if method != "characters" {
            args.extend(["--vocab-size", "300"]);
        }
        let report = sandbox.run(&args).json();
        let bytes = tale().len() as u64 - 80; // without the line ends
        assert_eq!((&report["method"], &report["text_bytes"]), (&method.into(), &bytes.into()));
        assert!(sandbox.path().join(method).join("tokenizer_config.json").is_file());
        let shard = format!("{method}.tokens");
        let encode = ["tokenizer", "encode", "tale.jsonl", "--tokenizer", method, "--out", &shard, "--json"];
        let encoded = sandbox.run(&encode).json();
        assert_eq!((&encoded["documents"], &encoded["text_bytes"]), (&80.into(), &bytes.into()));
        let of_text = sandbox.run(&["tokenizer", "stats", "tale.jsonl", "--tokenizer", method, "--json"]).json();
        let of_shard = sandbox.run(&["tokenizer", "stats", &shard, "--tokenizer", method, "--json"]).json();
        assert_eq!(of_shard["tokens"], encoded["tokens"]);
        // A shard has a separator after each document.
        assert_eq!(of_text["tokens"].as_u64().unwrap() + 80, of_shard["tokens"].as_u64().unwrap());
        assert_eq!((&of_text["unknown_share"], &of_text["text_bytes"]), (&0.0.into(), &bytes.into()));
        assert!(of_text["longest_tokens"][0]["bytes"].as_u64().unwrap() >= 1);
    }
    let shown = sandbox.run(&["tokenizer", "stats", "tale.txt", "--tokenizer", "bpe"]).success();
    assert!(shown.contains("bytes per token") && shown.contains("fox"), "{shown}");
}

#[test]
fn a_language_model_learns_and_is_measured() {
    for device in available_devices() {
        let sandbox = sandbox();
        let run = ["train", "tale.toml", "--device", device, "--out", "out", "--quiet", "--json"];
        let report =
            sandbox.run(&[&run[..], &["--set=train.updates=40", "--set=train.evaluate_every=10"]].concat()).json();
        let nll = |when: &str| report["text"][when]["mean_nll"].as_f64().unwrap();
        assert!(nll("after") < nll("before") - 0.5, "{report}");
        let out = sandbox.path().join("out");
        let last = metrics_lines(&out).pop().unwrap();
        assert_eq!(metric(&last, "validation/mean_nll"), nll("after"));
        assert!((metric(&last, "text/perplexity").ln() - metric(&last, "loss/nll")).abs() < 1e-9);
        let bits = metric(&last, "loss/nll") / std::f64::consts::LN_2;
        assert!((metric(&last, "text/bits_per_byte") / bits - 1.0).abs() < 1e-5, "a byte is a character here");
        let samples = std::fs::read_to_string(out.join("samples.jsonl")).unwrap();
        assert_eq!(samples.lines().count(), 4, "one at each evaluation");
        let saved = checkpoints(&out).pop().unwrap();
        let json = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(saved.join(name)).unwrap()).unwrap() };
        assert_eq!(json("tokenizer_config.json")["eos_token"], "<|end|>", "what other programs end texts by");
        assert_eq!(json("generation_config.json")["eos_token_id"], 3);
        let page = std::fs::read_to_string(out.join("report.html")).unwrap();
        assert!(page.contains("Samples during training") && page.contains("bits per byte"));

        // The held-out tenth, in a file of its own, has the same likelihood.
        let tale = tale();
        let held_out = &tale[tale.len() - tale.len() / 10..];
        let whole_windows = held_out.len().saturating_sub(1) / 16 * 16 + 1;
        std::fs::write(sandbox.path().join("end.txt"), &held_out[..whole_windows]).unwrap();
        let measured = sandbox.run(&["eval", "out", "--data", "end.txt", "--device", device, "--json"]).json();
        assert!((measured["mean_nll"].as_f64().unwrap() - nll("after")).abs() < 1e-5, "{measured} {report}");
        for name in ["tokens", "bytes"] {
            assert_eq!(measured[name], report["text"]["after"][name]);
        }
        let longer = sandbox.run(&["eval", "out", "--data", "end.txt", "--stride", "4", "--json"]).json();
        assert_eq!(longer["tokens"], measured["tokens"]);
    }
}

#[test]
fn a_resumed_run_on_text_has_the_same_bits() {
    for device in available_devices() {
        let sandbox = encoded();
        let files = "--set=text.corpus=[{files=['tale.tokens'],weight=3},{files=['tale.txt'],weight=1}]";
        let train = |out, more: &[&str]| {
            let args =
                ["train", "tale.toml", "--device", device, "--out", out, "--quiet", files, "--set=text.files=[]"];
            sandbox
                .run(
                    &[&args[..], &["--set=text.tokenizer=bpe/tokenizer.json", "--set=text.borders=true"], more]
                        .concat(),
                )
                .success();
        };
        train("whole", &[]);
        train("parts", &["--set=train.updates=3"]);
        train("parts", &["--resume"]);
        let [whole, parts] = ["whole", "parts"].map(|name| sandbox.path().join(name));
        assert_eq!(metrics_lines(&whole).len(), metrics_lines(&parts).len());
        for (one, other) in metrics_lines(&whole).iter().zip(metrics_lines(&parts)) {
            for name in ["step", "loss/nll", "text/bits_per_byte", "data/epoch", "optimizer/grad_norm"] {
                assert_eq!(metric(one, name).to_bits(), metric(&other, name).to_bits(), "{name}");
            }
        }
        let [ours, theirs] = [&whole, &parts].map(|run| checkpoints(run).pop().unwrap());
        for file in ["model.safetensors", "optimizer.safetensors", "trainer_state.json"] {
            let [ours, theirs] = [&ours, &theirs].map(|folder| std::fs::read(folder.join(file)).unwrap());
            assert!(ours == theirs, "{file} differs");
        }
        let samples = |run: &std::path::Path| std::fs::read_to_string(run.join("samples.jsonl")).unwrap();
        assert_eq!(samples(&whole), samples(&parts));
    }
}

#[test]
fn questions_are_answered_by_likelihood() {
    let question = |answer: &str| {
        format!(
            "{{\"prompt\": \"On day 001 the fox met\", \"choices\": [\" the hen\", \" wwwwwwww\"], \"answer\": {answer}}}\n"
        )
    };
    let sandbox =
        sandbox().with("right.jsonl", &question("0").repeat(3)).with("wrong.jsonl", &question("\" wwwwwwww\""));
    let small = ["train", "tale.toml", "--out", "out", "--quiet", "--device", "flex"];
    sandbox.run(&[&small[..], &["--set=train.updates=30", "--set=model.context=32"]].concat()).success();
    let eval = |file| sandbox.run(&["eval", "out", "--device", "flex", "--data", file, "--json"]).json();
    let right = eval("right.jsonl");
    assert_eq!(right["questions"], 3);
    assert_eq!((right["accuracy"].as_f64(), right["chance"].as_f64()), (Some(1.0), Some(0.5)), "{right}");
    assert_eq!(eval("wrong.jsonl")["accuracy_per_byte"].as_f64(), Some(0.0));
    let sandbox = sandbox.with("bad.jsonl", &format!("{}{}", question("0"), question("2")));
    let error = sandbox.run(&["eval", "out", "--device", "flex", "--data", "bad.jsonl"]).stderr;
    assert_eq!(
        error,
        "error: bad.jsonl: line 2: answer: 2 is none of the 2 choices; write its number from 0, or its text\n"
    );
}

#[test]
fn a_plan_needs_neither_texts_nor_hardware() {
    let sandbox = sandbox();
    let set = ["--set=model.vocab_size=1000", "--set=text.files=['none.tokens']", "--set=train.updates=100"];
    let plan =
        sandbox.run(&[&["plan", "tale.toml", "--gpus", "2", "--tflops", "10", "--json"][..], &set].concat()).json();
    assert_eq!((&plan["tokens"], &plan["devices"]), (&6400.into(), &2.into()));
    let seconds = plan["flops"].as_f64().unwrap() / 20e12;
    assert!((plan["seconds"].as_f64().unwrap() / seconds - 1.0).abs() < 1e-9);
    let measured = sandbox.run(&["plan", "tale.toml", "--json"]).json();
    assert!(measured["tokens_per_second"].as_f64().unwrap() > 0.0);
    let unknown = sandbox.run(&["plan", "tale.toml", "--gpus", "2", "--tflops", "10"]).stderr;
    assert!(unknown.starts_with("error: model.vocab_size: 0 is taken from a tokenizer"), "{unknown}");
    assert!(!sandbox.path().join("runs").exists());
}

#[test]
fn what_is_wrong_with_a_text_is_named_before_anything_is_written() {
    let sandbox = encoded().with("short.txt", "ab");
    let refused = |set: &[&str], part: &str| {
        let set = set.iter().map(|set| format!("--set={set}"));
        let args: Vec<String> = ["train", "tale.toml", "--quiet"].map(String::from).into_iter().chain(set).collect();
        let outcome = sandbox.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
        assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(1), 1), "{}", outcome.stderr);
        assert!(!sandbox.path().join("runs").exists());
    };
    refused(&["text.files=['no.txt']"], "no.txt: no such file or folder");
    refused(&["text.files=['short.txt']"], "are fewer than a window of 16");
    refused(&["text.files=['tale.tokens']"], "tale.tokens was encoded with");
    refused(&["text.window=17"], "text.window: 17 tokens are more than the model's context of 16");
    refused(&["text.files=[]"], "text.files: name files, or several corpora");
    refused(&["text.batch=0"], "text.batch: 0 is not at least 1");
    refused(&["text.validation_share=0"], "nothing is held out");
    refused(&["text.corpus=[{files=['tale.txt'],weight=0}]", "text.files=[]"], "text.corpus.weight: 0 is not above 0");
    refused(&["env.id=frozen-lake-4x4"], "[env]: [supervised] learns from text alone; remove [env]");
    refused(&["bc={}"], "[text]: [bc] learns from a log alone; remove [text]");
    refused(&["text.file=['tale.txt']"], "unknown key `file` in [text]; did you mean `files`?");

    let path = sandbox.path().join("tale.tokens");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[400] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = "tale.tokens: its tokens are damaged: the checksum is wrong";
    refused(&["text.files=['tale.tokens']", "text.tokenizer=bpe/tokenizer.json"], damaged);
    refused(&["text.files=['tale.txt']", "text.tokenizer=tale.txt"], "tale.txt: no JSON");
}

#[test]
fn texts_that_cannot_be_encoded_leave_nothing() {
    let sandbox = sandbox().with("empty.jsonl", "\n").with("body.jsonl", "{\"body\": \"x\"}\n");
    sandbox.run(&["tokenizer", "train", "tale.txt", "--method", "characters", "--out", "chars", "--quiet"]).success();
    let encode = |file, part: &str| {
        let outcome =
            sandbox.run(&["tokenizer", "encode", file, "--tokenizer", "chars", "--out", "x.tokens", "--quiet"]);
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
        assert_eq!(outcome.code, Some(1));
        let left = std::fs::read_dir(sandbox.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("x.tokens")).collect();
        assert!(left.is_empty(), "{left:?}");
    };
    encode("empty.jsonl", "there is no text to write");
    encode("body.jsonl", "body.jsonl: line 1, text: is missing; the line has [\"body\"]");
    encode("tale.toml", "is not in the alphabet");
    let out = sandbox.run(&["tokenizer", "encode", "tale.txt", "--tokenizer", "chars", "--out", "x.bin"]).stderr;
    assert!(out.contains("--out x.bin: a token shard's name ends in .tokens"), "{out}");
    let again = sandbox.run(&["tokenizer", "train", "tale.txt", "--method", "characters", "--out", "chars"]).stderr;
    assert!(again.contains("chars/tokenizer.json: there is a file already"), "{again}");
    let sized = ["tokenizer", "train", "tale.txt", "--method", "characters", "--vocab-size", "9", "--out", "c"];
    assert!(sandbox.run(&sized).stderr.contains("--method characters: its tokens are the characters"));
}
