//! Choice of the learner: the section of the run file that names it, and what the model needs for it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Result;
use palestra_learn::batch::TextRow;
use palestra_learn::learners::dpo::{Dpo, DpoConfig};
use palestra_learn::learners::group::GroupConfig;
use palestra_learn::learners::kto::{Kto, KtoConfig};
use palestra_learn::learners::offline::{
    Awr, AwrConfig, BehaviourCloning, BehaviourCloningConfig, Cql, CqlConfig, DecisionTransformer,
    DecisionTransformerConfig, FilteredConfig, Ilql, IlqlConfig, Iql, IqlConfig, MonteCarlo, MonteCarloConfig,
    OfflineLearner,
};
use palestra_learn::learners::ppo::PpoConfig;
use palestra_learn::learners::preference::Objective;
use palestra_learn::learners::reward_model::{RewardModel, RewardModelConfig};
use palestra_learn::learners::supervised::SupervisedConfig;
use palestra_learn::source::PreferenceKinds;
use palestra_model::{CriticShape, Decoding, Heads};

/// Learner of a run with its settings. In a run file, the section of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// `[ppo]`: learns from its own rollouts.
    Ppo(PpoConfig),
    /// `[grpo]`: learns from groups of completions of the same prompts.
    Grpo(GroupConfig),
    /// `[bc]`: behaviour cloning.
    Bc(BehaviourCloningConfig),
    /// `[filtered_bc]`: behaviour cloning of the best episodes.
    FilteredBc(FilteredConfig),
    /// `[awr]`: advantage-weighted regression.
    Awr(AwrConfig),
    /// `[mc]`: Monte Carlo values.
    Mc(MonteCarloConfig),
    /// `[cql]`: conservative Q-learning.
    Cql(CqlConfig),
    /// `[iql]`: implicit Q-learning.
    Iql(IqlConfig),
    /// `[ilql]`: implicit language Q-learning.
    Ilql(IlqlConfig),
    /// `[decision_transformer]`: behaviour cloning conditioned on a target return.
    DecisionTransformer(DecisionTransformerConfig),
    /// `[supervised]`: maximises the likelihood of text.
    Supervised(SupervisedConfig),
    /// `[reward_model]`: learns scores that agree with preferences.
    RewardModel(RewardModelConfig),
    /// `[dpo]`: direct preference optimisation and its relatives.
    Dpo(DpoConfig),
    /// `[kto]`: learns from answers that are labelled good or bad.
    Kto(KtoConfig),
}

impl Algorithm {
    /// The section's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ppo(_) => "ppo",
            Self::Grpo(_) => "grpo",
            Self::Bc(_) => "bc",
            Self::FilteredBc(_) => "filtered_bc",
            Self::Awr(_) => "awr",
            Self::Mc(_) => "mc",
            Self::Cql(_) => "cql",
            Self::Iql(_) => "iql",
            Self::Ilql(_) => "ilql",
            Self::DecisionTransformer(_) => "decision_transformer",
            Self::Supervised(_) => "supervised",
            Self::RewardModel(_) => "reward_model",
            Self::Dpo(_) => "dpo",
            Self::Kto(_) => "kto",
        }
    }

    /// Checks the settings of the learner.
    ///
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        let checked = match self {
            Self::Ppo(config) => config.check(),
            Self::Grpo(config) => config.check(),
            Self::Bc(_) | Self::Supervised(_) => Ok(()),
            Self::FilteredBc(config) => config.check(),
            Self::Awr(config) => config.check(),
            Self::Mc(config) => config.check(),
            Self::Cql(config) => config.check(),
            Self::Iql(config) => config.check(),
            Self::Ilql(config) => config.check(),
            Self::DecisionTransformer(config) => config.check(),
            Self::RewardModel(config) => config.check(),
            Self::Dpo(config) => config.check(),
            Self::Kto(config) => config.check(),
        };
        Ok(checked?)
    }

    /// Heads that the learner's model has in addition to the language model.
    pub fn heads(&self) -> Heads {
        let critic = |shape: CriticShape| Heads { value: false, critic: Some(shape) };
        match self {
            Self::Ppo(_) | Self::RewardModel(_) => Heads { value: true, critic: None },
            Self::Bc(_) | Self::FilteredBc(_) | Self::DecisionTransformer(_) | Self::Supervised(_) => Heads::default(),
            Self::Grpo(_) | Self::Dpo(_) | Self::Kto(_) => Heads::default(),
            Self::Awr(config) => critic(config.critic()),
            Self::Mc(config) => critic(config.critic()),
            Self::Cql(config) => critic(config.critic()),
            Self::Iql(config) => critic(config.critic()),
            Self::Ilql(config) => critic(config.critic()),
        }
    }

    /// Decoding of the trained policy: the quantity that its tokens are chosen by.
    pub fn decoding(&self) -> Decoding {
        match self {
            Self::Mc(config) => Decoding::Advantage { beta: config.beta },
            Self::Ilql(config) => Decoding::Advantage { beta: config.beta },
            Self::Cql(config) => Decoding::Values { beta: config.beta },
            _ => Decoding::Model,
        }
    }

    /// True if the learner collects its own rollouts.
    pub fn plays(&self) -> bool {
        matches!(self, Self::Ppo(_) | Self::Grpo(_))
    }

    /// True if the learner can train adapters on a frozen model.
    pub fn trains_adapters(&self) -> bool {
        self.plays() || matches!(self, Self::Supervised(_)) || self.kinds().is_some()
    }

    /// Weight of the KL divergence from the policy that the run started from.
    pub fn kl_coefficient(&self) -> f64 {
        match self {
            Self::Ppo(config) => config.kl_coefficient,
            Self::Grpo(config) => config.kl_coefficient.into(),
            _ => 0.0,
        }
    }

    /// True if the learner bootstraps: its batches need the states that chunks of episodes lead to.
    pub fn bootstraps(&self) -> bool {
        matches!(self, Self::Cql(_) | Self::Iql(_) | Self::Ilql(_))
    }

    /// Kinds of preferences that the learner uses; `None` for a learner of other data.
    pub fn kinds(&self) -> Option<PreferenceKinds> {
        match self {
            Self::RewardModel(_) => Some(PreferenceKinds::All),
            Self::Dpo(_) => Some(PreferenceKinds::Pairs),
            Self::Kto(_) => Some(PreferenceKinds::Labels),
            _ => None,
        }
    }

    /// True if the learner needs the log-probabilities of labelled answers under the policy that the run starts from.
    pub fn has_reference(&self) -> bool {
        match self {
            Self::Dpo(config) => config.has_reference(),
            other => matches!(other, Self::Kto(_)),
        }
    }

    /// Loss of a learner of preferences. `known_answers` are the answers that a reward model's scores are normalised
    /// by.
    pub fn objective(&self, known_answers: Vec<TextRow>) -> Option<Arc<dyn Objective>> {
        match self {
            Self::RewardModel(config) => Some(Arc::new(RewardModel { config: config.clone(), known_answers })),
            Self::Dpo(config) => Some(Arc::new(Dpo(config.clone()))),
            Self::Kto(config) => Some(Arc::new(Kto(config.clone()))),
            _ => None,
        }
    }

    /// Learner of logged experience; `None` for one that learns from its own rollouts, from text or from preferences.
    pub fn offline_learner(&self) -> Option<OfflineLearner> {
        Some(match self {
            Self::Ppo(_) | Self::Grpo(_) | Self::Supervised(_) => return None,
            Self::RewardModel(_) | Self::Dpo(_) | Self::Kto(_) => return None,
            Self::Bc(_) | Self::FilteredBc(_) => Box::new(BehaviourCloning),
            Self::Awr(config) => Box::new(Awr(config.clone())),
            Self::Mc(config) => Box::new(MonteCarlo(config.clone())),
            Self::Cql(config) => Box::new(Cql(config.clone())),
            Self::Iql(config) => Box::new(Iql(config.clone())),
            Self::Ilql(config) => Box::new(Ilql(config.clone())),
            Self::DecisionTransformer(_) => Box::new(DecisionTransformer),
        })
    }
}
