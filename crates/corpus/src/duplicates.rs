//! Near duplicates: detection of similar texts by a signature of a few bytes per document.
//!
//! A text is represented by the set of its sequences of five words. [`signature`] is MinHash over that set: 112 values
//! that agree between two texts with a probability equal to the sets' Jaccard similarity. The [`index`] finds earlier
//! texts that agree in one of 14 bands of 8 values (the parameters of FineWeb, Penedo et al. 2024).

mod index;
mod signature;

pub(crate) use index::Index;
pub use signature::probability_of_meeting;
pub(crate) use signature::{Signature, signature};
