//! Labels that annotators gave in another tool.

use palestra_datasets::Content;

use super::items::{ItemId, stored};
use super::people::annotator_named;
use super::{Change, Failure, choice, find, json, now};
use crate::exchange::GivenLabel;
use crate::item::NewItem;
use crate::label::Verdict;

/// Takes over a label of an item, whose answers stand in the store in the order of `item` or in another; false if its
/// annotator has labelled the item in the store.
pub(super) fn take_over(change: &Change, id: ItemId, item: &NewItem, given: &GivenLabel) -> Result<bool, Failure> {
    let annotator = annotator_named(change, &given.annotator)?;
    let pair = (id, annotator.id);
    let has = |sql: &str| Ok::<_, rusqlite::Error>(find(change, sql, pair, |_| Ok(()))?.is_some());
    if has("SELECT 1 FROM label WHERE item = ?1 AND annotator = ?2")? {
        return Ok(false);
    }
    let places = stored(change, id)?.map_or_else(Vec::new, |stored| stored.answers);
    let place = |text: &Content| places.iter().position(|answer| answer.text == *text);
    let order: Vec<usize> = item.answers.iter().filter_map(|answer| place(&answer.text)).collect();
    given.label.check(order.len())?;
    let label = given.label.reordered(&order);
    if !has("SELECT 1 FROM assignment WHERE item = ?1 AND annotator = ?2")? {
        choice::give(change, annotator.id, id)?;
    }
    let is_skip = label.verdict == Verdict::Skip;
    let sql = "INSERT INTO label (item, annotator, label, shown, is_skip, seconds, given) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let seconds = if given.seconds.is_finite() { given.seconds.clamp(0.0, 86_400.0) } else { 0.0 };
    change.execute(sql, (id, annotator.id, json(&label), json(&order), is_skip, seconds, now()))?;
    choice::close(change, annotator.id, id, is_skip)?;
    Ok(true)
}
