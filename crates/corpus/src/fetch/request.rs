use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use texting_robots::Robot;
use url::Url;

use super::FetchOptions;

/// Client of HTTP, which follows no redirect by itself.
pub(super) struct Client {
    agent: ureq::Agent,
    user_agent: String,
    max_page_bytes: u64,
    pause: Duration,
}

/// An answer of a server.
pub(super) struct Fetched {
    pub status: u16,
    /// Fields of the header but those of the transfer, which is over.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// True if the page is longer than the limit.
    pub is_cut: bool,
}

/// The robots.txt of a host, for each scheme by which it was asked.
#[derive(Default)]
pub(super) struct Robots(HashMap<String, Rules>);

enum Rules {
    All,
    /// They cannot be read, for this reason, so that nothing is allowed.
    Unknown(String),
    Robot(Box<Robot>),
}

/// Bytes of a robots.txt that are read (RFC 9309, section 2.5).
const MAX_ROBOTS_BYTES: u64 = 500 << 10;
/// Redirects of a robots.txt that are followed (section 2.3.1.2).
const MAX_ROBOTS_REDIRECTS: usize = 5;

impl Client {
    pub fn new(options: &FetchOptions) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let config = config.user_agent(options.user_agent.clone()).timeout_global(Some(options.timeout));
        Self {
            agent: config.build().into(),
            user_agent: options.user_agent.clone(),
            max_page_bytes: options.max_page_bytes,
            pause: options.pause,
        }
    }

    pub fn get(&self, url: &Url) -> Result<Fetched, String> {
        self.get_bounded(url, self.max_page_bytes)
    }

    fn get_bounded(&self, url: &Url, most: u64) -> Result<Fetched, String> {
        let mut response = self.agent.get(url.as_str()).call().map_err(|error| error.to_string())?;
        let is_of_transfer = |name: &str| matches!(name, "transfer-encoding" | "content-length" | "connection");
        let fields = response.headers().iter().filter(|(name, _)| !is_of_transfer(name.as_str()));
        let fields =
            fields.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let fields = fields.collect();
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let mut reader = response.body_mut().as_reader().take(most + 1);
        reader.read_to_end(&mut body).map_err(|error| error.to_string())?;
        let is_cut = body.len() as u64 > most;
        body.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(Fetched { status, fields, body, is_cut })
    }

    /// Rules of a host. One without an answer, or with an error of the server, allows nothing (section 2.3.1).
    fn rules(&self, of: &Url) -> Rules {
        let mut url = match of.join("/robots.txt") {
            Ok(url) => url,
            Err(error) => return Rules::Unknown(error.to_string()),
        };
        for _ in 0..=MAX_ROBOTS_REDIRECTS {
            let found = self.get_bounded(&url, MAX_ROBOTS_BYTES);
            std::thread::sleep(self.pause); // as after any request to a host
            let found = match found {
                Ok(found) => found,
                Err(reason) => return Rules::Unknown(reason),
            };
            match (found.status, found.location().map(|to| url.join(to))) {
                (200..=299, _) => {
                    // A name of a product is the start of the user agent.
                    let name = self.user_agent.split(['/', ' ']).next().unwrap_or_default();
                    return match Robot::new(name, &found.body) {
                        Ok(robot) => Rules::Robot(Box::new(robot)),
                        Err(_) => Rules::All,
                    };
                }
                (_, Some(Ok(target))) => url = target,
                (400..=499, _) if found.status != 429 => return Rules::All,
                _ => return Rules::Unknown(format!("status {}", found.status)),
            }
        }
        Rules::All
    }
}

impl Robots {
    /// True if the host lets the program ask for an address.
    ///
    /// # Errors
    /// The reason for which the host's rules cannot be read.
    pub fn allow(&mut self, client: &Client, url: &Url) -> Result<bool, String> {
        match self.0.entry(url.scheme().to_string()).or_insert_with(|| client.rules(url)) {
            Rules::All => Ok(true),
            Rules::Unknown(reason) => Err(format!("its robots.txt cannot be read: {reason}")),
            Rules::Robot(robot) => Ok(robot.allowed(url.as_str())),
        }
    }

    /// The pause that the host asks for.
    pub fn pause(&self) -> Option<Duration> {
        let delay = |rules: &Rules| match rules {
            Rules::Robot(robot) => robot.delay.filter(|seconds| (0.0..=3600.0).contains(seconds)),
            _ => None,
        };
        self.0.values().filter_map(delay).max_by(f32::total_cmp).map(Duration::from_secs_f32)
    }
}

impl Fetched {
    /// True if the server asks to come again.
    pub fn is_busy(&self) -> bool {
        matches!(self.status, 429 | 503)
    }

    pub fn retry_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.field("retry-after")?.parse().ok()?))
    }

    /// Target of a redirect.
    pub fn location(&self) -> Option<&str> {
        matches!(self.status, 301 | 302 | 303 | 307 | 308).then(|| self.field("location")).flatten()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
