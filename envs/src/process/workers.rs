//! Workers: the processes of one program. They are started when they are needed, started again after a failure, with
//! growing pauses, and given up after too many.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::options::WorkerSettings;
use super::program::{Failure, HELLO, Program};
use super::protocol;
use crate::{Error, FailureKind};

/// Pause before a worker is started again after its first failure. It doubles with each further failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The processes of one program.
pub(crate) struct Workers {
    pub settings: WorkerSettings,
    /// `env` or `reward`.
    role: &'static str,
    /// Name of the environment or reward in errors.
    name: String,
    places: Vec<Mutex<Place>>,
    /// Held while a worker's hello is waited for, which answers one request and is needed by all.
    greetings: Vec<Mutex<()>>,
    sessions: AtomicU64,
    failures: AtomicU32,
}

/// Place of one worker.
#[derive(Default)]
struct Place {
    program: Option<Arc<Program>>,
    /// True if its answer to `hello` is right.
    is_greeted: bool,
    /// Failures since the last success.
    failures: u32,
    /// Time before which it is not started again.
    pause_until: Option<Instant>,
}

impl Workers {
    /// Workers of one program, of which none is started yet.
    pub fn new(settings: WorkerSettings, role: &'static str, name: String) -> Self {
        let places = (0..settings.workers).map(|_| Mutex::default()).collect();
        let greetings = (0..settings.workers).map(|_| Mutex::default()).collect();
        Self { settings, role, name, places, greetings, sessions: AtomicU64::new(0), failures: AtomicU32::new(0) }
    }

    /// Sets the name in errors, once it is known.
    pub fn rename(&mut self, name: String) {
        self.name = name;
    }

    /// Returns a new session, and the worker that it belongs to: each in turn.
    pub fn open_session(&self) -> (u64, usize) {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        (session, (session % self.places.len() as u64) as usize)
    }

    /// The program of a worker, started if it is not; `None` during the pause after a failure.
    pub fn try_program(&self, worker: usize) -> Option<Result<Arc<Program>, Error>> {
        let mut place = self.place(worker);
        if place.pause_until.is_some_and(|until| until > Instant::now()) {
            return None;
        }
        if let Some(program) = &place.program {
            return Some(Ok(Arc::clone(program)));
        }
        let command = self.settings.launch.command.join(" ");
        match Program::start(&self.settings.launch, &format!("{command}: worker {worker}")) {
            Ok(program) => {
                program.send(HELLO, &protocol::hello(self.role, worker));
                program.flush();
                let program = Arc::new(program);
                place.program = Some(Arc::clone(&program));
                Some(Ok(program))
            }
            Err(failure) => Some(Err(self.count(&mut place, worker, failure, ""))),
        }
    }

    /// The program of a worker, after the pause that a failure makes.
    pub fn program(&self, worker: usize) -> Result<Arc<Program>, Error> {
        loop {
            if let Some(program) = self.try_program(worker) {
                return program;
            }
            let until = self.place(worker).pause_until;
            std::thread::sleep(until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now())));
        }
    }

    /// Writes the requests that were prepared for all workers, before the answer of one is waited for.
    pub fn flush(&self) {
        (0..self.places.len()).for_each(|worker| self.place(worker).program.iter().for_each(|program| program.flush()));
    }

    /// Waits for a worker's answer to `hello`, unless it has come before, and checks it.
    pub fn greet(
        &self,
        worker: usize,
        program: &Arc<Program>,
        check: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Error> {
        let _greeting = self.greetings[worker].lock().unwrap_or_else(PoisonError::into_inner);
        if self.place(worker).is_greeted {
            return Ok(());
        }
        let seconds = self.settings.start_timeout.as_secs_f64();
        let late = || format!("it did not say hello within {seconds} seconds (`start_timeout`)");
        let answer = program.receive(HELLO, self.settings.start_timeout);
        answer.and_then(check).map_err(|Failure { kind, reason }| {
            let failure = match kind {
                FailureKind::Timeout => Failure::new(FailureKind::Start, late()),
                FailureKind::Error => Failure::new(FailureKind::Start, reason),
                kind => Failure { kind, reason },
            };
            self.failed(worker, program, failure)
        })?;
        self.place(worker).is_greeted = true;
        Ok(())
    }

    /// Takes notice of a failure. Returns the error of the episode, or that of the run if there were too many. Unless it
    /// is the failure of one session alone, the program is ended, and the other sessions of it are lost.
    pub fn failed(&self, worker: usize, program: &Arc<Program>, failure: Failure) -> Error {
        let mut place = self.place(worker);
        if failure.kind == FailureKind::Error {
            return self.count(&mut place, worker, failure, "");
        }
        if !place.program.as_ref().is_some_and(|current| Arc::ptr_eq(current, program)) {
            let reason = format!("worker {worker}: it was started again after the failure of another episode");
            return Error::EpisodeFailed { env: self.name.clone(), kind: FailureKind::Lost, reason };
        }
        let words = program.end();
        (place.program, place.is_greeted) = (None, false);
        self.count(&mut place, worker, failure, &words)
    }

    /// Takes notice of an episode that came to its end.
    pub fn succeeded(&self, worker: usize) {
        self.place(worker).failures = 0;
    }

    /// Counts a failure, and makes the pause after it.
    fn count(&self, place: &mut Place, worker: usize, failure: Failure, words: &str) -> Error {
        let Failure { kind, reason } = failure;
        if kind != FailureKind::Error {
            let pause = FIRST_PAUSE.saturating_mul(1 << place.failures.min(16)).min(LONGEST_PAUSE);
            place.failures += 1;
            place.pause_until = Some(Instant::now() + pause);
        }
        let words = if words.is_empty() { String::new() } else { format!("; its last words:\n  {words}") };
        let reason = format!("worker {worker}: {reason}{words}");
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures > self.settings.max_failures {
            let most = self.settings.max_failures;
            return Error::TooManyFailures(format!(
                "{}: {failures} failures, more than `max_failures` = {most}; the last one: {reason}",
                self.name
            ));
        }
        tracing::warn!("{}: {reason}", self.name);
        Error::EpisodeFailed { env: self.name.clone(), kind, reason }
    }

    fn place(&self, worker: usize) -> MutexGuard<'_, Place> {
        self.places[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // All are asked first, so that they end at the same time.
        let programs: Vec<_> = (0..self.places.len()).filter_map(|worker| self.place(worker).program.take()).collect();
        programs.iter().for_each(|program| program.close(&protocol::close()));
    }
}
