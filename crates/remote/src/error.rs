//! Errors that name the address, the operation, the status, and what would be right.

use object_store::Error as Cause;
use palestra_files::{Address, Scheme};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error about an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error about an address.
    pub(crate) fn new(address: impl std::fmt::Display, reason: impl std::fmt::Display) -> Self {
        Self(format!("{address}: {reason}"))
    }

    /// An error of a store, for `map_err`; `doing` is the operation, such as `read it`.
    pub(crate) fn of(address: &Address, doing: &'static str) -> impl Fn(Cause) -> Self {
        let address = address.clone();
        move |cause| Self::new(&address, format_args!("cannot {doing}: {}", reason(&address, &cause)))
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

impl From<palestra_files::Error> for Error {
    fn from(error: palestra_files::Error) -> Self {
        Self(error.to_string())
    }
}

/// The cause in a sentence, and what would be right.
fn reason(address: &Address, cause: &Cause) -> String {
    let told = chain(cause);
    let bucket = &address.bucket;
    let (variables, endpoint) = match address.scheme {
        Scheme::S3 => ("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "AWS_REGION and AWS_ENDPOINT_URL"),
        Scheme::Gs => ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT"),
        Scheme::Az => ("AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCOUNT_NAME"),
        Scheme::Https | Scheme::Http => ("", ""),
    };
    let is_web = address.scheme.is_web();
    if told.contains("NoSuchBucket") || told.contains("ContainerNotFound") {
        return format!("404, there is no bucket {bucket}; see its name, and {endpoint}");
    }
    match cause {
        Cause::NotFound { .. } => "404, there is no such object; see the address".into(),
        Cause::AlreadyExists { .. } => {
            "there is an object already; name another, or replace it with --overwrite".into()
        }
        Cause::Precondition { .. } => "412, it was changed meanwhile; start again".into(),
        Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. } => {
            let status = if matches!(cause, Cause::PermissionDenied { .. }) { 403 } else { 401 };
            let code = told.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
            let code = code.map_or(String::new(), |(code, _)| format!(" {code}"));
            match is_web {
                true => format!("{status}, the server lets nobody read it without an account"),
                false => format!(
                    "{status}{code}, the credentials do not allow it; see {variables}, and their rights on {bucket}"
                ),
            }
        }
        _ if told.contains("AuthorizationHeaderMalformed") || told.contains("redirect") => {
            format!("the bucket is in another region; see {endpoint} ({told})")
        }
        _ if told.contains("169.254.169.254") || told.contains("metadata.google") || told.contains("Missing") => {
            format!("there are no credentials; set {variables} ({told})")
        }
        _ if told.contains("RangeNotSupported") || told.contains("Range request not supported") => {
            "the server sends no parts of files; fetch it by other means, and name the file".into()
        }
        _ if is_web || endpoint.is_empty() => told,
        _ => format!("{told}; see {endpoint}"),
    }
}

/// Messages of an error and its causes, each once.
fn chain(cause: &Cause) -> String {
    let mut told = cause.to_string();
    let mut next = std::error::Error::source(cause);
    while let Some(error) = next {
        let message = error.to_string();
        if !told.contains(&message) {
            told = format!("{told}: {message}");
        }
        next = error.source();
    }
    told
}
