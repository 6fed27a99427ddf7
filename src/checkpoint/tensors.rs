//! Named arrays of numbers, and the safetensors file that holds them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use half::{bf16, f16};
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

/// Tensors by name, in the order of their names.
pub type Tensors = BTreeMap<String, NamedTensor>;

impl NamedTensor {
    /// Puts numbers into a shape.
    ///
    /// # Panics
    /// If `data` does not hold exactly the product of `shape` numbers.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "a tensor of shape {shape:?}");
        Self { shape, data }
    }
}

/// Reads a safetensors file of 32-bit, 16-bit or brain floats, all as `f32`.
///
/// # Errors
/// A file that cannot be opened, is no whole safetensors file, or holds another type of number.
pub fn read_tensors(path: &Path) -> Result<Tensors> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let bytes = file.metadata().map_err(Error::io(path))?.len();
    read_safetensors(&mut file, bytes).map_err(|reason| Error::Checkpoint { path: path.display().to_string(), reason })
}

/// Writes tensors as a safetensors file, with the `format` that Hugging Face's loaders ask for.
pub(super) fn write_safetensors(out: &mut impl Write, tensors: &Tensors) -> io::Result<()> {
    let mut offset = 0;
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, NamedTensor { shape, data }) in tensors {
        let end = offset + size_of_val(data.as_slice());
        let info = TensorInfo { dtype: Dtype::F32, shape: shape.clone(), data_offsets: (offset, end) };
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
        out.write_all(bytemuck::cast_slice(&tensor.data))?;
    }
    Ok(())
}

/// Reads a safetensors file of a known length, each tensor straight into its place.
pub(super) fn read_safetensors(input: &mut impl Read, bytes: u64) -> Result<Tensors, String> {
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
        let data = read_numbers(input, info)
            .map_err(cut)?
            .ok_or_else(|| format!("tensor {name} holds {}; F32, F16 and BF16 can be read", info.dtype))?;
        tensors.insert(name, NamedTensor { shape: info.shape.clone(), data });
    }
    Ok(tensors)
}

/// The numbers of one tensor as `f32`; `None` for a type of number that is not read.
fn read_numbers(input: &mut impl Read, info: &TensorInfo) -> io::Result<Option<Vec<f32>>> {
    let count = info.shape.iter().product();
    let mut read_halves = || {
        let mut halves = vec![0_u16; count];
        input.read_exact(bytemuck::cast_slice_mut(&mut halves)).map(|()| halves)
    };
    Ok(Some(match info.dtype {
        Dtype::F16 => read_halves()?.into_iter().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => read_halves()?.into_iter().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        Dtype::F32 => {
            let mut data = vec![0.0_f32; count];
            input.read_exact(bytemuck::cast_slice_mut(&mut data))?;
            data
        }
        _ => return Ok(None),
    }))
}
