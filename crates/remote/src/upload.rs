//! Objects and folders that are written whole or not at all. An object appears when its last part is there; a folder is whole
//! when its manifest says so, which is written last.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use object_store::MultipartUpload;
use palestra_files::{Address, is_temporary};
use sha2::{Digest, Sha256};

use crate::cache::failed;
use crate::error::{Error, Result};
use crate::find::named;
use crate::http::wait;
use crate::manifest::{FileSum, MANIFEST, Manifest};
use crate::store::{AT_ONCE, CHUNK_BYTES, Object, Store, hex};

/// Parts of an object at most, by the protocol of S3.
const MAX_PARTS: u64 = 10_000;

/// Refuses an address that cannot be written to: that of a web server, or of an object or folder that exists, unless it may be
/// replaced. Called before the work, so that a long command is not refused at its end.
///
/// # Errors
/// As told; a store that does not answer, or that refuses it.
pub fn check_free(address: &Address, overwrite: bool) -> Result<()> {
    if address.scheme.is_web() {
        return Err(Error::new(
            address,
            "a web server is only read from; name an address of s3://, gs:// or az://, or a path",
        ));
    }
    let store = Store::open(address)?;
    let is_free = match address.is_folder() {
        // What was begun may be gone on with.
        true => match store.look_up(&address.join(MANIFEST))? {
            Some(manifest) => !Manifest::read(&store, &manifest)?.complete,
            None => store.list(address)?.is_empty(),
        },
        false => store.look_up(address)?.is_none(),
    };
    if is_free || overwrite { Ok(()) } else { Err(taken(address)) }
}

/// Writes a file as an object, which appears as a whole.
///
/// # Errors
/// An object that exists, unless `overwrite` is set; a store that does not answer, or that refuses it.
pub fn put_file(file: &Path, address: &Address, overwrite: bool) -> Result<()> {
    put(&Store::open(address)?, file, address, overwrite)
}

/// Writes files, by their names in a folder, as a folder of objects, which appears as a whole. One that was begun with the same
/// files is gone on with, and one that has them already is left as it is.
///
/// # Errors
/// A folder that has other objects, unless `overwrite` is set; a store that does not answer, or that refuses it.
pub fn put_folder(files: &[(String, PathBuf)], address: &Address, overwrite: bool) -> Result<()> {
    let folder = &address.folder();
    let store = Store::open(folder)?;
    let mut manifest = Manifest { complete: false, files: sums(files)? };
    let there = store.list(folder)?;
    let earlier = named(&there, &folder.join(MANIFEST));
    let earlier = earlier.map(|object| Ok::<_, Error>((object, Manifest::read(&store, object)?))).transpose()?;
    let since = match &earlier {
        Some((_, before)) if before.files == manifest.files && before.complete => return Ok(()),
        Some((object, before)) if before.files == manifest.files => object.modified,
        _ if there.is_empty() || overwrite => {
            manifest.write(&store, folder, overwrite)?;
            i64::MAX
        }
        _ => return Err(taken(folder)),
    };
    for (name, path) in files {
        let address = folder.join(name);
        let bytes = manifest.files[name].bytes;
        let is_written = |object: &Object| object.bytes == bytes && object.modified > since;
        if !named(&there, &address).is_some_and(is_written) {
            put(&store, path, &address, true)?;
        }
    }
    manifest.complete = true;
    manifest.write(&store, folder, true)?;
    // What the folder had before, and has no longer.
    let before = earlier.iter().flat_map(|(_, before)| before.files.keys());
    let left = before.filter(|name| !manifest.files.contains_key(*name));
    left.into_iter().try_for_each(|name| store.remove(&folder.join(name)))
}

/// Removes a folder that [`put_folder`] wrote, its manifest first, so that it is gone as a whole. Other objects in it stay.
///
/// # Errors
/// A folder without a manifest; a store that does not answer, or that refuses it.
pub fn remove_folder(address: &Address) -> Result<()> {
    let folder = address.folder();
    let store = Store::open(&folder)?;
    let Some(object) = store.look_up(&folder.join(MANIFEST))? else {
        return Err(Error::new(folder, "has no manifest, so nothing of it is removed"));
    };
    let manifest = Manifest::read(&store, &object)?;
    store.remove(&object.address)?;
    manifest.files.keys().try_for_each(|name| store.remove(&folder.join(name)))
}

/// Files below a folder, by their names in it, with slashes, without those that are being written.
///
/// # Errors
/// A folder that cannot be listed.
pub fn files_of(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    walk(folder, "", &mut files)?;
    files.sort();
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name =
            name.ok_or_else(|| Error::new(path.display(), "its name is no UTF-8, which names of objects are"))?;
        let name = format!("{prefix}{name}");
        if is_temporary(&path) {
            continue;
        }
        if path.is_dir() {
            walk(&path, &format!("{name}/"), files)?;
        } else {
            files.push((name, path));
        }
    }
    Ok(())
}

fn sums(files: &[(String, PathBuf)]) -> Result<BTreeMap<String, FileSum>> {
    let sum = |(name, path): &(String, PathBuf)| {
        let mut file = File::open(path).map_err(failed(path))?;
        let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            let count = file.read(&mut buffer).map_err(failed(path))?;
            if count == 0 {
                return Ok((name.clone(), FileSum { bytes, sha256: hex(&hasher.finalize()) }));
            }
            hasher.update(&buffer[..count]);
            bytes += count as u64;
        }
    };
    files.iter().map(sum).collect()
}

fn put(store: &Store, path: &Path, address: &Address, overwrite: bool) -> Result<()> {
    let mut file = File::open(path).map_err(failed(path))?;
    let bytes = file.metadata().map_err(failed(path))?.len();
    if bytes <= CHUNK_BYTES {
        return store.put(address, next_part(&mut file, CHUNK_BYTES, path)?, overwrite);
    }
    let mut upload = store.put_parts(address)?;
    let written = put_parts(&mut *upload, &mut file, bytes, path, address).and_then(|()| {
        // Parts have no condition, so another writer is looked for last.
        match overwrite || store.look_up(address)?.is_none() {
            true => wait(upload.complete()).map(drop).map_err(Error::of(address, "end it")),
            false => Err(taken(address)),
        }
    });
    if written.is_err() {
        let _ = wait(upload.abort()); // the failure to write is the error to report
    }
    written
}

/// Writes the parts of an object, several at once.
fn put_parts(
    upload: &mut dyn MultipartUpload,
    file: &mut File,
    bytes: u64,
    path: &Path,
    address: &Address,
) -> Result<()> {
    let part_bytes = CHUNK_BYTES.max(bytes.div_ceil(MAX_PARTS));
    let mut left = bytes;
    while left > 0 {
        let mut parts = Vec::new();
        while left > 0 && parts.len() < AT_ONCE {
            let part = next_part(file, part_bytes.min(left), path)?;
            if part.is_empty() {
                return Err(Error::new(path.display(), "became shorter while it was written to its address"));
            }
            left -= part.len() as u64;
            parts.push(upload.put_part(part.into()));
        }
        let written: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || wait(part))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a request does not panic")).collect()
        });
        written.into_iter().collect::<Result<(), _>>().map_err(Error::of(address, "write a part of it"))?;
    }
    Ok(())
}

fn next_part(file: &mut File, most: u64, path: &Path) -> Result<Bytes> {
    let mut part = Vec::new();
    file.take(most).read_to_end(&mut part).map_err(failed(path))?;
    Ok(part.into())
}

fn taken(address: &Address) -> Error {
    match address.is_folder() {
        true => Error::new(address, "there are objects already; name another folder, or remove them"),
        false => Error::new(address, "there is an object already; name another, or replace it with --overwrite"),
    }
}
