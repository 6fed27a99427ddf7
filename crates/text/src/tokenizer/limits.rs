//! Bounds of what a `tokenizer.json` holds. It comes with models from anybody, and its reader takes memory by what it says.

use serde_json::Value;

/// Token ids are below this: 16 times the largest vocabularies. Tables have a row for each.
const MAX_IDS: u64 = 1 << 24;

/// Maximum length of a token in bytes.
const MAX_TOKEN: usize = 4 << 10;

/// Maximum number of bytes of all added tokens, which are searched for in every text.
const MAX_ADDED: usize = 8 << 20;

/// Maximum size of the file in bytes.
pub(super) const MAX_FILE: u64 = 1 << 30;

/// Refuses a vocabulary or added tokens beyond the bounds.
pub(super) fn check(tokenizer: &Value) -> Result<(), String> {
    let mut added = 0;
    for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let content = token["content"].as_str().unwrap_or_default();
        check_token("added_tokens", content, &token["id"])?;
        added += content.len();
    }
    if added > MAX_ADDED {
        return Err(format!("added_tokens: have {added} bytes in all; at most {MAX_ADDED} are read"));
    }
    let vocabulary = &tokenizer["model"]["vocab"];
    for (content, id) in vocabulary.as_object().into_iter().flatten() {
        check_token("model.vocab", content, id)?;
    }
    match vocabulary.as_array().map(Vec::len) {
        Some(count) if count as u64 > MAX_IDS => {
            Err(format!("model.vocab: has {count} tokens; at most {MAX_IDS} are read"))
        }
        _ => Ok(()),
    }
}

/// Refuses a token that is too long, or whose id is too large.
pub(super) fn check_token(field: &str, content: &str, id: &Value) -> Result<(), String> {
    let shown: String = content.chars().take(20).collect();
    if content.len() > MAX_TOKEN {
        return Err(format!(
            "{field}: the token {shown:?}... has {} bytes; at most {MAX_TOKEN} are read",
            content.len()
        ));
    }
    match id.as_u64() {
        Some(id) if id >= MAX_IDS => Err(format!("{field}: {shown:?} has the id {id}; ids below {MAX_IDS} are read")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Tokenizer;

    #[test]
    fn tokenizers_that_take_too_much_are_refused() {
        let with = |vocabulary: Value, added: Value| {
            let model = json!({"type": "WordLevel", "vocab": vocabulary, "unk_token": "a"});
            let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
                "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": model});
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("tokenizer.json");
            std::fs::write(&file, tokenizer.to_string()).unwrap();
            Tokenizer::from_file(&file).map(|tokenizer| tokenizer.vocab_size()).map_err(|error| error.to_string())
        };
        let added = |id: u64, content: &str| {
            json!([{"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}])
        };
        assert_eq!(with(json!({"a": 0}), added(1, "b")), Ok(2));
        let error = with(json!({"a": 0, "b": 2_147_483_648u64}), json!([])).unwrap_err();
        assert!(
            error.contains("tokenizer.json: model.vocab: \"b\" has the id 2147483648; ids below 16777216"),
            "{error}"
        );
        let error = with(json!({"a": 0}), added(4_000_000_000, "b")).unwrap_err();
        assert!(error.contains("added_tokens: \"b\" has the id 4000000000"), "{error}");
        let error = with(json!({"a": 0}), added(1, &"b".repeat(100_000))).unwrap_err();
        assert!(error.contains("has 100000 bytes; at most 4096 are read"), "{error}");
        assert!(error.len() < 300, "{}", error.len());
    }
}
