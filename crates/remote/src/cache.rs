//! Copies of objects on this machine: `objects` in `$PALESTRA_CACHE`, else in `palestra` of the user's cache folder.
//!
//! An entry is a folder named for the address and the version of its content, so that it never changes. Entries that were not
//! used for the longest time go when others need their room, but for those that a living process reads.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use palestra_files::{Address, parent_of};

use crate::error::{Error, Result};
use crate::store::Object;

/// Bytes of the cache, unless the environment tells another number.
const DEFAULT_BYTES: u64 = 100_000_000_000;
/// Variable of the environment with the bytes of the cache.
const BYTES: &str = "PALESTRA_CACHE_BYTES";
/// File in an entry that is touched whenever it is used.
const USED: &str = ".used";
/// Folder of the lists of what living processes read.
const USERS: &str = "users";

/// Contents that this process reads: an address stands for one content until the process ends, however often it is opened.
static READ: Mutex<Option<Read>> = Mutex::new(None);

pub(crate) struct Read {
    root: PathBuf,
    /// Name of this process.
    pub process: String,
    /// List of the entries, locked while the process lives.
    list: File,
    /// Address of each object or folder that was fetched, by the path of its copy.
    copies: BTreeMap<PathBuf, Address>,
    /// Objects of each address that was looked up.
    pub found: BTreeMap<Address, Vec<Object>>,
}

/// Address that a path in the cache is a copy of, if this process fetched it.
pub fn address_of(path: &Path) -> Option<String> {
    let read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let mut copies = read.as_ref()?.copies.iter();
    copies.find_map(|(copy, address)| name_below(address, path.strip_prefix(copy).ok()?))
}

fn name_below(address: &Address, below: &Path) -> Option<String> {
    match below.to_str()? {
        "" => Some(address.to_string()),
        below => Some(address.join(below).to_string()),
    }
}

/// Path on this machine at which the folder of an address is built before it is sent: `outputs` beside the copies.
///
/// # Errors
/// A cache folder that cannot be found or made.
pub fn staging(address: &Address) -> Result<PathBuf> {
    let root = root()?;
    let path = parent_of(&root).join("outputs").join(relative(address));
    let parent = parent_of(&path);
    fs::create_dir_all(parent).map_err(failed(parent))?;
    Ok(path)
}

/// Path of an address in a folder.
fn relative(address: &Address) -> PathBuf {
    // A port is no part of a name on every system.
    let bucket = address.bucket.replace(':', "_");
    Path::new(address.scheme.name()).join(bucket).join(address.key.trim_end_matches('/'))
}

/// Does work with what this process reads.
///
/// # Errors
/// A cache folder that cannot be found or written.
pub(crate) fn with_read<T>(work: impl FnOnce(&mut Read) -> Result<T>) -> Result<T> {
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if read.is_none() {
        *read = Some(Read::begin(root()?)?);
    }
    work(read.as_mut().expect("it was begun"))
}

impl Read {
    fn begin(root: PathBuf) -> Result<Self> {
        let users = root.join(USERS);
        fs::create_dir_all(&users).map_err(failed(&users))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let process = format!("{}-{}", std::process::id(), since.as_nanos());
        let path = users.join(&process);
        let _all = lock_all(&root)?;
        let list = OpenOptions::new().append(true).create_new(true).open(&path).map_err(failed(&path))?;
        list.lock().map_err(failed(&path))?;
        Ok(Self { root, process, list, copies: BTreeMap::new(), found: BTreeMap::new() })
    }

    /// Takes up an entry for this process, and makes its folder.
    pub fn take(&mut self, address: &Address, version: &str) -> Result<PathBuf> {
        let mut entry = self.root.join(relative(address)).into_os_string();
        entry.push(format!("@{version}"));
        let entry = PathBuf::from(entry);
        let _all = lock_all(&self.root)?;
        writeln!(self.list, "{}", entry.display()).map_err(failed(&entry))?;
        fs::create_dir_all(&entry).map_err(failed(&entry))?;
        let used = entry.join(USED);
        fs::write(&used, "").map_err(failed(&used))?; // its time is that of the last use
        Ok(entry)
    }

    /// Notes the path of what was fetched.
    pub fn keep(&mut self, address: &Address, path: &Path) {
        self.copies.insert(path.to_owned(), address.clone());
    }

    /// Removes entries until others of so many bytes fit.
    pub fn make_room(&self, address: &Address, bytes: u64) -> Result<()> {
        make_room(&self.root, address, bytes, limit()?)
    }
}

/// Removes entries that no living process reads, until others of so many bytes fit.
fn make_room(root: &Path, address: &Address, bytes: u64, limit: u64) -> Result<()> {
    let _all = lock_all(root)?;
    let used = used_by_living(root)?;
    let mut entries = Vec::new();
    find_entries(root, &mut entries).map_err(failed(root))?;
    entries.sort();
    let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, size, entry) in &entries {
        if total + bytes <= limit {
            break;
        }
        if !used.contains(entry) {
            fs::remove_dir_all(entry).map_err(failed(entry))?;
            total -= size;
        }
    }
    if total + bytes > limit {
        return Err(Error::new(
            address,
            format_args!(
                "has {bytes} bytes, and the cache {} has {total} in use of at most {limit}; set {BYTES} to more",
                root.display()
            ),
        ));
    }
    Ok(())
}

/// Entries that living processes read. The lists of others go.
fn used_by_living(root: &Path) -> Result<Vec<PathBuf>> {
    let users = root.join(USERS);
    let mut used = Vec::new();
    for user in fs::read_dir(&users).map_err(failed(&users))? {
        let path = user.map_err(failed(&users))?.path();
        let list = File::open(&path).map_err(failed(&path))?;
        match list.try_lock() {
            Ok(()) => fs::remove_file(&path).map_err(failed(&path))?,
            Err(_) => used.extend(fs::read_to_string(&path).map_err(failed(&path))?.lines().map(PathBuf::from)),
        }
    }
    Ok(used)
}

/// Finds all entries: the time of the last use, bytes, and folder of each.
fn find_entries(folder: &Path, entries: &mut Vec<(SystemTime, u64, PathBuf)>) -> io::Result<()> {
    let used = folder.join(USED);
    if let Ok(used) = fs::metadata(&used) {
        entries.push((used.modified()?, bytes_in(folder)?, folder.to_owned()));
        return Ok(());
    }
    for inside in fs::read_dir(folder)? {
        let inside = inside?;
        if inside.file_type()?.is_dir() {
            find_entries(&inside.path(), entries)?;
        }
    }
    Ok(())
}

fn bytes_in(folder: &Path) -> io::Result<u64> {
    let sizes = fs::read_dir(folder)?.map(|inside| {
        let inside = inside?;
        let metadata = inside.metadata()?;
        if metadata.is_dir() { bytes_in(&inside.path()) } else { Ok(metadata.len()) }
    });
    sizes.sum()
}

/// Holds the lock of the whole cache, under which entries are taken and removed.
fn lock_all(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed(&path))?;
    file.lock().map_err(failed(&path))?;
    Ok(file)
}

fn root() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("PALESTRA_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("palestra")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/palestra")));
    let cache = cache.ok_or_else(|| {
        Error::new("PALESTRA_CACHE", "is not set, and there is no home folder; name the folder of the cache")
    })?;
    Ok(std::path::absolute(&cache).map_err(failed(&cache))?.join("objects"))
}

fn limit() -> Result<u64> {
    match std::env::var(BYTES) {
        Ok(text) => text.parse().map_err(|_| Error::new(BYTES, format_args!("{text:?} is no number of bytes"))),
        Err(_) => Ok(DEFAULT_BYTES),
    }
}

pub(crate) fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::new(path.display(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_long_goes_and_what_is_read_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |key: &str| Address::parse(&format!("s3://b/{key}")).unwrap().unwrap();
        let mut read = Read::begin(folder.path().to_owned()).unwrap();
        let ours = read.take(&at("ours"), "1").unwrap();
        fs::write(ours.join("ours"), [0; 60]).unwrap();
        let old = |key: &str, hours: u64| {
            let entry = folder.path().join(format!("s3/b/{key}@1"));
            fs::create_dir_all(&entry).unwrap();
            fs::write(entry.join(key), [0; 20]).unwrap();
            let used = File::create(entry.join(USED)).unwrap();
            used.set_modified(SystemTime::now() - std::time::Duration::from_secs(3600 * hours)).unwrap();
            entry
        };
        let (older, newer) = (old("older", 3), old("newer", 2));
        make_room(folder.path(), &at("new"), 20, 120).unwrap();
        assert!(older.exists() && newer.exists(), "all of it fits");
        make_room(folder.path(), &at("new"), 30, 120).unwrap();
        assert!(!older.exists() && newer.exists());
        let told = make_room(folder.path(), &at("new"), 61, 120).unwrap_err().to_string();
        assert!(told.contains("s3://b/new: has 61 bytes") && told.contains(BYTES), "{told}");
        assert!(ours.exists(), "this process reads it");
        drop(read);
        make_room(folder.path(), &at("new"), 61, 120).unwrap();
        assert!(!ours.exists());
    }
}
