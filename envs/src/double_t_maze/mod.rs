//! The double-T maze: from any cell to the foot of the T (Snell and others, *Offline RL for Natural Language
//! Generation with Implicit Language Q-Learning*, 2023; Abdulhai and others, *LMRL-Gym*, 2023).

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::grid::{Direction, Grid};
use crate::grid_world::{Game, GridWorld, View};
use crate::tabular::{Outcome, Tabular};
use crate::{Env, Options, Result, exact};

/// `#` wall, `.` free, `G` goal.
const MAP: [&str; 10] = [
    "#############",
    "#.....#.....#",
    "###.#####.###",
    "###.#####.###",
    "###.#####.###",
    "###.......###",
    "######.######",
    "######.######",
    "######G######",
    "#############",
];

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MazeOptions {
    limit: NonZeroU32,
    view: View,
}

impl Default for MazeOptions {
    fn default() -> Self {
        Self { limit: NonZeroU32::new(100).expect("100 is not 0"), view: View::default() }
    }
}

/// Builds the environment.
pub fn build(options: &Options) -> Result<Box<dyn Env>> {
    Ok(Box::new(world(options)?))
}

/// What a policy is worth, by dynamic programming.
///
/// # Errors
/// Options that [`build`] refuses, or what the policy fails with.
pub fn exact_value(options: &Options, ask: &mut exact::Ask) -> Result<exact::ExactValue> {
    exact::of_grid_world(&world(options)?, ask)
}

/// The environment with its exact rules.
///
/// # Errors
/// Options that are unknown or wrong.
pub fn world(options: &Options) -> Result<GridWorld> {
    let MazeOptions { limit, view } = options.parse()?;
    let grid = Grid::parse(&MAP, "#.G").expect("the map is well formed");
    let game = Game {
        id: "double-t-maze-v1",
        rules: Tabular { actions: 4, starts: grid.find(b'.'), limit: limit.get(), outcomes: outcomes(&grid) },
        goals: grid.find(b'G'),
        invalid_reward: -4.0,
        solved_return: None,
        grid: grid.clone(),
    };
    GridWorld::new(game, view, |cell| describe(&grid, cell))
}

/// Where each direction leads from each cell; a wall stops the move, which costs as any other.
fn outcomes(grid: &Grid) -> Vec<Vec<Outcome>> {
    let step = |cell: usize, direction: Direction| {
        let ahead = grid.neighbour(cell, direction);
        let next = if grid.at(ahead) == b'#' { cell } else { ahead };
        let terminal = grid.at(next) == b'G';
        vec![Outcome { probability: 1.0, next, reward: if terminal { 0.0 } else { -1.0 }, terminal }]
    };
    grid.cells().flat_map(|cell| Direction::ALL.map(|direction| step(cell, direction))).collect()
}

fn describe(grid: &Grid, cell: usize) -> String {
    let place = |cell| {
        let (row, column) = grid.place(cell);
        format!("row {row}, column {column}")
    };
    let goal = grid.find(b'G')[0];
    if cell == goal {
        return format!("You reached the goal at {}.", place(cell));
    }
    let is_wall = |direction: &Direction| grid.at(grid.neighbour(cell, *direction)) == b'#';
    let walls: Vec<&str> = Direction::ALL.into_iter().filter(is_wall).map(Direction::word).collect();
    let walls = if walls.is_empty() { "none".to_string() } else { walls.join(", ") };
    format!("You are at {}. The goal is at {}. Walls: {walls}. Move left, down, right or up.", place(cell), place(goal))
}
