//! An environment as written in a TOML file: a kind, its options, its wrappers.
//!
//! A definition is data. The registry knows the available kinds and builds environments from definitions.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::reward::RewardDefinition;
use crate::wrappers::Wrappers;
use crate::{Error, Options, Result};
use palestra_settings::Origin;

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
        options.fill_from(&base.options);
        let wrappers = self.wrappers.over(&base.wrappers);
        let rewards = if self.rewards.is_empty() { &base.rewards } else { &self.rewards }.clone();
        Self { file: None, id: base.id.clone(), kind: base.kind.clone(), options, wrappers, rewards }
    }
}
