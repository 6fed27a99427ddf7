//! Exact and near duplicates: detection of equal texts by their ids, and of similar ones by a signature of a few bytes.
//!
//! A text is represented by the set of its sequences of five words. [`signature`] is MinHash over that set: 112 values
//! that agree between two texts with a probability equal to the sets' Jaccard similarity. The [`index`] finds earlier
//! texts that agree in one of 14 bands of 8 values (the parameters of FineWeb, Penedo et al. 2024).

mod index;
mod signature;

use crate::rule::{Failed, Rule};
use crate::settings;
use crate::shards::id_text;

pub(crate) use index::Index;
pub use signature::probability_of_meeting;
pub(crate) use signature::{BANDS, Signature, signature};

/// The earlier text that a text repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Duplicate {
    pub id: u64,
    /// The estimated Jaccard similarity; `None` for an equal text.
    pub similarity: Option<f64>,
}

impl Duplicate {
    /// Finds the text of an index that a text repeats, as the settings say.
    pub fn find(
        settings: &settings::Duplicates,
        index: &Index,
        id: u64,
        signature: Option<&Signature>,
    ) -> Option<Self> {
        if settings.exact && index.has(id) {
            return Some(Self { id, similarity: None });
        }
        let (least, signature) = settings.near.get().zip(signature)?;
        let found = index.nearest(signature, least)?;
        Some(Self { id: found.id, similarity: Some(found.similarity) })
    }

    /// Returns the nearer of two texts; of equally near ones that with the smallest id, as [`Index::nearest`] does.
    pub fn nearer(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let similarity = |found: &Self| found.similarity.unwrap_or(f64::INFINITY);
        let by_nearness =
            |one: &Self, other: &Self| similarity(one).total_cmp(&similarity(other)).then(other.id.cmp(&one.id));
        one.into_iter().chain(other).max_by(by_nearness)
    }

    /// The rule that drops the repetition.
    pub fn failed(&self) -> Failed {
        match self.similarity {
            None => Failed::new(Rule::ExactDuplicate, id_text(self.id)),
            Some(similarity) => Failed::new(Rule::NearDuplicate, format!("{similarity:.2} like {}", id_text(self.id))),
        }
    }
}
