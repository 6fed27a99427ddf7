//! Reward that a language model gives behind an address that speaks OpenAI's chat completions.

mod cache;
mod limits;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palestra_envs::reward::{Reward, RewardSource, answer, last_info};
use palestra_envs::{Episode, Error, Options, Result};
use palestra_settings::{Number, Range, check_ranges};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use cache::Cache;
use limits::Limits;

/// Pause before the first retry. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Maximum length of a reply, in bytes.
const LONGEST_REPLY: u64 = 4 << 20;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JudgeOptions {
    /// Address up to `/chat/completions`, such as `https://api.openai.com/v1`.
    url: String,
    /// Name of the language model that the server knows.
    judge: String,
    /// The message to the judge. `{prompt}`, `{answer}`, `{transcript}` and the columns of the prompt's row are filled in;
    /// `{{` and `}}` are braces.
    template: String,
    /// System message, if there is one.
    system: Option<String>,
    /// Regular expression whose first group is the score in the judge's reply; the last match counts.
    pattern: String,
    /// Least and greatest score; a reply with another one has no score.
    range: Option<(f32, f32)>,
    /// Sampling temperature of the judge.
    temperature: f64,
    /// Maximum number of tokens of a reply.
    max_tokens: u32,
    /// Name of the environment variable that holds the key; absent: no key is sent.
    key_variable: Option<String>,
    /// Maximum number of requests in any minute.
    requests_per_minute: Option<u32>,
    /// Maximum number of tokens, read and written, in any minute.
    tokens_per_minute: Option<u32>,
    /// Maximum number of requests at once.
    concurrency: usize,
    /// Seconds that a reply may take.
    timeout: f64,
    /// Number of further attempts after a failure that may pass.
    retries: u32,
    /// Directory in which replies are kept, by the content of their requests.
    directory: Option<PathBuf>,
}

impl Default for JudgeOptions {
    fn default() -> Self {
        Self {
            url: String::new(),
            judge: String::new(),
            template: String::new(),
            system: None,
            pattern: r"(?i)score\s*[:=]?\s*\**\s*(-?\d+(?:\.\d+)?)".to_string(),
            range: None,
            temperature: 0.0,
            max_tokens: 512,
            key_variable: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrency: 8,
            timeout: 120.0,
            retries: 5,
            directory: None,
        }
    }
}

/// Builds the reward `judge`. Its waits end when `stop` is set.
///
/// # Errors
/// An option that is missing or invalid, or a key that is not in the environment.
pub(super) fn build(options: &Options, stop: &Arc<AtomicBool>) -> Result<Box<dyn Reward>> {
    let parsed: JudgeOptions = options.parse()?;
    let wrong = |option: &str, reason: &str| Err(options.wrong(option, reason));
    if !parsed.url.starts_with("http://") && !parsed.url.starts_with("https://") {
        return wrong("url", "it needs an address such as \"https://api.openai.com/v1\"");
    }
    if parsed.judge.is_empty() {
        return wrong("judge", "it is missing; name the language model that judges");
    }
    if !parsed.template.contains("{answer}") && !parsed.template.contains("{transcript}") {
        return wrong("template", "it does not show the judge the answer; write {answer} or {transcript} in it");
    }
    let ranges: [(&str, &dyn Number, Range); 6] = [
        ("temperature", &parsed.temperature, Range::AT_LEAST_ZERO),
        ("max_tokens", &parsed.max_tokens, Range::AT_LEAST_ONE),
        ("requests_per_minute", &parsed.requests_per_minute, Range::AT_LEAST_ONE),
        ("tokens_per_minute", &parsed.tokens_per_minute, Range::AT_LEAST_ONE),
        ("concurrency", &parsed.concurrency, Range::AT_LEAST_ONE),
        ("timeout", &parsed.timeout, Range::POSITIVE),
    ];
    for (name, value, range) in ranges {
        if let Err(error) = check_ranges("", &[(name, value, range)]) {
            return wrong(name, error.to_string().trim_start_matches(&format!("{name}: ")));
        }
    }
    let pattern = Regex::new(&parsed.pattern).map_err(|error| options.wrong("pattern", error))?;
    if pattern.captures_len() < 2 {
        return wrong("pattern", "it has no group; put the number in parentheses");
    }
    let key = match &parsed.key_variable {
        None => None,
        Some(name) => match std::env::var(name) {
            Ok(key) if !key.is_empty() => Some(key),
            _ => return wrong("key_variable", &format!("the environment has no variable `{name}`")),
        },
    };
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let config = config.timeout_global(Some(Duration::from_secs_f64(parsed.timeout.min(1e9))));
    Ok(Box::new(Judge {
        agent: config.build().into(),
        address: format!("{}/chat/completions", parsed.url.trim_end_matches('/')),
        limits: Limits::new(parsed.requests_per_minute, parsed.tokens_per_minute),
        cache: parsed.directory.clone().map(Cache::new),
        options: parsed,
        pattern,
        key,
        stop: Arc::clone(stop),
    }))
}

struct Judge {
    agent: ureq::Agent,
    address: String,
    options: JudgeOptions,
    pattern: Regex,
    key: Option<String>,
    limits: Limits,
    cache: Option<Cache>,
    stop: Arc<AtomicBool>,
}

/// Outcome of one request.
enum Reply {
    /// The judge's text.
    Text(String),
    /// A failure that may pass, with the pause that the server asks for.
    Again(String, Option<Duration>),
    /// A failure that stays.
    Never(String),
}

impl Reward for Judge {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let next = AtomicUsize::new(0);
        let scores: Mutex<Vec<Option<f32>>> = Mutex::new(vec![None; episodes.len()]);
        let work = || -> Result<()> {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(episode) = episodes.get(at) else { return Ok(()) };
                let score = self.judge(episode).inspect_err(|_| next.store(episodes.len(), Ordering::Relaxed))?;
                scores.lock().unwrap_or_else(PoisonError::into_inner)[at] = score;
            }
        };
        std::thread::scope(|scope| {
            let count = self.options.concurrency.min(episodes.len());
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })?;
        Ok(scores.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn source(&self) -> RewardSource {
        RewardSource::Model
    }
}

impl Judge {
    /// Score of an episode; `None` if the judge gives none.
    fn judge(&self, episode: &Episode) -> Result<Option<f32>> {
        let request = self.request(episode)?;
        let known = self.cache.as_ref().and_then(|cache| cache.read(&self.address, &request));
        let text = match known {
            Some(text) => text,
            None => {
                let Some(text) = self.ask(&request)? else { return Ok(None) };
                if let Some(cache) = &self.cache {
                    cache.write(&self.address, &request, &text).map_err(failed)?;
                }
                text
            }
        };
        let score = self.score_in(&text);
        if score.is_none() {
            tracing::warn!(
                "judge: episode {}: no score in the reply {:?}",
                episode.id,
                text.chars().take(200).collect::<String>()
            );
        }
        Ok(score)
    }

    /// The score in a reply.
    fn score_in(&self, text: &str) -> Option<f32> {
        let number = self.pattern.captures_iter(text).last()?.get(1)?;
        let score: f32 = number.as_str().trim().parse().ok()?;
        let is_within = self.options.range.is_none_or(|(low, high)| (low..=high).contains(&score));
        (score.is_finite() && is_within).then_some(score)
    }

    fn request(&self, episode: &Episode) -> Result<Value> {
        let JudgeOptions { judge, template, system, temperature, max_tokens, .. } = &self.options;
        let system = system.iter().map(|text| json!({ "role": "system", "content": text }));
        let user = json!({ "role": "user", "content": fill(template, episode).map_err(failed)? });
        let messages: Vec<Value> = system.chain([user]).collect();
        Ok(json!({ "model": judge, "messages": messages, "temperature": temperature, "max_tokens": max_tokens }))
    }

    /// The judge's reply to a request; `None` if there is none after all attempts.
    fn ask(&self, request: &Value) -> Result<Option<String>> {
        let body = request.to_string();
        // About four bytes a token.
        let tokens = body.len() as u64 / 4 + u64::from(self.options.max_tokens);
        let mut reason = String::new();
        for attempt in 0..=self.options.retries {
            if !self.limits.wait(tokens, &self.stop) {
                return Err(failed("stopped".to_string()));
            }
            let asked = match self.send(&body) {
                Reply::Text(text) => return Ok(Some(text)),
                Reply::Never(reason) => return Err(failed(reason)),
                Reply::Again(why, asked) => {
                    reason = why;
                    asked
                }
            };
            if attempt < self.options.retries {
                let pause = asked.unwrap_or(FIRST_PAUSE.saturating_mul(1 << attempt.min(16))).min(LONGEST_PAUSE);
                if !limits::pause(pause, &self.stop) {
                    return Err(failed("stopped".to_string()));
                }
            }
        }
        tracing::warn!("judge: no reply after {} attempts: {reason}", self.options.retries + 1);
        Ok(None)
    }

    fn send(&self, body: &str) -> Reply {
        let mut post = self.agent.post(&self.address).header("content-type", "application/json");
        if let Some(key) = &self.key {
            post = post.header("authorization", format!("Bearer {key}"));
        }
        let mut response = match post.send(body) {
            Ok(response) => response,
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::Tls(_) | ureq::Error::RequireHttpsOnly(_))) => {
                return Reply::Never(format!("{}: {error}", self.address));
            }
            Err(error) => return Reply::Again(format!("{}: {error}", self.address), None),
        };
        let (status, after) = (response.status(), response.headers().get("retry-after").cloned());
        let text = match response.body_mut().with_config().limit(LONGEST_REPLY).read_to_string() {
            Ok(text) => text,
            Err(error) => return Reply::Again(format!("{}: {error}", self.address), None),
        };
        let shown = || format!("{}: {status}: {}", self.address, text.chars().take(300).collect::<String>());
        if status.as_u16() == 429 || status.as_u16() == 408 || status.is_server_error() {
            let seconds =
                after.and_then(|after| after.to_str().ok()?.parse::<f64>().ok()).filter(|it| (0.0..1e9).contains(it));
            return Reply::Again(shown(), seconds.map(Duration::from_secs_f64));
        }
        if !status.is_success() {
            return Reply::Never(shown());
        }
        let reply: Value = serde_json::from_str(&text).unwrap_or_default();
        match reply["choices"][0]["message"]["content"].as_str() {
            Some(content) => Reply::Text(content.to_string()),
            None => Reply::Again(format!("{}: a reply without choices[0].message.content", self.address), None),
        }
    }
}

fn failed(reason: impl std::fmt::Display) -> Error {
    Error::Reward { name: "judge".to_string(), reason: reason.to_string() }
}

/// Fills in a template. `Err` names what the episode lacks.
fn fill(template: &str, episode: &Episode) -> Result<String, String> {
    let row = last_info(episode).remove("row").unwrap_or_default();
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..];
        if let Some(doubled) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
            text.push_str(&brace[..1]);
            rest = doubled;
            continue;
        }
        let name = brace.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let Some((name, after)) = name else {
            return Err("template: a brace that opens or closes no field; write {{ or }} for a brace".to_string());
        };
        match (name, row.get(name)) {
            ("prompt", _) => {
                text.push_str(&episode.turns.last().map_or(String::new(), |turn| turn.observation.to_string()))
            }
            ("answer", _) => text.push_str(answer(episode)),
            ("transcript", _) => {
                let turns = episode.turns.iter().map(|turn| format!("{}\n\n{}", turn.observation, turn.action));
                text.push_str(&turns.collect::<Vec<_>>().join("\n\n"));
            }
            (_, Some(Value::String(column))) => text.push_str(column),
            (_, Some(column)) => text.push_str(&column.to_string()),
            (_, None) => return Err(format!("template: the row of episode {} has no column `{name}`", episode.id)),
        }
        rest = after;
    }
    Ok(text + rest)
}
