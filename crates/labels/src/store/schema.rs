//! The tables of a label store and their versions.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{Settings, told};
use crate::error::{Error, Result};

/// Version of the tables that this program creates and reads, in SQLite's `user_version`.
const VERSION: i64 = 3;

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

/// Changes that were made with a key, so that a client that missed the reply can repeat them.
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

/// Tables in which `choice.rs` finds the next item without a scan. Version 1 lacks it.
const QUEUES: &str = "
-- The queues of items. Later positions are given later.
CREATE TABLE turn (
    position INTEGER PRIMARY KEY,
    item INTEGER NOT NULL UNIQUE REFERENCES item (id),
    taken INTEGER NOT NULL         -- labels but skips, and people who hold the item; -1 for gold items
) STRICT;
CREATE INDEX turn_taken ON turn (taken, position);

-- The item that each annotator was given and has not labelled.
CREATE TABLE open (
    annotator INTEGER PRIMARY KEY REFERENCES annotator (id),
    item INTEGER NOT NULL REFERENCES item (id),
    since INTEGER NOT NULL,        -- by the clock of the store
    is_held INTEGER NOT NULL       -- 0 after half an hour: others may be given the item
) STRICT;
CREATE INDEX open_held ON open (since) WHERE is_held;

-- The position up to which all items of a queue were given to an annotator.
CREATE TABLE passed (
    annotator INTEGER NOT NULL REFERENCES annotator (id),
    taken INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (annotator, taken)
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counter VALUES
    ('clock', 0),                  -- seconds for which the store was in use
    ('free', 0),                   -- items that are taken less often than the overlap
    ('gold', 0);                   -- gold items

ALTER TABLE annotator ADD COLUMN labels INTEGER NOT NULL DEFAULT 0;     -- skips too
ALTER TABLE annotator ADD COLUMN given INTEGER NOT NULL DEFAULT 0;      -- items but gold items
ALTER TABLE annotator ADD COLUMN given_gold INTEGER NOT NULL DEFAULT 0;
ALTER TABLE annotator ADD COLUMN barred INTEGER NOT NULL DEFAULT 0;     -- free items that were given before
";

/// Scores of a reward model. Version 2 lacks them.
const SCORES: &str = "
ALTER TABLE item ADD COLUMN gap REAL;   -- between the two highest scores of the answers
";

/// Orders the items that nobody has taken by the gap. All positions are new, so that what was passed is not passed by.
pub(super) const BY_GAP: &str = "
UPDATE turn SET position = sorted.position FROM (
    SELECT turn.item, (SELECT max(position) FROM turn)
        + row_number() OVER (ORDER BY gap IS NULL, gap, turn.position) AS position
    FROM turn JOIN item ON item.id = turn.item WHERE taken = 0) AS sorted
    WHERE turn.item = sorted.item;
";

/// Fills the queues from what was given and labelled. Of several items that one annotator has open, the last remains.
pub(super) const REBUILD: &str = "
DELETE FROM turn;
DELETE FROM passed;
DELETE FROM open;
INSERT INTO open (annotator, item, since, is_held)
    SELECT annotator, item, (SELECT value FROM counter WHERE key = 'clock'), 1 FROM assignment AS a
    WHERE NOT EXISTS (SELECT 1 FROM label AS l WHERE l.item = a.item AND l.annotator = a.annotator)
    ORDER BY given DESC ON CONFLICT DO NOTHING;
DELETE FROM assignment AS a
    WHERE NOT EXISTS (SELECT 1 FROM label AS l WHERE l.item = a.item AND l.annotator = a.annotator)
    AND NOT EXISTS (SELECT 1 FROM open AS o WHERE o.item = a.item AND o.annotator = a.annotator);
INSERT INTO turn (item, taken) SELECT id, CASE WHEN gold IS NOT NULL THEN -1 ELSE
    (SELECT count(*) FROM label WHERE label.item = item.id AND NOT is_skip)
    + (SELECT count(*) FROM assignment AS a JOIN open AS o ON o.annotator = a.annotator AND o.item = a.item
       WHERE a.item = item.id AND is_held) END
    FROM item ORDER BY id;
";

/// Counts what depends on the overlap, and the rest.
pub(super) const RECOUNT: &str = "
UPDATE counter SET value = (SELECT count(*) FROM turn
    WHERE taken >= 0 AND taken < (SELECT value FROM setting WHERE key = 'overlap')) WHERE key = 'free';
UPDATE counter SET value = (SELECT count(*) FROM turn WHERE taken = -1) WHERE key = 'gold';
UPDATE annotator SET labels = (SELECT count(*) FROM label WHERE annotator = annotator.id), given = 0, given_gold = 0, barred = 0;
UPDATE annotator SET given = counted.given, given_gold = counted.gold, barred = counted.barred
    FROM (SELECT annotator, sum(taken >= 0) AS given, sum(taken = -1) AS gold,
          sum(taken >= 0 AND taken < (SELECT value FROM setting WHERE key = 'overlap')) AS barred
          FROM assignment JOIN turn ON turn.item = assignment.item GROUP BY annotator) AS counted
    WHERE counted.annotator = annotator.id;
";

/// Creates the tables if the file is empty, and what a store of an earlier version lacks. A file that is not a label store
/// or has a later version is refused and left unchanged.
pub(super) fn prepare(connection: &mut Connection, file: &Path, settings: Settings) -> Result<()> {
    let failed = told(file);
    // One transaction, so that both reads see the same state: another program may be creating the tables.
    let moment = connection.transaction().map_err(&failed)?;
    let version = version(&moment, file)?;
    drop(moment);
    // The write-ahead log of an acknowledged label is on the disk, even after a power failure.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).map_err(&failed)?;
    connection.pragma_update(None, "synchronous", "full").map_err(&failed)?;
    // macOS: `fsync` alone leaves the data in the cache of the disk.
    connection.pragma_update(None, "fullfsync", true).map_err(&failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(&failed)?;
    if version == Some(VERSION) { Ok(()) } else { upgrade(connection, file, settings) }
}

/// Version of a label store that this program reads; `None` for an empty file.
fn version(connection: &Connection, file: &Path) -> Result<Option<i64>> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(told(file));
    let application = number("PRAGMA application_id")?;
    match (number("PRAGMA user_version")?, number("SELECT count(*) FROM sqlite_master")?) {
        (version @ 1..=VERSION, _) if application == APPLICATION => Ok(Some(version)),
        (version, _) if application == APPLICATION => {
            let reason = format!(
                "is a label store of version {version}, and this program knows version {VERSION}; use a newer palestra"
            );
            Err(Error::store(file, reason))
        }
        (_, 0) => Ok(None),
        _ => Err(Error::store(file, "is a database, but no label store; name another file")),
    }
}

/// Makes a store of this version from an empty file or from an earlier version, in one transaction.
fn upgrade(connection: &mut Connection, file: &Path, settings: Settings) -> Result<()> {
    let failed = told(file);
    if settings.overlap == 0 {
        return Err(Error::store(file, "overlap 0 where at least 1 should label each item"));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    // Another program may have come first.
    let version = version(&transaction, file)?;
    if version == Some(VERSION) {
        return Ok(());
    }
    if version.is_none() {
        transaction.execute_batch(TABLES).map_err(&failed)?;
        for (key, value) in [("overlap", i64::from(settings.overlap)), ("seed", settings.seed as i64)] {
            transaction.execute("INSERT INTO setting VALUES (?1, ?2)", (key, value)).map_err(&failed)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION).map_err(&failed)?;
    }
    if version.is_none_or(|version| version < 2) {
        transaction.execute_batch(CHANGES).map_err(&failed)?;
        transaction.execute_batch(QUEUES).map_err(&failed)?;
        super::choice::rebuild(&transaction).map_err(&failed)?;
    }
    transaction.execute_batch(SCORES).map_err(&failed)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(&failed)?;
    transaction.commit().map_err(&failed)
}
