//! Implicit Q-learning ([Kostrikov et al. 2021](https://arxiv.org/abs/2110.06169)): estimates the values of the best
//! actions in the data without evaluating actions outside it. The policy is trained by advantage-weighted cloning.
//!
//! `loss = mean [ sum_i (Q_i(s, a) - (r + gamma V(s')))^2 + L_tau(min_i Qbar_i(s, a) - V(s)) - w log pi(a|s) ]`,
//! `w = min(exp(beta (min_i Qbar_i(s, a) - V(s))), w_max)`, `L_tau(u) = |tau - 1(u < 0)| u^2`.

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::{OfflineLearner, States, expectile_loss, exponential_weight};
use crate::Result;
use crate::batch::TransitionBatch;
use crate::learners::{Learner, LearnerConfig, LearnsFromLog, Loss};
use palestra_model::{CriticShape, Heads, Policy, Targets};

/// Hyperparameters of IQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IqlConfig {
    /// Expectile, 0.5 to 1: 0.5 estimates the value of the behaviour policy, values near 1 that of the best actions in
    /// the data.
    pub tau: f32,
    /// Inverse temperature of the advantage weights, at least 0, in 1 / reward: larger values follow the advantages more
    /// closely.
    pub beta: f32,
    /// Largest weight, above 0.
    pub max_weight: f32,
    /// Part of the value network that has a target network (a Polyak average): the whole network, or the heads alone,
    /// which is faster and takes less memory.
    pub targets: Targets,
    /// Polyak rate of the target network per step, 0 to 1.
    pub polyak: f32,
    /// True if the value heads share the policy's transformer, which saves the memory of a separate one.
    pub shared_trunk: bool,
}

impl Default for IqlConfig {
    fn default() -> Self {
        Self { tau: 0.7, beta: 3.0, max_weight: 100.0, targets: Targets::Network, polyak: 0.005, shared_trunk: false }
    }
}

impl IqlConfig {
    /// Critic that this learner trains.
    pub fn critic(&self) -> CriticShape {
        CriticShape { own_trunk: !self.shared_trunk, q_heads: 2, targets: self.targets, v_head: true }
    }
}

impl LearnerConfig for IqlConfig {
    fn check(&self) -> Result<()> {
        Ok(check_ranges(
            "iql",
            &[
                ("tau", &self.tau, Range::between(0.5, 1.0)),
                ("beta", &self.beta, Range::AT_LEAST_ZERO),
                ("max_weight", &self.max_weight, Range::POSITIVE),
                ("polyak", &self.polyak, Range::UNIT),
            ],
        )?)
    }

    fn heads(&self) -> Heads {
        Heads { value: false, critic: Some(self.critic()) }
    }
}

impl LearnsFromLog for IqlConfig {
    fn bootstraps(&self) -> bool {
        true
    }

    fn build(&self) -> OfflineLearner {
        Box::new(Iql(self.clone()))
    }
}

/// IQL learner.
pub struct Iql(pub IqlConfig);

impl Learner for Iql {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch, _: &[Tensor<1>]) -> Loss {
        let IqlConfig { tau, beta, max_weight, .. } = self.0;
        let states = States::read(model, &batch);
        let chosen: Vec<_> = states.critic().q.iter().map(|head| states.q(head).1).collect();
        let values = states.v();
        let q_loss = states.q_loss(&chosen, states.bootstrapped(values.clone()), Some(batch.known.clone()));
        let advantage = states.target_q() - states.acted(values.clone());
        let v_loss = states.mean(expectile_loss(advantage.clone(), tau) * batch.known.clone());
        let weight = exponential_weight(advantage, beta, max_weight);
        let policy_loss = states.mean(states.log_probs(model).neg() * weight.clone());
        Loss {
            total: q_loss.clone() + v_loss.clone() + policy_loss.clone(),
            metrics: vec![
                ("loss/q", q_loss.detach()),
                ("loss/v", v_loss.detach()),
                ("loss/policy", policy_loss.detach()),
                ("values/q", states.mean(chosen[0].clone().detach())),
                ("values/v", states.mean(states.acted(values).detach())),
                ("policy/weight", states.mean(weight)),
            ],
        }
    }

    fn after_step(&self, model: Policy) -> Policy {
        model.polyak_update(self.0.polyak.into())
    }
}
