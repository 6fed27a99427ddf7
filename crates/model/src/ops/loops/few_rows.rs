use rayon::prelude::*;

use super::products::{MatrixRows, add_by_columns, add_by_rows};
use super::{Threads, dequantised_products};

/// A matrix `[inner, columns]` with its numbers one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Matrix<'a> {
    /// Row after row.
    Rows(&'a [f32]),
    /// Column after column.
    Columns(&'a [f32]),
    /// Bfloat16, row after row.
    Bf16Rows(&'a [u16]),
    /// 8-bit integers, column after column, each with the difference between two of its codes.
    Int8Columns { codes: &'a [i8], steps: &'a [f32] },
    /// 4-bit codes, two a byte, column after column, with a scale for each 64; `pairs` are the numbers of each byte.
    Nf4Columns { codes: &'a [u8], scales: &'a [f32], pairs: &'a [[f32; 2]; 256] },
}

/// A product of rows with a matrix.
pub(crate) struct Product<'a> {
    pub matrix: Matrix<'a>,
    /// Added to each row of the product, `[columns]`.
    pub bias: Option<&'a [f32]>,
    /// `[rows, columns]`
    pub output: &'a mut [f32],
}

/// Columns that a thread takes at once: with a few rows, what is added up stays in the nearest cache.
const BLOCK: usize = 512;

/// Products of `[rows, inner]` with matrices, for few rows: each matrix is read from memory once, in order, where libraries
/// for large products read it in tiles. `blocks` is memory that calls share.
pub(crate) fn few_rows<const N: usize>(
    x: &[f32],
    inner: usize,
    products: [Product; N],
    blocks: &mut Vec<f32>,
    threads: Threads,
) {
    let rows = x.len() / inner;
    let columns: usize = products.iter().map(|product| product.output.len() / rows).sum();
    let width = BLOCK.min(columns.div_ceil(threads.0).next_multiple_of(16));
    if rows == 1 {
        let parts = products.into_iter().flat_map(|Product { matrix, bias, output }| {
            let columns = output.len();
            let parts = output.chunks_mut(width).enumerate();
            parts.map(move |(number, output)| Block { matrix, bias, columns, from: number * width, output })
        });
        return compute(x, inner, parts.collect(), threads);
    }
    blocks.resize(rows * columns, 0.0);
    let mut rest = blocks.as_mut_slice();
    let mut parts = Vec::new();
    for Product { matrix, bias, output } in &products {
        let columns = output.len() / rows;
        for from in (0..columns).step_by(width) {
            let (output, after) = std::mem::take(&mut rest).split_at_mut(rows * width.min(columns - from));
            rest = after;
            parts.push(Block { matrix: *matrix, bias: *bias, columns, from, output });
        }
    }
    compute(x, inner, parts, threads);
    let mut found = blocks.as_slice();
    for Product { output, .. } in products {
        let columns = output.len() / rows;
        for from in (0..columns).step_by(width) {
            let width = width.min(columns - from);
            let (block, after) = found.split_at(rows * width);
            found = after;
            for (row, block) in block.chunks_exact(width).enumerate() {
                output[row * columns + from..][..width].copy_from_slice(block);
            }
        }
    }
}

/// Some columns of a product.
struct Block<'a> {
    matrix: Matrix<'a>,
    bias: Option<&'a [f32]>,
    /// Columns of the matrix.
    columns: usize,
    /// The first column.
    from: usize,
    /// `[rows, width]`
    output: &'a mut [f32],
}

fn compute(x: &[f32], inner: usize, mut blocks: Vec<Block>, threads: Threads) {
    let share = threads.share(blocks.len());
    blocks.par_iter_mut().with_min_len(share).for_each(|Block { matrix, bias, columns, from, output }| {
        let width = output.len() / (x.len() / inner);
        match bias {
            Some(bias) => output.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(&bias[*from..][..width])),
            None => output.fill(0.0),
        }
        match matrix {
            Matrix::Rows(numbers) => {
                let rows = MatrixRows { numbers: &numbers[*from..], stride: *columns, count: inner };
                add_by_rows(x, inner, 0, rows, output);
            }
            Matrix::Columns(numbers) => {
                add_by_columns(x, inner, &numbers[*from * inner..(*from + width) * inner], output, width, 0);
            }
            Matrix::Bf16Rows(numbers) => {
                dequantised_products::add_by_bf16_rows(x, inner, &numbers[*from..], *columns, output)
            }
            Matrix::Int8Columns { codes, steps } => {
                dequantised_products::add_by_int8_columns(x, inner, &codes[*from * inner..], &steps[*from..], output);
            }
            Matrix::Nf4Columns { codes, scales, pairs } => {
                let part = (&codes[*from * inner / 2..], &scales[*from * inner / 64..]);
                dequantised_products::add_by_nf4_columns(x, inner, part, pairs, output);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;

    use super::*;

    /// Without optimisation there is nothing to guard.
    #[cfg(not(debug_assertions))]
    #[test]
    fn products_are_compiled_to_vectors() {
        use std::hint::black_box;
        use std::time::{Duration, Instant};

        const ROWS: usize = 4;
        const WIDTH: usize = 128;
        let x = vec![0.5; ROWS * WIDTH];
        let matrix = vec![0.25; WIDTH * WIDTH];
        // Of many short trials one is not disturbed, however much else the machine does.
        let shortest = |work: &mut dyn FnMut()| {
            let trial = |_| {
                let began = Instant::now();
                work();
                began.elapsed()
            };
            (0..200).map(trial).min().unwrap_or(Duration::MAX)
        };
        let mut output = vec![0.0; ROWS * WIDTH];
        let one_by_one = shortest(&mut || {
            for (at, output) in output.iter_mut().enumerate() {
                let (row, column) = (&x[at / WIDTH * WIDTH..][..WIDTH], &matrix[at % WIDTH * WIDTH..][..WIDTH]);
                *output = row.iter().zip(column).fold(0.0, |sum, (a, b)| sum + a * b);
            }
            black_box(&output);
        });
        for (name, matrix) in [("rows", Matrix::Rows(&matrix)), ("columns", Matrix::Columns(&matrix))] {
            let mut blocks = Vec::new();
            let in_vectors = shortest(&mut || {
                let product = Product { matrix, bias: None, output: &mut output };
                few_rows(&x, WIDTH, [product], &mut blocks, Threads(1));
                black_box(&output);
            });
            assert!(3 * in_vectors < one_by_one, "{name}: {in_vectors:?} in vectors, {one_by_one:?} one by one");
        }
    }

    #[test]
    fn products_are_those_of_64_bits_in_both_layouts() {
        for (rows, inner, columns) in [(1, 5, 3), (2, 8, 16), (3, 13, 1), (4, 64, 600), (7, 33, 517), (16, 9, 1030)] {
            let numbers = |count: usize, factor: usize| -> Vec<f32> {
                (0..count).map(|i| ((factor * i) % 23) as f32 / 16.0 - 0.6).collect()
            };
            let (x, by_row) = (numbers(rows * inner, 7), numbers(inner * columns, 5));
            let by_column: Vec<f32> = (0..columns * inner).map(|i| by_row[i % inner * columns + i / inner]).collect();
            let sum = |row: usize, column: usize| -> f64 {
                (0..inner).map(|k| f64::from(x[row * inner + k]) * f64::from(by_row[k * columns + column])).sum()
            };
            let expected: Vec<f64> = (0..rows * columns).map(|at| sum(at / columns, at % columns)).collect();
            let bias = numbers(columns, 3);
            let with_bias: Vec<f64> =
                expected.iter().enumerate().map(|(at, sum)| sum + f64::from(bias[at % columns])).collect();
            for threads in [1, 3] {
                let (mut first, mut second) = (vec![f32::NAN; rows * columns], vec![f32::NAN; rows * columns]);
                let products = [
                    Product { matrix: Matrix::Rows(&by_row), bias: None, output: &mut first },
                    Product { matrix: Matrix::Columns(&by_column), bias: Some(&bias), output: &mut second },
                ];
                few_rows(&x, inner, products, &mut vec![f32::NAN; 3], Threads(threads));
                assert_close!(first, expected, 1e-5);
                assert_close!(second, with_bias, 1e-5);
            }
        }
    }
}
