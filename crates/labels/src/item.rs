//! What is judged.

use palestra_datasets::preferences::Text;
use sha2::{Digest, Sha256};

/// One answer, and who wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What was answered.
    pub text: Text,
    /// The policy that wrote it, such as a run's checkpoint; people who judge do not see it.
    pub policy: Option<String>,
}

/// A prompt with the answers to judge: one to rate, two to compare, or more.
#[derive(Debug, Clone, PartialEq)]
pub struct NewItem {
    /// What was asked.
    pub prompt: Text,
    /// The answers, in an order that nobody who judges sees.
    pub answers: Vec<Answer>,
    /// The place of the answer that is known to be best: such an item checks who judges, and is in no export.
    pub gold: Option<usize>,
}

impl NewItem {
    /// Items of the same prompt and the same answers are the same item, whichever answer stands first.
    pub(crate) fn key(&self) -> Vec<u8> {
        let json = |text: &Text| serde_json::to_string(text).expect("texts are JSON");
        let mut answers: Vec<String> = self.answers.iter().map(|answer| json(&answer.text)).collect();
        answers.sort_unstable();
        let mut hash = Sha256::new();
        for text in std::iter::once(&json(&self.prompt)).chain(&answers) {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hash.finalize().to_vec()
    }

    /// Why it cannot be judged, where it cannot: the column and the reason.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        let count = self.answers.len();
        let twice =
            |place: &usize| self.answers[..*place].iter().any(|answer| answer.text == self.answers[*place].text);
        if count == 0 || count > MOST_ANSWERS {
            return Some(("completions", format!("are {count}; there should be 1 to {MOST_ANSWERS} answers to judge")));
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

/// As many as there are digits to choose one with.
pub(crate) const MOST_ANSWERS: usize = 9;
