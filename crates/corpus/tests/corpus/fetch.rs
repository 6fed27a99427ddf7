//! Pages fetched from a server on loopback.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use palestra_corpus::{FetchOptions, FetchReport, fetch};

use crate::made::*;

const PAUSE: Duration = Duration::from_millis(30);

/// Requests that a server got: path, begin and end.
type Requests = Arc<Mutex<Vec<(String, Instant, Instant)>>>;

/// A server of these pages, each a whole answer by its path.
struct Server {
    address: String,
    requests: Requests,
}

impl Server {
    fn start(pages: &[(&str, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let pages: HashMap<String, String> =
            pages.iter().map(|(path, page)| (path.to_string(), page.replace("SERVER", &address))).collect();
        let (pages, requests) = (Arc::new(pages), Requests::default());
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (pages, log) = (pages.clone(), log.clone());
                std::thread::spawn(move || answer(stream.unwrap(), &pages, &log));
            }
        });
        Self { address, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Paths that were asked for since the last call, in order.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap()).into_iter().map(|(path, ..)| path).collect()
    }
}

/// Answers requests until the client closes the connection.
fn answer(mut stream: TcpStream, pages: &HashMap<String, String>, log: &Requests) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line);
        }
        let begin = Instant::now();
        let path = lines[0].split(' ').nth(1).unwrap().to_string();
        let mut page = pages.get(&path).cloned().unwrap_or_else(|| reply("404 Not Found", "", "nothing"));
        // A page that answers only the second time.
        let mut requests = log.lock().unwrap();
        let (at, is_first) = (requests.len(), !requests.iter().any(|(asked, ..)| *asked == path));
        requests.push((path, begin, begin));
        drop(requests);
        if page.starts_with("BUSY") {
            page = if is_first { reply("503 Busy", "", "") } else { page["BUSY".len()..].to_string() };
        }
        if page.starts_with("SLOW") {
            std::thread::sleep(Duration::from_millis(700));
        }
        let _ = stream.write_all(page.trim_start_matches("SLOW").as_bytes());
        if let Some(request) = log.lock().unwrap().get_mut(at) {
            request.2 = Instant::now();
        }
    }
}

fn reply(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn page(number: u64) -> String {
    let body = format!("<html><body><article><p>{}</p></article></body></html>", prose(number));
    reply("200 OK", "Content-Type: text/html\r\n", &body)
}

fn run(place: &Sandbox, urls: &[String], options: FetchOptions) -> Result<FetchReport, String> {
    let file = place.path("urls.txt");
    std::fs::write(&file, format!("# addresses\n\n{}\n", urls.join("\n"))).unwrap();
    fetch(&file, &place.path("in/pages.warc.gz"), &options, &|_, _| ()).map_err(|error| error.to_string())
}

fn options() -> FetchOptions {
    FetchOptions { pause: PAUSE, timeout: Duration::from_millis(500), ..FetchOptions::default() }
}

fn served() -> Server {
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        prose(3).len(),
        prose(3)
    );
    Server::start(&[
        (
            "/robots.txt",
            reply("200 OK", "", "User-agent: other\nDisallow: /\n\nUser-agent: palestra\nDisallow: /private\n"),
        ),
        ("/1", page(1)),
        ("/2", reply("302 Found", "Location: /1#top\r\n", "")),
        ("/3", chunked),
        ("/4", format!("BUSY{}", page(4))),
        ("/5", format!("SLOW{}", page(5))),
        ("/6", reply("301 Moved", "Location: SERVER/private/6\r\n", "")),
        ("/7", reply("301 Moved", "Location: /8\r\n", "")),
        ("/8", page(8)),
        ("/long", reply("200 OK", "Content-Type: text/plain\r\n", &prose(9).repeat(40))),
        ("/private/1", page(99)),
    ])
}

#[test]
fn pages_are_fetched_as_their_hosts_allow_and_a_corpus_is_made_of_them() {
    let (server, place) = (served(), Sandbox::new());
    let paths = ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/none", "/long", "/private/1", "/1#again"];
    let urls = paths.map(|path| server.url(path));
    let report = run(&place, &urls, FetchOptions { max_page_bytes: 20_000, ..options() }).unwrap();
    let asked = server.requests.lock().unwrap().clone();
    assert_eq!(asked[0].0, "/robots.txt");
    let count = |path: &str| asked.iter().filter(|(asked, ..)| asked == path).count();
    assert_eq!(["/robots.txt", "/1", "/4", "/5", "/8", "/private/1", "/private/6"].map(count), [1, 1, 2, 3, 1, 0, 0]);
    // A host is asked for one page at a time, and left alone between them; the slow page is given up before it comes.
    for pair in asked.windows(2).filter(|pair| pair.iter().all(|(path, ..)| path != "/5")) {
        let between = pair[1].1.saturating_duration_since(pair[0].2);
        assert!(between + Duration::from_millis(5) > PAUSE, "{}: {between:?} after {}", pair[1].0, pair[0].0);
    }
    assert_eq!((report.fetched, report.earlier), (9, 0));
    assert_eq!(report.disallowed, [server.url("/private/1"), server.url("/private/6")]);
    let [failure] = &report.failed[..] else { panic!("{:?}", report.failed) };
    assert!(failure.url == server.url("/5") && failure.reason.contains("timeout"), "{failure:?}");

    let corpus = place
        .build(&["c4.sentences=1", "repetition.top_ngrams=false", "repetition.ngrams=false", "gopher.words=[5,100000]"])
        .unwrap();
    let texts: Vec<String> = place.texts().into_iter().map(|(_, text)| text).collect();
    for number in [1, 3, 4, 8] {
        assert!(texts.contains(&prose(number)), "{number}");
    }
    assert!(texts.iter().any(|text| text.starts_with(&prose(9)) && text.len() <= 20_000));
    let status = corpus.dropped.iter().find(|by| by.rule.name() == "http.status").unwrap();
    assert_eq!(status.count.documents, 4);
    let error = run(&place, &urls, options()).unwrap_err();
    assert!(error.contains("there is a file already"), "{error}");
}

#[test]
fn a_killed_run_goes_on_behind_the_last_whole_page() {
    let (server, place) = (served(), Sandbox::new());
    let urls = ["/1", "/7", "/3", "/none"].map(|path| server.url(path));
    let one_host = FetchOptions { hosts: 1, ..options() };
    assert_eq!(run(&place, &urls, one_host.clone()).unwrap().fetched, 5);
    assert_eq!(server.asked(), ["/robots.txt", "/1", "/7", "/3", "/none", "/8"]);
    let (out, partial) = (place.path("in/pages.warc.gz"), place.path("in/pages.warc.gz.partial"));
    let whole = std::fs::read(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    // Of the last one, the checksum alone is cut.
    for end in (0..whole.len()).step_by(whole.len() / 7).chain([whole.len() - 4]) {
        std::fs::write(&partial, &whole[..end]).unwrap();
        let report = run(&place, &urls, one_host.clone()).unwrap();
        let asked = server.asked();
        assert_eq!(report.fetched, 5, "{end}");
        // The page that a redirect leads to is asked for too.
        assert_eq!(
            asked.iter().filter(|path| *path != "/robots.txt").count() as u64,
            5 - report.earlier,
            "{end}: {asked:?}"
        );
        assert!(!partial.exists());
        let corpus = place.build(&["out=made"]).unwrap();
        assert_eq!(corpus.kept().documents, 3, "{end}");
        std::fs::remove_dir_all(place.path("made")).unwrap();
        std::fs::remove_file(&out).unwrap();
    }
    std::fs::write(&partial, [whole.as_slice(), b"no archive"].concat()).unwrap();
    let error = run(&place, &urls, one_host).unwrap_err();
    assert!(error.contains("pages.warc.gz.partial is damaged: the gzip member that begins at byte"), "{error}");
}

#[test]
fn a_host_whose_rules_cannot_be_read_is_not_asked() {
    let place = Sandbox::new();
    let broken = Server::start(&[("/robots.txt", reply("500 Broken", "", "")), ("/1", page(1))]);
    let without = Server::start(&[("/1", page(2))]);
    let urls = [broken.url("/1"), without.url("/1"), "http://127.0.0.1:9/closed".to_string()];
    let report = run(&place, &urls, options()).unwrap();
    assert_eq!((report.fetched, report.disallowed.len(), report.failed.len()), (1, 0, 2));
    let reason = |url: &String| &report.failed.iter().find(|failure| failure.url == *url).unwrap().reason;
    assert_eq!(reason(&urls[0]), "its robots.txt cannot be read: status 500");
    assert!(reason(&urls[2]).starts_with("its robots.txt cannot be read: "), "{}", reason(&urls[2]));
    assert_eq!(
        (broken.asked(), without.asked()),
        (vec!["/robots.txt".to_string()], vec!["/robots.txt".to_string(), "/1".to_string()])
    );
}

#[test]
fn files_of_addresses_that_cannot_be_used_are_refused() {
    let place = Sandbox::new();
    let refused = |urls: &[&str]| {
        run(&place, &urls.iter().map(|url| url.to_string()).collect::<Vec<_>>(), options()).unwrap_err()
    };
    assert!(refused(&["ftp://a.org/x"]).ends_with(
        "urls.txt:3: \"ftp://a.org/x\" is no address; one such as https://example.org/page on a line is right"
    ));
    assert!(refused(&["a.org"]).contains("urls.txt:3: \"a.org\""));
    assert!(refused(&[]).ends_with("urls.txt has no address; write one on a line"));
    let error = fetch(&place.path("urls.txt"), &place.path("x.warc"), &options(), &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("has no address") || error.ends_with("a name that ends in .warc.gz is right"), "{error}");
    assert!(!place.path("in/pages.warc.gz.partial").exists());
}
