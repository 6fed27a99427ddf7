//! Learner of a run file: read from the section of its name, and checked against the data of the run.

use std::fmt;

use palestra_learn::learners::{Data, LEARNERS, LearnerKind, NamedLearner};
use serde::de::value::{Error as UnknownKey, MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::RunFile;
use crate::{Error, Result};

/// A run file whose learner is read: the sections of learners are read through their table, and all others as
/// [`RunFile`] derives it.
pub(super) struct WithLearner(pub RunFile);

impl<'de> Deserialize<'de> for WithLearner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Sections)
    }
}

struct Sections;

impl<'de> Visitor<'de> for Sections {
    type Value = WithLearner;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a run file")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WithLearner, A::Error> {
        let mut learners = Vec::new();
        let run = RunFile::deserialize(MapAccessDeserializer::new(OtherSections { map, learners: &mut learners }))?;
        let learner = choose(learners, &run).map_err(A::Error::custom)?;
        Ok(WithLearner(RunFile { learner, ..run }))
    }
}

/// Sections of a run file without those of learners, which are collected as they are passed.
struct OtherSections<'a, A> {
    map: A,
    learners: &'a mut Vec<NamedLearner>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OtherSections<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, mut seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.map.next_key_seed(KeySeed(seed))? {
                None => return Ok(None),
                Some(Key::Other(key)) => return Ok(Some(key)),
                Some(Key::Learner(kind, unused)) => {
                    self.learners.push(self.map.next_value_seed(kind)?);
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Key of a run file: a learner's name, with the seed that it leaves unused, or another.
enum Key<K, T> {
    Learner(&'static LearnerKind, K),
    Other(T),
}

struct KeySeed<K>(K);

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<K> {
    type Value = Key<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let name = String::deserialize(deserializer)?;
        if let Some(kind) = LearnerKind::find(&name) {
            return Ok(Key::Learner(kind, self.0));
        }
        // serde lists the fields of the type; the learners' names belong to that list.
        let unknown = |error: UnknownKey| {
            let learners = LEARNERS.iter().map(|kind| format!(", `{}`", kind.name));
            D::Error::custom(format!("{error}{}", learners.collect::<String>()))
        };
        self.0.deserialize(StrDeserializer::<UnknownKey>::new(&name)).map(Key::Other).map_err(unknown)
    }
}

/// Learner of a run whose file has these learners' sections: the only one, or the default for the run's data.
fn choose(mut named: Vec<NamedLearner>, run: &RunFile) -> Result<NamedLearner, String> {
    // In the order of the table, whatever the order of the file.
    named.sort_by_key(|learner| LEARNERS.iter().position(|kind| kind.name == learner.name));
    if let [one, other, ..] = &named[..] {
        return Err(format!("[{}] and [{}]: a run has one learner; remove one of them", one.name, other.name));
    }
    if let Some(learner) = named.pop() {
        return Ok(learner);
    }
    let default = match run {
        RunFile { preferences: Some(_), .. } => Err(Data::Preferences),
        RunFile { text: Some(_), .. } => Ok(Data::Text),
        RunFile { data: Some(_), .. } => Err(Data::Log),
        _ => Ok(Data::Play),
    };
    let learners = |data: Data| LEARNERS.iter().filter(move |kind| kind.data == data);
    let unnamed = |data: Data| {
        let names: Vec<String> = learners(data).map(|kind| format!("[{}]", kind.name)).collect();
        let names = names.join(", ");
        let names = names.rsplit_once(", ").map_or(names.clone(), |(most, last)| format!("{most} or {last}"));
        format!("[{}]: no learner is named; add a section {names}, which may be empty", section_of(data))
    };
    default.and_then(|data| learners(data).next().map(LearnerKind::with_defaults).ok_or(data)).map_err(unnamed)
}

/// Section of a run file that names a kind of data.
fn section_of(data: Data) -> &'static str {
    match data {
        Data::Play => "env",
        Data::Log => "data",
        Data::Text => "text",
        Data::Preferences => "preferences",
    }
}

impl RunFile {
    /// Refuses a learner without the data that it learns from, or with other data.
    pub(super) fn check_data(&self) -> Result<()> {
        let (name, data) = (self.learner.name, self.learner.config.data());
        let own = section_of(data);
        let (learns_from, needs) = match data {
            Data::Play => ("its own play", "learns by playing; to learn from a log, name it in [data]"),
            Data::Log => ("a log", "learns from a log"),
            Data::Text => ("text", "learns from text; name its files in [text]"),
            Data::Preferences => ("preferences", "learns from files of preferences"),
        };
        let sections = [
            ("env", self.env.is_some()),
            ("data", self.data.is_some()),
            ("text", self.text.is_some()),
            ("preferences", self.preferences.is_some()),
        ];
        let named: Vec<&str> =
            sections.into_iter().filter(|(_, is_named)| *is_named).map(|(section, _)| section).collect();
        for other in &named {
            // The policy that a log taught is evaluated in [env].
            let is_used = *other == own || (data == Data::Log && *other == "env");
            if !is_used {
                return Err(Error::Config(format!(
                    "[{other}]: [{name}] learns from {learns_from} alone; remove [{other}] or [{name}]"
                )));
            }
        }
        if !named.contains(&own) {
            return Err(Error::Config(format!("missing key `{own}`: [{name}] {needs}")));
        }
        if data == Data::Preferences && self.start_from.is_none() && self.tokenizer().is_none() {
            return Err(Error::Config(
                "start_from: name the directory of a model; or for one from nothing, a tokenizer.json in \
                 preferences.tokenizer"
                    .into(),
            ));
        }
        Ok(())
    }
}
