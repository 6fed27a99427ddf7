//! A log that is being recorded, with the totals of its episodes so far.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use palestra_datasets::log::{Log, LogWriter, ReadOptions, WriteOptions};
use palestra_envs::Episode;
use palestra_envs::reward::{RewardSummary, Scores};

use super::{RecordOptions, RecordReport};
use crate::{Error, Result};

/// Log that is being written, with the totals of its episodes so far.
pub(super) struct Recording<'a> {
    pub options: &'a RecordOptions,
    file: &'a Path,
    /// Path of the log until it is complete.
    partial: PathBuf,
    /// Created with the first episode, so that an environment that cannot be played leaves no file.
    log: Option<LogWriter>,
    began: Instant,
    flushed: Instant,
    /// Origin of the episodes of a killed recording that goes on, and their numbers.
    resumed: Option<(Origin, BTreeSet<u64>)>,
    env_id: String,
    policy_id: String,
    policy_step: u64,
    episodes: u64,
    invalid: u64,
    mean: f64,
    /// Sum of squared differences from the mean return.
    squares: f64,
    rewards: BTreeMap<String, RewardSummary>,
    unscored: u64,
    dropped: BTreeMap<String, usize>,
    /// Rows of the episodes that were taken over.
    kept_rows: u64,
}

impl<'a> Recording<'a> {
    pub fn new(file: &'a Path, partial: PathBuf, options: &'a RecordOptions) -> Self {
        Self {
            options,
            file,
            partial,
            log: None,
            began: Instant::now(),
            flushed: Instant::now(),
            resumed: None,
            env_id: String::new(),
            policy_id: String::new(),
            policy_step: 0,
            episodes: 0,
            invalid: 0,
            mean: 0.0,
            squares: 0.0,
            rewards: BTreeMap::new(),
            unscored: 0,
            dropped: BTreeMap::new(),
            kept_rows: 0,
        }
    }

    /// Writes an episode, unless it lacks a reward: its return is then unknown.
    pub fn write(&mut self, episode: Episode, scores: &Scores) -> Result<()> {
        scores.iter().for_each(|(name, score)| self.rewards.entry(name.clone()).or_default().add(*score));
        if scores.values().any(Option::is_none) {
            self.unscored += 1;
            return Ok(());
        }
        let episode = Episode { split: self.options.split.clone(), ..episode };
        if let Some((origin, _)) = &self.resumed
            && *origin != Origin::of(&episode).0
        {
            self.log = None; // what was recorded stays as it is
            return Err(Error::Config(format!(
                "{}: its episodes are those of {}, and these are of {}; resume with the environment, policy, seed and split \
                 of the recording, or discard it with --overwrite",
                self.partial.display(),
                origin.name,
                Origin::of(&episode).0.name
            )));
        }
        let log = match &mut self.log {
            Some(log) => log,
            None => {
                if let Some(folder) = self.file.parent() {
                    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
                }
                if self.options.overwrite {
                    remove_file(&self.partial)?;
                }
                self.log.insert(LogWriter::create(&self.partial, WriteOptions::default())?)
            }
        };
        log.write(&episode)?;
        if self.options.flush_every.is_some_and(|every| self.flushed.elapsed() >= every) {
            log.flush()?;
            self.flushed = Instant::now();
        }
        self.add(episode);
        Ok(())
    }

    /// Counts episodes that the environment's program failed.
    pub fn drop_episodes(&mut self, kind: &str, count: usize) {
        *self.dropped.entry(kind.to_string()).or_default() += count;
    }

    /// Adds an episode of the log to the totals.
    fn add(&mut self, episode: Episode) {
        self.episodes += 1;
        self.invalid += episode.turns.iter().filter(|turn| turn.invalid_action).count() as u64;
        let off = episode.total_reward() - self.mean; // Welford's algorithm
        self.mean += off / self.episodes as f64;
        self.squares += off * (episode.total_reward() - self.mean);
        (self.env_id, self.policy_id) = (episode.env_id, episode.policy_id);
        self.policy_step = episode.policy_step;
    }

    /// Takes over the episodes of a killed recording, in a new file that replaces the damaged one. Without a killed
    /// recording it does nothing.
    ///
    /// # Errors
    /// A file that cannot be read or written, or that holds episodes of several recordings.
    pub fn resume(&mut self) -> Result<()> {
        if std::fs::metadata(&self.partial).map_or(true, |file| file.len() == 0) {
            return remove_file(&self.partial); // killed before its first byte
        }
        let old = Log::open(&[self.partial.display().to_string()], ReadOptions::default())?;
        let copy = self.partial.with_extension("resumed");
        remove_file(&copy)?;
        let mut log = LogWriter::create(&copy, WriteOptions::default())?;
        for located in old.episodes() {
            let episode = located?.episode;
            let (origin, number) = Origin::of(&episode);
            let (first, numbers) = self.resumed.get_or_insert_with(|| (origin.clone(), BTreeSet::new()));
            let is_new = number.is_some_and(|number| numbers.insert(number));
            if *first != origin || !is_new {
                let reason = format!("{}: {} is no episode of one recording", self.partial.display(), episode.id);
                return Err(Error::Config(format!("{reason}; discard it with --overwrite")));
            }
            log.write(&episode)?;
            self.kept_rows += episode.turns.len() as u64;
            self.add(episode);
        }
        log.flush()?;
        std::fs::rename(&copy, &self.partial).map_err(Error::io(&self.partial))?;
        self.log = Some(log);
        Ok(())
    }

    /// Number of episodes of a killed recording that were taken over.
    pub fn kept(&self) -> usize {
        self.resumed.as_ref().map_or(0, |(_, numbers)| numbers.len())
    }

    /// Numbers of the episodes that the log lacks.
    pub fn missing(&self) -> Vec<Range<u64>> {
        let kept = self.resumed.iter().flat_map(|(_, numbers)| numbers.iter().copied());
        let mut ranges = Vec::new();
        let mut next = 0;
        for number in kept.chain([self.options.episodes]).filter(|&number| number <= self.options.episodes) {
            if next < number {
                ranges.push(next..number);
            }
            next = number + 1;
        }
        ranges
    }

    /// Ends the log, and gives it its name.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(mut self) -> Result<RecordReport> {
        let log = self.log.take();
        let is_begun = log.is_some();
        let rows = log.map_or(Ok(0), LogWriter::finish)?;
        if is_begun {
            palestra_files::publish(&self.partial, self.file)?;
        }
        let bytes = std::fs::metadata(self.file).map_or(0, |file| file.len());
        let seconds = self.began.elapsed().as_secs_f64();
        let count = self.episodes as f64;
        Ok(RecordReport {
            file: self.file.to_path_buf(),
            env_id: self.env_id,
            policy_id: self.policy_id,
            policy_step: self.policy_step,
            episodes: self.episodes,
            rows,
            mean_return: self.mean,
            standard_error: (self.squares / (count - 1.0).max(1.0) / count.max(1.0)).sqrt(),
            invalid_action_rate: self.invalid as f64 / rows.max(1) as f64,
            rewards: self.rewards,
            unscored: self.unscored,
            dropped: self.dropped,
            bytes,
            seconds,
            turns_per_second: rows.saturating_sub(self.kept_rows) as f64 / seconds.max(1e-9),
        })
    }
}

/// Recording that an episode is of.
#[derive(Debug, Clone, PartialEq)]
struct Origin {
    /// Id of its episodes without their numbers: environment, policy and seed.
    name: String,
    env_spec: Option<String>,
    split: Option<String>,
}

impl Origin {
    /// Origin of an episode, and the episode's number in it.
    fn of(episode: &Episode) -> (Self, Option<u64>) {
        let name = episode.id.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = episode.id[name.len()..].parse().ok();
        let (env_spec, split) = (episode.env_spec.clone(), episode.split.clone());
        (Self { name: name.to_string(), env_spec, split }, number)
    }
}

fn remove_file(path: &Path) -> Result<()> {
    if path.is_file() { std::fs::remove_file(path).map_err(Error::io(path)) } else { Ok(()) }
}
