//! The item that an annotator gets next, and how many are left.
//!
//! Counts are kept and changed with every label, in place of counting at every call: how often an item is taken
//! (`turn`), who has which item open (`open`), and the counts of an annotator. Each item waits in the queue of those that
//! are taken as often, and goes to its end whenever that changes; so an annotator passes each item of a queue once.
//! [`rebuild`] and [`recount`] compute all of it from the items, assignments and labels.

use rusqlite::Connection;

use super::items::ItemId;
use super::{Change, LabelProgress, cached, find, schema};

/// Number of other items between two gold items, while there are any.
const OTHERS_PER_GOLD: i64 = 9;

/// Seconds after which an item that is open without a label may be given to another annotator too.
pub(super) const STALE: i64 = 30 * 60;

/// Queue of the gold items: each annotator gets all of them, so they are never taken.
const GOLD: i64 = -1;

/// The item that an annotator was given and has not labelled.
pub(super) fn open(connection: &Connection, annotator: i64) -> rusqlite::Result<Option<ItemId>> {
    find(connection, "SELECT item FROM open WHERE annotator = ?1", [annotator], |row| row.get(0))
}

/// Gives an annotator without an open item the next one. Items that others have labelled come first, so that they are
/// finished before new ones are started.
pub(super) fn give_next(change: &Change, annotator: i64) -> rusqlite::Result<Option<ItemId>> {
    release_stale(change)?;
    let Some(item) = choose(change, annotator)? else { return Ok(None) };
    give(change, annotator, item)?;
    hold(change, annotator, item)?;
    take(change, item, 1)?;
    Ok(Some(item))
}

/// Gives an annotator an item that he or she was not given before.
pub(super) fn give(change: &Change, annotator: i64, item: ItemId) -> rusqlite::Result<()> {
    let sql = "INSERT INTO assignment (item, annotator, given) VALUES (?1, ?2, ?3)";
    change.execute(sql, (item, annotator, super::now()))?;
    let taken = taken(change, item)?;
    let sql =
        "UPDATE annotator SET given = given + ?2, given_gold = given_gold + ?3, barred = barred + ?4 WHERE id = ?1";
    change.execute(sql, (annotator, taken != GOLD, taken == GOLD, is_free(taken, overlap(change)?)))
}

/// Takes a new item into its queue.
pub(super) fn add(change: &Change, item: ItemId, is_gold: bool) -> rusqlite::Result<()> {
    let sql = "INSERT INTO turn (position, item, taken) SELECT coalesce(max(position), 0) + 1, ?1, ?2 FROM turn";
    change.execute(sql, (item, if is_gold { GOLD } else { 0 }))?;
    count(change, if is_gold { "gold" } else { "free" }, 1)
}

/// An open item was labelled.
pub(super) fn close(change: &Change, annotator: i64, item: ItemId, is_skip: bool) -> rusqlite::Result<()> {
    let held = let_go(change, annotator, item)?;
    change.execute("UPDATE annotator SET labels = labels + 1 WHERE id = ?1", [annotator])?;
    take(change, item, i64::from(!is_skip) - i64::from(held))
}

/// A label was replaced by another.
pub(super) fn revise(change: &Change, item: ItemId, was_skip: bool, is_skip: bool) -> rusqlite::Result<()> {
    take(change, item, i64::from(!is_skip) - i64::from(!was_skip))
}

/// Orders the items that nobody has taken by the gap between the scores of their answers.
pub(super) fn order_by_gap(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(schema::BY_GAP)
}

/// A label was taken back: its item is open again, and what was open instead is available to others.
pub(super) fn reopen(change: &Change, annotator: i64, item: ItemId, was_skip: bool) -> rusqlite::Result<()> {
    if let Some(other) = open(change, annotator)? {
        let held = let_go(change, annotator, other)?;
        take(change, other, -i64::from(held))?;
        let taken = taken(change, other)?;
        change.execute("DELETE FROM assignment WHERE item = ?1 AND annotator = ?2", (other, annotator))?;
        let sql =
            "UPDATE annotator SET given = given - ?2, given_gold = given_gold - ?3, barred = barred - ?4 WHERE id = ?1";
        change.execute(sql, (annotator, taken != GOLD, taken == GOLD, is_free(taken, overlap(change)?)))?;
        to_the_end(change, other, taken)?;
    }
    change.execute("UPDATE annotator SET labels = labels - 1 WHERE id = ?1", [annotator])?;
    hold(change, annotator, item)?;
    take(change, item, 1 - i64::from(!was_skip))
}

/// Progress of an annotator.
pub(super) fn progress(connection: &Connection, annotator: i64) -> rusqlite::Result<LabelProgress> {
    let sql = "SELECT labels, (SELECT value FROM counter WHERE key = 'free') - barred
        + (SELECT value FROM counter WHERE key = 'gold') - given_gold FROM annotator WHERE id = ?1";
    let counts = find(connection, sql, [annotator], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    let (done, left) = counts.unwrap_or_default();
    let left = left + i64::from(open(connection, annotator)?.is_some());
    Ok(LabelProgress { done: done.max(0) as u64, left: left.max(0) as u64 })
}

/// Fills the queues from the items, assignments and labels.
pub(super) fn rebuild(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(schema::REBUILD)?;
    recount(connection)
}

/// Computes the counts anew, as after a change of the overlap.
pub(super) fn recount(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(schema::RECOUNT)
}

fn choose(change: &Change, annotator: i64) -> rusqlite::Result<Option<ItemId>> {
    let sql = "SELECT given, given_gold FROM annotator WHERE id = ?1";
    let given = find(change, sql, [annotator], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    let (given, given_gold) = given.unwrap_or_default();
    if given_gold * OTHERS_PER_GOLD + OTHERS_PER_GOLD / 2 <= given
        && let Some(item) = first_new(change, annotator, GOLD)?
    {
        return Ok(Some(item));
    }
    let mut above = overlap(change)?;
    let sql = "SELECT max(taken) FROM turn WHERE taken < ?1";
    while let Some(taken) = find(change, sql, [above], |row| row.get::<_, Option<i64>>(0))?.flatten() {
        if let Some(item) = first_new(change, annotator, taken)? {
            return Ok(Some(item));
        }
        above = taken;
    }
    Ok(None)
}

/// The first item of a queue that was not given to the annotator. Items before it are not looked at again.
fn first_new(change: &Change, annotator: i64, taken: i64) -> rusqlite::Result<Option<ItemId>> {
    let sql = "SELECT position FROM passed WHERE annotator = ?1 AND taken = ?2";
    let passed = find(change, sql, (annotator, taken), |row| row.get::<_, i64>(0))?.unwrap_or(0);
    let sql =
        "SELECT position, item, EXISTS (SELECT 1 FROM assignment AS a WHERE a.item = turn.item AND annotator = ?1)
        FROM turn WHERE taken = ?2 AND position > ?3 ORDER BY position";
    let mut select = cached(change, sql)?;
    let mut rows = select.query((annotator, taken, passed))?;
    let (mut last, mut item) = (passed, None);
    while let Some(row) = rows.next()? {
        if !row.get::<_, bool>(2)? {
            item = Some(row.get(1)?);
            break;
        }
        last = row.get(0)?;
    }
    if last > passed {
        let sql = "INSERT INTO passed (annotator, taken, position) VALUES (?1, ?2, ?3)
            ON CONFLICT DO UPDATE SET position = excluded.position";
        change.execute(sql, (annotator, taken, last))?;
    }
    Ok(item)
}

/// Items that nobody labelled in time are no longer held; they stay open for those who have them.
fn release_stale(change: &Change) -> rusqlite::Result<()> {
    let sql = "SELECT annotator, item FROM open WHERE is_held AND since < ?1";
    let stale: Vec<(i64, ItemId)> = cached(change, sql)?
        .query_map([change.clock - STALE], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (annotator, item) in stale {
        change.execute("UPDATE open SET is_held = 0 WHERE annotator = ?1", [annotator])?;
        take(change, item, -1)?;
    }
    Ok(())
}

fn hold(change: &Change, annotator: i64, item: ItemId) -> rusqlite::Result<()> {
    let sql = "INSERT INTO open (annotator, item, since, is_held) VALUES (?1, ?2, ?3, 1)";
    change.execute(sql, (annotator, item, change.clock))?;
    change.execute("UPDATE counter SET value = ?1 WHERE key = 'clock'", [change.clock])
}

/// Ends an open item; true if it was held.
fn let_go(change: &Change, annotator: i64, item: ItemId) -> rusqlite::Result<bool> {
    let sql = "SELECT is_held FROM open WHERE annotator = ?1 AND item = ?2";
    let held = find(change, sql, (annotator, item), |row| row.get(0))?.unwrap_or(false);
    change.execute("DELETE FROM open WHERE annotator = ?1 AND item = ?2", (annotator, item))?;
    Ok(held)
}

fn taken(connection: &Connection, item: ItemId) -> rusqlite::Result<i64> {
    let taken = find(connection, "SELECT taken FROM turn WHERE item = ?1", [item], |row| row.get(0))?;
    taken.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Changes how often an item is taken, and what is counted by it.
fn take(change: &Change, item: ItemId, by: i64) -> rusqlite::Result<()> {
    let before = taken(change, item)?;
    if before == GOLD || by == 0 {
        return Ok(());
    }
    let after = before + by;
    to_the_end(change, item, after)?;
    let overlap = overlap(change)?;
    let freed = i64::from(is_free(after, overlap)) - i64::from(is_free(before, overlap));
    if freed != 0 {
        count(change, "free", freed)?;
        let sql =
            "UPDATE annotator SET barred = barred + ?2 WHERE id IN (SELECT annotator FROM assignment WHERE item = ?1)";
        change.execute(sql, (item, freed))?;
    }
    Ok(())
}

fn to_the_end(change: &Change, item: ItemId, taken: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE turn SET taken = ?2, position = (SELECT max(position) FROM turn) + 1 WHERE item = ?1";
    change.execute(sql, (item, taken))
}

fn count(change: &Change, key: &str, by: i64) -> rusqlite::Result<()> {
    change.execute("UPDATE counter SET value = value + ?2 WHERE key = ?1", (key, by))
}

fn overlap(connection: &Connection) -> rusqlite::Result<i64> {
    let overlap = find(connection, "SELECT value FROM setting WHERE key = 'overlap'", [], |row| row.get(0))?;
    overlap.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

fn is_free(taken: i64, overlap: i64) -> bool {
    (0..overlap).contains(&taken)
}
