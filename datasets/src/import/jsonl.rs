//! Import of episodes from JSON, in the customary shapes.
//!
//! A file holds objects, one on each line, or in one array. Each is of one of three shapes:
//!
//! - a transition: `{"state": "...", "action": "...", "reward": 0, "done": false}`. The state may be named
//!   `observation` or `obs`. The end is `done`, or separate flags `terminated` (`terminal`) and `truncated`
//!   (`timeout`). `episode_id`, `next_state` (`next_observation`, `next_obs`), `info`, `legal_actions`, `log_probs`,
//!   `end_reason`, `env_id`, `seed`, `policy_id` and the other columns of a log are optional. The objects of an episode
//!   are contiguous and in order; an episode ends with its end flag, or where `episode_id` changes.
//! - a trajectory: lists of the same, `{"states": [...], "actions": [...], "rewards": [...], "dones": [...]}`, where
//!   `states` may have one more than `actions`, or `{"steps": [{...}, ...]}` with a transition in each.
//! - an [`Episode`] of this crate, as serde writes it.
//!
//! An observation is a text, or a list of messages `{"role", "content", ...}`. Other observations, and actions, that
//! are not texts (numbers, lists, objects) become compact JSON. An episode id that is a
//! number is unique only in its file, so the file's name is prepended: `run/17`. The same applies to episodes without
//! an id, which are numbered.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::fields::{At, Fields};
pub use super::report::Notes;
use super::turns::{Step, take_end, take_episode, take_final, take_lists, take_step};
use crate::error::shown;
use crate::error::{Error, Result};
use crate::json::JsonRows;
use crate::{Content, Episode};

/// Iterator over the episodes of a file of JSON. Iteration ends after an error.
pub struct Episodes<R> {
    file: PathBuf,
    rows: JsonRows<R>,
    /// Line on which the object that was read last begins, from 1.
    line: u64,
    /// The incomplete episode of the transitions read last.
    open: Option<Open>,
    ready: VecDeque<Ready>,
    /// Number of episodes without an id.
    count: u64,
    notes: Notes,
    /// Line numbers of the turns of the episode that was returned last.
    lines: Vec<u64>,
    failed: bool,
}

struct Ready {
    episode: Episode,
    /// Line number of each turn; a single one for a trajectory.
    lines: Vec<u64>,
}

struct Open {
    ready: Ready,
    /// Value of `episode_id` on its lines.
    id: Option<Value>,
    /// Next observation of the last action, if its line has one.
    next: Option<Content>,
}

impl Episodes<File> {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "open it"))?;
        Ok(Self::new(path, file))
    }
}

impl<R: Read> Episodes<R> {
    /// Reads from any reader; `name` is used in errors and ids.
    pub fn new(name: impl Into<PathBuf>, reader: R) -> Self {
        let file = name.into();
        Self {
            rows: JsonRows::new(&file, reader),
            file,
            line: 0,
            open: None,
            ready: VecDeque::new(),
            count: 0,
            notes: Notes::default(),
            lines: Vec::new(),
            failed: false,
        }
    }

    /// Returns the notes on the input read so far.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Adds the line to an error about a turn of the episode that was returned last.
    pub(super) fn located(&self, error: Error) -> Error {
        let Error::Episode { id, step, column, reason } = error else { return error };
        let line = self.lines.get(step).or(self.lines.last()).copied().unwrap_or(self.line);
        let at = At { file: &self.file, line, step: None };
        at.error(column, if column == "episode_id" { format!("{id:?} {reason}") } else { reason })
    }

    /// Reads until an episode is complete or the input ends.
    fn read(&mut self) -> Result<Option<Ready>> {
        while self.ready.is_empty() {
            let Some((line, row)) = self.rows.next().transpose()? else {
                return Ok(self.open.take().map(|open| open.ready));
            };
            self.line = line;
            self.read_row(row)?;
        }
        Ok(self.ready.pop_front())
    }

    fn read_row(&mut self, object: Map<String, Value>) -> Result<()> {
        let file = self.file.clone();
        let at = At { file: &file, line: self.line, step: None };
        let fields = Fields { at, object };
        if !fields.has_list(&["turns", "steps", "actions", "rewards"]) {
            return self.read_transition(fields);
        }
        // Whole episodes may follow transitions in one file.
        self.ready.extend(self.open.take().map(|open| open.ready));
        let episode = if fields.has_list(&["turns"]) {
            serde_json::from_value(Value::Object(fields.object))
                .map_err(|error| at.error("the episode", told(&error)))?
        } else {
            self.read_trajectory(fields)?
        };
        self.ready.push_back(Ready { episode, lines: vec![at.line] });
        Ok(())
    }

    fn read_transition(&mut self, mut fields: Fields) -> Result<()> {
        let at = fields.at;
        let id = fields.take(&["episode_id", "episode"]).map(|(_, value)| value);
        let begins = fields.take(&["step"]).is_some_and(|(_, step)| step.as_u64() == Some(0));
        let step = take_step(&mut fields, &mut self.notes)?;
        let episode = take_episode(&mut fields)?;
        fields.end(&mut self.notes);
        if id.is_none() && step.end.is_none() {
            let reason = "missing, and episode_id too, so that nothing tells where an episode ends; add either";
            return Err(at.error("done", reason));
        }
        let cut = self.open.take_if(|open| open.id != id || begins);
        self.ready.extend(cut.map(|open| open.ready));
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let episode = Episode { id: self.id_of(id.as_ref(), at)?, ..episode };
                Open { ready: Ready { episode, lines: Vec::new() }, id, next: None }
            }
        };
        let open = open.with(step, at)?;
        if open.ready.episode.end.is_some() {
            self.ready.push_back(open.ready);
        } else {
            self.open = Some(open);
        }
        Ok(())
    }

    fn read_trajectory(&mut self, mut fields: Fields) -> Result<Episode> {
        let at = fields.at;
        let id = fields.take(&["episode_id", "episode", "id"]).map(|(_, value)| value);
        let mut episode = take_episode(&mut fields)?;
        let (steps, mut last) = match fields.take(&["steps"]) {
            Some((_, Value::Array(steps))) => (steps, None),
            _ => take_lists(&mut fields, &mut self.notes)?,
        };
        let count = steps.len();
        for (number, step) in steps.into_iter().enumerate() {
            let mut fields = Fields::new(At { step: Some(number), ..at }, step)?;
            fields.take(&["step"]);
            let step = take_step(&mut fields, &mut self.notes)?;
            if step.end.flatten().is_some() && number + 1 < count {
                let reason = format!("ends the episode, and the trajectory goes on to step {}", count - 1);
                return Err(fields.at.error("the end flag", reason));
            }
            fields.end(&mut self.notes);
            episode.turns.push(step.turn);
            episode.end = step.end.flatten();
            episode.end_reason = step.end_reason;
            last = step.final_observation.or(step.next).or(last);
        }
        if let Some(end) = take_end(&mut fields, None)? {
            episode.end = episode.end.or(end);
        }
        episode.final_observation = take_final(&mut fields)?.or(last);
        episode.end_reason = fields.typed("end_reason", "a text")?.or(episode.end_reason);
        fields.end(&mut self.notes);
        episode.id = self.id_of(id.as_ref(), at)?;
        Ok(episode)
    }

    fn id_of(&mut self, id: Option<&Value>, at: At) -> Result<String> {
        let number = match id {
            Some(Value::String(text)) => return Ok(text.clone()),
            Some(Value::Number(number)) => number.to_string(),
            Some(other) => return Err(at.wrong("episode_id", other, "a text or a number")),
            None => {
                self.count += 1;
                (self.count - 1).to_string()
            }
        };
        Ok(format!("{}/{number}", self.file.file_stem().unwrap_or_default().to_string_lossy()))
    }
}

impl<R: Read> Iterator for Episodes<R> {
    type Item = Result<Episode>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.read() {
            Ok(ready) => ready.map(|Ready { episode, lines }| {
                self.lines = lines;
                Ok(episode)
            }),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl Open {
    /// Returns the episode with one more turn.
    fn with(mut self, step: Step, at: At) -> Result<Self> {
        let Step { turn, end, end_reason, next, final_observation } = step;
        if let Some(expected) = self.next.take().filter(|expected| *expected != turn.observation) {
            let (expected, found) = (shown(&json!(expected)), shown(&json!(turn.observation)));
            let reason = format!(
                "{found}, and by its next_state the line before led to {expected}; the lines of an episode stand together \
                 and in order, and its last one has an end flag"
            );
            return Err(at.error("state", reason));
        }
        let Ready { episode, lines } = &mut self.ready;
        lines.push(at.line);
        episode.turns.push(turn);
        episode.final_observation = final_observation.or_else(|| next.clone());
        episode.end_reason = end_reason;
        episode.end = end.flatten();
        self.next = next;
        Ok(self)
    }
}

/// Returns the message of serde without its position, which refers to the single line that was parsed.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    if error.column() == 0 { reason.to_string() } else { format!("{reason} at column {}", error.column()) }
}
