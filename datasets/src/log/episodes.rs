//! The episodes of one row group, a batch of rows at a time.

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

/// About how much of a row group is decoded at a time.
const BATCH_BYTES: u64 = 1 << 20;
/// Rows that are decoded at a time where an episode may go on in the next row group.
const ROWS_TO_PEEK_AT: usize = 64;

/// The episodes whose first row stands in a row group.
///
/// Other tools end row groups where they like. An episode that straddles two is then read from the one in which it
/// begins, and the reader of the other passes over its rows: those at the start that are not step 0. That these rows do
/// continue the episode before is checked where it begins.
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
    /// Within the row group. `begun` once a first row of an episode was seen.
    Within {
        rows: Rows,
        begun: bool,
    },
    /// In a row group after it, as far as the last episode reaches.
    Beyond {
        rows: Rows,
    },
    End,
}

/// Where a row group is being read.
struct Rows {
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

    /// Reads on until an episode is ready or none is left.
    fn advance(&mut self) {
        let file = self.log.file(self.file);
        self.stage = match std::mem::replace(&mut self.stage, Stage::End) {
            Stage::Start => match Rows::open(file, self.row_group, self.columns, usize::MAX) {
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
        match Rows::open(file, row_group, self.columns, ROWS_TO_PEEK_AT) {
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

    /// A row group that cannot be read is the concern of whoever reads it, unless an episode needs it for its end.
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

impl Rows {
    fn open(file: &LogFile, row_group: usize, columns: Columns, most_rows: usize) -> Result<Self> {
        let group = &file.groups[row_group];
        let bytes_of_row = file.bytes(row_group) / group.rows.max(1);
        let batch_rows = (BATCH_BYTES / bytes_of_row.max(1)).clamp(64, 8192) as usize;
        let reader = file.batches(row_group, columns, batch_rows.min(most_rows))?;
        Ok(Self { reader, row_group, next_row: group.first_row, end: group.first_row + group.rows })
    }

    /// The next rows, with the place of the first of them in the file.
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

/// The place in the batch of the first row with step 0; the number of rows where there is none. Rows whose step cannot be
/// read count too, so that somebody complains of them.
fn first_of_an_episode(batch: &Batch) -> usize {
    (0..batch.rows).find(|row| number(&batch.step, *row).unwrap_or_default() == 0).unwrap_or(batch.rows)
}
