//! A WebSocket to a server: every wait and every message is bounded.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use sha1::{Digest, Sha1};
use tungstenite::error::{Error as SocketError, ProtocolError};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Bytes, Message};

use super::address::Address;
use super::tls::Tls;
use crate::FailureKind;
use crate::process::program::{Failure, shown};

/// Text that the server adds to the key of a handshake (RFC 6455, section 1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Maximum length of the head of the server's answer to a handshake, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// Bounds of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Time that connecting may take.
    pub start_timeout: Duration,
    /// Time that an answer may take.
    pub timeout: Duration,
    /// Maximum length of a message, in bytes.
    pub max_message_bytes: usize,
}

/// An open WebSocket, for one request and one answer at a time.
pub(super) struct Connection {
    socket: WebSocket<Stream>,
    bounds: Bounds,
}

impl Connection {
    /// Connects to a server, with TLS if it is given.
    pub fn open(address: &Address, tls: Option<&Tls>, bounds: Bounds) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            let reason = match is_timeout(&error) {
                true => {
                    format!("it did not answer within {} seconds (`start_timeout`)", bounds.start_timeout.as_secs_f64())
                }
                false => error.to_string(),
            };
            Failure::new(FailureKind::Start, format!("{address} cannot be connected to: {reason}"))
        };
        let until = Instant::now() + bounds.start_timeout;
        let stream = connect(address, until).map_err(failed)?;
        let mut stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Secure(Box::new(tls.wrap(&address.host, stream).map_err(failed)?)),
        };
        let rest = shake_hands(&mut stream, address).map_err(failed)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(bounds.max_message_bytes))
            .max_frame_size(Some(bounds.max_message_bytes));
        let socket = WebSocket::from_partially_read(stream, rest, Role::Client, Some(config));
        Ok(Self { socket, bounds })
    }

    /// Sends a request and waits for the answer.
    pub fn ask(&mut self, request: &Value) -> Result<Value, Failure> {
        self.socket.get_mut().bounded().until = Instant::now() + self.bounds.timeout;
        self.socket.send(Message::text(request.to_string())).map_err(|error| self.failure(&error))?;
        let message = loop {
            match self.socket.read().map_err(|error| self.failure(&error))? {
                Message::Text(text) => break Bytes::from(text),
                Message::Binary(bytes) => break bytes,
                Message::Close(_) => return Err(Failure::new(FailureKind::Exit, "it closed the connection")),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        };
        serde_json::from_slice(&message).map_err(|_| {
            let text = shown(&String::from_utf8_lossy(&message));
            Failure::new(FailureKind::NoJson, format!("it wrote {text}, which is no JSON"))
        })
    }

    /// Sends a last message. What becomes of it matters to nobody.
    pub fn close(&mut self, message: &Value) {
        self.socket.get_mut().bounded().until = Instant::now() + Duration::from_millis(200);
        let _ = self.socket.send(Message::text(message.to_string()));
        let _ = self.socket.close(None).and_then(|()| self.socket.flush());
    }

    fn failure(&self, error: &SocketError) -> Failure {
        let Bounds { timeout, max_message_bytes, .. } = self.bounds;
        let (kind, reason) = match error {
            SocketError::Io(error) if is_timeout(error) => {
                let reason = format!("it gave no answer within {} seconds (`timeout`)", timeout.as_secs_f64());
                (FailureKind::Timeout, reason)
            }
            SocketError::Capacity(_) => {
                let reason = format!("it wrote a message of more than {max_message_bytes} bytes (`max_message_bytes`)");
                (FailureKind::Flood, reason)
            }
            SocketError::Io(_)
            | SocketError::ConnectionClosed
            | SocketError::AlreadyClosed
            | SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                (FailureKind::Exit, format!("the connection broke: {error}"))
            }
            _ => (FailureKind::Protocol, error.to_string()),
        };
        Failure::new(kind, reason)
    }
}

/// A stream whose every wait ends at a time.
struct Bounded {
    stream: TcpStream,
    until: Instant,
}

impl Bounded {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Bounded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A connection, with or without TLS.
enum Stream {
    Plain(Bounded),
    Secure(Box<StreamOwned<ClientConnection, Bounded>>),
}

impl Stream {
    fn bounded(&mut self) -> &mut Bounded {
        match self {
            Self::Plain(stream) => stream,
            Self::Secure(stream) => &mut stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Secure(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn connect(address: &Address, until: Instant) -> io::Result<Bounded> {
    let mut last = io::Error::other("the name has no address");
    for candidate in (address.host.as_str(), address.port).to_socket_addrs()? {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&candidate, left) {
            Ok(stream) => {
                // A request is one small packet, which must not wait for the next one.
                stream.set_nodelay(true)?;
                return Ok(Bounded { stream, until });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Turns an HTTP connection into a WebSocket (RFC 6455, section 4), and returns what was read beyond the answer.
fn shake_hands(stream: &mut Stream, address: &Address) -> io::Result<Vec<u8>> {
    // A key that no cache has seen. It is no secret.
    let random = || RandomState::new().build_hasher().finish().to_le_bytes();
    let key = STANDARD.encode([random(), random()].concat());
    let Address { host, port, path, .. } = address;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk)?;
        read.extend_from_slice(&chunk[..count]);
        if count == 0 || read.len() > MAX_HEAD {
            return Err(io::Error::other("its answer to the handshake is no answer of HTTP"));
        }
    };
    let rest = read.split_off(end + 4);
    let head = String::from_utf8_lossy(&read).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Err(io::Error::other(format!("it answered {} to the handshake of a WebSocket", shown(status))));
    }
    let expected = STANDARD.encode(Sha1::digest(format!("{key}{MAGIC}")));
    let accepts = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == expected);
    if accepts { Ok(rest) } else { Err(io::Error::other("its answer to the handshake has a wrong key")) }
}
