//! Behaviour cloning: maximises the log-likelihood of the logged action tokens, all with equal weight.
//!
//! `loss = - mean log pi(a|s)`. Filtered cloning (%BC, [Chen et al. 2021](https://arxiv.org/abs/2106.01345)) applies
//! the same loss to the best episodes; its source selects them.

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::{OfflineLearner, States};
use crate::Result;
use crate::batch::TransitionBatch;
use crate::learners::{Learner, LearnerConfig, LearnsFromLog, Loss, Returns};
use palestra_model::Policy;

/// Hyperparameters of behaviour cloning: it has none of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BehaviourCloningConfig {}

impl LearnerConfig for BehaviourCloningConfig {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl LearnsFromLog for BehaviourCloningConfig {
    fn build(&self) -> OfflineLearner {
        Box::new(BehaviourCloning)
    }
}

/// Hyperparameters of filtered cloning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilteredConfig {
    /// Percentage of episodes that is kept, 0.001 to 100, those with the highest returns.
    pub percent: f32,
}

impl Default for FilteredConfig {
    fn default() -> Self {
        Self { percent: 10.0 }
    }
}

impl LearnerConfig for FilteredConfig {
    fn check(&self) -> Result<()> {
        Ok(check_ranges("filtered_bc", &[("percent", &self.percent, Range::between(0.001, 100.0))])?)
    }
}

impl LearnsFromLog for FilteredConfig {
    fn returns(&self) -> Returns {
        Returns::Whole
    }

    fn best_percent(&self) -> Option<f32> {
        Some(self.percent)
    }

    fn build(&self) -> OfflineLearner {
        Box::new(BehaviourCloning)
    }
}

/// Learner of behaviour cloning, filtered or not.
pub struct BehaviourCloning;

impl Learner for BehaviourCloning {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch, _: &[Tensor<1>]) -> Loss {
        let states = States::read(model, &batch);
        let total = states.mean(states.log_probs(model).neg());
        Loss { metrics: vec![("loss/policy", total.clone().detach())], total }
    }
}
