mod admission;

use std::collections::VecDeque;

use burn::tensor::Device;

use super::choosing::{Choosing, LARGE_VOCABULARY};
use super::text::Text;
use super::{Continuation, Limits, Request, column, host};
use crate::cache::Reading;
use crate::math::Sampling;
use crate::{Hidden, Policy, PolicyCache};

/// Sizes that decide what is computed together. They change no result but for rounding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Tokens of a row that are read in one pass; the rest of a longer prompt follows in the next ones.
    pub chunk: usize,
    /// Tokens of a pass, from which no further row begins to read in it.
    pub pass: usize,
    /// Tokens from which a beginning that another row has read is copied and not read again.
    pub worth_sharing: usize,
}

const SIZES: Sizes = Sizes { chunk: 512, pass: 1024, worth_sharing: 32 };

/// Continuous batching: requests are continued as they come, in a fixed number of rows. A row that has ended is given
/// to the next request at once, and prompts are read beside rows that write.
///
/// A row keeps what it has read until it is given away: a request that goes on from there reads what is new alone, and
/// one that begins as another row gets a copy of the beginning. What is computed beside a request changes its result
/// by rounding alone, and the same requests at the same steps give the same bits.
pub struct Engine<'a> {
    policy: &'a Policy,
    limits: Limits<'a>,
    sampling: Sampling,
    max_rows: usize,
    device: Device,
    pub(super) cache: PolicyCache,
    rows: Vec<Row>,
    queue: VecDeque<Text>,
    keeps_texts: bool,
    /// Length from which texts have other angles, so that what was read of them is read again.
    near_length: Option<usize>,
    pub(super) sizes: Sizes,
    /// Size of a vocabulary from which tokens are chosen on the device.
    pub(super) large_vocabulary: usize,
    /// Number of passes so far, and of the tokens that they read.
    passes: u64,
    tokens_read: u64,
}

/// A finished request.
pub struct Finished {
    /// The key that it was submitted with.
    pub key: usize,
    /// The request, whose random generator has moved on.
    pub request: Request,
    /// Its continuation.
    pub continuation: Continuation,
}

/// A row of the cache.
#[derive(Default)]
pub(super) struct Row {
    /// Tokens that the cache holds.
    held: Vec<u32>,
    /// The text that it reads or writes.
    pub text: Option<Text>,
    /// Pass in which the row was last used.
    used: u64,
    /// Key of the request that may go on from what the row holds.
    kept_for: Option<usize>,
    /// True if what it holds has the angles of long texts (LongRoPE).
    is_far: bool,
}

impl Row {
    /// Order in which free rows are given away, of the row of this number.
    fn age(&self, number: usize) -> (bool, u64, usize) {
        (self.kept_for.is_some(), self.used, number)
    }
}

/// A token of a pass whose state decides the next token, by its text's row and the index of the next token in the
/// continuation.
#[derive(Clone, Copy)]
struct State {
    token: usize,
    row: usize,
    index: usize,
}

impl<'a> Engine<'a> {
    /// An engine that continues at most `rows` requests at once, at least 1. The policy is outside autodiff.
    pub fn new(policy: &'a Policy, limits: Limits<'a>, sampling: Sampling, rows: usize) -> Self {
        let device = policy.transformer.device();
        let cache = policy.cache(0, 0);
        Self {
            policy,
            limits,
            sampling,
            max_rows: rows.max(1),
            device,
            cache,
            rows: Vec::new(),
            queue: VecDeque::new(),
            keeps_texts: false,
            near_length: policy.transformer.near_length(),
            sizes: SIZES,
            large_vocabulary: LARGE_VOCABULARY,
            passes: 0,
            tokens_read: 0,
        }
    }

    /// Adds a request. Its key is the caller's, and comes back with the continuation.
    pub fn submit(&mut self, key: usize, request: Request) {
        let has_values = self.policy.value_head.is_some();
        self.queue.push_back(Text::new(key, request, &self.limits, &self.sampling, has_values));
    }

    /// True if no request is waiting or being continued.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.rows.iter().all(|row| row.text.is_none())
    }

    /// Keeps what was read of a finished request for the next one of its key, until [`Engine::release`]. If there are too
    /// few rows, the one that was used longest ago is given away, and its text is read again.
    #[must_use]
    pub fn keeping_texts(mut self) -> Self {
        self.keeps_texts = true;
        self
    }

    /// Gives away the row that was kept for a key.
    pub fn release(&mut self, key: usize) {
        if !self.keeps_texts {
            return;
        }
        self.rows.iter_mut().filter(|row| row.kept_for == Some(key)).for_each(|row| row.kept_for = None);
    }

    /// Number of tokens that the model has read so far, those that it had written included.
    pub fn tokens_read(&self) -> u64 {
        self.tokens_read
    }

    /// Computes one pass: each row reads its next tokens, or the one that it has written. Returns the requests that
    /// ended with it, by row.
    pub fn step(&mut self) -> Vec<Finished> {
        self.admit();
        self.forget_other_angles();
        let readings = self.readings();
        if readings.is_empty() {
            return self.finished();
        }
        let pass = self.cache.begin(readings);
        let mut tokens = Vec::with_capacity(pass.tokens());
        let mut states = Vec::new();
        for &Reading { row, start, count, .. } in pass.readings() {
            let Row { held, text: Some(text), used, .. } = &mut self.rows[row] else { continue };
            let new = start..start + count;
            let first = text.first_state();
            let token = |position: usize| tokens.len() + position - start;
            let decide = new.clone().filter(|&position| position >= first);
            states.extend(decide.map(|position| State { token: token(position), row, index: position - first }));
            tokens.extend_from_slice(&text.tokens[new.clone()]);
            held.extend_from_slice(&text.tokens[new]);
            *used = self.passes;
        }
        self.passes += 1;
        self.tokens_read += pass.tokens() as u64;
        let is_far = pass.readings().first().is_some_and(|reading| self.rows[reading.row].is_far);
        let hidden = self.policy.read_pass(&tokens, is_far, &mut self.cache);
        self.take_values(&hidden, &states);
        self.choose_tokens(hidden, states);
        self.finished()
    }

    /// The tokens of the next pass, all with the same angles: rows that write come first, then those that have waited the longest.
    fn readings(&self) -> Vec<Reading> {
        let reading = |(at, row): (usize, &Row)| {
            let start = row.held.len();
            let near = self.near_length.filter(|_| !row.is_far).unwrap_or(usize::MAX);
            let text = row.text.as_ref()?;
            let missing = text.to_read().min(near).saturating_sub(start);
            let is_kept = !self.is_read_at_once(text);
            let count = missing.min(self.sizes.chunk);
            (missing > 0).then_some((row.used, Reading { row: at, start, count, is_kept }))
        };
        let mut readings: Vec<(u64, Reading)> = self.rows.iter().enumerate().filter_map(reading).collect();
        readings.sort_by_key(|(used, reading)| (reading.count > 1, *used, reading.row));
        if let Some(is_far) = readings.first().map(|(_, first)| self.rows[first.row].is_far) {
            readings.retain(|(_, reading)| self.rows[reading.row].is_far == is_far);
        }
        let mut tokens = 0;
        let fits = readings.into_iter().map(|(_, reading)| reading).take_while(|reading| {
            let fits = tokens < self.sizes.pass || reading.count == 1;
            tokens += reading.count;
            fits
        });
        fits.collect()
    }

    /// True if one pass reads all of a text that is ever read, so that the cache need not get it. Nobody shares the
    /// beginning of so short a text.
    fn is_read_at_once(&self, text: &Text) -> bool {
        let Sizes { chunk, worth_sharing, .. } = self.sizes;
        let needs_no_cache = !self.keeps_texts && self.near_length.is_none();
        // The last token of a longer text, too, is all that is left to read.
        let begins = text.continuation.log_probs.is_empty();
        let fits = text.capacity() < worth_sharing.min(chunk + 1);
        needs_no_cache && begins && fits && text.to_read() >= text.capacity()
    }

    /// Computes the values of states, if there is a value head.
    fn take_values(&mut self, hidden: &Hidden, states: &[State]) {
        // States of tokens that are read again have their values.
        let is_missing = |state: &&State| {
            self.rows[state.row].text.as_ref().is_some_and(|text| text.continuation.values.len() <= state.index)
        };
        let states: Vec<State> = states.iter().filter(is_missing).copied().collect();
        if self.policy.value_head.is_none() || states.is_empty() {
            return;
        }
        let hidden = select(hidden.clone(), &states, &self.device);
        let values = self.policy.values(hidden.actor).map(|values| host(values.into_data()));
        for (state, value) in states.iter().zip(values.into_iter().flatten()) {
            if let Some(text) = &mut self.rows[state.row].text {
                text.continuation.values.push(value);
            }
        }
    }

    /// Chooses or scores the tokens that follow states.
    fn choose_tokens(&mut self, hidden: Hidden, mut states: Vec<State>) {
        let unscored = |state: &State| self.rows[state.row].text.as_ref().is_some_and(|it| it.is_unscored(state.index));
        states.retain(unscored);
        if states.is_empty() {
            return;
        }
        let scores = self.policy.scores(select(hidden, &states, &self.device));
        let texts = states.into_iter().map(|state| state.row).collect();
        let Self { rows, limits, sampling, large_vocabulary, .. } = self;
        Choosing { rows, limits, sampling, large: *large_vocabulary }.choose(scores, texts);
    }

    /// Takes the texts that are finished out of their rows, by key.
    fn finished(&mut self) -> Vec<Finished> {
        let mut finished = Vec::new();
        for row in &mut self.rows {
            if row.text.as_ref().is_some_and(Text::is_finished) {
                let Some(Text { key, request, continuation, .. }) = row.text.take() else { continue };
                row.kept_for = self.keeps_texts.then_some(key);
                finished.push(Finished { key, request, continuation });
            }
        }
        finished.sort_by_key(|finished| finished.key);
        finished
    }
}

/// The hidden states of these tokens of a pass.
fn select(hidden: Hidden, states: &[State], device: &Device) -> Hidden {
    let is_all = hidden.actor.dims()[0] == states.len();
    if is_all {
        return hidden;
    }
    let tokens = column(states.iter().map(|state| state.token as u32), device);
    hidden.select(&tokens.squeeze_dim(1))
}
