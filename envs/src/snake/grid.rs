//! Sets of cells of a square board as bits, so that flood fills cost a few operations.

/// A set of cells: bit `row * size + column`.
pub(super) type Cells = u128;

/// A side of the board, seen from above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heading {
    Up,
    Right,
    Down,
    Left,
}

impl Heading {
    pub(super) const ALL: [Heading; 4] = [Heading::Up, Heading::Right, Heading::Down, Heading::Left];

    /// This heading after a number of quarter turns to the right.
    pub(super) fn turned(self, quarter_turns: usize) -> Self {
        Self::ALL[(self as usize + quarter_turns) % 4]
    }
}

/// The geometry of a board.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    pub(super) size: u8,
    pub(super) all: Cells,
    not_first_column: Cells,
    not_last_column: Cells,
}

impl Grid {
    /// A board of `size` x `size` cells; `size` is at most 11, so that every cell has a bit.
    pub(super) fn new(size: u8) -> Self {
        let all = (1 << (size * size)) - 1;
        let first_column: Cells = (0..size).map(|row| bit(row * size)).sum();
        Self { size, all, not_first_column: all & !first_column, not_last_column: all & !(first_column << (size - 1)) }
    }

    /// Row and column of a cell.
    pub(super) fn place(&self, cell: u8) -> (u8, u8) {
        (cell / self.size, cell % self.size)
    }

    /// The next cell in a direction; `None` at the wall.
    pub(super) fn next(&self, cell: u8, heading: Heading) -> Option<u8> {
        let (row, column) = self.place(cell);
        match heading {
            Heading::Up => (row > 0).then(|| cell - self.size),
            Heading::Right => (column + 1 < self.size).then(|| cell + 1),
            Heading::Down => (row + 1 < self.size).then(|| cell + self.size),
            Heading::Left => (column > 0).then(|| cell - 1),
        }
    }

    /// All cells next to a set, and possibly some inside it.
    pub(super) fn neighbours(&self, cells: Cells) -> Cells {
        let vertical = (cells << self.size) | (cells >> self.size);
        let horizontal = ((cells & self.not_last_column) << 1) | ((cells & self.not_first_column) >> 1);
        (vertical | horizontal) & self.all
    }

    /// `start` and all cells that can be reached from it through `open` cells.
    pub(super) fn flood(&self, start: Cells, open: Cells) -> Cells {
        let mut reached = start;
        loop {
            let grown = reached | (self.neighbours(reached) & open);
            if grown == reached {
                return reached;
            }
            reached = grown;
        }
    }
}

/// The set of one cell.
pub(super) fn bit(cell: u8) -> Cells {
    1 << cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_stop_at_the_edges() {
        let grid = Grid::new(3);
        assert_eq!(grid.neighbours(bit(4)), 0b010_101_010);
        assert_eq!(grid.neighbours(bit(2)), 0b000_100_010);
        assert_eq!(grid.neighbours(bit(6)), 0b010_001_000);
    }

    #[test]
    fn a_flood_fills_its_side_of_a_wall() {
        let grid = Grid::new(3);
        let wall = 0b010_010_010;
        assert_eq!(grid.flood(bit(0), grid.all & !wall), 0b001_001_001);
    }

    #[test]
    fn the_largest_board_fits_the_bits() {
        let grid = Grid::new(11);
        assert_eq!(grid.flood(bit(0), grid.all).count_ones(), 121);
    }
}
