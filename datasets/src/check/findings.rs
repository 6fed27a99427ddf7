//! Checks, in one pass, the rules that the reader does not enforce.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::warning::warnings;
use super::{CheckReport, Coverage, Finding, Mismatch, Rule};
use crate::error::Error;
use crate::log::{EpisodePlace, Log};
use crate::stats::{Seen, Share, Summary, hash_of};
use crate::{End, Episode, Turn};

/// Relative tolerance for the sum of reward parts, which were added in f32 in an unknown order.
const TOLERANCE: f64 = 1e-5;

pub(super) struct Findings<'a> {
    log: &'a Log,
    max_findings: usize,
    findings: Vec<Finding>,
    breaches: BTreeMap<Rule, u64>,
    /// First rows of the episodes, by the hash of the episode's id.
    episodes: HashMap<u64, FirstRow>,
    /// First episode of each environment and seed, with its split.
    seeds: HashMap<u64, (FirstRow, u32)>,
    splits: Vec<String>,
    contents: Seen,
    returns: Vec<f64>,
    rows: u64,
    invalid_actions: u64,
    duplicates: u64,
    cut: u64,
    truncated: u64,
    without_final_observation: u64,
    log_probs: u64,
}

#[derive(Clone, Copy)]
struct FirstRow {
    file: u32,
    row: u64,
}

impl<'a> Findings<'a> {
    pub fn new(log: &'a Log, max_findings: usize) -> Self {
        Self {
            log,
            max_findings,
            findings: Vec::new(),
            breaches: BTreeMap::new(),
            episodes: HashMap::new(),
            seeds: HashMap::new(),
            splits: Vec::new(),
            contents: Seen::new(usize::MAX),
            returns: Vec::new(),
            rows: 0,
            invalid_actions: 0,
            duplicates: 0,
            cut: 0,
            truncated: 0,
            without_final_observation: 0,
            log_probs: 0,
        }
    }

    /// Records an error of the reader.
    pub fn unreadable(&mut self, error: &Error) {
        self.tell(Finding::from(error));
    }

    pub fn mismatch(&mut self, rule: Rule, episode: &Episode, place: EpisodePlace, mismatch: &Mismatch) {
        let Mismatch { step, column, logged, right } = mismatch;
        let reason = format!("{logged} is logged, and {right} would be right");
        self.breach(rule, episode, place, *step, column, reason);
    }

    pub fn episode(&mut self, episode: &Episode, place: EpisodePlace) {
        self.check_id(episode, place);
        self.check_end(episode, place);
        for (step, turn) in episode.turns.iter().enumerate() {
            if let Some(reason) = wrong_sum(turn) {
                self.breach(Rule::Rewards, episode, place, step, "reward_parts", reason);
            }
        }
        self.check_split(episode, place);
        self.count(episode);
    }

    fn check_id(&mut self, episode: &Episode, place: EpisodePlace) {
        match self.episodes.entry(hash_of(&episode.id)) {
            Entry::Vacant(vacant) => {
                vacant.insert(FirstRow::of(place));
            }
            Entry::Occupied(first) => {
                let first = first.get().tell(self.log);
                let reason = format!(
                    "{:?} is also the episode at {first}; every episode has its own id, over all files of a log",
                    episode.id
                );
                self.breach(Rule::Steps, episode, place, 0, "episode_id", reason);
            }
        }
    }

    fn check_end(&mut self, episode: &Episode, place: EpisodePlace) {
        let last = episode.turns.len().saturating_sub(1);
        let reason = episode.end_reason.as_deref().unwrap_or_default();
        match episode.end {
            None if reason != "cut" => {
                let reason = format!(
                    "{reason:?} on the last row of an episode, and neither terminated nor truncated is set there; set one, \
                     or say \"cut\" where the recording was cut short"
                );
                self.breach(Rule::Ends, episode, place, last, "end_reason", reason);
            }
            Some(end) if reason == "cut" => {
                let flag = if end == End::Terminated { "terminated" } else { "truncated" };
                let reason = format!("\"cut\" where {flag} is set; a recording that was cut short has no end flag");
                self.breach(Rule::Ends, episode, place, last, "end_reason", reason);
            }
            _ => {}
        }
    }

    fn check_split(&mut self, episode: &Episode, place: EpisodePlace) {
        let (Some(seed), Some(split)) = (episode.seed, &episode.split) else { return };
        if episode.env_id.is_empty() {
            return;
        }
        let known = self.splits.iter().position(|known| known == split);
        let index = known.unwrap_or_else(|| {
            self.splits.push(split.clone());
            self.splits.len() - 1
        }) as u32;
        match self.seeds.entry(hash_of((&episode.env_id, seed))) {
            Entry::Vacant(vacant) => {
                vacant.insert((FirstRow::of(place), index));
            }
            Entry::Occupied(first) => {
                let (first, other) = *first.get();
                if other != index {
                    let reason = format!(
                        "{split:?}, and the episode at {}, with the same environment {:?} and seed {seed}, is of split \
                         {:?}; a seed stands in one split",
                        first.tell(self.log),
                        episode.env_id,
                        self.splits[other as usize]
                    );
                    self.breach(Rule::Splits, episode, place, 0, "split", reason);
                }
            }
        }
    }

    fn count(&mut self, episode: &Episode) {
        self.returns.push(episode.total_reward());
        self.rows += episode.turns.len() as u64;
        for turn in &episode.turns {
            self.invalid_actions += u64::from(turn.invalid_action);
            self.log_probs += u64::from(turn.log_probs.is_some());
        }
        match episode.end {
            None => self.cut += 1,
            Some(End::Truncated) => {
                self.truncated += 1;
                self.without_final_observation += u64::from(episode.final_observation.is_none());
            }
            Some(End::Terminated) => {}
        }
        let contents: Vec<_> = episode.turns.iter().map(|turn| (&turn.observation, &turn.action)).collect();
        self.duplicates += u64::from(!self.contents.is_new(hash_of((&episode.env_id, contents))));
    }

    fn breach(
        &mut self,
        rule: Rule,
        episode: &Episode,
        place: EpisodePlace,
        step: usize,
        column: &'static str,
        reason: String,
    ) {
        let row = place.row + step as u64;
        self.tell(Finding {
            rule,
            file: Some(self.log.files()[place.file].clone()),
            row_group: Some(row_group_of(self.log, place.file, row)),
            row: Some(row),
            column: Some(column),
            episode: Some(episode.id.clone()),
            reason,
        });
    }

    fn tell(&mut self, finding: Finding) {
        *self.breaches.entry(finding.rule).or_default() += 1;
        if self.findings.len() < self.max_findings {
            self.findings.push(finding);
        }
    }

    pub fn finish(mut self) -> CheckReport {
        self.tell_skipped();
        let episodes = self.returns.len() as u64;
        let coverage = Coverage {
            returns: Summary::of(self.returns),
            invalid_actions: Share::new(self.invalid_actions, self.rows),
            duplicates: Share::new(self.duplicates, episodes),
            cut: Share::new(self.cut, episodes),
            truncated_without_final_observation: Share::new(self.without_final_observation, self.truncated),
            log_probs: Share::new(self.log_probs, self.rows),
        };
        let cut_files = (0..self.log.files().len()).filter(|file| self.log.info(*file).is_cut);
        let cut_files: Vec<_> = cut_files.map(|file| self.log.files()[file].clone()).collect();
        CheckReport {
            files: self.log.files().len(),
            rows: self.rows,
            episodes,
            findings: self.findings,
            breaches: self.breaches,
            warnings: warnings(&coverage, &cut_files),
            coverage,
            decoded: None,
            replayed: None,
        }
    }

    /// Reports what the reader skipped: with `skip_bad`, it returns no error for it.
    fn tell_skipped(&mut self) {
        let skipped = self.log.skipped();
        let count = skipped.total() as u64;
        let untold = count - skipped.reasons.len() as u64;
        for reason in skipped.reasons {
            self.tell(Finding::unreadable(reason));
        }
        if untold > 0 {
            *self.breaches.entry(Rule::Readable).or_default() += untold;
        }
    }
}

impl FirstRow {
    fn of(place: EpisodePlace) -> Self {
        Self { file: place.file as u32, row: place.row }
    }

    fn tell(self, log: &Log) -> String {
        format!("row {} of {}", self.row, log.files()[self.file as usize].display())
    }
}

fn wrong_sum(turn: &Turn) -> Option<String> {
    if turn.reward_parts.is_empty() {
        return None;
    }
    let parts = || turn.reward_parts.values().map(|part| f64::from(*part));
    let (sum, size) = (parts().sum::<f64>(), parts().map(f64::abs).sum::<f64>());
    let reward = f64::from(turn.reward);
    let is_right = (sum - reward).abs() <= TOLERANCE * size.max(reward.abs());
    (!is_right)
        .then(|| format!("{:?} add up to {sum}, and reward is {reward}; they should be equal", turn.reward_parts))
}

/// Returns the row group that holds a row. In a log of another tool, the row's episode may begin in an earlier row
/// group.
fn row_group_of(log: &Log, file: usize, row: u64) -> usize {
    let mut groups = log.groups().iter().filter(|group| group.file == file);
    let mut end = 0;
    let holding = groups.find(|group| {
        end += group.rows;
        row < end
    });
    holding.map_or(0, |group| group.row_group)
}
