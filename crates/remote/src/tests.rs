//! Reading from a web server on loopback, which sends ranges, and fails as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use palestra_files::Address;

use crate::store::CHUNK_BYTES;
use crate::{Reader, check_free, find};

/// A server of one file.
struct Server {
    port: u16,
    content: Arc<Mutex<(Vec<u8>, String)>>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// Starts a server that ends the connection in the middle of its answer to the requests of these numbers.
    fn start(content: &[u8], cut: &'static [usize]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let content = Arc::new(Mutex::new((content.to_vec(), "one".to_string())));
        let requests = Arc::new(AtomicUsize::new(0));
        let (shared, counter) = (content.clone(), requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, counter) = (shared.clone(), counter.clone());
                thread::spawn(move || serve(&stream.unwrap(), &shared, &counter, cut));
            }
        });
        Self { port, content, requests }
    }

    fn address(&self, name: &str) -> Address {
        Address::parse(&format!("http://127.0.0.1:{}/{name}", self.port)).unwrap().unwrap()
    }
}

/// Answers one request; the connection ends with it.
fn serve(stream: &TcpStream, content: &Mutex<(Vec<u8>, String)>, requests: &AtomicUsize, cut: &[usize]) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let Some(request) = lines.next() else { return };
    let range = lines.filter_map(|line| Some(line.to_lowercase().strip_prefix("range: bytes=")?.to_string())).last();
    let (bytes, tag) = content.lock().unwrap().clone();
    let mut stream = stream;
    if !request.contains("/data/a%20file.bin") {
        write!(stream, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        return;
    }
    let number = requests.fetch_add(1, Ordering::Relaxed);
    let whole = bytes.len();
    let (first, last) =
        range.as_deref().and_then(|range| range.split_once('-')).map_or((0, whole - 1), |(first, last)| {
            (first.parse().unwrap(), last.parse::<usize>().unwrap().min(whole - 1))
        });
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let length = last + 1 - first;
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\ncontent-range: bytes {first}-{last}/{whole}\r\netag: \"{tag}\"\r\n\
         last-modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    if !request.starts_with("HEAD") {
        let sent = if cut.contains(&number) { length / 2 } else { length };
        let _ = stream.write_all(&bytes[first..first + sent]); // the client may be gone
    }
}

/// Bytes that show where they are from.
fn content() -> Vec<u8> {
    (0..2 * CHUNK_BYTES as u32 / 4 + 1000).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn ranges_that_were_cut_are_requested_again() {
    let content = content();
    let server = Server::start(&content, &[1, 3]);
    let found = find(&server.address("data/a%20file.bin")).unwrap();
    assert_eq!((found.len(), found[0].bytes), (1, content.len() as u64));
    let mut read = Vec::new();
    Reader::open(&found[0]).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == content);
    assert_eq!(server.requests.load(Ordering::Relaxed), 1 + 3 + 2, "a look, three ranges, and two once more");
}

#[test]
fn an_object_that_changes_while_it_is_read_is_an_error() {
    let server = Server::start(&content(), &[]);
    let found = find(&server.address("data/a%20file.bin")).unwrap();
    *server.content.lock().unwrap() = (content(), "another".to_string());
    let told = Reader::open(&found[0]).unwrap().read_to_end(&mut Vec::new()).unwrap_err().to_string();
    assert!(told.contains("a%20file.bin: was changed while it was read"), "{told}");
    assert_ne!(found, find(&server.address("data/a%20file.bin")).unwrap());
}

#[test]
fn errors_name_the_address_and_what_would_be_right() {
    let server = Server::start(b"x", &[]);
    for (name, reason) in [
        ("data/none.bin", "data/none.bin: cannot look it up: 404, there is no such file"),
        ("data/", "a web server lists no folders; name each file"),
    ] {
        let told = find(&server.address(name)).unwrap_err().to_string();
        assert!(told.starts_with("http://127.0.0.1") && told.contains(reason), "{told}");
    }
    let told = check_free(&server.address("data/out.bin"), true).unwrap_err().to_string();
    assert!(told.contains("a web server is only read from"), "{told}");
}
