//! The rules of tic-tac-toe.

/// A position with the agent to move, or a finished one. Bit `cell` is set if a side has its mark there; cells are
/// numbered 0 to 8, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Board {
    pub(super) agent: u16,
    pub(super) opponent: u16,
}

/// Result of a game, for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Win,
    Draw,
    Loss,
}

const LINES: [u16; 8] = [
    0b000_000_111,
    0b000_111_000,
    0b111_000_000,
    0b001_001_001,
    0b010_010_010,
    0b100_100_100,
    0b100_010_001,
    0b001_010_100,
];

const FULL: u16 = 0b111_111_111;

impl Board {
    pub(super) fn free(self) -> u16 {
        FULL & !(self.agent | self.opponent)
    }

    pub(super) fn with_agent(self, cell: usize) -> Self {
        Self { agent: self.agent | 1 << cell, ..self }
    }

    pub(super) fn with_opponent(self, cell: usize) -> Self {
        Self { opponent: self.opponent | 1 << cell, ..self }
    }

    /// Result of the game; `None` while it is running.
    pub(super) fn outcome(self) -> Option<Outcome> {
        let has_line = |marks: u16| LINES.iter().any(|line| line & !marks == 0);
        if has_line(self.agent) {
            Some(Outcome::Win)
        } else if has_line(self.opponent) {
            Some(Outcome::Loss)
        } else {
            (self.free() == 0).then_some(Outcome::Draw)
        }
    }

    /// The same position with the sides exchanged.
    pub(super) fn swapped(self) -> Self {
        Self { agent: self.opponent, opponent: self.agent }
    }
}

impl Outcome {
    /// The agent's return.
    pub(super) fn reward(self) -> f32 {
        match self {
            Outcome::Win => 1.0,
            Outcome::Draw => 0.0,
            Outcome::Loss => -1.0,
        }
    }
}

/// The cells of a set.
pub(super) fn cells(set: u16) -> impl Iterator<Item = usize> + Clone {
    (0..9).filter(move |cell| set >> cell & 1 == 1)
}
