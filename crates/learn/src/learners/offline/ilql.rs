//! Implicit language Q-learning ([Snell et al. 2023](https://arxiv.org/abs/2206.11871)): IQL's values on tokens, pushed
//! down outside the data. At generation they shift the logits of the cloned language model.
//!
//! `loss = mean [ sum_i (Q_i(s, a) - (r + gamma V(s')))^2 + L_tau(min_i Qbar_i(s, a) - V(s)) + alpha sum_i CE(Q_i, a)
//! - c_pi log pi(a|s) ]`; decoded with `log pi + beta (Q - V)`, which at `beta = 0` is behaviour cloning.

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::{OfflineLearner, States, expectile_loss};
use crate::Result;
use crate::batch::TransitionBatch;
use crate::learners::{Learner, LearnerConfig, LearnsFromLog, Loss};
use palestra_model::{CriticShape, Decoding, Heads, Policy, Targets};

/// Hyperparameters of ILQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IlqlConfig {
    /// Expectile, 0.5 to 1: 0.5 estimates the value of the behaviour policy, values near 1 that of the best actions in
    /// the data.
    pub tau: f32,
    /// Weight of the conservative term, at least 0, which pushes down the values of actions outside the data.
    pub alpha: f32,
    /// Weight of the values against the cloned policy at generation, at least 0; 0 is behaviour cloning.
    pub beta: f32,
    /// Weight of the cloning loss, at least 0.
    pub policy_coefficient: f32,
    /// Part of the value network that has a target network (a Polyak average): the whole network, or the heads alone,
    /// which is faster and takes less memory.
    pub targets: Targets,
    /// Polyak rate of the target network per step, 0 to 1.
    pub polyak: f32,
    /// True if the value heads share the policy's transformer, which saves the memory of a separate one.
    pub shared_trunk: bool,
}

impl Default for IlqlConfig {
    fn default() -> Self {
        Self {
            tau: 0.7,
            alpha: 0.01,
            beta: 4.0,
            policy_coefficient: 1.0,
            targets: Targets::Network,
            polyak: 0.005,
            shared_trunk: false,
        }
    }
}

impl IlqlConfig {
    /// Critic that this learner trains.
    pub fn critic(&self) -> CriticShape {
        CriticShape { own_trunk: !self.shared_trunk, q_heads: 2, targets: self.targets, v_head: true }
    }
}

impl LearnerConfig for IlqlConfig {
    fn check(&self) -> Result<()> {
        Ok(check_ranges(
            "ilql",
            &[
                ("tau", &self.tau, Range::between(0.5, 1.0)),
                ("alpha", &self.alpha, Range::AT_LEAST_ZERO),
                ("beta", &self.beta, Range::AT_LEAST_ZERO),
                ("policy_coefficient", &self.policy_coefficient, Range::AT_LEAST_ZERO),
                ("polyak", &self.polyak, Range::UNIT),
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

impl LearnsFromLog for IlqlConfig {
    fn bootstraps(&self) -> bool {
        true
    }

    fn build(&self) -> OfflineLearner {
        Box::new(Ilql(self.clone()))
    }
}

/// ILQL learner.
pub struct Ilql(pub IlqlConfig);

impl Learner for Ilql {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch, _: &[Tensor<1>]) -> Loss {
        let IlqlConfig { tau, alpha, policy_coefficient, .. } = self.0;
        let states = States::read(model, &batch);
        let (all, chosen): (Vec<_>, Vec<_>) = states.critic().q.iter().map(|head| states.q(head)).unzip();
        let values = states.v();
        let q_loss = states.q_loss(&chosen, states.bootstrapped(values.clone()), Some(batch.known.clone()));
        let advantage = states.target_q() - states.acted(values.clone());
        let v_loss = states.mean(expectile_loss(advantage, tau) * batch.known.clone());
        let conservative = states.conservative_loss(all);
        let policy_loss = states.mean(states.log_probs(model).neg());
        let value_losses = q_loss.clone() + v_loss.clone() + conservative.clone().mul_scalar(alpha);
        Loss {
            total: value_losses + policy_loss.clone().mul_scalar(policy_coefficient),
            metrics: vec![
                ("loss/q", q_loss.detach()),
                ("loss/v", v_loss.detach()),
                ("loss/conservative", conservative.detach()),
                ("loss/policy", policy_loss.detach()),
                ("values/q", states.mean(chosen[0].clone().detach())),
                ("values/v", states.mean(states.acted(values).detach())),
            ],
        }
    }

    fn after_step(&self, model: Policy) -> Policy {
        model.polyak_update(self.0.polyak.into())
    }
}
