//! The table of the environments that come with Palestra. Adding one adds one row.

use std::sync::Arc;

use crate::exact::ExactEvaluator;
use crate::{
    Build, cliff_walking, completion, double_t_maze, frozen_lake, openenv, process, snake, tic_tac_toe, wordle,
};

/// A kind of environment with its named definitions.
pub(crate) struct Builtin {
    /// The kind's name.
    pub kind: &'static str,
    /// Description of the game, in one line.
    pub summary: &'static str,
    /// Returns the function that builds it.
    pub build: fn() -> Build,
    /// TOML texts of its named definitions. A kind without any names its environments itself.
    pub definitions: &'static [&'static str],
    /// Calculates the exact value of a policy, if the game is small enough.
    pub exact: Option<ExactEvaluator>,
    /// Its card, in Markdown.
    pub card: &'static str,
}

/// Every kind, in alphabetical order.
pub(crate) const BUILTINS: &[Builtin] = &[
    Builtin {
        kind: "cliff-walking",
        summary: "Walk along the edge of a cliff to the goal, in as few moves as possible",
        build: || Arc::new(cliff_walking::build),
        definitions: &[include_str!("cliff_walking/env.toml")],
        exact: Some(cliff_walking::exact_value),
        card: include_str!("cliff_walking/CARD.md"),
    },
    Builtin {
        kind: "completion",
        summary: "Answer prompts from a file; what an answer is worth is a reward's to say",
        build: completion::builder,
        definitions: &[include_str!("completion/completion.toml")],
        exact: None,
        card: include_str!("completion/CARD.md"),
    },
    Builtin {
        kind: "double-t-maze",
        summary: "Find the foot of the T from any cell of a maze of 26 cells",
        build: || Arc::new(double_t_maze::build),
        definitions: &[
            include_str!("double_t_maze/env.toml"),
            include_str!("double_t_maze/double-t-maze-left.toml"),
            include_str!("double_t_maze/double-t-maze-right.toml"),
            include_str!("double_t_maze/double-t-maze-stem.toml"),
        ],
        exact: Some(double_t_maze::exact_value),
        card: include_str!("double_t_maze/CARD.md"),
    },
    Builtin {
        kind: "frozen-lake",
        summary: "Cross slippery ice to the goal without falling into a hole",
        build: || Arc::new(frozen_lake::build),
        definitions: &[
            include_str!("frozen_lake/frozen-lake-4x4.toml"),
            include_str!("frozen_lake/frozen-lake-8x8.toml"),
        ],
        exact: Some(frozen_lake::exact_value),
        card: include_str!("frozen_lake/CARD.md"),
    },
    Builtin {
        kind: "openenv",
        summary: "An environment that a server of OpenEnv plays",
        build: openenv::builder,
        definitions: &[],
        exact: None,
        card: include_str!("openenv/CARD.md"),
    },
    Builtin {
        kind: "process",
        summary: "An environment that is a program, in any language",
        build: process::builder,
        definitions: &[],
        exact: None,
        card: include_str!("process/CARD.md"),
    },
    Builtin {
        kind: "snake",
        summary: "Eat and grow without running into the wall or into yourself",
        build: || Arc::new(snake::build),
        definitions: &snake::DEFINITIONS,
        exact: None,
        card: include_str!("snake/CARD.md"),
    },
    Builtin {
        kind: "tic-tac-toe",
        summary: "Three in a row against a random or a perfect opponent",
        build: || Arc::new(tic_tac_toe::build),
        definitions: &tic_tac_toe::DEFINITIONS,
        exact: Some(tic_tac_toe::exact_value),
        card: include_str!("tic_tac_toe/CARD.md"),
    },
    Builtin {
        kind: "wordle",
        summary: "Guess the word of five letters in six tries",
        build: || Arc::new(wordle::build),
        definitions: &wordle::DEFINITIONS,
        exact: None,
        card: include_str!("wordle/CARD.md"),
    },
];
