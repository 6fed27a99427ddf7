//! The options of an environment or a reward, with the file and the line that they were written in.

use std::fmt::Display;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use palestra_datasets::Address;
use palestra_settings::{Origin, parse_toml_table};

/// Options of an environment or a reward, as written by the user: a TOML table that is parsed by the kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options {
    table: toml::Table,
    #[serde(skip)]
    origin: Option<Origin>,
}

/// Options of these names are paths, or lists of paths, at any depth. Relative paths are relative to the file that they
/// are written in.
const PATHS: [&str; 6] = ["ca_file", "directory", "file", "files", "model", "store"];

/// An option of this name is a program. It runs in the folder of the file that it is written in, unless `directory` says
/// another.
const COMMAND: &str = "command";

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

    /// Removes one option.
    pub fn remove(&mut self, name: &str) {
        self.table.remove(name);
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
        Ok(located.map_or_else(|| parse_toml_table("options", &self.table), Err)?)
    }

    /// Error about one of the options, with file and line if they are known; `reason` says what would be right.
    pub fn wrong(&self, option: &str, reason: impl Display) -> Error {
        Error::Definition(match &self.origin {
            Some(origin) => format!("{}: {reason}", origin.place_inside(option)),
            None => format!("options.{option}: {reason}"),
        })
    }

    /// Adds the options of `base` that are not set here.
    pub(crate) fn fill_from(&mut self, base: &Options) {
        for (key, value) in &base.table {
            self.table.entry(key.clone()).or_insert_with(|| value.clone());
        }
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
        if self.table.contains_key(COMMAND) {
            self.table.entry("directory").or_insert_with(|| ".".into());
        }
        let seen = |path: &mut toml::Value| {
            let named = path.as_str().filter(|path| !Address::is_in(path));
            let absolute = named.and_then(|path| std::path::absolute(folder.join(path)).ok());
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
