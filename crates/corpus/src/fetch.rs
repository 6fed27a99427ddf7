//! Pages of the web, fetched into a web archive that [`build`](crate::build) reads.
//!
//! One request at a time goes to a host, with a pause after it, and none that the host's robots.txt disallows (RFC 9309). A
//! page is a gzip member of the archive, synced before the next one of its host is asked for. The archive has the name
//! `<out>.partial` until all addresses were asked for; a killed run goes on behind the last whole page.

mod archive;
mod request;
mod schedule;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use palestra_display::bytes as display_bytes;
use palestra_files::Destination;
use serde::Serialize;
use url::Url;

use crate::error::{Error, Result};
use crate::input::Answer;
use archive::Archive;
use request::{Client, Robots};
use schedule::{Job, Outcome, Schedule};

/// Options of [`fetch`].
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Name by which the program is known to servers and in their robots.txt, with an address to ask.
    pub user_agent: String,
    /// Pause after each request to a host; a longer one that its robots.txt asks for is kept, up to a minute.
    pub pause: Duration,
    /// Time of a request, from its start to the last byte of the page.
    pub timeout: Duration,
    /// Bytes of a page; a longer one is cut, and marked in the archive.
    pub max_page_bytes: u64,
    /// Number of hosts that are asked at the same time.
    pub hosts: usize,
    /// Replaces a finished archive of the same name.
    pub overwrite: bool,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            user_agent: format!("palestra/{}", env!("CARGO_PKG_VERSION")),
            pause: Duration::from_secs(1),
            timeout: Duration::from_secs(30),
            max_page_bytes: 16 << 20,
            hosts: 8,
            overwrite: false,
        }
    }
}

/// Report of [`fetch`].
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct FetchReport {
    /// Pages in the archive, with answers such as 404.
    pub fetched: u64,
    /// Of these, pages that an earlier run fetched.
    pub earlier: u64,
    /// Bytes of the bodies that this run fetched.
    pub bytes: u64,
    /// Addresses that robots.txt disallows.
    pub disallowed: Vec<String>,
    /// Addresses without an answer.
    pub failed: Vec<FetchFailure>,
}

/// An address without an answer.
#[derive(Debug, PartialEq, Serialize)]
pub struct FetchFailure {
    /// The address.
    pub url: String,
    /// The problem.
    pub reason: String,
}

/// Redirects that are followed from an address.
const MAX_REDIRECTS: u32 = 5;
/// Requests of an address that is not answered.
const MAX_ATTEMPTS: u32 = 3;
/// Addresses without an answer that the report shows.
const SHOWN: usize = 10;
const ENDING: &str = ".warc.gz";

/// Fetches the addresses of a file, one a line, into an archive. `on_progress` receives the number of addresses that are
/// done, and of all.
///
/// # Errors
/// A file of addresses that cannot be used; an archive that exists, or that cannot be written.
pub fn fetch(
    addresses: &Path,
    out: &Path,
    options: &FetchOptions,
    on_progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<FetchReport> {
    let wanted = read_addresses(addresses)?;
    if !out.to_string_lossy().ends_with(ENDING) {
        let out = out.display();
        return Err(Error::Output(format!("{out} is packed page by page; a name that ends in {ENDING} is right")));
    }
    let _destination = Destination::claim(out, options.overwrite, &[addresses])?;
    let (mut archive, known) = Archive::open(out, &options.user_agent)?;
    let mut report = FetchReport { fetched: known.len() as u64, earlier: known.len() as u64, ..Default::default() };
    let mut schedule = Schedule::new(options.pause);
    let answered: HashSet<&str> = known.iter().map(|page| page.url.as_str()).collect();
    for url in wanted {
        schedule.add(Job::new(url), |url| answered.contains(url));
    }
    for Answer { url, location } in &known {
        if let Some(target) = location.as_deref().and_then(|to| target(url, to)) {
            schedule.add(Job { redirects: 1, ..Job::new(target) }, |url| answered.contains(url));
        }
    }
    let client = Client::new(options);
    let written = Mutex::new((&mut archive, &mut report));
    schedule.run(options.hosts, on_progress, |job, robots| ask(&client, &written, job, robots))?;
    archive.finish()?;
    report.disallowed.sort_unstable();
    report.failed.sort_unstable_by(|one, other| one.url.cmp(&other.url));
    Ok(report)
}

/// Asks for an address, if its host allows it, and writes the answer.
fn ask(
    client: &Client,
    written: &Mutex<(&mut Archive, &mut FetchReport)>,
    job: &Job,
    robots: &mut Robots,
) -> Result<Outcome> {
    let lock = || written.lock().unwrap_or_else(PoisonError::into_inner);
    let url = job.url.as_str();
    let fail = |reason| {
        lock().1.failed.push(FetchFailure { url: url.to_string(), reason });
        Ok(Outcome::Done)
    };
    match robots.allow(client, &job.url) {
        Ok(true) => {}
        Ok(false) => {
            lock().1.disallowed.push(url.to_string());
            return Ok(Outcome::Done);
        }
        Err(reason) => return fail(reason),
    }
    let (reason, pause) = match client.get(&job.url) {
        Ok(page) if page.is_busy() => (format!("status {}", page.status), page.retry_after()),
        Ok(page) => {
            let mut written = lock();
            let (archive, report) = &mut *written;
            archive.write(url, &page)?;
            report.fetched += 1;
            report.bytes += page.body.len() as u64;
            let target = page.location().and_then(|to| target(url, to));
            return Ok(target.filter(|_| job.redirects < MAX_REDIRECTS).map_or(Outcome::Done, Outcome::Redirect));
        }
        Err(reason) => (reason, None),
    };
    if job.attempts + 1 < MAX_ATTEMPTS { Ok(Outcome::Again(pause)) } else { fail(reason) }
}

impl fmt::Display for FetchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fetched, earlier, bytes, disallowed, failed } = self;
        write!(f, "{fetched:>12} pages, {earlier} of them by an earlier run; {} fetched", display_bytes(*bytes))?;
        write!(f, "\n{:>12} disallowed by robots.txt", disallowed.len())?;
        write!(f, "\n{:>12} without an answer", failed.len())?;
        for FetchFailure { url, reason } in failed.iter().take(SHOWN) {
            write!(f, "\n             {url}: {reason}")?;
        }
        match failed.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n             and {more} more, which --json shows"),
        }
    }
}

/// Address that a redirect leads to, without its fragment.
fn target(from: &str, location: &str) -> Option<Url> {
    let mut target = Url::parse(from).ok()?.join(location).ok()?;
    target.set_fragment(None);
    is_web(&target).then_some(target)
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// Reads addresses, one a line. Blank lines and those that begin with `#` are none.
fn read_addresses(path: &Path) -> Result<Vec<Url>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, "read", source))?;
    let mut urls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match Url::parse(line) {
            Ok(mut url) if is_web(&url) => {
                url.set_fragment(None);
                urls.push(url);
            }
            _ => {
                return Err(Error::Document {
                    file: path.display().to_string(),
                    place: format!(":{}", number + 1),
                    reason: format!("{line:?} is no address; one such as https://example.org/page on a line is right"),
                });
            }
        }
    }
    if urls.is_empty() {
        return Err(Error::Input(format!("{} has no address; write one on a line", path.display())));
    }
    Ok(urls)
}
