//! Adds items to the store and reads them.

use palestra_datasets::Content;
use rusqlite::Connection;

use super::given::take_over;
use super::{Change, Failure, Store, cached, choice, find, json, now, parse, told};
use crate::error::{Error, Result};
use crate::exchange::GivenLabels;
use crate::item::{Answer, MAX_ANSWERS, NewItem};

/// The number of an item in its store.
pub type ItemId = i64;

/// Result of adding items.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Added {
    /// Items that are new.
    pub added: usize,
    /// Items that already existed, with the same prompt and answers.
    pub known: usize,
    /// Items that came with the scores of a reward model.
    pub scored: usize,
    /// Labels that were taken over from another tool.
    pub labels: usize,
    /// Ids of all given items, in order.
    #[serde(skip)]
    pub ids: Vec<ItemId>,
}

/// An item as the store holds it.
pub(super) struct Stored {
    pub key: Vec<u8>,
    pub prompt: Content,
    pub answers: Vec<Answer>,
    pub gold: Option<usize>,
}

/// Error of a store that has what this program cannot have written.
pub(super) const CHANGED: &str = "another program changed the store; use a copy from before";

impl Stored {
    /// Refuses what this program does not store.
    pub fn check(&self) -> Result<(), String> {
        let count = self.answers.len();
        match self.gold {
            _ if !(1..=MAX_ANSWERS).contains(&count) => {
                Err(format!("has {count} answers where 1 to {MAX_ANSWERS} should be"))
            }
            Some(gold) if gold >= count => Err(format!("its gold answer is {gold}, of {count}")),
            _ => Ok(()),
        }
    }
}

impl Store {
    /// Adds items, all or none of them; the first error aborts. An existing item stays unchanged, but for
    /// newer scores.
    pub fn add<E>(&mut self, items: impl IntoIterator<Item = Result<NewItem, E>>) -> Result<Added>
    where
        Error: From<E>,
    {
        self.add_labelled(items.into_iter().map(|item| item.map(|item| (item, GivenLabels::default()))))
    }

    /// Adds items with the labels that annotators gave them in another tool, as [`add`](Self::add) does. A label stays out
    /// if its annotator has labelled the item here. Labels that no store can hold were left out before, and are counted in
    /// [`GivenLabels`].
    pub fn add_labelled<E>(
        &mut self,
        items: impl IntoIterator<Item = Result<(NewItem, GivenLabels), E>>,
    ) -> Result<Added>
    where
        Error: From<E>,
    {
        self.write(|change| {
            let mut added = Added::default();
            for item in items {
                let (item, given) = item.map_err(Error::from)?;
                if let Some((column, reason)) = item.fault() {
                    return Err(
                        Error::store(change.file, format!("item {}, {column}: {reason}", added.ids.len())).into()
                    );
                }
                let known = find(change, "SELECT id FROM item WHERE key = ?1", [item.key()], |row| row.get(0))?;
                added.scored += usize::from(item.gap.is_some());
                match known {
                    Some(id) => {
                        if let Some(gap) = item.gap {
                            change.execute("UPDATE item SET gap = ?1 WHERE id = ?2", (gap, id))?;
                        }
                        added.known += 1;
                        added.ids.push(id);
                    }
                    None => {
                        added.added += 1;
                        added.ids.push(insert(change, &item)?);
                    }
                }
                let id = added.ids[added.ids.len() - 1];
                for label in &given.labels {
                    added.labels += usize::from(take_over(change, id, &item, label)?);
                }
            }
            Ok::<_, Failure>(added)
        })
    }

    pub(super) fn stored(&self, item: ItemId) -> Result<Stored> {
        let stored = stored(&self.connection, item).map_err(told(&self.file))?.ok_or(Error::UnknownItem(item))?;
        stored.check().map_err(|reason| Error::store(&self.file, format!("item {item}: {reason}; {CHANGED}")))?;
        Ok(stored)
    }
}

fn insert(change: &Change, item: &NewItem) -> rusqlite::Result<ItemId> {
    let sql = "INSERT INTO item (key, prompt, gold, added, gap) VALUES (?1, ?2, ?3, ?4, ?5)";
    let gold = item.gold.map(|gold| gold as i64);
    change.execute(sql, (item.key(), json(&item.prompt), gold, now(), item.gap))?;
    let id = change.last_insert_rowid();
    for (place, answer) in item.answers.iter().enumerate() {
        let sql = "INSERT INTO answer (item, place, text, policy) VALUES (?1, ?2, ?3, ?4)";
        change.execute(sql, (id, place as i64, json(&answer.text), &answer.policy))?;
    }
    choice::add(change, id, item.gold.is_some())?;
    Ok(id)
}

pub(super) fn stored(connection: &Connection, item: ItemId) -> rusqlite::Result<Option<Stored>> {
    let sql = "SELECT key, prompt, gold FROM item WHERE id = ?1";
    let found = find(connection, sql, [item], |row| {
        let gold: Option<i64> = row.get(2)?;
        Ok((row.get(0)?, parse(&row.get::<_, String>(1)?)?, gold.map(|gold| gold as usize)))
    })?;
    let Some((key, prompt, gold)) = found else { return Ok(None) };
    let mut select = cached(connection, "SELECT text, policy FROM answer WHERE item = ?1 ORDER BY place")?;
    let answers =
        select.query_map([item], |row| Ok(Answer { text: parse(&row.get::<_, String>(0)?)?, policy: row.get(1)? }))?;
    Ok(Some(Stored { key, prompt, answers: answers.collect::<rusqlite::Result<_>>()?, gold }))
}
