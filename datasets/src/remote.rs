//! Local copies of what stands at the addresses of object stores. Without the feature `remote` an address is refused by name.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use palestra_files::Address;

use crate::error::{Error, Result};

/// Path to read for a path or an address: a path itself, or the copy of an object or folder in the cache.
///
/// # Errors
/// An address that cannot be fetched.
pub fn local(path: &Path) -> Result<Cow<'_, Path>> {
    if Address::is_in(path) { fetch(path).map(Cow::Owned) } else { Ok(Cow::Borrowed(path)) }
}

/// Copies of those objects of an address, a folder or a pattern whose names have one of these endings; `None` for a path.
pub(crate) fn files_at(pattern: &str, endings: &[&str]) -> Option<Result<Vec<PathBuf>>> {
    let address = Address::parse(pattern)?.map_err(Error::Remote);
    Some(address.and_then(|address| match fetch_all(&address, endings)? {
        files if files.is_empty() => {
            let endings = endings.iter().map(|ending| format!("*.{ending}")).collect::<Vec<_>>().join(", ");
            let reason = format!("has no object whose name is one of {endings}");
            Err(Error::NoFiles { pattern: pattern.to_string(), reason })
        }
        files => Ok(files),
    }))
}

#[cfg(feature = "remote")]
fn fetch(address: &Path) -> Result<PathBuf> {
    let copy = palestra_remote::local(address).map_err(|error| Error::Remote(error.to_string()))?;
    Ok(copy.into_owned())
}

#[cfg(feature = "remote")]
fn fetch_all(address: &Address, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let is_wanted = |name: &str| name.rsplit_once('.').is_some_and(|(_, ending)| endings.contains(&ending));
    palestra_remote::fetch_all(address, is_wanted).map_err(|error| Error::Remote(error.to_string()))
}

#[cfg(not(feature = "remote"))]
fn fetch(address: &Path) -> Result<PathBuf> {
    let address = address.display();
    Err(Error::Remote(format!("{address}: this program has no feature `remote`, which reads addresses; name a path")))
}

#[cfg(not(feature = "remote"))]
fn fetch_all(address: &Address, _: &[&str]) -> Result<Vec<PathBuf>> {
    fetch(Path::new(&address.to_string())).map(|file| vec![file])
}
