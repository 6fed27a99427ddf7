//! A log in windows: read ahead, cut into chunks, and shuffled.
//!
//! An epoch goes through the log's row groups in its own order, one window of them at a time. Episodes mix inside a
//! window, and at most three windows are in memory. The seed, the epoch and its number fix a window, so that a resumed
//! run continues where it stopped without reading what came before.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use palestra_datasets::log::{EpisodePlace, Group, Located, Log};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::chunks::Chunking;
use crate::batch::Chunk;
use crate::encoder::Encoder;
use crate::{Error, Result};

/// Selection of episodes from a log, and their encoding.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Encoder of episodes.
    pub encoder: Encoder,
    /// Chunk length and discounts.
    pub chunking: Chunking,
    /// Keeps only episodes of this split.
    pub split: Option<String>,
    /// Keeps only episodes of at least this return.
    pub least_return: Option<f64>,
    /// Seed of a resample of the log, in which an episode occurs [`resampled_times`] times; `None`: once.
    pub resample: Option<u64>,
}

/// Position of the next batch in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    pub epoch: u64,
    pub window: u64,
    /// Part of a window that is one large row group, which is read part by part.
    pub part: u64,
    /// Index among the part's chunks.
    pub at: usize,
}

/// State of the thread that reads ahead.
pub struct Reader {
    log: Log,
    selection: Selection,
    seed: u64,
    window_bytes: u64,
}

/// Chunks of some row groups, and the order in which they are drawn.
#[derive(Default)]
pub struct Window {
    /// Position of its first chunk.
    pub start: Cursor,
    pub chunks: Arc<Vec<Chunk>>,
    pub order: Vec<usize>,
    /// Number of episodes that the chunks come from.
    pub episodes: u64,
    /// Number of episodes that did not terminate and were left out.
    pub left_out: u64,
}

/// Reads windows from a position on, in a thread that stays one window ahead, until the receiver is dropped.
pub fn read_ahead(reader: &Arc<Reader>, from: Cursor) -> Receiver<Result<Window>> {
    let (sender, receiver) = sync_channel(1);
    let reader = Arc::clone(reader);
    std::thread::spawn(move || {
        let mut reader = Reading { reader: &reader, encoder: reader.selection.encoder.clone(), whole: None };
        for epoch in from.epoch.. {
            let from = if epoch == from.epoch { from } else { Cursor { epoch, ..Cursor::default() } };
            let mut found = from != Cursor { epoch, ..Cursor::default() };
            let mut left_out = 0;
            let goes_on = reader.epoch(from, &mut |window| {
                found |= window.as_ref().map_or(true, |window| !window.order.is_empty());
                left_out += window.as_ref().map_or(0, |window| window.left_out);
                let has_failed = window.is_err();
                sender.send(window).is_ok() && !has_failed
            });
            if !goes_on {
                return;
            }
            if !found {
                let reason = match left_out {
                    0 => "there is no episode to learn from (with this data.split)".to_string(),
                    _ => format!(
                        "none of the {left_out} episodes terminated, and this learner needs whole returns; \
                         data.truncated = \"whole\" takes their returns as they are"
                    ),
                };
                let _ = sender.send(Err(Error::Data(format!("data.files: {reason}"))));
                return;
            }
        }
    });
    receiver
}

/// Iteration over the windows of a log.
struct Reading<'a> {
    reader: &'a Reader,
    encoder: Encoder,
    /// Content of a log that fits one window, which is read only once.
    whole: Option<Read>,
}

/// Chunks of a window's episodes, and the numbers of episodes.
#[derive(Clone)]
struct Read {
    chunks: Arc<Vec<Chunk>>,
    episodes: u64,
    left_out: u64,
}

impl Reading<'_> {
    /// Passes the windows of an epoch from a position on to `take`, until all are read or `take` returns false.
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
        let Selection { chunking, split, least_return, resample, .. } = &self.reader.selection;
        let (mut chunks, mut count, mut left_out) = (Vec::new(), 0, 0);
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
            if !chunking.has_returns(&trajectory) {
                left_out += 1;
                continue;
            }
            let times = resample.map_or(1, |seed| resampled_times(seed, place));
            chunks.extend(std::iter::repeat_n(chunking.cut(trajectory), times).flatten());
            count += 1;
        }
        Ok(Read { chunks: Arc::new(chunks), episodes: count, left_out })
    }
}

impl Reader {
    pub fn new(log: Log, selection: Selection, seed: u64, window_bytes: u64) -> Self {
        Self { log, selection, seed, window_bytes }
    }

    /// Row groups of each window of an epoch.
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

    /// Reads the episodes of a window. A row group larger than a window, as other tools write them, comes in parts.
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

    fn window(&self, start: Cursor, read: &Read) -> Window {
        let Read { chunks, episodes, left_out } = read;
        let start = Cursor { at: 0, ..start };
        let mut order: Vec<usize> = (0..chunks.len()).collect();
        order.shuffle(&mut self.rng(start));
        Window { start, chunks: Arc::clone(chunks), order, episodes: *episodes, left_out: *left_out }
    }

    /// Random stream of a window, or of a part of one.
    fn rng(&self, start: Cursor) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(palestra_envs::episode_seed(self.seed, start.epoch));
        rng.set_stream(start.window.wrapping_add(start.part << 32));
        rng
    }
}

/// Size of a row group in bytes: the size of its columns, in which repeated text counts once, but at least the memory
/// that short turns take.
fn weight(group: &Group) -> u64 {
    group.bytes.max(group.rows * 256)
}

/// Number of times that an episode occurs in the resample of a seed: a Poisson number of mean 1. This approximates
/// drawing as many episodes as there are, with replacement, without knowing their number
/// ([Oza and Russell 2001](https://proceedings.mlr.press/r3/oza01a.html)).
pub fn resampled_times(seed: u64, place: EpisodePlace) -> usize {
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
