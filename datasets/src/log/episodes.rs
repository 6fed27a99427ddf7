//! Iteration over the episodes of one row group, one batch of rows at a time.

use std::collections::VecDeque;

use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::Located;
use super::assemble::Assembler;
use super::batch::{Batch, number};
use super::file::LogFile;
use super::reader::Log;
use super::schema::Columns;
use super::shield::shield;
use crate::error::{Error, Result};

/// Approximate number of bytes of a row group that are decoded at a time.
const BATCH_BYTES: u64 = 1 << 20;
/// Number of rows decoded at a time from the next row group, into which an episode may continue.
const ROWS_TO_PEEK_AT: usize = 64;

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
