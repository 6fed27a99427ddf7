//! Learners that learn from logged experience: each turns what was done, and what came of it, into a loss.
//!
//! Their common steps are here: reading a batch, cloning what was written, values from the rewards and states that
//! followed, and weights for what turned out well.

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
mod tests;

pub use awr::{Awr, AwrConfig};
pub use behaviour_cloning::{BehaviourCloning, BehaviourCloningConfig, FilteredConfig};
pub use cql::{Cql, CqlConfig};
pub use decision_transformer::{DecisionTransformer, DecisionTransformerConfig};
pub use fqe::{Fqe, TokenPolicy};
pub use ilql::{Ilql, IlqlConfig};
pub use iql::{Iql, IqlConfig};
pub use monte_carlo::{MonteCarlo, MonteCarloConfig};

use burn::tensor::Tensor;

use super::{Learner, masked};
use crate::batch::TransitionBatch;
use palestra_model::{Critic, Head, Placement, Policy};
use palestra_model::ops::selected_log_probs;
use crate::{Error, Result};

/// A learner of logged experience. All of them learn a [`Policy`] from the same batches, so that a run needs to know
/// only which of them it has.
pub type OfflineLearner = Box<dyn Learner<Model = Policy, Batch = TransitionBatch>>;

/// What a model makes of the states of a batch, `[states, width]` each.
struct States<'a> {
    batch: &'a TransitionBatch,
    critic: Option<&'a Critic>,
    actor_hidden: Tensor<2>,
    critic_hidden: Tensor<2>,
}

impl<'a> States<'a> {
    fn read(model: &'a Policy, batch: &'a TransitionBatch) -> Self {
        let actor = model.transformer.forward(batch.tokens.clone(), &Placement::causal(), None);
        let critic = model.critic.as_ref();
        let values = critic.map_or_else(|| actor.clone(), |critic| critic.read(batch.tokens.clone(), &actor));
        let [actor_hidden, critic_hidden] = [actor, values].map(|hidden| hidden.select(0, batch.states_at.clone()));
        Self { batch, critic, actor_hidden, critic_hidden }
    }

    fn critic(&self) -> &'a Critic {
        self.critic.expect("a learner of values has a model with a critic")
    }

    /// The sum of a quantity of the action tokens, as a part of the mean over the whole batch.
    fn mean(&self, quantity: Tensor<1>) -> Tensor<1> {
        quantity.sum().div_scalar(self.batch.token_count as f32)
    }

    /// Those rows of a quantity of the states that action tokens were written in.
    fn acted<const D: usize>(&self, quantity: Tensor<D>) -> Tensor<D> {
        quantity.narrow(0, 0, self.batch.actions())
    }

    /// The log-probability of each action token among what could be written, `[tokens]`.
    fn log_probs(&self, model: &Policy) -> Tensor<1> {
        let logits = model.transformer.logits(self.acted(self.actor_hidden.clone()));
        selected_log_probs(self.without_forbidden(logits), self.batch.targets.clone())
    }

    /// The values that a head gives to every token, `[tokens, vocab]`, and to the one that was written, `[tokens]`.
    fn q(&self, head: &Head) -> (Tensor<2>, Tensor<1>) {
        let all = head.forward(self.acted(self.critic_hidden.clone()));
        let chosen = self.chosen(all.clone());
        (all, chosen)
    }

    /// The smaller of the averaged heads' values of every token in every state, without a gradient, `[states, vocab]`.
    fn all_target_q(&self) -> Tensor<2> {
        self.critic().smaller_target(self.averaged_hidden())
    }

    /// The smaller of the averaged heads' values of what was written, without a gradient, `[tokens]`.
    fn target_q(&self) -> Tensor<1> {
        self.chosen(self.critic().smaller_target(self.acted(self.averaged_hidden())))
    }

    /// What the averaged heads look at, `[states, width]`.
    fn averaged_hidden(&self) -> Tensor<2> {
        match &self.critic().target_trunk {
            Some(trunk) => {
                let hidden = trunk.forward(self.batch.tokens.clone(), &Placement::causal(), None);
                hidden.select(0, self.batch.states_at.clone())
            }
            None => self.critic_hidden.clone(),
        }
    }

    /// The state values, `[states]`.
    fn v(&self) -> Tensor<1> {
        self.critic().state_values(self.critic_hidden.clone()).expect("the learner's model has a state-value head")
    }

    /// `r + gamma V(s')`, without a gradient, from values of all states: where a game is over, r alone.
    fn bootstrapped(&self, values: Tensor<1>) -> Tensor<1> {
        let next = values.detach().select(0, self.batch.next.clone());
        self.batch.rewards.clone() + next * self.batch.discounts.clone()
    }

    /// The squared error of each head's value of what was written, summed over heads, where a target is known.
    fn q_loss(&self, chosen: &[Tensor<1>], target: Tensor<1>, known: Option<Tensor<1>>) -> Tensor<1> {
        let errors = chosen.iter().map(|chosen| (chosen.clone() - target.clone()).square());
        let errors = errors.reduce(|a, b| a + b).expect("there is a head");
        self.mean(match known {
            Some(known) => errors * known,
            None => errors,
        })
    }

    /// How much less a head's values make of what was written than of all that could be:
    /// `logsumexp Q - Q(a)`, which is the cross-entropy of `softmax(Q)`; summed over heads.
    fn conservative_loss(&self, all: Vec<Tensor<2>>) -> Tensor<1> {
        let one = |values| selected_log_probs(self.without_forbidden(values), self.batch.targets.clone()).neg();
        self.mean(all.into_iter().map(one).reduce(|a, b| a + b).expect("there is a head"))
    }

    fn chosen(&self, all: Tensor<2>) -> Tensor<1> {
        all.gather(1, self.batch.targets.clone().unsqueeze_dim(1)).squeeze_dim(1)
    }

    /// Makes what could not be written in the states of the action tokens as good as impossible.
    fn without_forbidden(&self, scores: Tensor<2>) -> Tensor<2> {
        let forbidden = self.batch.forbidden.clone().map(|forbidden| forbidden.narrow(0, 0, self.batch.actions()));
        masked(scores, forbidden)
    }
}

/// The asymmetric square `|tau - 1(u < 0)| u^2`, whose minimum over samples of u + V is their expectile.
fn expectile_loss(u: Tensor<1>, tau: f32) -> Tensor<1> {
    let weight = u.clone().lower_scalar(0.0).float().sub_scalar(tau).abs();
    weight * u.square()
}

/// `min(exp(scale * advantage), most)`, without a gradient.
fn exponential_weight(advantage: Tensor<1>, scale: f32, most: f32) -> Tensor<1> {
    // The exponent is bounded first: beyond f32 there is no smaller one to take.
    advantage.detach().mul_scalar(scale).clamp_max(most.ln()).exp()
}

/// Refuses a knob outside of its range.
fn check_range(name: &str, value: f32, range: std::ops::RangeInclusive<f32>) -> Result<()> {
    if range.contains(&value) && value.is_finite() {
        return Ok(());
    }
    let (low, high) = (range.start(), range.end());
    let right = if *high == f32::MAX { format!("at least {low}") } else { format!("between {low} and {high}") };
    Err(Error::Config(format!("{name}: {value} is not {right}")))
}

/// Refuses a knob that is not above 0.
fn check_positive(name: &str, value: f32) -> Result<()> {
    match value > 0.0 && value.is_finite() {
        true => Ok(()),
        false => Err(Error::Config(format!("{name}: {value} is not above 0"))),
    }
}
