//! Where the batches of a learner come from: fresh from its own play, or stored in files.

mod fresh;

pub use fresh::Fresh;

use crate::Result;
use crate::learn::Learner;
use crate::observe::Metrics;

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
    fn observe(&mut self, learner: &L, step: &Metrics) -> Result<()>;
}
