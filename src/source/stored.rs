//! Batches from logged experience: windows of the log are read ahead, shuffled, and cut into batches.
//!
//! An epoch goes through the log's row groups in an order of its own, a window of them at a time: episodes mix inside a
//! window, and no more than three windows are in memory. A window is fixed by the seed, the epoch and its number, so
//! that a resumed run reads on where it stopped without reading what came before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use palestra_datasets::log::{Group, Located, Log, Place};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Source;
use super::stretches::Cutting;
use crate::batch::{Stretch, TransitionBatch};
use crate::encoder::Encoder;
use crate::learn::Learner;
use crate::model::Policy;
use crate::observe::Metrics;
use crate::{Error, Result};

/// Which experience is learned from, and how it is gone through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Parquet files, directories of them, or patterns such as `logs/*.parquet`, as seen from the run file.
    pub files: Vec<String>,
    /// Whether damaged row groups are passed over and counted, instead of refused.
    pub skip_bad: bool,
    /// Only episodes of this split, such as `train`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Discount from turn to turn, 0 to 1.
    pub gamma: f32,
    /// Discount from token to token inside a turn; 1 keeps the tokenizer from setting the horizon.
    pub gamma_token: f32,
    /// Turns of one optimiser step, at least 1.
    pub batch: usize,
    /// Turns computed at once, where memory is short; 0: the whole batch.
    pub micro_batch: usize,
    /// Consecutive turns of an episode that stay together, at least 1: more share the reading of the states between.
    pub stretch: usize,
    /// Optimiser steps of one update, at least 1.
    pub steps: usize,
    /// Megabytes of the log's text in which episodes are shuffled, at least 1.
    pub window: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            skip_bad: false,
            split: None,
            gamma: 0.99,
            gamma_token: 1.0,
            batch: 256,
            micro_batch: 0,
            stretch: 4,
            steps: 100,
            window: 32,
        }
    }
}

impl DataConfig {
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, value: String, right: &str| {
            Err(Error::Config(format!("data.{field}: {value} is not {right}")))
        };
        if self.files.is_empty() {
            return wrong("files", "[]".into(), "a list of Parquet files, directories or patterns");
        }
        for (field, value) in
            [("batch", self.batch), ("stretch", self.stretch), ("steps", self.steps), ("window", self.window)]
        {
            if value == 0 {
                return wrong(field, "0".into(), "at least 1");
            }
        }
        for (field, value) in [("gamma", self.gamma), ("gamma_token", self.gamma_token)] {
            if !(0.0..=1.0).contains(&value) {
                return wrong(field, value.to_string(), "between 0 and 1");
            }
        }
        Ok(())
    }
}

/// What of the log is learned from, and in which form.
#[derive(Debug, Clone)]
pub struct Selection {
    /// How episodes become tokens.
    pub encoder: Encoder,
    /// How trajectories are cut.
    pub cutting: Cutting,
    /// Only episodes of this split.
    pub split: Option<String>,
    /// Only episodes of at least this return.
    pub least_return: Option<f64>,
    /// The seed of a resample of the log, in which an episode stands [`resampled_times`] times; `None`: once.
    pub resample: Option<u64>,
}

/// Learns from a log.
pub struct Stored {
    reader: Arc<Reader>,
    config: DataConfig,
    vocab_size: usize,
    device: Device,
    windows: Receiver<Result<Window>>,
    window: Window,
    cursor: Cursor,
    steps_left: usize,
    tokens: usize,
    /// Since the update began.
    waited: Duration,
    began: Instant,
    episodes: u64,
}

/// What one step learns from.
pub(super) type Drawn = Vec<Stretch>;

/// Where in the log the next batch begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Cursor {
    epoch: u64,
    window: u64,
    /// Of a window that is one large row group, read part by part.
    part: u64,
    /// In the part's order.
    at: usize,
}

/// What a thread of its own needs to read ahead.
struct Reader {
    log: Log,
    selection: Selection,
    seed: u64,
    window_bytes: u64,
}

/// Stretches of some row groups, and the order in which they are learned from.
#[derive(Default)]
struct Window {
    /// Where it begins.
    start: Cursor,
    stretches: Arc<Vec<Stretch>>,
    order: Vec<usize>,
    episodes: u64,
}

impl Stored {
    /// A source of a log's experience; the seed fixes its order. `device` is where batches are made, in the autodiff
    /// context of the model.
    pub fn new(log: Log, selection: Selection, config: DataConfig, seed: u64, device: Device) -> Self {
        let window_bytes = config.window as u64 * 1_000_000;
        Self::with_window(log, selection, config, window_bytes, seed, device)
    }

    /// As [`Stored::new`], with windows of so many bytes.
    pub(super) fn with_window(
        log: Log,
        selection: Selection,
        config: DataConfig,
        window_bytes: u64,
        seed: u64,
        device: Device,
    ) -> Self {
        let vocab_size = selection.encoder.tokenizer().vocab_size();
        let reader = Arc::new(Reader { log, selection, seed, window_bytes });
        let cursor = Cursor::default();
        Self {
            windows: read_ahead(&reader, cursor),
            reader,
            config,
            vocab_size,
            device,
            window: Window::default(),
            cursor,
            steps_left: 0,
            tokens: 0,
            waited: Duration::ZERO,
            began: Instant::now(),
            episodes: 0,
        }
    }

    /// Reads the first window, so that a log that cannot be learned from is found out before a run.
    ///
    /// # Errors
    /// A damaged log, or episodes that the model cannot read.
    pub fn try_out(&mut self) -> Result<()> {
        self.next_window()
    }

    /// The parts of the batch of one step.
    ///
    /// # Errors
    /// As [`Stored::try_out`].
    pub fn next_parts(&mut self) -> Result<Vec<TransitionBatch>> {
        let stretches = self.draw()?;
        let tokens = stretches.iter().flat_map(|stretch| &stretch.segments).map(|segment| segment.tokens.len());
        self.tokens += tokens.sum::<usize>();
        let token_count = stretches.iter().map(Stretch::actions).sum();
        let parts = parts(&stretches, self.config.micro_batch);
        let batch = |part: &[Stretch]| TransitionBatch::new(part, token_count, self.vocab_size, &self.device);
        Ok(parts.into_iter().map(batch).collect())
    }

    /// Which pass through the log it is in.
    #[cfg(test)]
    pub(super) fn epoch(&self) -> u64 {
        self.cursor.epoch
    }

    /// Where in the log the next batch begins.
    pub(super) fn position(&self) -> serde_json::Value {
        serde_json::to_value(self.cursor).expect("a cursor is numbers")
    }

    /// Goes to a place of [`Stored::position`].
    pub(super) fn go_to(&mut self, position: &serde_json::Value) -> Result<()> {
        self.cursor = serde_json::from_value(position.clone())
            .map_err(|error| Error::Training(format!("the source's state {position} is no place in a log: {error}")))?;
        self.window = Window::default();
        self.windows = read_ahead(&self.reader, self.cursor);
        Ok(())
    }

    /// The stretches of the next step: as many as have the turns of a batch.
    pub(super) fn draw(&mut self) -> Result<Drawn> {
        let (mut drawn, mut turns) = (Vec::new(), 0);
        while turns < self.config.batch {
            while self.cursor.at >= self.window.order.len() {
                self.next_window()?;
            }
            let stretch = self.window.stretches[self.window.order[self.cursor.at]].clone();
            self.cursor.at += 1;
            turns += stretch.turns();
            drawn.push(stretch);
        }
        Ok(drawn)
    }

    fn next_window(&mut self) -> Result<()> {
        let began = Instant::now();
        let window = self.windows.recv();
        self.waited += began.elapsed();
        let window = window.map_err(|_| Error::Training("the thread that reads the log has died".into()))??;
        // A window that is taken up again after a resume is gone on with where it was left.
        let is_resumed = window.start == Cursor { at: 0, ..self.cursor };
        if !is_resumed || !self.window.order.is_empty() {
            self.cursor = window.start;
        }
        self.episodes += window.episodes;
        self.window = window;
        Ok(())
    }
}

impl<L: Learner<Model = Policy, Batch = TransitionBatch>> Source<L> for Stored {
    fn begin(&mut self, _: &mut L, _: &Policy, _: u64) -> Result<Metrics> {
        self.steps_left = self.config.steps;
        (self.tokens, self.waited, self.began) = (0, Duration::ZERO, Instant::now());
        Ok(Metrics::new())
    }

    fn next_batch(&mut self, _: &L) -> Result<Option<Vec<TransitionBatch>>> {
        if self.steps_left == 0 {
            return Ok(None);
        }
        self.steps_left -= 1;
        self.next_parts().map(Some)
    }

    fn tokens(&self) -> usize {
        self.tokens
    }

    fn observe(&mut self, _: &L, _: &Metrics) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) -> Metrics {
        let share = self.waited.as_secs_f64() / self.began.elapsed().as_secs_f64().max(1e-9);
        Metrics::from([
            ("data/epoch".to_string(), self.cursor.epoch as f64),
            ("data/wait_share".to_string(), share),
            ("data/episodes_read".to_string(), self.episodes as f64),
        ])
    }

    fn state(&self) -> serde_json::Value {
        self.position()
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<()> {
        self.go_to(state)
    }
}

/// The return that the best `percent` of the episodes have at least. Episodes that share it all count among the best.
pub fn least_of_best(mut returns: Vec<f64>, percent: f32) -> f64 {
    returns.sort_by(|a, b| b.total_cmp(a));
    let kept = (returns.len() as f64 * f64::from(percent) / 100.0).ceil() as usize;
    returns.get(kept.clamp(1, returns.len().max(1)) - 1).copied().unwrap_or(f64::NEG_INFINITY)
}

/// How often an episode stands in the resample of a seed: a Poisson number of mean 1, which is what drawing as many
/// episodes as there are, with replacement, comes to, and needs no count of them
/// ([Oza and Russell 2001](https://proceedings.mlr.press/r3/oza01a.html)).
pub fn resampled_times(seed: u64, place: Place) -> usize {
    let bits = palestra_envs::episode_seed(palestra_envs::episode_seed(seed, place.file as u64), place.row);
    let mut left = (bits >> 11) as f64 / (1u64 << 53) as f64;
    let (mut times, mut probability) = (0, (-1.0f64).exp());
    while left >= probability && probability > 0.0 {
        left -= probability;
        times += 1;
        probability /= times as f64;
    }
    times
}

/// Every character of a log's observations and actions.
///
/// # Errors
/// A log that cannot be read, or with so many characters that they are no alphabet.
pub fn alphabet(log: &Log) -> Result<String> {
    const MOST: usize = 2048;
    let (mut characters, mut ascii) = (BTreeSet::new(), [false; 128]);
    let mut take = |text: &str| {
        for character in text.chars() {
            match ascii.get_mut(character as usize) {
                Some(seen) => *seen = true,
                None => _ = characters.insert(character),
            }
        }
        characters.len()
    };
    for located in log.episodes() {
        let episode = located?.episode;
        let turns = episode.turns.iter();
        let texts = turns
            .flat_map(|turn| [&turn.observation, &turn.action].into_iter().chain(turn.legal_actions.iter().flatten()));
        if texts.chain(&episode.final_observation).map(|text| take(text)).max() > Some(MOST) {
            return Err(Error::Data(format!(
                "data.files: more than {MOST} different characters are too many for a model from nothing; name one \
                 with a tokenizer in start_from"
            )));
        }
    }
    let ascii = (0u8..128).map(char::from).zip(ascii).filter(|(_, seen)| *seen).map(|(character, _)| character);
    Ok(ascii.chain(characters).collect())
}

/// Cuts a batch into parts of at most so many turns; 0: one part.
fn parts(stretches: &[Stretch], turns: usize) -> Vec<&[Stretch]> {
    if turns == 0 {
        return vec![stretches];
    }
    let (mut parts, mut from, mut count) = (Vec::new(), 0, 0);
    for (at, stretch) in stretches.iter().enumerate() {
        if at > from && count + stretch.turns() > turns {
            parts.push(&stretches[from..at]);
            (from, count) = (at, 0);
        }
        count += stretch.turns();
    }
    parts.push(&stretches[from..]);
    parts
}

/// Reads windows from a place on, in a thread of its own that is one window ahead, until nobody wants them.
fn read_ahead(reader: &Arc<Reader>, from: Cursor) -> Receiver<Result<Window>> {
    let (sender, receiver) = sync_channel(1);
    let reader = Arc::clone(reader);
    std::thread::spawn(move || {
        let mut reader = Reading { reader: &reader, encoder: reader.selection.encoder.clone(), whole: None };
        for epoch in from.epoch.. {
            let from = if epoch == from.epoch { from } else { Cursor { epoch, ..Cursor::default() } };
            let mut found = from != Cursor { epoch, ..Cursor::default() };
            let goes_on = reader.epoch(from, &mut |window| {
                found |= window.as_ref().map_or(true, |window| !window.order.is_empty());
                let has_failed = window.is_err();
                sender.send(window).is_ok() && !has_failed
            });
            if !goes_on {
                return;
            }
            if !found {
                let nothing = "data.files: there is no episode to learn from (with this data.split)".to_string();
                let _ = sender.send(Err(Error::Data(nothing)));
                return;
            }
        }
    });
    receiver
}

/// The reading of a log, window by window.
struct Reading<'a> {
    reader: &'a Reader,
    encoder: Encoder,
    /// A log of one window is read once.
    whole: Option<Read>,
}

/// The stretches of a window's episodes, and how many episodes there were.
type Read = (Arc<Vec<Stretch>>, u64);

impl Reading<'_> {
    /// Hands on the windows of an epoch from a place on, until they are all read or not wanted any more.
    fn epoch(&mut self, from: Cursor, take: &mut dyn FnMut(Result<Window>) -> bool) -> bool {
        let reader = self.reader;
        let plan = reader.plan(from.epoch);
        let is_one = plan.len() == 1 && !reader.is_large(&plan[0]);
        if let Some(read) = &self.whole {
            return take(Ok(reader.window(from, read)));
        }
        for (number, groups) in plan.iter().enumerate().skip(from.window as usize) {
            let first = if number == from.window as usize { from.part } else { 0 };
            for (part, episodes) in reader.parts(groups).enumerate().skip(first as usize) {
                let start = Cursor { epoch: from.epoch, window: number as u64, part: part as u64, at: 0 };
                let window = episodes.and_then(|episodes| self.encode(episodes)).map(|read| {
                    let window = reader.window(start, &read);
                    self.whole = is_one.then_some(read);
                    window
                });
                if !take(window) {
                    return false;
                }
            }
        }
        true
    }

    fn encode(&mut self, episodes: Vec<Located>) -> Result<Read> {
        let Selection { cutting, split, least_return, resample, .. } = &self.reader.selection;
        let (mut stretches, mut count) = (Vec::new(), 0);
        for Located { episode, place } in episodes {
            let is_wanted = (split.is_none() || *split == episode.split)
                && least_return.is_none_or(|least| episode.total_reward() >= least);
            if !is_wanted {
                continue;
            }
            let trajectory = self.encoder.trajectory(&episode).map_err(|error| {
                let file = self.reader.log.files()[place.file].display();
                Error::Data(format!("{file}: row {}: {error}", place.row))
            })?;
            let cut = cutting.cut(trajectory);
            let times = resample.map_or(1, |seed| resampled_times(seed, place));
            (0..times).for_each(|_| stretches.extend(cut.iter().cloned()));
            count += 1;
        }
        Ok((Arc::new(stretches), count))
    }
}

impl Reader {
    /// The row groups of each window of an epoch.
    fn plan(&self, epoch: u64) -> Vec<Vec<Group>> {
        let mut groups = self.log.groups().to_vec();
        if groups.iter().map(weight).sum::<u64>() > self.window_bytes {
            groups.shuffle(&mut self.rng(Cursor { epoch, window: u64::MAX, ..Cursor::default() }));
        }
        let mut plan: Vec<Vec<Group>> = Vec::new();
        let mut bytes = 0;
        for group in groups {
            if plan.is_empty() || bytes + weight(&group) > self.window_bytes {
                plan.push(Vec::new());
                bytes = 0;
            }
            bytes += weight(&group);
            plan.last_mut().expect("pushed above").push(group);
        }
        plan
    }

    /// The episodes of a window: in parts where it is a row group that is larger than windows should be, as other
    /// tools write them.
    fn parts<'a>(&'a self, groups: &'a [Group]) -> Box<dyn Iterator<Item = Result<Vec<Located>>> + 'a> {
        if self.is_large(groups) {
            let parts = self.log.read_chunks(&groups[0], self.window_bytes as usize);
            return Box::new(parts.map(|part| part.map_err(Error::from)));
        }
        let all = move || {
            let mut episodes = Vec::new();
            for group in groups {
                episodes.extend(self.log.read(group)?);
            }
            Ok(episodes)
        };
        Box::new(std::iter::once_with(all))
    }

    fn is_large(&self, groups: &[Group]) -> bool {
        groups.len() == 1 && weight(&groups[0]) > self.window_bytes
    }

    fn window(&self, start: Cursor, (stretches, episodes): &Read) -> Window {
        let start = Cursor { at: 0, ..start };
        let mut order: Vec<usize> = (0..stretches.len()).collect();
        order.shuffle(&mut self.rng(start));
        Window { start, stretches: Arc::clone(stretches), order, episodes: *episodes }
    }

    /// The random stream of a window, or part of one.
    fn rng(&self, start: Cursor) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(palestra_envs::episode_seed(self.seed, start.epoch));
        rng.set_stream(start.window.wrapping_add(start.part << 32));
        rng
    }
}

/// The bytes that a row group counts for: those of its columns, where text that repeats counts once, but no less than
/// short turns take in memory.
fn weight(group: &Group) -> u64 {
    group.bytes.max(group.rows * 256)
}
