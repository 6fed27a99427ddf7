//! Copies of objects and folders in the cache, which are read like files, at random places and many times.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{Write, copy};
use std::path::{Path, PathBuf};

use palestra_files::{Address, AtomicFile, parent_of, remove_temporaries, write_directory};
use sha2::{Digest, Sha256};

use crate::cache::{failed, with_read};
use crate::error::{Error, Result};
use crate::find::find;
use crate::read::Reader;
use crate::store::{Object, hex};

/// Fetches an object, and returns the path of its copy.
///
/// # Errors
/// An object that is not there, a store that does not answer or that refuses it, a disk or a cache that is full.
pub fn fetch(address: &Address) -> Result<PathBuf> {
    match &found(address)?[..] {
        [object] if object.address == *address => fetch_object(object),
        _ => Err(Error::new(address, "is a folder; name an object in it")),
    }
}

/// Fetches those objects of an address ([`find`]) whose names are wanted, and returns the paths of their copies.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_all(address: &Address, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let wanted = |object: &&Object| object.address == *address || is_wanted(object.address.name());
    found(address)?.iter().filter(wanted).map(fetch_object).collect()
}

/// Fetches a folder, and returns the path of its copy.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_folder(address: &Address) -> Result<PathBuf> {
    let address = &address.folder();
    fetch_objects(address, &found(address)?)
}

/// Fetches objects of a folder into one entry.
fn fetch_objects(address: &Address, objects: &[Object]) -> Result<PathBuf> {
    let version = |object: &Object| Ok(format!("{} {}\n", object.address, version_of(object)?));
    let versions: String = objects.iter().map(version).collect::<Result<_>>()?;
    let version = &hex(&Sha256::digest(versions))[..12];
    let bytes = objects.iter().map(|object| object.bytes).sum();
    fetch_into(address, version, bytes, |path| download(objects, address, path))
}

/// Fetches an object with those in its folder whose names are wanted, and returns the path of its copy, beside theirs. On a
/// web server nothing stands beside it.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_with_others(address: &Address, is_wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    if address.scheme.is_web() {
        return fetch(address);
    }
    let folder = address.with_key(&address.key[..address.key.len() - address.name().len()]);
    let mut objects = found(&folder)?;
    objects.retain(|object| {
        object.address == *address
            || (object.address == folder.join(object.address.name()) && is_wanted(object.address.name()))
    });
    match objects.iter().any(|object| object.address == *address) {
        true => Ok(fetch_objects(&folder, &objects)?.join(address.name())),
        false => Err(Error::new(address, "404, there is no such object; see the address")),
    }
}

/// Path to read for a path or an address: a path itself, or the copy of an object or folder.
///
/// # Errors
/// As [`fetch`].
pub fn local(path: &Path) -> Result<Cow<'_, Path>> {
    match Address::of_path(path) {
        None => Ok(Cow::Borrowed(path)),
        Some(Err(reason)) => Err(Error::new("address", reason)),
        Some(Ok(address)) => match &found(&address)?[..] {
            [object] if object.address == address => fetch_object(object).map(Cow::Owned),
            _ => fetch_folder(&address).map(Cow::Owned),
        },
    }
}

/// Downloads a folder to a path, where it appears as a whole.
///
/// # Errors
/// As [`fetch`].
pub fn download_folder(address: &Address, to: &Path) -> Result<()> {
    let address = &address.folder();
    download(&find(address)?, address, to)
}

/// Finds the objects of an address, once for the process.
fn found(address: &Address) -> Result<Vec<Object>> {
    if let Some(found) = with_read(|read| Ok(read.found.get(address).cloned()))? {
        return Ok(found);
    }
    let found = find(address)?;
    with_read(|read| Ok(read.found.entry(address.clone()).or_insert(found).clone()))
}

fn fetch_object(object: &Object) -> Result<PathBuf> {
    fetch_into(&object.address, &version_of(object)?, object.bytes, |path| download_object(object, path))
}

/// Version of an object; of one whose server tells none, another one in each process.
fn version_of(object: &Object) -> Result<String> {
    if object.is_unversioned() { with_read(|read| Ok(read.process.clone())) } else { Ok(object.version()) }
}

/// Fetches an object or folder into its entry, unless it is there. Of several processes, one does.
fn fetch_into(
    address: &Address,
    version: &str,
    bytes: u64,
    fetch: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let entry = with_read(|read| read.take(address, version))?;
    let path = entry.join(address.name());
    if !path.exists() {
        let lock = entry.join(".fetching");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&lock).map_err(failed(&lock))?;
        file.lock().map_err(failed(&lock))?;
        if !path.exists() {
            remove_temporaries(&entry)?; // of a process that was killed
            with_read(|read| read.make_room(address, bytes))?;
            writeln!(file, "{}", std::process::id()).map_err(failed(&lock))?;
            tracing::info!("fetching {address}, {bytes} bytes, into {}", entry.display());
            fetch(&path)?;
        }
    }
    with_read(|read| {
        read.keep(address, &path);
        Ok(path.clone())
    })
}

/// Downloads the objects of a folder to a path, where they appear together.
fn download(objects: &[Object], folder: &Address, to: &Path) -> Result<()> {
    write_directory(to, |inside| {
        for object in objects {
            let path = inside.join(&object.address.key[folder.key.len()..]);
            let parent = parent_of(&path);
            std::fs::create_dir_all(parent).map_err(failed(parent))?;
            download_object(object, &path)?;
        }
        Ok(())
    })
}

fn download_object(object: &Object, to: &Path) -> Result<()> {
    let mut file = AtomicFile::create(to)?;
    copy(&mut Reader::open(object)?, &mut file).map_err(|error| match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => failed(to)(error),
    })?;
    Ok(file.commit()?)
}
