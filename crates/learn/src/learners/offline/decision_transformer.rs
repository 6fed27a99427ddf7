//! Decision Transformer ([Chen et al. 2021](https://arxiv.org/abs/2106.01345)): behaviour cloning of a policy that
//! reads the return to go before each observation. During rollouts the policy is conditioned on a target return.
//!
//! `loss = - mean log pi(a | return to go, s)`. The encoder writes the returns; the loss is that of behaviour cloning.

use std::sync::Arc;

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::{BehaviourCloning, OfflineLearner};
use crate::Result;
use crate::batch::TransitionBatch;
use crate::learners::{Learner, LearnerConfig, LearnsFromLog, Loss, ReturnToGo, Returns};
use palestra_model::Policy;

/// Hyperparameters of the Decision Transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionTransformerConfig {
    /// Target return during rollouts, finite; rewards are subtracted from it as the episode goes on. Absent: the best
    /// return in the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_return: Option<f32>,
    /// Decimals with which returns are written, at most 6.
    pub decimals: usize,
}

impl Default for DecisionTransformerConfig {
    fn default() -> Self {
        Self { target_return: None, decimals: 1 }
    }
}

impl LearnerConfig for DecisionTransformerConfig {
    fn check(&self) -> Result<()> {
        Ok(check_ranges(
            "decision_transformer",
            &[("target_return", &self.target_return, Range::FINITE), ("decimals", &self.decimals, Range::at_most(6.0))],
        )?)
    }
}

impl LearnsFromLog for DecisionTransformerConfig {
    fn returns(&self) -> Returns {
        Returns::Whole
    }

    fn return_to_go(&self) -> Option<ReturnToGo> {
        Some(ReturnToGo { target: self.target_return, decimals: self.decimals })
    }

    fn completed(&self, best_return: f64) -> Option<Arc<dyn LearnsFromLog>> {
        let target_return = Some(self.target_return.unwrap_or(best_return as f32));
        Some(Arc::new(Self { target_return, ..*self }))
    }

    fn build(&self) -> OfflineLearner {
        Box::new(DecisionTransformer)
    }
}

/// Decision Transformer learner.
pub struct DecisionTransformer;

impl Learner for DecisionTransformer {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch, statistics: &[Tensor<1>]) -> Loss {
        BehaviourCloning.loss(model, batch, statistics)
    }
}
