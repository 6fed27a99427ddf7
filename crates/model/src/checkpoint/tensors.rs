//! Named arrays of numbers, and the safetensors file that holds them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use half::{bf16, f16};
use palestra_files::AtomicFile;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::{Error, Result};

#[cfg(target_endian = "big")]
compile_error!("safetensors files are little-endian, and tensors are read and written without a change of order");

/// An array of numbers with its shape, last axis contiguous.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Length of each axis; empty for a single number.
    pub shape: Vec<usize>,
    /// The numbers, as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// Tensors by name, in name order.
pub type Tensors = BTreeMap<String, NamedTensor>;

/// An array whose numbers are fetched when they are written, so that not all of a file are in memory at once.
pub struct DeferredTensor {
    shape: Vec<usize>,
    numbers: Box<dyn Fn() -> Vec<f32>>,
}

impl DeferredTensor {
    /// A tensor of this shape, and what fetches its numbers.
    pub fn new(shape: impl Into<Vec<usize>>, numbers: impl Fn() -> Vec<f32> + 'static) -> Self {
        Self { shape: shape.into(), numbers: Box::new(numbers) }
    }
}

impl From<NamedTensor> for DeferredTensor {
    fn from(NamedTensor { shape, data }: NamedTensor) -> Self {
        Self::new(shape, move || data.clone())
    }
}

/// An array that a file can hold.
pub trait StoredTensor {
    /// Length of each axis.
    fn shape(&self) -> &[usize];

    /// The numbers, as many as the product of the shape.
    fn numbers(&self) -> Cow<'_, [f32]>;
}

impl StoredTensor for NamedTensor {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn numbers(&self) -> Cow<'_, [f32]> {
        Cow::Borrowed(&self.data)
    }
}

impl StoredTensor for DeferredTensor {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn numbers(&self) -> Cow<'_, [f32]> {
        Cow::Owned((self.numbers)())
    }
}

impl NamedTensor {
    /// A tensor of this shape.
    ///
    /// # Panics
    /// If `data` does not hold exactly the product of `shape` numbers.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "a tensor of shape {shape:?}");
        Self { shape, data }
    }
}

/// Number format of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NumberType {
    /// 32-bit floats, without loss.
    #[default]
    F32,
    /// 16-bit floats, up to 65504.
    F16,
    /// Brain floats: the range of 32 bits, 8 bits of precision.
    BF16,
}

impl NumberType {
    /// Bytes of one number in a file.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Name of the type in PyTorch and in `config.json`.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
        }
    }
}

/// Use of a tensor as soon as it is read, by its name in the file: `None` if nothing of it is kept.
pub type Take<'a> = dyn FnMut(&str, NamedTensor) -> Result<Option<NamedTensor>, String> + 'a;

/// Reads a safetensors file of 32-bit, 16-bit or brain floats, all as `f32`, without the tensors that `skip` accepts.
///
/// # Errors
/// A file that cannot be opened or is not a complete safetensors file, or that holds another type of number or one that
/// is not finite.
pub fn read_tensors(path: &Path, skip: &dyn Fn(&str) -> bool) -> Result<Tensors> {
    read_tensors_through(path, skip, &mut |_, tensor| Ok(Some(tensor)))
}

/// As [`read_tensors`], of which each tensor goes through `take`, so that not all need be in memory at once.
///
/// # Errors
/// As [`read_tensors`], and what `take` refuses.
pub fn read_tensors_through(path: &Path, skip: &dyn Fn(&str) -> bool, take: &mut Take) -> Result<Tensors> {
    let wrong = |reason| Error::Checkpoint { path: path.display().to_string(), reason };
    let file = File::open(path).map_err(Error::io(path))?;
    let bytes = file.metadata().map_err(Error::io(path))?.len();
    let mut take_finite = |name: &str, tensor: NamedTensor| {
        check_tensor(name, &tensor.data)?;
        take(name, tensor)
    };
    read_chosen(&mut BufReader::with_capacity(1 << 20, file), bytes, skip, &mut take_finite).map_err(wrong)
}

/// Writes a safetensors file whose numbers all have the same type.
///
/// # Errors
/// A number that is not finite, or too large for the type; a file that cannot be written.
pub fn write_tensors(path: &Path, tensors: &Tensors, numbers: NumberType) -> Result<()> {
    let wrong = |reason| Error::Checkpoint { path: path.display().to_string(), reason };
    check_finite(tensors).map_err(wrong)?;
    let too_large = |number: &&f32| numbers == NumberType::F16 && f16::from_f32(**number).is_infinite();
    if let Some((name, number)) = tensors.iter().find_map(|(name, t)| Some((name, t.data.iter().find(too_large)?))) {
        return Err(wrong(format!("tensor {name} holds {number}, too large for 16-bit floats; write bf16 or f32")));
    }
    let mut out = AtomicFile::create(path)?;
    write_safetensors(&mut out, tensors, numbers).map_err(Error::io(path))?;
    Ok(out.commit()?)
}

/// Refuses tensors with a number that is not finite; the error names the tensor.
pub(super) fn check_finite<T: StoredTensor>(tensors: &BTreeMap<String, T>) -> Result<(), String> {
    tensors.iter().try_for_each(|(name, tensor)| check_tensor(name, &tensor.numbers()))
}

fn check_tensor(name: &str, numbers: &[f32]) -> Result<(), String> {
    match numbers.iter().position(|number| !number.is_finite()) {
        Some(index) => Err(format!("tensor {name} holds {} at {index}; each must be a finite number", numbers[index])),
        None => Ok(()),
    }
}

/// Writes tensors as a safetensors file, with the `format` entry that Hugging Face's loaders require.
pub(super) fn write_safetensors<T: StoredTensor>(
    out: &mut impl Write,
    tensors: &BTreeMap<String, T>,
    numbers: NumberType,
) -> io::Result<()> {
    let mut offset = 0;
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let shape = tensor.shape().to_vec();
        let end = offset + shape.iter().product::<usize>() * numbers.bytes();
        let info = TensorInfo { dtype: numbers.dtype(), shape, data_offsets: (offset, end) };
        entries.push((name.clone(), info));
        offset = end;
    }
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), entries).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' '); // the numbers start on an 8-byte boundary

    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for tensor in tensors.values() {
        let data = tensor.numbers();
        assert_eq!(data.len(), tensor.shape().iter().product::<usize>(), "a tensor of shape {:?}", tensor.shape());
        match numbers {
            NumberType::F32 => out.write_all(bytemuck::cast_slice(&data))?,
            NumberType::F16 => write_halves(out, &data, |number| f16::from_f32(number).to_bits())?,
            NumberType::BF16 => write_halves(out, &data, |number| bf16::from_f32(number).to_bits())?,
        }
    }
    Ok(())
}

/// Converts and writes in parts, so that no tensor is in memory twice.
fn write_halves(out: &mut impl Write, data: &[f32], bits: impl Fn(f32) -> u16) -> io::Result<()> {
    const PART: usize = 1 << 16;
    data.chunks(PART).try_for_each(|part| {
        let halves: Vec<u16> = part.iter().map(|&number| bits(number)).collect();
        out.write_all(bytemuck::cast_slice(&halves))
    })
}

/// Reads a safetensors file of a known length, each tensor straight into its own memory.
pub(super) fn read_safetensors(input: &mut impl Read, bytes: u64) -> Result<Tensors, String> {
    read_chosen(input, bytes, &|_| false, &mut |_, tensor| Ok(Some(tensor)))
}

fn read_chosen(
    input: &mut impl Read,
    bytes: u64,
    skip: &dyn Fn(&str) -> bool,
    take: &mut Take,
) -> Result<Tensors, String> {
    let cut = |error: io::Error| format!("cannot be read as safetensors: {error}");
    let mut length = [0; 8];
    input.read_exact(&mut length).map_err(cut)?;
    let length = u64::from_le_bytes(length);
    if length > bytes.saturating_sub(8) {
        return Err(format!("no safetensors file: its header claims {length} bytes, and the file has {bytes}"));
    }
    let mut header = vec![0; length as usize];
    input.read_exact(&mut header).map_err(cut)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| format!("damaged safetensors header: {error}"))?;
    let expected = 8 + length + metadata.data_len() as u64;
    if expected != bytes {
        return Err(format!("damaged safetensors file: {bytes} bytes long, its header says {expected}"));
    }
    let mut tensors = Tensors::new();
    for name in metadata.offset_keys() {
        let info = metadata.info(&name).expect("a listed name has an entry");
        if skip(&name) {
            let length = info.data_offsets.1 - info.data_offsets.0;
            io::copy(&mut input.by_ref().take(length as u64), &mut io::sink()).map_err(cut)?;
            continue;
        }
        let data = read_numbers(input, info)
            .map_err(cut)?
            .ok_or_else(|| format!("tensor {name} holds {}; F32, F16 and BF16 can be read", info.dtype))?;
        if let Some(kept) = take(&name, NamedTensor { shape: info.shape.clone(), data })? {
            tensors.insert(name, kept);
        }
    }
    Ok(tensors)
}

/// Numbers of one tensor as `f32`; `None` for an unsupported type of number.
fn read_numbers(input: &mut impl Read, info: &TensorInfo) -> io::Result<Option<Vec<f32>>> {
    let count = info.shape.iter().product();
    Ok(Some(match info.dtype {
        Dtype::F16 => read_halves(input, count, |bits| f16::from_bits(bits).to_f32())?,
        Dtype::BF16 => read_halves(input, count, |bits| bf16::from_bits(bits).to_f32())?,
        Dtype::F32 => {
            let mut data = vec![0.0_f32; count];
            input.read_exact(bytemuck::cast_slice_mut(&mut data))?;
            data
        }
        _ => return Ok(None),
    }))
}

/// Reads in parts, the inverse of [`write_halves`].
fn read_halves(input: &mut impl Read, count: usize, number: impl Fn(u16) -> f32) -> io::Result<Vec<f32>> {
    const PART: usize = 1 << 16;
    let mut data = Vec::with_capacity(count);
    let mut halves = vec![0_u16; count.min(PART)];
    while data.len() < count {
        let part = &mut halves[..(count - data.len()).min(PART)];
        input.read_exact(bytemuck::cast_slice_mut(part))?;
        data.extend(part.iter().map(|&bits| number(bits)));
    }
    Ok(data)
}
