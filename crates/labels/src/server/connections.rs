//! The one place that makes an HTTP server. Whoever can connect can neither end it nor keep others out for ever: the
//! number of connections is bounded, and every connection has deadlines.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep, timeout};

/// Bounds of what clients can take from a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once. More wait in the queue of the operating system. Far fewer than the open files of a process.
    pub connections: usize,
    /// Time until the headers of a request have come, from the start of the connection or the end of the request before:
    /// an idle connection is closed, too.
    pub headers: Duration,
    /// Time until the body of a request has come.
    pub body: Duration,
    /// Time for which a client may take nothing of a reply.
    pub stalled: Duration,
    /// Time that a connection may last.
    pub connection: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            headers: Duration::from_secs(15),
            body: Duration::from_secs(15),
            stalled: Duration::from_secs(30),
            connection: Duration::from_secs(60 * 60),
        }
    }
}

/// Pause after a connection could not be accepted, for example because the process has too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves until the process ends.
///
/// # Errors
/// A runtime that cannot be started, or a listener that it cannot take.
pub(super) fn serve(listener: TcpListener, routes: Router, limits: Limits) -> io::Result<()> {
    // Timers, too: without them a deadline, or the pause after a failed accept, is a panic.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    listener.set_nonblocking(true)?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(limits.connections));
        loop {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) if is_of_the_client(&error) => continue,
                Err(_) => {
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let routes = routes.clone();
            tokio::spawn(async move {
                let stream = TokioIo::new(Impatient { stream, patience: limits.stalled, stalled: None });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(limits.headers)
                    .serve_connection(stream, TowerToHyperService::new(routes));
                // An error ends this connection alone; the client sees it closed.
                let _ = timeout(limits.connection, connection).await;
                drop(place);
            });
        }
    })
}

/// True if a connection ended before it was accepted, so that the next one can be accepted at once.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A connection on which a write fails if the client takes nothing for too long.
struct Impatient {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn check<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.check(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.check(closed, context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Instant;

    use axum::routing::get;

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    fn served(limits: Limits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let routes =
            Router::new().route("/", get(|| async { "here" })).route("/large", get(|| async { "x".repeat(64 << 20) }));
        std::thread::spawn(move || serve(listener, routes, limits));
        address
    }

    fn short() -> Limits {
        Limits { connections: 4, headers: SHORT, body: SHORT, stalled: SHORT, ..Limits::default() }
    }

    fn connect(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn ask(address: SocketAddr) -> String {
        let mut stream = connect(address);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    /// Time until the server closes a connection.
    fn closed(mut stream: TcpStream) -> Duration {
        let began = Instant::now();
        let _ = stream.read_to_end(&mut Vec::new());
        began.elapsed()
    }

    #[test]
    fn connections_that_say_nothing_or_little_are_closed_and_others_get_their_turn() {
        let address = served(short());
        let silent: Vec<TcpStream> = (0..8).map(|_| connect(address)).collect();
        let mut slow = connect(address);
        slow.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
        assert!(ask(address).ends_with("here"), "served once the deadlines have passed");
        for stream in silent.into_iter().chain([slow]) {
            assert!(closed(stream) < Duration::from_secs(10));
        }
    }

    #[test]
    fn a_connection_that_is_idle_after_a_request_is_closed() {
        let address = served(short());
        let mut stream = connect(address);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(closed(stream) < Duration::from_secs(10));
    }

    #[test]
    fn a_client_that_takes_nothing_of_a_reply_frees_its_place() {
        let address = served(Limits { connections: 1, ..short() });
        let mut greedy = connect(address);
        greedy.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        std::thread::sleep(SHORT / 3);
        assert!(ask(address).ends_with("here"));
        drop(greedy);
    }
}
