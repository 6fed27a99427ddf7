//! Registry of environments by name: the kinds of environments, the named definitions, and the kinds of rewards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::builtin::BUILTINS;
use crate::exact::{Ask, ExactEvaluator, ExactValue};
use crate::reward::{BUILTIN_REWARDS, Reward, RewardDefinition, Rewards};
use crate::{Build, Definition, Env, Error, Options, Result, Wrappers, wrappers};
use palestra_settings::nearest;

/// Builds a reward of one kind from its options.
pub type BuildReward = Arc<dyn Fn(&Options) -> Result<Box<dyn Reward>> + Send + Sync>;

/// The registered kinds of environments, the named definitions, and the registered kinds of rewards.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<String, Kind>,
    definitions: BTreeMap<String, Definition>,
    rewards: BTreeMap<String, BuildReward>,
}

/// Description of one name of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name, without version.
    pub name: &'a str,
    /// The kind that builds it.
    pub kind: &'a str,
    /// Description of the game, in one line; empty for a kind that a user added.
    pub summary: &'a str,
    /// Its card, in Markdown: rules, observations, rewards, optimum, baselines.
    pub card: Option<&'a str>,
}

#[derive(Clone)]
struct Kind {
    build: Build,
    summary: &'static str,
    exact: Option<ExactEvaluator>,
    card: Option<&'static str>,
    /// True if its environments have ids of their own, unless a definition gives one.
    names_itself: bool,
}

impl Registry {
    /// The environments that come with Palestra.
    pub fn builtin() -> Self {
        let mut registry = Self::default();
        for builtin in BUILTINS {
            let kind = Kind {
                build: (builtin.build)(),
                summary: builtin.summary,
                exact: builtin.exact,
                card: Some(builtin.card),
                names_itself: builtin.definitions.is_empty(),
            };
            registry.kinds.insert(builtin.kind.to_string(), kind);
            for text in builtin.definitions {
                let definition = Definition::from_toml(builtin.kind, text).expect("a built-in definition parses");
                let name = definition.id.clone().expect("a built-in definition has an id");
                registry.definitions.insert(name, definition);
            }
        }
        for builtin in BUILTIN_REWARDS {
            registry.rewards.insert(builtin.kind.to_string(), Arc::new(builtin.build));
        }
        registry
    }

    /// Adds a kind, and an environment of the same name with the kind's default options.
    pub fn with<F>(mut self, name: &str, build: F) -> Self
    where
        F: Fn(&Options) -> Result<Box<dyn Env>> + Send + Sync + 'static,
    {
        let kind = Kind { build: Arc::new(build), summary: "", exact: None, card: None, names_itself: false };
        self.kinds.insert(name.to_string(), kind);
        let definition = Definition { kind: Some(name.to_string()), ..Definition::named(name) };
        self.definitions.insert(name.to_string(), definition);
        self
    }

    /// Adds a kind of reward.
    pub fn with_reward<F>(mut self, kind: &str, build: F) -> Self
    where
        F: Fn(&Options) -> Result<Box<dyn Reward>> + Send + Sync + 'static,
    {
        self.rewards.insert(kind.to_string(), Arc::new(build));
        self
    }

    /// Builds rewards from their definitions.
    ///
    /// # Errors
    /// An unknown kind (the message has the nearest ones), options that the kind refuses, or two rewards of one name.
    pub fn rewards<'a>(&self, definitions: impl IntoIterator<Item = &'a RewardDefinition>) -> Result<Rewards> {
        let built = definitions.into_iter().map(|definition| {
            let build = self.rewards.get(&definition.kind).ok_or_else(|| {
                definition.options.blame("kind", unknown("kind of reward", &definition.kind, self.rewards.keys()))
            })?;
            Ok((definition.clone(), build(&definition.options)?))
        });
        Rewards::new(built.collect::<Result<Vec<_>>>()?)
    }

    /// Every name with its description, in alphabetical order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.definitions.iter().filter_map(|(name, definition)| {
            let (kind, facts) = self.kinds.get_key_value(definition.kind.as_deref()?)?;
            Some(Entry { name, kind, summary: facts.summary, card: facts.card })
        })
    }

    /// Description of one name, with or without its version.
    pub fn entry(&self, name: &str) -> Option<Entry<'_>> {
        let name = split_version(name).0;
        self.entries().find(|entry| entry.name == name)
    }

    /// Description of a kind, also of one without named definitions; its name is the kind.
    pub fn kind(&self, kind: &str) -> Option<Entry<'_>> {
        let (name, facts) = self.kinds.get_key_value(kind)?;
        Some(Entry { name, kind: name, summary: facts.summary, card: facts.card })
    }

    /// Looks up the definition of a name, with or without its version, or reads it from the path of a TOML file.
    ///
    /// # Errors
    /// No environment of that name (the message has the nearest ones), or a file that is missing or wrong.
    pub fn definition(&self, name_or_file: &str) -> Result<Definition> {
        if name_or_file.ends_with(".toml") {
            return self.resolve(&Definition::from_file(Path::new(name_or_file))?);
        }
        self.resolve(&Definition::named(name_or_file))
    }

    /// Returns the definition with its id and kind, merged over the registered one if it only refers to it.
    pub fn resolve(&self, definition: &Definition) -> Result<Definition> {
        if let Some(file) = &definition.file {
            if let Some(key) =
                [("id", &definition.id), ("kind", &definition.kind)].iter().find(|(_, value)| value.is_some())
            {
                let reason = format!("{} says it; remove `{}`", file.display(), key.0);
                return Err(definition.blame(key.0, Error::Definition(reason)));
            }
            return Ok(definition.over(&self.resolve(&Definition::from_file(file)?)?));
        }
        let (id, kind) = match (&definition.id, &definition.kind) {
            (id, Some(kind)) => (id.as_ref().unwrap_or(kind), kind),
            (Some(id), None) => {
                let base = self.find(id).map_err(|error| definition.blame("id", error))?;
                return Ok(definition.over(base));
            }
            (None, None) => {
                return Err(Error::Definition("an environment needs an `id`, a `kind` or a `file`".to_string()));
            }
        };
        if !self.kinds.contains_key(kind) {
            return Err(definition.blame("kind", unknown("kind of environment", kind, self.kinds.keys())));
        }
        Ok(Definition { id: Some(id.clone()), kind: Some(kind.clone()), ..definition.clone() })
    }

    /// Builds an environment from its definition.
    ///
    /// # Errors
    /// An unknown name or kind, or options that the kind refuses.
    pub fn build(&self, definition: &Definition) -> Result<Box<dyn Env>> {
        let definition = self.resolve(definition)?;
        let (Some(id), Some(kind)) = (&definition.id, &definition.kind) else { unreachable!("resolved") };
        let env = (self.kinds[kind].build)(&definition.options)?;
        let env = wrappers::wrap(env, &definition.wrappers)?;
        if id == kind && self.kinds[kind].names_itself {
            return Ok(env);
        }
        let version = split_version(&env.spec().id).1.unwrap_or("-v1");
        let id = if split_version(id).1.is_some() { id.clone() } else { format!("{id}{version}") };
        Ok(if env.spec().id == id { env } else { Box::new(wrappers::Named::new(env, id)) })
    }

    /// Exact value of a policy in an environment; `None` if the game is too large for it, or if wrappers change it.
    ///
    /// # Errors
    /// An unknown name or kind, or any error of the policy.
    pub fn exact_value(&self, definition: &Definition, ask: &mut Ask) -> Result<Option<ExactValue>> {
        self.exact_discounted_value(definition, 1.0, ask)
    }

    /// Variant of [`exact_value`](Self::exact_value) that counts the reward of turn t (from 0) `gamma^t` times.
    ///
    /// # Errors
    /// See [`exact_value`](Self::exact_value).
    pub fn exact_discounted_value(
        &self,
        definition: &Definition,
        gamma: f64,
        ask: &mut Ask,
    ) -> Result<Option<ExactValue>> {
        let definition = self.resolve(definition)?;
        let exact = definition.kind.as_ref().and_then(|kind| self.kinds[kind].exact);
        match exact.filter(|_| definition.wrappers == Wrappers::default()) {
            Some(exact) => exact(&definition.options, gamma, ask).map(Some),
            None => Ok(None),
        }
    }

    /// Builds the environment of a name or of a TOML file.
    ///
    /// # Errors
    /// See [`definition`](Self::definition) and [`build`](Self::build).
    pub fn make(&self, name_or_file: &str) -> Result<Box<dyn Env>> {
        self.build(&self.definition(name_or_file)?)
    }

    fn find(&self, id: &str) -> Result<&Definition> {
        let (name, version) = split_version(id);
        let definition = self.definitions.get(name);
        let definition = definition.ok_or_else(|| match GYMNASIUM.iter().find(|(theirs, _)| *theirs == name) {
            Some((_, ours)) => Error::Unknown(format!("no environment `{id}`: that is `{ours}` here")),
            None => unknown("environment", name, self.definitions.keys()),
        })?;
        let Some(version) = version else { return Ok(definition) };
        // Results of an old version are not comparable with the current one, so an old version is refused.
        let present = self.build(definition)?.spec().id.clone();
        if split_version(&present).1 != Some(version) {
            return Err(Error::Unknown(format!("no environment `{id}`: the present version is `{present}`")));
        }
        Ok(definition)
    }
}

/// Environments of Gymnasium by the names that they have here.
const GYMNASIUM: [(&str, &str); 3] =
    [("FrozenLake", "frozen-lake-4x4"), ("FrozenLake8x8", "frozen-lake-8x8"), ("CliffWalking", "cliff-walking")];

/// Splits an id into its name and its version, such as `-v1`, if it has one.
pub(crate) fn split_version(id: &str) -> (&str, Option<&str>) {
    match id.rfind("-v") {
        Some(at) if id.len() > at + 2 && id[at + 2..].bytes().all(|byte| byte.is_ascii_digit()) => {
            (&id[..at], Some(&id[at..]))
        }
        _ => (id, None),
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String> + Clone) -> Error {
    let near = nearest(name, known.clone().map(String::as_str));
    let list = |names: Vec<&str>| names.join("`, `");
    Error::Unknown(if near.is_empty() {
        format!("no {what} `{name}`; there are `{}`", list(known.map(String::as_str).collect()))
    } else {
        format!("no {what} `{name}`; did you mean `{}`?", list(near))
    })
}
