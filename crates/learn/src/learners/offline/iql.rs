//! Implicit Q-learning ([Kostrikov et al. 2021](https://arxiv.org/abs/2110.06169)): values of the best that the log shows,
//! without asking for what it does not; the policy is cloned with weights.
//!
//! `loss = mean [ sum_i (Q_i(s, a) - (r + gamma V(s')))^2 + L_tau(min_i Qbar_i(s, a) - V(s)) - w log pi(a|s) ]`,
//! `w = min(exp(beta (min_i Qbar_i(s, a) - V(s))), w_max)`, `L_tau(u) = |tau - 1(u < 0)| u^2`.

use serde::{Deserialize, Serialize};

use super::{States, check_positive, check_range, expectile_loss, exponential_weight};
use crate::Result;
use crate::batch::TransitionBatch;
use crate::learners::{Learner, Loss};
use palestra_model::{CriticShape, Policy, Targets};

/// IQL's knobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IqlConfig {
    /// The expectile, 0.5 to 1: 0.5 values the log's own policy, nearer to 1 the best that the log shows.
    pub tau: f32,
    /// How sharply the policy follows advantages, in 1 / reward.
    pub beta: f32,
    /// The greatest weight.
    pub max_weight: f32,
    /// What the values are learned from slowly moving averages of: the whole network, or the heads alone, which is faster
    /// and takes less memory.
    pub targets: Targets,
    /// How far the averages move at each step.
    pub polyak: f32,
    /// Whether the values read with the policy's transformer, which saves the memory of one of their own.
    pub shared_trunk: bool,
}

impl Default for IqlConfig {
    fn default() -> Self {
        Self { tau: 0.7, beta: 3.0, max_weight: 100.0, targets: Targets::Network, polyak: 0.005, shared_trunk: false }
    }
}

impl IqlConfig {
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        check_range("iql.tau", self.tau, 0.5..=1.0)?;
        check_range("iql.beta", self.beta, 0.0..=f32::MAX)?;
        check_positive("iql.max_weight", self.max_weight)?;
        check_range("iql.polyak", self.polyak, 0.0..=1.0)
    }

    /// The critic that it learns.
    pub fn critic(&self) -> CriticShape {
        CriticShape { own_trunk: !self.shared_trunk, q_heads: 2, targets: self.targets, v_head: true }
    }
}

/// The learner.
pub struct Iql(pub IqlConfig);

impl Learner for Iql {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch) -> Loss {
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
        model.with_targets_moved(self.0.polyak.into())
    }
}
