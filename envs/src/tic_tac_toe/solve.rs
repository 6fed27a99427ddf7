//! Optimal play, by visiting every position.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::board::{Board, cells};

/// Policy of the opponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Opponent {
    /// Every free cell is equally likely.
    Random,
    /// An optimal move against a perfect player; if there are several, each is equally likely.
    Perfect,
}

impl Opponent {
    /// The cells that the opponent may choose, each equally likely, when it is to move.
    pub(super) fn choices(self, board: Board) -> u16 {
        let free = board.free();
        match self {
            Opponent::Random => free,
            Opponent::Perfect => {
                let worth = |cell| minimax(board.with_opponent(cell));
                let best = cells(free).map(worth).fold(f32::INFINITY, f32::min);
                let chosen = cells(free).filter(|&cell| worth(cell) == best);
                chosen.fold(0, |set, cell| set | 1 << cell)
            }
        }
    }

    /// Mean return of the best policy against this opponent, when the agent is to move.
    pub(super) fn value(self, board: Board) -> f64 {
        static AGAINST_RANDOM: LazyLock<HashMap<Board, f64>> = LazyLock::new(|| best_values(Opponent::Random));
        static AGAINST_PERFECT: LazyLock<HashMap<Board, f64>> = LazyLock::new(|| best_values(Opponent::Perfect));
        match self {
            Opponent::Random => AGAINST_RANDOM[&board],
            Opponent::Perfect => AGAINST_PERFECT[&board],
        }
    }

    /// Mean of a value over the opponent's possible moves; a finished game has its own return.
    pub(super) fn mean_after(self, board: Board, mut value: impl FnMut(Board) -> f64) -> f64 {
        if let Some(outcome) = board.outcome() {
            return outcome.reward().into();
        }
        let choices = self.choices(board);
        let values = cells(choices).map(|cell| value(board.with_opponent(cell)));
        values.sum::<f64>() / f64::from(choices.count_ones())
    }

    /// The cell with the highest mean return; the first of them if there are several.
    pub(super) fn best_cell(self, board: Board) -> Option<usize> {
        let worth = |cell| self.mean_after(board.with_agent(cell), |answered| self.value(answered));
        cells(board.free()).reduce(|best, cell| {
            // Means of the same returns in another order may differ in their last bits.
            if worth(cell) > worth(best) + 1e-9 { cell } else { best }
        })
    }
}

/// Value of every position with the agent to move, for either first player.
fn best_values(opponent: Opponent) -> HashMap<Board, f64> {
    fn visit(opponent: Opponent, board: Board, values: &mut HashMap<Board, f64>) -> f64 {
        if let Some(&value) = values.get(&board) {
            return value;
        }
        let value = match board.outcome() {
            Some(outcome) => outcome.reward().into(),
            None => cells(board.free())
                .map(|cell| opponent.mean_after(board.with_agent(cell), |answered| visit(opponent, answered, values)))
                .fold(f64::NEG_INFINITY, f64::max),
        };
        values.insert(board, value);
        value
    }
    let mut values = HashMap::new();
    let empty = Board::default();
    visit(opponent, empty, &mut values);
    // The opponent can be configured to begin, so the positions after each of its first moves are included.
    for cell in 0..9 {
        visit(opponent, empty.with_opponent(cell), &mut values);
    }
    values
}

/// Return of the agent if it is to move and both sides play perfectly.
fn minimax(board: Board) -> f32 {
    fn visit(board: Board, values: &mut HashMap<Board, f32>) -> f32 {
        if let Some(&value) = values.get(&board) {
            return value;
        }
        let value = match board.outcome() {
            Some(outcome) => outcome.reward(),
            None => cells(board.free())
                .map(|cell| -visit(board.with_agent(cell).swapped(), values))
                .fold(f32::NEG_INFINITY, f32::max),
        };
        values.insert(board, value);
        value
    }
    // From the empty board, the side to move can reach every position that either side can reach.
    static VALUES: LazyLock<HashMap<Board, f32>> = LazyLock::new(|| {
        let mut values = HashMap::new();
        visit(Board::default(), &mut values);
        values
    });
    VALUES[&board]
}

#[cfg(test)]
mod tests {
    use super::super::board::Outcome;
    use super::*;

    /// Mean return of a policy that chooses all its allowed cells with equal probability.
    fn mean_return(board: Board, allowed: &dyn Fn(Board) -> u16) -> f64 {
        if let Some(outcome) = board.outcome() {
            return outcome.reward().into();
        }
        let allowed_cells = allowed(board);
        let values = cells(allowed_cells)
            .map(|cell| Opponent::Random.mean_after(board.with_agent(cell), |next| mean_return(next, allowed)));
        values.sum::<f64>() / f64::from(allowed_cells.count_ones())
    }

    /// Best mean return of a policy that never makes a move that could lose.
    fn safe_return(board: Board) -> f64 {
        if let Some(outcome) = board.outcome() {
            return outcome.reward().into();
        }
        let is_safe = |board: Board| {
            let worst = |cell| minimax(board.with_opponent(cell)) >= 0.0;
            board.outcome().is_some() || cells(board.free()).all(worst)
        };
        let safe = cells(board.free()).map(|cell| board.with_agent(cell));
        safe.filter(|&moved| is_safe(moved))
            .map(|moved| Opponent::Random.mean_after(moved, safe_return))
            .fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn random_play_returns_the_known_mean() {
        let value = mean_return(Board::default(), &Board::free);
        assert!((value - 0.2968).abs() < 5e-5, "{value}");
    }

    #[test]
    fn best_play_returns_the_known_means() {
        let first = Opponent::Random.value(Board::default());
        assert!((first - 0.9948).abs() < 5e-5, "{first}");
        let second = Opponent::Random.mean_after(Board::default(), |board| Opponent::Random.value(board));
        assert!((second - 0.9249).abs() < 5e-5, "{second}");
    }

    #[test]
    fn play_that_never_loses_returns_the_known_means() {
        let second = Opponent::Random.mean_after(Board::default(), safe_return);
        assert!((second - 0.9164).abs() < 5e-5, "{second}");
    }

    /// Probability of a loss for a policy that chooses among the cells with the highest mean return by `prefer`.
    fn loss(board: Board, prefer: fn(f64, f64) -> f64) -> f64 {
        if let Some(outcome) = board.outcome() {
            return f64::from(u8::from(outcome == Outcome::Loss));
        }
        let mean_loss = |moved: Board| match moved.outcome() {
            Some(_) => 0.0,
            None => Opponent::Random.mean_after(moved, |next| loss(next, prefer)),
        };
        let moved = cells(board.free()).map(|cell| board.with_agent(cell));
        moved
            .filter(|&moved| {
                let worth = Opponent::Random.mean_after(moved, |next| Opponent::Random.value(next));
                (worth - Opponent::Random.value(board)).abs() < 1e-9
            })
            .map(mean_loss)
            .reduce(prefer)
            .expect("one cell has the highest return")
    }

    #[test]
    fn best_play_as_the_second_player_may_lose() {
        assert_eq!(loss(Board::default(), f64::max), 0.0);
        // Several policies have the highest mean return. Their loss probabilities range from .42 % to .95 %.
        for (prefer, known) in [(f64::min as fn(f64, f64) -> f64, 0.0042), (f64::max, 0.0095)] {
            let loss = Opponent::Random.mean_after(Board::default(), |board| loss(board, prefer));
            assert!((loss - known).abs() < 5e-5, "{loss}");
        }
    }

    #[test]
    fn perfect_play_is_a_draw() {
        assert_eq!(minimax(Board::default()), 0.0);
        assert_eq!(Opponent::Perfect.value(Board::default()), 0.0);
    }

    #[test]
    fn the_perfect_opponent_blocks_and_wins() {
        let threatened = Board { agent: 0b000_000_011, opponent: 0b000_010_000 };
        assert_eq!(Opponent::Perfect.choices(threatened), 0b000_000_100);
        let winning = Board { agent: 0b000_001_011, opponent: 0b110_000_000 };
        // It wins at once instead of blocking.
        assert_eq!(Opponent::Perfect.choices(winning), 0b001_000_000);
    }
}
