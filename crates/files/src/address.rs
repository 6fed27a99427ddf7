//! Addresses of objects in stores, such as `s3://bucket/key`, as people write them in place of paths. Knows their parts;
//! opens nothing.

use std::fmt;
use std::path::Path;

/// Address of an object, or of all objects whose keys begin with `key/`: a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Kind of store.
    pub scheme: Scheme,
    /// Bucket or container; the host, and its port, of an address of the web.
    pub bucket: String,
    /// Name in the bucket, without a slash before it. A folder's ends in a slash or is empty.
    pub key: String,
}

/// Kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Amazon S3, or another store that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
    /// A web server; it is only read from.
    Https,
    /// A web server without encryption; it is only read from.
    Http,
}

const SCHEMES: [(Scheme, &str); 5] =
    [(Scheme::S3, "s3"), (Scheme::Gs, "gs"), (Scheme::Az, "az"), (Scheme::Https, "https"), (Scheme::Http, "http")];

impl Scheme {
    /// Name, as in an address.
    pub fn name(self) -> &'static str {
        SCHEMES.iter().find(|(scheme, _)| *scheme == self).expect("the table has all schemes").1
    }

    /// True for a web server, whose files are only read, and one by one.
    pub fn is_web(self) -> bool {
        matches!(self, Self::Https | Self::Http)
    }
}

impl Address {
    /// Parses a text that may be a path or an address; `None` if it is a path.
    ///
    /// # Errors
    /// The reason why an address cannot be used.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (name, rest) = text.split_once("://")?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        Some(Self::of_parts(name, rest).map_err(|reason| format!("{text}: {reason}")))
    }

    /// As [`Address::parse`], of a path that a person wrote.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn of_path(path: &Path) -> Option<Result<Self, String>> {
        Self::parse(path.to_str()?)
    }

    /// True if a path is the text of an address, also of one that cannot be used.
    pub fn is_in(path: impl AsRef<Path>) -> bool {
        Self::of_path(path.as_ref()).is_some()
    }

    fn of_parts(name: &str, rest: &str) -> Result<Self, String> {
        let Some((scheme, _)) = SCHEMES.into_iter().find(|(_, known)| *known == name) else {
            return Err(format!(
                "{name}:// is no address that can be read; write s3://, gs://, az:// or https://, or a path"
            ));
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(format!("names no bucket; write {name}://bucket/key"));
        }
        if bucket.contains('@') {
            return Err("has a user or password in it; credentials are read from the environment".into());
        }
        if scheme.is_web() && key.contains('?') {
            return Err("has a query behind `?`; only addresses without one are read".into());
        }
        let segments: Vec<&str> = key.strip_suffix('/').unwrap_or(key).split('/').collect();
        if !key.is_empty() && segments.iter().any(|segment| ["", ".", ".."].contains(segment)) {
            return Err("has an empty part, `.` or `..` between its slashes".into());
        }
        Ok(Self { scheme, bucket: bucket.into(), key: key.into() })
    }

    /// True if the address names a folder: its key ends in a slash, or is empty.
    pub fn is_folder(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }

    /// The folder of this key.
    pub fn folder(&self) -> Self {
        if self.is_folder() { self.clone() } else { self.with_key(format!("{}/", self.key)) }
    }

    /// Address of a name in this folder.
    pub fn join(&self, name: &str) -> Self {
        let folder = self.folder();
        folder.with_key(format!("{}{name}", folder.key))
    }

    /// Another key in the same bucket.
    pub fn with_key(&self, key: impl Into<String>) -> Self {
        Self { key: key.into(), ..self.clone() }
    }

    /// Last part of the key; the bucket if the key is empty.
    pub fn name(&self) -> &str {
        let key = self.key.trim_end_matches('/');
        if key.is_empty() { &self.bucket } else { key.rsplit('/').next().unwrap_or(key) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme.name(), self.bucket, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_path_or_an_address_with_its_parts() {
        for path in ["a.txt", "/a/b", "./s3", "c:/x", "", "a b://c"] {
            assert!(Address::parse(path).is_none(), "{path}");
        }
        let address = Address::parse("s3://bucket/dir/a.jsonl").unwrap().unwrap();
        assert_eq!((address.scheme, &*address.bucket, &*address.key), (Scheme::S3, "bucket", "dir/a.jsonl"));
        assert_eq!((address.name(), address.is_folder()), ("a.jsonl", false));
        assert_eq!(address.to_string(), "s3://bucket/dir/a.jsonl");
        let folder = Address::parse("gs://bucket").unwrap().unwrap();
        assert_eq!((folder.name(), folder.is_folder()), ("bucket", true));
        assert_eq!(folder.join("x").to_string(), "gs://bucket/x");
        assert_eq!(address.join("x").key, "dir/a.jsonl/x");
    }

    #[test]
    fn addresses_that_cannot_be_used_tell_why() {
        for (text, reason) in [
            ("hdfs://host/a", "hdfs:// is no address that can be read"),
            ("s3:///a", "names no bucket"),
            ("s3://b/a/../c", "`..`"),
            ("s3://b/a//c", "an empty part"),
            ("https://user:secret@host/a", "credentials are read from the environment"),
            ("https://host/a?token=1", "has a query"),
        ] {
            let told = Address::parse(text).unwrap().unwrap_err();
            assert!(told.starts_with(text) && told.contains(reason), "{told}");
        }
    }
}
