//! Messages of the protocol, version 1, as `docs/process-protocol.md` describes them.

use std::num::NonZeroU64;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::program::{Failure, shown};
use crate::{Content, End, EnvSpec, FailureKind, Info, Observation, Step};

/// Version of the protocol, which both sides tell in `hello`.
pub const VERSION: u64 = 1;

/// Returns the first request to a program; `role` is `env` or `reward`.
pub(crate) fn hello(role: &str, worker: usize) -> Value {
    json!({ "type": "hello", "protocol": VERSION, "role": role, "worker": worker })
}

/// Message that closes a program.
pub(crate) fn close() -> Value {
    json!({ "type": "close" })
}

/// An environment's answer to `hello`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    pub protocol: u64,
    pub spec: Spec,
    /// True if it answers `render`.
    #[serde(default)]
    pub render: bool,
}

/// The spec of an environment, with defaults for what a program need not know.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    id: String,
    #[serde(default)]
    max_turns: Option<u32>,
    #[serde(default)]
    reward_range: Option<(f32, f32)>,
    #[serde(default)]
    optimal_return: Option<f64>,
    #[serde(default)]
    solved_return: Option<f64>,
    #[serde(default = "yes")]
    stochastic: bool,
    #[serde(default = "yes")]
    reproducible: bool,
    #[serde(default)]
    tasks: Option<NonZeroU64>,
    #[serde(default)]
    alphabet: Option<String>,
}

fn yes() -> bool {
    true
}

impl From<Spec> for EnvSpec {
    fn from(spec: Spec) -> Self {
        let Spec {
            id,
            max_turns,
            reward_range,
            optimal_return,
            solved_return,
            stochastic,
            reproducible,
            tasks,
            alphabet,
        } = spec;
        let reward_range = reward_range.unwrap_or((f32::MIN, f32::MAX)); // unknown: any finite reward
        EnvSpec {
            id,
            max_turns,
            reward_range,
            optimal_return,
            solved_return,
            stochastic,
            reproducible,
            tasks: tasks.map(NonZeroU64::get),
            alphabet,
        }
    }
}

/// An environment's answer to `reset`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetAnswer {
    observation: Content,
    #[serde(default)]
    legal_actions: Option<Vec<String>>,
    #[serde(default)]
    scripted_action: Option<String>,
    #[serde(default)]
    info: Info,
}

/// An environment's answer to `step`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepAnswer {
    observation: Content,
    #[serde(default)]
    legal_actions: Option<Vec<String>>,
    #[serde(default)]
    scripted_action: Option<String>,
    #[serde(default)]
    info: Info,
    reward: f32,
    terminated: bool,
    #[serde(default)]
    truncated: bool,
    #[serde(default)]
    invalid_action: bool,
}

/// An environment's answer to `render`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenderAnswer {
    pub text: String,
}

impl ResetAnswer {
    /// The observation, and the action of the scripted policy.
    pub fn parts(self) -> (Observation, Option<String>) {
        let Self { observation: content, legal_actions, scripted_action, info } = self;
        (Observation { content, legal_actions: legal_actions.map(Into::into), info }, scripted_action)
    }
}

impl StepAnswer {
    /// The step, and the action of the scripted policy.
    pub fn parts(self) -> Result<(Step, Option<String>), Failure> {
        let Self { observation: content, legal_actions, scripted_action, info, .. } = self;
        let Self { reward, terminated, truncated, invalid_action, .. } = self;
        if !reward.is_finite() {
            return Err(Failure::new(FailureKind::Protocol, "its message `step`: reward: it is too large for 32 bits"));
        }
        let end = if terminated { Some(End::Terminated) } else { truncated.then_some(End::Truncated) };
        let observation = Observation { content, legal_actions: legal_actions.map(Into::into), info };
        Ok((Step { observation, reward, end, invalid_action }, scripted_action))
    }
}

/// Parses an answer of a type; an answer `error` is a failure of its kind.
pub(crate) fn parse<T: DeserializeOwned>(kind: &str, answer: Value) -> Result<T, Failure> {
    let wrong = |reason: String| Failure::new(FailureKind::Protocol, reason);
    let Value::Object(mut fields) = answer else { return Err(wrong("its answer is no JSON object".to_string())) };
    fields.remove("session");
    let told = fields.remove("type");
    match told.as_ref().and_then(Value::as_str) {
        Some("error") => {
            let message = fields.get("message").and_then(Value::as_str).unwrap_or("an error without a `message`");
            Err(Failure::new(FailureKind::Error, message))
        }
        Some(told) if told == kind => serde_json::from_value(Value::Object(fields))
            .map_err(|error| wrong(format!("its message `{kind}`: {error}"))),
        _ => {
            let told = told.map_or("no `type`".to_string(), |told| format!("the type {}", shown(&told.to_string())));
            Err(wrong(format!("its answer has {told}; `{kind}` would be right")))
        }
    }
}

/// Parses an answer to `hello` and checks its version.
pub(super) fn parse_hello(answer: Value) -> Result<Hello, Failure> {
    check_version(&answer)?;
    parse("hello", answer)
}

/// Refuses a program that speaks another version of the protocol.
pub(crate) fn check_version(answer: &Value) -> Result<(), Failure> {
    match answer.get("protocol") {
        Some(version) if version.as_u64() != Some(VERSION) => {
            let reason = format!("it speaks version {version} of the protocol; {VERSION} would be right");
            Err(Failure::new(FailureKind::Protocol, reason))
        }
        _ => Ok(()),
    }
}
