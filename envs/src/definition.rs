//! An environment as a person writes it: a kind, its options, its wrappers.
//!
//! A definition is data. The registry knows which kinds there are and builds environments from it.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Origin, parse_toml_table};
use crate::reward::RewardDefinition;
use crate::wrappers::InvalidRule;
use crate::{Error, Result};

/// The options of an environment or a reward, as a person wrote them: a TOML table that is parsed by the kind they are
/// for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options {
    table: toml::Table,
    #[serde(skip)]
    origin: Option<Origin>,
}

/// One environment as a TOML file or a run file writes it: a registered kind, its options and its wrappers.
///
/// With a `kind`, it stands alone, and `id` is its name (the kind's own name where it is absent). With only the
/// `id` of a registered definition, or only the `file` of another, it is that definition, with the options and wrappers
/// given here laid over it, and with the rewards given here in place of its own.
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
    /// The TOML file of the definition that this one is laid over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The id. Where it has no version (`-v1`), it takes that of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The registered kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The options of the kind.
    #[serde(default)]
    pub options: Options,
    /// What is put around the environment.
    #[serde(default)]
    pub wrappers: Wrappers,
    /// What scores whole episodes, beside the environment's own rules.
    #[serde(default, rename = "reward", skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<RewardDefinition>,
}

/// What is put around an environment, from the inside to the outside in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wrappers {
    /// The most turns of an episode, at least 1; beyond it the episode is truncated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<std::num::NonZeroU32>,
    /// What an invalid action costs, in place of the environment's own rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<InvalidRule>,
    /// What every reward is multiplied by, finite and not 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_scale: Option<f32>,
    /// Whether the last step's info has the episode's return, length and number of invalid actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<bool>,
}

/// Options of these names are paths, or lists of paths, wherever they stand: relative ones are as seen from the file that
/// they are written in.
const PATHS: [&str; 4] = ["file", "files", "model", "store"];

impl Options {
    /// Options from a TOML table.
    pub fn new(table: toml::Table) -> Self {
        Self { table, origin: None }
    }

    /// The options as a person wrote them.
    pub fn table(&self) -> &toml::Table {
        &self.table
    }

    /// Sets one option.
    pub fn set(&mut self, name: &str, value: impl Into<toml::Value>) {
        self.table.insert(name.to_string(), value.into());
    }

    /// The options as the type that the kind declares (`#[serde(default, deny_unknown_fields)]`).
    ///
    /// # Errors
    /// An unknown option (with the nearest known one) or a value of the wrong type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        if let Ok(options) = self.table.clone().try_into() {
            return Ok(options);
        }
        // A table has no lines. The file that it came from has, and makes the same mistake unless the table was
        // changed since.
        let located = self.origin.as_ref().and_then(|origin| origin.parse::<T>().err());
        located.map_or_else(|| parse_toml_table("options", &self.table), Err)
    }

    /// An error about one of the options, with file and line where they are known; `reason` says what would be right.
    pub fn wrong(&self, option: &str, reason: impl Display) -> Error {
        Error::Definition(match &self.origin {
            Some(origin) => format!("{}: {reason}", origin.place_inside(option)),
            None => format!("options.{option}: {reason}"),
        })
    }

    /// An error with the place of the field beside the options that caused it, where they were written in a file.
    pub(crate) fn blame(&self, field: &str, error: Error) -> Error {
        match &self.origin {
            Some(origin) => Error::Definition(format!("{}: {error}", origin.place_beside(field))),
            None => error,
        }
    }

    /// Remembers where the options were written: the file, its text, and the dotted path of their table in it.
    pub(crate) fn written_in(&mut self, file: &str, text: &str, table: &str) {
        self.origin = Some(Origin::new(file, text, table));
    }

    /// Takes relative paths among the options as seen from a folder, and makes them absolute.
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
    /// The definition of that id or of that name in a registry, with nothing changed.
    pub fn named(id: &str) -> Self {
        Self { id: Some(id.to_string()), ..Self::default() }
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// The file cannot be read, or is no definition: the message names the line and the field.
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

    /// Reads the text of a TOML file; `file` is what errors call it.
    pub fn from_toml(file: &str, text: &str) -> Result<Self> {
        Ok(Origin::new(file, text, "").parse::<Self>()?.written_in(file, text, ""))
    }

    /// Remembers where the definition was written, so that errors about its options name the line: the file, its
    /// text, and the dotted path of the definition's table in it (`env` for `[env]`, empty for the whole file).
    pub fn written_in(mut self, file: &str, text: &str, table: &str) -> Self {
        self.options.written_in(file, text, &format!("{table}.options"));
        let rewards = self.rewards.into_iter().enumerate();
        let written = |(number, reward): (_, RewardDefinition)| {
            reward.written_in(file, text, &format!("{table}.reward.{number}"))
        };
        self.rewards = rewards.map(written).collect();
        self
    }

    /// Takes relative paths among the options as seen from a folder.
    pub fn seen_from(&mut self, folder: &Path) {
        self.options.seen_from(folder);
        self.rewards.iter_mut().for_each(|reward| reward.seen_from(folder));
    }

    /// An error with the place of the field that caused it, where the definition was written in a file.
    pub(crate) fn blame(&self, field: &str, error: Error) -> Error {
        self.options.blame(field, error)
    }

    /// This definition laid over another: whatever it says wins.
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
