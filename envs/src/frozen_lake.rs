//! FrozenLake: walk over slippery ice to the goal without falling into a hole (Gymnasium, *FrozenLake-v1*).

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::grid::{Direction, Grid};
use crate::grid_world::{Game, GridWorld, View};
use crate::tabular::{Outcome, Tabular};
use crate::{End, Env, Options, Result, exact};

const MAP_4X4: [&str; 4] = ["SFFF", "FHFH", "FFFH", "HFFG"];
const MAP_8X8: [&str; 8] =
    ["SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG"];

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LakeOptions {
    map: Map,
    /// True if a move goes in the intended direction or in one of its two perpendiculars, with probability 1/3 each.
    slippery: bool,
    limit: Option<NonZeroU32>,
    view: View,
}

#[derive(Deserialize)]
#[serde(try_from = "WrittenMap")]
struct Map {
    grid: Grid,
    limit: u32,
    /// Gymnasium's threshold, which is valid for slippery ice and the map's own turn limit.
    solved: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a map is \"4x4\", \"8x8\" or a list of rows such as [\"SFF\", \"FHG\"]")]
enum WrittenMap {
    Name(String),
    Rows(Vec<String>),
}

impl Default for LakeOptions {
    fn default() -> Self {
        let map = Map::try_from(WrittenMap::Name("4x4".to_string())).expect("a known map");
        Self { map, slippery: true, limit: None, view: View::default() }
    }
}

impl TryFrom<WrittenMap> for Map {
    type Error = String;

    fn try_from(written: WrittenMap) -> Result<Self, String> {
        let rows: Vec<String> = match &written {
            WrittenMap::Name(name) if name == "4x4" => MAP_4X4.map(String::from).into(),
            WrittenMap::Name(name) if name == "8x8" => MAP_8X8.map(String::from).into(),
            WrittenMap::Name(name) => return Err(format!("no map `{name}`: \"4x4\", \"8x8\" or a list of rows")),
            WrittenMap::Rows(rows) => rows.clone(),
        };
        let grid = Grid::parse(&rows, "SFHG")?;
        if grid.find(b'S').is_empty() || grid.find(b'G').is_empty() {
            return Err("a map needs a start `S` and a goal `G`".to_string());
        }
        let (limit, solved) = match &written {
            WrittenMap::Name(name) if name == "4x4" => (100, Some(0.70)),
            WrittenMap::Name(_) => (200, Some(0.85)),
            WrittenMap::Rows(_) => (100, None),
        };
        Ok(Self { grid, limit, solved })
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
    let LakeOptions { map, slippery, limit, view } = options.parse()?;
    let Map { grid, limit: own_limit, solved } = map;
    let limit = limit.map_or(own_limit, NonZeroU32::get);
    let game = Game {
        id: "frozen-lake-v1",
        rules: Tabular { actions: 4, starts: grid.find(b'S'), limit, outcomes: outcomes(&grid, slippery) },
        goals: grid.find(b'G'),
        invalid_reward: 0.0,
        solved_return: solved.filter(|_| slippery && limit == own_limit),
        script: None,
        grid: grid.clone(),
    };
    GridWorld::new(game, view, |cell| describe(&grid, cell))
}

/// Outcomes of each direction in each cell.
fn outcomes(grid: &Grid, slippery: bool) -> Vec<Vec<Outcome>> {
    let slide = |cell: usize, direction: Direction, probability: f64| {
        let next = grid.neighbour(cell, direction);
        let reward = if grid.at(next) == b'G' { 1.0 } else { 0.0 };
        let end = matches!(grid.at(next), b'G' | b'H').then_some(End::Terminated);
        Outcome { probability, next, reward, end }
    };
    grid.cells()
        .flat_map(|cell| Direction::ALL.map(|direction| (cell, direction)))
        .map(|(cell, direction)| {
            if slippery {
                direction.with_perpendiculars().map(|taken| slide(cell, taken, 1.0 / 3.0)).into()
            } else {
                vec![slide(cell, direction, 1.0)]
            }
        })
        .collect()
}

fn describe(grid: &Grid, cell: usize) -> String {
    let map = grid.draw(Some(cell));
    match grid.at(cell) {
        b'G' => format!("You reached the goal.\n{map}"),
        b'H' => format!("You fell into a hole.\n{map}"),
        _ => format!(
            "You are P on a frozen lake. Walk over the ice S and F to the goal G, and keep out of the holes H.\n{map}\n\
             Move left, down, right or up."
        ),
    }
}
