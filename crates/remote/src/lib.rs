//! Object stores as inputs and outputs: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage, and
//! web servers to read from.
//!
//! The one crate that knows `object_store`, its requests and its runtime. Knows objects and local copies of them; must not know
//! contents. Credentials come from the environment.
//!
//! - [`find`] for the objects that an address stands for: an object, a folder or a pattern,
//! - [`Reader`] for an object that is read once, from its begin to its end,
//! - [`fetch`], [`fetch_all`] and [`fetch_folder`] for copies in the cache, which are read like files,
//! - [`put_file`] and [`put_folder`] for objects and folders that are written whole or not at all.

mod cache;
mod error;
mod fetch;
mod find;
mod http;
mod manifest;
mod read;
mod store;
#[cfg(test)]
mod tests;
mod upload;

pub use cache::{address_of, staging};
pub use error::{Error, Result};
pub use fetch::{download_folder, fetch, fetch_all, fetch_folder, fetch_with_others, local};
pub use find::{find, folders};
pub use read::Reader;
pub use store::Object;
pub use upload::{check_free, files_of, put_file, put_folder, remove_folder};
