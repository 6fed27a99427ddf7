//! TensorBoard event files: TFRecord frames around the few protobuf messages that scalars need.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use palestra_files::OutputFile;

use super::at;

/// Writes scalars to an `events.out.tfevents.<unix time>.<host>` file.
#[derive(Debug)]
pub struct EventWriter {
    file: OutputFile,
    path: PathBuf,
}

impl EventWriter {
    /// Creates a new event file in `dir`.
    ///
    /// TensorBoard reads all event files of a directory as one run. The file of a resumed run says so, and TensorBoard
    /// then hides the events of earlier files after the step `resume_at`.
    pub fn create(dir: &Path, resume_at: Option<u64>) -> io::Result<Self> {
        let now = seconds_since_epoch();
        let (file, path) = create_file(dir, now as u64)?;
        let mut writer = Self { file, path };
        writer.write(&version(now))?;
        if let Some(step) = resume_at {
            writer.write(&session_start(now, step + 1))?;
        }
        Ok(writer)
    }

    /// Writes all metrics of one update as one event.
    pub fn scalars(&mut self, step: u64, metrics: &BTreeMap<String, f64>) -> io::Result<()> {
        self.write(&scalars(seconds_since_epoch(), step, metrics))
    }

    fn write(&mut self, event: &[u8]) -> io::Result<()> {
        self.file.write_all(&frame(event)).map_err(at(&self.path))
    }
}

/// Creates the event file. A file of that name may exist if a run was resumed within a second; then the next second is
/// taken, because TensorBoard reads the files in name order.
fn create_file(dir: &Path, now: u64) -> io::Result<(OutputFile, PathBuf)> {
    let host = host_name();
    for second in now.. {
        let path = dir.join(format!("events.out.tfevents.{second:010}.{host}"));
        match OutputFile::create_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            file => return Ok((file.map_err(at(&path))?, path)),
        }
    }
    unreachable!("the seconds do not run out")
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-.".contains(*c);
    let name: String = name.chars().filter(is_plain).collect();
    if name.is_empty() { "localhost".into() } else { name }
}

fn seconds_since_epoch() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

/// One TFRecord: length (u64), its masked CRC, the data, the data's masked CRC; all little-endian.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut frame = length.to_vec();
    frame.extend(masked_crc(&length).to_le_bytes());
    frame.extend(data);
    frame.extend(masked_crc(data).to_le_bytes());
    frame
}

/// Masked CRC: CRC-32C, rotated and shifted, because the CRC of data that contains CRCs is weak.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

// The field numbers are those of tensorflow/core/util/event.proto and framework/summary.proto.

/// `Event { wall_time = 1, file_version = 3 }`: the first event of each file.
fn version(wall_time: f64) -> Vec<u8> {
    let mut event = Vec::new();
    put_double(&mut event, 1, wall_time);
    put_bytes(&mut event, 3, b"brain.Event:2");
    event
}

/// `Event { wall_time = 1, step = 2, session_log = 7 { status = 1: START } }`: voids the events of earlier files from
/// this step on.
fn session_start(wall_time: f64, step: u64) -> Vec<u8> {
    let mut session = Vec::new();
    put_varint(&mut session, 1, 1);
    let mut event = Vec::new();
    put_double(&mut event, 1, wall_time);
    put_varint(&mut event, 2, step);
    put_bytes(&mut event, 7, &session);
    event
}

/// `Event { wall_time = 1, step = 2, summary = 5 { repeated value = 1 { tag = 1, simple_value = 2 } } }`.
fn scalars(wall_time: f64, step: u64, metrics: &BTreeMap<String, f64>) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, &number) in metrics {
        let mut value = Vec::new();
        put_bytes(&mut value, 1, tag.as_bytes());
        put_float(&mut value, 2, number as f32);
        put_bytes(&mut summary, 1, &value);
    }
    let mut event = Vec::new();
    put_double(&mut event, 1, wall_time);
    put_varint(&mut event, 2, step);
    put_bytes(&mut event, 5, &summary);
    event
}

fn put_varint(message: &mut Vec<u8>, field: u8, value: u64) {
    message.push(field << 3);
    varint(message, value);
}

fn put_double(message: &mut Vec<u8>, field: u8, value: f64) {
    message.push(field << 3 | 1);
    message.extend(value.to_le_bytes());
}

fn put_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn put_float(message: &mut Vec<u8>, field: u8, value: f32) {
    message.push(field << 3 | 5);
    message.extend(value.to_le_bytes());
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a file into the data of its records and checks every CRC.
    fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while !file.is_empty() {
            let (header, rest) = file.split_at(8);
            let length = u64::from_le_bytes(header.try_into().unwrap()) as usize;
            assert_eq!(rest[..4], masked_crc(header).to_le_bytes());
            let (data, rest) = rest[4..].split_at(length);
            assert_eq!(rest[..4], masked_crc(data).to_le_bytes());
            records.push(data.to_vec());
            file = &rest[4..];
        }
        records
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes equal those that TensorBoard 2 writes for the same events with its own protobuf classes.
    #[test]
    fn records_are_those_of_tensorboard() {
        let metrics = [("objective/kl".to_string(), 0.25)].into();
        assert_eq!(
            hex(&frame(&scalars(1.5, 300, &metrics))),
            "2300000000000000b09f774309000000000000f83f10ac022a150a130a0c6f626a6563746976652f6b6c150000803ea3465815"
        );
        assert_eq!(
            hex(&frame(&version(1.5))),
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"
        );
        assert_eq!(
            hex(&frame(&session_start(1.5, 301))),
            "100000000000000095fbfe1809000000000000f83f10ad023a020801d17949d4"
        );
    }

    #[test]
    fn a_resumed_run_writes_a_later_file_that_voids_what_came_after() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = [("loss".to_string(), 2.0)].into();
        let mut first = EventWriter::create(dir.path(), None).unwrap();
        first.scalars(1, &metrics).unwrap();
        let mut second = EventWriter::create(dir.path(), Some(0)).unwrap();
        second.scalars(1, &metrics).unwrap();
        assert!(first.path < second.path, "TensorBoard reads files by name");

        let second = records(&std::fs::read(&second.path).unwrap());
        assert_eq!(records(&std::fs::read(&first.path).unwrap()).len(), 2);
        assert_eq!(second.len(), 3);
        // After field 1, a double of 9 bytes: step 1, session log with status START.
        assert_eq!(second[1][9..], session_start(0.0, 1)[9..]);
        assert_eq!(second[2][9..], scalars(0.0, 1, &metrics)[9..]);
    }
}
