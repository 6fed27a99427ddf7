//! Streaming decoder: tokens to text as they arrive, in whole characters.

use super::Tokenizer;
use crate::Result;

/// Decodes tokens one by one. The concatenated pieces are the text of all tokens.
///
/// A token may be a part of a character, and its text may depend on the token before it. So a few tokens are decoded
/// again with each new one, and no piece ends within a character.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    tokens: Vec<u32>,
    /// Index of the first token that is decoded again.
    from: usize,
    /// Number of tokens whose text was returned.
    told: usize,
}

impl<'a> TextStream<'a> {
    /// A decoder that has seen no tokens.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, tokens: Vec::new(), from: 0, told: 0 }
    }

    /// Adds a token and returns the text that it completes, possibly empty.
    ///
    /// # Errors
    /// An id beyond the vocabulary.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.tokens.push(token);
        let new = self.untold()?;
        if new.is_empty() || new.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        (self.from, self.told) = (self.told, self.tokens.len());
        Ok(new)
    }

    /// The remaining text when no token follows; an incomplete character becomes a replacement character.
    ///
    /// # Errors
    /// An id beyond the vocabulary.
    pub fn finish(&self) -> Result<String> {
        self.untold()
    }

    fn untold(&self) -> Result<String> {
        let told = self.tokenizer.decode(&self.tokens[self.from..self.told])?;
        let all = self.tokenizer.decode(&self.tokens[self.from..])?;
        Ok(all.strip_prefix(&told).unwrap_or_default().to_string())
    }
}

/// The text before the first stop string; `None` if there is none.
pub fn before_stop<'a>(text: &'a str, stop: &[String]) -> Option<&'a str> {
    stop.iter().filter_map(|stop| text.find(stop.as_str())).min().map(|at| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer with one token for each byte.
    fn bytes() -> Tokenizer {
        let letters = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut letters: Vec<char> = letters.into_iter().collect();
        letters.sort_unstable();
        let vocab: serde_json::Map<String, serde_json::Value> =
            letters.iter().enumerate().map(|(id, letter)| (letter.to_string(), id.into())).collect();
        let level = serde_json::json!(
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
        );
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": level, "post_processor": null, "decoder": level,
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
        });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokenizer.json");
        std::fs::write(&path, json.to_string()).unwrap();
        Tokenizer::from_file(&path).unwrap()
    }

    #[test]
    fn pieces_are_whole_characters_and_make_up_the_text() {
        let (tokenizer, text) = (bytes(), "aé 数🙂!");
        let mut tokens = Vec::new();
        tokenizer.encode(text, &mut tokens).unwrap();
        assert_eq!(tokens.len(), text.len());
        let mut stream = TextStream::new(&tokenizer);
        let pieces: Vec<String> = tokens.iter().map(|&token| stream.push(token).unwrap()).collect();
        let told: Vec<&str> = pieces.iter().map(String::as_str).filter(|piece| !piece.is_empty()).collect();
        assert_eq!(told, ["a", "é", " ", "数", "🙂", "!"]);
        assert_eq!(stream.finish().unwrap(), "");

        let mut cut = TextStream::new(&tokenizer);
        let told: String = tokens[..2].iter().map(|&token| cut.push(token).unwrap()).collect();
        assert_eq!((told.as_str(), cut.finish().unwrap().as_str()), ("a", "\u{FFFD}"));
    }
}
