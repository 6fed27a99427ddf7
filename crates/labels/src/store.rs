//! The file that holds items, annotators and labels: SQLite, so that an acknowledged label survives a crash.

mod choice;
mod given;
mod items;
mod labelled;
mod people;
mod revise;
mod schema;
mod tasks;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension, Params, Savepoint};

use crate::error::{Error, Result};

pub use items::{Added, ItemId};
pub use labelled::LabelledItem;
pub use people::Annotator;
pub(crate) use people::new_token;
pub use revise::OwnLabel;
pub use tasks::{LabelProgress, Task};

/// Maximum time to wait for another program that is writing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Error of an overlap that this program does not write.
const CHANGED_OVERLAP: &str = "its overlap is no number of annotators; set it with `palestra label add --overlap`";

/// Number of compiled statements that a store keeps; there are fewer.
const STATEMENTS: usize = 64;

/// A label store. Every write of a method is on the disk when it returns; several programs may have the file open at
/// once.
pub struct Store {
    file: PathBuf,
    connection: Connection,
    clock: Clock,
}

/// The clock of a store: seconds for which some program had it open. Unlike the time of day it does not jump, so that no
/// annotator loses an open item because a machine's clock was set.
struct Clock {
    seconds: i64,
    read: Instant,
}

/// Settings of a whole store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Number of annotators for each item, at least 1.
    pub overlap: u32,
    /// Seed of the order of answers.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { overlap: 1, seed: 0 }
    }
}

impl Store {
    /// Opens an existing store.
    ///
    /// # Errors
    /// A file that does not exist, is not a label store, was written by a newer version, or is locked by another
    /// program.
    pub fn open(file: &Path) -> Result<Self> {
        if !file.exists() {
            return Err(Error::store(file, "there is no such label store; `palestra label add` makes one"));
        }
        Self::connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE, Settings::default())
    }

    /// Opens a store, or creates it with these settings if it does not exist. An existing store keeps its own settings.
    pub fn create(file: &Path, settings: Settings) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        Self::connect(file, flags, settings)
    }

    fn connect(file: &Path, flags: OpenFlags, settings: Settings) -> Result<Self> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(file, flags).map_err(told(file))?;
        connection.busy_timeout(PATIENCE).map_err(told(file))?;
        schema::prepare(&mut connection, file, settings)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self { file: file.to_owned(), connection, clock: Clock { seconds: 0, read: Instant::now() } })
    }

    /// Path of the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The settings of the store.
    pub fn settings(&self) -> Result<Settings> {
        let number = |key: &str| {
            let sql = "SELECT value FROM setting WHERE key = ?1";
            let value = find(&self.connection, sql, [key], |row| row.get::<_, i64>(0)).map_err(told(&self.file))?;
            value.ok_or_else(|| {
                Error::store(&self.file, format!("has no setting `{key}`; it was changed by another program"))
            })
        };
        let overlap = number("overlap")?;
        let overlap = u32::try_from(overlap).ok().filter(|overlap| *overlap > 0);
        let overlap = overlap.ok_or_else(|| Error::store(&self.file, CHANGED_OVERLAP))?;
        Ok(Settings { overlap, seed: number("seed")? as u64 })
    }

    /// Changes the number of annotators for each item.
    pub fn set_overlap(&mut self, overlap: u32) -> Result<()> {
        if overlap == 0 {
            return Err(Error::store(&self.file, "overlap 0 where at least 1 should label each item"));
        }
        self.write(|change| {
            change.execute("UPDATE setting SET value = ?1 WHERE key = 'overlap'", [overlap])?;
            Ok(choice::recount(change)?)
        })
    }

    /// Orders the items that nobody has labelled or holds: the smallest gap between the two highest scores first, those
    /// without scores last. On such items a reward model is least sure, and a label tells it most. Items that are added
    /// later come after them. Returns the number of items that have scores.
    pub fn order_by_uncertainty(&mut self) -> Result<u64> {
        self.write(|change| {
            choice::order_by_gap(change)?;
            let sql = "SELECT count(*) FROM turn JOIN item ON item.id = turn.item WHERE taken = 0 AND gap IS NOT NULL";
            Ok(change.query_row(sql, [], |row| row.get::<_, i64>(0))? as u64)
        })
    }

    /// Runs a change as a whole: it is on the disk when this returns `Ok`; otherwise nothing of it is stored. Within
    /// [`begin`](Self::begin) and [`commit`](Self::commit) it is on the disk after the latter.
    fn write<T>(&mut self, make: impl FnOnce(&Change) -> Result<T, Failure>) -> Result<T> {
        let is_alone = self.connection.is_autocommit();
        if is_alone {
            self.begin()?;
        }
        let made = self.write_part(make);
        match made {
            Ok(made) if is_alone => self.commit().map(|()| made),
            Err(error) if is_alone => {
                self.roll_back();
                Err(error)
            }
            made => made,
        }
    }

    fn write_part<T>(&mut self, make: impl FnOnce(&Change) -> Result<T, Failure>) -> Result<T> {
        let Self { file, connection, clock } = self;
        let part = connection.savepoint().map_err(told(file))?;
        let stored = find(&part, "SELECT value FROM counter WHERE key = 'clock'", [], |row| row.get::<_, i64>(0));
        let seconds = clock.at_least(stored.map_err(told(file))?.unwrap_or(0));
        let change = Change { part, file, clock: seconds };
        let made = make(&change).map_err(|failure| failure.told(file))?;
        change.part.commit().map_err(told(file))?;
        Ok(made)
    }

    /// Begins a transaction of several changes, each of which is made as a whole or not at all.
    pub(crate) fn begin(&mut self) -> Result<()> {
        // Immediate: a writer waits at the start, before it has read anything that could become outdated.
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(told(&self.file))
    }

    /// Reads the same state from here on, whatever others write.
    pub(crate) fn begin_reading(&mut self) -> Result<()> {
        self.connection.execute_batch("BEGIN").map_err(told(&self.file))
    }

    /// Ends the transaction: its changes are on the disk when this returns `Ok`; otherwise none of them is stored.
    pub(crate) fn commit(&mut self) -> Result<()> {
        let ended = self.connection.execute_batch("COMMIT").map_err(told(&self.file));
        if ended.is_err() {
            self.roll_back();
        }
        ended
    }

    /// Ends a transaction that failed. SQLite may have ended it already.
    fn roll_back(&mut self) {
        if !self.connection.is_autocommit() {
            // What cannot be rolled back is not committed either.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

impl Clock {
    /// Seconds now, and not before what another program has seen.
    fn at_least(&mut self, stored: i64) -> i64 {
        let own = self.seconds.saturating_add(self.read.elapsed().as_secs() as i64);
        if stored > own {
            *self = Self { seconds: stored, read: Instant::now() };
        }
        own.max(stored)
    }
}

/// A change that is being made.
struct Change<'a> {
    part: Savepoint<'a>,
    file: &'a Path,
    /// The clock of the store.
    clock: i64,
}

impl Change<'_> {
    fn execute(&self, sql: &str, parameters: impl Params) -> rusqlite::Result<()> {
        cached(self, sql)?.execute(parameters).map(|_| ())
    }
}

impl std::ops::Deref for Change<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.part
    }
}

/// Cause of a failed change: a database error, or a refused request.
enum Failure {
    Database(rusqlite::Error),
    Refused(Error),
}

impl Failure {
    fn told(self, file: &Path) -> Error {
        match self {
            Self::Database(error) => told(file)(error),
            Self::Refused(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Converts SQLite errors of this file, for `map_err`.
fn told(file: &Path) -> impl Fn(rusqlite::Error) -> Error {
    move |error| {
        let reason = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                format!(
                    "is held by another program for more than {} s; nothing was written, try again",
                    PATIENCE.as_secs()
                )
            }
            Some(ErrorCode::NotADatabase) => "is no label store; name one that `palestra label add` made".to_string(),
            Some(ErrorCode::CannotOpen) => format!("cannot be opened or made: {error}"),
            Some(ErrorCode::ReadOnly) => "may not be written; labels need a file that can be".to_string(),
            Some(ErrorCode::DiskFull) => "the disk is full; nothing was written".to_string(),
            _ => error.to_string(),
        };
        Error::store(file, reason)
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Parses a column value that holds JSON.
fn parse<T: serde::de::DeserializeOwned>(json: &str) -> rusqlite::Result<T> {
    serde_json::from_str(json)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("labels and texts have string keys and no fallible parts")
}

/// Reads a row that may be missing.
fn find<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl FnOnce(&rusqlite::Row) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    cached(connection, sql)?.query_row(parameters, read).optional()
}

/// A statement that is compiled once. All that a label needs goes through here, and a test reads no table from end to
/// end.
fn cached<'a>(connection: &'a Connection, sql: &str) -> rusqlite::Result<CachedStatement<'a>> {
    #[cfg(test)]
    tests::refuse_scans(connection, sql);
    connection.prepare_cached(sql)
}

#[cfg(test)]
mod tests;
