//! GGUF files, llama.cpp's format of a model in one file: settings by name, then tensors. Knows the container and its
//! number formats; must not know models, tokenizers, or the meaning of a setting.
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Versions 2 and 3, little-endian, are read;
//! version 3 is written.
//!
//! ```
//! # use palestra_gguf::{Gguf, NumberFormat, Tensor, Value, write};
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("model.gguf");
//! let settings = [("general.architecture".to_string(), Value::Text("llama".into()))];
//! let norm = Tensor { name: "output_norm.weight".into(), shape: vec![2], format: NumberFormat::F32, data: vec![1.0, 0.5] };
//! write(&path, &settings, &[norm])?;
//! let file = Gguf::open(&path)?;
//! assert_eq!(file.text("general.architecture")?, Some("llama"));
//! assert_eq!(file.read("output_norm.weight")?, [1.0, 0.5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod format;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use format::NumberFormat;
pub use write::{Tensor, write};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error about a file: damaged, beyond a bound, or of a kind that is not supported.
#[derive(Debug)]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for Error {}

/// Value of a setting. The file's integer types are one here, and so are its float types.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An integer, written in 32 bits without sign.
    Integer(i128),
    /// A float, written in 32 bits. One that was read has the fewest decimal digits that give these 32 bits.
    Float(f64),
    /// True or false.
    Switch(bool),
    /// A text.
    Text(String),
    /// A list of integers, written in 32 bits with sign.
    Integers(Vec<i64>),
    /// A list of floats, written in 32 bits.
    Floats(Vec<f32>),
    /// A list of true and false.
    Switches(Vec<bool>),
    /// A list of texts.
    Texts(Vec<String>),
}

impl fmt::Display for Value {
    /// Lists and long texts are shown by their lengths.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Switch(value) => write!(f, "{value}"),
            Self::Text(text) if text.len() > 80 => write!(f, "a text of {} bytes", text.len()),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integers(list) => write!(f, "a list of {} integers", list.len()),
            Self::Floats(list) => write!(f, "a list of {} floats", list.len()),
            Self::Switches(list) => write!(f, "a list of {} booleans", list.len()),
            Self::Texts(list) => write!(f, "a list of {} texts", list.len()),
        }
    }
}

/// An open GGUF file: its settings, and where its tensors are.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    settings: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// Place of a tensor in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Length of each axis, the contiguous one last: the file has them in the other order.
    pub shape: Vec<usize>,
    /// Number format.
    pub format: NumberFormat,
    /// First byte, from the beginning of the file.
    start: u64,
}

/// True for a path that is a file whose name ends with `.gguf`.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) && path.is_file()
}

impl Gguf {
    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The setting with this name.
    pub fn setting(&self, name: &str) -> Option<&Value> {
        self.settings.get(name)
    }

    /// An error about this file.
    pub fn fault(&self, reason: impl Into<String>) -> Error {
        Error { path: self.path.clone(), reason: reason.into() }
    }

    /// A setting that is a text; `None` if it is absent.
    ///
    /// # Errors
    /// A value of another type.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        self.typed(name, "a text", |value| if let Value::Text(text) = value { Some(text.as_str()) } else { None })
    }

    /// A setting that is true or false; `None` if it is absent.
    ///
    /// # Errors
    /// A value of another type.
    pub fn switch(&self, name: &str) -> Result<Option<bool>> {
        self.typed(name, "true or false", |value| if let Value::Switch(on) = value { Some(*on) } else { None })
    }

    /// A setting that is an integer of at least 0; `None` if it is absent.
    ///
    /// # Errors
    /// A value of another type, or a negative one.
    pub fn count(&self, name: &str) -> Result<Option<usize>> {
        self.typed(name, "an integer of at least 0", |value| match value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        })
    }

    /// A setting that is a number; `None` if it is absent.
    ///
    /// # Errors
    /// A value of another type.
    pub fn number(&self, name: &str) -> Result<Option<f64>> {
        self.typed(name, "a number", |value| match value {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        })
    }

    /// A setting that is a list of texts; `None` if it is absent.
    ///
    /// # Errors
    /// A value of another type.
    pub fn texts(&self, name: &str) -> Result<Option<&[String]>> {
        self.typed(name, "a list of texts", |value| if let Value::Texts(list) = value { Some(&list[..]) } else { None })
    }

    /// A setting that is a list of integers; `None` if it is absent.
    ///
    /// # Errors
    /// A value of another type.
    pub fn integers(&self, name: &str) -> Result<Option<&[i64]>> {
        self.typed(name, "a list of integers", |value| match value {
            Value::Integers(list) => Some(&list[..]),
            _ => None,
        })
    }

    /// A list of floats; `None` if the file has no such setting.
    ///
    /// # Errors
    /// A setting of another type.
    pub fn floats(&self, name: &str) -> Result<Option<&[f32]>> {
        self.typed(name, "a list of floats", |value| match value {
            Value::Floats(list) => Some(&list[..]),
            _ => None,
        })
    }

    fn typed<'a, T>(&'a self, name: &str, kind: &str, take: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.settings.get(name) else { return Ok(None) };
        take(value).map(Some).ok_or_else(|| self.fault(format!("{name} is {value}; it must be {kind}")))
    }
}
