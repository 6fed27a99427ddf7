//! Streaming decoder: tokens to text as they arrive, in whole characters.

use super::Tokenizer;
use crate::Result;

/// Decodes tokens one by one. The concatenated pieces are the text of all tokens.
///
/// A token may be a part of a character, and its text may depend on the token before it. So the last few tokens are
/// decoded again with each new one, and no piece ends within a character. The cost of a token does not grow with the text.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The last tokens that have text.
    window: Vec<u32>,
    /// Number of tokens of the window that ended a piece: they are there so that what follows is decoded as after them.
    before: usize,
    /// Bytes of the window's text that were returned.
    told: usize,
}

/// Maximum number of tokens after those that ended a piece. A character has at most four bytes, so more tokens that end no
/// piece are bytes that make no character.
const MAX_OPEN: usize = 16;

impl<'a> TextStream<'a> {
    /// A decoder that has seen no tokens.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, window: Vec::new(), before: 0, told: 0 }
    }

    /// Adds a token and returns the text that it completes, possibly empty.
    ///
    /// # Errors
    /// An id beyond the vocabulary.
    pub fn push(&mut self, token: u32) -> Result<String> {
        if self.tokenizer.is_special(token) {
            return Ok(String::new());
        }
        self.window.push(token);
        let text = self.text()?;
        let complete = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let piece = self.after_told(complete);
        self.told = self.told.max(complete.len());
        if complete.len() == text.len() && !piece.is_empty() {
            self.forget(self.before)?;
        } else if self.window.len() > self.before + MAX_OPEN {
            self.forget(self.window.len() - MAX_OPEN / 2)?;
        }
        Ok(piece)
    }

    /// The remaining text when no token follows; an incomplete character becomes a replacement character.
    ///
    /// # Errors
    /// An id beyond the vocabulary.
    pub fn finish(&self) -> Result<String> {
        Ok(self.after_told(&self.text()?))
    }

    /// Removes the first tokens of the window. All others then count as the end of a piece.
    fn forget(&mut self, first: usize) -> Result<()> {
        self.window.drain(..first);
        self.before = self.window.len();
        self.told = self.text()?.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
        Ok(())
    }

    /// The text after what was returned. Bytes that turn out to make no character change the text before them.
    fn after_told(&self, text: &str) -> String {
        text[text.ceil_char_boundary(self.told)..].to_string()
    }

    fn text(&self) -> Result<String> {
        self.tokenizer.decode(&self.window)
    }

    /// Number of tokens that the next token is decoded with.
    #[cfg(test)]
    pub fn window_len(&self) -> usize {
        self.window.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{bytes, pieces};
    use super::*;

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

    #[test]
    fn text_goes_on_after_bytes_that_make_no_character() {
        let tokenizer = pieces(&["▁a"]);
        let [e, acute, wrong, a] = [2 + 0xC3, 2 + 0xA9, 2 + 0xFF, 258];
        let mut stream = TextStream::new(&tokenizer);
        let pieces: Vec<String> = [e, acute, wrong, a, a].iter().map(|&token| stream.push(token).unwrap()).collect();
        assert_eq!(pieces[..3], ["", "é", ""]);
        assert!(pieces[3].ends_with(" a"), "{:?}", pieces[3]);
        assert_eq!(pieces[4], " a");
    }
}
