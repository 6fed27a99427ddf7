use std::marker::PhantomData;

use macerator::{Scalar, Simd, Vector};

/// Some columns of an output of rows. Threads have other columns of the same rows each.
pub(super) struct OutputColumns<'a> {
    /// The first number of the first row.
    start: *mut f32,
    rows: usize,
    /// Numbers from one row to the next.
    stride: usize,
    width: usize,
    output: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "columns of one slice are no slices")]
// SAFETY: nobody else has these columns, as with a slice that can be changed.
unsafe impl Send for OutputColumns<'_> {}

impl<'a> OutputColumns<'a> {
    /// All columns of so many rows.
    pub fn of(output: &'a mut [f32], rows: usize) -> Self {
        let width = output.len() / rows;
        Self { start: output.as_mut_ptr(), rows, stride: width, width, output: PhantomData }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// The first columns, so many, and the others.
    pub fn split_at(self, width: usize) -> (Self, Self) {
        assert!(width <= self.width);
        let others = Self { start: self.start.wrapping_add(width), width: self.width - width, ..self };
        (Self { width, ..self }, others)
    }

    /// One row of the columns.
    #[inline(always)]
    #[expect(unsafe_code, reason = "a row of the columns is a slice of the output")]
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: the output has these rows, nobody else has these columns, and `self` is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.width) }
    }

    /// Adds vectors to the numbers of rows from `row` and of columns from `column` on.
    #[inline(always)]
    #[expect(unsafe_code, reason = "vectors are loaded from addresses")]
    pub fn add<S: Simd, const R: usize, const V: usize>(
        &mut self,
        row: usize,
        column: usize,
        sums: [[Vector<S, f32>; V]; R],
    ) {
        let lanes = <f32 as Scalar>::lanes::<S>();
        assert!(row + R <= self.rows && column + V * lanes <= self.width);
        for r in 0..R {
            for v in 0..V {
                // SAFETY: the rows and columns are there, as asserted, and nobody else has them.
                unsafe {
                    let at = self.start.add((row + r) * self.stride + column + v * lanes);
                    f32::vstore_unaligned(at, sums[r][v] + f32::vload_unaligned(at));
                }
            }
        }
    }
}
