//! Conversion of rows to episodes.

use std::ops::Range;
use std::sync::Arc;

use super::batch::{Batch, content, flag, number, text};
use super::rows::version_of;
use super::rules::{Breach, check_turn};
use super::{EpisodePlace, Located};
use crate::error::{Error, Result};
use crate::{Content, End, Episode, Turn};

/// Assembles the rows of a row group. An episode with an invalid row is returned as an error; the others continue.
pub(super) struct Assembler {
    path: Arc<std::path::Path>,
    file: usize,
    open: Option<Open>,
}

struct Open {
    episode: Episode,
    place: EpisodePlace,
    ended: bool,
    fault: Option<Error>,
}

impl Assembler {
    pub fn new(path: Arc<std::path::Path>, file: usize) -> Self {
        Self { path, file, open: None }
    }

    /// True if an episode is incomplete, so that more rows of it may follow.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// True if the last row ended its episode.
    pub fn has_ended(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.ended)
    }

    /// Adds rows of a row group; the batch starts at `first_row` of the file. Episodes that a row shows to be complete
    /// are appended to `done`.
    pub fn push(
        &mut self,
        batch: &Batch,
        rows: Range<usize>,
        row_group: usize,
        first_row: u64,
        done: &mut impl Extend<Result<Located>>,
    ) {
        for row in rows {
            let id = text(&batch.episode_id, row).unwrap_or_default();
            if self.open.as_ref().is_none_or(|open| open.episode.id != id) {
                done.extend(self.take());
                let place = EpisodePlace { file: self.file, row_group, row: first_row + row as u64 };
                let episode = begin(batch, row, id);
                self.open = Some(Open { episode, place, ended: false, fault: None });
            }
            let open = self.open.as_mut().expect("just begun");
            if open.fault.is_none()
                && let Err((column, reason)) = open.add(batch, row)
            {
                let (file, row) = (self.path.to_path_buf(), first_row + row as u64);
                open.fault = Some(Error::Row { file, row_group, row, column, reason });
            }
        }
    }

    /// Takes the open episode, after its last row.
    pub fn take(&mut self) -> Option<Result<Located>> {
        let Open { mut episode, place, ended, fault } = self.open.take()?;
        if let Some(fault) = fault {
            return Some(Err(fault));
        }
        if !ended && episode.end_reason.is_none() {
            episode.end_reason = Some("cut".to_string());
        }
        Some(Ok(Located { episode, place }))
    }
}

impl Open {
    fn add(&mut self, batch: &Batch, row: usize) -> Result<(), Breach> {
        if let Some(fault) = batch.faults.get(&row) {
            return Err(fault.clone());
        }
        let episode = &mut self.episode;
        let (step, expected) = (number(&batch.step, row).unwrap_or_default(), episode.turns.len());
        if step as usize != expected {
            let reason = format!(
                "{step} where {expected} should be: the rows of an episode (this one is {:?}) stand together, with steps \
                 0, 1, 2, ...",
                episode.id
            );
            return Err(("step", reason));
        }
        if self.ended {
            let (column, reason) = match episode.end {
                Some(End::Truncated) => ("truncated", "true on the row before"),
                _ => ("terminated", "true on the row before"),
            };
            return Err((
                column,
                format!("{reason}, and the episode goes on; an end flag stands on the last row alone"),
            ));
        }
        if expected == 0 {
            if episode.id.is_empty() {
                return Err(("episode_id", "is empty; every episode of a log has its own id".to_string()));
            }
        } else {
            same_as_before(batch, row, episode)?;
        }
        let turn = turn(batch, row)?;
        check_turn(&turn)?;
        episode.turns.push(turn);
        let names = ["final_observation", "final_observation_messages"];
        let (texts, messages) = (&batch.final_observation, &batch.final_observation_messages);
        episode.final_observation = content(texts, messages, row, names)?;
        episode.end_reason = text(&batch.end_reason, row).map(str::to_owned);
        // A terminal state has no future, even if a limit was reached in the same turn.
        episode.end = if flag(&batch.terminated, row) {
            Some(End::Terminated)
        } else {
            flag(&batch.truncated, row).then_some(End::Truncated)
        };
        self.ended = episode.end.is_some();
        Ok(())
    }
}

/// Creates an episode from the columns of its first row.
fn begin(batch: &Batch, row: usize, id: &str) -> Episode {
    let owned = |column| text(column, row).map(str::to_owned);
    Episode {
        id: id.to_owned(),
        env_id: env_id(batch, row).unwrap_or_default(),
        env_spec: owned(&batch.env_spec),
        seed: number(&batch.seed, row),
        split: owned(&batch.split),
        turns: Vec::with_capacity(turns_ahead(batch, row)),
        final_observation: None,
        end: None,
        end_reason: None,
        policy_id: owned(&batch.policy_id).unwrap_or_default(),
        policy_step: number(&batch.policy_step, row).unwrap_or_default(),
        tokenizer_hash: owned(&batch.tokenizer_hash),
        temperature: number(&batch.temperature, row),
        top_p: number(&batch.top_p, row),
        reward_source: owned(&batch.reward_source),
        rater_id: owned(&batch.rater_id),
    }
}

/// Returns the apparent number of rows of the batch that belong to the episode that begins in a row.
fn turns_ahead(batch: &Batch, row: usize) -> usize {
    let steps = batch.step.as_ref().map_or(&[][..], |steps| &steps.values()[row + 1..]);
    1 + steps.iter().take_while(|step| **step != 0).count()
}

/// Returns the environment id; an id without a version gets that of `env_version`.
fn env_id(batch: &Batch, row: usize) -> Option<String> {
    let id = text(&batch.env_id, row)?;
    match number(&batch.env_version, row) {
        Some(version) if version_of(id).is_none() => Some(format!("{id}-v{version}")),
        _ => Some(id.to_owned()),
    }
}

fn turn(batch: &Batch, row: usize) -> Result<Turn, Breach> {
    let owned = |column| text(column, row).map(str::to_owned);
    Ok(Turn {
        observation: observation(batch, row)?,
        action: owned(&batch.action).unwrap_or_default(),
        reward: number(&batch.reward, row).unwrap_or_default(),
        reward_parts: batch.reward_parts.as_ref().map(|parts| parts.get(row)).unwrap_or_default(),
        legal_actions: batch.legal_actions.as_ref().and_then(|lists| lists.get(row)),
        invalid_action: flag(&batch.invalid_action, row),
        action_ids: batch.action_ids.as_ref().and_then(|lists| lists.get(row)),
        prompt_ids: batch.prompt_ids.as_ref().and_then(|lists| lists.get(row)),
        log_probs: batch.log_probs.as_ref().and_then(|lists| lists.get(row)),
        info: owned(&batch.info),
        timestamp: number(&batch.timestamp, row),
    })
}

fn observation(batch: &Batch, row: usize) -> Result<Content, Breach> {
    let names = ["observation", "observation_messages"];
    match content(&batch.observation, &batch.observation_messages, row, names)? {
        Some(content) => Ok(content),
        // Readers of rewards alone read neither column.
        None if !batch.has_observations => Ok(Content::default()),
        None => Err(("observation", "null; every row needs a value, here or in observation_messages".to_string())),
    }
}

/// Checks the columns of an episode: the first row sets them, later rows repeat them or leave them null.
fn same_as_before(batch: &Batch, row: usize, episode: &Episode) -> Result<(), Breach> {
    let texts = [
        ("env_spec", &batch.env_spec, episode.env_spec.as_deref()),
        ("split", &batch.split, episode.split.as_deref()),
        ("policy_id", &batch.policy_id, Some(episode.policy_id.as_str())),
        ("tokenizer_hash", &batch.tokenizer_hash, episode.tokenizer_hash.as_deref()),
        ("reward_source", &batch.reward_source, episode.reward_source.as_deref()),
        ("rater_id", &batch.rater_id, episode.rater_id.as_deref()),
    ];
    for (column, values, before) in texts {
        if let Some(now) = text(values, row) {
            same(column, now, before)?;
        }
    }
    if let Some(now) = text(&batch.env_id, row)
        && !episode.env_id.strip_prefix(now).is_some_and(|rest| rest.is_empty() || rest.starts_with("-v"))
    {
        same("env_id", now, Some(episode.env_id.as_str()))?;
    }
    for (column, values, before) in
        [("seed", &batch.seed, episode.seed), ("policy_step", &batch.policy_step, Some(episode.policy_step))]
    {
        if let Some(now) = number(values, row) {
            same(column, now, before)?;
        }
    }
    for (column, values, before) in
        [("temperature", &batch.temperature, episode.temperature), ("top_p", &batch.top_p, episode.top_p)]
    {
        if let Some(now) = number(values, row) {
            same(column, now, before)?;
        }
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(column: &'static str, now: T, before: Option<T>) -> Result<(), Breach> {
    match before {
        Some(before) if before == now => Ok(()),
        Some(before) => {
            Err((column, format!("{now:?}, but {before:?} on the episode's first row; an episode has one")))
        }
        None => Err((column, format!("{now:?}, but null on the episode's first row; an episode has one"))),
    }
}
