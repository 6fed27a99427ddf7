//! An environment as written in a TOML file: a kind, its options, its wrappers.
//!
//! A definition is data. The registry knows the available kinds and builds environments from definitions.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Origin, parse_toml_table};
use crate::reward::RewardDefinition;
use crate::wrappers::InvalidRule;
use crate::{Error, Result};

/// Options of an environment or a reward, as written by the user: a TOML table that is parsed by the kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options {
    table: toml::Table,
    #[serde(skip)]
    origin: Option<Origin>,
}

/// One environment as written in a TOML file or a run file: a registered kind, its options and its wrappers.
///
/// With a `kind`, the definition is complete, and `id` is its name (default: the kind's name). With only the `id` of a
/// registered definition, or only the `file` of another, it extends that definition: options and wrappers given here
/// override its values, and rewards given here replace its rewards.
///
/// ```toml
/// id = "my-lake"
/// kind = "frozen-lake"
///
/// [options]
/// map = ["SFF", "FHF", "FFG"]
///
/// [wrappers]
/// invalid = { reward = -1.0, end = true }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The TOML file of the definition that this one extends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The id. If it has no version (`-v1`), it gets the version of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The registered kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The options of the kind.
    #[serde(default)]
    pub options: Options,
    /// Wrappers around the environment.
    #[serde(default)]
    pub wrappers: Wrappers,
    /// Rewards for whole episodes, in addition to the environment's own rules.
    #[serde(default, rename = "reward", skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<RewardDefinition>,
}

/// Wrappers around an environment, applied from the inside to the outside in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wrappers {
    /// Maximum number of turns of an episode, at least 1. Longer episodes are truncated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<std::num::NonZeroU32>,
    /// Rule for invalid actions, in place of the environment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<InvalidRule>,
    /// Factor for every reward, finite and not 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_scale: Option<f32>,
    /// True if the last step's info has the episode's return, length and number of invalid actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<bool>,
}

/// Options of these names are paths, or lists of paths, at any depth. Relative paths are relative to the file that they
/// are written in.
const PATHS: [&str; 4] = ["file", "files", "model", "store"];

impl Options {
    /// Options from a TOML table.
    pub fn new(table: toml::Table) -> Self {
        Self { table, origin: None }
    }

    /// The options as written by the user.
    pub fn table(&self) -> &toml::Table {
        &self.table
    }

    /// Sets one option.
    pub fn set(&mut self, name: &str, value: impl Into<toml::Value>) {
        self.table.insert(name.to_string(), value.into());
    }

    /// Parses the options as the type that the kind declares (`#[serde(default, deny_unknown_fields)]`).
    ///
    /// # Errors
    /// An unknown option (with the nearest known one) or a value of the wrong type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        if let Ok(options) = self.table.clone().try_into() {
            return Ok(options);
        }
        // A table has no line numbers. The file that it came from has them, and parsing it gives the same error unless
        // the table was changed since.
        let located = self.origin.as_ref().and_then(|origin| origin.parse::<T>().err());
        located.map_or_else(|| parse_toml_table("options", &self.table), Err)
    }

    /// Error about one of the options, with file and line if they are known; `reason` says what would be right.
    pub fn wrong(&self, option: &str, reason: impl Display) -> Error {
        Error::Definition(match &self.origin {
            Some(origin) => format!("{}: {reason}", origin.place_inside(option)),
            None => format!("options.{option}: {reason}"),
        })
    }

    /// Adds the position of the field that caused an error, next to the options, if they come from a file.
    pub(crate) fn blame(&self, field: &str, error: Error) -> Error {
        match &self.origin {
            Some(origin) => Error::Definition(format!("{}: {error}", origin.place_beside(field))),
            None => error,
        }
    }

    /// Records the origin of the options: the file, its text, and the dotted path of their table in it.
    pub(crate) fn written_in(&mut self, file: &str, text: &str, table: &str) {
        self.origin = Some(Origin::new(file, text, table));
    }

    /// Resolves relative paths among the options against a folder.
    pub(crate) fn seen_from(&mut self, folder: &Path) {
        let seen = |path: &mut toml::Value| {
            let absolute = path.as_str().and_then(|path| std::path::absolute(folder.join(path)).ok());
            if let Some(absolute) = absolute {
                *path = absolute.display().to_string().into();
            }
        };
        for name in PATHS {
            match self.table.get_mut(name) {
                Some(toml::Value::Array(paths)) => paths.iter_mut().for_each(seen),
                Some(path) => seen(path),
                None => {}
            }
        }
    }
}

impl Definition {
    /// The definition of that id or name in a registry, unchanged.
    pub fn named(id: &str) -> Self {
        Self { id: Some(id.to_string()), ..Self::default() }
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// A file that cannot be read or is not a valid definition. The message names the line and the field.
    pub fn from_file(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::File { path: file.clone(), reason: error.to_string() })?;
        let mut definition = Self::from_toml(&file, &text)?;
        definition.seen_from(path.parent().unwrap_or(Path::new("")));
        match definition.file {
            Some(_) => Err(Error::Definition(format!("{file}: file: a definition names no other file"))),
            None => Ok(definition),
        }
    }

    /// Parses the text of a TOML file; `file` is its name in error messages.
    pub fn from_toml(file: &str, text: &str) -> Result<Self> {
        Ok(Origin::new(file, text, "").parse::<Self>()?.written_in(file, text, ""))
    }

    /// Records the origin of the definition, so that errors about its options name the line: the file, its text, and
    /// the dotted path of the definition's table in it (`env` for `[env]`, empty for the whole file).
    pub fn written_in(mut self, file: &str, text: &str, table: &str) -> Self {
        self.options.written_in(file, text, &format!("{table}.options"));
        let rewards = self.rewards.into_iter().enumerate();
        let written = |(number, reward): (_, RewardDefinition)| {
            reward.written_in(file, text, &format!("{table}.reward.{number}"))
        };
        self.rewards = rewards.map(written).collect();
        self
    }

    /// Resolves relative paths among the options against a folder.
    pub fn seen_from(&mut self, folder: &Path) {
        self.options.seen_from(folder);
        self.rewards.iter_mut().for_each(|reward| reward.seen_from(folder));
    }

    /// Adds the position of the field that caused an error, if the definition comes from a file.
    pub(crate) fn blame(&self, field: &str, error: Error) -> Error {
        self.options.blame(field, error)
    }

    /// Merges this definition over `base`. Values of this definition take precedence.
    pub(crate) fn over(&self, base: &Definition) -> Self {
        let mut options = self.options.clone();
        for (key, value) in &base.options.table {
            options.table.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let wrappers = Wrappers {
            limit: self.wrappers.limit.or(base.wrappers.limit),
            invalid: self.wrappers.invalid.or(base.wrappers.invalid),
            reward_scale: self.wrappers.reward_scale.or(base.wrappers.reward_scale),
            statistics: self.wrappers.statistics.or(base.wrappers.statistics),
        };
        let rewards = if self.rewards.is_empty() { &base.rewards } else { &self.rewards }.clone();
        Self { file: None, id: base.id.clone(), kind: base.kind.clone(), options, wrappers, rewards }
    }
}
