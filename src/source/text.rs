//! Batches of text: windows of token shards, or of texts that are encoded when the run starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use palestra_datasets::documents::{DocumentOptions, Documents};
use palestra_datasets::shards::{Corpus, Place, Shard, Span, Text, Vocabulary, Windows};
use serde::{Deserialize, Serialize};

use super::Source;
use crate::batch::{TextBatch, TextRow};
use crate::learn::Learner;
use crate::model::Policy;
use crate::observe::Metrics;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Which text is learned from, and how it is gone through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// Token shards (`*.tokens`), or files of text that are encoded when the run starts and held in memory: plain text, JSON
    /// lines or Parquet with a column `text`. As seen from the run file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Several corpora, mixed by weight, in place of `files`.
    #[serde(rename = "corpus", skip_serializing_if = "Vec::is_empty")]
    pub corpora: Vec<CorpusConfig>,
    /// Files that are held out of training and measured; absent, the last part of each training file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<String>,
    /// The part of each training file that is held out, 0 to 1, where `validation` names no files.
    pub validation_share: f64,
    /// The `tokenizer.json` that the shards were encoded with, or that the texts are encoded by. Absent, that of
    /// `start_from`, or for texts one token for each of their characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Tokens of a window, at most the model's context; 0: the model's context.
    pub window: usize,
    /// Whether documents in a window see nothing of each other. Otherwise they stand one after the other, as most models are
    /// pretrained, which is faster.
    pub borders: bool,
    /// Windows of one optimiser step, at least 1.
    pub batch: usize,
    /// Windows computed at once, where memory is short; 0: the whole batch.
    pub micro_batch: usize,
    /// Optimiser steps of one update, at least 1.
    pub steps: usize,
    /// Held-out windows that are measured, evenly spread over the held-out text; at least 1.
    pub validation_windows: usize,
    /// Held-out texts that the model continues each time that it is evaluated, to be read by people.
    pub samples: usize,
    /// Tokens of such a continuation.
    pub sample_tokens: usize,
}

/// One of several corpora.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// As `text.files`.
    pub files: Vec<String>,
    /// How much of what is learned from comes from here, beside the weights of the others; above 0.
    pub weight: f64,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            corpora: Vec::new(),
            validation: Vec::new(),
            validation_share: 0.1,
            tokenizer: None,
            window: 0,
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
        let at_least_one =
            [("batch", self.batch), ("steps", self.steps), ("validation_windows", self.validation_windows)];
        match at_least_one.into_iter().find(|(_, value)| *value == 0) {
            Some((field, _)) => wrong(field, "0".into(), "at least 1"),
            None => Ok(()),
        }
    }

    /// All lists of files that the section names.
    pub fn file_lists(&mut self) -> impl Iterator<Item = &mut Vec<String>> {
        let corpora = self.corpora.iter_mut().map(|corpus| &mut corpus.files);
        corpora.chain([&mut self.files, &mut self.validation])
    }

    /// The tokens of a window of a model with this context.
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

    /// Optimiser steps that a run of so many updates takes, and the tokens that they read.
    pub fn extent(&self, updates: u64, window: usize) -> (u64, u64) {
        let steps = updates * self.steps as u64;
        (steps, steps * (self.batch * window) as u64)
    }
}

/// The text of a run: what is learned from, and what is held out.
pub struct Texts {
    /// What is learned from.
    pub training: Vec<Corpus>,
    /// What is held out.
    pub validation: Corpus,
    /// Turns windows into rows.
    pub rows: Rows,
}

/// What turns windows of tokens into rows to learn from.
#[derive(Clone)]
pub struct Rows {
    /// The bytes that each token stands for.
    lengths: Arc<[u32]>,
    borders: bool,
    has_separator: bool,
}

/// The tokenizer of a run that learns from text: the file that it names, or one token for each character of its texts.
///
/// # Errors
/// A file that cannot be read, or shards without the tokenizer that they were encoded with.
pub fn tokenizer_of(config: &TextConfig) -> Result<Tokenizer> {
    if let Some(path) = &config.tokenizer {
        return Tokenizer::from_file(path);
    }
    let corpora = config.corpora.iter().map(|corpus| &corpus.files);
    let files: Vec<&String> = corpora.chain([&config.files, &config.validation]).flatten().collect();
    if let Some(shard) = files.iter().find(|file| is_shard(file)) {
        return Err(Error::Config(format!("text.tokenizer: name the tokenizer.json that {shard} was encoded with")));
    }
    let mut alphabet = std::collections::BTreeSet::new();
    for document in Documents::open(&files, DocumentOptions::default())? {
        alphabet.extend(document?.chars());
    }
    Tokenizer::from_alphabet(&alphabet.into_iter().collect::<String>())
}

impl Texts {
    /// Opens the text of a run, and reads all of it once, so that damage is found out before a run.
    ///
    /// # Errors
    /// Files that cannot be read, are damaged or were encoded by another tokenizer; less text than a window.
    pub fn open(config: &TextConfig, tokenizer: &Tokenizer) -> Result<Self> {
        let one = CorpusConfig { files: config.files.clone(), weight: 1.0 };
        let named = if config.corpora.is_empty() { std::slice::from_ref(&one) } else { &config.corpora[..] };
        let (mut training, mut held_out) = (Vec::new(), Vec::new());
        for CorpusConfig { files, weight } in named {
            let mut spans = Vec::new();
            for span in open(files, tokenizer)? {
                if config.validation.is_empty() {
                    let [first, last] = span.split(config.validation_share)?;
                    spans.push(first);
                    held_out.push(last);
                } else {
                    spans.push(span);
                }
            }
            training.push(Corpus { spans, weight: *weight });
        }
        if !config.validation.is_empty() {
            held_out = open(&config.validation, tokenizer)?;
        }
        let spans = training.iter().flat_map(|corpus| &corpus.spans);
        let has_separator = spans.chain(&held_out).all(|span| span.shard.header().vocabulary.separator.is_some());
        let rows = Rows { lengths: tokenizer.token_bytes().into(), borders: config.borders, has_separator };
        Ok(Self { training, validation: Corpus { spans: held_out, weight: 1.0 }, rows })
    }
}

impl Rows {
    /// A window as a row in which every token counts but the first; with borders, documents are apart: the separator that
    /// ends one is predicted in it and read as the beginning of the next.
    pub fn row(&self, text: Text) -> TextRow {
        let Text { tokens, ends } = text;
        let places = || 1..tokens.len();
        let (borders, uncounted) = match (self.borders, self.has_separator) {
            (false, _) => (Vec::new(), Vec::new()),
            (true, true) => (ends.iter().map(|end| end - 1).filter(|at| places().contains(at)).collect(), Vec::new()),
            (true, false) => {
                let ends: Vec<usize> = ends.into_iter().filter(|at| places().contains(at)).collect();
                (ends.clone(), ends)
            }
        };
        let counted: Vec<usize> = places().filter(|at| !uncounted.contains(at)).collect();
        let bytes = counted.iter().map(|&at| self.lengths[tokens[at] as usize] as usize).sum();
        TextRow { tokens, counted, borders, bytes }
    }
}

/// Learns from windows of text.
pub struct TextSource {
    windows: Windows,
    rows: Rows,
    config: TextConfig,
    device: Device,
    steps_left: usize,
    tokens: usize,
}

impl TextSource {
    /// A source of windows of so many tokens; the seed fixes their order. `device` is where batches are made, in the autodiff
    /// context of the model.
    ///
    /// # Errors
    /// A corpus with fewer tokens than a window.
    pub fn new(texts: &Texts, config: TextConfig, window: usize, seed: u64, device: Device) -> Result<Self> {
        let windows = Windows::new(texts.training.clone(), window as u64, seed)?;
        Ok(Self { windows, rows: texts.rows.clone(), config, device, steps_left: 0, tokens: 0 })
    }

    /// The parts of the batch of one step.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    pub fn next_parts(&mut self) -> Result<Vec<TextBatch>> {
        let windows: Result<Vec<Text>, _> = (0..self.config.batch).map(|_| self.windows.draw()).collect();
        let rows: Vec<TextRow> = windows?.into_iter().map(|window| self.rows.row(window)).collect();
        self.tokens += rows.iter().map(|row| row.tokens.len() - 1).sum::<usize>();
        Ok(TextBatch::parts(&rows, self.config.micro_batch, &self.device))
    }
}

impl<L: Learner<Model = Policy, Batch = TextBatch>> Source<L> for TextSource {
    fn begin(&mut self, _: &mut L, _: &Policy, _: u64) -> Result<Metrics> {
        (self.steps_left, self.tokens) = (self.config.steps, 0);
        Ok(Metrics::new())
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

    fn observe(&mut self, _: &L, _: &Metrics) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) -> Metrics {
        let least = self.windows.places().iter().map(|place| place.epoch).min().unwrap_or(0);
        Metrics::from([("data/epoch".to_string(), least as f64)])
    }

    fn state(&self) -> serde_json::Value {
        serde_json::to_value(self.windows.places()).expect("places are numbers")
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<()> {
        let wrong = || Error::Training(format!("the source's state {state} is no place in these corpora"));
        let places: Vec<Place> = serde_json::from_value(state.clone()).map_err(|_| wrong())?;
        if self.windows.go_to(places) { Ok(()) } else { Err(wrong()) }
    }
}

fn is_shard(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|ending| ending == "tokens")
}

/// Each shard, and what is not encoded yet as one more.
fn open(files: &[String], tokenizer: &Tokenizer) -> Result<Vec<Span>> {
    let (shards, texts): (Vec<&String>, Vec<&String>) = files.iter().partition(|file| is_shard(file));
    let mut spans = Vec::new();
    for file in shards {
        let shard = Shard::open(Path::new(file))?;
        check_tokenizer(&shard, tokenizer)?;
        shard.verify()?;
        spans.push(Span::whole(Arc::new(shard)));
    }
    if let Some(first) = texts.first() {
        spans.push(Span::whole(Arc::new(encode(&texts, Path::new(first), tokenizer)?)));
    }
    Ok(spans)
}

/// # Errors
/// A shard that another tokenizer encoded.
pub fn check_tokenizer(shard: &Shard, tokenizer: &Tokenizer) -> Result<()> {
    let (found, right) = (&shard.header().vocabulary.fingerprint, tokenizer.fingerprint());
    match found == right {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "{}: it was encoded by a tokenizer with the fingerprint {found}, and this one has {right}; name the tokenizer \
             that encoded it, or encode the texts again",
            shard.file().display()
        ))),
    }
}

fn encode(files: &[&String], name: &Path, tokenizer: &Tokenizer) -> Result<Shard> {
    let (mut documents, mut bytes) = (Vec::new(), 0);
    for document in Documents::open(files, DocumentOptions::default())? {
        let document = document?;
        let mut tokens = Vec::new();
        tokenizer.encode(&document, &mut tokens)?;
        bytes += document.len() as u64;
        documents.push(tokens);
    }
    // A text alone is never ended, so that a model never learns to.
    let separator = tokenizer.special().end.filter(|_| documents.len() > 1);
    Ok(Shard::in_memory(name, &documents, Vocabulary { separator, ..tokenizer.vocabulary() }, bytes))
}
