use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::order::Shuffle;
use super::reader::Shard;
use crate::error::{Error, Result};
use crate::split_mix::mix;

/// A part of a shard.
#[derive(Debug, Clone)]
pub struct Span {
    /// The shard.
    pub shard: Arc<Shard>,
    /// The range of its tokens.
    pub tokens: Range<u64>,
}

/// Shards that form one corpus.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// The parts of shards, in order.
    pub spans: Vec<Span>,
    /// Sampling weight, relative to the weights of the other corpora.
    pub weight: f64,
}

/// Position of the next window in a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPosition {
    /// Number of completed passes over the corpus.
    pub epoch: u64,
    /// Number of windows drawn in this epoch.
    pub number: u64,
    /// Number of windows drawn in all epochs.
    pub drawn: u64,
}

/// Tokens of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The document ends among them: each is the number of tokens up to it.
    pub ends: Vec<usize>,
}

/// Sampler of windows of a fixed length, in which each token but the first is predicted. Every epoch covers a whole
/// corpus, in a different order and from a different first token; corpora are mixed by weight. The seed and the
/// [`WindowPosition`]s determine the windows.
#[derive(Debug, Clone)]
pub struct Windows {
    corpora: Vec<Corpus>,
    length: u64,
    seed: u64,
    places: Vec<WindowPosition>,
}

impl Span {
    /// Creates a span of a whole shard.
    pub fn whole(shard: Arc<Shard>) -> Self {
        let tokens = 0..shard.header().tokens;
        Self { shard, tokens }
    }

    /// Splits the span into two parts. The second has at least the fraction `last`, and starts after the end of a
    /// document if there are several.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn split(self, last: f64) -> Result<[Self; 2]> {
        let Range { start, end } = self.tokens;
        let mut cut = end - ((end - start) as f64 * last) as u64;
        if cut > start && cut < end {
            let document = self.shard.document_at(cut)?;
            if document.start > start {
                cut = document.start;
            }
        }
        let part = |tokens| Self { shard: Arc::clone(&self.shard), tokens };
        Ok([part(start..cut), part(cut..end)])
    }

    /// Reads a range of its tokens.
    ///
    /// # Errors
    /// A file that cannot be read, or an id beyond the vocabulary.
    pub fn read(&self, tokens: Range<u64>) -> Result<Text> {
        let tokens = self.tokens.start + tokens.start..self.tokens.start + tokens.end;
        let ends = self.shard.ends_in(tokens.clone())?;
        let ends = ends.into_iter().map(|end| (end - tokens.start) as usize).collect();
        Ok(Text { tokens: self.shard.read(tokens)?, ends })
    }

    fn len(&self) -> u64 {
        self.tokens.end - self.tokens.start
    }

    /// Returns the number of consecutive windows from a token on.
    fn windows(&self, length: u64, shift: u64) -> u64 {
        self.len().saturating_sub(1 + shift) / length
    }

    /// Returns the first token of an epoch, so that window boundaries differ between epochs.
    fn shift(&self, length: u64, epoch_seed: u64) -> u64 {
        // A span of one window or less has no other start.
        match length.min(self.len().saturating_sub(length)) {
            0 => 0,
            places => epoch_seed % places,
        }
    }
}

impl Corpus {
    /// Returns the number of tokens of all spans.
    pub fn tokens(&self) -> u64 {
        self.spans.iter().map(Span::len).sum()
    }

    /// Returns at most `most` non-overlapping windows, evenly spaced and in the order of the corpus. They are always
    /// the same.
    ///
    /// # Errors
    /// A file that cannot be read, or fewer tokens than a window has.
    pub fn in_order(&self, length: u64, most: u64) -> Result<Vec<Text>> {
        let total: u64 = self.spans.iter().map(|span| span.windows(length, 0)).sum();
        if total == 0 {
            return Err(too_short(&self.spans, length));
        }
        let count = total.min(most);
        (0..count).map(|number| self.window(number * total / count, length, |_| 0)).collect()
    }

    fn window(&self, mut number: u64, length: u64, shift: impl Fn(&Span) -> u64) -> Result<Text> {
        for span in &self.spans {
            let shift = shift(span);
            let count = span.windows(length, shift);
            if number < count {
                let start = shift + number * length;
                return span.read(start..start + length + 1);
            }
            number -= count;
        }
        unreachable!("the window's number is below their count")
    }
}

impl Windows {
    /// Creates windows of which `length` tokens are inputs, and as many are targets.
    ///
    /// # Errors
    /// A corpus with fewer tokens than a window has.
    pub fn new(corpora: Vec<Corpus>, length: u64, seed: u64) -> Result<Self> {
        for corpus in &corpora {
            if corpus.spans.iter().all(|span| span.windows(length, 0) == 0) {
                return Err(too_short(&corpus.spans, length));
            }
        }
        let places = vec![WindowPosition::default(); corpora.len()];
        Ok(Self { corpora, length, seed, places })
    }

    /// Number of windows of a pass over all corpora, in which each token is read about once.
    pub fn count(&self) -> u64 {
        self.corpora.iter().flat_map(|corpus| &corpus.spans).map(|span| span.windows(self.length, 0)).sum()
    }

    /// Returns the next window.
    ///
    /// # Errors
    /// A file that cannot be read, or an id beyond the vocabulary.
    pub fn draw(&mut self) -> Result<Text> {
        let (corpus, number, seed) = self.advance();
        self.corpora[corpus].window(number, self.length, |span| span.shift(self.length, seed))
    }

    /// Passes over the next window without reading it, and returns its number of inputs.
    pub fn skip(&mut self) -> usize {
        self.advance();
        self.length as usize
    }

    /// Goes on by a window; returns its corpus, and its number and the seed of its epoch there.
    fn advance(&mut self) -> (usize, u64, u64) {
        let at = self.next_corpus();
        let (corpus, place) = (&self.corpora[at], &mut self.places[at]);
        let mut seed = epoch_seed(self.seed, at, place.epoch);
        let count = |seed| -> u64 {
            let windows = |span: &Span| span.windows(self.length, span.shift(self.length, seed));
            corpus.spans.iter().map(windows).sum()
        };
        if place.number >= count(seed) {
            (place.epoch, place.number) = (place.epoch + 1, 0);
            seed = epoch_seed(self.seed, at, place.epoch);
        }
        let number = Shuffle::new(count(seed), seed).at(place.number);
        (place.number, place.drawn) = (place.number + 1, place.drawn + 1);
        (at, number, seed)
    }

    /// Returns the position of the next window in each corpus.
    pub fn places(&self) -> &[WindowPosition] {
        &self.places
    }

    /// Restores positions from [`Windows::places`]; false if they belong to another number of corpora.
    pub fn go_to(&mut self, places: Vec<WindowPosition>) -> bool {
        let fits = places.len() == self.places.len();
        if fits {
            self.places = places;
        }
        fits
    }

    /// Returns the corpora, in order.
    pub fn corpora(&self) -> &[Corpus] {
        &self.corpora
    }

    /// Returns the corpus of the next window.
    fn next_corpus(&self) -> usize {
        let weights: Vec<f64> = self.corpora.iter().map(|corpus| corpus.weight).collect();
        let drawn: Vec<u64> = self.places.iter().map(|place| place.drawn).collect();
        furthest_behind(&weights, &drawn)
    }
}

/// Returns the number of the one that is furthest behind its share, by the weights and how often each was drawn; the
/// first one if several are equally far.
pub fn furthest_behind(weights: &[f64], drawn: &[u64]) -> usize {
    let (sum, total): (f64, u64) = (weights.iter().sum(), drawn.iter().sum());
    let behind = |at: usize| weights[at] / sum * (total + 1) as f64 - drawn[at] as f64;
    (1..weights.len()).fold(0, |best, at| if behind(at) > behind(best) { at } else { best })
}

fn epoch_seed(seed: u64, corpus: usize, epoch: u64) -> u64 {
    mix(mix(seed.wrapping_add(mix(corpus as u64))).wrapping_add(epoch))
}

fn too_short(spans: &[Span], length: u64) -> Error {
    let file = spans.first().map_or_else(PathBuf::new, |span| span.shard.file().to_owned());
    let tokens: u64 = spans.iter().map(Span::len).sum();
    let reason = format!(
        "{tokens} tokens are fewer than a window of {length} and the one after it; give more text or a shorter window"
    );
    Error::file(&file, reason)
}
