//! Small tokenizers for the tests of this crate.

use serde_json::{Map, Value, json};

use super::Tokenizer;

/// The tokenizer of a directory with these files.
pub fn opened(tokenizer: &Value, config: &Value) -> Tokenizer {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokenizer.json");
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    std::fs::write(directory.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    Tokenizer::from_file(&path).unwrap()
}

/// A tokenizer with one token for each byte.
pub fn bytes() -> Tokenizer {
    let mut letters: Vec<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let words = letters.iter().map(char::to_string);
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    opened(&bpe(words, json!([]), level.clone(), level), &Value::Null)
}

/// A tokenizer as SentencePiece makes them: `▁` before words, the special tokens `<s>` = 0 and `</s>` = 1, all bytes from
/// token 2 on, and the given further words.
pub fn pieces(words: &[&str]) -> Tokenizer {
    let special = ["<s>", "</s>"].map(String::from).into_iter();
    let bytes = (0..=255).map(|byte: u8| format!("<0x{byte:02X}>"));
    let vocab = special.chain(bytes).chain(words.iter().map(|word| word.to_string()));
    let before = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
    let decoder = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]});
    let mut json = bpe(vocab, json!([]), before, decoder);
    json["added_tokens"] = json!([special_token(0, "<s>"), special_token(1, "</s>")]);
    json["model"]["byte_fallback"] = true.into();
    opened(&json, &Value::Null)
}

/// An added token.
pub fn special_token(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": true})
}

fn bpe(words: impl Iterator<Item = String>, merges: Value, before: Value, decoder: Value) -> Value {
    let vocab: Map<String, Value> = words.zip(0..).map(|(word, id): (String, u32)| (word, id.into())).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": before, "post_processor": null, "decoder": decoder,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    })
}
