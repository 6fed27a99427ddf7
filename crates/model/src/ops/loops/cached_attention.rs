use std::ops::Range;

use macerator::Simd;

use super::Threads;
use super::codes::{Codes, F32};
use super::column_products::{Interleaved, add_by_columns, interleaved_stride};
use super::functions::{exp, max, sum};
use super::lines::Lines;
use super::output_columns::OutputColumns;
use super::row_products::{DEPTH, MatrixRows, add_by_rows, grouped};

/// Tokens whose queries see the same numbers first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Readers {
    /// Indexes of the tokens.
    pub tokens: Vec<usize>,
    /// Row of the cache that has these numbers.
    pub row: usize,
    /// Number of the first cells that are the same.
    pub shared: usize,
}

/// Sizes of attention to a cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadSizes {
    /// Heads of keys, and heads of queries for each.
    pub kv_heads: usize,
    pub group: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// Cells of a row.
    pub capacity: usize,
}

/// Attention of single queries to the keys and values of a cache, `[rows, kv_heads, capacity, head_dim]` each.
///
/// `query` and `output` are `[tokens, kv_heads * group * head_dim]`; queries are scaled already. `seen` has the row and the cells
/// that a token sees. The cells that readers share are read once for all of them, unless one sees a window behind the first, in
/// whole steps of a product, so that the result has the same bits as without sharing.
pub(crate) fn attend_to_cache(
    query: &[f32],
    cache: [&[f32]; 2],
    output: &mut [f32],
    sizes: HeadSizes,
    readers: &[Readers],
    seen: impl Fn(usize) -> (usize, Range<usize>),
    threads: Threads,
) {
    let HeadSizes { kv_heads, group, head_dim, capacity } = sizes;
    let width = group * head_dim;
    let first = |row: usize, head: usize| (row * kv_heads + head) * capacity;
    let mut outputs: Vec<Option<&mut [f32]>> = output.chunks_exact_mut(width).map(Some).collect();
    let mut all: Vec<Reader> = Vec::with_capacity(outputs.len());
    for Readers { tokens, .. } in readers {
        for head in 0..kv_heads {
            all.extend(tokens.iter().map(|&token| {
                let number = token * kv_heads + head;
                let output = outputs[number].take().expect("a token has one reader");
                let (row, Range { start, end }) = seen(token);
                let cells = first(row, head) + start..first(row, head) + end;
                Reader { query: &query[number * width..][..width], output, cells }
            }));
        }
    }
    let mut all = all.as_mut_slice();
    let mut parts = Vec::with_capacity(kv_heads * readers.len());
    for Readers { tokens, row, shared } in readers {
        let see_the_first = tokens.iter().all(|&token| seen(token).1.start == 0);
        let shared = if see_the_first { shared / DEPTH * DEPTH } else { 0 };
        for head in 0..kv_heads {
            let part = all.split_off_mut(..tokens.len()).expect("each token has a reader for each head");
            parts.push((part, first(*row, head)..first(*row, head) + shared));
        }
    }
    let work = |memory: &mut Memory, (readers, shared): (&mut [Reader], _)| {
        memory.attend(cache, readers, shared, [group, head_dim]);
    };
    threads.for_each_with(parts.into_iter(), work);
}

/// The queries of a token that share a key head, `[group, head_dim]`, and the rows of the cache that they see.
struct Reader<'a> {
    query: &'a [f32],
    output: &'a mut [f32],
    cells: Range<usize>,
}

/// Memory that all parts of a thread share.
#[derive(Default)]
struct Memory {
    queries: Vec<f32>,
    scores: Vec<f32>,
    mixed: Vec<f32>,
    arranged: Lines,
    panel: Lines,
}

impl Memory {
    /// Attention of readers, whose first cells have the numbers of the `shared` ones.
    fn attend(
        &mut self,
        cache: [&[f32]; 2],
        readers: &mut [Reader],
        shared: Range<usize>,
        [group, head_dim]: [usize; 2],
    ) {
        let Self { queries, scores, mixed, arranged, panel } = self;
        let [keys, values] =
            cache.map(|numbers| move |Range { start, end }: Range<usize>| &numbers[start * head_dim..end * head_dim]);
        let of_row = |numbers, cells: &Range<usize>| MatrixRows { numbers, stride: head_dim, count: cells.len() };
        let (rows, count) = (readers.len() * group, shared.len());
        let widest = readers.iter().map(|reader| reader.cells.len()).max().unwrap_or(0);
        queries.clear();
        readers.iter().for_each(|reader| queries.extend_from_slice(reader.query));
        let query = arranged.numbers(rows * interleaved_stride(head_dim, F32::IN_WORD));
        let query = Interleaved::new(queries, head_dim, F32::IN_WORD, query);
        scores.clear();
        scores.resize(rows * widest, 0.0);
        if count > 0 {
            let mut columns = OutputColumns::of(scores, rows).split_at(count).0;
            add_by_columns(query, F32(keys(shared.clone())), 0, &mut columns);
        }
        for (number, (reader, scores)) in readers.iter().zip(scores.chunks_exact_mut(group * widest)).enumerate() {
            let own = reader.cells.start + count..reader.cells.end;
            let mut columns = OutputColumns::of(scores, group).split_at(count).1.split_at(own.len()).0;
            add_by_columns(query.from(number * group), F32(keys(own)), 0, &mut columns);
            softmax(scores, widest, reader.cells.len());
        }
        mixed.clear();
        mixed.resize(rows * head_dim, 0.0);
        let weights = |numbers, count| MatrixRows { numbers, stride: widest, count };
        if count > 0 {
            let of_shared = grouped(weights(scores, rows), count, arranged.numbers(rows * count));
            add_by_rows(of_shared, of_row(values(shared.clone()), &shared), panel, &mut OutputColumns::of(mixed, rows));
        }
        let scores = scores.chunks_exact(group * widest);
        for ((reader, scores), mixed) in readers.iter_mut().zip(scores).zip(mixed.chunks_exact_mut(group * head_dim)) {
            let own = reader.cells.start + count..reader.cells.end;
            let of_own = grouped(weights(&scores[count..], group), own.len(), arranged.numbers(group * own.len()));
            add_by_rows(of_own, of_row(values(own.clone()), &own), panel, &mut OutputColumns::of(mixed, group));
            reader.output.copy_from_slice(mixed);
        }
    }
}

/// Replaces the first `count` scores of each row by their softmax.
#[macerator::with_simd]
fn softmax<S: Simd>(scores: &mut [f32], stride: usize, count: usize) {
    for row in 0..scores.len() / stride {
        let row = &mut scores[row * stride..][..count];
        let max = max(row);
        for i in 0..count {
            row[i] = exp(row[i] - max);
        }
        let scale = 1.0 / sum(row);
        for i in 0..count {
            row[i] *= scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;

    use super::*;

    const SIZES: HeadSizes = HeadSizes { kv_heads: 2, group: 3, head_dim: 12, capacity: 120 };

    fn numbers(count: usize, factor: usize) -> Vec<f32> {
        (0..count).map(|i| ((factor * i) % 23) as f32 / 8.0 - 1.2).collect()
    }

    /// A cache of five rows. The first 100 cells of the last three have the same numbers.
    fn cache() -> [Vec<f32>; 2] {
        let HeadSizes { kv_heads, head_dim, capacity, .. } = SIZES;
        let row = kv_heads * capacity * head_dim;
        [5, 11].map(|factor| {
            let mut all = numbers(5 * row, factor);
            for (to, head) in [(3, 0), (3, 1), (4, 0), (4, 1)] {
                let from = 2 * row + head * capacity * head_dim;
                all.copy_within(from..from + 100 * head_dim, to * row + head * capacity * head_dim);
            }
            all
        })
    }

    /// Rows and cells that five tokens see.
    fn seen(token: usize) -> (usize, Range<usize>) {
        [(0, 3..40), (1, 0..1), (2, 0..100), (3, 0..107), (4, 0..120)][token].clone()
    }

    fn attend(readers: &[Readers], threads: usize) -> Vec<f32> {
        let HeadSizes { kv_heads, group, head_dim, .. } = SIZES;
        let query = numbers(5 * kv_heads * group * head_dim, 7);
        let mut output = vec![f32::NAN; query.len()];
        let [keys, values] = &cache();
        attend_to_cache(&query, [keys, values], &mut output, SIZES, readers, seen, Threads::of_rayon(threads));
        output
    }

    fn apart() -> Vec<Readers> {
        (0..5).map(|token| Readers { tokens: vec![token], row: seen(token).0, shared: 0 }).collect()
    }

    #[test]
    fn heads_attend_to_the_cells_that_their_token_sees() {
        let HeadSizes { kv_heads, group, head_dim, capacity } = SIZES;
        let [keys, values] = cache();
        let query = numbers(5 * kv_heads * group * head_dim, 7);
        let mut expected = Vec::new();
        for (head, query) in query.chunks(head_dim).enumerate() {
            let (row, cells) = seen(head / group / kv_heads);
            let start = (row * kv_heads + head / group % kv_heads) * capacity;
            let row = |of: &[f32], cell: usize| of[(start + cell) * head_dim..][..head_dim].to_vec();
            let score = |cell: usize| -> f64 {
                row(&keys, cell).iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            let total: f64 = cells.clone().map(|cell| score(cell).exp()).sum();
            for i in 0..head_dim {
                let mixed = cells.clone().map(|cell| score(cell).exp() / total * f64::from(row(&values, cell)[i]));
                expected.push(mixed.sum::<f64>());
            }
        }
        for threads in [1, 3] {
            assert_close!(attend(&apart(), threads), &expected, 1e-5);
        }
    }

    #[test]
    fn readers_of_the_same_cells_get_the_bits_that_they_get_alone() {
        let alone = attend(&apart(), 1);
        for shared in [10, 32, 70, 100] {
            let together = Readers { tokens: vec![3, 2, 4], row: 2, shared };
            // The first token does not see the first cells of its row.
            let behind = Readers { tokens: vec![0], row: 0, shared };
            let readers = [behind, apart().remove(1), together];
            for threads in [1, 3] {
                let found = attend(&readers, threads);
                assert!(found.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()), "{shared}, {threads}");
            }
        }
    }
}
