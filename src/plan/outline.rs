//! Cost of a run whose number of tokens nobody knows before it: one that plays, or learns from a log or preferences.

use std::fmt;

use serde::Serialize;

use super::memory::bytes;
use super::{Extent, Memory, Parameters, memory, shape, short};
use palestra_model::ModelConfig;

/// Size and memory of a run, as far as they are known before it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outline {
    /// Name of the learner.
    pub learner: String,
    /// Shape of the model, in one line.
    pub shape: String,
    /// Parameters of the model, adapters included.
    pub parameters: u64,
    /// Trained parameters.
    pub trained_parameters: u64,
    /// Number of updates.
    pub updates: u64,
    /// Episodes that each update plays; 0 if it plays none.
    pub episodes_per_update: u64,
    /// Rows that are computed at once to learn.
    pub rows: u64,
    /// Most tokens of such a row.
    pub tokens_per_row: u64,
    /// Memory of learning, if every row is as long as it can be.
    pub memory: Memory,
    /// Bytes of a second model that the run compares with; 0 if there is none.
    pub reference: u64,
    /// Bytes of the keys and values of all texts that are written at once; 0 if none is.
    pub keys_and_values: u64,
}

impl Outline {
    /// Computes the outline of a run. Of the extent, the steps and the batch are not used.
    pub fn new(learner: &str, config: &ModelConfig, counted: Parameters, updates: u64, extent: Extent) -> Self {
        Self {
            learner: learner.to_string(),
            shape: shape(config),
            parameters: counted.all,
            trained_parameters: counted.trained,
            updates,
            episodes_per_update: 0,
            rows: extent.micro_batch as u64,
            tokens_per_row: extent.window as u64,
            memory: memory(config, counted, extent),
            reference: 0,
            keys_and_values: 0,
        }
    }

    /// Most bytes that the run takes at once. Playing and learning take turns.
    pub fn total(&self) -> u64 {
        let Memory { weights, gradients, moments, activations, logits, .. } = self.memory;
        weights + gradients + moments + self.reference + (activations + logits).max(self.keys_and_values)
    }
}

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model       {}", self.shape)?;
        let trained = match self.trained_parameters == self.parameters {
            true => String::new(),
            false => format!(", {} of them trained", short(self.trained_parameters as f64).trim_end()),
        };
        writeln!(f, "parameters  {}{trained}", short(self.parameters as f64).trim_end())?;
        let played = match self.episodes_per_update {
            0 => String::new(),
            episodes => format!(", each of {episodes} episodes"),
        };
        writeln!(f, "updates     {} of [{}]{played}", self.updates, self.learner)?;
        writeln!(f, "rows        {} at once, each of at most {} tokens", self.rows, self.tokens_per_row)?;
        write!(f, "memory      at most {}: {}", bytes(self.total()), self.memory.parts())?;
        for (name, size) in [("reference model", self.reference), ("keys and values", self.keys_and_values)] {
            if size > 0 {
                write!(f, ", {name} {}", bytes(size))?;
            }
        }
        Ok(())
    }
}
