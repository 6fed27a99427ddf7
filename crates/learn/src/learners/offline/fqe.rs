//! Fitted Q evaluation ([Le, Voloshin and Yue 2019](https://arxiv.org/abs/1903.08738)): estimates the expected return
//! of a policy from episodes of other policies.
//!
//! `loss = mean (Q(s, a) - y)^2`, `y = r + gamma sum_a' pi(a'|s') Qbar(s', a')`, token by token: pi is the evaluated
//! policy, and Qbar a Polyak average of Q's head. A terminated episode has no next state. A truncated one continues in
//! its final state, so that Q is the value of the game without a turn limit.

use burn::tensor::Tensor;

use super::States;
use crate::batch::TransitionBatch;
use crate::learners::{Learner, Loss, token_log_probs};
use palestra_model::{CriticShape, Placement, Policy, Targets};

/// An evaluated policy, token by token.
#[derive(Debug, Clone)]
pub struct TokenPolicy {
    /// The policy, outside autodiff.
    pub policy: Policy,
    /// Divisor of the logits; 0 is greedy.
    pub temperature: f32,
    /// Probability of a uniformly random choice among the tokens that can be written. If a list of actions is written
    /// with one token each, this is a random legal action; if no list is known, nothing is mixed in.
    pub epsilon: f64,
}

impl TokenPolicy {
    /// Log-probabilities of the policy itself in the states of a batch, `[states, vocab]`, outside autodiff.
    pub fn log_probs(&self, batch: &TransitionBatch) -> Tensor<2> {
        let hidden = self.policy.read(batch.read.tokens.clone().inner(), &Placement::causal());
        let hidden = hidden.select(&batch.states_at.clone().inner());
        token_log_probs(&self.policy, hidden, batch.allowed.as_ref(), self.temperature)
    }

    /// Probabilities in the states of a batch, random choices included, `[states, vocab]`.
    fn probabilities(&self, batch: &TransitionBatch) -> Tensor<2> {
        let own = self.log_probs(batch).exp();
        let [states, vocab] = own.dims();
        let allowed = batch.allowed.as_ref().filter(|_| self.epsilon > 0.0);
        let Some(forbidden) = allowed.and_then(|allowed| allowed.forbidden(0..states, vocab, &own.device())) else {
            return own;
        };
        let free = forbidden.bool_not().float();
        let count = free.clone().sum_dim(1); // [states, 1]
        let epsilon = count.clone().lower_elem(vocab as f32).float().mul_scalar(self.epsilon);
        own.clone() + epsilon * (free / count - own)
    }
}

/// FQE learner. It trains a [`Policy`] only because that type holds a transformer and a critic: the values use its
/// transformer, and it writes no actions.
pub struct Fqe {
    /// The evaluated policy.
    pub evaluated: TokenPolicy,
    /// Polyak rate of the target network per step.
    pub polyak: f64,
}

impl Fqe {
    /// Critic that this learner trains.
    pub fn critic() -> CriticShape {
        CriticShape { q_heads: 1, targets: Targets::Network, ..CriticShape::default() }
    }

    /// Value of each state of a batch, `[states]`, by the target head: `sum_a pi(a|s) Qbar(s, a)`.
    pub fn values(&self, model: &Policy, batch: &TransitionBatch) -> Tensor<1> {
        self.expectation(&States::read(model, batch))
    }

    fn expectation(&self, states: &States) -> Tensor<1> {
        let values = states.all_target_q();
        let probabilities = self.evaluated.probabilities(states.batch);
        let values = values.inner().narrow(1, 0, probabilities.dims()[1]);
        (values * probabilities).sum_dim(1).squeeze_dim(1)
    }
}

impl Learner for Fqe {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch, _: &[Tensor<1>]) -> Loss {
        let states = States::read(model, &batch);
        let (_, chosen) = states.q(&states.critic().q[0]);
        let target = states.bootstrapped(Tensor::from_inner(self.expectation(&states)));
        let q_loss = states.q_loss(std::slice::from_ref(&chosen), target, Some(batch.known.clone()));
        Loss {
            total: q_loss.clone(),
            metrics: vec![("loss/q", q_loss.detach()), ("values/q", states.mean(chosen.detach()))],
        }
    }

    fn after_step(&self, model: Policy) -> Policy {
        model.polyak_update(self.polyak)
    }
}
