//! Manifest of a folder that was written whole: written first with what is to come, and again when all of it is there.

use std::collections::BTreeMap;

use palestra_files::Address;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::{Object, Store};

/// Name of a manifest in its folder. It is hidden, so that readers of a local copy pass over it.
pub(crate) const MANIFEST: &str = ".palestra.json";
/// Bytes of a manifest; more is none of ours.
const MAX_BYTES: u64 = 256 << 20;

/// Files of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// True if all files are there.
    pub complete: bool,
    /// Size and hash of each file, by its name in the folder.
    pub files: BTreeMap<String, FileSum>,
}

/// Size and hash of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSum {
    pub bytes: u64,
    pub sha256: String,
}

impl Manifest {
    /// Reads the manifest of a folder from its object.
    ///
    /// # Errors
    /// An object that is no manifest.
    pub fn read(store: &Store, object: &Object) -> Result<Self> {
        if object.bytes > MAX_BYTES {
            return Err(Error::new(&object.address, format_args!("has {} bytes, and is no manifest", object.bytes)));
        }
        serde_json::from_slice(&store.read(object)?)
            .map_err(|error| Error::new(&object.address, format_args!("is no manifest of a folder: {error}")))
    }

    /// Writes the manifest of a folder.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn write(&self, store: &Store, folder: &Address, overwrite: bool) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("a manifest has text keys");
        store.put(&folder.join(MANIFEST), text.into(), overwrite)
    }
}
