//! The other side of the protocol: an environment of this crate as a program, for anything that speaks the protocol.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;

use serde::Deserialize;
use serde_json::{Value, json};

use super::protocol::VERSION;
use crate::{Env, Observation, Result};

/// Bytes that are read at once, and about as many that are written at once.
const LINES_TOGETHER: usize = 64 << 10;

/// Request of any type, with the fields of all of them.
#[derive(Debug, Deserialize)]
struct Request {
    #[serde(rename = "type")]
    kind: String,
    session: Option<u64>,
    seed: Option<u64>,
    action: Option<String>,
}

/// Answers requests for episodes of an environment until they end, or until one closes the program. `make` builds an
/// environment for each session.
///
/// ```
/// use palestra_envs::{Registry, process::serve};
/// let requests = r#"{"type":"hello","protocol":1}
/// {"type":"reset","session":0,"seed":7}
/// {"type":"step","session":0,"action":"up"}
/// "#;
/// let mut answers = Vec::new();
/// serve(&|| Registry::builtin().make("cliff-walking"), requests.as_bytes(), &mut answers)?;
/// let last = String::from_utf8(answers)?.lines().last().map(String::from);
/// assert!(last.unwrap().contains(r#""reward":-1.0,"terminated":false"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Input that cannot be read or that is no request, or output that cannot be written. Errors of the environment are
/// answers.
pub fn serve(make: &dyn Fn() -> Result<Box<dyn Env>>, input: impl Read, output: &mut dyn Write) -> io::Result<()> {
    let mut sessions: BTreeMap<u64, Box<dyn Env>> = BTreeMap::new();
    answer_lines(input, output, &mut |line| {
        let request: Request = serde_json::from_str(line)?;
        let answer = match (request.kind.as_str(), request.session) {
            ("close", None) => return Ok(ControlFlow::Break(())),
            ("close", Some(session)) => {
                sessions.remove(&session);
                return Ok(ControlFlow::Continue(None));
            }
            ("hello", _) => make().map(|env| {
                let spec = serde_json::to_value(env.spec()).expect("a spec has string keys");
                json!({ "type": "hello", "protocol": VERSION, "spec": spec, "render": true })
            }),
            (_, session) => {
                let session = session.unwrap_or_default();
                play(&mut sessions, session, &request, make).map(|mut answer| {
                    (answer["type"], answer["session"]) = (request.kind.clone().into(), session.into());
                    answer
                })
            }
        };
        Ok(ControlFlow::Continue(Some(answer.unwrap_or_else(
            |error| json!({ "type": "error", "session": request.session, "message": error.to_string() }),
        ))))
    })
}

/// Reply to a line: an answer, none, or the end of answering.
pub type Reply = ControlFlow<(), Option<Value>>;

/// Answers lines until they end, or until an answer breaks off. What was read together is answered with one write.
///
/// # Errors
/// Input that cannot be read, output that cannot be written, or an error of `answer`.
pub fn answer_lines(
    input: impl Read,
    output: &mut dyn Write,
    answer: &mut dyn FnMut(&str) -> io::Result<Reply>,
) -> io::Result<()> {
    let mut input = BufReader::with_capacity(LINES_TOGETHER, input);
    let (mut line, mut answers) = (String::new(), Vec::new());
    while input.read_line(&mut line)? > 0 {
        match answer(&line)? {
            ControlFlow::Continue(Some(answer)) => writeln!(answers, "{answer}")?,
            ControlFlow::Continue(None) => {}
            ControlFlow::Break(()) => break,
        }
        line.clear();
        // A line that has not come whole may wait for these answers.
        if !input.buffer().contains(&b'\n') || answers.len() > LINES_TOGETHER {
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
        }
    }
    output.write_all(&answers)?;
    output.flush()
}

/// Answer to a request of a session, without its type and session.
fn play(
    sessions: &mut BTreeMap<u64, Box<dyn Env>>,
    session: u64,
    request: &Request,
    make: &dyn Fn() -> Result<Box<dyn Env>>,
) -> Result<Value> {
    let env = match sessions.entry(session) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => place.insert(make()?),
    };
    match request.kind.as_str() {
        "reset" => {
            let first = env.reset(request.seed.unwrap_or_default())?;
            Ok(observed(&first, &**env))
        }
        "step" => {
            let step = env.step(request.action.as_deref().unwrap_or_default())?;
            let mut answer = observed(&step.observation, &**env);
            let end = step.end.map(|end| end == crate::End::Terminated);
            answer["reward"] = step.reward.into();
            answer["terminated"] = (end == Some(true)).into();
            answer["truncated"] = (end == Some(false)).into();
            answer["invalid_action"] = step.invalid_action.into();
            Ok(answer)
        }
        "render" => Ok(json!({ "text": env.render() })),
        other => Err(crate::Error::Unknown(format!("no message `{other}`"))),
    }
}

fn observed(observation: &Observation, env: &dyn Env) -> Value {
    let Observation { content, legal_actions, info } = observation;
    let mut answer = json!({ "observation": content, "info": info });
    if let Some(legal) = legal_actions {
        answer["legal_actions"] = json!(&legal[..]);
    }
    if let Some(action) = env.scripted_action() {
        answer["scripted_action"] = action.into();
    }
    answer
}
