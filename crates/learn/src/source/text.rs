//! Batches of text: the configuration, and the source that draws them row by row.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use palestra_datasets::examples::Form;
use palestra_datasets::shards::{Place, Windows};
use serde::{Deserialize, Serialize};

use super::Source;
use super::examples::{ExampleCounts, ExampleOrder, TooLong};
use super::texts::{Rows, Texts};
use crate::batch::{TextBatch, TextRow};
use crate::learners::Learner;
use crate::{Error, Result};
use palestra_model::Policy;
use palestra_report::Metrics;

/// Text data and its batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// Token shards (`*.tokens`), or text files that are encoded when the run starts and held in memory: plain text,
    /// JSON lines or Parquet with a column `text`. Relative to the run file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Columns of JSON lines and Parquet files that are learned, row by row: `text`, `messages`, `completion` (with
    /// `prompt`) or `chosen` (with `prompt`). Absent, `files` are documents that windows run through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Form>,
    /// Several corpora, mixed by weight, in place of `files`.
    #[serde(rename = "corpus", skip_serializing_if = "Vec::is_empty")]
    pub corpora: Vec<CorpusConfig>,
    /// Validation files, which are not trained on; absent, the last part of each training file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<String>,
    /// Fraction of each training file that is held out, 0 to 1, if `validation` names no files.
    pub validation_share: f64,
    /// The `tokenizer.json` that encoded the shards, or that encodes the texts. Absent, that of `start_from`, or for
    /// texts one token per character.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Jinja file of the chat template, if it is not that of `start_from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<PathBuf>,
    /// Tokens of a window, at most the model's context; 0: the model's context. With `format`, the max length of a row.
    pub window: usize,
    /// True if a row holds as many examples as fit, with attention masked between them; false if it holds one example
    /// and padding. The loss is the same.
    pub packing: bool,
    /// Treatment of examples that are longer than a row: `cut` truncates the end, `drop` drops the example.
    pub too_long: TooLong,
    /// True if attention is masked between the documents of a window. If false, a document sees those before it in its
    /// window, as in the pretraining of most models, which is faster.
    pub borders: bool,
    /// Windows per optimiser step, at least 1.
    pub batch: usize,
    /// Windows per forward pass, to save memory; 0: the whole batch.
    pub micro_batch: usize,
    /// Optimiser steps of one update, at least 1.
    pub steps: usize,
    /// Held-out windows per evaluation, evenly spread over the held-out text; at least 1.
    pub validation_windows: usize,
    /// Number of held-out texts that the model continues at each evaluation, for people to read.
    pub samples: usize,
    /// Tokens of such a continuation.
    pub sample_tokens: usize,
}

/// One of several corpora.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// Same as `text.files`.
    pub files: Vec<String>,
    /// Weight of this corpus relative to the others; above 0.
    pub weight: f64,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            corpora: Vec::new(),
            validation: Vec::new(),
            validation_share: 0.1,
            format: None,
            tokenizer: None,
            chat_template: None,
            window: 0,
            packing: true,
            too_long: TooLong::Cut,
            borders: false,
            batch: 16,
            micro_batch: 0,
            steps: 1,
            validation_windows: 2048,
            samples: 2,
            sample_tokens: 200,
        }
    }
}

impl TextConfig {
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, value: String, right: &str| {
            Err(Error::Config(format!("text.{field}: {value} is not {right}")))
        };
        if self.files.is_empty() == self.corpora.is_empty() {
            return Err(Error::Config(
                "text.files: name files, or several corpora in [[text.corpus]]; not both".into(),
            ));
        }
        for corpus in &self.corpora {
            if !(corpus.weight > 0.0 && corpus.weight.is_finite()) {
                return wrong("corpus.weight", corpus.weight.to_string(), "above 0");
            }
        }
        if !(0.0..1.0).contains(&self.validation_share) {
            return wrong("validation_share", self.validation_share.to_string(), "between 0 and 1");
        }
        if self.validation.is_empty() && self.validation_share == 0.0 {
            return wrong(
                "validation_share",
                "0".into(),
                "above 0, and text.validation names no files: nothing is held out",
            );
        }
        if self.format.is_some() && !self.corpora.is_empty() {
            return Err(Error::Config(
                "text.corpus: examples are not mixed by weight; name their files in text.files".into(),
            ));
        }
        if self.chat_template.is_some() && matches!(self.format, None | Some(Form::Text)) {
            return Err(Error::Config(
                "text.chat_template: texts are no conversations; remove it, or set text.format to what is read".into(),
            ));
        }
        let at_least_one =
            [("batch", self.batch), ("steps", self.steps), ("validation_windows", self.validation_windows)];
        match at_least_one.into_iter().find(|(_, value)| *value == 0) {
            Some((field, _)) => wrong(field, "0".into(), "at least 1"),
            None => Ok(()),
        }
    }

    /// All lists of files in this section.
    pub fn file_lists(&mut self) -> impl Iterator<Item = &mut Vec<String>> {
        let corpora = self.corpora.iter_mut().map(|corpus| &mut corpus.files);
        corpora.chain([&mut self.files, &mut self.validation])
    }

    /// Number of tokens of a window for a model with this context.
    ///
    /// # Errors
    /// A window longer than the context.
    pub fn window_of(&self, context: usize) -> Result<usize> {
        match self.window {
            0 => Ok(context),
            window if window <= context => Ok(window),
            window => Err(Error::Config(format!(
                "text.window: {window} tokens are more than the model's context of {context}; set model.context or a \
                 shorter window"
            ))),
        }
    }
}

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
    Windows(Windows, Rows),
    Examples(ExampleOrder, ExampleCounts),
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
                Supply::Examples(ExampleOrder::new(Arc::clone(training), *packed_to, seed), *counts)
            }
        };
        Ok(Self { supply, config, device, steps_left: 0, tokens: 0 })
    }

    /// Returns the rows of the next step.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    pub fn next_rows(&mut self) -> Result<Vec<TextRow>> {
        let draw = |_| match &mut self.supply {
            Supply::Windows(windows, rows) => Ok(rows.row(windows.draw()?)),
            Supply::Examples(order, _) => Ok(order.draw()),
        };
        (0..self.config.batch).map(draw).collect()
    }

    /// Returns the parts of the next step's batch.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    pub fn next_parts(&mut self) -> Result<Vec<TextBatch>> {
        let rows = self.next_rows()?;
        self.tokens += rows.iter().map(|row| row.tokens.len() - 1).sum::<usize>();
        Ok(TextBatch::parts(&rows, self.config.micro_batch, &self.device))
    }
}

impl<L: Learner<Model = Policy, Batch = TextBatch>> Source<L> for TextSource {
    fn begin(&mut self, _: &mut L, _: &Policy, _: u64) -> Result<Metrics> {
        (self.steps_left, self.tokens) = (self.config.steps, 0);
        Ok(Metrics::new())
    }

    fn steps(&self) -> usize {
        self.config.steps
    }

    fn next_batch(&mut self, _: &L) -> Result<Option<Vec<TextBatch>>> {
        if self.steps_left == 0 {
            return Ok(None);
        }
        self.steps_left -= 1;
        self.next_parts().map(Some)
    }

    fn tokens(&self) -> usize {
        self.tokens
    }

    fn end(&mut self) -> Metrics {
        let (epoch, mut metrics) = match &self.supply {
            Supply::Windows(windows, _) => {
                (windows.places().iter().map(|place| place.epoch).min().unwrap_or(0), Metrics::new())
            }
            Supply::Examples(order, counts) => (order.place().epoch, counts.metrics()),
        };
        metrics.insert("data/epoch".to_string(), epoch as f64);
        metrics
    }

    fn state(&self) -> serde_json::Value {
        match &self.supply {
            Supply::Windows(windows, _) => serde_json::to_value(windows.places()),
            Supply::Examples(order, _) => serde_json::to_value(order.place()),
        }
        .expect("places are numbers")
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<()> {
        let taken = match &mut self.supply {
            Supply::Windows(windows, _) => {
                serde_json::from_value::<Vec<Place>>(state.clone()).is_ok_and(|places| windows.go_to(places))
            }
            Supply::Examples(order, _) => serde_json::from_value(state.clone()).is_ok_and(|place| order.go_to(place)),
        };
        match taken {
            true => Ok(()),
            false => Err(Error::Training(format!("the source's state {state} is no place in this text"))),
        }
    }
}
