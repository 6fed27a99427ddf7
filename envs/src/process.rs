//! Environments that are programs in any language, with which Palestra exchanges lines of JSON on standard input and
//! output. `docs/process-protocol.md` describes the messages.
//!
//! A failure of a program costs its running episodes and no more: [`Error::EpisodeFailed`]. Too many of them are
//! [`Error::TooManyFailures`].

mod guard;
mod input;
pub(crate) mod options;
pub(crate) mod program;
pub(crate) mod protocol;
mod serve;
pub(crate) mod workers;

pub use protocol::VERSION;
pub use serve::{answer_lines, serve};

use std::sync::{Arc, OnceLock};
use std::task::Waker;

use serde_json::{Value, json};

use crate::phase::Phase;
use crate::{Build, Call, Env, EnvSpec, Error, FailureKind, Observation, Options, Result, Step, host};
use options::ProcessOptions;
use program::{Failure, Program};
use protocol::{Hello, RenderAnswer, ResetAnswer, StepAnswer};
use workers::Workers;

/// Returns the function that builds environments of programs. Environments with the same options share the processes.
pub(crate) fn builder() -> Build {
    host::builder(Host::start, |host| Box::new(ProcessEnv::new(host)))
}

/// The processes of an environment, with what is known since the first of them said hello.
struct Host {
    workers: Workers,
    hello: Hello,
    spec: EnvSpec,
    reset_options: Value,
}

impl Host {
    /// Starts the first process, and hears which environment it is.
    fn start(options: &Options) -> Result<Self> {
        let parsed = ProcessOptions::of(options)?;
        let wrong = |error: Error| match error {
            Error::EpisodeFailed { reason, .. } | Error::TooManyFailures(reason) => options.wrong("command", reason),
            other => other,
        };
        let reset_options = serde_json::to_value(&parsed.reset_options)
            .map_err(|error| options.wrong("reset_options", format!("it has no form in JSON: {error}")))?;
        let mut workers = Workers::new(parsed.settings(), "env", parsed.command.join(" "));
        let program = workers.program(0).map_err(wrong)?;
        let heard: OnceLock<Hello> = OnceLock::new();
        let mut check = |answer| protocol::parse_hello(answer).map(|hello| _ = heard.set(hello));
        workers.greet(0, &program, &mut check).map_err(wrong)?;
        let hello = heard.into_inner().expect("greeted for the first time");
        let mut spec = EnvSpec::from(hello.spec.clone());
        spec.reproducible = parsed.reproducible.unwrap_or(spec.reproducible);
        workers.rename(spec.id.clone());
        Ok(Self { workers, hello, spec, reset_options })
    }

    /// Checks that a process is of the same environment as the first one.
    fn check(&self, answer: Value) -> Result<(), Failure> {
        match protocol::parse_hello(answer)? == self.hello {
            true => Ok(()),
            false => Err(Failure::new(FailureKind::Start, "its hello is another one than that of the first process")),
        }
    }
}

/// One episode at a time in one of the processes.
struct ProcessEnv {
    host: Arc<Host>,
    session: u64,
    worker: usize,
    /// The process that plays the running episode.
    program: Option<Arc<Program>>,
    /// True if the request that comes next was sent already.
    is_sent: bool,
    phase: Phase,
    /// The last observation, for a program that cannot render.
    shown: String,
    scripted_action: Option<String>,
}

impl ProcessEnv {
    fn new(host: Arc<Host>) -> Self {
        let (session, worker) = host.workers.open_session();
        let (shown, scripted_action) = ("no episode".to_string(), None);
        Self { host, session, worker, program: None, is_sent: false, phase: Phase::New, shown, scripted_action }
    }

    /// Sends a reset to a process.
    fn send_reset(&mut self, program: Arc<Program>, seed: u64) {
        if self.is_sent {
            // The answer to a request that was given up is still to come. It must not be taken for that to the reset.
            self.program.iter().for_each(|program| program.forget(self.session));
            self.session = self.host.workers.open_session().0;
        }
        let options = &self.host.reset_options;
        let request = json!({ "type": "reset", "session": self.session, "seed": seed, "options": options });
        program.send(self.session, &request);
        (self.program, self.is_sent) = (Some(program), true);
    }

    /// Waits for the answer to a request that was sent, and parses it.
    fn receive<T>(&mut self, parse: impl FnOnce(Value) -> Result<T, Failure>) -> Result<T> {
        let workers = &self.host.workers;
        workers.flush();
        let Some(program) = self.program.clone() else { unreachable!("a request was sent") };
        self.is_sent = false;
        workers.greet(self.worker, &program, &mut |answer| self.host.check(answer)).inspect_err(|_| {
            (self.program, self.phase) = (None, Phase::Over);
        })?;
        let answer = program.receive(self.session, workers.settings.timeout);
        answer.and_then(parse).map_err(|failure| {
            (self.program, self.phase) = (None, Phase::Over);
            workers.failed(self.worker, &program, failure)
        })
    }

    /// Sends an action to the process of the running episode.
    fn send_step(&mut self, action: &str) {
        if let (Phase::Running, false, Some(program)) = (self.phase, self.is_sent, &self.program) {
            program.send(self.session, &json!({ "type": "step", "session": self.session, "action": action }));
            self.is_sent = true;
        }
    }

    fn see(&mut self, observation: &Observation, scripted_action: Option<String>) {
        self.scripted_action = scripted_action;
        if !self.host.hello.render {
            self.shown = observation.content.to_string();
        }
    }
}

impl Env for ProcessEnv {
    fn spec(&self) -> &EnvSpec {
        &self.host.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        if !self.is_sent {
            let program = self.host.workers.program(self.worker)?;
            self.send_reset(program, seed);
        }
        let (observation, scripted) =
            self.receive(|answer| Ok(protocol::parse::<ResetAnswer>("reset", answer)?.parts()))?;
        self.see(&observation, scripted);
        self.phase = Phase::Running;
        Ok(observation)
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        self.send_step(action);
        self.phase.check_running(&self.host.spec.id)?;
        let (step, scripted) = self.receive(|answer| protocol::parse::<StepAnswer>("step", answer)?.parts())?;
        self.see(&step.observation, scripted);
        if step.end.is_some() {
            self.phase = Phase::Over;
            self.scripted_action = None;
            self.host.workers.succeeded(self.worker);
        }
        Ok(step)
    }

    fn waits(&self) -> bool {
        true
    }

    fn send(&mut self, call: &Call) -> bool {
        match call {
            // A process that cannot be started, or not yet, is the matter of `reset`.
            Call::Reset(seed) => {
                if let Some(Ok(program)) = self.host.workers.try_program(self.worker) {
                    self.send_reset(program, *seed);
                }
            }
            Call::Step(action) => self.send_step(action),
        }
        self.is_sent
    }

    fn has_answer(&self, waker: &Waker) -> bool {
        self.host.workers.flush();
        let timeout = self.host.workers.settings.timeout;
        self.program.as_ref().is_none_or(|program| program.has_answer(self.session, timeout, waker))
    }

    fn render(&self) -> String {
        let picture = match &self.program {
            Some(program) if self.host.hello.render && !self.is_sent => {
                program.send(self.session, &json!({ "type": "render", "session": self.session }));
                let answer = program.receive(self.session, self.host.workers.settings.timeout);
                // A program that fails here fails again with the next request, which tells.
                answer
                    .and_then(|answer| protocol::parse::<RenderAnswer>("render", answer))
                    .map_or_else(|failure| format!("no picture: {}", failure.reason), |answer| answer.text)
            }
            _ => self.shown.clone(),
        };
        picture.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
    }

    fn scripted_action(&self) -> Option<String> {
        self.scripted_action.clone()
    }
}

impl Drop for ProcessEnv {
    fn drop(&mut self) {
        if let Some(program) = &self.program {
            program.forget(self.session);
            program.write(&json!({ "type": "close", "session": self.session }));
        }
    }
}
