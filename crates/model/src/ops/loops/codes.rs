//! Forms of the numbers of a column, and how a vector of words becomes vectors of numbers in registers.

use macerator::{Scalar, Simd, Vector};

use super::splat::{splat, splat_bits};

/// Numbers of 4 bits that share a scale.
const BLOCK: usize = 64;

/// Columns of codes, one after the other.
pub(super) trait Codes: Copy + Sync {
    /// Codes in a word of 32 bits.
    const IN_WORD: usize;

    /// Rows of a tile with 32 registers.
    const ROWS: usize = 8;

    /// All codes.
    fn bytes(&self) -> &[u8];

    /// Factors of the numbers of words, by the index of the first code among all.
    #[inline(always)]
    fn factors<S: Simd>(&self, first: usize) -> Vector<S, f32> {
        let _ = first;
        splat(1.0)
    }

    /// The number at `at`, below [`Codes::IN_WORD`], of each word.
    fn numbers<S: Simd>(&self, words: Vector<S, u32>, factors: Vector<S, f32>, at: usize) -> Vector<S, f32>;

    /// Factor of a whole column.
    #[inline(always)]
    fn scale(&self, column: usize) -> f32 {
        let _ = column;
        1.0
    }
}

/// 32 bits.
#[derive(Clone, Copy)]
pub(super) struct F32<'a>(pub &'a [f32]);

/// Bfloat16.
#[derive(Clone, Copy)]
pub(super) struct Bf16<'a>(pub &'a [u16]);

/// 8-bit integers, with the difference between two of each column.
#[derive(Clone, Copy)]
pub(super) struct Int8<'a> {
    pub codes: &'a [i8],
    pub steps: &'a [f32],
}

/// 4-bit codes, two a byte, the first in the high bits, with a scale for each 64; `levels` are the numbers of the codes.
#[derive(Clone, Copy)]
pub(super) struct Nf4<'a> {
    pub codes: &'a [u8],
    pub scales: &'a [f32],
    pub levels: &'a [f32; 16],
}

impl Codes for F32<'_> {
    const IN_WORD: usize = 1;

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.0)
    }

    #[inline(always)]
    fn numbers<S: Simd>(&self, words: Vector<S, u32>, _: Vector<S, f32>, _: usize) -> Vector<S, f32> {
        S::typed(*words)
    }
}

impl Codes for Bf16<'_> {
    const IN_WORD: usize = 2;

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.0)
    }

    #[inline(always)]
    fn numbers<S: Simd>(&self, words: Vector<S, u32>, _: Vector<S, f32>, at: usize) -> Vector<S, f32> {
        let high = if at == 0 { words << 16 } else { words & splat_bits(0xffff_0000) };
        S::typed(*high)
    }
}

impl Codes for Int8<'_> {
    const IN_WORD: usize = 4;

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.codes)
    }

    #[inline(always)]
    fn numbers<S: Simd>(&self, words: Vector<S, u32>, _: Vector<S, f32>, at: usize) -> Vector<S, f32> {
        let words: Vector<S, i32> = S::typed(*words);
        let high = if at == 3 { words } else { words << (24 - 8 * at as u32) };
        (high >> 24).to_float()
    }

    #[inline(always)]
    fn scale(&self, column: usize) -> f32 {
        self.steps[column]
    }
}

impl Codes for Nf4<'_> {
    const IN_WORD: usize = 8;
    const ROWS: usize = 4; // the tables and scales take registers too

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self.codes
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "vectors are loaded from addresses")]
    fn factors<S: Simd>(&self, first: usize) -> Vector<S, f32> {
        let block = first / BLOCK;
        if <f32 as Scalar>::lanes::<S>() * Self::IN_WORD <= BLOCK {
            return splat(self.scales[block]);
        }
        let mut scales = [self.scales[block]; 16];
        // Half of the last words may be beyond the codes, and are multiplied with zeros.
        let next = self.scales[(block + 1).min(self.scales.len() - 1)];
        for lane in 8..16 {
            scales[lane] = next;
        }
        // SAFETY: the longest vector has 16 numbers.
        unsafe { f32::vload_unaligned(scales.as_ptr()) }
    }

    #[inline(always)]
    fn numbers<S: Simd>(&self, words: Vector<S, u32>, factors: Vector<S, f32>, at: usize) -> Vector<S, f32> {
        let low = 4 * (at as u32 ^ 1);
        levels_of(if low == 0 { words } else { words >> low }, self.levels) * factors
    }
}

/// The levels of codes in the lowest 4 bits of words.
#[inline(always)]
#[expect(unsafe_code, reason = "macerator has no tables")]
fn levels_of<S: Simd>(words: Vector<S, u32>, levels: &[f32; 16]) -> Vector<S, f32> {
    let lanes = <f32 as Scalar>::lanes::<S>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: on this processor, vectors of 16 numbers are those of AVX-512, and vectors of 8 those of AVX2, which macerator
    // found; a table has 16 numbers, and registers of one size hold any bits.
    unsafe {
        use std::arch::x86_64::*;
        use std::mem::transmute_copy;
        if lanes == 16 {
            let numbers = _mm512_permutexvar_ps(transmute_copy(&*words), _mm512_loadu_ps(levels.as_ptr()));
            return S::typed(transmute_copy(&numbers));
        }
        if lanes == 8 {
            let [low, high] = [0, 8].map(|from| _mm256_loadu_ps(levels.as_ptr().add(from)));
            let words: __m256i = transmute_copy(&*words);
            let [low, high] = [_mm256_permutevar8x32_ps(low, words), _mm256_permutevar8x32_ps(high, words)];
            let is_high = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(words));
            return S::typed(transmute_copy(&_mm256_blendv_ps(low, high, is_high)));
        }
    }
    let (mut codes, mut numbers) = ([0_u32; 16], [0.0_f32; 16]);
    // SAFETY: the longest vector has 16 numbers.
    unsafe {
        u32::vstore_unaligned(codes.as_mut_ptr(), words);
        for lane in 0..lanes {
            numbers[lane] = levels[codes[lane] as usize & 15];
        }
        f32::vload_unaligned(numbers.as_ptr())
    }
}
