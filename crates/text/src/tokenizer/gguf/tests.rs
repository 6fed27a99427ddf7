use palestra_gguf::{NumberFormat, Tensor, write};

use super::*;
use crate::tokenizer::made::{opened, special_token};

const TEXT: &str = "ab abab  12 b\n\n don't";

/// A `tokenizer.json` with the bytes of [`TEXT`], two merges and two added tokens.
fn tokenizer_json(pre: &PreTokenizer) -> Json {
    let letters = ["a", "b", "Ġ", "Ċ", "1", "2", "d", "o", "n", "'", "t", "ab", "Ġab", "<s>", "<|end|>"];
    let vocabulary: Map<String, Json> =
        letters.iter().zip(0..).map(|(&token, id): (_, u64)| (token.into(), id.into())).collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special_token(13, "<s>"), special_token(14, "<|end|>")],
        "normalizer": pre.normalizer(), "pre_tokenizer": pre.to_json(), "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "ignore_merges": pre.ignores_merges, "vocab": vocabulary, "merges": ["a b", "Ġ ab"]},
    })
}

fn config() -> Json {
    json!({ "bos_token": "<s>", "eos_token": "<|end|>", "pad_token": "<s>" })
}

/// The tokenizer of a GGUF file with these settings.
fn read(settings: &[(String, Value)]) -> Result<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let tensor = Tensor { name: "t".into(), shape: vec![1], format: NumberFormat::F32, data: vec![1.0] };
    write(&path, settings, &[tensor]).unwrap();
    Tokenizer::from_file(&path)
}

#[test]
fn a_tokenizer_means_the_same_after_the_file() {
    for pre in &PRE_TOKENIZERS {
        let tokenizer = opened(&tokenizer_json(pre), &config());
        let settings = tokenizer.to_gguf(17, &config(), &[14], Some("{{ bos_token }}")).unwrap();
        let found = read(&settings).unwrap();
        assert_eq!(found.encode_text(TEXT).unwrap(), tokenizer.encode_text(TEXT).unwrap(), "{}", pre.names[0]);
        assert_eq!((found.special(), found.vocab_size()), (tokenizer.special(), 15), "rows 15 and 16 are unused");
        assert_eq!(found.decode(&[12, 14, 0]).unwrap(), " aba");
        let text = found.encode_text("ab<|end|>b").unwrap();
        assert_eq!(text, [11, 14, 1]);
    }
}

#[test]
fn the_settings_are_those_that_llama_cpp_reads() {
    let tokenizer = opened(&tokenizer_json(&PRE_TOKENIZERS[1]), &config());
    let settings: BTreeMap<String, Value> =
        tokenizer.to_gguf(16, &config(), &[14, 3], Some("T")).unwrap().into_iter().collect();
    let text = |name: &str| settings[&format!("tokenizer.{name}")].clone();
    assert_eq!(text("ggml.model"), Value::Text("gpt2".into()));
    assert_eq!(text("ggml.pre"), Value::Text("smollm".into()));
    assert_eq!(text("chat_template"), Value::Text("T".into()));
    assert_eq!(text("ggml.merges"), Value::Texts(vec!["a b".into(), "Ġ ab".into()]));
    let Value::Texts(tokens) = text("ggml.tokens") else { panic!() };
    assert_eq!(tokens[12..], ["Ġab", "<s>", "<|end|>", "[PAD15]"]);
    let Value::Integers(types) = text("ggml.token_type") else { panic!() };
    assert_eq!(types[12..], [NORMAL, CONTROL, CONTROL, UNUSED]);
    for (role, id) in [("bos", 13), ("eos", 14), ("padding", 13), ("eot", 3)] {
        assert_eq!(text(&format!("ggml.{role}_token_id")), Value::Integer(id), "{role}");
    }
    assert_eq!((text("ggml.add_bos_token"), text("ggml.add_eos_token")), (Value::Switch(false), Value::Switch(false)));
}

#[test]
fn tokens_around_a_text_are_kept() {
    let mut json = tokenizer_json(&PRE_TOKENIZERS[0]);
    let id_of = |token: &str| if token == "<s>" { json!(13) } else { json!(14) };
    json["post_processor"] = framing(Some("<s>"), Some("<|end|>"), &id_of);
    let tokenizer = opened(&json, &config());
    let settings = tokenizer.to_gguf(15, &Json::Null, &[], None).unwrap();
    assert_eq!(read(&settings).unwrap().encode_text("b").unwrap(), [13, 1, 14]);
}

#[test]
fn tokenizers_that_llama_cpp_applies_in_another_way_are_refused() {
    let refused = |change: &dyn Fn(&mut Json)| {
        let mut json = tokenizer_json(&PRE_TOKENIZERS[0]);
        change(&mut json);
        opened(&json, &config()).to_gguf(15, &config(), &[], None).unwrap_err().to_string()
    };
    let message = refused(&|json| json["pre_tokenizer"]["add_prefix_space"] = true.into());
    assert!(
        message.contains("pre_tokenizer: is none that can be written (gpt-2, smollm, llama-bpe, qwen2)"),
        "{message}"
    );
    assert!(refused(&|json| json["normalizer"] = json!({"type": "NFC"})).contains("normalizer: is {\"type\":\"NFC\"}"));
    assert!(refused(&|json| json["model"]["ignore_merges"] = true.into()).contains("model.ignore_merges: is true"));
    assert!(refused(&|json| json["model"]["byte_fallback"] = true.into()).contains("no byte-level BPE"));
    assert!(refused(&|json| json["added_tokens"][0]["lstrip"] = true.into()).contains("\"<s>\" has lstrip"));
    let characters = Tokenizer::from_alphabet("ab").unwrap().to_gguf(6, &Json::Null, &[], None).unwrap_err();
    assert!(characters.to_string().contains("single characters cannot be written"));
    let many = opened(&tokenizer_json(&PRE_TOKENIZERS[0]), &config()).to_gguf(15, &config(), &[1, 2, 3], None);
    assert!(many.unwrap_err().to_string().contains("4 tokens end a text"));
}

#[test]
fn damaged_tokenizers_are_refused_by_name() {
    let good = opened(&tokenizer_json(&PRE_TOKENIZERS[0]), &config()).to_gguf(15, &config(), &[], None).unwrap();
    let with = |name: &str, value: Option<Value>| {
        let mut settings = good.clone();
        settings.retain(|(known, _)| known != name);
        settings.extend(value.map(|value| (name.to_string(), value)));
        read(&settings).unwrap_err().to_string()
    };
    let text = |text: &str| Some(Value::Text(text.into()));
    assert!(with(MODEL, text("llama")).contains("tokenizer.ggml.model is \"llama\"; only \"gpt2\""));
    assert!(with(PRE, text("tekken")).contains("tokenizer.ggml.pre is \"tekken\"; gpt-2, smollm, "));
    assert!(with(PRE, None).contains("the setting tokenizer.ggml.pre is missing; gpt-2, smollm, "));
    assert!(with(TYPES, Some(Value::Integers(vec![1]))).contains("has 15 tokens, and tokenizer.ggml.token_type has 1"));
    assert!(with(TYPES, Some(Value::Integers(vec![6; 15]))).contains("token 0 is of the type 6"));
    assert!(with(TOKENS, Some(Value::Texts(vec!["a".into(); 15]))).contains("\"a\" is there twice"));
    assert!(with(MERGES, Some(Value::Texts(vec!["a z".into()]))).contains("no Hugging Face tokenizer"));
    let message = with("tokenizer.ggml.eos_token_id", Some(Value::Integer(99)));
    assert!(
        message.contains("tokenizer.ggml.eos_token_id is 99, and tokenizer.ggml.tokens has 15 tokens"),
        "{message}"
    );
}
