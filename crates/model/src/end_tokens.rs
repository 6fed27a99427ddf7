//! Tokens that end a text that a model writes.

use super::GenerationConfig;

/// Tokens that end a text; any of them does, and the text ends with it.
///
/// A model can have several, such as one that ends a message and one that ends a document. Where text is encoded to be
/// learned from, the tokenizer's own end token is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndTokens(Vec<u32>);

impl EndTokens {
    /// The end token of a tokenizer, and those of a model's generation settings.
    pub fn new(tokenizer: Option<u32>, generation: &GenerationConfig) -> Self {
        let mut ids: Vec<u32> = tokenizer.into_iter().collect();
        for &id in &generation.eos {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Self(ids)
    }

    /// The ids; the tokenizer's own is the first.
    pub fn ids(&self) -> &[u32] {
        &self.0
    }

    /// True if a text ends with these tokens.
    pub fn end(&self, tokens: &[u32]) -> bool {
        tokens.last().is_some_and(|last| self.0.contains(last))
    }

    /// The tokens of a text before its end token, if it has one.
    pub fn before<'a>(&self, tokens: &'a [u32]) -> &'a [u32] {
        if self.end(tokens) { &tokens[..tokens.len() - 1] } else { tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_token_of_tokenizer_and_settings_ends_a_text() {
        let generation = |eos: &[u32]| GenerationConfig { eos: eos.to_vec(), ..GenerationConfig::default() };
        let ends = EndTokens::new(Some(4), &generation(&[7, 4, 9, 7]));
        assert_eq!(ends.ids(), [4, 7, 9]);
        assert_eq!([&[1, 9][..], &[9, 1], &[]].map(|tokens| ends.end(tokens)), [true, false, false]);
        assert_eq!([&[1, 7][..], &[7, 7], &[7, 1]].map(|tokens| ends.before(tokens)), [&[1][..], &[7], &[7, 1]]);
        assert_eq!(EndTokens::new(None, &generation(&[7])).ids(), [7]);
        assert!(EndTokens::new(None, &generation(&[])).ids().is_empty());
    }
}
