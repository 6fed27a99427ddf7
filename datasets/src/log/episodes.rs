//! Iteration over the episodes of one row group, one batch of rows at a time.

use std::collections::VecDeque;

use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::assemble::Assembler;
use super::batch::{Batch, number};
use super::file::LogFile;
use super::reader::Log;
use super::rows::bytes_of;
use super::schema::Columns;
use super::shield::shield;
use super::{Group, Located};
use crate::error::{Error, Result};
use crate::{End, Episode};

/// Approximate number of bytes of a row group that are decoded at a time.
const BATCH_BYTES: u64 = 1 << 20;
/// Number of rows decoded at a time from the next row group, into which an episode may continue.
const ROWS_TO_PEEK_AT: usize = 64;

/// Outcome of a logged episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Return: the sum of the rewards.
    pub total_reward: f64,
    /// End of the episode; `None` if the log was cut short.
    pub end: Option<End>,
    /// Split that the episode belongs to, such as `train`.
    pub split: Option<String>,
}

/// Iterator over the episodes whose first row is in a row group.
///
/// Other tools may end a row group anywhere. An episode that spans two row groups is read from the one in which it
/// begins. The reader of the other skips its rows, which are those at the start that are not step 0. The reader of the
/// first checks that these rows do continue the episode.
pub(super) struct Episodes<'a> {
    log: &'a Log,
    file: usize,
    row_group: usize,
    columns: Columns,
    assembler: Assembler,
    ready: VecDeque<Result<Located>>,
    stage: Stage,
}

enum Stage {
    Start,
    /// Within the row group. `begun` is true after the first row of an episode.
    Within {
        rows: RowReader,
        begun: bool,
    },
    /// In a later row group, as far as the last episode extends.
    Beyond {
        rows: RowReader,
    },
    End,
}

/// Read position in a row group.
struct RowReader {
    reader: ParquetRecordBatchReader,
    row_group: usize,
    next_row: u64,
    end: u64,
}

impl Log {
    /// Reads the episodes that begin in a row group. An episode that another tool wrote across row groups is read to
    /// its end. All these episodes are held in memory, which in a file of another tool can be many; see
    /// [`read_chunks`](Self::read_chunks).
    pub fn read(&self, group: &Group) -> Result<Vec<Located>> {
        self.episodes_of(group, self.options.columns).collect()
    }

    /// Reads the episodes that begin in a row group, in chunks of about `max_bytes` of text and ids (at least one
    /// episode). An error is an item of its own, and reading can continue after it.
    pub fn read_chunks<'a>(
        &'a self,
        group: &Group,
        max_bytes: usize,
    ) -> impl Iterator<Item = Result<Vec<Located>>> + use<'a> {
        let mut episodes = self.episodes_of(group, self.options.columns);
        let mut error = None;
        std::iter::from_fn(move || {
            if let Some(error) = error.take() {
                return Some(Err(error));
            }
            let (mut portion, mut bytes) = (Vec::new(), 0);
            while bytes < max_bytes.max(1) {
                match episodes.next() {
                    Some(Ok(located)) => {
                        bytes += bytes_of(&located.episode);
                        portion.push(located);
                    }
                    Some(Err(reason)) if portion.is_empty() => return Some(Err(reason)),
                    Some(Err(reason)) => {
                        error = Some(reason);
                        break;
                    }
                    None => break,
                }
            }
            (!portion.is_empty()).then_some(Ok(portion))
        })
    }

    /// Iterates over all episodes, file by file. Memory does not grow with the log. Reading can continue after an
    /// error: it concerns one episode, or the rest of a row group.
    pub fn episodes(&self) -> impl Iterator<Item = Result<Located>> + '_ {
        self.groups().iter().flat_map(|group| self.episodes_of(group, self.options.columns))
    }

    /// Returns the outcome of each episode, in order. Reads only the columns that this needs. An episode that is invalid
    /// in another column is therefore neither reported nor skipped.
    pub fn outcomes(&self) -> Result<Vec<Outcome>> {
        let episodes = self.groups().iter().flat_map(|group| self.episodes_of(group, Columns::Rewards));
        let outcome =
            |episode: Episode| Outcome { total_reward: episode.total_reward(), end: episode.end, split: episode.split };
        episodes.map(|located| Ok(outcome(located?.episode))).collect()
    }

    fn episodes_of(&self, group: &Group, columns: Columns) -> Episodes<'_> {
        Episodes::new(self, group.file, group.row_group, columns)
    }
}

impl<'a> Episodes<'a> {
    pub fn new(log: &'a Log, file: usize, row_group: usize, columns: Columns) -> Self {
        let assembler = Assembler::new(log.file(file).path.as_path().into(), file);
        Self { log, file, row_group, columns, assembler, ready: VecDeque::new(), stage: Stage::Start }
    }

    /// Reads until an episode is ready or the end is reached.
    fn advance(&mut self) {
        let file = self.log.file(self.file);
        self.stage = match std::mem::replace(&mut self.stage, Stage::End) {
            Stage::Start => match RowReader::open(file, self.row_group, self.columns, usize::MAX) {
                Ok(rows) => Stage::Within { begun: file.is_ours || rows.next_row == 0, rows },
                Err(error) => self.fail(error),
            },
            Stage::Within { mut rows, mut begun } => match rows.next(file) {
                Ok(Some((batch, first_row))) => {
                    let start = if begun { 0 } else { first_of_an_episode(&batch) };
                    begun |= start < batch.rows;
                    self.assembler.push(&batch, start..batch.rows, self.row_group, first_row, &mut self.ready);
                    Stage::Within { rows, begun }
                }
                Ok(None) => self.go_beyond(file, self.row_group + 1),
                Err(error) => self.fail(error),
            },
            Stage::Beyond { mut rows } => match rows.next(file) {
                Ok(Some((batch, first_row))) => {
                    let end = first_of_an_episode(&batch);
                    self.assembler.push(&batch, 0..end, rows.row_group, first_row, &mut self.ready);
                    if end < batch.rows { self.end() } else { Stage::Beyond { rows } }
                }
                Ok(None) => self.go_beyond(file, rows.row_group + 1),
                Err(error) => self.fail_beyond(error),
            },
            Stage::End => Stage::End,
        };
    }

    fn go_beyond(&mut self, file: &LogFile, row_group: usize) -> Stage {
        if file.is_ours || row_group == file.groups.len() || !self.assembler.is_open() {
            return self.end();
        }
        match RowReader::open(file, row_group, self.columns, ROWS_TO_PEEK_AT) {
            Ok(rows) => Stage::Beyond { rows },
            Err(error) => self.fail_beyond(error),
        }
    }

    fn end(&mut self) -> Stage {
        self.ready.extend(self.assembler.take());
        Stage::End
    }

    fn fail(&mut self, error: Error) -> Stage {
        self.ready.push_back(Err(error));
        Stage::End
    }

    /// Handles an error of a later row group. The reader of that row group reports it, unless an incomplete episode
    /// needs the rows.
    fn fail_beyond(&mut self, error: Error) -> Stage {
        if self.assembler.has_ended() { self.end() } else { self.fail(error) }
    }
}

impl Iterator for Episodes<'_> {
    type Item = Result<Located>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.ready.pop_front() {
                Some(Err(error)) if self.log.passes_over(self.file, self.row_group, &error) => {}
                Some(ready) => return Some(ready),
                None if matches!(self.stage, Stage::End) => return None,
                None => self.advance(),
            }
        }
    }
}

impl RowReader {
    fn open(file: &LogFile, row_group: usize, columns: Columns, max_rows: usize) -> Result<Self> {
        let group = &file.groups[row_group];
        let bytes_of_row = file.bytes(row_group) / group.rows.max(1);
        let batch_rows = (BATCH_BYTES / bytes_of_row.max(1)).clamp(64, 8192) as usize;
        let reader = file.batches(row_group, columns, batch_rows.min(max_rows))?;
        Ok(Self { reader, row_group, next_row: group.first_row, end: group.first_row + group.rows })
    }

    /// Returns the next batch of rows, with the index of its first row in the file.
    fn next(&mut self, file: &LogFile) -> Result<Option<(Batch, u64)>> {
        let row_group = self.row_group;
        let damaged = |reason| Error::RowGroup { file: file.path.clone(), row_group, reason };
        let decode = || self.reader.next().transpose().map(|batch| batch.map(|batch| Batch::new(&batch)));
        match shield(decode) {
            Ok(Some(batch)) => {
                let first_row = self.next_row;
                self.next_row += batch.rows as u64;
                Ok(Some((batch, first_row)))
            }
            Ok(None) if self.next_row != self.end => {
                Err(damaged(format!("ends after row {}, and should reach row {}", self.next_row, self.end)))
            }
            Ok(None) => Ok(None),
            Err(reason) => Err(damaged(format!("cannot be decoded from row {}: {reason}", self.next_row))),
        }
    }
}

/// Returns the index in the batch of the first row with step 0, or the number of rows if there is none. RowReader with an
/// invalid step count too, so that they are reported.
fn first_of_an_episode(batch: &Batch) -> usize {
    (0..batch.rows).find(|row| number(&batch.step, *row).unwrap_or_default() == 0).unwrap_or(batch.rows)
}
