//! Policies that choose actions and report the probability of their choice.
//!
//! Learning from a log, or estimating the value of another policy from it, needs the probability of each action under
//! the policy that was recorded. A policy does not know how episodes are stored.

use rand::{Rng, RngExt};

use crate::{Env, Error, Observation, Result};

/// Action of a policy on its turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The text of the action.
    pub action: String,
    /// Natural logarithm of the probability of this action in this state; `None` if it is unknown, for example for a
    /// person.
    pub log_prob: Option<f64>,
}

/// Chooses actions. All its randomness comes from the random stream that it is given.
pub trait BaselinePolicy {
    /// Name of the policy in logs, such as `random`.
    fn name(&self) -> String;

    /// Chooses an action. The environment is in the state where `seen` was observed.
    ///
    /// # Errors
    /// The policy cannot play this environment.
    fn act(&mut self, env: &dyn Env, seen: &Observation, rng: &mut dyn Rng) -> Result<Choice>;

    /// Log-probability that [`act`](Self::act) writes this action here, as [`Choice::log_prob`]; minus infinity if it
    /// never does.
    ///
    /// # Errors
    /// The policy cannot play this environment.
    fn log_prob(&mut self, env: &dyn Env, seen: &Observation, action: &str) -> Result<Option<f64>>;
}

/// Chooses every legal action with equal probability.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

/// Writes the action of the environment's [scripted policy](Env::scripted_action).
#[derive(Debug, Clone, Copy, Default)]
pub struct Scripted;

/// Chooses a random legal action with probability epsilon, else the action of another policy.
#[derive(Debug, Clone)]
pub struct Mixture<P> {
    epsilon: f64,
    inner: P,
}

/// Returns a policy that with probability `epsilon` chooses any legal action, each equally likely, and otherwise the
/// action of `inner`.
///
/// ```
/// use palestra_envs::policies::{BaselinePolicy, Scripted, mix};
/// assert_eq!(mix(0.85, Scripted)?.name(), "scripted+0.85 random");
/// # Ok::<(), palestra_envs::Error>(())
/// ```
///
/// # Errors
/// An epsilon that is not a probability.
pub fn mix<P: BaselinePolicy>(epsilon: f64, inner: P) -> Result<Mixture<P>> {
    if !(0.0..=1.0).contains(&epsilon) {
        return Err(Error::Policy(format!("epsilon = {epsilon}; a probability from 0 to 1 would be right")));
    }
    Ok(Mixture { epsilon, inner })
}

/// Log-probability of an action under a mixture: `ln(epsilon exp(random) + (1 - epsilon) exp(inner))`, from its
/// log-probabilities under uniform choice and under the other policy.
pub fn mixture_log_prob(epsilon: f64, random: f64, inner: f64) -> f64 {
    let probability = epsilon * random.exp() + (1.0 - epsilon) * inner.exp();
    probability.ln().min(0.0) // rounding may have made more than 1 of 1
}

/// Draws a legal action, each equally likely; `None` if the environment lists none.
pub fn random_action(seen: &Observation, rng: &mut dyn Rng) -> Option<String> {
    let legal = seen.legal_actions.as_deref().filter(|legal| !legal.is_empty())?;
    Some(legal[rng.random_range(0..legal.len())].clone())
}

/// Log-probability of an action if all legal actions are equally likely.
pub fn random_log_prob(legal: &[String], action: &str) -> f64 {
    let times = legal.iter().filter(|listed| *listed == action).count();
    (times as f64 / legal.len() as f64).ln()
}

impl BaselinePolicy for Random {
    fn name(&self) -> String {
        "random".to_string()
    }

    fn act(&mut self, env: &dyn Env, seen: &Observation, rng: &mut dyn Rng) -> Result<Choice> {
        let action = random_action(seen, rng).ok_or_else(|| no_legal_actions(env))?;
        let log_prob = self.log_prob(env, seen, &action)?;
        Ok(Choice { action, log_prob })
    }

    fn log_prob(&mut self, env: &dyn Env, seen: &Observation, action: &str) -> Result<Option<f64>> {
        let legal = seen.legal_actions.as_deref().ok_or_else(|| no_legal_actions(env))?;
        Ok(Some(random_log_prob(legal, action)))
    }
}

impl BaselinePolicy for Scripted {
    fn name(&self) -> String {
        "scripted".to_string()
    }

    fn act(&mut self, env: &dyn Env, _seen: &Observation, _rng: &mut dyn Rng) -> Result<Choice> {
        Ok(Choice { action: script(env)?, log_prob: Some(0.0) })
    }

    fn log_prob(&mut self, env: &dyn Env, _seen: &Observation, action: &str) -> Result<Option<f64>> {
        Ok(Some(if script(env)? == action { 0.0 } else { f64::NEG_INFINITY }))
    }
}

impl<P: BaselinePolicy> BaselinePolicy for Mixture<P> {
    fn name(&self) -> String {
        format!("{}+{} random", self.inner.name(), self.epsilon)
    }

    fn act(&mut self, env: &dyn Env, seen: &Observation, rng: &mut dyn Rng) -> Result<Choice> {
        let Choice { action, log_prob } = if rng.random::<f64>() < self.epsilon {
            let action = Random.act(env, seen, rng)?.action;
            Choice { log_prob: self.inner.log_prob(env, seen, &action)?, action }
        } else {
            self.inner.act(env, seen, rng)?
        };
        // Both components can write the same action, so its probability is that of the mixture.
        let log_prob = self.mixed(env, seen, &action, log_prob)?;
        Ok(Choice { action, log_prob })
    }

    fn log_prob(&mut self, env: &dyn Env, seen: &Observation, action: &str) -> Result<Option<f64>> {
        let inner = self.inner.log_prob(env, seen, action)?;
        self.mixed(env, seen, action, inner)
    }
}

impl<P> Mixture<P> {
    fn mixed(&self, env: &dyn Env, seen: &Observation, action: &str, inner: Option<f64>) -> Result<Option<f64>> {
        let random = Random.log_prob(env, seen, action)?;
        Ok(random.zip(inner).map(|(random, inner)| mixture_log_prob(self.epsilon, random, inner)))
    }
}

impl<P: BaselinePolicy + ?Sized> BaselinePolicy for Box<P> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn act(&mut self, env: &dyn Env, seen: &Observation, rng: &mut dyn Rng) -> Result<Choice> {
        (**self).act(env, seen, rng)
    }

    fn log_prob(&mut self, env: &dyn Env, seen: &Observation, action: &str) -> Result<Option<f64>> {
        (**self).log_prob(env, seen, action)
    }
}

fn script(env: &dyn Env) -> Result<String> {
    env.scripted_action().ok_or_else(|| Error::Unknown(format!("{}: there is no scripted policy", env.spec().id)))
}

fn no_legal_actions(env: &dyn Env) -> Error {
    Error::Unknown(format!("{}: lists no legal actions, so there is no random policy", env.spec().id))
}
