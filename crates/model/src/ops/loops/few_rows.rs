use macerator::{Scalar, Simd, VMulAdd, Vector, vload_unaligned};
use rayon::prelude::*;

use super::Threads;

/// A matrix `[inner, columns]` with its numbers one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Matrix<'a> {
    /// Row after row.
    Rows(&'a [f32]),
    /// Column after column.
    Columns(&'a [f32]),
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

/// Rows of the matrix that are multiplied before a sum is stored, in [`by_rows`].
const DEPTH: usize = 4;

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
            Matrix::Rows(matrix) => by_rows(x, &matrix[*from..], output, inner, *columns),
            Matrix::Columns(matrix) => by_columns(x, &matrix[*from * inner..], output, inner),
        }
    });
}

/// Adds the products with some columns of a matrix, `[inner, columns]` from the first of them on, to `output`,
/// `[rows, width]`.
#[macerator::with_simd]
pub(super) fn by_rows<S: Simd>(x: &[f32], matrix: &[f32], output: &mut [f32], inner: usize, columns: usize) {
    let rows = x.len() / inner;
    let width = output.len() / rows;
    let whole = inner / DEPTH * DEPTH;
    for k in (0..whole).step_by(DEPTH) {
        // In arrays: as single loads the compiler makes no vectors of the loop, and the product takes three times as long.
        let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|i| &matrix[(k + i) * columns..][..width]);
        for row in (0..rows / 2 * 2).step_by(2) {
            let [a0, a1, a2, a3] = [0, 1, 2, 3].map(|i| x[row * inner + k + i]);
            let [b0, b1, b2, b3] = [0, 1, 2, 3].map(|i| x[(row + 1) * inner + k + i]);
            let (p, q) = output[row * width..][..2 * width].split_at_mut(width);
            let q = &mut q[..width];
            for n in 0..width {
                let (w0, w1, w2, w3) = (w0[n], w1[n], w2[n], w3[n]);
                let a = fused::<S>(a1, w1, fused::<S>(a0, w0, p[n]));
                let b = fused::<S>(b1, w1, fused::<S>(b0, w0, q[n]));
                p[n] = fused::<S>(a3, w3, fused::<S>(a2, w2, a));
                q[n] = fused::<S>(b3, w3, fused::<S>(b2, w2, b));
            }
        }
        if rows % 2 == 1 {
            let [a0, a1, a2, a3] = [0, 1, 2, 3].map(|i| x[(rows - 1) * inner + k + i]);
            let p = &mut output[(rows - 1) * width..][..width];
            for n in 0..width {
                let a = fused::<S>(a1, w1[n], fused::<S>(a0, w0[n], p[n]));
                p[n] = fused::<S>(a3, w3[n], fused::<S>(a2, w2[n], a));
            }
        }
    }
    for k in whole..inner {
        let w = &matrix[k * columns..][..width];
        for row in 0..rows {
            let (a, p) = (x[row * inner + k], &mut output[row * width..][..width]);
            for n in 0..width {
                p[n] = fused::<S>(a, w[n], p[n]);
            }
        }
    }
}

/// Adds the products with the first columns of a matrix, column after column, to `output`, `[rows, width]`.
#[macerator::with_simd]
pub(super) fn by_columns<S: Simd>(x: &[f32], matrix: &[f32], output: &mut [f32], inner: usize) {
    let rows = x.len() / inner;
    let width = output.len() / rows;
    for n in (0..width).step_by(2) {
        let count = (width - n).min(2);
        let columns = [n, n + count - 1].map(|n| &matrix[n * inner..][..inner]);
        let mut row = 0;
        while row < rows {
            let output = &mut output[row * width + n..];
            row += match rows - row {
                1 => add_dots::<S, 1>(&x[row * inner..], columns, output, [width, count]),
                2 => add_dots::<S, 2>(&x[row * inner..], columns, output, [width, count]),
                3 => add_dots::<S, 3>(&x[row * inner..], columns, output, [width, count]),
                _ => add_dots::<S, 4>(&x[row * inner..], columns, output, [width, count]),
            };
        }
    }
}

/// Adds the inner products of the first `R` rows with the first `count` of two columns to an output of `width` columns.
#[inline(always)]
fn add_dots<S: Simd, const R: usize>(
    x: &[f32],
    columns: [&[f32]; 2],
    output: &mut [f32],
    [width, count]: [usize; 2],
) -> usize {
    let inner = columns[0].len();
    let mut rows = [columns[0]; R];
    for row in 0..R {
        rows[row] = &x[row * inner..][..inner];
    }
    let found = dots::<S, R>(rows, columns[0], columns[1]);
    for row in 0..R {
        for at in 0..count {
            output[row * width + at] += found[row][at];
        }
    }
    R
}

/// Inner products of rows with two columns.
#[inline(always)]
fn dots<S: Simd, const R: usize>(rows: [&[f32]; R], first: &[f32], second: &[f32]) -> [[f32; 2]; R] {
    let lanes = <f32 as Scalar>::lanes::<S>();
    let inner = first.len();
    assert!(second.len() == inner && rows.iter().all(|row| row.len() == inner), "rows and columns differ in length");
    let whole = inner / lanes * lanes;
    let zero: Vector<S, f32> = 0.0_f32.splat();
    let mut sums = [[zero; 2]; R];
    for k in (0..whole).step_by(lanes) {
        let a = vector::<S>(first, k);
        let b = vector::<S>(second, k);
        for row in 0..R {
            let x = vector::<S>(rows[row], k);
            sums[row] = [x.mul_add(a, sums[row][0]), x.mul_add(b, sums[row][1])];
        }
    }
    let mut found = [[0.0; 2]; R];
    for row in 0..R {
        for (column, numbers) in [first, second].into_iter().enumerate() {
            found[row][column] = sums[row][column].reduce_add();
            for k in whole..inner {
                found[row][column] += rows[row][k] * numbers[k];
            }
        }
    }
    found
}

/// The vector of numbers from the `k`th on.
#[inline(always)]
#[expect(unsafe_code, reason = "eight sums of lanes in arrays are not compiled to vectors: 16 GF/s and not 40")]
fn vector<S: Simd>(numbers: &[f32], k: usize) -> Vector<S, f32> {
    let numbers = &numbers[k..k + <f32 as Scalar>::lanes::<S>()];
    // SAFETY: the slice has as many numbers as a vector.
    unsafe { vload_unaligned(numbers.as_ptr()) }
}

/// `a b + c`, rounded once where the processor does both at once.
#[inline(always)]
fn fused<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if <f32 as VMulAdd>::is_accelerated::<S>() { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;

    use super::*;

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
