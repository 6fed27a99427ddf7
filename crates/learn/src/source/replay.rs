//! Batches from logged experience: chunks of one window after the other, drawn until they fill a batch.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use palestra_datasets::log::Log;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::Source;
use super::windows::{Cursor, Reader, Selection, Window, read_ahead};
use crate::batch::{Chunk, TransitionBatch};
use crate::collective::Collective;
use crate::learners::{Learner, TruncatedEpisodes};
use crate::{Error, Result};
use palestra_model::Policy;
use palestra_report::Metrics;

/// Logged data and its batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Parquet files, directories or patterns such as `logs/*.parquet`, relative to the run file.
    pub files: Vec<String>,
    /// True if damaged row groups are skipped and counted; false makes them an error.
    pub skip_bad: bool,
    /// Only episodes of this split, such as `train`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Discount from turn to turn, 0 to 1.
    pub gamma: f32,
    /// Discount from token to token inside a turn, 0 to 1; 1 makes the horizon independent of the tokenizer.
    pub gamma_token: f32,
    /// Turns per optimiser step, at least 1.
    pub batch: usize,
    /// Turns per forward pass, to save memory; 0: the whole batch.
    pub micro_batch: usize,
    /// Consecutive turns of an episode in one chunk, at least 1: more turns share the forward pass of the states
    /// between.
    pub chunk: usize,
    /// Optimiser steps of one update, at least 1.
    pub steps: usize,
    /// Megabytes of the log's text within which episodes are shuffled, at least 1.
    pub shuffle_buffer: usize,
    /// Use of episodes that did not terminate, by learners that read returns. `bootstrap`: AWR and Monte Carlo values add
    /// the value of the final observation; where there is none, and for learners that need whole returns (filtered
    /// cloning, Decision Transformer), the episode is left out. `leave_out`: left out by all of them. `whole`: the return
    /// counts as if the episode had terminated.
    pub truncated: TruncatedEpisodes,
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
            chunk: 4,
            steps: 100,
            shuffle_buffer: 32,
            truncated: TruncatedEpisodes::Bootstrap,
        }
    }
}

impl DataConfig {
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        if self.files.is_empty() {
            return Err(Error::Config("data.files: [] is not a list of Parquet files, directories or patterns".into()));
        }
        Ok(check_ranges(
            "data",
            &[
                ("batch", &self.batch, Range::AT_LEAST_ONE),
                ("chunk", &self.chunk, Range::AT_LEAST_ONE),
                ("steps", &self.steps, Range::AT_LEAST_ONE),
                ("shuffle_buffer", &self.shuffle_buffer, Range::AT_LEAST_ONE),
                ("gamma", &self.gamma, Range::UNIT),
                ("gamma_token", &self.gamma_token, Range::UNIT),
            ],
        )?)
    }
}

/// Source of batches from a log.
pub struct ReplaySource {
    reader: Arc<Reader>,
    config: DataConfig,
    device: Device,
    windows: Receiver<Result<Window>>,
    window: Window,
    cursor: Cursor,
    steps_left: usize,
    tokens: usize,
    /// Time spent waiting for windows since the update began.
    waited: Duration,
    began: Instant,
    episodes: u64,
    left_out: u64,
    /// True if the next window was counted before the run was stopped.
    is_counted: bool,
}

/// Chunks of one step.
pub(super) type Drawn = Vec<Chunk>;

impl ReplaySource {
    /// Creates a source of a log's experience; the seed fixes its order. `device` is the device of the batches, in the
    /// autodiff context of the model.
    pub fn new(log: Log, selection: Selection, config: DataConfig, seed: u64, device: Device) -> Self {
        let window_bytes = config.shuffle_buffer as u64 * 1_000_000;
        Self::with_window(log, selection, config, window_bytes, seed, device)
    }

    /// Same as [`ReplaySource::new`], with the window size in bytes.
    pub(super) fn with_window(
        log: Log,
        selection: Selection,
        config: DataConfig,
        window_bytes: u64,
        seed: u64,
        device: Device,
    ) -> Self {
        let reader = Arc::new(Reader::new(log, selection, seed, window_bytes));
        let cursor = Cursor::default();
        Self {
            windows: read_ahead(&reader, cursor),
            reader,
            config,
            device,
            window: Window::default(),
            cursor,
            steps_left: 0,
            tokens: 0,
            waited: Duration::ZERO,
            began: Instant::now(),
            episodes: 0,
            left_out: 0,
            is_counted: false,
        }
    }

    /// Reads the first window, so that an unusable log is reported before training starts.
    ///
    /// # Errors
    /// A damaged log, or episodes that the model cannot read.
    pub fn try_out(&mut self) -> Result<()> {
        self.next_window()
    }

    /// Returns the parts of a rank's share of one step's batch.
    ///
    /// # Errors
    /// As [`ReplaySource::try_out`].
    pub fn next_parts(&mut self, collective: &dyn Collective) -> Result<Vec<TransitionBatch>> {
        let chunks = self.draw()?;
        let tokens = chunks.iter().flat_map(|chunk| &chunk.segments).map(|segment| segment.tokens.len());
        self.tokens += tokens.sum::<usize>();
        let parts = parts(&chunks[collective.share(chunks.len())], self.config.micro_batch);
        let batch = |part: &[Chunk]| TransitionBatch::new(part, &self.device);
        Ok(parts.into_iter().map(batch).collect())
    }

    /// Number of the current pass through the log.
    #[cfg(test)]
    pub(super) fn epoch(&self) -> u64 {
        self.cursor.epoch
    }

    /// Position of the next batch in the log.
    pub(super) fn position(&self) -> serde_json::Value {
        serde_json::to_value(self.cursor).expect("a cursor is numbers")
    }

    /// Moves to a position of [`ReplaySource::position`].
    pub(super) fn go_to(&mut self, position: &serde_json::Value) -> Result<()> {
        self.cursor = serde_json::from_value(position.clone())
            .map_err(|error| Error::Training(format!("the source's state {position} is no place in a log: {error}")))?;
        self.window = Window::default();
        self.windows = read_ahead(&self.reader, self.cursor);
        Ok(())
    }

    /// Position and counts, for a checkpoint.
    pub(super) fn saved(&self) -> serde_json::Value {
        serde_json::json!({"position": self.position(), "episodes": self.episodes, "left_out": self.left_out})
    }

    /// Goes on as it was [saved](Self::saved). Its window is read again, and not counted again.
    pub(super) fn resume(&mut self, state: &serde_json::Value) -> Result<()> {
        // Checkpoints of earlier versions hold the position alone.
        self.go_to(state.get("position").unwrap_or(state))?;
        let count = |name: &str| state.get(name).and_then(serde_json::Value::as_u64);
        self.is_counted = count("episodes").is_some();
        (self.episodes, self.left_out) = (count("episodes").unwrap_or(0), count("left_out").unwrap_or(0));
        Ok(())
    }

    /// Draws the chunks of the next step, until they hold the turns of a batch.
    pub(super) fn draw(&mut self) -> Result<Drawn> {
        let (mut drawn, mut turns) = (Vec::new(), 0);
        while turns < self.config.batch {
            while self.cursor.at >= self.window.order.len() {
                self.next_window()?;
            }
            let chunk = self.window.chunks[self.window.order[self.cursor.at]].clone();
            self.cursor.at += 1;
            turns += chunk.turns();
            drawn.push(chunk);
        }
        Ok(drawn)
    }

    fn next_window(&mut self) -> Result<()> {
        let began = Instant::now();
        let window = self.windows.recv();
        self.waited += began.elapsed();
        let window = window.map_err(|_| Error::Training("the thread that reads the log has died".into()))??;
        // A window that is read again after a resume continues at the saved position.
        let is_resumed = window.start == Cursor { at: 0, ..self.cursor };
        if !is_resumed || !self.window.order.is_empty() {
            self.cursor = window.start;
        }
        if !std::mem::take(&mut self.is_counted) {
            self.episodes += window.episodes;
            self.left_out += window.left_out;
        }
        self.window = window;
        Ok(())
    }
}

impl<L: Learner<Model = Policy, Batch = TransitionBatch>> Source<L> for ReplaySource {
    fn begin(&mut self, _: &mut L, _: &Policy, _: u64, _: &dyn Collective) -> Result<Metrics> {
        self.steps_left = self.config.steps;
        (self.tokens, self.waited, self.began) = (0, Duration::ZERO, Instant::now());
        Ok(Metrics::new())
    }

    fn steps(&self) -> usize {
        self.config.steps
    }

    fn next_batch(&mut self, _: &L, collective: &dyn Collective) -> Result<Option<Vec<TransitionBatch>>> {
        if self.steps_left == 0 {
            return Ok(None);
        }
        self.steps_left -= 1;
        self.next_parts(collective).map(Some)
    }

    fn tokens(&self) -> usize {
        self.tokens
    }

    fn end(&mut self) -> Metrics {
        let share = self.waited.as_secs_f64() / self.began.elapsed().as_secs_f64().max(1e-9);
        Metrics::from([
            ("data/epoch".to_string(), self.cursor.epoch as f64),
            ("data/wait_share".to_string(), share),
            ("data/episodes_read".to_string(), self.episodes as f64),
            ("data/episodes_left_out".to_string(), self.left_out as f64),
        ])
    }

    fn state(&self) -> serde_json::Value {
        self.saved()
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<()> {
        self.resume(state)
    }
}

/// Splits a batch into parts of at most the given number of turns; 0: one part.
fn parts(chunks: &[Chunk], turns: usize) -> Vec<&[Chunk]> {
    if turns == 0 || chunks.is_empty() {
        return if chunks.is_empty() { Vec::new() } else { vec![chunks] };
    }
    let (mut parts, mut from, mut count) = (Vec::new(), 0, 0);
    for (at, chunk) in chunks.iter().enumerate() {
        if at > from && count + chunk.turns() > turns {
            parts.push(&chunks[from..at]);
            (from, count) = (at, 0);
        }
        count += chunk.turns();
    }
    parts.push(&chunks[from..]);
    parts
}
