//! Items to label.

use palestra_datasets::Content;
use sha2::{Digest, Sha256};

/// One answer and the policy that wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The text of the answer.
    pub text: Content,
    /// The policy that wrote it, such as a run's checkpoint; it is hidden from annotators.
    pub policy: Option<String>,
}

/// A prompt with the answers to label: one to rate, two to compare, or more.
#[derive(Debug, Clone, PartialEq)]
pub struct NewItem {
    /// The prompt.
    pub prompt: Content,
    /// The answers, in an order that annotators do not see.
    pub answers: Vec<Answer>,
    /// Index of the known best answer. Such a gold item tests the annotators and is not exported.
    pub gold: Option<usize>,
    /// Difference between the two highest scores of its answers by a reward model, if they are known: see
    /// [`Store::order_by_uncertainty`](crate::Store::order_by_uncertainty).
    pub gap: Option<f64>,
}

/// Difference between the two highest scores of an item's answers; `None` of fewer than two.
pub fn gap(scores: &[f64]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|left, right| right.total_cmp(left));
    Some(sorted.first()? - sorted.get(1)?)
}

impl NewItem {
    /// Hash of the item. Items with the same prompt and the same answers are the same item, in any order of the
    /// answers.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut answers: Vec<String> = self.answers.iter().map(|answer| answer.text.canonical_json()).collect();
        answers.sort_unstable();
        let mut hash = Sha256::new();
        for text in std::iter::once(&self.prompt.canonical_json()).chain(&answers) {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hash.finalize().to_vec()
    }

    /// Reason why the item is invalid: the column and the description; `None` if it is valid.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        let count = self.answers.len();
        let twice =
            |place: &usize| self.answers[..*place].iter().any(|answer| answer.text == self.answers[*place].text);
        if count == 0 || count > MAX_ANSWERS {
            return Some(("completions", format!("are {count}; there should be 1 to {MAX_ANSWERS} answers to label")));
        }
        if let Some(place) = (0..count).find(twice) {
            return Some(("completions", format!("answer {place} is there twice; the answers should differ")));
        }
        match self.gold {
            Some(gold) if gold >= count => {
                Some(("gold", format!("{gold} where a place from 0 to {} should be", count - 1)))
            }
            Some(_) if count == 1 => {
                Some(("gold", "stands beside a single answer; it should be the best of two or more".into()))
            }
            _ => None,
        }
    }
}

/// Maximum number of answers of an item: one digit key selects one answer.
pub(crate) const MAX_ANSWERS: usize = 9;
