//! The rules: a snake that moves, eats, grows, and dies at a wall or on itself.

use std::collections::VecDeque;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::grid::{Cells, Grid, Heading, bit};

/// Length of the snake at the start.
pub(super) const START_LENGTH: usize = 3;

/// Result of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    On,
    Ate,
    /// The snake ate, and no cell is left.
    Filled,
    IntoWall,
    IntoBody,
}

/// A position, with the random stream that places the food.
#[derive(Debug)]
pub(super) struct Game {
    pub(super) grid: Grid,
    /// Cells of the snake, the head first.
    pub(super) body: VecDeque<u8>,
    pub(super) occupied: Cells,
    pub(super) heading: Heading,
    /// Cell of the food; `None` once the board is full.
    pub(super) food: Option<u8>,
    random: ChaCha8Rng,
}

impl Game {
    /// The start position: the snake near the middle, heading right, on an odd row. There its body lies on the cycle
    /// that the scripted policy follows.
    pub(super) fn new(grid: Grid, seed: u64) -> Self {
        let size = grid.size;
        let tail = (((size - 1) / 2) | 1) * size + (size - START_LENGTH as u8) / 2;
        let body: VecDeque<u8> = (tail..tail + START_LENGTH as u8).rev().collect();
        let occupied = body.iter().map(|&cell| bit(cell)).sum();
        let mut game =
            Self { grid, body, occupied, heading: Heading::Right, food: None, random: ChaCha8Rng::seed_from_u64(seed) };
        game.place_food();
        game
    }

    pub(super) fn head(&self) -> u8 {
        self.body[0]
    }

    pub(super) fn tail(&self) -> u8 {
        self.body[self.body.len() - 1]
    }

    /// Number of times that the snake has eaten.
    pub(super) fn score(&self) -> usize {
        self.body.len() - START_LENGTH
    }

    /// Moves one cell. A snake that dies stays in place. It may move into the tail's cell, since the tail leaves it in
    /// the same move.
    pub(super) fn advance(&mut self, heading: Heading) -> Moved {
        let Some(cell) = self.grid.next(self.head(), heading) else {
            return Moved::IntoWall;
        };
        let eats = self.food == Some(cell);
        if !eats {
            if self.occupied & !bit(self.tail()) & bit(cell) != 0 {
                return Moved::IntoBody;
            }
            self.occupied &= !bit(self.tail());
            self.body.pop_back();
        }
        self.heading = heading;
        self.body.push_front(cell);
        self.occupied |= bit(cell);
        if !eats {
            return Moved::On;
        }
        self.place_food();
        if self.food.is_some() { Moved::Ate } else { Moved::Filled }
    }

    /// Puts the food on one of the free cells, each equally likely.
    fn place_food(&mut self) {
        let mut free = self.grid.all & !self.occupied;
        if free == 0 {
            self.food = None;
            return;
        }
        for _ in 0..self.random.random_range(0..free.count_ones()) {
            free &= free - 1; // clears the lowest bit
        }
        self.food = Some(free.trailing_zeros() as u8);
    }
}

/// Heading from a cell to the next one of the cycle through all cells: up the last column, left along row 0, then row
/// by row, odd rows to the right and even rows to the left, without the last column. The cycle is closed if the number
/// of rows is even.
pub(super) fn cycle_heading(grid: &Grid, cell: u8) -> Heading {
    let (row, column) = grid.place(cell);
    let last = grid.size - 1;
    let (to_the_right, row_end) =
        if row % 2 == 1 { (true, if row == last { last } else { last - 1 }) } else { (false, 0) };
    if column == last && row > 0 {
        Heading::Up
    } else if column == row_end {
        Heading::Down
    } else if to_the_right {
        Heading::Right
    } else {
        Heading::Left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cycle_visits_every_cell_once() {
        for size in [4, 6, 8, 10] {
            let grid = Grid::new(size);
            let (mut cell, mut visited) = (0, 0);
            for _ in 0..size * size {
                visited |= bit(cell);
                cell = grid.next(cell, cycle_heading(&grid, cell)).unwrap();
            }
            assert_eq!((cell, visited), (0, grid.all), "size {size}");
        }
    }

    #[test]
    fn the_start_lies_on_the_cycle() {
        for size in [4, 6, 8, 10] {
            let game = Game::new(Grid::new(size), 0);
            for pair in [1, 2] {
                let (front, back) = (game.body[pair - 1], game.body[pair]);
                let next = game.grid.next(back, cycle_heading(&game.grid, back));
                assert_eq!(next, Some(front), "size {size}");
            }
        }
    }

    #[test]
    fn a_snake_may_follow_its_own_tail() {
        let mut game = Game::new(Grid::new(4), 0);
        // A ring of four cells: the head at 5, the tail at 1.
        game.body = VecDeque::from([5, 4, 0, 1]);
        game.occupied = 0b11_0011;
        game.heading = Heading::Right;
        game.food = Some(15);
        assert_eq!(game.advance(Heading::Up), Moved::On);
        assert_eq!(game.body, [1, 5, 4, 0]);
        assert_eq!(game.advance(Heading::Left), Moved::On);
        assert_eq!(game.occupied, 0b11_0011);
    }

    #[test]
    fn walls_and_the_body_kill() {
        let mut game = Game::new(Grid::new(4), 0);
        game.food = Some(15);
        game.body = VecDeque::from([5, 9, 8, 4, 0]);
        assert_eq!(game.occupied, 0b0111_0000);
        game.occupied = 0b11_0011_0001;
        assert_eq!(game.advance(Heading::Left), Moved::IntoBody);
        assert_eq!(game.advance(Heading::Up), Moved::On);
        assert_eq!(game.advance(Heading::Up), Moved::IntoWall);
        assert_eq!(game.body.len(), 5);
    }

    #[test]
    fn food_falls_on_every_free_cell_about_equally() {
        let mut counts = [0u32; 16];
        for seed in 0..3_000 {
            let game = Game::new(Grid::new(4), seed);
            counts[game.food.unwrap() as usize] += 1;
        }
        for (cell, &count) in counts.iter().enumerate() {
            if (4..7).contains(&cell) {
                assert_eq!(count, 0, "the snake is at {cell}");
            } else {
                // 3000 / 13 = 231 expected, with a standard deviation of 14.6.
                assert!((170..=292).contains(&count), "cell {cell}: {count}");
            }
        }
    }
}
