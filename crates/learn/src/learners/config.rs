//! Configurations of learners: the properties of a learner that a run needs before it builds it, and how it is built.
//!
//! A configuration implements [`LearnerConfig`] and the trait of the data that it learns from: [`LearnsFromPlay`],
//! [`LearnsFromLog`], [`LearnsFromText`] or [`LearnsFromPreferences`].

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::offline::OfflineLearner;
use super::preference::Objective;
use super::{Learner, OnPolicy};
use crate::Result;
use crate::batch::{TextBatch, TextRow};
use palestra_model::{Decoding, Heads, Policy};

/// Hyperparameters of a learner, in a run file the section of its name.
pub trait LearnerConfig: Any + Debug + Send + Sync {
    /// Checks the hyperparameters.
    ///
    /// # Errors
    /// Names the field, its value and what would be right.
    fn check(&self) -> Result<()>;

    /// Heads that the learner's model has in addition to the language model.
    fn heads(&self) -> Heads {
        Heads::default()
    }

    /// Decoding of the trained policy: the quantity that its tokens are chosen by.
    fn decoding(&self) -> Decoding {
        Decoding::Model
    }
}

/// Configuration of a learner that learns from rollouts of its own policy.
pub trait LearnsFromPlay: LearnerConfig {
    /// Weight of the KL divergence from the policy that the run started from.
    fn kl_coefficient(&self) -> f64;

    /// Minimum number of episodes that begin in the same state.
    fn min_group(&self) -> usize {
        1
    }

    /// Builds the learner, for actions of at most `max_new_tokens` tokens that are sampled at a temperature.
    ///
    /// # Errors
    /// A hyperparameter out of its range.
    fn build(&self, temperature: f32, max_new_tokens: usize) -> Result<Box<dyn OnPolicy>>;
}

/// Configuration of a learner that learns from logged episodes.
pub trait LearnsFromLog: LearnerConfig {
    /// True if the learner bootstraps: its batches need the states that chunks of episodes lead to.
    fn bootstraps(&self) -> bool {
        false
    }

    /// Use of the returns of logged episodes.
    fn returns(&self) -> Returns {
        Returns::Unused
    }

    /// Use of episodes that did not terminate, if the run asks for this one: a learner without values bootstraps nothing,
    /// and one that reads no returns needs no end.
    fn truncated(&self, wanted: TruncatedEpisodes) -> TruncatedEpisodes {
        match (self.returns(), wanted) {
            (Returns::Unused, _) => TruncatedEpisodes::Whole,
            (Returns::Whole, TruncatedEpisodes::Bootstrap) => TruncatedEpisodes::LeaveOut,
            (_, wanted) => wanted,
        }
    }

    /// Percentage of the episodes, those with the highest returns, that is learned from; `None` for all episodes.
    fn best_percent(&self) -> Option<f32> {
        None
    }

    /// Return to go that the policy reads before each observation; `None` if it reads none.
    fn return_to_go(&self) -> Option<ReturnToGo> {
        None
    }

    /// Configuration with the values that only the log gives; `None` if there are none to fill in.
    fn completed(&self, _best_return: f64) -> Option<Arc<dyn LearnsFromLog>> {
        None
    }

    /// Builds the learner.
    fn build(&self) -> OfflineLearner;
}

/// Use of the returns of logged episodes by a learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// Reads no returns.
    Unused,
    /// Targets of values, which can continue the return of a truncated episode.
    Bootstrapped,
    /// Compares or conditions on returns of whole episodes.
    Whole,
}

/// Use of logged episodes that did not terminate, by a learner that reads returns: the return of such an episode lacks the
/// rewards that would have followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruncatedEpisodes {
    /// The value of the final observation stands for the rewards that would have followed. An episode whose final
    /// observation is unknown is left out.
    Bootstrap,
    /// Left out.
    LeaveOut,
    /// The return counts as if the episode had terminated.
    Whole,
}

/// Return to go as a policy reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReturnToGo {
    /// Target return of an episode during rollouts.
    pub target: Option<f32>,
    /// Decimals with which returns are written.
    pub decimals: usize,
}

/// A learner of text.
pub type TextLearner = Box<dyn Learner<Model = Policy, Batch = TextBatch>>;

/// Configuration of a learner that learns from text.
pub trait LearnsFromText: LearnerConfig {
    /// Builds the learner.
    fn build(&self) -> TextLearner;
}

/// Configuration of a learner that learns from preferences.
pub trait LearnsFromPreferences: LearnerConfig {
    /// Kinds of preferences that the learner uses.
    fn kinds(&self) -> PreferenceKinds;

    /// True if the learner needs the log-probabilities of labelled answers under the policy that the run starts from.
    fn has_reference(&self) -> bool {
        false
    }

    /// Initialisation of the score head, of a learner whose model scores texts and writes none.
    fn score_head(&self) -> Option<HeadStart> {
        None
    }

    /// Builds the loss. `known_answers` are the held-out answers, by which a reward model's scores are normalised.
    fn objective(&self, known_answers: Vec<TextRow>) -> Arc<dyn Objective>;
}

/// Initialisation of a new score head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadStart {
    /// Zeros: every answer has the score 0, and the first loss is ln 2.
    Zero,
    /// N(0, 1 / sqrt(width + 1)) ([Stiennon et al. 2020](https://arxiv.org/abs/2009.01325), appendix B.1).
    Normal,
}

/// Kinds of preference data that a learner uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreferenceKinds {
    /// Every kind: pairs, ties, choices, labels, ratings.
    All,
    /// Pairs of a better and a worse answer; a choice becomes one pair of its best answer with each other answer.
    Pairs,
    /// Binary labels of answers, good or bad; a pair becomes one of each.
    Labels,
}

/// Data that a learner learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Rollouts of its own policy.
    Play,
    /// Logged episodes.
    Log,
    /// Text.
    Text,
    /// Preferences.
    Preferences,
}

/// Configuration of any learner, by the data that it learns from.
#[derive(Debug, Clone)]
pub enum AnyConfig {
    /// Learner by rollouts.
    Play(Arc<dyn LearnsFromPlay>),
    /// Learner of a log.
    Log(Arc<dyn LearnsFromLog>),
    /// Learner of text.
    Text(Arc<dyn LearnsFromText>),
    /// Learner of preferences.
    Preferences(Arc<dyn LearnsFromPreferences>),
}

impl AnyConfig {
    /// Part that all learners have.
    pub fn shared(&self) -> &dyn LearnerConfig {
        match self {
            Self::Play(config) => &**config,
            Self::Log(config) => &**config,
            Self::Text(config) => &**config,
            Self::Preferences(config) => &**config,
        }
    }

    /// Configuration of a known type; `None` if it is of another.
    pub fn downcast_ref<C: LearnerConfig>(&self) -> Option<&C> {
        (self.shared() as &dyn Any).downcast_ref()
    }

    /// Data that the learner learns from.
    pub fn data(&self) -> Data {
        match self {
            Self::Play(_) => Data::Play,
            Self::Log(_) => Data::Log,
            Self::Text(_) => Data::Text,
            Self::Preferences(_) => Data::Preferences,
        }
    }

    /// Weight of the KL divergence from the policy that the run started from; 0 for a learner that plays nothing.
    pub fn kl_coefficient(&self) -> f64 {
        if let Self::Play(config) = self { config.kl_coefficient() } else { 0.0 }
    }

    /// [`LearnsFromLog::return_to_go`] of a learner of a log.
    pub fn return_to_go(&self) -> Option<ReturnToGo> {
        if let Self::Log(config) = self { config.return_to_go() } else { None }
    }

    /// [`LearnsFromPreferences::score_head`] of a learner of preferences.
    pub fn score_head(&self) -> Option<HeadStart> {
        if let Self::Preferences(config) = self { config.score_head() } else { None }
    }
}

impl Data {
    /// True if a learner of this data can train adapters on a frozen model. Values learned from a log need all weights.
    pub fn trains_adapters(self) -> bool {
        self != Self::Log
    }
}
