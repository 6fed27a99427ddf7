//! Where the batches of a learner come from: fresh from its own play, or stored in files.

mod examples;
mod fresh;
mod judgements;
mod packing;
mod preferences;
mod stored;
mod stretches;
mod survey;
#[cfg(test)]
mod tests;
mod text;
mod texts;
mod windows;

pub use examples::{ExampleCounts, ExampleEncoder, ExampleOrder, ExamplePlace, ExampleRows, TooLong, template_of};
pub use fresh::{Fresh, ReferencePolicy};
pub use judgements::{JudgementCounts, Wanted, read_judgements};
pub use preferences::{Conflicts, Judgements, PreferenceConfig, PreferenceSource};
pub use stored::{DataConfig, Stored};
pub use stretches::Cutting;
pub use survey::{alphabet, least_of_best};
pub use text::{CorpusConfig, TextConfig, TextSource};
pub use texts::{Rows, Texts, check_tokenizer, tokenizer_of};
pub use windows::{Selection, resampled_times};

use palestra_datasets::Episode;

use crate::Result;
use crate::learners::Learner;
use palestra_report::Metrics;

/// A supply of batches for a learner, update by update.
pub trait Source<L: Learner> {
    /// Begins update number `update`: collects what it will be learned from. The model acts outside autodiff.
    ///
    /// # Errors
    /// Nothing could be collected.
    fn begin(&mut self, learner: &mut L, model: &L::Model, update: u64) -> Result<Metrics>;

    /// The parts of the next optimiser step's batch; `None` ends the update.
    ///
    /// # Errors
    /// The batch could not be read.
    fn next_batch(&mut self, learner: &L) -> Result<Option<Vec<L::Batch>>>;

    /// The number of tokens in the batches of this update so far, padding aside.
    fn tokens(&self) -> usize;

    /// Told what the step on the last batch measured.
    ///
    /// # Errors
    /// The step shows that its batch was wrong.
    fn observe(&mut self, _learner: &L, _step: &Metrics) -> Result<()> {
        Ok(())
    }

    /// What is to be told of the update, once its last step is done.
    fn end(&mut self) -> Metrics {
        Metrics::new()
    }

    /// The last episodes that were collected, where it collects them itself.
    fn episodes(&self) -> Vec<&Episode> {
        Vec::new()
    }

    /// The position in the data that a resumed run goes on from.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Takes up the state of [`Source::state`].
    ///
    /// # Errors
    /// The state is not this source's.
    fn restore(&mut self, _state: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}
