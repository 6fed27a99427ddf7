use super::signature::{BANDS, Signature, mix, similarity};

/// Index of the texts that were kept: the id and the signature of each, and tables to find it by either.
///
/// A document takes 8 bytes for the id, 112 for the signature, and 15 entries of 4 bytes in tables that are between 1/2
/// and 3/4 full: 200 to 240 bytes, whatever its length; up to 16 without near duplicates.
pub(crate) struct Index {
    /// Ids and bands of the documents, `width` numbers each, in blocks, so that growth does not copy.
    blocks: Vec<Vec<u64>>,
    count: usize,
    /// One table by id and one per band.
    tables: Vec<Table>,
}

/// Hash table from a key to document numbers: open addressing with linear probing.
struct Table {
    slots: Vec<u32>,
}

/// An earlier text that is similar to a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Match {
    /// The earlier text.
    pub id: u64,
    /// The estimated Jaccard similarity.
    pub similarity: f64,
}

const FREE: u32 = u32::MAX;
const BLOCK: usize = 4096;

impl Index {
    /// Creates an empty index, of ids only if near duplicates are not detected.
    pub fn new(near: bool) -> Self {
        let tables = if near { 1 + BANDS } else { 1 };
        Self { blocks: Vec::new(), count: 0, tables: (0..tables).map(|_| Table { slots: vec![FREE; 64] }).collect() }
    }

    /// True if a text with this id is in the index.
    pub fn has(&self, id: u64) -> bool {
        self.find(0, id).next().is_some()
    }

    /// Returns the most similar text of those that share a band and are at least `least` similar; of equally similar
    /// ones the one with the smallest id, so that the order of insertion does not matter.
    pub fn nearest(&self, signature: &Signature, least: f64) -> Option<Match> {
        let mut best: Option<Match> = None;
        for (band, key) in signature.iter().enumerate() {
            for number in self.find(1 + band, *key) {
                let known = self.document(number);
                let found = Match { id: known[0], similarity: similarity(&known[1..], signature) };
                let better = |best: &Match| {
                    found.similarity > best.similarity || found.similarity == best.similarity && found.id < best.id
                };
                if found.similarity >= least && best.as_ref().is_none_or(better) {
                    best = Some(found);
                }
            }
        }
        best
    }

    /// Adds a text. A text without a signature has no near duplicates.
    ///
    /// # Panics
    /// After four thousand million texts, for which the index would take a terabyte.
    pub fn add(&mut self, id: u64, signature: Option<&Signature>) {
        let number = u32::try_from(self.count).ok().filter(|number| *number != FREE);
        let number = number.expect("the index holds fewer than 2^32 - 1 documents");
        let width = self.tables.len();
        if self.count.is_multiple_of(BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK * width));
        }
        let block = self.blocks.last_mut().expect("a block was pushed");
        block.push(id);
        if width > 1 {
            block.extend(signature.copied().unwrap_or_default());
        }
        self.count += 1;
        let keyed = if signature.is_some() { width } else { 1 };
        for table in 0..keyed {
            if (self.count + 1) * 4 > self.tables[table].slots.len() * 3 {
                self.grow(table);
            }
            let key = self.document(number)[table];
            self.tables[table].put(key, number);
        }
    }

    fn document(&self, number: u32) -> &[u64] {
        let (number, width) = (number as usize, self.tables.len());
        &self.blocks[number / BLOCK][number % BLOCK * width..][..width]
    }

    /// Returns the documents that have this key in a table.
    fn find(&self, table: usize, key: u64) -> impl Iterator<Item = u32> {
        self.tables[table].probe(key).filter(move |number| self.document(*number)[table] == key)
    }

    /// Grows a table by half; the keys come from the document numbers in the old table.
    fn grow(&mut self, table: usize) {
        let size = self.tables[table].slots.len() * 3 / 2;
        let old = std::mem::replace(&mut self.tables[table].slots, vec![FREE; size]);
        for number in old.into_iter().filter(|number| *number != FREE) {
            let key = self.document(number)[table];
            self.tables[table].put(key, number);
        }
    }
}

impl Table {
    fn home(&self, key: u64) -> usize {
        ((u128::from(mix(key)) * self.slots.len() as u128) >> 64) as usize
    }

    fn probe(&self, key: u64) -> impl Iterator<Item = u32> {
        let home = self.home(key);
        self.slots[home..].iter().chain(&self.slots[..home]).copied().take_while(|number| *number != FREE)
    }

    fn put(&mut self, key: u64, number: u32) {
        let mut place = self.home(key);
        while self.slots[place] != FREE {
            place = if place + 1 == self.slots.len() { 0 } else { place + 1 };
        }
        self.slots[place] = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(index: &Index) -> usize {
        // Only the used part of the last block counts, since its free space does not grow with the documents.
        let blocks: usize = index.blocks.iter().map(|block| block.len() * 8).sum();
        blocks + index.tables.iter().map(|table| table.slots.len() * 4).sum::<usize>()
    }

    fn made(number: u64) -> Signature {
        std::array::from_fn(|band| mix(number * 100 + band as u64))
    }

    #[test]
    fn finds_what_was_added_and_nothing_else() {
        let mut index = Index::new(true);
        for number in 0..4000 {
            assert!(!index.has(number) && index.nearest(&made(number), 0.7).is_none());
            index.add(number, Some(&made(number)));
        }
        assert!((0..4000).all(|number| index.has(number)));
        assert!(!index.has(4000));
        // Three of fourteen bands differ.
        let mut like = made(77);
        like[3..6].fill(1);
        let found = index.nearest(&like, 0.7).unwrap();
        assert!(found.id == 77 && (found.similarity - 11.0 / 14.0).abs() < 0.02, "{found:?}");
        assert_eq!(index.nearest(&like, 0.85), None);
        assert_eq!(index.count, 4000);
    }

    #[test]
    fn a_document_takes_less_than_240_bytes() {
        let mut index = Index::new(true);
        let mut most = 0.0f64;
        for number in 0..60_000u64 {
            index.add(number, Some(&made(number)));
            if number >= 20_000 {
                most = most.max(bytes(&index) as f64 / index.count as f64);
            }
        }
        assert!(most < 241.0, "{most} bytes a document");
        let mut exact = Index::new(false);
        (0..60_000).for_each(|number| exact.add(number, None));
        assert!(bytes(&exact) < 60_000 * 17, "{}", bytes(&exact));
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let near: Vec<Signature> = (0..3)
            .map(|other| {
                let mut signature = made(5);
                signature[other] = 0;
                signature
            })
            .collect();
        let found = |order: [usize; 3]| {
            let mut index = Index::new(true);
            order.iter().for_each(|number| index.add(*number as u64, Some(&near[*number])));
            index.nearest(&made(5), 0.7).unwrap()
        };
        assert_eq!(found([0, 1, 2]), found([2, 1, 0]));
        assert_eq!(found([0, 1, 2]).id, 0);
    }
}
