//! Assigns items to annotators, stores their labels and undoes them.

use palestra_datasets::Content;
use serde::Serialize;

use super::items::{CHANGED, ItemId};
use super::{Annotator, Change, Failure, Store, choice, find, json, now, parse, told};
use crate::error::{Error, Result};
use crate::label::{Label, Verdict};
use crate::order::{inverse, order};

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
        let open = choice::open(&self.connection, annotator.id).map_err(told(&self.file))?;
        let item = match open {
            Some(open) => Some(open),
            None => self.write(|change| match choice::open(change, annotator.id)? {
                Some(open) => Ok(Some(open)),
                None => Ok(choice::give_next(change, annotator.id)?),
            })?,
        };
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
        self.write(|change| {
            if made_before(change, annotator, key)?.is_some() {
                return Ok(());
            }
            let pair = (item, annotator.id);
            let given = find(change, "SELECT 1 FROM assignment WHERE item = ?1 AND annotator = ?2", pair, |_| Ok(()))?;
            if given.is_none() {
                return Err(Error::NotGiven { item, annotator: annotator.name.clone() }.into());
            }
            let before = find(change, "SELECT label FROM label WHERE item = ?1 AND annotator = ?2", pair, |row| {
                parse::<Label>(&row.get::<_, String>(0)?)
            })?;
            match before {
                Some(before) if before == label => return Ok(()),
                Some(_) => return Err(Error::AlreadyLabelled { item, annotator: annotator.name.clone() }.into()),
                None => {}
            }
            let sql = "INSERT INTO label (item, annotator, label, shown, is_skip, seconds, given) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let is_skip = label.verdict == Verdict::Skip;
            change.execute(sql, (item, annotator.id, json(&label), json(&order), is_skip, seconds, now()))?;
            choice::close(change, annotator.id, item, is_skip)?;
            Ok::<_, Failure>(keep(change, annotator, key, Some(item), None)?)
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
        let undone = self.write(|change| {
            if let Some(before) = made_before(change, annotator, key)? {
                return Ok(before.item.zip(before.undone));
            }
            let sql = "SELECT id, item, label FROM label WHERE annotator = ?1 ORDER BY id DESC LIMIT 1";
            let last = find(change, sql, [annotator.id], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, ItemId>(1)?, parse::<Label>(&row.get::<_, String>(2)?)?))
            })?;
            let Some((id, item, label)) = last else {
                keep(change, annotator, key, None, None)?;
                return Ok(None);
            };
            change.execute("DELETE FROM label WHERE id = ?1", [id])?;
            choice::reopen(change, annotator.id, item, label.verdict == Verdict::Skip)?;
            let sql = "UPDATE assignment SET given = ?1 WHERE item = ?2 AND annotator = ?3";
            change.execute(sql, (now(), item, annotator.id))?;
            keep(change, annotator, key, Some(item), Some(&label))?;
            Ok::<_, Failure>(Some((item, label)))
        })?;
        let Some((item, label)) = undone else { return Ok(None) };
        let order = self.shown(annotator, item)?;
        label
            .check(order.len())
            .map_err(|error| Error::store(&self.file, format!("item {item}: {error}; {CHANGED}")))?;
        let label = label.reordered(&inverse(&order));
        Ok(Some((self.task(annotator, item)?, label)))
    }

    /// Progress of this annotator.
    pub fn progress(&self, annotator: &Annotator) -> Result<LabelProgress> {
        choice::progress(&self.connection, annotator.id).map_err(told(&self.file))
    }

    pub(super) fn task(&self, annotator: &Annotator, item: ItemId) -> Result<Task> {
        let stored = self.stored(item)?;
        let order = order(self.settings()?.seed, &stored.key, &annotator.name, stored.answers.len());
        let answers = order.iter().map(|place| stored.answers[*place].text.clone()).collect();
        Ok(Task { item, prompt: stored.prompt, answers })
    }

    pub(super) fn shown(&self, annotator: &Annotator, item: ItemId) -> Result<Vec<usize>> {
        let seed = self.settings()?.seed;
        let found = self.stored(item)?;
        Ok(order(seed, &found.key, &annotator.name, found.answers.len()))
    }
}

/// Seconds for which the keys of changes are remembered.
const MEMORY: i64 = 7 * 24 * 60 * 60;

/// Maximum length of the key of a change, in bytes.
const MAX_KEY_LENGTH: usize = 64;

/// A change that was made with a key.
pub(super) struct MadeBefore {
    item: Option<ItemId>,
    /// Label that it undid.
    undone: Option<Label>,
}

pub(super) fn check_key(key: Option<&str>) -> Result<()> {
    match key {
        Some(key) if key.is_empty() || key.len() > MAX_KEY_LENGTH => {
            Err(Error::label("key", format!("has {} bytes; 1 to {MAX_KEY_LENGTH} are right", key.len())))
        }
        _ => Ok(()),
    }
}

pub(super) fn made_before(
    change: &Change,
    annotator: &Annotator,
    key: Option<&str>,
) -> rusqlite::Result<Option<MadeBefore>> {
    let Some(key) = key else { return Ok(None) };
    let sql = "SELECT item, label FROM change WHERE annotator = ?1 AND key = ?2";
    find(change, sql, (annotator.id, key), |row| {
        let undone = row.get::<_, Option<String>>(1)?.map(|label| parse(&label)).transpose()?;
        Ok(MadeBefore { item: row.get(0)?, undone })
    })
}

/// Keeps the key of a change, in its transaction.
pub(super) fn keep(
    change: &Change,
    annotator: &Annotator,
    key: Option<&str>,
    item: Option<ItemId>,
    undone: Option<&Label>,
) -> rusqlite::Result<()> {
    let Some(key) = key else { return Ok(()) };
    change.execute("DELETE FROM change WHERE annotator = ?1 AND made < ?2", (annotator.id, now() - MEMORY))?;
    let sql = "INSERT INTO change (annotator, key, item, label, made) VALUES (?1, ?2, ?3, ?4, ?5)";
    change.execute(sql, (annotator.id, key, item, undone.map(json), now()))?;
    Ok(())
}
