//! Behaviour cloning: the log-likelihood of what was written, every token alike.
//!
//! `loss = - mean log pi(a|s)`. Filtered cloning (%BC, [Chen et al. 2021](https://arxiv.org/abs/2106.01345)) is the same
//! on the best episodes; which those are, its source decides.

use serde::{Deserialize, Serialize};

use super::{States, check_range};
use crate::Result;
use crate::batch::TransitionBatch;
use crate::learners::{Learner, Loss};
use palestra_model::Policy;

/// Behaviour cloning has no knobs of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BehaviourCloningConfig {}

/// The knob of filtered cloning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilteredConfig {
    /// The part of the episodes that is kept, those with the highest returns, in percent.
    pub percent: f32,
}

impl Default for FilteredConfig {
    fn default() -> Self {
        Self { percent: 10.0 }
    }
}

impl FilteredConfig {
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        check_range("filtered_bc.percent", self.percent, 0.001..=100.0)
    }
}

/// The learner.
pub struct BehaviourCloning;

impl Learner for BehaviourCloning {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch) -> Loss {
        let states = States::read(model, &batch);
        let total = states.mean(states.log_probs(model).neg());
        Loss { metrics: vec![("loss/policy", total.clone().detach())], total }
    }
}
