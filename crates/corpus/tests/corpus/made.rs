//! Folders with input, and runs on them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use palestra_corpus::{Error, Options, Report, Settings, build};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

/// A folder for one test: `in` is the input, `out` the corpus.
pub struct Sandbox(TempDir);

impl Sandbox {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes an input file.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Returns the default settings with changes, over the whole input.
    pub fn settings(&self, changes: &[&str]) -> Settings {
        self.try_settings(changes).unwrap()
    }

    fn try_settings(&self, changes: &[&str]) -> Result<Settings, Error> {
        let changes: Vec<String> = changes.iter().map(|change| change.to_string()).collect();
        let settings = Settings::parse("", "test", &changes)?;
        let name = |name: &str| self.path(name).display().to_string();
        let out = if settings.out.is_empty() { name("out") } else { name(&settings.out) };
        Ok(Settings { inputs: vec![name("in")], out, ..settings })
    }

    pub fn build(&self, changes: &[&str]) -> Result<Report, Error> {
        build(&self.try_settings(changes)?, &Options::default())
    }

    /// Expects a run to fail; returns the error message. No file may be left behind.
    pub fn refused(&self, changes: &[&str]) -> String {
        let error = self.build(changes).unwrap_err().to_string();
        assert!(!self.path("out").exists() && !self.path("out.partial").exists(), "something is left behind");
        error.replace(&format!("{}/", self.0.path().display()), "")
    }

    /// Returns (file without folder, text) of all rows, sorted.
    pub fn texts(&self) -> Vec<(String, String)> {
        let mut texts: Vec<_> = rows(&self.path("out")).into_iter().map(|row| (row.source, row.text)).collect();
        texts.sort();
        texts
    }
}

/// A row of a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub id: String,
    pub text: String,
    pub source: String,
    pub language: String,
    pub split: String,
}

/// Returns all rows of a corpus, shard after shard.
pub fn rows(out: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, _) in files(out).into_iter().filter(|(name, _)| name.ends_with(".parquet")) {
        let file = File::open(out.join(&name)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
            let [id, text, source, language, split] = ["id", "text", "source", "language", "split"].map(column);
            for row in 0..batch.num_rows() {
                let source = Path::new(source.value(row)).file_name().unwrap().to_str().unwrap().to_string();
                let [id, text, language, split] =
                    [&id, &text, &language, &split].map(|column| column.value(row).to_string());
                assert!(name.starts_with(&split), "{name} has a row of {split}");
                rows.push(Row { id, text, source, language, split });
            }
        }
    }
    rows
}

/// Returns every file of a folder with its bytes.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let names = fs::read_dir(folder).unwrap().map(name);
    names.map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns prose that passes every rule, different for each number.
pub fn prose(number: u64) -> String {
    const WORDS: [&str; 24] = [
        "harbour", "captain", "morning", "letter", "garden", "window", "soldier", "river", "mountain", "question",
        "answer", "summer", "village", "brother", "painter", "kitchen", "journey", "lantern", "merchant", "winter",
        "orchard", "teacher", "stranger", "island",
    ];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let of = |bits: u64| WORDS[bits as usize % WORDS.len()];
        format!("{}-{}", of(state >> 33), of(state >> 11 & 0xffff))
    };
    (0..12)
        .map(|_| {
            format!("The {} of the {} went to a {} with that {} and the {}. ", word(), word(), word(), word(), word())
        })
        .collect::<String>()
        .trim_end()
        .to_string()
}

pub fn json(text: &str) -> String {
    serde_json::to_string(&serde_json::json!({ "text": text })).unwrap() + "\n"
}
