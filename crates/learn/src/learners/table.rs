//! The table of learners. Adding one adds one line.

use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _};
use serde::ser::{Error as _, SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::config::{AnyConfig, Data};
use super::dpo::DpoConfig;
use super::group::GroupConfig;
use super::kto::KtoConfig;
use super::offline::{
    AwrConfig, BehaviourCloningConfig, CqlConfig, DecisionTransformerConfig, FilteredConfig, IlqlConfig, IqlConfig,
    MonteCarloConfig,
};
use super::ppo::PpoConfig;
use super::reward_model::RewardModelConfig;
use super::supervised::SupervisedConfig;

/// A kind of learner.
pub struct LearnerKind {
    /// Name of its section in a run file.
    pub name: &'static str,
    /// Description, in one line.
    pub summary: &'static str,
    /// Data that it learns from.
    pub data: Data,
    /// Returns its default configuration.
    pub default: fn() -> AnyConfig,
}

/// Learner of a run: its name and its hyperparameters.
#[derive(Debug, Clone)]
pub struct NamedLearner {
    /// Name of its section in a run file.
    pub name: &'static str,
    /// Its hyperparameters.
    pub config: AnyConfig,
}

/// Defines the table, and how the configuration of each line is read and written: both are generic in the format.
macro_rules! learners {
    ($($name:literal, $data:ident($config:ty), $summary:literal;)*) => {
        /// Every learner. The first of play and the first of text are the defaults of runs that name no learner.
        pub const LEARNERS: &[LearnerKind] = &[$(LearnerKind {
            name: $name,
            summary: $summary,
            data: Data::$data,
            default: || AnyConfig::$data(Arc::new(<$config>::default())),
        }),*];

        /// Reads the configuration of a learner of this kind.
        impl<'de> DeserializeSeed<'de> for &LearnerKind {
            type Value = NamedLearner;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<NamedLearner, D::Error> {
                let config = match self.name {
                    $($name => AnyConfig::$data(Arc::new(<$config>::deserialize(deserializer)?)),)*
                    name => return Err(D::Error::custom(format!("no learner is named {name}"))),
                };
                Ok(NamedLearner { name: self.name, config })
            }
        }

        /// Writes a map of one entry, the learner's section.
        impl Serialize for NamedLearner {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut section = serializer.serialize_map(Some(1))?;
                $(if let Some(config) = self.config.downcast_ref::<$config>() {
                    section.serialize_entry(self.name, config)?;
                    return section.end();
                })*
                Err(S::Error::custom(format!("no learner is named {}", self.name)))
            }
        }
    };
}

learners! {
    "ppo", Play(PpoConfig), "proximal policy optimisation of its own rollouts";
    "grpo", Play(GroupConfig), "completions of a prompt compared with each other: GRPO, Dr. GRPO, RLOO, DAPO's clipping";
    "bc", Log(BehaviourCloningConfig), "behaviour cloning of a log";
    "filtered_bc", Log(FilteredConfig), "behaviour cloning of the best episodes of a log";
    "awr", Log(AwrConfig), "advantage-weighted regression: behaviour cloning, weighted by the outcome";
    "mc", Log(MonteCarloConfig), "Monte Carlo values: the returns of a log, by which actions are chosen";
    "cql", Log(CqlConfig), "conservative Q-learning";
    "iql", Log(IqlConfig), "implicit Q-learning";
    "ilql", Log(IlqlConfig), "implicit language Q-learning";
    "decision_transformer", Log(DecisionTransformerConfig), "behaviour cloning conditioned on the return that followed";
    "supervised", Text(SupervisedConfig), "maximum likelihood of text: pretraining and fine-tuning";
    "reward_model", Preferences(RewardModelConfig), "scores that agree with preferences";
    "dpo", Preferences(DpoConfig), "direct preference optimisation: the better answers of pairs";
    "kto", Preferences(KtoConfig), "answers that are labelled good or bad";
}

impl LearnerKind {
    /// Learner of a name; `None` if there is none.
    pub fn find(name: &str) -> Option<&'static Self> {
        LEARNERS.iter().find(|kind| kind.name == name)
    }

    /// Learner of this kind with its default configuration.
    pub fn with_defaults(&self) -> NamedLearner {
        NamedLearner { name: self.name, config: (self.default)() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learners::dpo::PairLoss;

    #[test]
    fn every_learner_reads_and_writes_its_own_section() {
        for kind in LEARNERS {
            let learner = kind.with_defaults();
            assert_eq!(learner.config.data(), kind.data, "{}", kind.name);
            learner.config.shared().check().unwrap();
            let written = toml::to_string(&learner).unwrap();
            let table: toml::Table = toml::from_str(&written).unwrap();
            let section = &table[kind.name];
            let read = kind.deserialize(section.clone()).unwrap();
            assert_eq!((read.name, toml::to_string(&read).unwrap()), (kind.name, written));
            let unknown: toml::Value = toml::Table::from_iter([("no_such_key".to_string(), 1.into())]).into();
            assert!(kind.deserialize(unknown).unwrap_err().to_string().contains("unknown field"), "{}", kind.name);
        }
        let names: std::collections::BTreeSet<_> = LEARNERS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), LEARNERS.len(), "a name stands for two learners");
    }

    #[test]
    fn a_section_sets_what_it_names() {
        let section: toml::Table = toml::from_str("beta = 0.2\nloss = 'ipo'").unwrap();
        let dpo = LearnerKind::find("dpo").unwrap().deserialize(section).unwrap();
        let config = dpo.config.downcast_ref::<DpoConfig>().unwrap();
        assert_eq!(*config, DpoConfig { beta: 0.2, loss: PairLoss::Ipo, ..DpoConfig::default() });
        assert!(dpo.config.downcast_ref::<KtoConfig>().is_none() && LearnerKind::find("dqn").is_none());
    }
}
