//! A program that answers requests, one line of JSON each. Every wait, every line and every log is bounded, and nothing
//! of the program outlives this process. It knows no environments and no rewards.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::guard::{Guard, own_group};
use super::input::Input;
use crate::FailureKind;

/// Number of the request `hello`, whose answer has no session.
pub(crate) const HELLO: u64 = u64::MAX;

/// Time that a program has to end by itself, once it was asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// Number of last lines of standard error that are kept to be told.
const LAST_WORDS: usize = 12;

/// Maximum length of a line of the log; a longer one is cut into several.
const LOG_LINE: u64 = 4 << 10;

/// Maximum number of lines that are logged in [`LOG_WINDOW`]; the others are counted.
const LOG_LINES: u32 = 200;
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// Command that starts a program.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Directory to start it in.
    pub directory: Option<PathBuf>,
    /// Maximum length of a line that it writes, in bytes.
    pub max_line_bytes: usize,
}

/// Failure of a program.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub kind: FailureKind,
    pub reason: String,
}

impl Failure {
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}

/// A running program. Dropping it ends it.
pub(crate) struct Program {
    /// The process and its guard; `None` once it is ended.
    process: Mutex<Option<(Child, Option<Guard>)>>,
    /// `None` once it is closed.
    input: Mutex<Option<Input>>,
    /// Time at which it was asked to end.
    closed: OnceLock<Instant>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Requests without an answer, by session.
    waiting: BTreeMap<u64, Sent>,
    /// Number of bytes that the program has read at least: those up to the last request that it answered.
    read: u64,
    /// Wakers of those who want to know of an answer, by session.
    wakers: BTreeMap<u64, Waker>,
    /// Sessions whose next answer nobody waits for.
    forgotten: BTreeSet<u64>,
    answers: BTreeMap<u64, Value>,
    /// Time of the last answer.
    heard: Option<Instant>,
    /// The first failure, after which nothing is read.
    failed: Option<Failure>,
    /// The last lines of standard error.
    words: VecDeque<String>,
    /// True once standard error has ended.
    is_silent: bool,
}

/// A request without an answer.
struct Sent {
    at: Instant,
    /// Number of bytes written to the program up to its end.
    end: u64,
}

impl Program {
    /// Starts a program; `name` stands before the lines of its log.
    pub fn start(launch: &Launch, name: &str) -> Result<Self, Failure> {
        let Launch { command: words, directory, max_line_bytes } = launch;
        let failed = |reason: String| Failure::new(FailureKind::Start, reason);
        let (program, arguments) = words.split_first().ok_or_else(|| failed("the command is empty".to_string()))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        directory.iter().for_each(|directory| _ = command.current_dir(directory));
        own_group(&mut command);
        let mut child = command.spawn().map_err(|error| {
            let place = directory.as_ref().map_or(String::new(), |place| format!(" in {}", place.display()));
            failed(format!("`{program}` cannot be started{place}: {error}"))
        })?;
        let guard = if cfg!(unix) { Guard::of(child.id()).map(Some) } else { Ok(None) };
        let guard = guard.inspect_err(|_| _ = child.kill());
        let guard = guard.map_err(|error| failed(format!("`sh`, which guards it, cannot be started: {error}")))?;

        let shared = Arc::new(Shared::default());
        let input = child.stdin.take().map(Input::new);
        if let Some(stdout) = child.stdout.take() {
            let (shared, longest) = (Arc::clone(&shared), *max_line_bytes);
            std::thread::spawn(move || shared.fail(read_answers(stdout, longest, &shared)));
        }
        if let Some(stderr) = child.stderr.take() {
            let (shared, name) = (Arc::clone(&shared), name.to_string());
            std::thread::spawn(move || read_log(stderr, &name, &shared));
        }
        let (process, input) = (Mutex::new(Some((child, guard))), Mutex::new(input));
        Ok(Self { process, input, closed: OnceLock::new(), shared })
    }

    /// Prepares a request, which a [`receive`](Self::receive) of the same session follows. It is written with the next
    /// [`flush`](Self::flush), together with others.
    pub fn send(&self, session: u64, request: &Value) {
        let end = self.write(request);
        self.shared.lock().waiting.insert(session, Sent { at: Instant::now(), end });
    }

    /// Prepares a message that has no answer, and returns the number of bytes up to its end. If the program is gone, the
    /// next [`receive`](Self::receive) tells.
    pub fn write(&self, message: &Value) -> u64 {
        lock(&self.input).as_mut().map_or(0, |input| input.add(message))
    }

    /// Writes what was prepared, without waiting for the program to read it.
    pub fn flush(&self) {
        if let Some(input) = lock(&self.input).as_mut() {
            input.flush(|| self.shared.lock().read);
        }
    }

    /// True if a [`receive`](Self::receive) of this session does not wait. Otherwise `waker` is woken once that may be so;
    /// a deadline that passes wakes nobody.
    pub fn has_answer(&self, session: u64, timeout: Duration, waker: &Waker) -> bool {
        let mut state = self.shared.lock();
        let is_late = state.left(session, timeout, Instant::now()).is_zero();
        let has_answer = state.answers.contains_key(&session) || state.failed.is_some() || is_late;
        if !has_answer {
            state.wakers.insert(session, waker.clone());
        }
        has_answer
    }

    /// Waits for the answer to a session's request. The deadline is `timeout` after the request was sent, or after the
    /// program's last answer to any request, whichever is later: it may work on requests one after the other.
    pub fn receive(&self, session: u64, timeout: Duration) -> Result<Value, Failure> {
        self.flush();
        let began = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if let Some(answer) = state.answers.remove(&session) {
                return Ok(answer);
            }
            if let Some(failure) = &state.failed {
                return Err(failure.clone());
            }
            let left = state.left(session, timeout, began);
            if left.is_zero() {
                let reason = format!("it gave no answer within {} seconds (`timeout`)", timeout.as_secs_f64());
                state.failed = Some(Failure::new(FailureKind::Timeout, reason));
                continue;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Forgets a session: an answer that still comes is read and left.
    pub fn forget(&self, session: u64) {
        let mut state = self.shared.lock();
        if state.waiting.contains_key(&session) {
            state.forgotten.insert(session);
        }
        state.answers.remove(&session);
        state.wakers.remove(&session);
    }

    /// Ends the program and all that it started, and returns its last words: how it ended, if it did so by itself, and
    /// the last lines of its standard error.
    pub fn end(&self) -> String {
        lock(&self.input).take();
        let Some((mut child, guard)) = lock(&self.process).take() else { return String::new() };
        let has_ended = self.shared.lock().failed.as_ref().is_some_and(|failure| failure.kind == FailureKind::Exit);
        let status = if has_ended { wait(&mut child, Duration::from_millis(500)) } else { None };
        kill(child, guard);
        let state = self.shared.lock();
        let heard = self.shared.changed.wait_timeout_while(state, Duration::from_millis(500), |state| !state.is_silent);
        let words = &heard.unwrap_or_else(PoisonError::into_inner).0.words;
        let status = status.map(|status| status.to_string());
        status.into_iter().chain(words.iter().cloned()).collect::<Vec<_>>().join("\n  ")
    }

    /// Closes the program's input, on which it should end by itself.
    pub fn close(&self, message: &Value) {
        self.write(message);
        self.flush();
        lock(&self.input).take();
        self.closed.get_or_init(Instant::now);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        lock(&self.input).take();
        if let Some((mut child, guard)) = lock(&self.process).take() {
            if self.shared.lock().failed.is_none() {
                // Many programs that were asked at the same time have the same time.
                wait(&mut child, GRACE.saturating_sub(self.closed.get_or_init(Instant::now).elapsed()));
            }
            kill(child, guard);
        }
    }
}

impl State {
    /// Time that is left to answer a session's request: `timeout` after it was sent, or after the last answer to any.
    fn left(&self, session: u64, timeout: Duration, otherwise: Instant) -> Duration {
        let since = self.waiting.get(&session).map(|sent| sent.at).max(self.heard).unwrap_or(otherwise);
        (since + timeout).saturating_duration_since(Instant::now())
    }

    /// Files an answer.
    fn answer(&mut self, message: Value) -> Result<(), Failure> {
        let session = message.get("session").and_then(Value::as_u64).unwrap_or(HELLO);
        let Some(sent) = self.waiting.remove(&session) else {
            let reason = format!("it wrote {}, which answers no request", shown(&message.to_string()));
            return Err(Failure::new(FailureKind::Protocol, reason));
        };
        self.read = self.read.max(sent.end);
        self.heard = Some(Instant::now());
        if !self.forgotten.remove(&session) {
            self.answers.insert(session, message);
        }
        self.wakers.remove(&session).iter().for_each(Waker::wake_by_ref);
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn fail(&self, failure: Failure) {
        let mut state = self.lock();
        state.failed.get_or_insert(failure);
        std::mem::take(&mut state.wakers).into_values().for_each(Waker::wake);
        drop(state);
        self.changed.notify_all();
    }

    /// Files answers that came together.
    fn answer(&self, messages: Vec<Value>) -> Result<(), Failure> {
        let mut state = self.lock();
        let filed = messages.into_iter().try_for_each(|message| state.answer(message));
        drop(state);
        self.changed.notify_all();
        filed
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the end of a process; `None` if it goes on.
fn wait(child: &mut Child, longest: Duration) -> Option<std::process::ExitStatus> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) if began.elapsed() < longest => std::thread::sleep(Duration::from_millis(2)),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

/// Kills a process and its group. The process is waited for last, so that its number names no other until then.
fn kill(mut child: Child, guard: Option<Guard>) {
    // An error says that it has ended before.
    let _ = child.kill();
    guard.into_iter().for_each(Guard::act);
    let _ = child.wait();
}

/// Reads answers until the first failure, which the end of the output is too. Lines that come together are filed
/// together, so that who waits for them is woken once.
fn read_answers(stdout: ChildStdout, longest: usize, shared: &Shared) -> Failure {
    let mut reader = BufReader::with_capacity(1 << 16, stdout);
    let mut line = Vec::new();
    loop {
        let mut messages = Vec::new();
        let failure = loop {
            match read_message(&mut reader, longest, &mut line) {
                Ok(message) => messages.push(message),
                Err(failure) => break Some(failure),
            }
            if !reader.buffer().contains(&b'\n') {
                break None;
            }
        };
        if let Some(failure) = shared.answer(messages).err().or(failure) {
            return failure;
        }
    }
}

/// Reads a line, which is a JSON object.
fn read_message(reader: &mut impl BufRead, longest: usize, line: &mut Vec<u8>) -> Result<Value, Failure> {
    line.clear();
    let read = reader.take(longest as u64 + 1).read_until(b'\n', line);
    if read.is_err() || line.last() != Some(&b'\n') && line.len() <= longest {
        return Err(Failure::new(FailureKind::Exit, "it ended"));
    }
    if line.len() > longest {
        let reason = format!("it wrote a line of more than {longest} bytes (`max_line_bytes`)");
        return Err(Failure::new(FailureKind::Flood, reason));
    }
    match serde_json::from_slice(line) {
        Ok(message @ Value::Object(_)) => Ok(message),
        _ => {
            let text = String::from_utf8_lossy(line);
            let reason = format!(
                "it wrote {}, which is no JSON object; only messages go to standard output, and anything else to \
                 standard error",
                shown(text.trim_end())
            );
            Err(Failure::new(FailureKind::NoJson, reason))
        }
    }
}

/// Logs the lines of standard error, and keeps the last of them.
fn read_log(stderr: ChildStderr, name: &str, shared: &Shared) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    let (mut window, mut logged, mut left_out) = (Instant::now(), 0, 0u64);
    while let Ok(1..) = reader.by_ref().take(LOG_LINE).read_until(b'\n', &mut line) {
        let text: String =
            String::from_utf8_lossy(&line).trim_end().replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
        line.clear();
        if window.elapsed() > LOG_WINDOW {
            if left_out > 0 {
                tracing::warn!("{name}: {left_out} more lines were left out");
            }
            (window, logged, left_out) = (Instant::now(), 0, 0);
        }
        if logged < LOG_LINES {
            tracing::info!("{name}: {text}");
            logged += 1;
        } else {
            left_out += 1;
        }
        let mut state = shared.lock();
        state.words.push_back(text);
        if state.words.len() > LAST_WORDS {
            state.words.pop_front();
        }
    }
    shared.lock().is_silent = true;
    shared.changed.notify_all();
}

/// A text, quoted, and cut if it is long.
pub(crate) fn shown(text: &str) -> String {
    crate::check::shown(text)
}
