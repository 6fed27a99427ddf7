use macerator::{Scalar, Simd, Vector};

/// Rows of a matrix that are multiplied before sums are stored, while the next ones are brought near.
pub(super) const DEPTH: usize = 16;

/// Vectors of columns and rows of a tile, whose sums stay in registers.
const VECTORS: usize = 2;
const ROWS: usize = 4;

/// Numbers of the longest vector.
const MAX_LANES: usize = 16;

/// Rows of a matrix, of which some columns are multiplied.
#[derive(Clone, Copy)]
pub(super) struct MatrixRows<'a> {
    /// Numbers from the first of these columns on.
    pub numbers: &'a [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Number of rows.
    pub count: usize,
}

/// Adds the product of `x`, `[rows, inner]`, with the first columns of a matrix to `output`, `[rows, width]`. Of each row of
/// `x` the numbers from `from` on count, as many as the matrix has rows.
#[macerator::with_simd]
pub(super) fn add_by_rows<'a, S: Simd>(
    x: &[f32],
    inner: usize,
    from: usize,
    matrix: MatrixRows<'a>,
    output: &mut [f32],
) {
    let MatrixRows { numbers, stride, count } = matrix;
    let rows = x.len() / inner;
    let width = output.len() / rows;
    let lanes = <f32 as Scalar>::lanes::<S>();
    let tile = VECTORS * lanes;
    let whole = width / tile * tile;
    let mut factors = [0.0; ROWS * DEPTH * MAX_LANES];
    let mut k = 0;
    while k < count {
        let depth = DEPTH.min(count - k);
        let chunk = MatrixRows { numbers: &numbers[k * stride..], stride, count: depth };
        let ahead = DEPTH.min(count - k - depth);
        let mut row = 0;
        while row < rows {
            let group = ROWS.min(rows - row);
            for i in 0..depth {
                for r in 0..group {
                    let at = (i * group + r) * lanes;
                    let factor = x[(row + r) * inner + from + k + i];
                    for lane in 0..lanes {
                        factors[at + lane] = factor;
                    }
                }
            }
            let output = &mut output[row * width..];
            let mut n = 0;
            while n < whole {
                if row == 0 {
                    for i in 0..ahead {
                        prefetch(numbers, (k + depth + i) * stride + n);
                    }
                }
                match group {
                    1 => add_tile::<S, 1>(&factors, chunk, n, output, width),
                    2 => add_tile::<S, 2>(&factors, chunk, n, output, width),
                    3 => add_tile::<S, 3>(&factors, chunk, n, output, width),
                    _ => add_tile::<S, ROWS>(&factors, chunk, n, output, width),
                }
                n += tile;
            }
            if whole < width {
                for r in 0..group {
                    let output = &mut output[r * width..][..width];
                    for i in 0..depth {
                        let x = x[(row + r) * inner + from + k + i];
                        let numbers = &numbers[(k + i) * stride..][..width];
                        for n in whole..width {
                            output[n] += x * numbers[n];
                        }
                    }
                }
            }
            row += group;
        }
        k += depth;
    }
}

/// Adds the product of `R` rows with the columns of a tile, from `n` on. `factors` has a vector of each number of the rows,
/// `[count, R, lanes]`: a number that is made a vector in the loop is not kept in a register.
#[inline(always)]
#[expect(unsafe_code, reason = "sums in slices are not kept in registers")]
fn add_tile<S: Simd, const R: usize>(factors: &[f32], matrix: MatrixRows, n: usize, output: &mut [f32], width: usize) {
    let MatrixRows { numbers, stride, count } = matrix;
    let lanes = <f32 as Scalar>::lanes::<S>();
    assert!(factors.len() >= count * R * lanes && output.len() >= (R - 1) * width + n + VECTORS * lanes);
    assert!(count > 0 && numbers.len() >= (count - 1) * stride + n + VECTORS * lanes);
    let (factors, numbers, output) = (factors.as_ptr(), numbers[n..].as_ptr(), output[n..].as_mut_ptr());
    // SAFETY: the slices are as long as the last number of the last vector or row, as asserted.
    unsafe {
        let mut sums: [[Vector<S, f32>; VECTORS]; R] = [[f32::vload_unaligned(output); VECTORS]; R];
        for row in 0..R {
            for v in 0..VECTORS {
                sums[row][v] = f32::vload_unaligned(output.add(row * width + v * lanes));
            }
        }
        for k in 0..count {
            let first: Vector<S, f32> = f32::vload_unaligned(numbers.add(k * stride));
            let second: Vector<S, f32> = f32::vload_unaligned(numbers.add(k * stride + lanes));
            for row in 0..R {
                let factor: Vector<S, f32> = f32::vload_unaligned(factors.add((k * R + row) * lanes));
                sums[row][0] = factor.mul_add(first, sums[row][0]);
                sums[row][1] = factor.mul_add(second, sums[row][1]);
            }
        }
        for row in 0..R {
            for v in 0..VECTORS {
                f32::vstore_unaligned(output.add(row * width + v * lanes), sums[row][v]);
            }
        }
    }
}

/// Asks for a number to be brought into the nearest cache, where Rust has the processor's instruction for it.
#[inline(always)]
pub(super) fn prefetch<T>(numbers: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the instruction takes an address")]
    // SAFETY: it is a hint, and harmless whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(numbers.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (numbers, at);
}

/// Adds the products of `x`, `[rows, inner]`, with columns that stand one after the other to the columns of `output`,
/// `[rows, width]`, from `at` on.
#[macerator::with_simd]
pub(super) fn add_by_columns<S: Simd>(
    x: &[f32],
    inner: usize,
    columns: &[f32],
    output: &mut [f32],
    width: usize,
    at: usize,
) {
    let rows = x.len() / inner;
    let all = columns.len() / inner;
    let mut n = 0;
    while n < all {
        let count = (all - n).min(2);
        let pair = [&columns[n * inner..][..inner], &columns[(n + count - 1) * inner..][..inner]];
        let mut row = 0;
        while row < rows {
            let (x, output) = (&x[row * inner..], &mut output[row * width + at + n..]);
            row += match rows - row {
                1 => add_dots::<S, 1>(x, pair, output, width, count),
                2 => add_dots::<S, 2>(x, pair, output, width, count),
                3 => add_dots::<S, 3>(x, pair, output, width, count),
                _ => add_dots::<S, 4>(x, pair, output, width, count),
            };
        }
        n += 2;
    }
}

/// Adds the inner products of the first `R` rows with the first `count` of two columns. Returns `R`.
#[inline(always)]
#[expect(unsafe_code, reason = "eight sums of lanes in arrays are not compiled to vectors: 16 GF/s and not 40")]
fn add_dots<S: Simd, const R: usize>(
    x: &[f32],
    [first, second]: [&[f32]; 2],
    output: &mut [f32],
    width: usize,
    count: usize,
) -> usize {
    let lanes = <f32 as Scalar>::lanes::<S>();
    let inner = first.len();
    assert!(second.len() == inner && x.len() >= R * inner, "rows and columns differ in length");
    let whole = inner / lanes * lanes;
    let zero: Vector<S, f32> = 0.0_f32.splat();
    let mut sums = [[zero; 2]; R];
    let mut k = 0;
    while k < whole {
        // SAFETY: `k + lanes` is at most `inner`, of which each column has as many numbers, and `x` `R` times as many.
        unsafe {
            let a = f32::vload_unaligned(first.as_ptr().add(k));
            let b = f32::vload_unaligned(second.as_ptr().add(k));
            for row in 0..R {
                let x: Vector<S, f32> = f32::vload_unaligned(x.as_ptr().add(row * inner + k));
                sums[row] = [x.mul_add(a, sums[row][0]), x.mul_add(b, sums[row][1])];
            }
        }
        k += lanes;
    }
    for row in 0..R {
        let x = &x[row * inner..][..inner];
        for column in 0..count {
            let numbers = if column == 0 { first } else { second };
            let mut sum = sums[row][column].reduce_add();
            for k in whole..inner {
                sum += x[k] * numbers[k];
            }
            output[row * width + column] += sum;
        }
    }
    R
}
