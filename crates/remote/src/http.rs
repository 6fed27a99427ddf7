//! Requests of `object_store`, made by the blocking client that the whole program uses. Each thread that makes requests runs a
//! runtime of its own ([`wait`]), so that a request may block it.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Error};

/// Time of a request, of a range or part of [`CHUNK_BYTES`](crate::store::CHUNK_BYTES).
const REQUEST: Duration = Duration::from_secs(120);
/// Time to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of an answer; a list has 1,000 names.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Runs a future on this thread.
pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without input and output takes nothing of the system").block_on(work)
}

/// Options of clients that [`Connector`] reads.
pub(crate) fn options() -> ClientOptions {
    ClientOptions::new().with_connect_timeout(CONNECT).with_allow_http(true)
}

/// Maker of clients.
#[derive(Debug)]
pub(crate) struct Connector {
    /// Redirects that a client follows. Those of a bucket lead to another region, for which requests are signed otherwise.
    pub redirects: u32,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Services that give credentials inside of clouds are asked with a shorter time.
        let connect = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let connect =
            connect.and_then(|text| text.strip_suffix('s')?.parse().ok()).map_or(CONNECT, Duration::from_secs);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(self.redirects)
            .max_redirects_will_error(false)
            .timeout_connect(Some(connect))
            .timeout_per_call(Some(REQUEST))
            .user_agent(concat!("palestra/", env!("CARGO_PKG_VERSION")));
        Ok(HttpClient::new(Client(config.build().into())))
    }
}

#[derive(Debug)]
struct Client(Agent);

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let answer = match parts.method {
            Method::PUT | Method::POST | Method::PATCH => self.0.run(Request::from_parts(parts, &body[..])),
            _ => self.0.run(Request::from_parts(parts, ())),
        };
        let (parts, mut body) = answer.map_err(fault)?.into_parts();
        let bytes = body.with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(fault)?;
        Ok(Response::from_parts(parts, HttpResponseBody::from(Bytes::from(bytes))))
    }
}

/// Kind of an error, by which it is tried again or not.
fn fault(error: Error) -> HttpError {
    use std::io::ErrorKind::{ConnectionRefused, TimedOut};
    let kind = match &error {
        Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => HttpErrorKind::Connect,
        Error::Timeout(_) => HttpErrorKind::Timeout,
        Error::HostNotFound | Error::ConnectionFailed => HttpErrorKind::Connect,
        Error::Io(cause) if cause.kind() == ConnectionRefused => HttpErrorKind::Connect,
        Error::Io(cause) if cause.kind() == TimedOut => HttpErrorKind::Timeout,
        Error::Io(_) | Error::Protocol(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
