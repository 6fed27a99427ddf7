//! Duplicates among the documents of all ranks.
//!
//! Each rank holds an index of its share of the documents that are kept, which divides the memory. All ranks go through the
//! documents in the order of the input, a window at a time: each looks the window up in its own index, and tells the others
//! what it found. Then all of them decide, by what was found and by the window itself. So a document is compared with the
//! documents before it that are kept, as in one process, and not with those that were dropped themselves.

use std::ops::Range;

use super::Ranks;
use super::exchange::gather;
use super::parts::Entry;
use crate::duplicates::{Duplicate, Index};
use crate::error::Result;
use crate::settings::Settings;

/// Place of a document in its window, and the id and similarity of the text that it repeats.
type Found = (usize, u64, Option<u64>);

/// Decisions about the documents of all parts, by their numbers.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Decisions {
    /// Documents that are dropped, in order.
    pub dropped: Vec<(u64, Duplicate)>,
    /// Documents of each pair of shards.
    pub pairs: Vec<Range<u64>>,
}

impl Decisions {
    /// The earlier document that a document repeats.
    pub fn duplicate(&self, number: u64) -> Option<&Duplicate> {
        let at = self.dropped.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.dropped[at].1)
    }
}

/// Finds the duplicates among the entries of all parts, which every rank reads, in windows of so many.
pub(super) fn decide(
    settings: &Settings,
    mut entries: impl Iterator<Item = Result<Entry>>,
    window: usize,
    ranks: &dyn Ranks,
) -> Result<Decisions> {
    let near = settings.duplicates.near.get().is_some();
    let find =
        |index: &Index, entry: &Entry| Duplicate::find(&settings.duplicates, index, entry.id, entry.signature.as_ref());
    let mut index = Index::new(near);
    let mut decisions = Decisions::default();
    let (mut number, mut kept, mut begin, mut text_bytes) = (0, 0, 0, 0);
    loop {
        let entries: Vec<Entry> = entries.by_ref().take(window).collect::<Result<_>>()?;
        if entries.is_empty() {
            break;
        }
        let found = entries.iter().enumerate().filter_map(|(at, entry)| Some((at, find(&index, entry)?)));
        // A similarity goes by its bits, so that all ranks have the same number.
        let own: Vec<Found> = found.map(|(at, found)| (at, found.id, found.similarity.map(f64::to_bits))).collect();
        let mut known = vec![None; entries.len()];
        for (at, id, similarity) in gather(ranks, &own)?.into_iter().flatten() {
            let found = Duplicate { id, similarity: similarity.map(f64::from_bits) };
            known[at] = Duplicate::nearer(known[at], Some(found));
        }
        let mut recent = Index::new(near);
        for (entry, known) in entries.iter().zip(known) {
            match Duplicate::nearer(known, find(&recent, entry)) {
                Some(duplicate) => decisions.dropped.push((number, duplicate)),
                None => {
                    recent.add(entry.id, entry.signature.as_ref());
                    if kept % ranks.size() == ranks.rank() {
                        index.add(entry.id, entry.signature.as_ref());
                    }
                    kept += 1;
                    text_bytes += entry.text_bytes;
                }
            }
            number += 1;
            if text_bytes >= settings.shards.text_bytes {
                decisions.pairs.push(begin..number);
                (begin, text_bytes) = (number, 0);
            }
        }
    }
    decisions.pairs.push(begin..number);
    Ok(decisions)
}
