//! Batches of text, drawn row by row.

use std::ops::Range;

use burn::tensor::Device;
use palestra_datasets::shards::{WindowPosition, Windows};

use super::Source;
use super::examples::{ExampleCounts, ExampleMix};
use super::text_config::TextConfig;
use super::texts::{RowConverter, Texts};
use crate::batch::{TextBatch, TextRow};
use crate::collective::Collective;
use crate::learners::Learner;
use crate::{Error, Result};
use palestra_model::Policy;
use palestra_report::Metrics;

/// Source of windows of text, or of examples.
pub struct TextSource {
    supply: Supply,
    config: TextConfig,
    device: Device,
    steps_left: usize,
    tokens: usize,
}

/// Supply of rows.
enum Supply {
    Windows(Windows, RowConverter),
    Examples(ExampleMix, ExampleCounts),
}

impl TextSource {
    /// Creates a source of rows up to the given window; the seed fixes their order. `device` is the device of the
    /// batches, in the autodiff context of the model.
    ///
    /// # Errors
    /// A corpus with fewer tokens than a window.
    pub fn new(texts: &Texts, config: TextConfig, window: usize, seed: u64, device: Device) -> Result<Self> {
        let supply = match texts {
            Texts::Documents { training, rows, .. } => {
                Supply::Windows(Windows::new(training.clone(), window as u64, seed)?, rows.clone())
            }
            Texts::Examples { training, counts, packed_to, .. } => {
                Supply::Examples(ExampleMix::new(training, *packed_to, seed), *counts)
            }
        };
        Ok(Self { supply, config, device, steps_left: 0, tokens: 0 })
    }

    /// Optimiser steps of a pass over the text.
    pub fn steps_per_epoch(&self) -> f64 {
        let rows = match &self.supply {
            Supply::Windows(windows, _) => windows.count(),
            Supply::Examples(mix, _) => mix.rows_per_epoch(),
        };
        rows as f64 / self.config.batch as f64
    }

    /// Returns the rows of the next step.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    pub fn next_rows(&mut self) -> Result<Vec<TextRow>> {
        self.draw(0..self.config.batch)
    }

    /// Returns the parts of a rank's share of the next step's batch.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    pub fn next_parts(&mut self, collective: &dyn Collective) -> Result<Vec<TextBatch>> {
        let rows = self.draw(collective.share(self.config.batch))?;
        Ok(TextBatch::parts(&rows, self.config.micro_batch, &self.device))
    }

    /// Goes on by the rows of a batch, and returns those of a share of them. Windows of other shares are not read.
    fn draw(&mut self, share: Range<usize>) -> Result<Vec<TextRow>> {
        let mut rows = Vec::with_capacity(share.len());
        for number in 0..self.config.batch {
            let is_own = share.contains(&number);
            let row = match &mut self.supply {
                Supply::Windows(windows, converter) if is_own => Some(converter.row(windows.draw()?)),
                Supply::Windows(windows, _) => {
                    self.tokens += windows.skip();
                    None
                }
                Supply::Examples(mix, _) => Some(mix.draw()),
            };
            self.tokens += row.as_ref().map_or(0, |row| row.tokens.len() - 1);
            rows.extend(row.filter(|_| is_own));
        }
        Ok(rows)
    }
}

impl<L: Learner<Model = Policy, Batch = TextBatch>> Source<L> for TextSource {
    fn begin(&mut self, _: &mut L, _: &Policy, _: u64, _: &dyn Collective) -> Result<Metrics> {
        (self.steps_left, self.tokens) = (self.config.steps, 0);
        Ok(Metrics::new())
    }

    fn steps(&self) -> usize {
        self.config.steps
    }

    fn next_batch(&mut self, _: &L, collective: &dyn Collective) -> Result<Option<Vec<TextBatch>>> {
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
        let (epoch, mut metrics) = match &self.supply {
            Supply::Windows(windows, _) => {
                (windows.places().iter().map(|place| place.epoch).min().unwrap_or(0), Metrics::new())
            }
            Supply::Examples(mix, counts) => (mix.epoch(), counts.metrics()),
        };
        metrics.insert("data/epoch".to_string(), epoch as f64);
        metrics
    }

    fn state(&self) -> serde_json::Value {
        match &self.supply {
            Supply::Windows(windows, _) => serde_json::to_value(windows.places()),
            Supply::Examples(mix, _) => serde_json::to_value(mix.places()),
        }
        .expect("places are numbers")
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<()> {
        let taken = match &mut self.supply {
            Supply::Windows(windows, _) => {
                serde_json::from_value::<Vec<WindowPosition>>(state.clone()).is_ok_and(|places| windows.go_to(places))
            }
            Supply::Examples(mix, _) => serde_json::from_value(state.clone()).is_ok_and(|places| mix.go_to(places)),
        };
        match taken {
            true => Ok(()),
            false => Err(Error::Training(format!("the source's state {state} is no place in this text"))),
        }
    }
}
