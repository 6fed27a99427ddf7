//! A store, and the requests that are made of it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error as Cause, GetOptions, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    RetryConfig,
};
use palestra_files::{Address, Scheme};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::http::{Connector, options, wait};

/// Bytes that are read or written with one request.
pub(crate) const CHUNK_BYTES: u64 = 8 << 20;
/// Requests that are made at once for one object.
pub(crate) const AT_ONCE: usize = 4;

/// A bucket, or a web server.
#[derive(Debug, Clone)]
pub(crate) struct Store(Arc<dyn ObjectStore>);

/// An object of a store as it was when it was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its address.
    pub address: Address,
    /// Size in bytes.
    pub bytes: u64,
    /// Entity tag, which another content does not have.
    e_tag: Option<String>,
    /// Time of its last change in seconds since 1970; 0 if the server tells none.
    pub(crate) modified: i64,
}

/// Requests that failed are made again this often, unless the store refused them: with pauses of up to 0.2 s, then of twice as
/// much each time, up to 10 s.
fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(10), base: 2.0 };
    RetryConfig { backoff, max_retries: 8, retry_timeout: Duration::from_secs(180) }
}

impl Store {
    /// Opens the store of an address. Nothing is requested yet.
    ///
    /// # Errors
    /// Variables of the environment that cannot be used.
    pub fn open(address: &Address) -> Result<Self> {
        let bucket = &address.bucket;
        let cloud = Connector { redirects: 0 };
        let store: Result<Arc<dyn ObjectStore>, Cause> = match address.scheme {
            Scheme::S3 => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_client_options(options());
                builder.with_retry(retries()).with_http_connector(cloud).build().map(|store| Arc::new(store) as _)
            }
            Scheme::Gs => {
                let builder =
                    GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_client_options(options());
                builder.with_retry(retries()).with_http_connector(cloud).build().map(|store| Arc::new(store) as _)
            }
            Scheme::Az => {
                let builder =
                    MicrosoftAzureBuilder::from_env().with_container_name(bucket).with_client_options(options());
                builder.with_retry(retries()).with_http_connector(cloud).build().map(|store| Arc::new(store) as _)
            }
            Scheme::Https | Scheme::Http => {
                let builder = HttpBuilder::new().with_url(format!("{}://{bucket}", address.scheme.name()));
                let builder = builder.with_client_options(options()).with_retry(retries());
                builder.with_http_connector(Connector { redirects: 5 }).build().map(|store| Arc::new(store) as _)
            }
        };
        store.map(Self).map_err(Error::of(address, "open its store"))
    }

    /// Looks up an object; `None` if there is none.
    ///
    /// # Errors
    /// A store that does not answer, or that refuses it.
    pub fn look_up(&self, address: &Address) -> Result<Option<Object>> {
        let path = path_of(address)?;
        match wait(self.0.head(&path)) {
            Ok(found) => Ok(Some(Object::new(address.clone(), found))),
            // A store that has no such bucket tells it in the text of a list alone.
            Err(Cause::NotFound { .. }) if !address.scheme.is_web() => {
                self.list(&address.folder())?;
                Ok(None)
            }
            Err(Cause::NotFound { .. }) => Ok(None),
            Err(cause) => Err(Error::of(address, "look it up")(cause)),
        }
    }

    /// Lists all objects below a folder, by their keys.
    ///
    /// # Errors
    /// A store that does not answer, or that refuses it.
    pub fn list(&self, folder: &Address) -> Result<Vec<Object>> {
        if folder.scheme.is_web() {
            return Err(Error::new(folder, "a web server lists no folders; name each file"));
        }
        let prefix = path_of(folder)?;
        let found = wait(self.0.list(Some(&prefix)).try_collect::<Vec<ObjectMeta>>());
        let found = found.map_err(Error::of(folder, "list it"))?;
        let object = |meta: ObjectMeta| Object::new(folder.with_key(meta.location.to_string()), meta);
        let mut objects: Vec<Object> = found.into_iter().map(object).collect();
        // What consoles of stores make for an empty folder.
        objects.retain(|object| {
            object.address.key.starts_with(&folder.key) && !(object.bytes == 0 && object.address.is_folder())
        });
        objects.sort();
        Ok(objects)
    }

    /// Reads a range of an object.
    ///
    /// # Errors
    /// A store that does not answer, or that refuses it; an object that was changed since it was found.
    pub fn range(&self, object: &Object, range: Range<u64>) -> Result<Bytes> {
        let Object { address, bytes, .. } = object;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let (begin, length) = (range.start, range.end - range.start);
        let failed = Error::of(address, "read it");
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        let path = path_of(address)?;
        let (meta, read) = wait(async {
            let answer = self.0.get_opts(&path, options).await?;
            Ok((answer.meta.clone(), answer.bytes().await?))
        })
        .map_err(failed)?;
        let now = Object::new(address.clone(), meta);
        if !now.is_same(object) {
            let (was, is) = (bytes, now.bytes);
            return Err(Error::new(
                address,
                format_args!("was changed while it was read: it had {was} bytes, and has {is}; start again"),
            ));
        }
        if read.len() as u64 != length {
            let got = read.len();
            return Err(Error::new(
                address,
                format_args!("the store sent {got} bytes where {length} were asked for, from byte {begin} on"),
            ));
        }
        Ok(read)
    }

    /// Reads a whole object, which must be small.
    pub fn read(&self, object: &Object) -> Result<Bytes> {
        self.range(object, 0..object.bytes)
    }

    /// Writes an object with one request.
    ///
    /// # Errors
    /// An object that exists, unless `overwrite` is set; a store that does not answer, or that refuses it.
    pub fn put(&self, address: &Address, bytes: Bytes, overwrite: bool) -> Result<()> {
        let mode = if overwrite { PutMode::Overwrite } else { PutMode::Create };
        let path = path_of(address)?;
        wait(self.0.put_opts(&path, bytes.into(), mode.into())).map(drop).map_err(Error::of(address, "write it"))
    }

    /// Begins an object that is written in parts.
    ///
    /// # Errors
    /// A store that does not answer, or that refuses it.
    pub fn put_parts(&self, address: &Address) -> Result<Box<dyn MultipartUpload>> {
        let path = path_of(address)?;
        wait(self.0.put_multipart(&path)).map_err(Error::of(address, "begin to write it"))
    }

    /// Removes an object.
    ///
    /// # Errors
    /// A store that does not answer, or that refuses it.
    pub fn remove(&self, address: &Address) -> Result<()> {
        let path = path_of(address)?;
        match wait(self.0.delete(&path)) {
            Ok(()) | Err(Cause::NotFound { .. }) => Ok(()),
            Err(cause) => Err(Error::of(address, "remove it")(cause)),
        }
    }
}

impl Object {
    fn new(address: Address, meta: ObjectMeta) -> Self {
        // A list and an answer write the same tag with and without quotes.
        let e_tag = meta.e_tag.map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_string());
        Self { address, bytes: meta.size, e_tag, modified: meta.last_modified.timestamp() }
    }

    /// True if another look at the object shows the same content.
    fn is_same(&self, other: &Self) -> bool {
        self.bytes == other.bytes
            && match (&self.e_tag, &other.e_tag) {
                (Some(one), Some(other)) => one == other,
                _ => self.modified == other.modified,
            }
    }

    /// Text that tells this content from another of the same address: a hash of its size, entity tag and time.
    pub fn version(&self) -> String {
        let told = match &self.e_tag {
            Some(e_tag) => format!("{}\n{e_tag}", self.bytes),
            None => format!("{}\n{}", self.bytes, self.modified),
        };
        hex(&Sha256::digest(told))[..12].to_string()
    }

    /// True if the server tells neither entity tag nor time, so that a changed content is not noticed.
    pub(crate) fn is_unversioned(&self) -> bool {
        self.e_tag.is_none() && self.modified == 0
    }

    /// Path that shows the object in messages and is compared with those of files.
    pub fn path(&self) -> PathBuf {
        self.address.to_string().into()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn path_of(address: &Address) -> Result<Path> {
    let key = address.key.trim_end_matches('/');
    let path = if address.scheme.is_web() { Path::from_url_path(key) } else { Path::parse(key) };
    path.map_err(|error| Error::new(address, error))
}
