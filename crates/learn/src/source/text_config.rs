//! The section `[text]` of a run file: text data and its batches.

use std::borrow::Cow;
use std::path::PathBuf;

use palestra_datasets::examples::Form;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::examples::{Border, TooLong};
use crate::{Error, Result};
use palestra_text::{History, NamedTemplate};

/// Text data and its batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// Token shards (`*.tokens`), or text files that are encoded when the run starts and held in memory: plain text,
    /// JSON lines, CSV, TSV or Parquet with a column `text`. Relative to the run file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Columns of JSON lines, CSV, TSV and Parquet files that are learned, row by row: `text`, `messages`, `completion` (with
    /// `prompt`) or `chosen` (with `prompt`). Absent, `files` are documents that windows run through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Form>,
    /// Several corpora, or several sets of examples, mixed by weight, in place of `files`.
    #[serde(rename = "corpus", skip_serializing_if = "Vec::is_empty")]
    pub corpora: Vec<CorpusConfig>,
    /// Validation files, which are not trained on; absent, the last part of each training file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<String>,
    /// Fraction of each training file that is held out, from 0 to below 1, if `validation` names no files.
    pub validation_share: f64,
    /// The `tokenizer.json` that encoded the shards, or that encodes the texts. Absent, that of `start_from`, or for
    /// texts one token per character.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Chat template, if it is not that of `start_from`: a Jinja file, or one of `TRAINING_TEMPLATES` by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<NamedTemplate>,
    /// Treatment of earlier turns by a template that rewrites them: `as_written` keeps each turn as it was written,
    /// `as_template` makes each turn of the assistant a row of its own, read after the history that the template writes.
    /// Absent, such a template is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// Tokens of a window, at most the model's context; 0: the model's context. With `format`, the max length of a row.
    pub window: usize,
    /// True if a row holds as many examples as fit, with attention masked between them; false if it holds one example
    /// and padding. The loss is the same.
    pub packing: bool,
    /// Treatment of examples that are longer than a row: `cut` truncates the end, `drop` drops the example.
    pub too_long: TooLong,
    /// Treatment of a prompt and a completion, both texts, whose border lies inside a token of the two together: `apart` encodes
    /// them apart and counts the rows, `refuse` refuses the row.
    pub border: Border,
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
    /// Tokens of such a continuation, at least 1. For no continuations, `samples = 0`.
    pub sample_tokens: usize,
}

/// One of several corpora.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// Same as `text.files`.
    pub files: Vec<String>,
    /// Weight of this corpus relative to the others; above 0. It is the share of the windows, or of the rows of examples.
    pub weight: f64,
    /// Columns that are learned, if they are not those of `text.format`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Form>,
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
            history: None,
            window: 0,
            packing: true,
            too_long: TooLong::Cut,
            border: Border::Apart,
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
        if self.files.is_empty() == self.corpora.is_empty() {
            return Err(Error::Config(
                "text.files: name files, or several corpora in [[text.corpus]]; not both".into(),
            ));
        }
        for corpus in &self.corpora {
            check_ranges("text.corpus", &[("weight", &corpus.weight, Range::POSITIVE)])?;
        }
        check_ranges(
            "text",
            &[
                ("validation_share", &self.validation_share, Range::from_below(0.0, 1.0)),
                ("batch", &self.batch, Range::AT_LEAST_ONE),
                ("steps", &self.steps, Range::AT_LEAST_ONE),
                ("validation_windows", &self.validation_windows, Range::AT_LEAST_ONE),
                ("sample_tokens", &self.sample_tokens, Range::AT_LEAST_ONE),
            ],
        )?;
        if self.validation.is_empty() && self.validation_share == 0.0 {
            return Err(Error::Config(
                "text.validation_share: 0 is not above 0, and text.validation names no files: nothing is held out"
                    .into(),
            ));
        }
        if let Some(form) = self.corpora.iter().find_map(|corpus| corpus.format).filter(|_| self.format.is_none()) {
            return Err(Error::Config(format!(
                "text.corpus.format: {form:?} are examples, which are not mixed with documents; set text.format too"
            )));
        }
        let of_chats = [("chat_template", self.chat_template.is_some()), ("history", self.history.is_some())];
        if let Some((key, _)) = of_chats.iter().find(|(_, is_set)| *is_set)
            && self.sets().iter().all(|set| matches!(set.format.or(self.format), None | Some(Form::Text)))
        {
            return Err(Error::Config(format!(
                "text.{key}: texts are no conversations; remove it, or set text.format to what is read"
            )));
        }
        Ok(())
    }

    /// The corpora or sets of examples to learn from; `files` are a single one.
    pub fn sets(&self) -> Cow<'_, [CorpusConfig]> {
        match self.corpora.is_empty() {
            true => Cow::Owned(vec![CorpusConfig { files: self.files.clone(), weight: 1.0, format: None }]),
            false => Cow::Borrowed(&self.corpora),
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
