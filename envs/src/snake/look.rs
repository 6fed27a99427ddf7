//! Evaluates the result of each of the three moves for the compact view.

use super::game::Game;
use super::grid::{Cells, bit};

/// Forward, left and right, in quarter turns to the right.
pub(super) const TURNS: [usize; 3] = [0, 3, 1];

/// Content of the cell that a move enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// A wall or the snake: the move is fatal.
    Blocked,
    Free,
    Food,
}

/// Free space that is left to the snake after a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It can reach the end of its tail, and so survive forever by following it.
    Tail,
    /// It cannot reach its tail, but at least as many free cells as its length.
    Enough,
    /// It can reach fewer free cells than its length.
    Little,
}

/// Result of one move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) entered: Entered,
    pub(super) room: Room,
    /// Number of moves to the food after this one, around the snake in its present position; `None` if the snake blocks
    /// every path.
    pub(super) to_food: Option<u32>,
}

/// Evaluates the moves forward, left and right without moving. Most of the result comes from two flood fills, one from
/// the food and one from the tail, since a shortest path never returns to its start.
pub(super) fn look(game: &Game) -> [Look; 3] {
    let grid = &game.grid;
    let tail = bit(game.tail());
    let food = game.food.map_or(0, bit);
    // A move that does not eat frees the tail's cell.
    let open = grid.all & !(game.occupied & !tail);
    let moved_tail = bit(game.body[game.body.len() - 2]);
    let targets = TURNS.map(|turn| {
        let cell = grid.next(game.head(), game.heading.turned(turn));
        cell.map_or(0, bit) & open & !(tail & food)
    });
    let follows_tail = grid.flood(moved_tail, open);
    let to_food = distances(game, food, open, targets);
    let mut looks = [Look { entered: Entered::Blocked, room: Room::Little, to_food: None }; 3];
    for (index, &target) in targets.iter().enumerate() {
        if target == 0 {
            continue;
        }
        let eats = target == food;
        let (open, reaches_tail) = if eats {
            let open = grid.all & !game.occupied;
            (open, grid.flood(target, open | tail) & tail != 0)
        } else {
            (open, follows_tail & target != 0)
        };
        let has_room = || {
            let reached = grid.flood(target, open) & !target;
            reached.count_ones() as usize >= game.body.len()
        };
        looks[index] = Look {
            entered: if eats { Entered::Food } else { Entered::Free },
            room: if reaches_tail {
                Room::Tail
            } else if has_room() {
                Room::Enough
            } else {
                Room::Little
            },
            to_food: to_food[index],
        };
    }
    looks
}

/// Distance of each target from the food through open cells.
fn distances(game: &Game, food: Cells, open: Cells, targets: [Cells; 3]) -> [Option<u32>; 3] {
    let wanted = targets[0] | targets[1] | targets[2];
    let mut found = [None; 3];
    let mut reached = food;
    for distance in 0.. {
        for (target, found) in targets.iter().zip(&mut found) {
            if found.is_none() && target & reached != 0 {
                *found = Some(distance);
            }
        }
        let grown = reached | (game.grid.neighbours(reached) & open);
        if grown == reached || wanted & !reached == 0 {
            break;
        }
        reached = grown;
    }
    found
}
