//! Environments of OpenEnv: servers that are played over a WebSocket. Templates of the run file turn texts into the
//! server's actions and its observations into texts.
//!
//! A failure of a server costs its episode and no more: [`Error::EpisodeFailed`]. Too many of them are
//! [`Error::TooManyFailures`].

mod address;
mod connection;
mod template;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use palestra_settings::{Number, Range, check_ranges};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::phase::Phase;
use crate::process::program::Failure;
use crate::{Build, End, Env, EnvSpec, Error, FailureKind, Info, Observation, Options, Result, Step, host};
use address::Address;
use connection::{Bounds, Connection};
use tls::Tls;

/// Code of a server's error for an action that its schema does not allow.
const INVALID_ACTION: &str = "VALIDATION_ERROR";

/// Options of an environment of OpenEnv.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OpenEnvOptions {
    /// Base address of the server.
    url: String,
    /// File of certificates (PEM) of authorities that the server is trusted by, in place of the well-known ones.
    ca_file: Option<PathBuf>,
    /// Template of an action: a table of the action's fields.
    action: toml::Table,
    /// Template of the text of an observation.
    observation: String,
    /// Path of the list of legal actions in the observation.
    legal_actions: Option<String>,
    /// Table that the server gets with every reset, besides the seed.
    reset_options: toml::Table,
    /// True if the server's episodes depend on their seeds alone.
    reproducible: bool,
    /// All characters of observations and actions.
    alphabet: Option<String>,
    /// Seconds that an answer may take.
    timeout: f64,
    /// Seconds that connecting may take.
    start_timeout: f64,
    /// Number of failures that a run endures.
    max_failures: u32,
    /// Maximum length of a message, in bytes.
    max_message_bytes: usize,
}

impl Default for OpenEnvOptions {
    fn default() -> Self {
        Self {
            url: String::new(),
            ca_file: None,
            action: toml::Table::new(),
            observation: String::new(),
            legal_actions: None,
            reset_options: toml::Table::new(),
            reproducible: false,
            alphabet: None,
            timeout: 60.0,
            start_timeout: 10.0,
            max_failures: 20,
            max_message_bytes: 16 << 20,
        }
    }
}

/// Returns the function that builds environments of servers. Environments with the same options count failures together.
pub(crate) fn builder() -> Build {
    host::builder(Server::of, |server| {
        Box::new(OpenEnv { server, connection: None, phase: Phase::New, last: Observation::default() })
    })
}

/// A server, as the run file describes it.
struct Server {
    address: Address,
    tls: Option<Tls>,
    bounds: Bounds,
    action: Value,
    observation: String,
    legal_actions: Option<String>,
    reset_options: serde_json::Map<String, Value>,
    max_failures: u32,
    failures: AtomicU32,
    spec: EnvSpec,
}

impl Server {
    fn of(options: &Options) -> Result<Self> {
        let parsed: OpenEnvOptions = options.parse()?;
        let address = Address::parse(&parsed.url).map_err(|reason| options.wrong("url", reason))?;
        let tls = match (address.is_secure, &parsed.ca_file) {
            (true, None) => Some(Tls::of_well_known().map_err(|reason| options.wrong("url", reason))?),
            (true, Some(file)) => Some(Tls::of_file(file).map_err(|reason| options.wrong("ca_file", reason))?),
            (false, None) => None,
            (false, Some(_)) => {
                let reason = format!("{address} is reached without TLS, which needs no certificates; remove it");
                return Err(options.wrong("ca_file", reason));
            }
        };
        let ranges: [(&str, &dyn Number, Range); 3] = [
            ("timeout", &parsed.timeout, Range::POSITIVE),
            ("start_timeout", &parsed.start_timeout, Range::POSITIVE),
            ("max_message_bytes", &parsed.max_message_bytes, Range::AT_LEAST_ONE),
        ];
        for (name, value, range) in ranges {
            if let Err(error) = check_ranges("", &[(name, value, range)]) {
                return Err(options.wrong(name, error.to_string().trim_start_matches(&format!("{name}: "))));
            }
        }
        let json_of = |name: &str, table: &toml::Table| {
            serde_json::to_value(table).map_err(|error| options.wrong(name, format!("it has no form in JSON: {error}")))
        };
        let action = json_of("action", &parsed.action)?;
        if !template::has_action(&action) {
            let right = "write a table such as { message = \"{action}\" }";
            return Err(options.wrong("action", format!("it has no place for the action; {right}")));
        }
        if parsed.observation.is_empty() {
            let right = "write a text such as \"{echoed_message}\", with the names of the observation's fields";
            return Err(options.wrong("observation", format!("it is missing; {right}")));
        }
        let Value::Object(reset_options) = json_of("reset_options", &parsed.reset_options)? else {
            unreachable!("a table is an object")
        };
        // A longer wait is no wait at all; the largest is about 30 years.
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds.min(1e9));
        let spec = EnvSpec {
            id: "openenv-v1".to_string(),
            reward_range: (f32::MIN, f32::MAX), // unknown: any finite reward
            stochastic: true,
            reproducible: parsed.reproducible,
            alphabet: parsed.alphabet,
            ..EnvSpec::default()
        };
        Ok(Self {
            address,
            tls,
            bounds: Bounds {
                start_timeout: seconds(parsed.start_timeout),
                timeout: seconds(parsed.timeout),
                max_message_bytes: parsed.max_message_bytes,
            },
            action,
            observation: parsed.observation,
            legal_actions: parsed.legal_actions,
            reset_options,
            max_failures: parsed.max_failures,
            failures: AtomicU32::new(0),
            spec,
        })
    }

    /// Counts a failure. Returns the error of the episode, or that of the run if there were too many.
    fn failed(&self, Failure { kind, reason }: Failure) -> Error {
        let (env, most) = (self.spec.id.clone(), self.max_failures);
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures > most {
            let told = format!("{failures} failures, more than `max_failures` = {most}; the last one: {reason}");
            return Error::TooManyFailures(format!("{env}: {told}"));
        }
        tracing::warn!("{env}: {}: {reason}", self.address);
        Error::EpisodeFailed { env, kind, reason }
    }

    /// Text and legal actions of an observation.
    fn observe(&self, fields: &Value, info: Info) -> Result<Observation, String> {
        let text = template::observation(&self.observation, fields)?;
        let mut observation = Observation { info, ..Observation::new(text) };
        if let Some(path) = &self.legal_actions {
            let listed = template::field_at(fields, path)?.as_array();
            let listed = listed.ok_or_else(|| format!("its field `{path}` is no list of legal actions"))?;
            observation.legal_actions = Some(listed.iter().map(template::shown).collect());
        }
        Ok(observation)
    }
}

/// Answer of a server.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(rename = "type")]
    kind: String,
    data: Value,
}

/// Data of an answer `observation`.
#[derive(Debug, Deserialize)]
struct Observed {
    observation: Value,
    #[serde(default)]
    reward: Option<Reward>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    metadata: Option<Info>,
}

/// Reward as servers write it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Reward {
    Number(f32),
    Success(bool),
}

/// One episode at a time over one connection.
struct OpenEnv {
    server: Arc<Server>,
    connection: Option<Connection>,
    phase: Phase,
    last: Observation,
}

impl OpenEnv {
    /// The server's answer to a request; `None` if it says that the action is invalid.
    fn ask(&mut self, request: &Value) -> Result<Option<Observed>, Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            absent => {
                let Server { address, tls, bounds, .. } = &*self.server;
                absent.insert(Connection::open(address, tls.as_ref(), *bounds)?)
            }
        };
        let wrong = |error: serde_json::Error| Failure::new(FailureKind::Protocol, format!("its answer: {error}"));
        let answer: Answer = serde_json::from_value(connection.ask(request)?).map_err(wrong)?;
        match answer.kind.as_str() {
            "observation" => serde_json::from_value(answer.data).map(Some).map_err(wrong),
            "error" if request["type"] == "step" && answer.data["code"] == INVALID_ACTION => Ok(None),
            "error" => {
                let message = answer.data["message"].as_str().unwrap_or("an error without a `message`");
                Err(Failure::new(FailureKind::Error, message))
            }
            other => {
                let reason = format!("its answer has the type `{other}`; `observation` would be right");
                Err(Failure::new(FailureKind::Protocol, reason))
            }
        }
    }

    /// Takes notice of a failure. Unless the server told of it itself, the connection is of no more use.
    fn failed(&mut self, failure: Failure) -> Error {
        self.phase = Phase::Over;
        if failure.kind != FailureKind::Error {
            self.connection = None;
        }
        self.server.failed(failure)
    }

    /// Takes an observation with its reward and end.
    fn take(&mut self, observed: Observed) -> Result<Step, Failure> {
        let wrong = |reason: String| Failure::new(FailureKind::Protocol, reason);
        let Observed { observation, reward, done, metadata } = observed;
        let observation = self.server.observe(&observation, metadata.unwrap_or_default()).map_err(wrong)?;
        let reward = match reward {
            None => 0.0, // the server gives no reward for this action
            Some(Reward::Number(number)) if number.is_finite() => number,
            Some(Reward::Number(_)) => return Err(wrong("its reward is too large for 32 bits".to_string())),
            Some(Reward::Success(success)) => f32::from(u8::from(success)),
        };
        self.last = observation.clone();
        Ok(Step { observation, reward, end: done.then_some(End::Terminated), invalid_action: false })
    }

    fn invalid(&self) -> Step {
        Step { observation: self.last.clone(), reward: 0.0, end: None, invalid_action: true }
    }
}

impl Env for OpenEnv {
    fn spec(&self) -> &EnvSpec {
        &self.server.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        let mut data = self.server.reset_options.clone();
        // Seeds of Python's libraries have 32 bits.
        data.insert("seed".to_string(), (seed & u64::from(u32::MAX)).into());
        let answer = self.ask(&json!({ "type": "reset", "data": data }));
        let taken = answer.and_then(|observed| match observed {
            Some(observed) => self.take(observed),
            None => unreachable!("a reset has no action"),
        });
        let step = taken.map_err(|failure| self.failed(failure))?;
        self.phase = Phase::Running;
        Ok(step.observation)
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        self.phase.check_running(&self.server.spec.id)?;
        let Some(data) = template::action(&self.server.action, action) else { return Ok(self.invalid()) };
        let answer = self.ask(&json!({ "type": "step", "data": data }));
        let taken = answer.and_then(|observed| match observed {
            Some(observed) => self.take(observed),
            None => Ok(self.invalid()),
        });
        let step = taken.map_err(|failure| self.failed(failure))?;
        if step.end.is_some() {
            self.phase = Phase::Over;
        }
        Ok(step)
    }

    fn waits(&self) -> bool {
        true
    }

    fn render(&self) -> String {
        self.last.content.to_string().replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
    }
}

impl Drop for OpenEnv {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close(&json!({ "type": "close" }));
        }
    }
}
