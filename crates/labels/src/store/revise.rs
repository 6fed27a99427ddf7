//! An annotator's own labels: looked at again, and changed.

use super::items::{CHANGED, ItemId};
use super::tasks::{check_key, keep, made_before};
use super::{Annotator, Failure, Store, Task, choice, find, json, now, parse, told};
use crate::error::{Error, Result};
use crate::label::{Label, Verdict};
use crate::order::inverse;

/// A label that the annotator gave before, with its item as it was shown.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnLabel {
    /// The item.
    pub task: Task,
    /// The label, of the answers as shown.
    pub label: Label,
}

impl Store {
    /// Label that this annotator gave `back` labels ago: 1 is the last one. `None` if there are fewer.
    pub fn own_label(&self, annotator: &Annotator, back: u64) -> Result<Option<OwnLabel>> {
        let Some(before) = back.checked_sub(1).and_then(|before| i64::try_from(before).ok()) else { return Ok(None) };
        let sql = "SELECT item, label FROM label WHERE annotator = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2";
        let found = find(&self.connection, sql, (annotator.id, before), |row| {
            Ok((row.get::<_, ItemId>(0)?, parse::<Label>(&row.get::<_, String>(1)?)?))
        });
        let Some((item, label)) = found.map_err(told(&self.file))? else { return Ok(None) };
        let order = self.shown(annotator, item)?;
        label
            .check(order.len())
            .map_err(|error| Error::store(&self.file, format!("item {item}: {error}; {CHANGED}")))?;
        Ok(Some(OwnLabel { task: self.task(annotator, item)?, label: label.reordered(&inverse(&order)) }))
    }

    /// Replaces the label that this annotator gave to an item. Its place among the annotator's labels and its seconds
    /// stay. A key has the effect that it has in [`submit_once`](Self::submit_once).
    ///
    /// # Errors
    /// An item that this annotator has not labelled.
    pub fn revise_once(&mut self, annotator: &Annotator, key: Option<&str>, item: ItemId, label: &Label) -> Result<()> {
        check_key(key)?;
        let order = self.shown(annotator, item)?;
        label.check(order.len())?;
        let label = label.reordered(&order);
        self.write(|change| {
            if made_before(change, annotator, key)?.is_some() {
                return Ok(());
            }
            let sql = "SELECT is_skip FROM label WHERE item = ?1 AND annotator = ?2";
            let before = find(change, sql, (item, annotator.id), |row| row.get::<_, bool>(0))?;
            let Some(was_skip) = before else {
                return Err(Error::NotLabelled { item, annotator: annotator.name.clone() }.into());
            };
            let is_skip = label.verdict == Verdict::Skip;
            let sql = "UPDATE label SET label = ?3, is_skip = ?4, given = ?5 WHERE item = ?1 AND annotator = ?2";
            change.execute(sql, (item, annotator.id, json(&label), is_skip, now()))?;
            choice::revise(change, item, was_skip, is_skip)?;
            Ok::<_, Failure>(keep(change, annotator, key, Some(item), None)?)
        })
    }
}
