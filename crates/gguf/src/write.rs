//! Writing.

use std::io::{self, Write};
use std::path::Path;

use palestra_files::AtomicFile;

use crate::{Error, NumberFormat, Result, Value};

/// A tensor to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name in the file.
    pub name: String,
    /// Length of each axis, the contiguous one last.
    pub shape: Vec<usize>,
    /// Number format in the file.
    pub format: NumberFormat,
    /// The numbers, as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// Version of the format.
const VERSION: u32 = 3;

/// Every tensor begins at a multiple of this number of bytes.
const ALIGNMENT: u64 = 32;

/// Writes a file, whole or not at all: the settings and the tensors in their order.
///
/// # Errors
/// A number that its format has no value for, a row that its format cannot divide into blocks, a setting that its type in
/// files does not hold, or a file that cannot be written.
///
/// # Panics
/// If a tensor does not hold exactly the product of its shape.
pub fn write(path: &Path, settings: &[(String, Value)], tensors: &[Tensor]) -> Result<()> {
    let fault = |reason: String| Error { path: path.to_owned(), reason };
    for Tensor { name, shape, format, data } in tensors {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "tensor {name} of shape {shape:?}");
        if let Some(at) = format.first_misfit(data) {
            let reason = format!("tensor {name} holds {} at {at}, which {} has no value for", data[at], format.name());
            return Err(fault(reason));
        }
        if shape.last().is_some_and(|&row| !format.divides(row)) {
            return Err(fault(format!(
                "tensor {name} has rows of {:?} numbers; {} has not",
                shape.last(),
                format.name()
            )));
        }
    }
    let header = header(settings, tensors).map_err(fault)?;
    let failed = |error: io::Error| fault(error.to_string());
    let mut out = AtomicFile::create(path).map_err(|error| fault(error.source.to_string()))?;
    out.write_all(&header).map_err(failed)?;
    pad(&mut out, header.len() as u64).map_err(failed)?;
    for tensor in tensors {
        tensor.format.write(&mut out, &tensor.data).map_err(failed)?;
        pad(&mut out, bytes_of(tensor)).map_err(failed)?;
    }
    out.commit().map_err(|error| fault(error.source.to_string()))
}

fn bytes_of(tensor: &Tensor) -> u64 {
    tensor.format.bytes(tensor.data.len() as u64).unwrap_or(u64::MAX)
}

/// Writes zeros up to the next aligned place after so many bytes.
fn pad(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    let zeros = [0; ALIGNMENT as usize];
    out.write_all(&zeros[..(bytes.next_multiple_of(ALIGNMENT) - bytes) as usize])
}

fn header(settings: &[(String, Value)], tensors: &[Tensor]) -> Result<Vec<u8>, String> {
    let mut out = b"GGUF".to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((settings.len() as u64).to_le_bytes());
    for (name, value) in settings {
        put_text(&mut out, name);
        put_value(&mut out, value).map_err(|reason| format!("{name}: {reason}"))?;
    }
    let mut start = 0_u64;
    for tensor in tensors {
        put_text(&mut out, &tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|&length| out.extend((length as u64).to_le_bytes()));
        out.extend(tensor.format.id().to_le_bytes());
        out.extend(start.to_le_bytes());
        start += bytes_of(tensor).next_multiple_of(ALIGNMENT);
    }
    Ok(out)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Appends the type and the bytes of a value.
fn put_value(out: &mut Vec<u8>, value: &Value) -> Result<(), String> {
    let too_large = |number: &dyn std::fmt::Display| format!("{number} does not fit into 32 bits");
    let list = |out: &mut Vec<u8>, kind: u32, length: usize| {
        out.extend(9_u32.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend((length as u64).to_le_bytes());
    };
    match value {
        Value::Integer(number) => {
            out.extend(4_u32.to_le_bytes());
            out.extend(u32::try_from(*number).map_err(|_| too_large(number))?.to_le_bytes());
        }
        Value::Float(number) => {
            out.extend(6_u32.to_le_bytes());
            out.extend((*number as f32).to_le_bytes());
        }
        Value::Switch(on) => {
            out.extend(7_u32.to_le_bytes());
            out.push((*on).into());
        }
        Value::Text(text) => {
            out.extend(8_u32.to_le_bytes());
            put_text(out, text);
        }
        Value::Integers(numbers) => {
            list(out, 5, numbers.len());
            for number in numbers {
                out.extend(i32::try_from(*number).map_err(|_| too_large(number))?.to_le_bytes());
            }
        }
        Value::Floats(numbers) => {
            list(out, 6, numbers.len());
            numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
        }
        Value::Switches(switches) => {
            list(out, 7, switches.len());
            out.extend(switches.iter().map(|&on| u8::from(on)));
        }
        Value::Texts(texts) => {
            list(out, 8, texts.len());
            texts.iter().for_each(|text| put_text(out, text));
        }
    }
    Ok(())
}
