use palestra_gguf::{NumberFormat, Tensor, write};

use super::byte_level::{MERGES, PRE, PRE_TOKENIZERS, PreTokenizer};
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
        let settings = tokenizer.to_gguf(17, &config(), &[14], Some("{{ bos_token }}")).unwrap().settings;
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
        tokenizer.to_gguf(16, &config(), &[14, 3], Some("T")).unwrap().settings.into_iter().collect();
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
    let settings = tokenizer.to_gguf(15, &Json::Null, &[], None).unwrap().settings;
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
    assert!(
        refused(&|json| json["model"]["byte_fallback"] = true.into())
            .contains("normalizer and pre_tokenizer: are null")
    );
    assert!(refused(&|json| json["added_tokens"][0]["lstrip"] = true.into()).contains("\"<s>\" has lstrip"));
    let characters = Tokenizer::from_alphabet("ab").unwrap().to_gguf(6, &Json::Null, &[], None).unwrap_err();
    assert!(characters.to_string().contains("single characters cannot be written"));
    let many = opened(&tokenizer_json(&PRE_TOKENIZERS[0]), &config()).to_gguf(15, &config(), &[1, 2, 3], None);
    assert!(many.unwrap_err().to_string().contains("4 tokens end a text"));
}

#[test]
fn damaged_tokenizers_are_refused_by_name() {
    let good =
        opened(&tokenizer_json(&PRE_TOKENIZERS[0]), &config()).to_gguf(15, &config(), &[], None).unwrap().settings;
    let with = |name: &str, value: Option<Value>| {
        let mut settings = good.clone();
        settings.retain(|(known, _)| known != name);
        settings.extend(value.map(|value| (name.to_string(), value)));
        read(&settings).unwrap_err().to_string()
    };
    let text = |text: &str| Some(Value::Text(text.into()));
    assert!(with(MODEL, text("bert")).contains("tokenizer.ggml.model is \"bert\"; gpt2, byte-level BPE, and llama"));
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

/// A tokenizer as SentencePiece makes them, with these merges.
fn pieces_json(merges: &[&str], normalizer: Json) -> Json {
    let words = ["<unk>", "<s>", "</s>"].map(String::from).into_iter();
    let bytes = (0..=255).map(|byte: u8| format!("<0x{byte:02X}>"));
    let letters = ["▁", "a", "b", "c", "ab", "▁a", "▁ab", "bc", "abc", "▁▁", "▁▁▁"].map(String::from);
    let vocabulary: Map<String, Json> =
        words.chain(bytes).chain(letters).zip(0..).map(|(token, id): (String, u32)| (token, id.into())).collect();
    let merges: Vec<Json> = merges.iter().map(|merge| json!(merge)).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special_token(0, "<unk>"), special_token(1, "<s>"), special_token(2, "</s>")],
        "normalizer": normalizer, "pre_tokenizer": null,
        "post_processor": framing(Some("<s>"), None, &|_| json!(1)),
        "decoder": null,
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                  "vocab": vocabulary, "merges": merges},
    })
}

/// All pairs that make a token, those of one token one after the other, and those of the runs of spaces.
const PIECES: [&str; 10] = ["a b", "▁ ab", "▁a b", "▁ a", "b c", "a bc", "ab c", "▁▁ ▁", "▁ ▁▁", "▁ ▁"];

fn spaces(has_prefix: bool) -> Json {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    match has_prefix {
        true => json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}),
        false => replace,
    }
}

#[test]
fn pieces_mean_the_same_after_the_file() {
    let config = json!({ "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>" });
    for has_prefix in [true, false] {
        let tokenizer = opened(&pieces_json(&PIECES, spaces(has_prefix)), &config);
        let settings = tokenizer.to_gguf(271, &config, &[], None).unwrap().settings;
        let found = read(&settings).unwrap();
        for text in ["ab abc  cab", " a", "aé\n b", "a</s> ab", "a       b  c", ""] {
            let expected = tokenizer.encode_text(text).unwrap();
            assert_eq!(found.encode_text(text).unwrap(), expected, "{text:?}, {has_prefix}");
        }
        assert_eq!(found.special(), tokenizer.special());
        let settings: BTreeMap<String, Value> = settings.into_iter().collect();
        assert_eq!(settings["tokenizer.ggml.model"], Value::Text("llama".into()));
        assert_eq!(settings["tokenizer.ggml.add_space_prefix"], Value::Switch(has_prefix));
        let Value::Integers(types) = &settings["tokenizer.ggml.token_type"] else { panic!() };
        assert_eq!((&types[..4], types[259], types[270]), (&[UNKNOWN, CONTROL, CONTROL, BYTE][..], NORMAL, UNUSED));
        let Value::Floats(scores) = &settings["tokenizer.ggml.scores"] else { panic!() };
        assert_eq!((scores.len(), scores[263], scores[265], scores[267]), (271, 0.0, -1.0, -5.0));
        assert_eq!((scores[268], scores[269]), (-7.0, -7.0), "runs of spaces");
    }
}

#[test]
fn pieces_that_llama_cpp_merges_in_another_way_are_refused() {
    let config = json!({ "eos_token": "</s>" });
    let refused = |merges: &[&str], normalizer: Json| {
        let tokenizer = opened(&pieces_json(merges, normalizer), &config);
        tokenizer.to_gguf(270, &config, &[], None).unwrap_err().to_string()
    };
    let message = refused(&PIECES[..6], spaces(true));
    assert!(message.contains("\"ab\" and \"c\" are not merged"), "{message}");
    let message = refused(&["a b", "▁ ab", "▁ a", "▁a b", "b c"], spaces(true));
    assert!(message.contains("those to \"▁ab\" do not stand one after the other"), "{message}");
    let metaspace = |scheme: &str| {
        let mut json = pieces_json(&PIECES, Json::Null);
        json["pre_tokenizer"] =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
        opened(&json, &config).to_gguf(270, &config, &[], None).unwrap().note.unwrap_or_default()
    };
    assert_eq!(metaspace("never"), "");
    assert_eq!(metaspace("always"), "llama.cpp puts a space before a text that begins with one, too");
    assert!(metaspace("first").ends_with("and before a text behind a special token"));
    let message = refused(&["a b"], Json::Null);
    assert!(message.contains("normalizer and pre_tokenizer: are null and null"), "{message}");
}

#[test]
fn damaged_pieces_are_refused_by_name() {
    let config = json!({ "eos_token": "</s>" });
    let good = opened(&pieces_json(&PIECES, spaces(true)), &config).to_gguf(270, &config, &[], None).unwrap().settings;
    let with = |scores: Vec<f32>| {
        let mut settings = good.clone();
        settings.retain(|(known, _)| known != "tokenizer.ggml.scores");
        settings.push(("tokenizer.ggml.scores".into(), Value::Floats(scores)));
        read(&settings).unwrap_err().to_string()
    };
    assert!(with(vec![0.0; 3]).contains("tokenizer.ggml.scores has 3 scores, and there are 270 tokens"));
    assert!(with(vec![-1000.0; 270]).contains("\"ab\" and \"▁a\" both have -1000"), "{}", with(vec![-1000.0; 270]));
}
