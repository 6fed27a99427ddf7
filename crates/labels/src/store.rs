//! The file that holds items, annotators and labels: SQLite, so that an acknowledged label survives a crash.

mod items;
mod labelled;
mod people;
mod schema;
mod tasks;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

use crate::error::{Error, Result};

pub use items::{Added, ItemId};
pub use labelled::LabelledItem;
pub use people::Annotator;
pub(crate) use people::new_token;
pub use tasks::{LabelProgress, Task};

/// Maximum time to wait for another program that is writing.
const PATIENCE: Duration = Duration::from_secs(5);

/// A label store. Every write of a method is on the disk when it returns; several programs may have the file open at
/// once.
pub struct Store {
    file: PathBuf,
    connection: Connection,
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
        Ok(Self { file: file.to_owned(), connection })
    }

    /// Path of the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The settings of the store.
    pub fn settings(&self) -> Result<Settings> {
        let number = |key: &str| {
            let sql = "SELECT value FROM setting WHERE key = ?1";
            self.connection.query_row(sql, [key], |row| row.get::<_, i64>(0)).map_err(told(&self.file))
        };
        Ok(Settings { overlap: number("overlap")? as u32, seed: number("seed")? as u64 })
    }

    /// Changes the number of annotators for each item.
    pub fn set_overlap(&mut self, overlap: u32) -> Result<()> {
        if overlap == 0 {
            return Err(Error::store(&self.file, "overlap 0 where at least 1 should label each item"));
        }
        self.write(|transaction, _| {
            transaction.execute("UPDATE setting SET value = ?1 WHERE key = 'overlap'", [overlap])?;
            Ok(())
        })
    }

    /// Runs a change in a transaction: it is on the disk when this returns `Ok`; otherwise nothing of it is stored.
    fn write<T>(&mut self, change: impl FnOnce(&Transaction, &Path) -> Result<T, Failure>) -> Result<T> {
        let file = &self.file;
        // Immediate: a writer waits at the start, before it has read anything that could become outdated.
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(told(file))?;
        let done = change(&transaction, file).map_err(|failure| failure.told(file))?;
        transaction.commit().map_err(told(file))?;
        Ok(done)
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
    parameters: impl rusqlite::Params,
    read: impl FnOnce(&rusqlite::Row) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    connection.prepare(sql)?.query_row(parameters, read).optional()
}

#[cfg(test)]
mod tests;
