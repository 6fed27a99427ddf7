//! Conservative Q-learning for discrete actions ([Kumar et al. 2020](https://arxiv.org/abs/2006.04779)).
//!
//! `loss = mean sum_i [ (Q_i(s, a) - y)^2 + alpha (logsumexp Q_i - Q_i(a)) ]`,
//! `y = r + gamma min_i Qbar_i(s', argmax_b min_i Q_i(s', b))`: twin heads, double Q-learning, Polyak targets. Actions
//! are chosen by the Q-values alone.

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::{OfflineLearner, States};
use crate::Result;
use crate::batch::TransitionBatch;
use crate::learners::{Learner, LearnerConfig, LearnsFromLog, Loss, masked};
use palestra_model::{CriticShape, Decoding, Heads, Policy, Targets};

/// Hyperparameters of CQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CqlConfig {
    /// Weight of the conservative term, at least 0, which pushes down the values of actions outside the data.
    pub alpha: f32,
    /// Inverse temperature, above 0, when actions are sampled.
    pub beta: f32,
    /// Part of the value network that has a target network (a Polyak average): the whole network, or the heads alone,
    /// which is faster and takes less memory.
    pub targets: Targets,
    /// Polyak rate of the target network per step, 0 to 1.
    pub polyak: f32,
}

impl Default for CqlConfig {
    fn default() -> Self {
        Self { alpha: 0.1, beta: 10.0, targets: Targets::Network, polyak: 0.005 }
    }
}

impl CqlConfig {
    /// Critic that this learner trains. There is no other policy, so the transformer belongs to it alone.
    pub fn critic(&self) -> CriticShape {
        CriticShape { q_heads: 2, targets: self.targets, ..CriticShape::default() }
    }
}

impl LearnerConfig for CqlConfig {
    fn check(&self) -> Result<()> {
        Ok(check_ranges(
            "cql",
            &[
                ("alpha", &self.alpha, Range::AT_LEAST_ZERO),
                ("beta", &self.beta, Range::POSITIVE),
                ("polyak", &self.polyak, Range::UNIT),
            ],
        )?)
    }

    fn heads(&self) -> Heads {
        Heads { value: false, critic: Some(self.critic()) }
    }

    fn decoding(&self) -> Decoding {
        Decoding::Values { beta: self.beta }
    }
}

impl LearnsFromLog for CqlConfig {
    fn bootstraps(&self) -> bool {
        true
    }

    fn build(&self) -> OfflineLearner {
        Box::new(Cql(self.clone()))
    }
}

/// CQL learner.
pub struct Cql(pub CqlConfig);

impl Learner for Cql {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch, _: &[Tensor<1>]) -> Loss {
        let states = States::read(model, &batch);
        let (all, chosen): (Vec<_>, Vec<_>) = states.critic().q.iter().map(|head| states.q(head)).unzip();
        let q_loss = states.q_loss(&chosen, states.bootstrapped(best_values(&states)), Some(batch.known.clone()));
        let conservative = states.conservative_loss(all);
        Loss {
            total: q_loss.clone() + conservative.clone().mul_scalar(self.0.alpha),
            metrics: vec![
                ("loss/q", q_loss.detach()),
                ("loss/conservative", conservative.detach()),
                ("values/q", states.mean(chosen[0].clone().detach())),
            ],
        }
    }

    fn after_step(&self, model: Policy) -> Policy {
        model.polyak_update(self.0.polyak.into())
    }
}

/// Minimum over the target heads of the value of the best token by the trained heads, `[states]`, without a gradient.
fn best_values(states: &States) -> Tensor<1> {
    let online = states.critic().min_q(states.critic_hidden.clone().detach()).detach();
    let online = masked(online, states.batch.allowed.as_ref());
    states.all_target_q().gather(1, online.argmax(1)).squeeze_dim(1)
}
