use std::ops::Range;

use macerator::Simd;

use super::Threads;
use super::codes::{Codes, F32};
use super::column_products::{Interleaved, add_by_columns, interleaved_stride};
use super::functions::{exp, sum};
use super::lines::Lines;
use super::output_columns::OutputColumns;
use super::row_products::{MatrixRows, add_by_rows, grouped};

/// Attention of single queries to the keys and values of a cache, which have rows of `head_dim` numbers each.
///
/// `query` and `output` are groups of the heads that share a key head, one after the other; `cells` has the rows of the cache
/// that a group sees. Queries are scaled already.
pub(crate) fn attend_to_cache(
    query: &[f32],
    [keys, values]: [&[f32]; 2],
    output: &mut [f32],
    [group, head_dim]: [usize; 2],
    cells: impl Fn(usize) -> Range<usize> + Sync,
    threads: Threads,
) {
    let width = group * head_dim;
    let groups = output.chunks_exact_mut(width).zip(query.chunks_exact(width)).enumerate();
    threads.for_each_with(groups, |memory: &mut Memory, (number, (output, query))| {
        let Memory { scores, arranged, panel } = memory;
        let Range { start, end } = cells(number);
        scores.clear();
        scores.resize(group * (end - start), 0.0);
        let [keys, values] = [keys, values].map(|numbers| &numbers[start * head_dim..end * head_dim]);
        let memory = arranged.numbers(group * interleaved_stride(head_dim, F32::IN_WORD));
        let query = Interleaved::new(query, head_dim, F32::IN_WORD, memory);
        add_by_columns(query, F32(keys), 0, &mut OutputColumns::of(scores, group));
        softmax(scores, end - start);
        output.fill(0.0);
        let values = MatrixRows { numbers: values, stride: head_dim, count: end - start };
        let weights = grouped(scores, end - start, arranged.numbers(scores.len()));
        add_by_rows(weights, values, panel, &mut OutputColumns::of(output, group));
    });
}

/// Memory that the groups of a thread share.
#[derive(Default)]
struct Memory {
    scores: Vec<f32>,
    arranged: Lines,
    panel: Lines,
}

/// Replaces each row of scores by its softmax.
#[macerator::with_simd]
fn softmax<S: Simd>(scores: &mut [f32], width: usize) {
    for row in 0..scores.len() / width {
        let row = &mut scores[row * width..][..width];
        let mut max = f32::NEG_INFINITY;
        for i in 0..width {
            max = max.max(row[i]);
        }
        for i in 0..width {
            row[i] = exp(row[i] - max);
        }
        let scale = 1.0 / sum(row);
        for i in 0..width {
            row[i] *= scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;

    use super::*;

    #[test]
    fn heads_attend_to_the_cells_of_their_group() {
        let (head_dim, group, tokens, kv_heads, capacity) = (12, 3, 2, 2, 9);
        let numbers = |count: usize, factor: usize| -> Vec<f32> {
            (0..count).map(|i| ((factor * i) % 23) as f32 / 8.0 - 1.2).collect()
        };
        let query = numbers(tokens * kv_heads * group * head_dim, 7);
        let [keys, values] = [5, 11].map(|factor| numbers(tokens * kv_heads * capacity * head_dim, factor));
        let cells = |number: usize| number * capacity + number % 2..number * capacity + 4 + number;
        let mut expected = Vec::new();
        for (head, query) in query.chunks(head_dim).enumerate() {
            let cells = cells(head / group);
            let row = |of: &[f32], cell: usize| of[cell * head_dim..][..head_dim].to_vec();
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
            let mut output = vec![f32::NAN; query.len()];
            attend_to_cache(
                &query,
                [&keys, &values],
                &mut output,
                [group, head_dim],
                cells,
                Threads::of_rayon(threads),
            );
            assert_close!(output, expected, 1e-5);
        }
    }
}
