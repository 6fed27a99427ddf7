//! Mistakes in models, tokenizers and texts: every command that reads them reports the mistake before it writes.

use std::collections::BTreeSet;
use std::path::Path;

use palestra::model::checkpoint::{NumberType, Tensors, read_tensors, write_tensors};
use palestra::text::Tokenizer;
use serde_json::{Value, json};

use crate::command::Sandbox;
use crate::fine_tuning::{RUN, write_model_and_chats};
use crate::tiny_run::metrics_lines;

/// Commands that read a model: training from it, generation, evaluation, and merging adapters into it.
const USES: [&[&str]; 4] = [TRAIN, GENERATE, EVAL, &["merge", "m", "--adapter", "lora", "--out", "merged"]];
const TRAIN: &[&str] = &["train", "tuned.toml", "--quiet"];
const GENERATE: &[&str] = &["generate", "m", "--prompt", "a", "--quiet", "--device", "flex"];
const EVAL: &[&str] = &["eval", "m", "--data", "text.txt", "--quiet", "--device", "flex"];

/// Commands that read texts: pretraining, evaluation, training a tokenizer, and encoding.
const READS: [&[&str]; 4] = [
    &["train", "tale.toml", "--quiet"],
    &["eval", "m", "--data", "FILE", "--quiet", "--device", "flex"],
    &["tokenizer", "train", "FILE", "--vocab-size", "300", "--out", "bpe", "--quiet"],
    &["tokenizer", "encode", "FILE", "--tokenizer", "m", "--out", "new.tokens", "--quiet"],
];

/// Model `m` with 40 tokens, adapters `lora` for it, conversations, a text, and run files.
fn sandbox() -> Sandbox {
    let tale = "name = \"tale\"\n[text]\nfiles = [\"FILE\"]\n[model]\ncontext = 4\n";
    let sandbox = Sandbox::new().with("tuned.toml", RUN).with("text.txt", "one two three").with("tale.toml", tale);
    write_model_and_chats(sandbox.path());
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transformers/fixtures/llama-lora");
    std::fs::create_dir(sandbox.path().join("lora")).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(fixture.join(file), sandbox.path().join("lora").join(file)).unwrap();
    }
    sandbox
}

/// Checks that the program prints one line that begins with the first part and contains the others, and writes nothing.
#[track_caller]
fn assert_refused(sandbox: &Sandbox, args: &[&str], parts: &[&str]) {
    let there = || -> BTreeSet<_> {
        std::fs::read_dir(sandbox.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let before = there();
    let refused = sandbox.run(args);
    // Runs name files by their absolute paths.
    let told = refused.stderr.replace(&format!("{}/", sandbox.path().display()), "");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{args:?}: {told}");
    assert_eq!(told.lines().count(), 1, "{args:?}: {told}");
    assert!(told.starts_with(&format!("error: {}", parts[0])), "{args:?}: {told} is not {}", parts[0]);
    assert!(parts.iter().all(|part| told.contains(part)), "{args:?}: {told} is not {parts:?}");
    assert_eq!(there(), before, "{args:?} wrote something");
}

/// Checks as [`assert_refused`] does, for each command that reads texts, with a file of these bytes in place of `FILE`.
#[track_caller]
fn assert_unread(sandbox: &Sandbox, file: &str, bytes: &[u8], parts: [&[&str]; 4]) {
    std::fs::write(sandbox.path().join(file), bytes).unwrap();
    for (args, parts) in READS.into_iter().zip(parts) {
        let set = format!("--set=text.files=['{file}']");
        let mut args: Vec<&str> = args.iter().map(|arg| if *arg == "FILE" { file } else { arg }).collect();
        args.extend((args[0] == "train").then_some(set.as_str()));
        assert_refused(sandbox, &args, parts);
    }
}

/// Rewrites the tensors of a file.
fn change(sandbox: &Sandbox, file: &str, change: impl FnOnce(&mut Tensors)) {
    let path = sandbox.path().join(file);
    let mut tensors = read_tensors(&path, &|_| false).unwrap();
    change(&mut tensors);
    write_tensors(&path, &tensors, NumberType::F32).unwrap();
}

#[test]
fn wrong_and_missing_tensors_are_listed_by_name() {
    let sandbox = sandbox();
    change(&sandbox, "m/model.safetensors", |tensors| {
        let up = tensors.remove("model.layers.1.mlp.up_proj.weight").unwrap();
        tensors.insert("model.layers.1.mlp.upp_proj.weight".into(), up);
        tensors.remove("model.norm.weight").unwrap();
        tensors.get_mut("model.layers.0.mlp.down_proj.weight").unwrap().shape.reverse();
    });
    let message = "m/model.safetensors: does not fit the llama model of config.json; \
                   missing: model.norm.weight, model.layers.1.mlp.up_proj.weight; \
                   unexpected: layers.1.mlp.upp_proj.weight; of another shape: \
                   model.layers.0.mlp.down_proj.weight is [28, 24] and config.json makes it [24, 28]\n";
    USES.iter().for_each(|args| assert_refused(&sandbox, args, &[message]));
    let weights = sandbox.path().join("m/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 100]).unwrap();
    USES.iter().for_each(|args| {
        assert_refused(&sandbox, args, &["m/model.safetensors: ", "damaged safetensors file: ", "its header says"])
    });
    std::fs::remove_file(weights).unwrap();
    USES.iter().for_each(|args| assert_refused(&sandbox, args, &["m/model.safetensors: there is no such file"]));
}

#[test]
fn adapters_of_another_model_are_told_by_their_tensors() {
    let sandbox = sandbox();
    let merge = USES[3];
    change(&sandbox, "lora/adapter_model.safetensors", |tensors| {
        let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
        let tensor = tensors.remove(name).unwrap();
        tensors.insert(name.replace("layers.0", "layers.7"), tensor);
    });
    assert_refused(
        &sandbox,
        merge,
        &["lora/adapter_model.safetensors: ", "layers.0.self_attn.q_proj.lora_A.weight is miss"],
    );
    let whole = ["merge", "m", "--out", "merged"];
    assert_refused(&sandbox, &whole, &["m: it has no adapters to merge", "--adapter"]);
    assert_refused(
        &sandbox,
        &["merge", "m", "--adapter", "lora", "--out", "text.txt"],
        &["text.txt: there is something"],
    );
    assert_refused(&sandbox, &["merge", "nobody", "--out", "merged"], &["nobody is no directory"]);
}

#[test]
fn a_number_that_is_none_is_told_with_its_tensor() {
    let sandbox = sandbox();
    let spoil = |file: &str| {
        change(&sandbox, file, |_| ()); // in the order of names
        let path = sandbox.path().join(file);
        let last = read_tensors(&path, &|_| false).unwrap().pop_last().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let (name, place) = (last.0, last.1.data.len() - 1);
        format!("{file}: tensor {name} holds NaN at {place}; each must be a finite number\n")
    };
    let adapters = spoil("lora/adapter_model.safetensors");
    assert_refused(&sandbox, USES[3], &[&adapters]);
    let message = spoil("m/model.safetensors");
    USES.iter().for_each(|args| assert_refused(&sandbox, args, &[&message]));
}

#[test]
fn a_tokenizer_of_another_model_is_told() {
    let sandbox = sandbox();
    let large = Tokenizer::from_alphabet("abcdefghijklmnopqrstuvwxyz:. ?!é\n0123456789").unwrap();
    std::fs::write(sandbox.path().join("m/tokenizer.json"), large.to_json().unwrap()).unwrap();
    let message = "m/tokenizer.json: has 47 tokens, and the model's config.json says vocab_size = 40: they are of different \
                   models; ";
    let first = "is token 40, which the model's embedding does not have\n";
    USES.iter().for_each(|args| assert_refused(&sandbox, args, &[message, first]));
    let from_nothing = ["train", "tale.toml", "--set=text.files=['text.txt']", "--set=model.vocab_size=7"];
    assert_refused(&sandbox, &from_nothing, &["model.vocab_size: 7 is less than the tokenizer's 12 tokens\n"]);
}

#[test]
fn a_padding_token_beyond_the_embedding_is_opened_and_a_text_with_it_is_told() {
    let sandbox = sandbox();
    let path = sandbox.path().join("m/tokenizer.json");
    let mut tokenizer: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    tokenizer["added_tokens"] = json!([{
        "id": 40, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": true
    }]);
    std::fs::write(path, tokenizer.to_string()).unwrap();
    let roles = json!({"eos_token": "<|end|>", "pad_token": "[PAD]"});
    std::fs::write(sandbox.path().join("m/tokenizer_config.json"), roles.to_string()).unwrap();
    let message = "the text has \"[PAD]\", token 40, and the model's vocabulary ends at 39: it is for padding alone";
    let spelled = ["generate", "m", "--prompt", "a[PAD]", "--quiet", "--device", "flex"];
    assert_refused(&sandbox, &spelled, &["tokenizer: ", message]);
    [GENERATE, EVAL, TRAIN].iter().for_each(|args| {
        sandbox.run(args).success();
    });
}

#[test]
fn a_shard_of_another_tokenizer_is_told() {
    let sandbox = sandbox();
    sandbox.run(&["tokenizer", "train", "text.txt", "--vocab-size", "270", "--out", "own", "--quiet"]).success();
    sandbox.run(&["tokenizer", "encode", "text.txt", "--tokenizer", "own", "--out", "a.tokens", "--quiet"]).success();
    let message =
        ["a.tokens: it was encoded by a tokenizer with the fingerprint ", "name the tokenizer that encoded it"];
    assert_refused(&sandbox, &["eval", "m", "--data", "a.tokens", "--device", "flex"], &message);
    assert_refused(&sandbox, &["tokenizer", "stats", "a.tokens", "--tokenizer", "m"], &message);
    let train = ["train", "tale.toml", "--set=text.tokenizer='m/tokenizer.json'", "--set=text.files=['a.tokens']"];
    assert_refused(&sandbox, &train, &message);
}

#[test]
fn an_empty_text_is_told() {
    let nothing: &[&str] = &["empty.txt: there is nothing to predict"];
    let no_text: &[&str] = &["tokenizer: there is no text to learn a vocabulary from"];
    let alphabet: &[&str] = &["tokenizer: the alphabet is empty"];
    assert_unread(
        &sandbox(),
        "empty.txt",
        b"",
        [alphabet, nothing, no_text, &["new.tokens: there is no text to write"]],
    );
}

#[test]
fn a_corpus_of_which_nothing_is_left_is_told_with_the_reasons() {
    let rows = "{\"text\": \"Buy now\"}\n{\"text\": \"Buy\"}\n{\"text\": \"\"}\n";
    let sandbox = Sandbox::new().with("rows.jsonl", rows).with("none.jsonl", "\n");
    let corpus = |file| ["corpus", file, "--out", "kept", "--quiet"];
    assert_refused(
        &sandbox,
        &corpus("rows.jsonl"),
        &["nothing is left of 3 documents: ", "rows.jsonl", "loosen a rule"],
    );
    assert_refused(&sandbox, &corpus("none.jsonl"), &["the input has no document"]);
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_place() {
    let sandbox = sandbox();
    let message: &[&str] = &["bytes.txt: byte 5, in line 2, is no UTF-8; `palestra corpus` repairs encodings\n"];
    assert_unread(&sandbox, "bytes.txt", b"fine\n\xff\xfe", [message; 4]);
    let line: &[&str] = &["lines.jsonl: line 2, the line: is no JSON: "];
    assert_unread(&sandbox, "lines.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"\xff\"}\n", [line; 4]);
    let questions = b"{\"prompt\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 0}\n{\"prompt\": \"\xff\"}\n";
    std::fs::write(sandbox.path().join("ask.jsonl"), questions).unwrap();
    let line_of_questions: &[&str] = &["ask.jsonl: line 2, the line: is no JSON: column 13: byte 0xff is no UTF-8"];
    assert_refused(&sandbox, &["eval", "m", "--data", "ask.jsonl", "--device", "flex"], line_of_questions);
    std::fs::write(sandbox.path().join("chats.jsonl"), b"{\"messages\": \"\xff\"}\n").unwrap();
    assert_refused(&sandbox, TRAIN, &["chats.jsonl: line 1, the line: is no JSON: "]);
}

#[test]
fn a_row_without_the_column_is_told_with_what_it_has() {
    let sandbox = sandbox();
    let missing: &[&str] = &["rows.jsonl: line 2, text: is missing; the line has [\"body\"]\n"];
    assert_unread(&sandbox, "rows.jsonl", b"{\"text\": \"a\"}\n{\"body\": \"b\"}\n", [missing; 4]);
    let number: &[&str] = &["rows.jsonl: line 1, text: 3 is no text\n"];
    assert_unread(&sandbox, "rows.jsonl", b"{\"text\": 3}\n", [number; 4]);
    let completion = ["train", "tuned.toml", "--quiet", "--set", "text.format=completion"];
    assert_refused(&sandbox, &completion, &["chats.jsonl: line 1, prompt: is missing; the row has [\"messages\"]\n"]);
    std::fs::write(sandbox.path().join("ask.jsonl"), "{\"choices\": [\"b\"], \"answer\": 0}\n").unwrap();
    let eval = ["eval", "m", "--data", "ask.jsonl", "--device", "flex"];
    assert_refused(&sandbox, &eval, &["ask.jsonl: line 1: missing field `prompt`", "a question is {\"prompt\": text"]);
}

#[test]
fn a_template_that_fails_is_told_with_its_line() {
    let sandbox = sandbox();
    let chat: Vec<&str> = GENERATE.iter().copied().chain(["--chat"]).collect();
    let put = |text: &str| std::fs::write(sandbox.path().join("m/chat_template.jinja"), text).unwrap();
    put("{% for m in messages %}\n{{ m.content }\n{% endfor %}");
    for args in [TRAIN, &chat] {
        assert_refused(&sandbox, args, &["tokenizer: m/chat_template.jinja: line 2: "]);
    }
    put("a\n{{ raise_exception('roles must alternate') }}");
    let reason = "m/chat_template.jinja: line 2: the template refuses: roles must alternate\n";
    assert_refused(&sandbox, TRAIN, &["chats.jsonl: line 1, messages: tokenizer: ", reason]);
    assert_refused(&sandbox, &chat, &[&format!("tokenizer: {reason}")]);
    put("{{ messages[9].content.upper() }}");
    assert_refused(&sandbox, TRAIN, &["chats.jsonl: line 1, messages: tokenizer: m/chat_template.jinja: line 1: "]);
    // The text of the earlier messages is not a prefix of the whole, so the assistant's part cannot be found.
    put("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}");
    assert_refused(
        &sandbox,
        TRAIN,
        &["chats.jsonl: line 1, messages: ", "what message 2 adds cannot be told", "{% gen"],
    );
    std::fs::remove_file(sandbox.path().join("m/chat_template.jinja")).unwrap();
    assert_refused(&sandbox, TRAIN, &["chats.jsonl: line 1, messages: there is no chat template to write it with"]);
    assert_refused(&sandbox, &chat, &["--chat: m has no chat template (chat_template.jinja, or "]);
    let own = [TRAIN, &["--set=text.chat_template='own.jinja'"]].concat();
    assert_refused(&sandbox, &own, &["own.jinja: No such file or directory"]);
}

#[test]
fn what_is_longer_than_the_context_is_told_or_counted() {
    let sandbox = sandbox();
    let long = "a".repeat(64);
    let prompt = ["generate", "m", "--prompt", &long, "--device", "flex"];
    assert_refused(&sandbox, &prompt, &["the prompt has 64 tokens, and the model's context is 64: nothing can follow"]);
    let window = [TRAIN, &["--set=text.window=65"]].concat();
    assert_refused(&sandbox, &window, &["text.window: 65 tokens are more than the model's context of 64; set"]);
    let question = format!("{{\"prompt\": \"a\", \"choices\": [\"b\", \"{long}a\"], \"answer\": 0}}\n");
    std::fs::write(sandbox.path().join("ask.jsonl"), question).unwrap();
    let eval = ["eval", "m", "--data", "ask.jsonl", "--device", "flex"];
    assert_refused(
        &sandbox,
        &eval,
        &["ask.jsonl: line 1: choices: 65 tokens are more than the model's context of 64\n"],
    );
    let all = [TRAIN, &["--set=text.window=3"]].concat();
    assert_refused(
        &sandbox,
        &all,
        &["chats.jsonl: of 5 rows none is left to learn from: 5 are longer than text.window = 3"],
    );

    // The prompts of the longest conversation fill its row; the others are cut at the end or not at all.
    let some = ["train", "tuned.toml", "--quiet", "--out", "out", "--set=text.window=13", "--set=train.updates=1"];
    sandbox.run(&some).success();
    let line: Value = serde_json::from_str(&metrics_lines(&sandbox.path().join("out"))[0]).unwrap();
    let counted = ["data/examples_cut", "data/examples_dropped", "data/tokens_cut_off"].map(|name| line[name].as_f64());
    assert_eq!(counted, [1.0, 1.0, 1.0].map(Some), "{line}");
}
