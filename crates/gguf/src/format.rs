//! Number formats of tensors, to and from 32-bit floats.

use std::io::{self, Read, Write};

use half::{bf16, f16};

#[cfg(target_endian = "big")]
compile_error!("GGUF files are little-endian here, and numbers are read and written without a change of order");

/// Number format of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, up to 65504.
    F16,
    /// Brain floats: the range of 32 bits, 8 bits of precision.
    BF16,
    /// Blocks of 32 numbers along the last axis: a 16-bit scale d, then 8-bit integers q; a number is `d q`. d is a
    /// 127th of the largest magnitude of the block.
    Q8_0,
}

/// Numbers in a block of [`NumberFormat::Q8_0`].
const BLOCK: usize = 32;

/// Bytes of such a block.
const BLOCK_BYTES: usize = 2 + BLOCK;

/// Numbers that are converted at a time; a multiple of [`BLOCK`].
const PART: usize = 1 << 16;

/// Names of formats by their number in files.
const NAMES: [(u32, &str); 30] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (8, "Q8_0"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (30, "BF16"),
    (39, "MXFP4"),
];

impl NumberFormat {
    /// Every format that is read and written.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::BF16, Self::Q8_0];

    /// Number of the format in files.
    pub fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 8,
            Self::BF16 => 30,
        }
    }

    /// Name of the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// The format with this number in files; the error is a name of it.
    pub(crate) fn of_id(id: u32) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.id() == id);
        let name = || NAMES.iter().find(|(number, _)| *number == id).map(|(_, name)| (*name).to_string());
        found.ok_or_else(|| name().unwrap_or_else(|| format!("of the unknown type {id}")))
    }

    /// True if rows of so many numbers have this format.
    pub fn divides(self, row: usize) -> bool {
        self != Self::Q8_0 || row.is_multiple_of(BLOCK)
    }

    /// Bytes of so many numbers, if a file may have as many.
    pub(crate) fn bytes(self, count: u64) -> Option<u64> {
        match self {
            Self::F32 => count.checked_mul(4),
            Self::F16 | Self::BF16 => count.checked_mul(2),
            Self::Q8_0 => (count / BLOCK as u64).checked_mul(BLOCK_BYTES as u64),
        }
    }

    /// The first number that the format has no value for; 32-bit floats have to be finite.
    pub(crate) fn first_misfit(self, data: &[f32]) -> Option<usize> {
        let largest = match self {
            Self::F32 => f32::MAX,
            Self::F16 => f16::MAX.to_f32(),
            Self::BF16 => bf16::MAX.to_f32(),
            Self::Q8_0 => 127.0 * f16::MAX.to_f32(),
        };
        data.iter().position(|number| number.is_nan() || number.abs() > largest)
    }

    /// Reads so many numbers.
    pub(crate) fn read(self, input: &mut impl Read, count: usize) -> io::Result<Vec<f32>> {
        let mut data = Vec::with_capacity(count);
        let mut bytes = vec![0; self.bytes(PART.min(count) as u64).unwrap_or_default() as usize];
        while data.len() < count {
            let part = (count - data.len()).min(PART);
            let bytes = &mut bytes[..self.bytes(part as u64).unwrap_or_default() as usize];
            input.read_exact(bytes)?;
            let pairs = || bytes.as_chunks::<2>().0.iter().copied();
            match self {
                Self::F32 => data.extend(bytes.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes)),
                Self::F16 => data.extend(pairs().map(|pair| f16::from_le_bytes(pair).to_f32())),
                Self::BF16 => data.extend(pairs().map(|pair| bf16::from_le_bytes(pair).to_f32())),
                Self::Q8_0 => data.extend(bytes.as_chunks::<BLOCK_BYTES>().0.iter().flat_map(numbers_of)),
            }
        }
        Ok(data)
    }

    /// Writes numbers.
    pub(crate) fn write(self, out: &mut impl Write, data: &[f32]) -> io::Result<()> {
        data.chunks(PART).try_for_each(|part| match self {
            Self::F32 => out.write_all(bytemuck::cast_slice(part)),
            Self::F16 => {
                let halves: Vec<u16> = part.iter().map(|&number| f16::from_f32(number).to_bits()).collect();
                out.write_all(bytemuck::cast_slice(&halves))
            }
            Self::BF16 => {
                let halves: Vec<u16> = part.iter().map(|&number| bf16::from_f32(number).to_bits()).collect();
                out.write_all(bytemuck::cast_slice(&halves))
            }
            Self::Q8_0 => {
                let blocks: Vec<u8> = part.as_chunks::<BLOCK>().0.iter().flat_map(block_of).collect();
                out.write_all(&blocks)
            }
        })
    }
}

/// A block of `Q8_0`: d = max |x| / 127, q = x / d rounded to the nearest integer, halves away from 0.
fn block_of(numbers: &[f32; BLOCK]) -> [u8; BLOCK_BYTES] {
    let largest = numbers.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut block = [0; BLOCK_BYTES];
    block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (byte, number) in block[2..].iter_mut().zip(numbers) {
        *byte = ((number * inverse).round() as i8).cast_unsigned();
    }
    block
}

/// Numbers of a block of `Q8_0`.
fn numbers_of(block: &[u8; BLOCK_BYTES]) -> [f32; BLOCK] {
    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
    std::array::from_fn(|at| f32::from(block[2 + at].cast_signed()) * scale)
}
