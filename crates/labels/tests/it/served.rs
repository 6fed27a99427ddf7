//! A store with items to label, a server of it, and a minimal HTTP client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use palestra_labels::server::{Options, Server};
use palestra_labels::{Answer, Error, NewItem, Settings, Store};
use serde_json::Value;

/// A store in its own directory, with these items.
pub struct Made {
    pub directory: tempfile::TempDir,
    pub file: PathBuf,
}

pub fn made(overlap: u32, items: Vec<NewItem>) -> Made {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("labels.db");
    let mut store = Store::create(&file, Settings { overlap, seed: 7 }).unwrap();
    store.add(items.into_iter().map(Ok::<_, Error>)).unwrap();
    Made { directory, file }
}

pub fn item(prompt: &str, answers: &[&str]) -> NewItem {
    let answer = |text: &&str| Answer { text: (*text).into(), policy: Some(format!("writes {text}")) };
    NewItem { prompt: prompt.into(), answers: answers.iter().map(answer).collect(), gold: None, gap: None }
}

pub fn numbered(count: usize) -> Vec<NewItem> {
    (0..count).map(|number| item(&format!("prompt {number}"), &["yes", "no"])).collect()
}

pub fn options(require_token: bool) -> Options {
    Options { address: "127.0.0.1:0".to_string(), person: "me".to_string(), require_token, ..Options::default() }
}

/// Serves a store in a thread that runs until the tests end.
pub fn serve(file: &Path, require_token: bool) -> SocketAddr {
    let server = Server::bind(Store::open(file).unwrap(), &options(require_token)).unwrap();
    let address = server.address();
    std::thread::spawn(move || server.run());
    address
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// Sends one request; `head` is its header lines. A missing server or a broken connection is an error.
pub fn request(address: SocketAddr, line: &str, head: &str, body: &[u8]) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(stream, "{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n")?;
    // A server that refuses a body may not read it, so a failed write is ignored.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    let body = bytes[end + 4..].to_vec();
    let whole =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|length| length.parse().ok());
    match whole == Some(body.len()) {
        true => Ok(Reply { status, head, body }),
        false => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

pub fn try_get(address: SocketAddr, path: &str, token: &str) -> std::io::Result<Reply> {
    let head = format!("Host: {address}\r\nAuthorization: Bearer {token}\r\n");
    request(address, &format!("GET {path}"), &head, b"")
}

pub fn get(address: SocketAddr, path: &str, token: &str) -> Reply {
    try_get(address, path, token).unwrap()
}

pub fn try_post(address: SocketAddr, path: &str, token: &str, body: &Value) -> std::io::Result<Reply> {
    let head = format!("Host: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    request(address, &format!("POST {path}"), &head, body.to_string().as_bytes())
}

pub fn post(address: SocketAddr, path: &str, token: &str, body: &Value) -> Reply {
    try_post(address, path, token, body).unwrap()
}

pub fn best(item: &Value, answer: usize) -> Value {
    serde_json::json!({"item": item, "label": {"verdict": {"kind": "best", "answer": answer}}, "seconds": 1.5})
}
