//! Number of bytes of text of each token.

use serde_json::Value;

/// Number of bytes of each token of a Hugging Face tokenizer; 0 for special tokens.
///
/// A token of a byte-level vocabulary has one character for each byte. In other vocabularies `▁` is a space, `<0x0A>`
/// is a byte, and a leading `##` marks the continuation of a word.
pub fn token_bytes(inner: &tokenizers::Tokenizer, vocab_size: usize) -> Vec<u32> {
    let json: Value = serde_json::to_value(inner).unwrap_or_default();
    let is_byte_level = mentions(&json["decoder"], "ByteLevel");
    let added = inner.get_added_tokens_decoder();
    let length = |id: u32| match (added.get(&id), inner.id_to_token(id)) {
        (Some(token), _) if token.special => 0,
        (Some(token), _) => token.content.len(),
        (None, None) => 0,
        (None, Some(token)) if is_byte_level => token.chars().count(),
        (None, Some(token)) if token.len() == 6 && token.starts_with("<0x") && token.ends_with('>') => 1,
        (None, Some(token)) => token.strip_prefix("##").unwrap_or(&token).replace('▁', " ").len(),
    };
    (0..vocab_size as u32).map(|id| length(id) as u32).collect()
}

/// True if a part of a tokenizer is of this type, or has such a part.
fn mentions(part: &Value, name: &str) -> bool {
    part["type"] == name
        || part["decoders"].as_array().is_some_and(|parts| parts.iter().any(|part| mentions(part, name)))
}
