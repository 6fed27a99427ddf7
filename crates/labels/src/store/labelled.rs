//! All labels of a store, for exports and summaries.

use palestra_datasets::Content;

use super::items::{CHANGED, ItemId};
use super::{Failure, Store, parse, told};
use crate::error::{Error, Result};
use crate::item::Answer;
use crate::label::Label;

/// One label with its item and annotator.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledItem {
    /// The item.
    pub item: ItemId,
    /// The prompt.
    pub prompt: Content,
    /// The answers; labels refer to their indices.
    pub answers: Vec<Answer>,
    /// Index of the known best answer of a gold item.
    pub gold: Option<usize>,
    /// Name of the annotator.
    pub annotator: String,
    /// Number of the label in the store; later labels have higher ones.
    pub number: i64,
    /// The label.
    pub label: Label,
    /// Indices of the answers in the order in which they were shown.
    pub shown: Vec<usize>,
    /// Seconds from showing the item to labeling it.
    pub seconds: f64,
}

impl LabelledItem {
    /// Beginning of the prompt, on one line.
    pub fn prompt_beginning(&self) -> String {
        beginning(&self.prompt)
    }
}

/// Beginning of a text, on one line.
pub(crate) fn beginning(text: &Content) -> String {
    const LENGTH: usize = 80;
    let line = text.as_text().split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}\u{2026}", &line[..end]),
        None => line,
    }
}

impl Store {
    /// All labels, by item and then by the annotator's name.
    pub fn labelled(&self) -> Result<Vec<LabelledItem>> {
        self.read_labelled("").map_err(|failure| failure.told(&self.file))
    }

    /// The labels of one item.
    pub fn labelled_of(&self, item: ItemId) -> Result<Vec<LabelledItem>> {
        self.stored(item)?;
        self.read_labelled(&format!("WHERE item = {item}")).map_err(|failure| failure.told(&self.file))
    }

    /// Number of these items that have fewer labels than the overlap requires.
    pub fn waiting(&self, items: &[ItemId]) -> Result<usize> {
        let overlap = self.settings()?.overlap;
        let sql = "SELECT count(*) >= ?2 FROM label WHERE item = ?1 AND NOT is_skip";
        let read = || {
            let mut select = self.connection.prepare(sql)?;
            items.iter().try_fold(0, |waiting, item| {
                let is_done: bool = select.query_row((item, overlap), |row| row.get(0))?;
                Ok(waiting + usize::from(!is_done))
            })
        };
        read().map_err(told(&self.file))
    }

    /// Number of items to label, number of those with as many labels as the overlap requires, and number of gold items.
    pub(crate) fn item_counts(&self) -> Result<[u64; 3]> {
        let overlap = self.settings()?.overlap;
        let sql = "SELECT coalesce(sum(gold IS NULL), 0), coalesce(sum(gold IS NULL AND
            (SELECT count(*) FROM label WHERE label.item = item.id AND NOT is_skip) >= ?1), 0),
            coalesce(sum(gold IS NOT NULL), 0) FROM item";
        let read =
            |row: &rusqlite::Row| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?].map(|count| count as u64));
        self.connection.query_row(sql, [overlap], read).map_err(told(&self.file))
    }

    /// Names of all annotators.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let read = || {
            let mut select = self.connection.prepare("SELECT name FROM annotator ORDER BY name")?;
            select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(told(&self.file))
    }

    /// Names of all annotators, in the order in which they came.
    pub(crate) fn names_as_they_came(&self) -> Result<Vec<String>> {
        let read = || {
            let mut select = self.connection.prepare("SELECT name FROM annotator ORDER BY id")?;
            select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(told(&self.file))
    }

    fn read_labelled(&self, condition: &str) -> Result<Vec<LabelledItem>, Failure> {
        let sql = format!(
            "SELECT item, name, label, shown, seconds, label.id FROM label JOIN annotator ON annotator.id = annotator {condition}
             ORDER BY item, name"
        );
        let mut select = self.connection.prepare(&sql)?;
        let mut rows = select.query([])?;
        let mut labelled: Vec<LabelledItem> = Vec::new();
        while let Some(row) = rows.next()? {
            let item = row.get(0)?;
            let (prompt, answers, gold) = match labelled.last().filter(|last| last.item == item) {
                Some(last) => (last.prompt.clone(), last.answers.clone(), last.gold),
                None => {
                    let found = self.stored(item)?;
                    (found.prompt, found.answers, found.gold)
                }
            };
            let (label, shown): (Label, Vec<usize>) =
                (parse(&row.get::<_, String>(2)?)?, parse(&row.get::<_, String>(3)?)?);
            let (annotator, seconds, number): (String, _, _) = (row.get(1)?, row.get(4)?, row.get(5)?);
            check(&label, &shown, answers.len()).map_err(|reason| {
                Error::store(&self.file, format!("item {item}, label of {annotator}: {reason}; {CHANGED}"))
            })?;
            labelled.push(LabelledItem { item, prompt, answers, gold, annotator, number, label, shown, seconds });
        }
        Ok(labelled)
    }
}

/// Refuses a label that this program does not store.
fn check(label: &Label, shown: &[usize], answers: usize) -> Result<(), String> {
    label.check(answers).map_err(|error| error.to_string())?;
    let mut places = shown.to_vec();
    places.sort_unstable();
    if places.iter().copied().eq(0..answers) { Ok(()) } else { Err(format!("was shown as {shown:?}, of {answers}")) }
}
