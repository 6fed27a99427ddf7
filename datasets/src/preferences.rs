//! Human preference data of text in files: pairwise preferences, good/bad labels, and ratings.
//!
//! Files are JSON lines, CSV, TSV or Parquet, with one record per row, in the columns that other tools write and read. `prompt`
//! and answers are texts, or lists of messages `[{"role": ..., "content": ...}]`:
//!
//! | columns | what it says | of |
//! |---|---|---|
//! | `prompt`, `chosen`, `rejected`, `margin`?, `tie`? | one answer is better; with `tie` true neither is | TRL |
//! | `chosen`, `rejected` | the same; the prompt is what both begin with | TRL, hh-rlhf |
//! | `prompt`, `completion`, `label` | an answer is good, or it is not | TRL |
//! | `prompt`, `completions`, `labels` | the steps of one answer, each right or wrong | TRL |
//! | `prompt`, `completions`, `best` | one of several answers is the best: its number from 0, or its text | |
//! | `prompt`, `completion`, `rating` (or `score`) | how good an answer is | |
//! | `input`, `preferred_output`, `non_preferred_output` | one answer is better | OpenAI, fine-tuning |
//! | `info`, `summaries`, `choice`, `worker` | one summary is better | OpenAI, summarize from feedback |
//! | `question`, `answer_0`, `answer_1`, `score_0`, `score_1` | the higher score is better | OpenAI, WebGPT |
//!
//! All of them may have `annotator` (`worker`, `rater_id`), the person who labelled, and `weight`, the weight of the
//! record. Other columns are kept as they are. This module handles files only: neither access rights of annotators nor
//! learning.

mod columns;
mod conflicts;
mod forms;
mod rows;
mod scores;
mod steps;
mod write;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::Content;
use crate::error::Result;
use crate::log::paths::find_files;
pub use crate::origin::{Origin, RowPlace};
use crate::rows::ROW_FILES;

pub use conflicts::{Resolved, Rule, resolve};
pub use forms::record_of;
pub use rows::{PreferenceRows, Row};
pub use scores::Scores;
pub use write::{Format, encode, write};

/// A record of preference data: labels of answers to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The prompt; empty if the file has answers only.
    pub prompt: Content,
    /// True if the file has two whole texts without a prompt: the prompt is what they have in common.
    pub is_parted: bool,
    /// The label, with the answers.
    pub preference: Preference,
    /// The annotator, if known.
    pub annotator: Option<String>,
    /// The weight of the record; 1 by default.
    pub weight: f64,
    /// The row's other columns.
    pub other: Map<String, Value>,
}

/// A label of one answer, or a preference between answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Preference {
    /// `chosen` is better than `rejected`, by `margin` if it is given.
    Better {
        /// The better answer; equal to the worse one where a file has no difference.
        chosen: Content,
        /// The worse answer.
        rejected: Content,
        /// The difference in quality, in the annotator's units.
        margin: Option<f64>,
    },
    /// Neither of two answers is better.
    Tie {
        /// The two answers, in arbitrary order.
        answers: [Content; 2],
    },
    /// An answer is good, or it is not.
    Label {
        /// The answer.
        completion: Content,
        /// True if it is good.
        good: bool,
    },
    /// The steps of one answer, each right or wrong.
    Steps {
        /// The steps, in order.
        completions: Vec<Content>,
        /// One flag per step: true if it is right.
        good: Vec<bool>,
    },
    /// One of several answers is the best.
    Best {
        /// The answers, at least two.
        completions: Vec<Content>,
        /// Index of the best one.
        best: usize,
    },
    /// A rating of an answer.
    Rating {
        /// The answer.
        completion: Content,
        /// The rating; higher is better, in the annotator's units.
        rating: f64,
    },
}

impl Record {
    /// True if it compares two answers that are the same, of which nothing is learned.
    pub fn is_of_equals(&self) -> bool {
        match &self.preference {
            Preference::Better { chosen, rejected, .. } => chosen == rejected,
            Preference::Tie { answers: [first, second] } => first == second,
            _ => false,
        }
    }
}

/// Returns the files of preference data that paths, folders and patterns match, sorted.
///
/// # Errors
/// A pattern that matches no file.
pub fn find(patterns: &[impl AsRef<str>]) -> Result<Vec<PathBuf>> {
    find_files(patterns, &ROW_FILES)
}

/// Reads a file of preference data, row by row, with memory for a few rows whatever the file's length.
///
/// An error of one row names file, row and column; reading can continue with the next row. A file without rows is an
/// error.
pub fn read(file: &Path) -> Result<impl Iterator<Item = Result<Record>> + use<>> {
    Ok(PreferenceRows::open(file)?.map(|row| record_of(row?)))
}

#[cfg(test)]
mod tests;
