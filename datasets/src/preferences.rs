//! People's judgements of text, as files hold them: which of two answers is better, whether one is good, how good.
//!
//! Files are JSON lines or Parquet, with one judgement a row, in the columns that other tools write and read. `prompt`
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
//! | `question`, `answer_0`, `answer_1`, `score_0`, `score_1` | the answer of the higher score is better | OpenAI, WebGPT |
//!
//! Any of them may have `annotator` (`worker`, `rater_id`), who judged, and `weight`, how much it counts. Other columns are
//! kept as they are. This module knows files alone: not who may judge, nor what is learned from it.

mod columns;
mod conflicts;
mod forms;
mod rows;
mod scores;
mod steps;
mod text;
mod write;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::Result;
use crate::log::paths::find_files;
pub use crate::rows::{Origin, Place};

pub use conflicts::{Resolved, Rule, resolve};
pub use rows::{Row, Rows};
pub use scores::Scores;
pub use text::{Message, Text};
pub use write::{Format, encode, write};

/// What somebody judged of answers to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What was answered; empty where a file has answers alone.
    pub prompt: Text,
    /// What was judged.
    pub judgement: Judgement,
    /// Who judged, where that is known.
    pub annotator: Option<String>,
    /// How much it counts; 1 where nothing else is said.
    pub weight: f64,
    /// The row's other columns.
    pub other: Map<String, Value>,
}

/// A judgement of one answer or of two.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// `chosen` is better than `rejected`, by `margin` where somebody said how much.
    Better {
        /// The better answer.
        chosen: Text,
        /// The other.
        rejected: Text,
        /// How much better, in the units of who judged.
        margin: Option<f64>,
    },
    /// Neither of two answers is better.
    Tie {
        /// The two answers, in no order that means anything.
        answers: [Text; 2],
    },
    /// An answer is good, or it is not.
    Label {
        /// The answer.
        completion: Text,
        /// Whether it is good.
        good: bool,
    },
    /// The steps of one answer, each right or wrong.
    Steps {
        /// The steps, in order.
        completions: Vec<Text>,
        /// Whether each is right.
        good: Vec<bool>,
    },
    /// One of several answers is the best.
    Best {
        /// The answers, at least two.
        completions: Vec<Text>,
        /// The place of the best one.
        best: usize,
    },
    /// How good an answer is.
    Rating {
        /// The answer.
        completion: Text,
        /// More is better, in the units of who judged.
        rating: f64,
    },
}

/// The files of judgements that paths, folders and patterns stand for, sorted.
///
/// # Errors
/// A pattern that stands for no file.
pub fn find(patterns: &[impl AsRef<str>]) -> Result<Vec<PathBuf>> {
    find_files(patterns, &["jsonl", "ndjson", "json", "parquet"])
}

/// Reads a file of judgements, row by row, with memory for a few rows however long the file is.
///
/// An error of one row names file, row and column; the rows after it can be read on. A file without rows is an error.
pub fn read(file: &Path) -> Result<impl Iterator<Item = Result<Record>> + use<>> {
    Ok(Rows::open(file)?.map(|row| row?.record()))
}

#[cfg(test)]
mod tests;
