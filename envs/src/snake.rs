//! Snake: eat, grow, and avoid the walls and your own body. `CARD.md` has the rules and the measured baselines.

mod game;
mod grid;
mod look;
mod view;

use std::sync::Arc;

use serde::Deserialize;

use crate::phase::Phase;
use crate::{End, Env, EnvSpec, Error, Info, Observation, Options, Result, Step};

use game::{Game, Moved, START_LENGTH, cycle_heading};
use grid::Grid;
use view::View;

/// The named definitions, as TOML.
pub const DEFINITIONS: [&str; 3] =
    [include_str!("snake/snake-4x4.toml"), include_str!("snake/snake-6x6.toml"), include_str!("snake/snake-8x8.toml")];

/// Reward of an invalid action, which also uses up a turn.
const INVALID_REWARD: f32 = -0.1;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SnakeOptions {
    /// Number of cells of a side, 3 to 10.
    size: u32,
    /// Number of turns until the episode is truncated; default: size^4, which the cycle never needs.
    limit: Option<u32>,
    /// Number of turns without food until the episode is truncated; default: 2 size^2.
    starve: Option<u32>,
    /// Cost of each turn, 0 to 1.
    step_cost: f32,
    /// Observation format of the board.
    view: View,
}

impl Default for SnakeOptions {
    fn default() -> Self {
        Self { size: 6, limit: None, starve: None, step_cost: 0.0, view: View::Text }
    }
}

/// Builds a game of Snake.
///
/// # Errors
/// An unknown option, or an invalid value.
pub fn build(options: &Options) -> Result<Box<dyn Env>> {
    Ok(Box::new(Snake::new(options.parse()?)?))
}

struct Snake {
    spec: EnvSpec,
    view: View,
    grid: Grid,
    limit: u32,
    starve: u32,
    step_cost: f32,
    /// By heading. With absolute actions, the action that turns back onto the neck is missing.
    legal_actions: [Arc<[String]>; 4],
    no_actions: Arc<[String]>,
    phase: Phase,
    game: Game,
    turns: u32,
    hunger: u32,
}

impl Snake {
    fn new(options: SnakeOptions) -> Result<Self> {
        let SnakeOptions { size, step_cost, view, .. } = options;
        if !(3..=10).contains(&size) {
            return definition(format!("size = {size}: a board has 3 to 10 cells a side"));
        }
        if !(0.0..=1.0).contains(&step_cost) {
            return definition(format!("step_cost = {step_cost}: a turn costs 0 to 1"));
        }
        let limit = options.limit.unwrap_or(size.pow(4));
        let starve = options.starve.unwrap_or(2 * size * size);
        for (name, turns) in [("limit", limit), ("starve", starve)] {
            if turns == 0 {
                return definition(format!("{name} = 0: an episode needs at least 1 turn"));
            }
        }
        // The cycle needs at most size^2 moves for each food, and no reward depends on finishing early.
        let cells = size * size;
        let ceiling = cells - START_LENGTH as u32;
        let cycle_finishes = size % 2 == 0 && step_cost == 0.0 && starve >= cells && limit >= ceiling * cells;
        let grid = Grid::new(size as u8);
        Ok(Self {
            spec: EnvSpec {
                id: format!("snake-{size}x{size}-v1"),
                max_turns: Some(limit),
                reward_range: (-1.0 - step_cost, 1.0 - step_cost),
                optimal_return: cycle_finishes.then_some(f64::from(ceiling)),
                solved_return: None,
                stochastic: true,
                reproducible: true,
                tasks: None,
                alphabet: Some(view.alphabet().to_string()),
            },
            view,
            game: Game::new(grid.clone(), 0),
            grid,
            limit,
            starve,
            step_cost,
            legal_actions: [0, 1, 2, 3].map(|heading| legal_actions(view, heading)),
            no_actions: Arc::new([]),
            phase: Phase::New,
            turns: 0,
            hunger: 0,
        })
    }

    fn observe(&self, outcome: Option<&str>) -> Observation {
        let mut info = Info::new();
        info.insert("score".into(), self.game.score().into());
        if let Some(outcome) = outcome {
            info.insert("outcome".into(), outcome.into());
            info.insert("turns".into(), self.turns.into());
        }
        Observation {
            content: self.view.write(&self.game).into(),
            legal_actions: Some(match self.phase {
                Phase::Running => self.legal_actions[self.game.heading as usize].clone(),
                _ => self.no_actions.clone(),
            }),
            info,
        }
    }
}

impl Env for Snake {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        self.game = Game::new(self.grid.clone(), seed);
        self.turns = 0;
        self.hunger = 0;
        self.phase = Phase::Running;
        Ok(self.observe(None))
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        self.phase.check_running(&self.spec.id)?;
        let heading = self
            .view
            .actions()
            .iter()
            .position(|known| known.eq_ignore_ascii_case(action.trim()))
            .map(|index| self.view.heading(index, self.game.heading))
            .filter(|&heading| heading != self.game.heading.turned(2));
        let moved = heading.map(|heading| self.game.advance(heading));
        self.turns += 1;
        self.hunger += 1;
        let (reward, mut end) = match moved {
            None => (INVALID_REWARD, None),
            Some(Moved::On) => (0.0, None),
            Some(Moved::Ate) => {
                self.hunger = 0;
                (1.0, None)
            }
            Some(Moved::Filled) => (1.0, Some((End::Terminated, "filled"))),
            Some(Moved::IntoWall) => (-1.0, Some((End::Terminated, "wall"))),
            Some(Moved::IntoBody) => (-1.0, Some((End::Terminated, "body"))),
        };
        if end.is_none() && self.hunger >= self.starve {
            end = Some((End::Truncated, "starved"));
        } else if end.is_none() && self.turns >= self.limit {
            end = Some((End::Truncated, "limit"));
        }
        if end.is_some() {
            self.phase = Phase::Over;
        }
        Ok(Step {
            observation: self.observe(end.map(|(_, outcome)| outcome)),
            reward: reward - self.step_cost,
            end: end.map(|(end, _)| end),
            invalid_action: moved.is_none(),
        })
    }

    fn render(&self) -> String {
        let (score, turns) = (self.game.score(), self.turns);
        format!("score {score}, turn {turns}\n{}", view::draw(&self.game))
    }

    /// Follows a cycle through all cells, which fills the board. Only boards with an even side have such a cycle.
    fn scripted_action(&self) -> Option<String> {
        if self.phase != Phase::Running || self.grid.size % 2 == 1 {
            return None;
        }
        let wanted = cycle_heading(&self.grid, self.game.head());
        let actions = self.view.actions();
        let index = (0..actions.len()).find(|&index| self.view.heading(index, self.game.heading) == wanted)?;
        Some(actions[index].to_string())
    }
}

/// The legal actions for a heading: all that do not turn back.
fn legal_actions(view: View, heading: usize) -> Arc<[String]> {
    let heading = grid::Heading::ALL[heading];
    let actions = view.actions().iter().enumerate();
    actions
        .filter(|&(index, _)| view.heading(index, heading) != heading.turned(2))
        .map(|(_, action)| action.to_string())
        .collect()
}

fn definition<T>(message: String) -> Result<T> {
    Err(Error::Definition(message))
}

#[cfg(test)]
mod tests;
