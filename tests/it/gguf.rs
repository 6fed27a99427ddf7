//! GGUF files: a model exported as one, and one in the place of a model directory.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::command::Sandbox;
use crate::fine_tuning::{LORA, QLORA, RUN, TEMPLATE, write_model_and_chats};

/// Sandbox with a model directory `m` that has a tokenizer of byte-level BPE, and a run that starts from a GGUF file of it.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new().with("tuned.toml", &RUN.replace("\"m\"", "\"m.gguf\""));
    write_model_and_chats(sandbox.path());
    let file = |name: &str| sandbox.path().join("m").join(name);
    std::fs::write(file("tokenizer.json"), tokenizer().to_string()).unwrap();
    let config = json!({"eos_token": "<|end|>", "bos_token": "<|begin|>", "chat_template": TEMPLATE});
    std::fs::write(file("tokenizer_config.json"), config.to_string()).unwrap();
    sandbox
}

fn tokenizer() -> Value {
    let special = ["<|pad|>", "<|begin|>", "<|end|>"];
    let letters = ('a'..='z').map(String::from);
    let marks = [":", ".", "Ġ", "?", "!", "Ċ", "0", "1", "th", "ee"].map(String::from);
    let words = special.map(String::from).into_iter().chain(letters).chain(marks);
    let vocabulary: Map<String, Value> = words.zip(0..).map(|(word, id): (String, u32)| (word, id.into())).collect();
    let added: Vec<Value> = special
        .iter()
        .zip(0..)
        .map(|(content, id): (_, u32)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["t h", "e e"]},
    })
}

fn generated(sandbox: &Sandbox, model: &str) -> Value {
    let args = ["generate", model, "--chat", "--prompt", "three ways", "--max-new-tokens", "12"];
    let mut report = sandbox.run(&[&args[..], &["--json", "--quiet", "--device", "flex"]].concat()).json();
    for measured in ["model", "seconds", "tokens_per_second"] {
        report.as_object_mut().unwrap().remove(measured);
    }
    report
}

fn export(sandbox: &Sandbox, model: &str, out: &str, format: &str) -> Value {
    sandbox.run(&["export", "--gguf", model, "--out", out, "--type", format, "--json", "--quiet"]).json()
}

#[test]
fn a_model_writes_the_same_from_its_gguf_file() {
    let sandbox = sandbox();
    let expected = generated(&sandbox, "m");
    assert!(expected["tokens"].as_array().unwrap().len() > 3, "{expected}");
    let report = export(&sandbox, "m", "m.gguf", "f32");
    assert_eq!((&report["format"], &report["in_f16"]), (&json!("F32"), &json!([])));
    assert_eq!(report["bytes"], std::fs::metadata(sandbox.path().join("m.gguf")).unwrap().len());
    assert_eq!(generated(&sandbox, "m.gguf"), expected);
    // From file to file; the matrices of this model are too narrow for blocks of 32.
    let report = export(&sandbox, "m.gguf", "small.gguf", "q8_0");
    assert_eq!(report["in_f16"].as_array().unwrap().len(), 16);
    assert!(!generated(&sandbox, "small.gguf")["text"].as_str().unwrap().is_empty());
}

#[test]
fn a_run_starts_from_a_gguf_file_and_is_exported_as_one() {
    let sandbox = sandbox();
    export(&sandbox, "m", "m.gguf", "f32");
    for (out, options) in [("whole", &[][..]), ("adapters", &LORA[..]), ("quantised", &QLORA[..])] {
        let train = ["train", "tuned.toml", "--quiet", "--out", out, "--device", "flex"];
        sandbox.run(&[&train[..], options].concat()).success();
        let file = format!("{out}.gguf");
        export(&sandbox, out, &file, "f32");
        assert_eq!(generated(&sandbox, &file), generated(&sandbox, out), "{out}");
    }
    assert_ne!(generated(&sandbox, "whole.gguf")["tokens"], generated(&sandbox, "m.gguf")["tokens"]);
    sandbox.run(&["merge", "adapters", "--out", "merged", "--quiet"]).success();
    assert_eq!(generated(&sandbox, "merged")["text"], generated(&sandbox, "adapters")["text"]);
}

#[test]
fn files_are_kept_and_what_cannot_be_exported_is_refused() {
    let sandbox = sandbox();
    export(&sandbox, "m", "m.gguf", "f16");
    let refused = |args: &[&str]| sandbox.run(&[&["export", "--gguf"][..], args].concat()).stderr;
    let kept = refused(&["m", "--out", "m.gguf"]);
    assert!(kept.contains("m.gguf: there is a file already; name another, or replace it with --overwrite"), "{kept}");
    let read = refused(&["m.gguf", "--out", "m.gguf", "--overwrite"]);
    assert!(read.contains("this command reads it"), "{read}");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transformers/fixtures/gpt2");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture.join(name), sandbox.path().join("m").join(name)).unwrap();
    }
    let family = refused(&["m", "--out", "other.gguf"]);
    assert!(family.contains("the model is of the family \"gpt2\"; llama, mistral, qwen2 and qwen3 can"), "{family}");
    assert!(!sandbox.path().join("other.gguf").exists());
    let bytes = std::fs::read(sandbox.path().join("m.gguf")).unwrap();
    std::fs::write(sandbox.path().join("cut.gguf"), &bytes[..bytes.len() / 2]).unwrap();
    let cut = sandbox.run(&["generate", "cut.gguf", "--prompt", "a"]).stderr;
    assert!(cut.contains("cut.gguf: damaged: tensor "), "{cut}");
}
