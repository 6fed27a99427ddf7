//! Monte Carlo values: Q learns the observed return, which the cloned policy's mean Q of the final observation continues if
//! the episode was truncated, and the policy is the cloned one, shifted towards high Q.
//!
//! `loss = mean [ (Q(s, a) - R)^2 + alpha CE(Q, a) - c_pi log pi(a|s) ]`; decoded with `log pi + beta Q`. This is the
//! baseline of ILQL ([Snell et al. 2023](https://arxiv.org/abs/2206.11871)) that takes one step of policy improvement
//! over the behaviour policy.

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::{OfflineLearner, States};
use crate::Result;
use crate::batch::TransitionBatch;
use crate::learners::{Learner, LearnerConfig, LearnsFromLog, Loss, Returns};
use palestra_model::{CriticShape, Decoding, Heads, Policy};

/// Hyperparameters of Monte Carlo values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonteCarloConfig {
    /// Weight of the conservative term, at least 0, which pushes down the values of actions outside the data.
    pub alpha: f32,
    /// Weight of the values against the cloned policy at generation, at least 0; 0 is behaviour cloning.
    pub beta: f32,
    /// Weight of the cloning loss, at least 0.
    pub policy_coefficient: f32,
    /// True if the value head shares the policy's transformer, which saves the memory of a separate one.
    pub shared_trunk: bool,
}

impl Default for MonteCarloConfig {
    fn default() -> Self {
        Self { alpha: 0.01, beta: 4.0, policy_coefficient: 1.0, shared_trunk: false }
    }
}

impl MonteCarloConfig {
    /// Critic that this learner trains.
    pub fn critic(&self) -> CriticShape {
        CriticShape { own_trunk: !self.shared_trunk, q_heads: 1, ..CriticShape::default() }
    }
}

impl LearnerConfig for MonteCarloConfig {
    fn check(&self) -> Result<()> {
        Ok(check_ranges(
            "mc",
            &[
                ("alpha", &self.alpha, Range::AT_LEAST_ZERO),
                ("beta", &self.beta, Range::AT_LEAST_ZERO),
                ("policy_coefficient", &self.policy_coefficient, Range::AT_LEAST_ZERO),
            ],
        )?)
    }

    fn heads(&self) -> Heads {
        Heads { value: false, critic: Some(self.critic()) }
    }

    fn decoding(&self) -> Decoding {
        Decoding::Advantage { beta: self.beta }
    }
}

impl LearnsFromLog for MonteCarloConfig {
    fn returns(&self) -> Returns {
        Returns::Bootstrapped
    }

    fn build(&self) -> OfflineLearner {
        Box::new(MonteCarlo(self.clone()))
    }
}

/// Learner of Monte Carlo values.
pub struct MonteCarlo(pub MonteCarloConfig);

impl Learner for MonteCarlo {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch, _: &[Tensor<1>]) -> Loss {
        let MonteCarloConfig { alpha, policy_coefficient, .. } = self.0;
        let states = States::read(model, &batch);
        let (all, chosen): (Vec<_>, Vec<_>) = states.critic().q.iter().map(|head| states.q(head)).unzip();
        let returns = states.returns(|| states.policy_values(model, &states.critic().q[0]));
        let q_loss = states.q_loss(&chosen, returns, None);
        let conservative = states.conservative_loss(all);
        let policy_loss = states.mean(states.log_probs(model).neg());
        let values = q_loss.clone() + conservative.clone().mul_scalar(alpha);
        Loss {
            total: values + policy_loss.clone().mul_scalar(policy_coefficient),
            metrics: vec![
                ("loss/q", q_loss.detach()),
                ("loss/conservative", conservative.detach()),
                ("loss/policy", policy_loss.detach()),
                ("values/q", states.mean(chosen[0].clone().detach())),
            ],
        }
    }
}
