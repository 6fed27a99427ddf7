//! The environment of every game in which one piece moves on a board by known rules.
//!
//! A game defines its rules as a [`Tabular`] whose states are cells and whose actions are [`Direction::ALL`], and the
//! text that describes a cell. This module knows no particular game.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::grid::{Direction, Grid};
use crate::phase::Phase;
use crate::tabular::{Outcome, Plan, Tabular};
use crate::{End, Env, EnvSpec, Error, Observation, Result, Step};

/// Observation format of a board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Sentences and maps; actions are words.
    #[default]
    Text,
    /// Column letter and row digit of the cell, such as `C0`; actions are letters. For agents from scratch.
    Compact,
    /// Empty observations; actions are letters. For measuring bare stepping speed.
    None,
}

/// Definition of a game.
pub struct Game<'a> {
    /// The id, with version.
    pub id: &'a str,
    /// The board.
    pub grid: Grid,
    /// Outcomes of each action in each cell.
    pub rules: Tabular,
    /// The goal cells.
    pub goals: Vec<usize>,
    /// Reward of an action that is not a direction. It does not move the piece; the turn counts.
    pub invalid_reward: f32,
    /// The mean return from which the game counts as solved.
    pub solved_return: Option<f64>,
    /// Plan of the scripted policy, if it is not the best policy of `rules`. The optimal return is then not reported.
    pub script: Option<Plan>,
}

/// A game on a board, as an environment.
///
/// A direction whose rules may truncate the episode is not listed among the legal actions, but it is executed if an
/// agent writes it. The last step's info has `solved`, and `outcome`: the episode ended at the `goal`, elsewhere
/// (`lost`), by truncation of the rules (`border`) or at the turn `limit`.
pub struct GridWorld {
    grid: Grid,
    rules: Tabular,
    plan: Plan,
    goals: Vec<usize>,
    invalid_reward: f32,
    observations: Vec<String>,         // [cell]
    actions: Arc<[String]>,            // [direction]
    legal_actions: Vec<Arc<[String]>>, // [cell]
    no_actions: Arc<[String]>,
    spec: EnvSpec,
    rng: ChaCha8Rng,
    cell: usize,
    turn: u32,
    phase: Phase,
}

impl GridWorld {
    /// Builds a game with a view; `describe` returns the `text` observation of each cell.
    ///
    /// # Errors
    /// A board that is too large for the `compact` view: more than 26 columns or 10 rows.
    pub fn new(game: Game<'_>, view: View, describe: impl Fn(usize) -> String) -> Result<Self> {
        let Game { id, grid, rules, goals, invalid_reward, solved_return, script } = game;
        if view == View::Compact && (grid.columns > 26 || grid.rows > 10) {
            let size = format!("{} columns and {} rows", grid.columns, grid.rows);
            return Err(Error::Definition(format!(
                "options.view: `compact` has 26 letters and 10 digits, too few for {size}; use `text`"
            )));
        }
        let observe = |cell| match view {
            View::Text => describe(cell),
            View::Compact => square(&grid, cell),
            View::None => String::new(),
        };
        let name = if view == View::Text { Direction::word } else { Direction::letter };
        let observations: Vec<String> = grid.cells().map(observe).collect();
        let actions: Arc<[String]> = Direction::ALL.map(|direction| name(direction).to_string()).into();
        let legal_actions = legal_actions(&rules, &actions);
        let is_scripted = script.is_some();
        let plan = script.unwrap_or_else(|| rules.solve());
        let spec = EnvSpec {
            id: id.to_string(),
            max_turns: Some(rules.limit),
            reward_range: reward_range(&rules, invalid_reward),
            optimal_return: (!is_scripted).then_some(plan.optimal_return),
            solved_return,
            stochastic: rules.starts.len() > 1 || rules.outcomes.iter().any(|outcomes| outcomes.len() > 1),
            reproducible: true,
            tasks: None,
            alphabet: Some(characters(observations.iter().chain(actions.iter()))),
        };
        Ok(Self {
            cell: rules.starts[0],
            grid,
            rules,
            plan,
            goals,
            invalid_reward,
            observations,
            actions,
            legal_actions,
            no_actions: Arc::new([]),
            spec,
            rng: ChaCha8Rng::seed_from_u64(0),
            turn: 0,
            phase: Phase::New,
        })
    }

    /// The rules, for exact values of policies: states are cells, actions are [`Direction::ALL`].
    pub fn rules(&self) -> &Tabular {
        &self.rules
    }

    /// Observation text of a cell.
    pub fn observation(&self, cell: usize) -> &str {
        &self.observations[cell]
    }

    /// Complete observation of a cell.
    pub(crate) fn observe_cell(&self, cell: usize) -> Observation {
        Observation {
            content: self.observations[cell].as_str().into(),
            legal_actions: Some(Arc::clone(&self.legal_actions[cell])),
            ..Observation::default()
        }
    }

    /// Number of the action that a text names; trimmed, case-insensitive.
    pub fn action(&self, text: &str) -> Option<usize> {
        let text = text.trim();
        self.actions.iter().position(|action| action.eq_ignore_ascii_case(text))
    }

    fn observe(&self, terminated: bool) -> Observation {
        let actions = if terminated { &self.no_actions } else { &self.legal_actions[self.cell] };
        Observation {
            content: self.observations[self.cell].as_str().into(),
            legal_actions: Some(Arc::clone(actions)),
            ..Observation::default()
        }
    }

    fn sample(&mut self, action: usize) -> Outcome {
        let outcomes = self.rules.outcomes(self.cell, action);
        let (last, others) = outcomes.split_last().expect("every action leads somewhere");
        if others.is_empty() {
            return *last;
        }
        let mut left: f64 = self.rng.random();
        for outcome in others {
            left -= outcome.probability;
            if left < 0.0 {
                return *outcome;
            }
        }
        *last
    }
}

impl Env for GridWorld {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        self.rng = ChaCha8Rng::seed_from_u64(seed);
        self.cell = match self.rules.starts[..] {
            [only] => only,
            ref starts => starts[self.rng.random_range(0..starts.len())],
        };
        self.turn = 0;
        self.phase = Phase::Running;
        Ok(self.observe(false))
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        self.phase.check_running(&self.spec.id)?;
        let action = self.action(action);
        let Outcome { next, reward, end, .. } = match action {
            Some(action) => self.sample(action),
            None => Outcome { probability: 1.0, next: self.cell, reward: self.invalid_reward, end: None },
        };
        self.cell = next;
        self.turn += 1;
        let outcome = match end {
            Some(End::Terminated) if self.goals.contains(&next) => "goal",
            Some(End::Terminated) => "lost",
            Some(End::Truncated) => "border",
            None => "limit",
        };
        let mut observation = self.observe(end == Some(End::Terminated));
        let end = end.or((self.turn >= self.rules.limit).then_some(End::Truncated));
        if end.is_some() {
            self.phase = Phase::Over;
            observation.info.insert("solved".to_string(), (outcome == "goal").into());
            observation.info.insert("outcome".to_string(), outcome.into());
        }
        Ok(Step { observation, reward, end, invalid_action: action.is_none() })
    }

    fn render(&self) -> String {
        let player = (self.phase != Phase::New).then_some(self.cell);
        // Without the limit: a wrapper may cut the episode before it.
        format!("{}\nturn {}", self.grid.draw(player), self.turn)
    }

    fn scripted_action(&self) -> Option<String> {
        (self.phase == Phase::Running).then(|| self.actions[self.plan.action(self.turn, self.cell)].clone())
    }
}

/// Chess notation of a cell: column letter, row digit.
fn square(grid: &Grid, cell: usize) -> String {
    let (row, column) = grid.place(cell);
    format!("{}{row}", char::from(b'A' + column as u8))
}

/// Directions of each cell that no outcome truncates the episode at. Most cells share the list of all directions.
fn legal_actions(rules: &Tabular, actions: &Arc<[String]>) -> Vec<Arc<[String]>> {
    let stays = |cell, action| rules.outcomes(cell, action).iter().all(|outcome| outcome.end != Some(End::Truncated));
    let listed = |cell| {
        let legal = (0..rules.actions).filter(|&action| stays(cell, action));
        let legal: Arc<[String]> = legal.map(|action| actions[action].clone()).collect();
        if legal.len() == actions.len() { Arc::clone(actions) } else { legal }
    };
    (0..rules.states()).map(listed).collect()
}

fn reward_range(rules: &Tabular, invalid_reward: f32) -> (f32, f32) {
    let rewards = rules.outcomes.iter().flatten().map(|outcome| outcome.reward);
    rewards.fold((invalid_reward, invalid_reward), |(low, high), reward| (low.min(reward), high.max(reward)))
}

fn characters<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    let characters: BTreeSet<char> = texts.flat_map(|text| text.chars()).collect();
    characters.into_iter().collect()
}
