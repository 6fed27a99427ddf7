//! CliffWalking: walk along the edge of a cliff to the goal (Sutton and Barto, *Reinforcement Learning*, 2018, example
//! 6.6).

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::grid::{Direction, Grid};
use crate::grid_world::{Game, GridWorld, View};
use crate::tabular::{Outcome, Tabular};
use crate::{End, Env, Options, Result, exact};

/// `S` start, `.` free, `C` cliff, `G` goal.
const MAP: [&str; 4] = ["............", "............", "............", "SCCCCCCCCCCG"];

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CliffOptions {
    limit: NonZeroU32,
    view: View,
}

impl Default for CliffOptions {
    fn default() -> Self {
        Self { limit: NonZeroU32::new(200).expect("200 is not 0"), view: View::default() }
    }
}

/// Builds the environment.
pub fn build(options: &Options) -> Result<Box<dyn Env>> {
    Ok(Box::new(world(options)?))
}

/// Exact value of a policy, with rewards discounted by `gamma` from turn to turn, by dynamic programming.
///
/// # Errors
/// Options that [`build`] refuses, or any error of the policy.
pub fn exact_value(options: &Options, gamma: f64, ask: &mut exact::Ask) -> Result<exact::ExactValue> {
    exact::of_grid_world(&world(options)?, gamma, ask)
}

/// The environment with its exact rules.
///
/// # Errors
/// Options that are unknown or wrong.
pub fn world(options: &Options) -> Result<GridWorld> {
    let CliffOptions { limit, view } = options.parse()?;
    let grid = Grid::parse(&MAP, "S.CG").expect("the map is well formed");
    let game = Game {
        id: "cliff-walking-v1",
        rules: Tabular { actions: 4, starts: grid.find(b'S'), limit: limit.get(), outcomes: outcomes(&grid) },
        goals: grid.find(b'G'),
        invalid_reward: -1.0,
        solved_return: None,
        script: None,
        grid: grid.clone(),
    };
    GridWorld::new(game, view, |cell| describe(&grid, cell))
}

/// Outcomes of each direction in each cell. A fall from the cliff leads back to the start.
fn outcomes(grid: &Grid) -> Vec<Vec<Outcome>> {
    let start = grid.find(b'S')[0];
    let step = |cell: usize, direction: Direction| {
        let ahead = grid.neighbour(cell, direction);
        let (next, reward) = if grid.at(ahead) == b'C' { (start, -100.0) } else { (ahead, -1.0) };
        let end = (grid.at(next) == b'G').then_some(End::Terminated);
        vec![Outcome { probability: 1.0, next, reward, end }]
    };
    grid.cells().flat_map(|cell| Direction::ALL.map(|direction| step(cell, direction))).collect()
}

fn describe(grid: &Grid, cell: usize) -> String {
    let map = grid.draw(Some(cell));
    match grid.at(cell) {
        b'G' => format!("You reached the goal.\n{map}"),
        _ => format!(
            "You are P. Walk to the goal G, and keep off the cliff C: a fall costs 100 and leads back to the start.\n\
             {map}\nMove left, down, right or up."
        ),
    }
}
