//! Reading. A file may come from anybody: every length is compared with what is left, and with a bound, before any
//! memory is taken for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::{Error, Gguf, NumberFormat, Result, TensorInfo, Value};

/// Maximum number of bytes before the tensors' numbers.
const MAX_HEADER: u64 = 256 << 20;

/// Maximum number of items of all lists: 16 times the largest vocabularies with their merges.
const MAX_ITEMS: u64 = 1 << 24;

/// Maximum number of tensors, and of settings.
const MAX_ENTRIES: u64 = 1 << 16;

/// Maximum number of axes of a tensor.
const MAX_AXES: u32 = 4;

/// Alignment of tensors where `general.alignment` is absent.
const ALIGNMENT: u64 = 32;

/// Numbers of value types in files.
const TEXT: u32 = 8;
const LIST: u32 = 9;

impl Gguf {
    /// Opens a file: reads its settings, and the places of its tensors.
    ///
    /// # Errors
    /// A file that is missing or damaged, that exceeds a bound of `docs/limits.md`, or with tensors of a number format
    /// that is not supported.
    pub fn open(path: &Path) -> Result<Self> {
        let fault = |reason| Error { path: path.to_owned(), reason };
        let file = File::open(path).map_err(|error| fault(error.to_string()))?;
        let length = file.metadata().map_err(|error| fault(error.to_string()))?.len();
        let mut input = Header { input: BufReader::new(file), position: 0, length, items: 0 };
        let (settings, tensors) = input.read().map_err(fault)?;
        Ok(Self { path: path.to_owned(), settings, tensors })
    }

    /// Numbers of the tensor with this name.
    ///
    /// # Errors
    /// No such tensor, a file that cannot be read, or a number that is not finite.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.tensors.get(name).ok_or_else(|| self.fault(format!("has no tensor {name}")))?;
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(tensor.start))?;
            tensor.format.read(&mut file, tensor.shape.iter().product())
        };
        let data = read().map_err(|error| self.fault(format!("tensor {name} cannot be read: {error}")))?;
        match data.iter().find(|number| !number.is_finite()) {
            Some(number) => Err(self.fault(format!("tensor {name} holds {number}; each must be a finite number"))),
            None => Ok(data),
        }
    }
}

/// The part of a file before the tensors' numbers.
struct Header<R> {
    input: R,
    position: u64,
    /// Bytes of the file.
    length: u64,
    /// Items of all lists that were read.
    items: u64,
}

type Contents = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>);

impl<R: Read> Header<R> {
    fn read(&mut self) -> Result<Contents, String> {
        if &self.bytes::<4>()? != b"GGUF" {
            return Err("no GGUF file: it does not begin with GGUF".into());
        }
        match self.u32()? {
            2 | 3 => {}
            version if (2..=3).contains(&version.swap_bytes()) => {
                return Err("is big-endian; little-endian files can be read".into());
            }
            version => return Err(format!("is of GGUF version {version}; 2 and 3 can be read")),
        }
        let (tensors, settings) = (self.u64()?, self.u64()?);
        for (what, count) in [("tensors", tensors), ("settings", settings)] {
            if count > MAX_ENTRIES {
                return Err(format!("claims {count} {what}; at most {MAX_ENTRIES} are read"));
            }
        }
        let settings = self.settings(settings)?;
        let alignment = match settings.get("general.alignment") {
            None => ALIGNMENT,
            Some(Value::Integer(number)) if u32::try_from(*number).is_ok_and(u32::is_power_of_two) => *number as u64,
            Some(value) => return Err(format!("general.alignment is {value}; it must be a power of two")),
        };
        let tensors = self.tensors(tensors, alignment)?;
        Ok((settings, tensors))
    }

    fn settings(&mut self, count: u64) -> Result<BTreeMap<String, Value>, String> {
        let mut settings = BTreeMap::new();
        for _ in 0..count {
            let name = self.text("the name of a setting")?;
            let kind = self.u32()?;
            let value = self.value(&name, kind)?;
            if settings.contains_key(&name) {
                return Err(format!("the setting {name} is there twice"));
            }
            settings.insert(name, value);
        }
        Ok(settings)
    }

    fn value(&mut self, name: &str, kind: u32) -> Result<Value, String> {
        Ok(match kind {
            6 => Value::Float(decimal(f32::from_le_bytes(self.bytes()?))),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            7 => Value::Switch(self.switch(name)?),
            TEXT => Value::Text(self.text(name)?),
            LIST => self.list(name)?,
            _ => Value::Integer(self.integer(name, kind)?),
        })
    }

    fn list(&mut self, name: &str) -> Result<Value, String> {
        let (kind, count) = (self.u32()?, self.u64()?);
        self.items = self.items.saturating_add(count);
        if self.items > MAX_ITEMS || count > self.left() {
            return Err(format!(
                "{name}: claims {count} items, and {} bytes follow; all lists may have {MAX_ITEMS} items",
                self.left()
            ));
        }
        let items = 0..count; // collected into memory that grows with what is really there
        Ok(match kind {
            6 => Value::Floats(items.map(|_| Ok(f32::from_le_bytes(self.bytes()?))).collect::<Result<_, String>>()?),
            12 => {
                let number = |_| Ok(f64::from_le_bytes(self.bytes()?) as f32);
                Value::Floats(items.map(number).collect::<Result<_, String>>()?)
            }
            7 => Value::Switches(items.map(|_| self.switch(name)).collect::<Result<_, _>>()?),
            TEXT => Value::Texts(items.map(|_| self.text(name)).collect::<Result<_, _>>()?),
            LIST => return Err(format!("{name}: is a list of lists; lists of numbers and texts can be read")),
            _ => {
                let number = |_| {
                    let number = self.integer(name, kind)?;
                    i64::try_from(number).map_err(|_| format!("{name}: holds {number}, larger than 64 bits with sign"))
                };
                Value::Integers(items.map(number).collect::<Result<_, _>>()?)
            }
        })
    }

    fn integer(&mut self, name: &str, kind: u32) -> Result<i128, String> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.bytes()?).into(),
            1 => i8::from_le_bytes(self.bytes()?).into(),
            2 => u16::from_le_bytes(self.bytes()?).into(),
            3 => i16::from_le_bytes(self.bytes()?).into(),
            4 => u32::from_le_bytes(self.bytes()?).into(),
            5 => i32::from_le_bytes(self.bytes()?).into(),
            10 => u64::from_le_bytes(self.bytes()?).into(),
            11 => i64::from_le_bytes(self.bytes()?).into(),
            _ => return Err(format!("{name}: is of the unknown value type {kind}")),
        })
    }

    fn switch(&mut self, name: &str) -> Result<bool, String> {
        match self.bytes::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("{name}: is {other}; a boolean must be 0 or 1")),
        }
    }

    fn tensors(&mut self, count: u64, alignment: u64) -> Result<BTreeMap<String, TensorInfo>, String> {
        let mut tensors = BTreeMap::new();
        for _ in 0..count {
            let name = self.text("the name of a tensor")?;
            let axes = self.u32()?;
            if axes > MAX_AXES {
                return Err(format!("tensor {name} has {axes} axes; at most {MAX_AXES} are read"));
            }
            let mut lengths = (0..axes).map(|_| self.u64()).collect::<Result<Vec<u64>, _>>()?;
            let format = NumberFormat::of_id(self.u32()?).map_err(|kind| {
                let known = NumberFormat::ALL.map(NumberFormat::name).join(", ");
                format!("tensor {name} is {kind}; {known} can be read")
            })?;
            let start = self.u64()?;
            if lengths.first().is_some_and(|&row| !usize::try_from(row).is_ok_and(|row| format.divides(row))) {
                return Err(format!(
                    "tensor {name} has rows of {} numbers, which {} has not",
                    lengths[0],
                    format.name()
                ));
            }
            let size = lengths.iter().try_fold(1_u64, |size, &length| size.checked_mul(length));
            if size.and_then(|size| format.bytes(size)).is_none_or(|bytes| bytes > self.length) {
                return Err(format!("tensor {name} is {lengths:?}, more than the file of {} bytes has", self.length));
            }
            lengths.reverse();
            let shape = lengths.iter().map(|&length| length as usize).collect(); // at most the bytes of the file
            if !start.is_multiple_of(alignment) {
                return Err(format!("tensor {name} begins at {start}, no multiple of the alignment {alignment}"));
            }
            let info = TensorInfo { shape, format, start };
            if tensors.insert(name.clone(), info).is_some() {
                return Err(format!("tensor {name} is there twice"));
            }
        }
        self.place(tensors, alignment)
    }

    /// Makes the places of tensors ones in the file, and refuses tensors that reach beyond it, or into each other.
    fn place(
        &self,
        mut tensors: BTreeMap<String, TensorInfo>,
        alignment: u64,
    ) -> Result<BTreeMap<String, TensorInfo>, String> {
        let first = self.position.next_multiple_of(alignment);
        let mut ordered: Vec<(&String, &mut TensorInfo)> = tensors.iter_mut().collect();
        ordered.sort_by_key(|(_, tensor)| tensor.start);
        let mut free = first;
        for (name, tensor) in ordered {
            let bytes = tensor.format.bytes(tensor.shape.iter().product::<usize>() as u64);
            let start = tensor.start.checked_add(first);
            let end = start.zip(bytes).and_then(|(start, bytes)| start.checked_add(bytes));
            let Some((start, end)) = start.zip(end).filter(|(_, end)| *end <= self.length) else {
                return Err(format!("damaged: tensor {name} reaches beyond the {} bytes of the file", self.length));
            };
            if start < free {
                return Err(format!("damaged: tensor {name} begins in the tensor before it"));
            }
            (tensor.start, free) = (start, end);
        }
        Ok(tensors)
    }

    fn text(&mut self, name: &str) -> Result<String, String> {
        let length = self.u64()?;
        if length > self.left() {
            return Err(format!("{name}: claims a text of {length} bytes, and {} follow", self.left()));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| format!("{name}: holds a text that is not UTF-8"))
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Bytes that may follow in the header.
    fn left(&self) -> u64 {
        self.length.min(MAX_HEADER).saturating_sub(self.position)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.position += bytes.len() as u64;
        if self.position > MAX_HEADER {
            return Err(format!("has more than {MAX_HEADER} bytes before its tensors"));
        }
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("damaged: its {} bytes end in the middle of the header", self.length)
            }
            _ => error.to_string(),
        })
    }
}

/// The number with the fewest decimal digits that is this one in 32 bits: 0.00001, and not 0.0000099999997.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}
