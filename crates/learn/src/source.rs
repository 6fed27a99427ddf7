//! Sources of a learner's batches: on-policy rollouts, or data stored in files.

mod chunks;
mod examples;
mod on_policy;
mod packing;
mod preference_files;
mod preferences;
mod replay;
mod survey;
#[cfg(test)]
mod tests;
mod text;
mod text_config;
mod texts;
mod windows;

pub use chunks::Chunking;
pub use examples::{
    Border, ExampleCounts, ExampleEncoder, ExampleMix, ExampleOrder, ExamplePlace, ExampleRows, ExampleSet, MixPlace,
    TooLong, template_of,
};
pub use on_policy::{OnPolicySource, ReferencePolicy};
pub(crate) use packing::pack;
pub use preference_files::{PreferenceCounts, read_preferences};
pub use preferences::{Conflicts, PreferenceConfig, PreferenceData, PreferenceSource};
pub use replay::{DataConfig, ReplaySource};
pub use survey::{alphabet, least_of_best};
pub use text::TextSource;
pub use text_config::{CorpusConfig, TextConfig};
pub use texts::{RowConverter, Texts, check_tokenizer, tokenizer_of};
pub use windows::{Selection, resampled_times};

use palestra_datasets::Episode;

use crate::Result;
use crate::collective::Collective;
use crate::learners::Learner;
use palestra_report::Metrics;

/// A source of batches for a learner, update by update. On several ranks, each draws the same batches, and reads its share of
/// them.
pub trait Source<L: Learner> {
    /// Begins update number `update` and collects its data. The model acts outside autodiff.
    ///
    /// # Errors
    /// Nothing could be collected.
    fn begin(&mut self, learner: &mut L, model: &L::Model, update: u64, collective: &dyn Collective)
    -> Result<Metrics>;

    /// Optimiser steps of the update that has begun, at least 1: learning-rate schedules go by step.
    fn steps(&self) -> usize;

    /// Returns the parts of this rank's share of the next optimiser step's batch; `None` ends the update.
    ///
    /// # Errors
    /// The batch could not be read.
    fn next_batch(&mut self, learner: &L, collective: &dyn Collective) -> Result<Option<Vec<L::Batch>>>;

    /// Number of tokens in the batches of this update so far, on all ranks and without padding.
    fn tokens(&self) -> usize;

    /// Receives the metrics of the step on the last batch.
    ///
    /// # Errors
    /// The step shows that its batch was wrong.
    fn observe(&mut self, _learner: &L, _step: &Metrics) -> Result<()> {
        Ok(())
    }

    /// Metrics of the update, after its last step.
    fn end(&mut self) -> Metrics {
        Metrics::new()
    }

    /// Episodes of the last rollout, if the source collects them itself.
    fn episodes(&self) -> Vec<&Episode> {
        Vec::new()
    }

    /// Position in the data, from which a resumed run continues.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Restores the state of [`Source::state`].
    ///
    /// # Errors
    /// The state is not this source's.
    fn restore(&mut self, _state: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}
