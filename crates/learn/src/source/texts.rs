//! Text of a run: read and encoded once, split into training and validation, and cut into rows.

use std::path::Path;
use std::sync::Arc;

use palestra_datasets::documents::{DocumentOptions, Documents};
use palestra_datasets::shards::{Corpus, Shard, Span, Text, Vocabulary};

use super::examples::{ExampleCounts, ExampleEncoder, ExampleSet, packed};
use super::text_config::{CorpusConfig, TextConfig};
use crate::batch::TextRow;
use crate::{Error, Result};
use palestra_text::{ChatTemplate, Tokenizer};

/// Text of a run, split into training and validation.
pub enum Texts {
    /// Documents, which windows run through.
    Documents {
        /// Training text.
        training: Vec<Corpus>,
        /// Held-out text.
        validation: Corpus,
        /// Turns windows into rows.
        rows: RowConverter,
    },
    /// Examples.
    Examples {
        /// Training rows of each data set.
        training: Vec<ExampleSet>,
        /// Held-out rows.
        validation: Vec<TextRow>,
        /// Counts over the rows of the files.
        counts: ExampleCounts,
        /// Max length of a packed row; `None`: one example per row.
        packed_to: Option<usize>,
    },
}

/// Converter of token windows to training rows.
#[derive(Clone)]
pub struct RowConverter {
    /// Number of bytes of each token's text.
    lengths: Arc<[u32]>,
    borders: bool,
    /// True if the separator of two documents, which ends the first, is also read as the beginning of the second.
    begins_with_separator: bool,
}

/// Returns the tokenizer of a run on text: the configured file, or one token for each character of its texts.
///
/// # Errors
/// A file that cannot be read, or shards without the tokenizer that they were encoded with.
pub fn tokenizer_of(config: &TextConfig) -> Result<Tokenizer> {
    if let Some(path) = &config.tokenizer {
        return Ok(Tokenizer::from_file(path)?);
    }
    if config.format.is_some() {
        return Err(Error::Config(
            "text.tokenizer: examples have no alphabet of their own; name a tokenizer.json, or a model in start_from"
                .into(),
        ));
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
    Ok(Tokenizer::from_alphabet(&alphabet.into_iter().collect::<String>())?)
}

impl Texts {
    /// Opens the text of a run, and reads all of it once, so that damage is reported before training starts. `template`
    /// formats conversations; a row has `window` tokens plus one.
    ///
    /// # Errors
    /// Files that cannot be read, are damaged or were encoded by another tokenizer; less text than a window; a row that is
    /// no example.
    pub fn open(
        config: &TextConfig,
        tokenizer: &Tokenizer,
        template: Option<&ChatTemplate>,
        window: usize,
    ) -> Result<Self> {
        match config.format {
            None => Self::open_documents(config, tokenizer),
            Some(form) => {
                let max_length = window + 1;
                let encoder = ExampleEncoder {
                    tokenizer,
                    template,
                    max_length,
                    too_long: config.too_long,
                    border: config.border,
                    history: config.history,
                };
                let (mut training, mut validation) = (Vec::new(), Vec::new());
                let mut counts = ExampleCounts::default();
                for CorpusConfig { files, weight, format } in config.sets().iter() {
                    let mut found = encoder.read(files, format.unwrap_or(form))?;
                    if config.validation.is_empty() {
                        validation.extend(found.split_off(config.validation_share)?);
                    }
                    counts += found.counts;
                    training.push(ExampleSet { rows: found.rows.into(), weight: *weight });
                }
                if !config.validation.is_empty() {
                    validation = encoder.read(&config.validation, form)?.rows;
                }
                let packed_to = config.packing.then_some(max_length);
                Ok(Self::Examples { training, validation, counts, packed_to })
            }
        }
    }

    fn open_documents(config: &TextConfig, tokenizer: &Tokenizer) -> Result<Self> {
        let (mut training, mut held_out) = (Vec::new(), Vec::new());
        for CorpusConfig { files, weight, .. } in config.sets().iter() {
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
        let begins_with_separator = has_separator && tokenizer.beginning().is_empty();
        let rows =
            RowConverter { lengths: tokenizer.token_bytes().into(), borders: config.borders, begins_with_separator };
        Ok(Self::Documents { training, validation: Corpus { spans: held_out, weight: 1.0 }, rows })
    }

    /// Returns at most the given number of held-out windows or examples, evenly spread, as rows; and the beginnings of
    /// some of them as prompts for continuations.
    ///
    /// # Errors
    /// Less held-out text than a window.
    pub fn held_out(&self, window: usize, most: usize, beginnings: usize) -> Result<(Vec<TextRow>, Vec<Vec<u32>>)> {
        let spread = |count: usize, most: usize| {
            let taken = count.min(most);
            (0..taken).map(move |number| number * count / taken)
        };
        match self {
            Self::Documents { validation, rows, .. } => {
                let windows = validation.in_order(window as u64, most as u64)?;
                let rows: Vec<TextRow> = windows.into_iter().map(|text| rows.row(text)).collect();
                let beginning = |at: usize| rows[at].tokens[..(window / 4).clamp(1, 32)].to_vec();
                let beginnings = spread(rows.len(), beginnings).map(beginning).collect();
                Ok((rows, beginnings))
            }
            Self::Examples { validation, packed_to, .. } => {
                let chosen: Vec<TextRow> = spread(validation.len(), most).map(|at| validation[at].clone()).collect();
                let beginning = |at: usize| chosen[at].tokens[..chosen[at].counted[0]].to_vec();
                let beginnings = spread(chosen.len(), beginnings).map(beginning).collect();
                Ok((packed_to.map_or_else(|| chosen.clone(), |max_length| packed(&chosen, max_length)), beginnings))
            }
        }
    }

    /// Counts of the examples that were read; `None` for documents.
    pub fn counts(&self) -> Option<ExampleCounts> {
        match self {
            Self::Documents { .. } => None,
            Self::Examples { counts, .. } => Some(*counts),
        }
    }
}

impl RowConverter {
    /// Turns a window into a row in which every token but the first counts. With borders, documents are separate, and each
    /// is read from its own first token. Where the tokenizer begins no text, that is the separator before it.
    pub fn row(&self, text: Text) -> TextRow {
        let Text { tokens, ends } = text;
        let places = || 1..tokens.len();
        let (borders, uncounted) = match (self.borders, self.begins_with_separator) {
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

fn is_shard(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|ending| ending == "tokens")
}

/// Opens each shard, and encodes all other files into one more span.
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
        bytes += document.len() as u64;
        documents.push(tokenizer.encode_beginning(&document)?);
    }
    // A single text gets no end token, so that a model never learns to end.
    let separator = tokenizer.special().end.filter(|_| documents.len() > 1);
    Ok(Shard::in_memory(name, &documents, Vocabulary { separator, ..tokenizer.vocabulary() }, bytes))
}
#[cfg(test)]
mod tests {
    use super::*;

    /// Two documents of two tokens and the beginning of a third, with the separator 0 or without.
    fn rows(borders: bool, begins_with_separator: bool) -> TextRow {
        let text = match begins_with_separator {
            true => Text { tokens: vec![1, 2, 0, 3, 4, 0, 5, 6], ends: vec![3, 6] },
            false => Text { tokens: vec![1, 2, 3, 4, 5, 6], ends: vec![2, 4] },
        };
        let lengths = [0, 1, 2, 3, 4, 5, 6].as_slice().into();
        RowConverter { lengths, borders, begins_with_separator }.row(text)
    }

    #[test]
    fn without_borders_every_token_but_the_first_counts() {
        let row = rows(false, true);
        assert_eq!((row.counted, row.borders, row.bytes), (vec![1, 2, 3, 4, 5, 6, 7], vec![], 2 + 3 + 4 + 5 + 6));
    }

    #[test]
    fn with_borders_a_separator_ends_one_document_and_begins_the_next() {
        let row = rows(true, true);
        assert_eq!((row.counted, row.borders), (vec![1, 2, 3, 4, 5, 6, 7], vec![2, 5]));
        let row = rows(true, false);
        assert_eq!((row.counted, row.borders, row.bytes), (vec![1, 3, 5], vec![2, 4], 2 + 4 + 6));
    }

    #[test]
    fn with_borders_a_document_begins_with_the_token_that_begins_every_text() {
        // 7 begins each document, and 0 ends it.
        let text = Text { tokens: vec![7, 1, 0, 7, 2, 0], ends: vec![3, 6] };
        let lengths = [0, 1, 2, 0, 0, 0, 0, 0].as_slice().into();
        let row = RowConverter { lengths, borders: true, begins_with_separator: false }.row(text);
        assert_eq!((row.counted, row.borders, row.bytes), (vec![1, 2, 4, 5], vec![3], 1 + 2));
    }

    #[test]
    fn a_border_at_the_end_of_a_window_changes_nothing() {
        let text = Text { tokens: vec![0, 1, 2, 0], ends: vec![1, 4] };
        let rows = RowConverter { lengths: [0, 1, 1].as_slice().into(), borders: true, begins_with_separator: true };
        let row = rows.row(text);
        assert_eq!((row.counted, row.borders), (vec![1, 2, 3], vec![3]), "the last token is not read");
    }
}
