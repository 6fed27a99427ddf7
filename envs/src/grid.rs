//! Boards of square cells and the four directions of movement.

use std::ops::Range;

/// Direction of a move, in Gymnasium's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// One column less.
    Left,
    /// One row more.
    Down,
    /// One column more.
    Right,
    /// One row less.
    Up,
}

impl Direction {
    /// All four, in the order of action numbers.
    pub const ALL: [Self; 4] = [Self::Left, Self::Down, Self::Right, Self::Up];

    /// The word of the `text` view.
    pub const fn word(self) -> &'static str {
        ["left", "down", "right", "up"][self as usize]
    }

    /// The letter of the `compact` view.
    pub const fn letter(self) -> &'static str {
        ["l", "d", "r", "u"][self as usize]
    }

    /// This direction and its two perpendiculars.
    pub fn with_perpendiculars(self) -> [Self; 3] {
        let turned = |by: usize| Self::ALL[(self as usize + by) % 4];
        [turned(3), self, turned(1)]
    }
}

/// A rectangular board; a cell is numbered `row * columns + column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// The number of rows.
    pub rows: usize,
    /// The number of columns.
    pub columns: usize,
    cells: Vec<u8>,
}

impl Grid {
    /// Parses a board from its rows, written with the letters of `alphabet` (ASCII).
    ///
    /// # Errors
    /// No cells, rows of different lengths or another letter; the message names the row.
    pub fn parse<S: AsRef<str>>(rows: &[S], alphabet: &str) -> Result<Self, String> {
        let columns = rows.first().map_or(0, |row| row.as_ref().len());
        if columns == 0 {
            return Err("a map needs at least one row with one cell".to_string());
        }
        for (number, row) in rows.iter().map(AsRef::as_ref).enumerate() {
            if let Some(wrong) = row.chars().find(|&letter| !alphabet.contains(letter)) {
                return Err(format!("row {} has `{wrong}`; cells are the letters {alphabet}", number + 1));
            }
            if row.len() != columns {
                return Err(format!("row {} has {} cells where row 1 has {columns}", number + 1, row.len()));
            }
        }
        let cells = rows.iter().flat_map(|row| row.as_ref().bytes()).collect();
        Ok(Self { rows: rows.len(), columns, cells })
    }

    /// The numbers of all cells.
    pub fn cells(&self) -> Range<usize> {
        0..self.cells.len()
    }

    /// Letter of a cell.
    pub fn at(&self, cell: usize) -> u8 {
        self.cells[cell]
    }

    /// The cells that hold a letter.
    pub fn find(&self, letter: u8) -> Vec<usize> {
        self.cells().filter(|&cell| self.at(cell) == letter).collect()
    }

    /// Row and column of a cell, counted from 0.
    pub fn place(&self, cell: usize) -> (usize, usize) {
        (cell / self.columns, cell % self.columns)
    }

    /// Neighbor of a cell in a direction; at the border, the cell itself.
    pub fn neighbour(&self, cell: usize, direction: Direction) -> usize {
        let (row, column) = self.place(cell);
        match direction {
            Direction::Left if column > 0 => cell - 1,
            Direction::Down if row + 1 < self.rows => cell + self.columns,
            Direction::Right if column + 1 < self.columns => cell + 1,
            Direction::Up if row > 0 => cell - self.columns,
            _ => cell,
        }
    }

    /// The board as lines of text, with `P` at the agent's cell.
    pub fn draw(&self, player: Option<usize>) -> String {
        let mut text = String::with_capacity(self.cells.len() + self.rows);
        for (cell, &letter) in self.cells.iter().enumerate() {
            if cell > 0 && cell % self.columns == 0 {
                text.push('\n');
            }
            text.push(if player == Some(cell) { 'P' } else { char::from(letter) });
        }
        text
    }
}
