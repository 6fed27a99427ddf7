use macerator::{Scalar, Simd};

use super::lines::{Lines, prefetch};
use super::output_columns::OutputColumns;
use super::splat::splat;

/// Rows of a tile, whose sums stay in registers. Groups of rows are of about the same size, at most this.
const ROWS: usize = 6;

/// Rows of the matrix that are multiplied before sums are stored: a panel of them, and what is asked for meanwhile, stay in the
/// nearest cache. The memory gives few rows at once the fastest.
pub(super) const DEPTH: usize = 32;

/// Number of tiles from one to that which is asked for meanwhile.
const AHEAD: usize = 2;

/// Some columns of the rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct MatrixRows<'a> {
    /// Numbers from the first of these columns on.
    pub numbers: &'a [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Number of rows.
    pub count: usize,
}

/// The first row of each group of `rows`, and the end.
#[inline(always)]
fn group_start(group: usize, rows: usize) -> usize {
    group * rows / rows.div_ceil(ROWS)
}

/// Arranges rows of `inner` numbers as [`add_by_rows`] reads them: each group of them as `[inner, rows of the group]`. `memory` has
/// as many numbers.
pub(super) fn grouped<'a>(x: MatrixRows, inner: usize, memory: &'a mut [f32]) -> &'a [f32] {
    let MatrixRows { numbers: x, stride, count: rows } = x;
    let all = &mut memory[..rows * inner];
    for group in 0..rows.div_ceil(ROWS) {
        let (start, end) = (group_start(group, rows), group_start(group + 1, rows));
        let (x, numbers) = (&x[start * stride..], &mut all[start * inner..end * inner]);
        match end - start {
            1 => numbers.copy_from_slice(&x[..inner]),
            2 => transpose::<2>(x, stride, numbers),
            3 => transpose::<3>(x, stride, numbers),
            4 => transpose::<4>(x, stride, numbers),
            5 => transpose::<5>(x, stride, numbers),
            _ => transpose::<ROWS>(x, stride, numbers),
        }
    }
    all
}

/// Writes `R` rows as `[inner, R]`.
fn transpose<const R: usize>(x: &[f32], stride: usize, numbers: &mut [f32]) {
    let inner = numbers.len() / R;
    let rows: [&[f32]; R] = std::array::from_fn(|row| &x[row * stride..][..inner]);
    for (k, numbers) in numbers.as_chunks_mut::<R>().0.iter_mut().enumerate() {
        for row in 0..R {
            numbers[row] = rows[row][k];
        }
    }
}

/// Adds the product of rows that are [`grouped`] with some columns of a matrix to an output. `panel` is memory that
/// calls share.
#[macerator::with_simd]
pub(super) fn add_by_rows<'a, S: Simd>(
    x: &[f32],
    matrix: MatrixRows<'a>,
    panel: &mut Lines,
    output: &mut OutputColumns<'a>,
) {
    let MatrixRows { numbers, stride, count: inner } = matrix;
    let (rows, width) = (output.rows(), output.width());
    let lanes = <f32 as Scalar>::lanes::<S>();
    // With 32 registers, 24 have sums; with 16, 12.
    let vectors = if lanes == 16 { 4 } else { 2 };
    let groups = rows.div_ceil(ROWS);
    let panel = panel.numbers(if groups > 1 { DEPTH.min(inner) * vectors * lanes } else { 0 });
    let mut k = 0;
    while k < inner {
        let count = DEPTH.min(inner - k);
        let mut n = 0;
        while n + lanes <= width {
            let taken = match (width - n) / lanes {
                left if left >= vectors => vectors,
                2.. => 2,
                _ => 1,
            };
            // Behind the last columns come the first ones of the next rows of the matrix.
            let ahead = n + AHEAD * vectors * lanes;
            let ahead = if ahead < width { k * stride + ahead } else { (k + DEPTH) * stride + ahead - width };
            let ahead = numbers.as_ptr().wrapping_add(ahead);
            let numbers = &numbers[k * stride + n..];
            let mut group = 0;
            while group < groups {
                let (row, end) = (group_start(group, rows), group_start(group + 1, rows));
                let x = &x[row * inner + k * (end - row)..][..count * (end - row)];
                let matrix = MatrixRows { numbers, stride, count };
                let tile = Tile { matrix, row, column: n, group, groups, ahead };
                match (end - row, taken) {
                    (1, 4) => tile.add::<S, 1, 4>(x, panel, output),
                    (2, 4) => tile.add::<S, 2, 4>(x, panel, output),
                    (3, 4) => tile.add::<S, 3, 4>(x, panel, output),
                    (4, 4) => tile.add::<S, 4, 4>(x, panel, output),
                    (5, 4) => tile.add::<S, 5, 4>(x, panel, output),
                    (_, 4) => tile.add::<S, ROWS, 4>(x, panel, output),
                    (1, 2) => tile.add::<S, 1, 2>(x, panel, output),
                    (2, 2) => tile.add::<S, 2, 2>(x, panel, output),
                    (3, 2) => tile.add::<S, 3, 2>(x, panel, output),
                    (4, 2) => tile.add::<S, 4, 2>(x, panel, output),
                    (5, 2) => tile.add::<S, 5, 2>(x, panel, output),
                    (_, 2) => tile.add::<S, ROWS, 2>(x, panel, output),
                    (1, _) => tile.add::<S, 1, 1>(x, panel, output),
                    (2, _) => tile.add::<S, 2, 1>(x, panel, output),
                    (3, _) => tile.add::<S, 3, 1>(x, panel, output),
                    (4, _) => tile.add::<S, 4, 1>(x, panel, output),
                    (5, _) => tile.add::<S, 5, 1>(x, panel, output),
                    _ => tile.add::<S, ROWS, 1>(x, panel, output),
                }
                group += 1;
            }
            n += taken * lanes;
        }
        let mut group = 0;
        while n < width && group < groups {
            let (start, end) = (group_start(group, rows), group_start(group + 1, rows));
            for row in start..end {
                let output = output.row(row);
                for i in k..k + count {
                    let x = x[start * inner + i * (end - start) + row - start];
                    for column in n..width {
                        output[column] += x * numbers[i * stride + column];
                    }
                }
            }
            group += 1;
        }
        k += count;
    }
}

/// Some columns of a matrix that are multiplied with a group of rows.
struct Tile<'a> {
    /// From the first of the columns on.
    matrix: MatrixRows<'a>,
    /// First row of the output.
    row: usize,
    /// First column of the output.
    column: usize,
    group: usize,
    groups: usize,
    /// Numbers that are asked for, with the same stride.
    ahead: *const f32,
}

impl Tile<'_> {
    /// Adds the products of `x`, `[count, R]`, with `V` vectors of columns. The first of several groups copies the columns into the
    /// panel, `[count, V vectors]`, where the others read them one after the other. Each asks for a share of the numbers ahead.
    #[inline(always)]
    #[expect(unsafe_code, reason = "vectors are loaded from addresses; sums in slices are not kept in registers")]
    fn add<S: Simd, const R: usize, const V: usize>(self, x: &[f32], panel: &mut [f32], output: &mut OutputColumns) {
        let Self { matrix: MatrixRows { numbers, stride, count }, row, column, group, groups, ahead } = self;
        let lanes = <f32 as Scalar>::lanes::<S>();
        let columns = V * lanes;
        assert!(count > 0 && x.len() == count * R && numbers.len() >= (count - 1) * stride + columns);
        assert!(groups == 1 || panel.len() >= count * columns);
        let copies = groups > 1 && group == 0;
        let (from, step) = if group == 0 { (numbers.as_ptr(), stride) } else { (panel.as_ptr(), columns) };
        let panel = panel.as_mut_ptr();
        let zero = splat::<S>(0.0);
        let mut sums = [[zero; V]; R];
        let mut turn = 0;
        for k in 0..count {
            if turn == group {
                for v in 0..V {
                    prefetch(ahead.wrapping_add(k * stride + v * lanes));
                }
            }
            turn = if turn + 1 == groups { 0 } else { turn + 1 };
            let mut columns_here = [zero; V];
            // SAFETY: `x`, the matrix and the panel have as many numbers, as asserted.
            unsafe {
                for v in 0..V {
                    columns_here[v] = f32::vload_unaligned(from.add(k * step + v * lanes));
                    if copies {
                        f32::vstore_unaligned(panel.add(k * columns + v * lanes), columns_here[v]);
                    }
                }
                for r in 0..R {
                    let factor = splat::<S>(*x.get_unchecked(k * R + r));
                    for v in 0..V {
                        sums[r][v] = factor.mul_add(columns_here[v], sums[r][v]);
                    }
                }
            }
        }
        output.add(row, column, sums);
    }
}
