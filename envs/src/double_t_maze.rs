//! The double-T maze: walk from any cell to the foot of the T (Snell and others, *Offline RL for Natural Language
//! Generation with Implicit Language Q-Learning*, 2023; Abdulhai and others, *LMRL-Gym*, 2023).

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::grid::{Direction, Grid};
use crate::grid_world::{Game, GridWorld, View};
use crate::tabular::{Outcome, Plan, Tabular};
use crate::{End, Env, Options, Result, exact};

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
    region: Option<Region>,
}

/// A part of the maze that episodes are confined to. Together, the three regions contain every cell and every move, but
/// none contains a path from a bar to the goal: a learner has to combine parts of episodes.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Region {
    /// The left bar, the left stem and the crossbar up to the junction.
    Left,
    /// The right bar, the right stem and the crossbar up to the junction.
    Right,
    /// The crossbar and the stem of the T down to the goal.
    Stem,
}

impl Default for MazeOptions {
    fn default() -> Self {
        Self { limit: NonZeroU32::new(100).expect("100 is not 0"), view: View::default(), region: None }
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
    let MazeOptions { limit, view, region } = options.parse()?;
    let grid = Grid::parse(&MAP, "#.G").expect("the map is well formed");
    let rules = Tabular { actions: 4, starts: grid.find(b'.'), limit: limit.get(), outcomes: outcomes(&grid) };
    let (id, script, rules) = match region {
        None => ("double-t-maze-v1", None, rules),
        Some(region) => (region.id(), Some(region.script(&grid, &rules)), region.confine(&grid, &rules)),
    };
    let game = Game {
        id,
        rules,
        script,
        goals: grid.find(b'G'),
        invalid_reward: -4.0,
        solved_return: None,
        grid: grid.clone(),
    };
    GridWorld::new(game, view, |cell| describe(&grid, cell))
}

impl Region {
    fn id(self) -> &'static str {
        match self {
            Region::Left => "double-t-maze-left-v1",
            Region::Right => "double-t-maze-right-v1",
            Region::Stem => "double-t-maze-stem-v1",
        }
    }

    fn contains(self, grid: &Grid, cell: usize) -> bool {
        const CROSSBAR: usize = 5; // row
        const JUNCTION: usize = 6; // column
        let (row, column) = grid.place(cell);
        match self {
            Region::Left => row <= CROSSBAR && column <= JUNCTION,
            Region::Right => row <= CROSSBAR && column >= JUNCTION,
            Region::Stem => row >= CROSSBAR,
        }
    }

    /// Rules of an episode that starts in the region and is truncated when it leaves it. Each move has the same
    /// destination and the same reward as in the whole maze, so that logged transitions are valid for the whole maze. A
    /// border that blocked a move would show a wall that the whole maze does not have.
    fn confine(self, grid: &Grid, whole: &Tabular) -> Tabular {
        let mut rules = whole.clone();
        rules.starts.retain(|&cell| self.contains(grid, cell));
        let inside = grid.cells().filter(|&cell| self.contains(grid, cell));
        for place in inside.flat_map(|cell| cell * whole.actions..(cell + 1) * whole.actions) {
            for outcome in &mut rules.outcomes[place] {
                if !self.contains(grid, outcome.next) {
                    outcome.end = Some(End::Truncated);
                }
            }
        }
        rules
    }

    /// Best moves towards the goal of the whole maze among those that stay in the region. At the border, the policy
    /// walks against a wall and so stays in place.
    fn script(self, grid: &Grid, whole: &Tabular) -> Plan {
        whole.solve_among(&|cell, action| {
            whole.outcomes(cell, action).iter().all(|outcome| self.contains(grid, outcome.next))
        })
    }
}

/// Outcomes of each direction in each cell. A wall blocks the move, which has the same reward as any other.
fn outcomes(grid: &Grid) -> Vec<Vec<Outcome>> {
    let step = |cell: usize, direction: Direction| {
        let ahead = grid.neighbour(cell, direction);
        let next = if grid.at(ahead) == b'#' { cell } else { ahead };
        let terminal = grid.at(next) == b'G';
        let (reward, end) = if terminal { (0.0, Some(End::Terminated)) } else { (-1.0, None) };
        vec![Outcome { probability: 1.0, next, reward, end }]
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
