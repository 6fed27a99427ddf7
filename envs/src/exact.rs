//! What a policy is worth by calculation, in the games that are small enough: no luck of the draw in the figure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::grid_world::GridWorld;
use crate::{Error, Observation, Options, Result, tic_tac_toe};

/// What a deterministic policy is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExactValue {
    /// The expectation of the episode's undiscounted return.
    pub expected_return: f64,
    /// Probabilities of the ways that an episode can end, where the game names them.
    #[serde(flatten)]
    pub ends: BTreeMap<String, f64>,
}

/// A policy that answers each observation alone, and always in the same way.
pub type Ask<'a> = dyn FnMut(&[Observation]) -> Result<Vec<String>> + 'a;

/// Calculates the value of a policy in the game with these options.
pub type ExactEvaluator = fn(&Options, &mut Ask) -> Result<ExactValue>;

/// The value of a policy in a grid game, by dynamic programming over its cells.
///
/// # Errors
/// A policy that writes something that is no action.
pub(crate) fn of_grid_world(world: &GridWorld, ask: &mut Ask) -> Result<ExactValue> {
    let observations: Vec<Observation> = (0..world.rules().states()).map(|cell| world.observe_cell(cell)).collect();
    let actions = ask(&observations)?;
    let read = |(action, cell): (&String, usize)| {
        let illegal = || Error::Definition(format!("the policy writes {action:?} in cell {cell}, which is no action"));
        world.action(action).ok_or_else(illegal)
    };
    let actions = actions.iter().zip(0..).map(read).collect::<Result<Vec<usize>>>()?;
    let expected_return = world.rules().exact_return(&|cell| actions[cell]);
    Ok(ExactValue { expected_return, ends: BTreeMap::new() })
}

/// The value of a policy in tic-tac-toe, over the whole game tree.
pub(crate) fn of_tic_tac_toe(options: &Options, ask: &mut Ask) -> Result<ExactValue> {
    let exact = tic_tac_toe::evaluate_exactly(options, ask)?;
    let ends = [("win", exact.win), ("draw", exact.draw), ("loss", exact.loss)];
    Ok(ExactValue {
        expected_return: exact.expected_return,
        ends: ends.map(|(name, probability)| (name.to_string(), probability)).into(),
    })
}
