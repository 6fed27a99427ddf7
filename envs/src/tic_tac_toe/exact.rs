//! Exact result of a policy, by visiting every position that it can reach.

use std::collections::BTreeMap;

use crate::exact::{Ask, ExactValue, ask};
use crate::{Options, Result};

use super::TicTacToe;
use super::board::{Board, Outcome, cells};

/// Result of a policy, over all moves that the opponent may play.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Exact {
    /// Mean return, with the requested discount.
    pub expected_return: f64,
    /// Probability of a win.
    pub win: f64,
    /// Probability of a draw.
    pub draw: f64,
    /// Probability of a loss.
    pub loss: f64,
    /// True if any game is lost, however unlikely.
    pub can_lose: bool,
    /// Number of different positions that the policy was queried for.
    pub positions: usize,
}

/// Plays every game that a policy can reach, weighted by its probability.
///
/// The policy gets the observations of all positions of the same depth at once, in at most five calls. The options are
/// those of the kind: first player, opponent, view.
///
/// # Errors
/// Options that [`build`](super::build) refuses, any error of the policy, and answers that are not distributions over
/// the legal actions.
///
/// ```
/// use palestra_envs::{Options, exact::uniform, tic_tac_toe::evaluate_exactly};
/// let random = evaluate_exactly(&Options::default(), &mut |seen| Ok(seen.iter().map(uniform).collect()))?;
/// assert!((random.expected_return - 0.2968).abs() < 5e-5 && random.can_lose);
/// # Ok::<(), palestra_envs::Error>(())
/// ```
pub fn evaluate_exactly(options: &Options, policy: &mut Ask) -> Result<Exact> {
    evaluate_discounted(options, 1.0, policy)
}

/// Variant of [`evaluate_exactly`] that counts the reward of turn t (from 0) `gamma^t` times.
///
/// # Errors
/// See [`evaluate_exactly`].
pub fn evaluate_discounted(options: &Options, gamma: f64, policy: &mut Ask) -> Result<Exact> {
    let env = TicTacToe::new(options.parse()?)?;
    let mut exact = Exact::default();
    let mut level = env.starts();
    let mut discount = 1.0;
    while !level.is_empty() {
        exact.positions += level.len();
        let observations: Vec<_> = level.keys().map(|&board| env.observe(board)).collect();
        let answers = ask(policy, &observations)?;
        let mut next = BTreeMap::new();
        for ((board, reached), answer) in level.into_iter().zip(answers) {
            // The legal actions are the free cells, in order.
            let chosen = cells(board.free()).zip(answer).filter(|&(_, probability)| probability > 0.0);
            for (cell, probability) in chosen {
                exact.play(&env, board.with_agent(cell), reached * probability, discount, &mut next);
            }
        }
        level = next;
        discount *= gamma;
    }
    Ok(exact)
}

/// Expected return of a policy over the whole game tree, with the probabilities of a win, a draw and a loss.
///
/// # Errors
/// See [`evaluate_exactly`].
pub fn exact_value(options: &Options, gamma: f64, policy: &mut Ask) -> Result<ExactValue> {
    let exact = evaluate_discounted(options, gamma, policy)?;
    let ends = [("win", exact.win), ("draw", exact.draw), ("loss", exact.loss)];
    Ok(ExactValue {
        expected_return: exact.expected_return,
        ends: ends.map(|(name, probability)| (name.to_string(), probability)).into(),
    })
}

impl Exact {
    /// Counts the possible ends of a game after the agent's move, and adds the positions where it continues.
    fn play(&mut self, env: &TicTacToe, moved: Board, probability: f64, discount: f64, next: &mut Level) {
        if let Some(outcome) = moved.outcome() {
            return self.count(outcome, probability, discount);
        }
        let choices = env.opponent().choices(moved);
        let share = probability / f64::from(choices.count_ones());
        for cell in cells(choices) {
            let answered = moved.with_opponent(cell);
            match answered.outcome() {
                Some(outcome) => self.count(outcome, share, discount),
                None => *next.entry(answered).or_default() += share,
            }
        }
    }

    fn count(&mut self, outcome: Outcome, probability: f64, discount: f64) {
        self.expected_return += discount * probability * f64::from(outcome.reward());
        match outcome {
            Outcome::Win => self.win += probability,
            Outcome::Draw => self.draw += probability,
            Outcome::Loss => {
                self.loss += probability;
                self.can_lose = true;
            }
        }
    }
}

/// Positions and the probability of each.
pub(super) type Level = BTreeMap<Board, f64>;
