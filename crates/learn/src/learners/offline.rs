//! Offline learners: each turns logged actions and their outcomes into a loss.
//!
//! This module holds their common steps: reading a batch, behaviour cloning, values from the rewards and next states,
//! and advantage weights.

mod awr;
mod behaviour_cloning;
mod cql;
mod decision_transformer;
mod fqe;
#[cfg(test)]
mod fqe_tests;
mod ilql;
mod iql;
mod monte_carlo;
#[cfg(test)]
pub(super) mod tests;

pub use awr::{Awr, AwrConfig};
pub use behaviour_cloning::{BehaviourCloning, BehaviourCloningConfig, FilteredConfig};
pub use cql::{Cql, CqlConfig};
pub use decision_transformer::{DecisionTransformer, DecisionTransformerConfig};
pub use fqe::{Fqe, TokenPolicy};
pub use ilql::{Ilql, IlqlConfig};
pub use iql::{Iql, IqlConfig};
pub use monte_carlo::{MonteCarlo, MonteCarloConfig};

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use super::{Learner, Sum, masked};
use crate::batch::{Continuation, TransitionBatch};
use palestra_model::ops::{Entropy, OutputVocabulary, TokenDistribution, selected_log_probs};
use palestra_model::{Critic, Head, Placement, Policy};

/// An offline learner. All of them train a [`Policy`] on the same batches, so that a run only needs to know which of
/// them it has.
pub type OfflineLearner = Box<dyn Learner<Model = Policy, Batch = TransitionBatch>>;

/// Hidden states of a model in the states of a batch, `[states, width]` each.
struct States<'a> {
    batch: &'a TransitionBatch,
    critic: Option<&'a Critic>,
    /// Tokens that the policy chooses among.
    vocabulary: &'a OutputVocabulary,
    actor_hidden: Tensor<2>,
    critic_hidden: Tensor<2>,
}

impl<'a> States<'a> {
    fn read(model: &'a Policy, batch: &'a TransitionBatch) -> Self {
        let actor = model.transformer.forward(batch.read.tokens.clone(), &Placement::causal(), None);
        let critic = model.critic.as_ref();
        let values = critic.map_or_else(|| actor.clone(), |critic| critic.read(batch.read.tokens.clone(), &actor));
        let [actor_hidden, critic_hidden] = [actor, values].map(|hidden| hidden.select(0, batch.states_at.clone()));
        Self { batch, critic, vocabulary: model.vocabulary(), actor_hidden, critic_hidden }
    }

    fn critic(&self) -> &'a Critic {
        self.critic.expect("a learner of values has a model with a critic")
    }

    /// Sum of a per-token quantity, as this part's share of the mean over the whole batch.
    fn mean(&self, quantity: Tensor<1>) -> Sum {
        Sum::of(quantity, self.batch.token_count as f64)
    }

    /// Selects the states in which action tokens were written from a per-state quantity.
    fn acted<const D: usize>(&self, quantity: Tensor<D>) -> Tensor<D> {
        quantity.narrow(0, 0, self.batch.actions())
    }

    /// Log-probability of each action token over the tokens that could be written, `[tokens]`.
    fn log_probs(&self, model: &Policy) -> Tensor<1> {
        let allowed = self.batch.allowed.as_ref().and_then(|allowed| allowed.first(self.batch.actions()));
        let distribution =
            TokenDistribution { allowed, ..model.transformer.next_token().over(self.vocabulary.clone()) };
        let hidden = self.acted(self.actor_hidden.clone());
        distribution.log_probs(hidden, self.batch.targets.clone(), Entropy::Unused).log_probs
    }

    /// Q-values of one head for every token, `[tokens, vocab]`, and for the written token, `[tokens]`.
    fn q(&self, head: &Head) -> (Tensor<2>, Tensor<1>) {
        let all = head.forward(self.acted(self.critic_hidden.clone()));
        let chosen = self.chosen(all.clone());
        (all, chosen)
    }

    /// Minimum over the target heads of the Q-values of every token in every state, without a gradient,
    /// `[states, vocab]`.
    fn all_target_q(&self) -> Tensor<2> {
        self.critic().min_target_q(self.averaged_hidden())
    }

    /// Minimum over the target heads of the Q-value of each written token, without a gradient, `[tokens]`.
    fn target_q(&self) -> Tensor<1> {
        self.chosen(self.critic().min_target_q(self.acted(self.averaged_hidden())))
    }

    /// Hidden states that the target heads read, `[states, width]`.
    fn averaged_hidden(&self) -> Tensor<2> {
        match &self.critic().target_trunk {
            Some(trunk) => {
                let hidden = trunk.forward(self.batch.read.tokens.clone(), &Placement::causal(), None);
                hidden.select(0, self.batch.states_at.clone())
            }
            None => self.critic_hidden.clone(),
        }
    }

    /// State values, `[states]`.
    fn v(&self) -> Tensor<1> {
        self.critic().state_values(self.critic_hidden.clone()).expect("the learner's model has a state-value head")
    }

    /// `r + gamma V(s')`, without a gradient, from the values of all states; r alone if the episode terminated.
    fn bootstrapped(&self, values: Tensor<1>) -> Tensor<1> {
        let next = values.detach().select(0, self.batch.next.clone());
        self.batch.rewards.clone() + next * self.batch.discounts.clone()
    }

    /// Return of each action token, `[tokens]`. The values of all states, without a gradient, continue the returns of
    /// truncated episodes.
    fn returns(&self, values: impl FnOnce() -> Tensor<1>) -> Tensor<1> {
        let returns = self.batch.returns.clone();
        match &self.batch.continuation {
            Some(Continuation { states, discounts }) => {
                returns + values().detach().select(0, states.clone()) * discounts.clone()
            }
            None => returns,
        }
    }

    /// Mean value of the policy's own next token in every state, without a gradient, `[states]`: `sum_a pi(a|s) Q(s, a)`.
    fn policy_values(&self, model: &Policy, head: &Head) -> Tensor<1> {
        let logits = self.vocabulary.scores(model.transformer.logits(self.actor_hidden.clone()).detach());
        let policy = softmax(masked(logits, self.batch.allowed.as_ref()), 1);
        let values = self.vocabulary.scores(head.forward(self.critic_hidden.clone()).detach());
        (policy * values).sum_dim(1).squeeze_dim(1)
    }

    /// Squared error of each head's value of the written tokens, summed over heads, on tokens with a known target.
    fn q_loss(&self, chosen: &[Tensor<1>], target: Tensor<1>, known: Option<Tensor<1>>) -> Sum {
        let errors = chosen.iter().map(|chosen| (chosen.clone() - target.clone()).square());
        let errors = errors.reduce(|a, b| a + b).expect("there is a head");
        self.mean(match known {
            Some(known) => errors * known,
            None => errors,
        })
    }

    /// Conservative loss `logsumexp Q - Q(a)`, which is the cross-entropy of `softmax(Q)`; summed over heads.
    fn conservative_loss(&self, all: Vec<Tensor<2>>) -> Sum {
        let one = |values| selected_log_probs(self.without_forbidden(values), self.batch.targets.clone()).neg();
        self.mean(all.into_iter().map(one).reduce(|a, b| a + b).expect("there is a head"))
    }

    fn chosen(&self, all: Tensor<2>) -> Tensor<1> {
        all.gather(1, self.batch.targets.clone().unsqueeze_dim(1)).squeeze_dim(1)
    }

    /// Sets the scores of tokens that could not be written in the states of the action tokens to -1e9.
    fn without_forbidden(&self, scores: Tensor<2>) -> Tensor<2> {
        masked(self.vocabulary.scores(scores), self.batch.allowed.as_ref())
    }
}

/// Asymmetric square `|tau - 1(u < 0)| u^2`, whose minimum over samples of u + V is their expectile.
fn expectile_loss(u: Tensor<1>, tau: f32) -> Tensor<1> {
    let weight = u.clone().lower_scalar(0.0).float().sub_scalar(tau).abs();
    weight * u.square()
}

/// `min(exp(scale * advantage), most)`, without a gradient.
fn exponential_weight(advantage: Tensor<1>, scale: f32, most: f32) -> Tensor<1> {
    // The exponent is clamped before `exp`, which could overflow f32.
    advantage.detach().mul_scalar(scale).clamp_max(most.ln()).exp()
}
