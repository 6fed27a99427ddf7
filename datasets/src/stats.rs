//! Statistics of a log: sizes, returns, ends, actions, and coverage of the environment.
//!
//! One pass over the episodes. Memory does not grow with the rows: 16 bytes an episode for the distribution of returns
//! and lengths, and hashes of observations and actions up to a limit. This module only counts; `check` finds problems.

mod summary;
mod tally;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::log::{Located, Log, bytes_of};
use crate::{End, Episode};

pub use summary::{Histogram, Summary};
use tally::Counter;
pub use tally::{Distinct, Named, Share, Tally};
pub(crate) use tally::{Seen, hash_of};

/// Options of `stats`.
#[derive(Debug, Clone)]
pub struct StatsOptions {
    /// Number of the most frequent actions, policies, ... that are listed by name.
    pub top: usize,
    /// Maximum number of distinct observations, pairs of observation and action, and action texts. Memory is about 20
    /// bytes for each observation and pair, and 100 bytes for each action.
    pub max_distinct: usize,
}

impl Default for StatsOptions {
    fn default() -> Self {
        Self { top: 10, max_distinct: 1_000_000 }
    }
}

/// Statistics of a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Number of files.
    pub files: usize,
    /// Number of truncated files, whose writer was killed or is still writing.
    pub cut_files: usize,
    /// Number of row groups.
    pub row_groups: usize,
    /// Rows (turns) of the episodes that were read.
    pub rows: u64,
    /// Episodes that were read.
    pub episodes: u64,
    /// Files, row groups and episodes that were skipped because they cannot be read.
    pub skipped: u64,
    /// Bytes of the files.
    pub file_bytes: u64,
    /// Uncompressed bytes of text and ids in them.
    pub text_bytes: u64,
    /// The columns of the files, with the number of files that have each.
    pub columns: BTreeMap<&'static str, usize>,
    /// Episode returns (sums of rewards).
    pub returns: Option<Summary>,
    /// Episode lengths in turns.
    pub lengths: Option<Summary>,
    /// The rewards of the turns.
    pub rewards: Option<Rewards>,
    /// Kinds of ends of the episodes.
    pub ends: Ends,
    /// Turns whose action the environment could not parse.
    pub invalid_actions: Share,
    /// Turns with log-probabilities.
    pub log_probs: Share,
    /// Turns with the token ids of their action.
    pub action_ids: Share,
    /// The texts of the actions.
    pub actions: Tally,
    /// Coverage of the environment.
    pub coverage: Coverage,
    /// Episodes of each environment.
    pub envs: Tally,
    /// Episodes of each policy.
    pub policies: Tally,
    /// Episodes of each split.
    pub splits: Tally,
}

/// The rewards of turns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rewards {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub std: f64,
    /// The smallest.
    pub min: f32,
    /// The largest.
    pub max: f32,
    /// The most frequent.
    pub values: Tally,
}

/// Counts of episode ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// Episodes that ended by the environment's rules.
    pub terminated: u64,
    /// Episodes that ended by a limit.
    pub truncated: u64,
    /// Truncated episodes without a final observation: nothing can be bootstrapped from them.
    pub truncated_without_final_observation: u64,
    /// Episodes without an end: the recording was cut short.
    pub cut: u64,
    /// Reasons that the log gives for the ends.
    pub reasons: Tally,
}

/// Coverage of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Coverage {
    /// Distinct observations, per environment.
    pub observations: Distinct,
    /// Distinct pairs of an observation and its action.
    pub pairs: Distinct,
    /// Share of legal actions that were tried, over all distinct observations that list them. White space around an
    /// action is ignored.
    pub legal_actions_tried: Option<Share>,
}

/// Reads a log, opened with all columns, once and returns its statistics. An episode that cannot be read is an error,
/// unless the log was opened with `skip_bad`.
pub fn stats(log: &Log, options: &StatsOptions) -> Result<Stats> {
    let mut pass = Pass::new(options.max_distinct);
    for located in log.episodes() {
        let Located { episode, .. } = located?;
        pass.add(&episode);
    }
    pass.finish(log, options.top)
}

struct Pass {
    rows: u64,
    text_bytes: u64,
    returns: Vec<f64>,
    lengths: Vec<f64>,
    rewards: RewardPass,
    terminated: u64,
    truncated: u64,
    without_final_observation: u64,
    cut: u64,
    reasons: Counter,
    invalid_actions: u64,
    log_probs: u64,
    action_ids: u64,
    actions: Counter,
    observations: Seen,
    pairs: Seen,
    legal_states: Seen,
    legal_pairs: Seen,
    legal_actions: u64,
    envs: Counter,
    policies: Counter,
    splits: Counter,
}

impl Pass {
    fn new(most: usize) -> Self {
        let counter = || Counter::new(most);
        let seen = || Seen::new(most);
        Self {
            rows: 0,
            text_bytes: 0,
            returns: Vec::new(),
            lengths: Vec::new(),
            rewards: RewardPass::new(most),
            terminated: 0,
            truncated: 0,
            without_final_observation: 0,
            cut: 0,
            reasons: counter(),
            invalid_actions: 0,
            log_probs: 0,
            action_ids: 0,
            actions: counter(),
            observations: seen(),
            pairs: seen(),
            legal_states: seen(),
            // The number is bounded by the legal actions of the counted states.
            legal_pairs: Seen::new(usize::MAX),
            legal_actions: 0,
            envs: counter(),
            policies: counter(),
            splits: counter(),
        }
    }

    fn add(&mut self, episode: &Episode) {
        self.rows += episode.turns.len() as u64;
        self.text_bytes += bytes_of(episode) as u64;
        self.returns.push(episode.total_reward());
        self.lengths.push(episode.turns.len() as f64);
        match episode.end {
            Some(End::Terminated) => self.terminated += 1,
            Some(End::Truncated) => {
                self.truncated += 1;
                self.without_final_observation += u64::from(episode.final_observation.is_none());
            }
            None => self.cut += 1,
        }
        let named = |name: &str| if name.is_empty() { "(none)".to_string() } else { name.to_string() };
        self.reasons.add(&named(episode.end_reason.as_deref().unwrap_or_default()));
        self.envs.add(&named(&episode.env_id));
        self.policies.add(&named(&episode.policy_id));
        self.splits.add(&named(episode.split.as_deref().unwrap_or_default()));
        for turn in &episode.turns {
            self.rewards.add(turn.reward);
            self.invalid_actions += u64::from(turn.invalid_action);
            self.log_probs += u64::from(turn.log_probs.is_some());
            self.action_ids += u64::from(turn.action_ids.is_some());
            self.actions.add(&turn.action);
            let state = hash_of((&episode.env_id, &turn.observation));
            self.observations.is_new(state);
            self.pairs.is_new(hash_of((state, &turn.action)));
            if let Some(legal) = &turn.legal_actions {
                self.add_legal(state, legal, turn.action.trim());
            }
        }
    }

    /// Counts the legal actions of a state when it first occurs, and an action in it when it is first tried.
    fn add_legal(&mut self, state: u64, legal: &[String], action: &str) {
        if self.legal_states.is_new(state) {
            self.legal_actions += legal.len() as u64;
        }
        if self.legal_states.contains(state) && legal.iter().any(|legal| legal.trim() == action) {
            self.legal_pairs.is_new(hash_of((state, action)));
        }
    }

    fn finish(self, log: &Log, top: usize) -> Result<Stats> {
        let infos: Vec<_> = (0..log.files().len()).map(|file| log.info(file)).collect();
        let mut columns = BTreeMap::new();
        for column in infos.iter().flat_map(|info| &info.columns) {
            *columns.entry(*column).or_default() += 1;
        }
        let mut file_bytes = 0;
        for path in log.files() {
            file_bytes += std::fs::metadata(path).map_err(Error::io(path, "look at it"))?.len();
        }
        let tried = self.legal_pairs.distinct().count;
        Ok(Stats {
            files: infos.len(),
            cut_files: infos.iter().filter(|info| info.is_cut).count(),
            row_groups: log.groups().len(),
            rows: self.rows,
            episodes: self.returns.len() as u64,
            skipped: log.skipped().total() as u64,
            file_bytes,
            text_bytes: self.text_bytes,
            columns,
            returns: Summary::of(self.returns),
            lengths: Summary::of(self.lengths),
            rewards: self.rewards.finish(top),
            ends: Ends {
                terminated: self.terminated,
                truncated: self.truncated,
                truncated_without_final_observation: self.without_final_observation,
                cut: self.cut,
                reasons: self.reasons.tally(top),
            },
            invalid_actions: Share::new(self.invalid_actions, self.rows),
            log_probs: Share::new(self.log_probs, self.rows),
            action_ids: Share::new(self.action_ids, self.rows),
            actions: self.actions.tally(top),
            coverage: Coverage {
                observations: self.observations.distinct(),
                pairs: self.pairs.distinct(),
                legal_actions_tried: (self.legal_actions > 0).then(|| Share::new(tried, self.legal_actions)),
            },
            envs: self.envs.tally(top),
            policies: self.policies.tally(top),
            splits: self.splits.tally(top),
        })
    }
}

/// Mean and standard deviation by Welford's updates, which do not lose digits to large sums.
struct RewardPass {
    mean: f64,
    squares: f64,
    count: f64,
    min: f32,
    max: f32,
    values: Counter,
}

impl RewardPass {
    fn new(most: usize) -> Self {
        let (min, max) = (f32::INFINITY, f32::NEG_INFINITY);
        Self { mean: 0.0, squares: 0.0, count: 0.0, min, max, values: Counter::new(most) }
    }

    fn add(&mut self, reward: f32) {
        self.count += 1.0;
        let above = f64::from(reward) - self.mean;
        self.mean += above / self.count;
        self.squares += above * (f64::from(reward) - self.mean);
        (self.min, self.max) = (self.min.min(reward), self.max.max(reward));
        // Adding 0 makes 0 and -0 equal.
        self.values.add_as(u64::from((reward + 0.0).to_bits()), || (reward + 0.0).to_string());
    }

    fn finish(self, top: usize) -> Option<Rewards> {
        (self.count > 0.0).then(|| Rewards {
            mean: self.mean,
            std: (self.squares / self.count).sqrt(),
            min: self.min,
            max: self.max,
            values: self.values.tally(top),
        })
    }
}
