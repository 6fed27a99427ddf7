//! Text formats of a position for the agent.

use std::fmt::Write;

use serde::Deserialize;

use super::game::Game;
use super::grid::{Heading, bit};
use super::look::{Entered, Room, TURNS, look};

/// Observation format of the board, and the actions of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum View {
    /// A sentence and a drawn board; `up`, `down`, `left`, `right`.
    Text,
    /// One character per cell, row by row, and the heading; `u`, `d`, `l`, `r`.
    Board,
    /// The cells around the head, rotated so that forward is up, and the direction of the food; `f`, `l`, `r`.
    Window,
    /// The result of each of the three moves, and the direction of the food; `f`, `l`, `r`.
    Compact,
}

/// Range of the window view, in cells from the head.
const WINDOW_RADIUS: i32 = 2;

impl View {
    /// All characters of the observations and actions of this view.
    pub(super) fn alphabet(self) -> &'static str {
        match self {
            View::Text => "\n ,.:0123456789FSYadefghiklmnoprtuvw@*~",
            View::Board => ".o@~*udlr",
            View::Window => ".o@~*#ablr=f",
            View::Compact => "#.*tsn0123456789-ab=flr",
        }
    }

    /// The agent's actions: absolute headings, or turns if the view rotates with the snake.
    pub(super) fn actions(self) -> &'static [&'static str] {
        match self {
            View::Text => &["up", "right", "down", "left"],
            View::Board => &["u", "r", "d", "l"],
            View::Window | View::Compact => &["f", "l", "r"],
        }
    }

    /// Heading after an action, given by its index in [`View::actions`].
    pub(super) fn heading(self, action: usize, current: Heading) -> Heading {
        match self {
            View::Text | View::Board => Heading::ALL[action],
            View::Window | View::Compact => current.turned(TURNS[action]),
        }
    }

    /// Writes a position.
    pub(super) fn write(self, game: &Game) -> String {
        match self {
            View::Text => text(game),
            View::Board => board(game),
            View::Window => window(game),
            View::Compact => compact(game),
        }
    }
}

/// The board as lines of text, for the text view and for rendering.
pub(super) fn draw(game: &Game) -> String {
    let size = game.grid.size;
    let mut drawing = String::with_capacity(2 * usize::from(size * size));
    for row in 0..size {
        for column in 0..size {
            drawing.push(cell_character(game, row * size + column));
            drawing.push(if column + 1 < size { ' ' } else { '\n' });
        }
    }
    drawing
}

fn text(game: &Game) -> String {
    let heading = View::Text.actions()[game.heading as usize];
    let mut text = format!("Snake of length {}, heading {heading}.", game.body.len());
    if let Some(food) = game.food {
        let (down, right) = food_offset(game, food);
        let mut parts = Vec::new();
        for (offset, after, before) in [(down, "down", "up"), (right, "right", "left")] {
            let side = if offset > 0 { after } else { before };
            if offset != 0 {
                parts.push(format!("{} {side}", offset.abs()));
            }
        }
        write!(text, " Food: {}.", parts.join(", ")).expect("writing to a String");
    }
    text.push('\n');
    text.push_str(&draw(game));
    let backwards = game.heading.turned(2) as usize;
    let mut allowed = View::Text.actions().to_vec();
    allowed.remove(backwards);
    write!(text, "Your move: {}.", allowed.join(", ")).expect("writing to a String");
    text
}

fn board(game: &Game) -> String {
    let cells = game.grid.size * game.grid.size;
    let mut text = String::with_capacity(usize::from(cells) + 1);
    text.extend((0..cells).map(|cell| cell_character(game, cell)));
    text.push_str(View::Board.actions()[game.heading as usize]);
    text
}

fn window(game: &Game) -> String {
    let side = 2 * WINDOW_RADIUS as usize + 1;
    let mut text = String::with_capacity(side * side + 2);
    let size = i32::from(game.grid.size);
    let (row, column) = signed(game.grid.place(game.head()));
    for behind in -WINDOW_RADIUS..=WINDOW_RADIUS {
        for right in -WINDOW_RADIUS..=WINDOW_RADIUS {
            let (down, east) = from_snake(game.heading, behind, right);
            let (row, column) = (row + down, column + east);
            let inside = (0..size).contains(&row) && (0..size).contains(&column);
            text.push(if inside { cell_character(game, (row * size + column) as u8) } else { '#' });
        }
    }
    push_food_direction(&mut text, game);
    text
}

fn compact(game: &Game) -> String {
    let mut text = String::with_capacity(11);
    for look in look(game) {
        text.push(match look.entered {
            Entered::Blocked => '#',
            Entered::Free => '.',
            Entered::Food => '*',
        });
        text.push(match look.room {
            _ if look.entered == Entered::Blocked => '#',
            Room::Tail => 't',
            Room::Enough => 's',
            Room::Little => 'n',
        });
        text.push(match look.to_food {
            _ if look.entered == Entered::Blocked => '#',
            Some(distance) => char::from(b'0' + distance.min(9) as u8),
            None => '-',
        });
    }
    push_food_direction(&mut text, game);
    text
}

/// Appends the side of the head that the food is on: `a`head, `b`ehind or `=`, then `l`eft, `r`ight or `=`.
fn push_food_direction(text: &mut String, game: &Game) {
    let (behind, right) = game.food.map_or((0, 0), |food| {
        let (down, east) = food_offset(game, food);
        to_snake(game.heading, down, east)
    });
    text.push(['a', '=', 'b'][(behind.signum() + 1) as usize]);
    text.push(['l', '=', 'r'][(right.signum() + 1) as usize]);
}

fn cell_character(game: &Game, cell: u8) -> char {
    if cell == game.head() {
        '@'
    } else if cell == game.tail() {
        '~'
    } else if game.occupied & bit(cell) != 0 {
        'o'
    } else if game.food == Some(cell) {
        '*'
    } else {
        '.'
    }
}

/// Offset of the food from the head: down, right.
fn food_offset(game: &Game, food: u8) -> (i32, i32) {
    let (row, column) = signed(game.grid.place(game.head()));
    let (food_row, food_column) = signed(game.grid.place(food));
    (food_row - row, food_column - column)
}

/// Converts (down, right) on the board to (behind, right) of the snake.
fn to_snake(heading: Heading, down: i32, right: i32) -> (i32, i32) {
    match heading {
        Heading::Up => (down, right),
        Heading::Right => (-right, down),
        Heading::Down => (-down, -right),
        Heading::Left => (right, -down),
    }
}

/// Converts (behind, right) of the snake to (down, right) on the board.
fn from_snake(heading: Heading, behind: i32, right: i32) -> (i32, i32) {
    match heading {
        Heading::Up => (behind, right),
        Heading::Right => (right, -behind),
        Heading::Down => (-behind, -right),
        Heading::Left => (-right, behind),
    }
}

/// Row and column as signed numbers, for subtraction.
fn signed((row, column): (u8, u8)) -> (i32, i32) {
    (i32::from(row), i32::from(column))
}

#[cfg(test)]
mod tests {

    use super::super::grid::Grid;
    use super::*;

    /// A snake of length five in the middle of a 4 x 4 board, heading up, with the food behind it to the right.
    fn position() -> Game {
        let mut game = Game::new(Grid::new(4), 0);
        game.body = [5, 9, 8, 12, 13].into();
        game.occupied = game.body.iter().map(|&cell| bit(cell)).sum();
        game.heading = Heading::Up;
        game.food = Some(11);
        game
    }

    #[test]
    fn text_draws_the_board() {
        assert_eq!(
            View::Text.write(&position()),
            "Snake of length 5, heading up. Food: 1 down, 2 right.\n\
             . . . .\n. @ . .\no o . *\no ~ . .\nYour move: up, right, left."
        );
    }

    #[test]
    fn board_is_one_character_a_cell() {
        assert_eq!(View::Board.write(&position()), ".....@..oo.*o~..u");
    }

    #[test]
    fn window_turns_with_the_snake() {
        let mut game = position();
        assert_eq!(View::Window.write(&game), "######....#.@..#oo.*#o~..br");
        game.heading = Heading::Right;
        assert_eq!(View::Window.write(&game), "#..*.#....#.@o~#..oo#####ar");
    }

    #[test]
    fn compact_tells_each_move_apart() {
        let mut game = position();
        // Forward, left and right: each is free and keeps a path to the tail; the food is 4, 6 and 2 moves away.
        assert_eq!(View::Compact.write(&game), ".t4.t6.t2br");
        game.body = [1, 5, 4, 8, 12].into();
        game.occupied = game.body.iter().map(|&cell| bit(cell)).sum();
        game.food = Some(0);
        // The left is a dead end with food; the rest of the board is open.
        assert_eq!(View::Compact.write(&game), "###*n0.t-=l");
    }

    #[test]
    fn directions_of_the_food_are_those_of_the_window() {
        for heading in Heading::ALL {
            for (behind, right) in [(-2, 0), (1, 2), (0, -1)] {
                let (down, east) = from_snake(heading, behind, right);
                assert_eq!(to_snake(heading, down, east), (behind, right));
            }
        }
    }
}
