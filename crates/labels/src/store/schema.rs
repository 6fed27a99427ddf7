//! The tables of a label store and their versions.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{Settings, told};
use crate::error::{Error, Result};

/// Version of the tables that this program creates and reads, in SQLite's `user_version`.
const VERSION: i64 = 1;

/// Marks a file as a label store, in SQLite's `application_id`: "PaLa".
const APPLICATION: i64 = 0x5061_4c61;

const TABLES: &str = "
CREATE TABLE setting (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE item (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,      -- SHA-256 of the prompt and the answers
    prompt TEXT NOT NULL,          -- JSON: a text, or messages
    gold INTEGER,                  -- the place of the answer that is known to be best
    added INTEGER NOT NULL         -- seconds since 1970, as all times
) STRICT;

CREATE TABLE answer (
    item INTEGER NOT NULL REFERENCES item (id),
    place INTEGER NOT NULL,
    text TEXT NOT NULL,            -- JSON: a text, or messages
    policy TEXT,                   -- who wrote it
    PRIMARY KEY (item, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE annotator (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    token_hash BLOB UNIQUE,        -- SHA-256 of the access token, which is kept nowhere
    is_admin INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What was given to whom. The key is what keeps an item from being given to a person twice.
CREATE TABLE assignment (
    item INTEGER NOT NULL REFERENCES item (id),
    annotator INTEGER NOT NULL REFERENCES annotator (id),
    given INTEGER NOT NULL,
    PRIMARY KEY (item, annotator)
) STRICT, WITHOUT ROWID;

CREATE TABLE label (
    id INTEGER PRIMARY KEY,        -- later labels have higher ids
    item INTEGER NOT NULL,
    annotator INTEGER NOT NULL,
    label TEXT NOT NULL,           -- JSON, of the answers by their places
    shown TEXT NOT NULL,           -- JSON: the places in the order in which they were shown
    is_skip INTEGER NOT NULL,
    seconds REAL NOT NULL,         -- from showing to labelling
    given INTEGER NOT NULL,
    UNIQUE (item, annotator),
    FOREIGN KEY (item, annotator) REFERENCES assignment (item, annotator)
) STRICT;
CREATE INDEX label_annotator ON label (annotator);
";

/// Changes that were made with a key, so that a client that missed the reply can repeat them. A table that stores of this
/// version may lack: programs that do not know it leave it alone.
const CHANGES: &str = "
CREATE TABLE IF NOT EXISTS change (
    annotator INTEGER NOT NULL REFERENCES annotator (id),
    key TEXT NOT NULL,             -- chosen by the client, another for each change
    item INTEGER,                  -- the item of the label that was given or undone
    label TEXT,                    -- JSON: the label that was undone, of the answers by their places
    made INTEGER NOT NULL,
    PRIMARY KEY (annotator, key)
) STRICT, WITHOUT ROWID;
";

/// Creates the tables if the file is empty. A file that is not a label store or has a later version is refused and left
/// unchanged.
pub(super) fn prepare(connection: &mut Connection, file: &Path, settings: Settings) -> Result<()> {
    let failed = told(file);
    // One transaction, so that both reads see the same state: another program may be creating the tables.
    let moment = connection.transaction().map_err(&failed)?;
    let is_new = !is_ours(&moment, file)?;
    let sql = "SELECT count(*) FROM sqlite_master WHERE name = 'change'";
    let has_changes = moment.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(&failed)? > 0;
    drop(moment);
    // The write-ahead log of an acknowledged label is on the disk, even after a power failure.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).map_err(&failed)?;
    connection.pragma_update(None, "synchronous", "full").map_err(&failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(&failed)?;
    match is_new {
        true => create(connection, file, settings),
        false if has_changes => Ok(()),
        false => connection.execute_batch(CHANGES).map_err(&failed),
    }
}

/// True if the file is a label store of this version, false if it is empty.
fn is_ours(connection: &Connection, file: &Path) -> Result<bool> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(told(file));
    let application = number("PRAGMA application_id")?;
    match (number("PRAGMA user_version")?, number("SELECT count(*) FROM sqlite_master")?) {
        (VERSION, _) if application == APPLICATION => Ok(true),
        (version, _) if application == APPLICATION => {
            let reason = format!(
                "is a label store of version {version}, and this program knows version {VERSION}; use a newer palestra"
            );
            Err(Error::store(file, reason))
        }
        (_, 0) => Ok(false),
        _ => Err(Error::store(file, "is a database, but no label store; name another file")),
    }
}

fn create(connection: &mut Connection, file: &Path, settings: Settings) -> Result<()> {
    let failed = told(file);
    if settings.overlap == 0 {
        return Err(Error::store(file, "overlap 0 where at least 1 should label each item"));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    // Another program may have created the tables first.
    if is_ours(&transaction, file)? {
        return Ok(());
    }
    transaction.execute_batch(TABLES).map_err(&failed)?;
    transaction.execute_batch(CHANGES).map_err(&failed)?;
    for (key, value) in [("overlap", i64::from(settings.overlap)), ("seed", settings.seed as i64)] {
        transaction.execute("INSERT INTO setting VALUES (?1, ?2)", (key, value)).map_err(&failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(&failed)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(&failed)?;
    transaction.commit().map_err(&failed)
}
