//! Advantage-weighted regression ([Peng et al. 2019](https://arxiv.org/abs/1910.00177)): behaviour cloning, weighted by
//! the advantage of each action.
//!
//! `loss = mean [ - w log pi(a|s) + c_v (V(s) - R)^2 ]`, `w = min(exp((R - V(s)) / lambda), w_max)`, R the return,
//! which V(final observation) continues if the episode was truncated.

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::{OfflineLearner, States, exponential_weight};
use crate::Result;
use crate::batch::TransitionBatch;
use crate::learners::{Learner, LearnerConfig, LearnsFromLog, Loss, Returns};
use palestra_model::{CriticShape, Heads, Policy};

/// Hyperparameters of AWR.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwrConfig {
    /// Temperature, above 0, in units of reward: smaller values follow the advantages more and the data less.
    pub lambda: f32,
    /// Largest weight, above 0.
    pub max_weight: f32,
    /// Weight of the value loss, at least 0.
    pub value_coefficient: f32,
    /// True if the value head shares the policy's transformer, which saves the memory of a separate one.
    pub shared_trunk: bool,
}

impl Default for AwrConfig {
    fn default() -> Self {
        Self { lambda: 1.0, max_weight: 20.0, value_coefficient: 0.5, shared_trunk: false }
    }
}

impl AwrConfig {
    /// Critic that this learner trains.
    pub fn critic(&self) -> CriticShape {
        CriticShape { own_trunk: !self.shared_trunk, v_head: true, ..CriticShape::default() }
    }
}

impl LearnerConfig for AwrConfig {
    fn check(&self) -> Result<()> {
        Ok(check_ranges(
            "awr",
            &[
                ("lambda", &self.lambda, Range::POSITIVE),
                ("max_weight", &self.max_weight, Range::POSITIVE),
                ("value_coefficient", &self.value_coefficient, Range::AT_LEAST_ZERO),
            ],
        )?)
    }

    fn heads(&self) -> Heads {
        Heads { value: false, critic: Some(self.critic()) }
    }
}

impl LearnsFromLog for AwrConfig {
    fn returns(&self) -> Returns {
        Returns::Bootstrapped
    }

    fn build(&self) -> OfflineLearner {
        Box::new(Awr(self.clone()))
    }
}

/// AWR learner.
pub struct Awr(pub AwrConfig);

impl Learner for Awr {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch, _: &[Tensor<1>]) -> Loss {
        let AwrConfig { lambda, max_weight, value_coefficient, .. } = self.0;
        let states = States::read(model, &batch);
        let values = states.acted(states.v());
        let returns = states.returns(|| states.v());
        let weight = exponential_weight(returns.clone() - values.clone(), 1.0 / lambda, max_weight);
        let policy_loss = states.mean(states.log_probs(model).neg() * weight.clone());
        let value_loss = states.mean((values.clone() - returns).square());
        Loss {
            total: policy_loss.clone() + value_loss.clone().mul_scalar(value_coefficient),
            metrics: vec![
                ("loss/policy", policy_loss.detach()),
                ("loss/v", value_loss.detach()),
                ("values/v", states.mean(values.detach())),
                ("policy/weight", states.mean(weight)),
            ],
        }
    }
}
