//! Environments by name, and the TOML files that define them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::{Env, Error, Result};

/// The options of an environment, as a person wrote them: a TOML table that is parsed by the kind they are for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    table: toml::Table,
}

impl Options {
    /// Options from a TOML table.
    pub fn new(table: toml::Table) -> Self {
        Self { table }
    }

    /// The options as the type that the kind declares (`#[serde(default, deny_unknown_fields)]`).
    ///
    /// # Errors
    /// An unknown option (with the nearest known one) or a value of the wrong type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        self.table.clone().try_into().map_err(|error: toml::de::Error| Error::Definition(error.message().to_string()))
    }
}

/// One environment as a TOML file writes it: a registered kind, its options and its wrappers.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The id, without version.
    pub id: String,
    /// The registered kind.
    pub kind: String,
    /// The options of the kind.
    #[serde(default)]
    pub options: toml::Table,
}

/// Builds an environment of one kind from its options.
pub type Build = Arc<dyn Fn(&Options) -> Result<Box<dyn Env>> + Send + Sync>;

/// Which kinds of environment there are, and which definitions have a name.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<String, Build>,
    definitions: BTreeMap<String, Definition>,
}

impl Registry {
    /// The environments that come with Palestra.
    pub fn builtin() -> Self {
        Self::default()
    }

    /// Adds a kind, and an environment of the same name with the kind's default options.
    pub fn with<F>(mut self, name: &str, build: F) -> Self
    where
        F: Fn(&Options) -> Result<Box<dyn Env>> + Send + Sync + 'static,
    {
        self.kinds.insert(name.to_string(), Arc::new(build));
        self
    }

    /// The definition that a name or the path of a TOML file stands for.
    pub fn definition(&self, name_or_file: &str) -> Result<Definition> {
        let _ = (Path::new(name_or_file), &self.definitions);
        todo!()
    }

    /// Builds an environment from its definition.
    pub fn build(&self, definition: &Definition) -> Result<Box<dyn Env>> {
        let _ = (definition, &self.kinds);
        todo!()
    }

    /// Builds the environment of a name or of a TOML file.
    pub fn make(&self, name_or_file: &str) -> Result<Box<dyn Env>> {
        self.build(&self.definition(name_or_file)?)
    }
}
