//! Exact values of policies by calculation, for games that are small enough. The result has no sampling error.
//!
//! A policy is represented by its probabilities for the legal actions of an observation. A deterministic policy gives 1
//! to one of them ([`one_hot`]).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::grid_world::GridWorld;
use crate::{Error, Observation, Options, Result};

/// Exact value of a policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExactValue {
    /// Expected return of an episode, with the requested discount.
    pub expected_return: f64,
    /// Probabilities of the possible outcomes of an episode, if the game names them.
    #[serde(flatten)]
    pub ends: BTreeMap<String, f64>,
}

/// A policy that depends on each observation alone. For each observation, it returns the probabilities of the [legal
/// actions](Observation::legal_actions), in their order, which sum to 1. The same observation must always get the same
/// probabilities.
pub type Ask<'a> = dyn FnMut(&[Observation]) -> Result<Vec<Vec<f64>>> + 'a;

/// Calculates the value of a policy in the game with these options, with this discount from turn to turn.
pub type ExactEvaluator = fn(&Options, f64, &mut Ask) -> Result<ExactValue>;

/// Probabilities of a policy that always writes this action: 1 for it, 0 for every other legal action. The action is
/// trimmed and compared case-insensitively.
///
/// # Errors
/// An action that is not among the legal ones, or an observation that lists none.
pub fn one_hot(observation: &Observation, action: &str) -> Result<Vec<f64>> {
    let legal = legal(observation);
    let is_action = |listed: &String| listed.eq_ignore_ascii_case(action.trim());
    if !legal.iter().any(is_action) {
        let legal = legal.join("`, `");
        let text = &observation.content;
        return Err(Error::Policy(format!("it answers {action:?} to {text:?}; legal actions are `{legal}`")));
    }
    Ok(legal.iter().map(|listed| f64::from(u8::from(is_action(listed)))).collect())
}

/// Probabilities of a policy that chooses every legal action with equal probability.
pub fn uniform(observation: &Observation) -> Vec<f64> {
    let count = legal(observation).len();
    vec![1.0 / count as f64; count]
}

/// Queries a policy and refuses answers that are not distributions over the legal actions.
pub(crate) fn ask(policy: &mut Ask, observations: &[Observation]) -> Result<Vec<Vec<f64>>> {
    const ROUNDING: f64 = 1e-6;
    let answers = policy(observations)?;
    if answers.len() != observations.len() {
        let (given, asked) = (answers.len(), observations.len());
        return Err(Error::Policy(format!("it gives {given} answers to {asked} observations")));
    }
    for (observation, answer) in observations.iter().zip(&answers) {
        let wrong = |what: String| Err(Error::Policy(format!("to {:?} it gives {what}", observation.content)));
        let actions = legal(observation);
        if answer.len() != actions.len() {
            return wrong(format!("{} probabilities; there are {} legal actions", answer.len(), actions.len()));
        }
        let bad = answer.iter().zip(actions).find(|(probability, _)| !probability.is_finite() || **probability < 0.0);
        if let Some((probability, action)) = bad {
            return wrong(format!("`{action}` the probability {probability}; it must be finite and at least 0"));
        }
        let sum: f64 = answer.iter().sum();
        if (sum - 1.0).abs() > ROUNDING {
            return wrong(format!("probabilities that sum to {sum}; they must sum to 1"));
        }
    }
    Ok(answers)
}

/// Value of a policy in a grid game, by dynamic programming over its cells.
///
/// # Errors
/// Any error of the policy, or an answer that is not a distribution.
pub(crate) fn of_grid_world(world: &GridWorld, gamma: f64, policy: &mut Ask) -> Result<ExactValue> {
    let rules = world.rules();
    let cells = rules.reachable();
    let observations: Vec<Observation> = cells.iter().map(|&cell| world.observe_cell(cell)).collect();
    let answers = ask(policy, &observations)?;
    let mut probabilities = vec![0.0; rules.outcomes.len()];
    for ((cell, observation), answer) in cells.into_iter().zip(&observations).zip(answers) {
        for (text, probability) in legal(observation).iter().zip(answer) {
            let action = world.action(text).expect("a legal action is one");
            probabilities[cell * rules.actions + action] = probability;
        }
    }
    let expected_return = rules.discounted_return(gamma, &|cell, action| probabilities[cell * rules.actions + action]);
    Ok(ExactValue { expected_return, ends: BTreeMap::new() })
}

fn legal(observation: &Observation) -> &[String] {
    observation.legal_actions.as_deref().unwrap_or_default()
}
