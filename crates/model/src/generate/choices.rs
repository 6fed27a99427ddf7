use std::sync::Arc;

/// Token sequences that an action is restricted to.
#[derive(Debug, PartialEq)]
pub struct Choices {
    /// Ascending, without duplicates; none is a prefix of another.
    pub(super) sequences: Vec<Vec<u32>>,
    /// Distinct first tokens, kept because every turn needs them.
    first: Arc<[u32]>,
}

impl Choices {
    /// A choice among token sequences. If one sequence is a prefix of another, `end` is appended to all, so that both
    /// can be written.
    pub fn new(mut sequences: Vec<Vec<u32>>, end: u32) -> Self {
        sequences.sort();
        sequences.dedup();
        if sequences.iter().any(Vec::is_empty) || sequences.windows(2).any(|pair| pair[1].starts_with(&pair[0])) {
            sequences.iter_mut().for_each(|sequence| sequence.push(end));
            sequences.sort();
        }
        let first = next_tokens(&sequences, 0);
        Self { sequences, first }
    }

    /// Number of tokens of the longest choice.
    pub fn longest(&self) -> usize {
        self.sequences.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// True if the sequence is one of the choices.
    pub fn contains(&self, sequence: &[u32]) -> bool {
        self.sequences.binary_search_by(|choice| choice.as_slice().cmp(sequence)).is_ok()
    }

    /// Tokens that may follow the prefix `written`, ascending; none if a choice is complete.
    pub fn allowed_after(&self, written: &[u32]) -> Arc<[u32]> {
        if written.is_empty() {
            return Arc::clone(&self.first);
        }
        let from = self.sequences.partition_point(|sequence| sequence.as_slice() < written);
        let matching = self.sequences[from..].iter().take_while(|sequence| sequence.starts_with(written)).count();
        next_tokens(&self.sequences[from..from + matching], written.len())
    }
}

/// Distinct tokens at one depth of sorted sequences.
fn next_tokens(sequences: &[Vec<u32>], depth: usize) -> Arc<[u32]> {
    let mut tokens: Vec<u32> = sequences.iter().filter_map(|sequence| sequence.get(depth).copied()).collect();
    tokens.dedup();
    tokens.into()
}
