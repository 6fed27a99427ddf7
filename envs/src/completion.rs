//! Prompts from a file, to be completed. The environment gives no reward of its own: configured rewards score the
//! answers. `CARD.md` describes the file formats.

mod tasks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use serde_json::Value;

use crate::phase::Phase;
use crate::{Build, End, Env, EnvSpec, Info, Observation, Options, Result, Step};
use tasks::{CompletionOptions, Task, Tasks};

/// Returns the function that builds environments of prompts. Environments with the same options share the parsed tasks
/// as long as one of them is alive, so that many of them read a file once.
pub(crate) fn builder() -> Build {
    let shared: Mutex<BTreeMap<String, Weak<Tasks>>> = Mutex::default();
    Arc::new(move |options: &Options| {
        let parsed: CompletionOptions = options.parse()?;
        let key = options.table().to_string();
        let mut shared = shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = shared.get(&key).and_then(Weak::upgrade);
        let tasks = match known {
            Some(tasks) => tasks,
            None => Arc::new(Tasks::read(parsed, options)?),
        };
        shared.insert(key, Arc::downgrade(&tasks));
        Ok(Box::new(Completion { tasks, phase: Phase::New, current: 0, answers: Vec::new() }) as Box<dyn Env>)
    })
}

struct Completion {
    tasks: Arc<Tasks>,
    phase: Phase,
    /// Number of the current task.
    current: usize,
    /// Answers so far.
    answers: Vec<String>,
}

impl Completion {
    fn task(&self) -> &Task {
        &self.tasks.tasks[self.current]
    }

    fn observe(&self) -> Observation {
        let Task { turns, row, .. } = self.task();
        let mut info = Info::new();
        if !row.is_empty() {
            info.insert("row".to_string(), Value::Object(row.clone()));
        }
        // The observation after the last answer is empty.
        let content = turns.get(self.answers.len()).cloned().unwrap_or_default();
        Observation { content, legal_actions: None, info }
    }
}

impl Env for Completion {
    fn spec(&self) -> &EnvSpec {
        &self.tasks.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        self.current = (seed % self.tasks.tasks.len() as u64) as usize;
        self.answers.clear();
        self.phase = Phase::Running;
        Ok(self.observe())
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        self.phase.check_running(&self.spec().id)?;
        self.answers.push(action.to_string());
        let end = (self.answers.len() == self.task().turns.len()).then_some(End::Terminated);
        if end.is_some() {
            self.phase = Phase::Over;
        }
        Ok(Step { observation: self.observe(), reward: 0.0, end, invalid_action: false })
    }

    fn render(&self) -> String {
        if self.phase == Phase::New {
            return "no prompt".to_string();
        }
        let answers = self.answers.iter().map(String::as_str).map(Some).chain([None]);
        let mut text = String::new();
        for (turn, answer) in self.task().turns.iter().zip(answers) {
            text.push_str(&format!("> {turn}\n{}\n", answer.unwrap_or("...")));
        }
        text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
    }

    fn scripted_action(&self) -> Option<String> {
        self.task().answer.clone().filter(|_| self.phase == Phase::Running)
    }
}
