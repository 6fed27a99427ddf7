use std::path::{Path, PathBuf};

use palestra_files::Address;
use palestra_remote::{Object, find};

use crate::error::{Error, Result};

/// An input file, with the properties derived from its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputFile {
    /// The path, as it was given; of an object its address.
    pub path: PathBuf,
    /// The kind of content.
    pub kind: Kind,
    /// The compression.
    pub compression: Compression,
    /// The size in bytes.
    pub bytes: u64,
    /// The object of a store that it is, in place of a file.
    pub object: Option<Object>,
}

/// Kind of content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Plain text.
    Text,
    /// Markdown.
    Markdown,
    /// An HTML page.
    Html,
    /// JSON lines.
    Json,
    /// Parquet.
    Parquet,
    /// A web archive: WARC, or WET and WAT of Common Crawl.
    Warc,
}

/// Compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// No compression.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

const ENDINGS: &str = ".txt .text .md .markdown .html .htm .xhtml .jsonl .ndjson .json .parquet .warc .wet .wat, each also with .gz or .zst";

/// Returns the files and objects that paths, addresses, folders and patterns match, in the order of their paths and without duplicates. The
/// second list holds files of folders and patterns that were skipped because their names do not identify their content.
///
/// # Errors
/// A path that does not exist, a pattern or folder without a file to read, a file whose name does not identify its
/// content.
pub fn find_inputs(named: &[String]) -> Result<(Vec<InputFile>, Vec<PathBuf>)> {
    let (mut files, mut unknown) = (Vec::new(), Vec::new());
    for name in named {
        let path = Path::new(name);
        let before = files.len();
        if let Some(address) = Address::parse(name) {
            find_objects(name, &address.map_err(Error::Input)?, &mut files, &mut unknown)?;
        } else if path.is_dir() {
            walk(path, &mut files, &mut unknown)?;
            if files.len() == before {
                return Err(Error::Input(format!(
                    "{name}: a folder without a file to read; their names end in {ENDINGS}"
                )));
            }
        } else if path.exists() {
            files.push(known(path)?.ok_or_else(|| nameless(name))?);
        } else if name.contains(['*', '?', '[']) {
            let found = glob::glob(name).map_err(|error| Error::Input(format!("{name} is no pattern: {error}")))?;
            for path in found {
                let path = path.map_err(|error| {
                    let path = error.path().to_owned();
                    Error::io(path, "look into it", error.into())
                })?;
                match path.is_dir() {
                    true => walk(&path, &mut files, &mut unknown)?,
                    false => match known(&path)? {
                        Some(file) => files.push(file),
                        None => unknown.push(path),
                    },
                }
            }
            if files.len() == before {
                return Err(Error::Input(format!(
                    "{name}: the pattern stands for no file to read; their names end in {ENDINGS}"
                )));
            }
        } else {
            return Err(Error::Input(format!("{name}: no such file or folder")));
        }
    }
    files.sort();
    files.dedup();
    Ok((files, unknown))
}

/// Finds the objects of an address.
fn find_objects(name: &str, address: &Address, files: &mut Vec<InputFile>, unknown: &mut Vec<PathBuf>) -> Result<()> {
    let before = files.len();
    for object in find(address)? {
        let path = object.path();
        match kind_of(&path) {
            Some((kind, compression)) => {
                files.push(InputFile { path, kind, compression, bytes: object.bytes, object: Some(object) });
            }
            None if object.address == *address => return Err(nameless(name)),
            None => unknown.push(path),
        }
    }
    match files.len() == before {
        true => Err(Error::Input(format!("{name}: has no object to read; their names end in {ENDINGS}"))),
        false => Ok(()),
    }
}

fn nameless(name: &str) -> Error {
    Error::Input(format!("{name}: its name does not tell what it is; it must end in {ENDINGS}"))
}

/// Finds all files below a folder. Skips hidden files, and links to folders, which may form cycles.
fn walk(folder: &Path, files: &mut Vec<InputFile>, unknown: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|source| Error::io(folder, "list", source))?;
    for entry in entries {
        let entry = entry.map_err(|source| Error::io(folder, "list", source))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(|source| Error::io(&path, "look at", source))?;
        if kind.is_dir() {
            walk(&path, files, unknown)?;
        } else if path.is_file() {
            match known(&path)? {
                Some(file) => files.push(file),
                None => unknown.push(path),
            }
        }
    }
    Ok(())
}

fn known(path: &Path) -> Result<Option<InputFile>> {
    let Some((kind, compression)) = kind_of(path) else { return Ok(None) };
    let bytes = std::fs::metadata(path).map_err(|source| Error::io(path, "look at", source))?.len();
    Ok(Some(InputFile { path: path.to_owned(), kind, compression, bytes, object: None }))
}

/// Kind and compression of a file, by its name.
fn kind_of(path: &Path) -> Option<(Kind, Compression)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let (name, compression) = match name.rsplit_once('.') {
        Some((rest, "gz" | "gzip")) => (rest, Compression::Gzip),
        Some((rest, "zst" | "zstd")) => (rest, Compression::Zstd),
        _ => (name.as_str(), Compression::None),
    };
    let kind = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("txt" | "text") => Kind::Text,
        Some("md" | "markdown") => Kind::Markdown,
        Some("html" | "htm" | "xhtml") => Kind::Html,
        Some("jsonl" | "ndjson" | "json") => Kind::Json,
        Some("parquet") => Kind::Parquet,
        Some("warc" | "wet" | "wat") => Kind::Warc,
        _ => return None,
    };
    Some((kind, compression))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_files_and_patterns_are_found_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        for name in ["b.txt.gz", "a.MD", "sub/c.jsonl.zst", "sub/.hidden.txt", "x.png"] {
            std::fs::write(at(name), "x").unwrap();
        }
        let named =
            |names: &[&str]| -> Vec<String> { names.iter().map(|name| at(name).display().to_string()).collect() };
        let (files, unknown) = find_inputs(&named(&["", "*.gz", "a.MD"])).unwrap();
        let names: Vec<_> =
            files.iter().map(|file| file.path.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.MD", "b.txt.gz", "sub/c.jsonl.zst"]);
        assert_eq!((files[1].kind, files[1].compression), (Kind::Text, Compression::Gzip));
        assert_eq!((files[2].kind, files[2].compression), (Kind::Json, Compression::Zstd));
        assert_eq!(unknown, [at("x.png")]);
        for (name, error) in
            [("x.png", "its name does not tell"), ("no.txt", "no such file"), ("*.csv", "no file to read")]
        {
            let said = find_inputs(&named(&[name])).unwrap_err().to_string();
            assert!(said.contains(error), "{said}");
        }
    }
}
