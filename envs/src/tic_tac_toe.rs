//! Tic-tac-toe against a random or a perfect opponent. `CARD.md` has the rules and the measured baselines.

mod board;
mod exact;
mod solve;

use std::sync::{Arc, LazyLock};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Deserialize;

use crate::phase::Phase;
use crate::{End, Env, EnvSpec, Error, Info, Observation, Options, Result, Step};

use board::{Board, Outcome, cells};
use exact::Level;
use solve::Opponent;

pub use exact::{Exact, evaluate_discounted, evaluate_exactly, exact_value};

/// The named definitions, as TOML.
pub const DEFINITIONS: [&str; 2] =
    [include_str!("tic_tac_toe/tic-tac-toe.toml"), include_str!("tic_tac_toe/tic-tac-toe-second.toml")];

/// Reward of an invalid action, which also uses up a turn. With the default limit, an agent that writes only invalid
/// actions gets the return of a loss.
const INVALID_REWARD: f32 = -0.1;

/// Side that makes the first move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum First {
    Agent,
    Opponent,
    /// Either, equally likely.
    Random,
}

/// Observation format of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum View {
    Text,
    Compact,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TicTacToeOptions {
    first: First,
    opponent: Opponent,
    view: View,
    /// Number of the agent's turns, including invalid ones, until the episode is truncated.
    limit: u32,
}

impl Default for TicTacToeOptions {
    fn default() -> Self {
        Self { first: First::Agent, opponent: Opponent::Random, view: View::Text, limit: 10 }
    }
}

/// Builds a game of tic-tac-toe.
///
/// # Errors
/// An unknown option, or an invalid value.
pub fn build(options: &Options) -> Result<Box<dyn Env>> {
    Ok(Box::new(TicTacToe::new(options.parse()?)?))
}

struct TicTacToe {
    spec: EnvSpec,
    options: TicTacToeOptions,
    phase: Phase,
    board: Board,
    turns: u32,
    random: ChaCha8Rng,
}

impl TicTacToe {
    fn new(options: TicTacToeOptions) -> Result<Self> {
        let TicTacToeOptions { first, opponent, view, limit } = options;
        if limit < 5 {
            return Err(Error::Definition(format!("limit = {limit}: a game of tic-tac-toe takes up to 5 turns")));
        }
        let start = match first {
            First::Agent => "",
            First::Opponent => "-second",
            First::Random => "-either",
        };
        let skill = match opponent {
            Opponent::Random => "",
            Opponent::Perfect => "-perfect",
        };
        let mut env = Self {
            spec: EnvSpec {
                id: format!("tic-tac-toe{start}{skill}-v1"),
                max_turns: Some(limit),
                reward_range: (-1.0, 1.0),
                optimal_return: None,
                solved_return: None,
                stochastic: true,
                reproducible: true,
                tasks: None,
                alphabet: Some(view.alphabet().to_string()),
            },
            options,
            phase: Phase::New,
            board: Board::default(),
            turns: 0,
            random: ChaCha8Rng::seed_from_u64(0),
        };
        let values = env.starts().into_iter();
        let optimal = values.map(|(board, probability)| probability * opponent.value(board));
        env.spec.optimal_return = Some(optimal.sum());
        Ok(env)
    }

    /// Positions of the agent's first turn, and the probability of each.
    fn starts(&self) -> Level {
        let second = match self.options.first {
            First::Agent => 0.0,
            First::Opponent => 1.0,
            First::Random => 0.5,
        };
        let empty = Board::default();
        let choices = self.options.opponent.choices(empty);
        let share = second / f64::from(choices.count_ones());
        let answers = cells(choices).map(|cell| (empty.with_opponent(cell), share));
        let starts = answers.chain([(empty, 1.0 - second)]);
        starts.filter(|&(_, probability)| probability > 0.0).collect()
    }

    fn opponent(&self) -> Opponent {
        self.options.opponent
    }

    fn opponent_moves(&mut self) {
        let choices = self.options.opponent.choices(self.board);
        let chosen = self.random.random_range(0..choices.count_ones());
        let cell = cells(choices).nth(chosen as usize);
        self.board = self.board.with_opponent(cell.expect("it is below the count"));
    }

    fn observe(&self, board: Board) -> Observation {
        let outcome = board.outcome();
        let mut info = Info::new();
        if let Some(outcome) = outcome {
            let name = match outcome {
                Outcome::Win => "win",
                Outcome::Draw => "draw",
                Outcome::Loss => "loss",
            };
            info.insert("outcome".into(), name.into());
        }
        let free = if outcome.is_none() { board.free() } else { 0 };
        Observation {
            content: match self.options.view {
                View::Text => {
                    format!("Tic-tac-toe. You are x, free cells have a number.\n{}\nYour cell:", draw(board)).into()
                }
                View::Compact => (0..9).map(|cell| mark(board, cell).unwrap_or('.')).collect::<String>().into(),
            },
            legal_actions: Some(LEGAL_ACTIONS[usize::from(free)].clone()),
            info,
        }
    }
}

impl Env for TicTacToe {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        self.random = ChaCha8Rng::seed_from_u64(seed);
        self.board = Board::default();
        self.turns = 0;
        self.phase = Phase::Running;
        let opponent_begins = match self.options.first {
            First::Agent => false,
            First::Opponent => true,
            First::Random => self.random.random(),
        };
        if opponent_begins {
            self.opponent_moves();
        }
        Ok(self.observe(self.board))
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        self.phase.check_running(&self.spec.id)?;
        self.turns += 1;
        let cell = read_cell(action, self.board);
        if let Some(cell) = cell {
            self.board = self.board.with_agent(cell);
            if self.board.outcome().is_none() {
                self.opponent_moves();
            }
        }
        let outcome = self.board.outcome();
        let end = match outcome {
            Some(_) => Some(End::Terminated),
            None => (self.turns >= self.options.limit).then_some(End::Truncated),
        };
        if end.is_some() {
            self.phase = Phase::Over;
        }
        Ok(Step {
            observation: self.observe(self.board),
            reward: match cell {
                None => INVALID_REWARD,
                Some(_) => outcome.map_or(0.0, Outcome::reward),
            },
            end,
            invalid_action: cell.is_none(),
        })
    }

    fn render(&self) -> String {
        draw(self.board)
    }

    /// The cell with the highest mean return against this opponent. Against the random opponent, this policy can lose.
    fn scripted_action(&self) -> Option<String> {
        if self.phase != Phase::Running {
            return None;
        }
        let cell = self.options.opponent.best_cell(self.board)?;
        Some((cell + 1).to_string())
    }
}

impl View {
    fn alphabet(self) -> &'static str {
        match self {
            View::Text => "\n ,-.:123456789TYabcefhilmnorstuvxy",
            View::Compact => "xo.123456789",
        }
    }
}

/// Legal actions of each set of free cells.
static LEGAL_ACTIONS: LazyLock<Vec<Arc<[String]>>> = LazyLock::new(|| {
    let names = |free| cells(free).map(|cell| (cell + 1).to_string()).collect();
    (0..512).map(names).collect()
});

/// Parses an action from 1 to 9 as a free cell, 0 to 8.
fn read_cell(action: &str, board: Board) -> Option<usize> {
    let [digit @ b'1'..=b'9'] = *action.trim().as_bytes() else {
        return None;
    };
    let cell = usize::from(digit - b'1');
    (board.free() >> cell & 1 == 1).then_some(cell)
}

fn mark(board: Board, cell: usize) -> Option<char> {
    if board.agent >> cell & 1 == 1 { Some('x') } else { (board.opponent >> cell & 1 == 1).then_some('o') }
}

/// Three lines with a mark or a number for each cell.
fn draw(board: Board) -> String {
    let mut drawing = String::with_capacity(17);
    for cell in 0..9 {
        let number = char::from(b'1' + cell as u8);
        drawing.push(mark(board, cell).unwrap_or(number));
        if cell < 8 {
            drawing.push(if cell % 3 == 2 { '\n' } else { ' ' });
        }
    }
    drawing
}

#[cfg(test)]
mod tests;
