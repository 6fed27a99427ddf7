//! Assigns items to annotators, stores their labels and undoes them.

use palestra_datasets::Content;
use rusqlite::{Connection, Transaction};
use serde::Serialize;

use super::items::{ItemId, stored};
use super::{Annotator, Failure, Store, find, json, now, parse, told};
use crate::error::{Error, Result};
use crate::label::{Label, Verdict};
use crate::order::{inverse, order};

/// Number of other items between two gold items, while there are any.
const OTHERS_PER_GOLD: i64 = 9;

/// Seconds after which an assigned item without a label may be assigned to another annotator too.
const STALE: i64 = 30 * 60;

/// An item as shown to one annotator, without the policies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Task {
    /// The item.
    pub item: ItemId,
    /// The prompt.
    pub prompt: Content,
    /// The answers, in the order shown to this annotator. Labels refer to indices in this order.
    pub answers: Vec<Content>,
}

/// Progress of one annotator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LabelProgress {
    /// Items that the annotator labeled or skipped.
    pub done: u64,
    /// Items that are available to the annotator now. Others may take some of them.
    pub left: u64,
}

impl Store {
    /// Next item of this annotator: the same until it is labeled, and never an item that the annotator labeled or
    /// skipped before. `None` if no item is left for this annotator.
    pub fn next(&mut self, annotator: &Annotator) -> Result<Option<Task>> {
        let overlap = self.settings()?.overlap;
        let item = self.write(|transaction, _| {
            if let Some(open) = find(transaction, OPEN, [annotator.id], |row| row.get(0))? {
                return Ok(Some(open));
            }
            let item = choose(transaction, annotator.id, overlap)?;
            if let Some(item) = item {
                let sql = "INSERT INTO assignment (item, annotator, given) VALUES (?1, ?2, ?3)";
                transaction.execute(sql, (item, annotator.id, now()))?;
            }
            Ok(item)
        })?;
        item.map(|item| self.task(annotator, item)).transpose()
    }

    /// Stores a label of an item that was assigned to this annotator, with the seconds that it took. When this returns
    /// `Ok`, the label is on the disk. Submitting the same label again succeeds, so that a client that missed the
    /// response can retry.
    pub fn submit(&mut self, annotator: &Annotator, item: ItemId, label: &Label, seconds: f64) -> Result<()> {
        self.submit_once(annotator, None, item, label, seconds)
    }

    /// As [`submit`](Self::submit). A key that this annotator used for a change before changes nothing: it is a repetition
    /// of that change, which may have been undone since.
    pub fn submit_once(
        &mut self,
        annotator: &Annotator,
        key: Option<&str>,
        item: ItemId,
        label: &Label,
        seconds: f64,
    ) -> Result<()> {
        check_key(key)?;
        let seconds = if seconds.is_finite() { seconds.clamp(0.0, 86_400.0) } else { 0.0 };
        let order = self.shown(annotator, item)?;
        label.check(order.len())?;
        let label = label.reordered(&order);
        self.write(|transaction, _| {
            if made_before(transaction, annotator, key)?.is_some() {
                return Ok(());
            }
            let pair = (item, annotator.id);
            let given = find(transaction, "SELECT 1 FROM assignment WHERE item = ?1 AND annotator = ?2", pair, |_| Ok(()))?;
            if given.is_none() {
                return Err(Error::NotGiven { item, annotator: annotator.name.clone() }.into());
            }
            let before = find(transaction, "SELECT label FROM label WHERE item = ?1 AND annotator = ?2", pair, |row| {
                parse::<Label>(&row.get::<_, String>(0)?)
            })?;
            match before {
                Some(before) if before == label => return Ok(()),
                Some(_) => return Err(Error::AlreadyLabelled { item, annotator: annotator.name.clone() }.into()),
                None => {}
            }
            let sql = "INSERT INTO label (item, annotator, label, shown, is_skip, seconds, given) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let is_skip = label.verdict == Verdict::Skip;
            transaction.execute(sql, (item, annotator.id, json(&label), json(&order), is_skip, seconds, now()))?;
            Ok::<_, Failure>(keep(transaction, annotator, key, Some(item), None)?)
        })
    }

    /// Removes this annotator's last label, and returns it with its item, which is the annotator's next item again.
    pub fn undo(&mut self, annotator: &Annotator) -> Result<Option<(Task, Label)>> {
        self.undo_once(annotator, None)
    }

    /// As [`undo`](Self::undo). A key that this annotator used for a change before changes nothing, and returns what that
    /// change returned: a client that missed the reply can repeat it, and no second label is undone.
    pub fn undo_once(&mut self, annotator: &Annotator, key: Option<&str>) -> Result<Option<(Task, Label)>> {
        check_key(key)?;
        let undone = self.write(|transaction, _| {
            if let Some(before) = made_before(transaction, annotator, key)? {
                return Ok(before.item.zip(before.undone));
            }
            let sql = "SELECT id, item, label FROM label WHERE annotator = ?1 ORDER BY id DESC LIMIT 1";
            let last = find(transaction, sql, [annotator.id], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, ItemId>(1)?, parse::<Label>(&row.get::<_, String>(2)?)?))
            })?;
            let Some((id, item, label)) = last else {
                keep(transaction, annotator, key, None, None)?;
                return Ok(None);
            };
            // Items assigned in the meantime become available to others.
            transaction.execute("DELETE FROM assignment AS a WHERE annotator = ?1 AND NOT EXISTS (SELECT 1 FROM label AS l WHERE l.item = a.item AND l.annotator = a.annotator)", [annotator.id])?;
            transaction.execute("DELETE FROM label WHERE id = ?1", [id])?;
            transaction.execute("UPDATE assignment SET given = ?1 WHERE item = ?2 AND annotator = ?3", (now(), item, annotator.id))?;
            keep(transaction, annotator, key, Some(item), Some(&label))?;
            Ok::<_, Failure>(Some((item, label)))
        })?;
        let Some((item, label)) = undone else { return Ok(None) };
        let label = label.reordered(&inverse(&self.shown(annotator, item)?));
        Ok(Some((self.task(annotator, item)?, label)))
    }

    /// Progress of this annotator.
    pub fn progress(&self, annotator: &Annotator) -> Result<LabelProgress> {
        let overlap = i64::from(self.settings()?.overlap);
        let count = || {
            let count = |sql: &str, parameters: &[&i64]| {
                self.connection
                    .prepare(sql)?
                    .query_row(rusqlite::params_from_iter(parameters), |row| row.get::<_, i64>(0))
            };
            let done = count("SELECT count(*) FROM label WHERE annotator = ?1", &[&annotator.id])?;
            let open = count(&format!("SELECT count(*) FROM ({OPEN})"), &[&annotator.id])?;
            let free = count(&format!("SELECT count(*) FROM ({FREE})"), &[&annotator.id, &stale(), &overlap])?;
            let gold = count(&format!("SELECT count(*) FROM ({FREE_GOLD})"), &[&annotator.id])?;
            Ok(LabelProgress { done: done as u64, left: (open + free + gold) as u64 })
        };
        count().map_err(told(&self.file))
    }

    fn task(&self, annotator: &Annotator, item: ItemId) -> Result<Task> {
        let stored = self.stored(item)?;
        let order = order(self.settings()?.seed, &stored.key, &annotator.name, stored.answers.len());
        let answers = order.iter().map(|place| stored.answers[*place].text.clone()).collect();
        Ok(Task { item, prompt: stored.prompt, answers })
    }

    fn shown(&self, annotator: &Annotator, item: ItemId) -> Result<Vec<usize>> {
        let seed = self.settings()?.seed;
        let found = stored(&self.connection, item).map_err(told(&self.file))?.ok_or(Error::UnknownItem(item))?;
        Ok(order(seed, &found.key, &annotator.name, found.answers.len()))
    }
}

/// Seconds for which the keys of changes are remembered.
const MEMORY: i64 = 7 * 24 * 60 * 60;

/// Maximum length of the key of a change, in bytes.
const MAX_KEY_LENGTH: usize = 64;

/// A change that was made with a key.
struct Change {
    item: Option<ItemId>,
    /// Label that it undid.
    undone: Option<Label>,
}

fn check_key(key: Option<&str>) -> Result<()> {
    match key {
        Some(key) if key.is_empty() || key.len() > MAX_KEY_LENGTH => {
            Err(Error::label("key", format!("has {} bytes; 1 to {MAX_KEY_LENGTH} are right", key.len())))
        }
        _ => Ok(()),
    }
}

fn made_before(
    transaction: &Transaction,
    annotator: &Annotator,
    key: Option<&str>,
) -> rusqlite::Result<Option<Change>> {
    let Some(key) = key else { return Ok(None) };
    let sql = "SELECT item, label FROM change WHERE annotator = ?1 AND key = ?2";
    find(transaction, sql, (annotator.id, key), |row| {
        let undone = row.get::<_, Option<String>>(1)?.map(|label| parse(&label)).transpose()?;
        Ok(Change { item: row.get(0)?, undone })
    })
}

/// Keeps the key of a change, in its transaction.
fn keep(
    transaction: &Transaction,
    annotator: &Annotator,
    key: Option<&str>,
    item: Option<ItemId>,
    undone: Option<&Label>,
) -> rusqlite::Result<()> {
    let Some(key) = key else { return Ok(()) };
    transaction.execute("DELETE FROM change WHERE annotator = ?1 AND made < ?2", (annotator.id, now() - MEMORY))?;
    let sql = "INSERT INTO change (annotator, key, item, label, made) VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.execute(sql, (annotator.id, key, item, undone.map(json), now()))?;
    Ok(())
}

/// Items assigned to an annotator (1) and not yet labeled.
const OPEN: &str = "
SELECT a.item FROM assignment AS a WHERE a.annotator = ?1
AND NOT EXISTS (SELECT 1 FROM label AS l WHERE l.item = a.item AND l.annotator = a.annotator) ORDER BY a.given DESC";

/// Items that were not assigned to an annotator (1) and whose labels, together with the assignments since (2), are
/// fewer than the overlap (3). Items that others have labeled come first, so that they are finished before new ones are
/// started.
const FREE: &str = "
SELECT id FROM (SELECT i.id,
    (SELECT count(*) FROM assignment AS a LEFT JOIN label AS l ON l.item = a.item AND l.annotator = a.annotator
     WHERE a.item = i.id AND CASE WHEN l.id IS NULL THEN a.given > ?2 ELSE NOT l.is_skip END) AS taken
    FROM item AS i
    WHERE i.gold IS NULL AND NOT EXISTS (SELECT 1 FROM assignment AS a WHERE a.item = i.id AND a.annotator = ?1))
WHERE taken < ?3 ORDER BY taken DESC, id";

/// Gold items that were not assigned to an annotator (1): each annotator gets all of them.
const FREE_GOLD: &str = "
SELECT i.id FROM item AS i WHERE i.gold IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM assignment AS a WHERE a.item = i.id AND a.annotator = ?1) ORDER BY i.id";

fn choose(transaction: &Transaction, annotator: i64, overlap: u32) -> rusqlite::Result<Option<ItemId>> {
    let given = |is_gold: &str| count_given(transaction, annotator, is_gold);
    let gold = || find(transaction, FREE_GOLD, [annotator], |row| row.get(0));
    let is_due = given("NOT NULL")? * OTHERS_PER_GOLD + OTHERS_PER_GOLD / 2 <= given("NULL")?;
    if is_due && let Some(item) = gold()? {
        return Ok(Some(item));
    }
    match find(transaction, FREE, (annotator, stale(), overlap), |row| row.get(0))? {
        Some(item) => Ok(Some(item)),
        None => gold(),
    }
}

fn count_given(connection: &Connection, annotator: i64, is_gold: &str) -> rusqlite::Result<i64> {
    let sql =
        format!("SELECT count(*) FROM assignment JOIN item ON id = item WHERE annotator = ?1 AND gold IS {is_gold}");
    connection.prepare(&sql)?.query_row([annotator], |row| row.get(0))
}

fn stale() -> i64 {
    now() - STALE
}
