use macerator::{Scalar, Simd, Vector};

use super::codes::Codes;
use super::lines::prefetch;
use super::output_columns::OutputColumns;
use super::splat::{splat, splat_bits};

/// Rows of `[rows, inner]` as [`add_by_columns`] reads them: the numbers of each in the order in which vectors of words give those of
/// a column, filled up with zeros to whole vectors.
#[derive(Clone, Copy)]
pub(super) struct Interleaved<'a> {
    numbers: &'a [f32],
    inner: usize,
    /// Numbers from one row to the next.
    stride: usize,
}

impl<'a> Interleaved<'a> {
    /// For columns with so many codes in a word. `memory` has as many numbers as the rows with their [`interleaved_stride`].
    pub fn new(x: &[f32], inner: usize, in_word: usize, memory: &'a mut [f32]) -> Self {
        let lanes = lanes();
        let chunk = in_word * lanes;
        let stride = interleaved_stride(inner, in_word);
        let numbers = &mut memory[..x.len() / inner * stride];
        for (x, numbers) in x.chunks_exact(inner).zip(numbers.chunks_exact_mut(stride)) {
            for (x, numbers) in x.chunks(chunk).zip(numbers.chunks_exact_mut(chunk)) {
                if x.len() < chunk {
                    numbers.fill(0.0);
                }
                match in_word {
                    1 => numbers[..x.len()].copy_from_slice(x),
                    _ => x.iter().enumerate().for_each(|(k, &x)| numbers[k % in_word * lanes + k / in_word] = x),
                }
            }
        }
        Self { numbers, inner, stride }
    }

    /// The rows from this one on.
    pub fn from(self, row: usize) -> Self {
        Self { numbers: &self.numbers[row * self.stride..], ..self }
    }
}

/// Numbers of a row of [`Interleaved`].
pub(super) fn interleaved_stride(inner: usize, in_word: usize) -> usize {
    inner.next_multiple_of(in_word * lanes())
}

#[macerator::with_simd]
fn lanes<S: Simd>() -> usize {
    <f32 as Scalar>::lanes::<S>()
}

/// Adds the products of rows with columns, from one on, to an output.
#[macerator::with_simd]
pub(super) fn add_by_columns<'a, S: Simd, C: Codes>(
    x: Interleaved<'a>,
    columns: C,
    from: usize,
    output: &mut OutputColumns<'a>,
) {
    let (rows, width) = (output.rows(), output.width());
    let many = <f32 as Scalar>::lanes::<S>() == 16; // registers
    // A few rows leave registers for more columns.
    let most_rows = if rows <= 2 {
        1
    } else if many {
        C::ROWS
    } else {
        4
    };
    let most_columns = if rows <= 2 { 4 } else { 2 };
    let passes = rows.div_ceil(most_rows);
    let mut n = 0;
    while n < width {
        let taken = if width - n >= most_columns { most_columns } else { 1 };
        let mut pass = 0;
        while pass < passes {
            let row = pass * most_rows;
            let tile = Tile { columns, first: from + n, row, column: n, pass, passes };
            match (taken, most_rows.min(rows - row)) {
                (4, _) => tile.add::<S, 1, 4>(x, output),
                (2, 1) => tile.add::<S, 1, 2>(x, output),
                (2, 2) => tile.add::<S, 2, 2>(x, output),
                (2, 3) => tile.add::<S, 3, 2>(x, output),
                (2, 4) => tile.add::<S, 4, 2>(x, output),
                (2, 5) => tile.add::<S, 5, 2>(x, output),
                (2, 6) => tile.add::<S, 6, 2>(x, output),
                (2, 7) => tile.add::<S, 7, 2>(x, output),
                (2, _) => tile.add::<S, 8, 2>(x, output),
                (_, 1) => tile.add::<S, 1, 1>(x, output),
                (_, 2) => tile.add::<S, 2, 1>(x, output),
                (_, 3) => tile.add::<S, 3, 1>(x, output),
                (_, 4) => tile.add::<S, 4, 1>(x, output),
                (_, 5) => tile.add::<S, 5, 1>(x, output),
                (_, 6) => tile.add::<S, 6, 1>(x, output),
                (_, 7) => tile.add::<S, 7, 1>(x, output),
                _ => tile.add::<S, 8, 1>(x, output),
            }
            pass += 1;
        }
        n += taken;
    }
}

/// Some columns that are multiplied with some rows.
struct Tile<C> {
    columns: C,
    /// The first column.
    first: usize,
    /// First row of the output.
    row: usize,
    /// First column of the output.
    column: usize,
    /// Number of the pass over the columns, of so many: each brings a share of the next columns near.
    pass: usize,
    passes: usize,
}

impl<C: Codes> Tile<C> {
    /// Adds the products of `R` rows with `N` columns.
    #[inline(always)]
    #[expect(unsafe_code, reason = "sums of lanes in arrays are not compiled to vectors: 16 GF/s and not 40")]
    fn add<S: Simd, const R: usize, const N: usize>(self, x: Interleaved, output: &mut OutputColumns) {
        let Self { columns, first, row, column, pass, passes } = self;
        let Interleaved { numbers, inner, stride } = x;
        let lanes = <f32 as Scalar>::lanes::<S>();
        let chunk = C::IN_WORD * lanes;
        let word = size_of::<u32>();
        let bytes = inner * word / C::IN_WORD;
        let codes = &columns.bytes()[first * bytes..(first + N) * bytes];
        assert!(numbers.len() >= (row + R) * stride && stride >= inner);
        let zero = splat::<S>(0.0);
        let mut sums = [[zero; N]; R];
        let whole = inner / chunk;
        let mut turn = 0;
        for at in 0..inner.div_ceil(chunk) {
            let mut words = [splat_bits::<S>(0); N];
            let mut factors = [zero; N];
            for n in 0..N {
                let start = codes.as_ptr().wrapping_add(n * bytes + at * word * lanes);
                // SAFETY: whole vectors of words are inside of the column; the last codes are copied into 16 words of zeros, as many
                // as the longest vector has.
                unsafe {
                    words[n] = if at < whole {
                        u32::vload_unaligned(start.cast())
                    } else {
                        let mut last = [0_u32; 16];
                        let left = bytes - whole * word * lanes;
                        std::ptr::copy_nonoverlapping(start, last.as_mut_ptr().cast(), left);
                        u32::vload_unaligned(last.as_ptr())
                    };
                }
                factors[n] = columns.factors::<S>((first + n) * inner + at * chunk);
                if turn == pass {
                    prefetch(start.wrapping_add(N * bytes));
                }
            }
            turn = if turn + 1 == passes { 0 } else { turn + 1 };
            for part in 0..C::IN_WORD {
                let mut of_columns = [zero; N];
                for n in 0..N {
                    of_columns[n] = columns.numbers::<S>(words[n], factors[n], part);
                }
                for r in 0..R {
                    let at = (row + r) * stride + at * chunk + part * lanes;
                    // SAFETY: each row has whole vectors, and the rows are there, as asserted.
                    let x: Vector<S, f32> = unsafe { f32::vload_unaligned(numbers.as_ptr().add(at)) };
                    for n in 0..N {
                        sums[r][n] = x.mul_add(of_columns[n], sums[r][n]);
                    }
                }
            }
        }
        for r in 0..R {
            let output = output.row(row + r);
            for n in 0..N {
                output[column + n] += sums[r][n].reduce_add() * columns.scale(first + n);
            }
        }
    }
}
