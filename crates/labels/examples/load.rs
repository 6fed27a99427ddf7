//! Load on the label server: people who label, by default without a pause, on loopback, beside slow clients, while the server is killed.
//!
//! Prints labels per second, and the median and the 99th percentile of the time from a label to its acknowledgement with the
//! next item. Then compares the store with what was acknowledged: each label is there, once.
//!
//! ```text
//! cargo run --release -p palestra-labels --example load -- target/release/palestra --items 100000 --people 100 --seconds 60
//! ```
//! Further options: `--overlap N`, `--slow N` (connections that send a byte a second), `--kills N` (SIGKILL, then a restart), `--pause
//! MS` (milliseconds that each person waits after a label).

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use palestra_labels::{Answer, NewItem, Settings, Store, Verdict};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "load PALESTRA [--items N] [--people N] [--seconds N] [--overlap N] [--slow N] [--kills N] [--pause MS], with PALESTRA the program";

/// Time for which a client asks again when the server is gone.
const PATIENCE: Duration = Duration::from_secs(30);

struct Options {
    program: PathBuf,
    items: usize,
    people: usize,
    seconds: u64,
    overlap: u32,
    slow: usize,
    kills: u64,
    pause: Duration,
}

fn main() -> Result<()> {
    let options = parse(std::env::args().skip(1))?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("labels.db");
    let mut store = Store::create(&file, Settings { overlap: options.overlap, seed: 1 })?;
    store.add((0..options.items).map(|number| Ok::<_, palestra_labels::Error>(item(number))))?;
    let names: Vec<String> = (0..options.people).map(|number| format!("person {number}")).collect();
    let people: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), false)).collect();
    let tokens = store.invite_all(&people)?;
    drop(store);

    let (mut server, address) = start(&options.program, &file, "127.0.0.1:0")?;
    let is_over = AtomicBool::new(false);
    let begin = Instant::now();
    let clients = thread::scope(|scope| -> Result<Vec<Client>> {
        let clients: Vec<_> = tokens
            .iter()
            .map(|token| {
                let client = Client::new(address, token);
                let (is_over, pause) = (&is_over, options.pause);
                scope.spawn(move || client.label_until(is_over, pause))
            })
            .collect();
        for _ in 0..options.slow {
            scope.spawn(|| crawl(address, &is_over));
        }
        let part = Duration::from_secs(options.seconds) / (options.kills as u32 + 1);
        let mut outcome = Ok(());
        for _ in 0..options.kills {
            thread::sleep(part);
            server.kill()?;
            server.wait()?;
            match start(&options.program, &file, &address.to_string()) {
                Ok((again, _)) => server = again,
                Err(error) => outcome = Err(error),
            }
        }
        thread::sleep(part);
        is_over.store(true, Ordering::SeqCst);
        let done: Result<Vec<Client>> = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| "a client panicked".into()).and_then(|labelled| labelled))
            .collect();
        outcome.and(done)
    });
    server.kill()?;
    server.wait()?;
    let clients = clients?;
    // Where all items are labelled before the time is over, the rest of it is no work.
    let last = clients.iter().filter_map(|client| client.last).max();
    let seconds = last.map_or(0.0, |last| last.duration_since(begin).as_secs_f64());

    let mut waits: Vec<Duration> = clients.iter().flat_map(|client| client.waits.iter().copied()).collect();
    waits.sort_unstable();
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
    println!(
        "{} items, {} people, {} slow clients, {} kills: {} labels in {seconds:.1} s, {:.0} labels/s, p50 {:.1} ms, p99 {:.1} ms",
        options.items,
        options.people,
        options.slow,
        options.kills,
        waits.len(),
        waits.len() as f64 / seconds,
        at(0.5),
        at(0.99),
    );
    compare(&file, &names, &clients)
}

/// Refuses a store that lacks a label that was acknowledged, or has another.
fn compare(file: &Path, names: &[String], clients: &[Client]) -> Result<()> {
    let mut acknowledged: BTreeMap<(&str, i64), usize> = BTreeMap::new();
    for (name, client) in names.iter().zip(clients) {
        acknowledged.extend(client.acknowledged.iter().map(|(item, answer)| ((name.as_str(), *item), *answer)));
    }
    let labelled = Store::open(file)?.labelled()?;
    for kept in &labelled {
        let Some(answer) = acknowledged.remove(&(kept.annotator.as_str(), kept.item)) else {
            return Err(format!("item {}: a label of {} that nobody gave", kept.item, kept.annotator).into());
        };
        if kept.label.verdict != (Verdict::Best { answer: kept.shown[answer] }) {
            return Err(format!("item {}: another label of {} than was given", kept.item, kept.annotator).into());
        }
    }
    if let Some(((name, item), _)) = acknowledged.first_key_value() {
        return Err(format!("item {item}: the label of {name} is lost").into());
    }
    println!("{} labels in the store, each acknowledged once", labelled.len());
    Ok(())
}

fn item(number: usize) -> NewItem {
    let text = |name: &str| format!("answer {name} to {number}, {}", "of a few words more ".repeat(8)).into();
    let answers = ["one", "two"].map(|name| Answer { text: text(name), policy: Some(name.to_string()) });
    NewItem { prompt: format!("prompt {number}").into(), answers: answers.into(), gold: None, gap: None }
}

/// Starts the server, and returns it with its address.
fn start(program: &Path, file: &Path, address: &str) -> Result<(Child, SocketAddr)> {
    let mut server = Command::new(program)
        .args(["label", "serve"])
        .arg(file)
        .args(["--require-token", "--json", "--address", address])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let output = server.stdout.take().ok_or("the server has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let serving: Value = serde_json::from_str(&line).map_err(|error| format!("{line:?}: {error}"))?;
    let address = serving["address"].as_str().unwrap_or_default().trim_start_matches("http://").trim_end_matches('/');
    Ok((server, address.parse()?))
}

/// A person who labels as fast as the server answers.
struct Client {
    address: SocketAddr,
    token: String,
    stream: Option<BufReader<TcpStream>>,
    waits: Vec<Duration>,
    /// Time of the last acknowledgement.
    last: Option<Instant>,
    /// The answers that were chosen, as shown, by item.
    acknowledged: BTreeMap<i64, usize>,
}

impl Client {
    fn new(address: SocketAddr, token: &str) -> Self {
        let (waits, acknowledged) = (Vec::new(), BTreeMap::new());
        Self { address, token: token.to_string(), stream: None, waits, last: None, acknowledged }
    }

    fn label_until(mut self, is_over: &AtomicBool, pause: Duration) -> Result<Self> {
        let mut shown = self.call("GET /api/next", "")?;
        while !is_over.load(Ordering::SeqCst)
            && let Some(item) = shown["task"]["item"].as_i64()
        {
            let answer = (item % 2) as usize;
            let label = json!({"verdict": {"kind": "best", "answer": answer}});
            // Each person labels an item once, so the item is a key of its own.
            let body = json!({"item": item, "label": label, "seconds": 1.0, "key": format!("of {item}")}).to_string();
            let begin = Instant::now();
            shown = self.call("POST /api/label", &body)?;
            self.waits.push(begin.elapsed());
            self.last = Some(Instant::now());
            if self.acknowledged.insert(item, answer).is_some() {
                return Err(format!("item {item} was given to a person twice").into());
            }
            thread::sleep(pause);
        }
        Ok(self)
    }

    /// Makes a call, and makes it again while the server is gone.
    fn call(&mut self, line: &str, body: &str) -> Result<Value> {
        let begin = Instant::now();
        loop {
            match self.try_call(line, body) {
                Ok((200, reply)) => return Ok(reply),
                Ok((status, reply)) => return Err(format!("{line}: {status} {reply}").into()),
                Err(error) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) => {
                    self.stream = None;
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    fn try_call(&mut self, line: &str, body: &str) -> Result<(u16, Value)> {
        let Self { address, token, stream, .. } = self;
        let stream = match stream {
            Some(stream) => stream,
            none => {
                let opened = TcpStream::connect(*address)?;
                opened.set_nodelay(true)?;
                opened.set_read_timeout(Some(PATIENCE))?;
                none.insert(BufReader::new(opened))
            }
        };
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut head = String::new();
            if stream.read_line(&mut head)? == 0 {
                return Err("the connection was closed".into());
            }
            let head = head.trim_end().to_lowercase();
            match head.split_once(' ') {
                _ if head.is_empty() => break,
                Some((name, rest)) if name.starts_with("http/") => status = rest[..3].parse()?,
                Some(("content-length:", count)) => length = count.parse()?,
                _ => {}
            }
        }
        let mut reply = vec![0; length];
        stream.read_exact(&mut reply)?;
        Ok((status, serde_json::from_slice(&reply)?))
    }
}

/// A client that sends a byte of its request each second, and begins again when it is thrown out.
fn crawl(address: SocketAddr, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        if let Ok(mut stream) = TcpStream::connect(address) {
            for byte in b"GET / HTTP/1.1\r\nHost: slow\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
                if is_over.load(Ordering::SeqCst) || stream.write_all(&[*byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_secs(1));
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let program = arguments.next().ok_or(USAGE)?.into();
    let mut options = Options {
        program,
        items: 100_000,
        people: 100,
        seconds: 60,
        overlap: 1,
        slow: 0,
        kills: 0,
        pause: Duration::ZERO,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match name.as_str() {
            "--items" => options.items = value.parse()?,
            "--people" => options.people = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--overlap" => options.overlap = value.parse()?,
            "--slow" => options.slow = value.parse()?,
            "--kills" => options.kills = value.parse()?,
            "--pause" => options.pause = Duration::from_millis(value.parse()?),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
