//! The exact result of a policy, by visiting every position that it can reach.

use std::collections::BTreeMap;

use crate::{Error, Observation, Options};

use super::board::{Board, Outcome, cells};
use super::{TicTacToe, read_cell};

/// How a deterministic policy fares, over all that the opponent may play.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Exact {
    /// The mean return.
    pub expected_return: f64,
    /// The probability of a win.
    pub win: f64,
    /// The probability of a draw.
    pub draw: f64,
    /// The probability of a loss, that of an illegal action included.
    pub loss: f64,
    /// The probability of an illegal action. It counts as a loss, since the policy would repeat it.
    pub illegal: f64,
    /// Whether any game is lost, however unlikely.
    pub can_lose: bool,
    /// How many different positions the policy was asked about.
    pub positions: usize,
}

/// Plays every game that a deterministic policy can come into, and weighs each with its probability.
///
/// The policy gets the observations of all positions of the same depth at once, at most five times, and
/// gives one action for each; the same observation must always get the same action. The options are those of
/// the kind: who begins, the opponent, the view.
///
/// # Errors
/// Options that [`build`](super::build) refuses, and whatever the policy fails with.
///
/// # Panics
/// Where the policy does not give as many actions as it got observations.
///
/// ```
/// use palestra_envs::tic_tac_toe::evaluate_exactly;
/// // A policy that takes the first free cell.
/// let exact = evaluate_exactly(&Default::default(), |observations| {
///     let first = |legal: &std::sync::Arc<[String]>| legal[0].clone();
///     let actions = observations.iter().map(|seen| seen.legal_actions.as_ref().map(first));
///     Ok::<_, palestra_envs::Error>(actions.flatten().collect())
/// })?;
/// assert!(exact.can_lose);
/// # Ok::<(), palestra_envs::Error>(())
/// ```
pub fn evaluate_exactly<E: From<Error>>(
    options: &Options,
    mut policy: impl FnMut(&[Observation]) -> Result<Vec<String>, E>,
) -> Result<Exact, E> {
    let env = TicTacToe::new(options.parse()?)?;
    let mut exact = Exact::default();
    let mut level = env.starts();
    while !level.is_empty() {
        exact.positions += level.len();
        let observations: Vec<_> = level.keys().map(|&board| env.observe(board)).collect();
        let actions = policy(&observations)?;
        assert_eq!(actions.len(), observations.len(), "one action for each");
        let mut next = BTreeMap::new();
        for ((board, probability), action) in level.into_iter().zip(actions) {
            let Some(cell) = read_cell(&action, board) else {
                exact.illegal += probability;
                exact.count(Outcome::Loss, probability);
                continue;
            };
            let moved = board.with_agent(cell);
            if let Some(outcome) = moved.outcome() {
                exact.count(outcome, probability);
                continue;
            }
            let choices = env.opponent().choices(moved);
            let share = probability / f64::from(choices.count_ones());
            for cell in cells(choices) {
                let answered = moved.with_opponent(cell);
                match answered.outcome() {
                    Some(outcome) => exact.count(outcome, share),
                    None => *next.entry(answered).or_default() += share,
                }
            }
        }
        level = next;
    }
    Ok(exact)
}

impl Exact {
    fn count(&mut self, outcome: Outcome, probability: f64) {
        self.expected_return += probability * f64::from(outcome.reward());
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

/// Positions and how likely the game comes to them.
pub(super) type Level = BTreeMap<Board, f64>;
