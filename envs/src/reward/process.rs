//! Reward that a program gives: batches of episodes as lines of JSON, as `docs/process-protocol.md` describes them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use serde_json::{Value, json};

use super::Reward;
use crate::process::options::ProcessOptions;
use crate::process::program::Failure;
use crate::process::protocol;
use crate::process::workers::Workers;
use crate::{Episode, FailureKind, Options, Result, Turn};

/// Builds the reward `process`. The program is started when the first episodes are scored.
///
/// # Errors
/// An unknown or invalid option, or no command.
pub(super) fn build(options: &Options) -> Result<Box<dyn Reward>> {
    let parsed = ProcessOptions::of(options)?;
    for (name, is_given) in
        [("reproducible", parsed.reproducible.is_some()), ("reset_options", !parsed.reset_options.is_empty())]
    {
        if is_given {
            return Err(options.wrong(name, "a reward has no such option; remove it"));
        }
    }
    let workers = Workers::new(parsed.settings(), "reward", parsed.command.join(" "));
    Ok(Box::new(Process { workers, batch: parsed.batch }))
}

struct Process {
    workers: Workers,
    batch: usize,
}

/// The program's answer to `score`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoreAnswer {
    scores: Vec<Option<f32>>,
}

impl Reward for Process {
    /// Batches whose scoring fails have no scores, and are counted as such.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let batches: Vec<&[Episode]> = episodes.chunks(self.batch).collect();
        let results: Vec<Mutex<Vec<Option<f32>>>> = batches.iter().map(|_| Mutex::default()).collect();
        let next = AtomicUsize::new(0);
        let work = |worker: usize| -> Result<()> {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(batch) = batches.get(at) else { return Ok(()) };
                let scores = match self.ask(worker, batch) {
                    Err(error) if error.episode_failure().is_some() => vec![None; batch.len()],
                    scores => scores?,
                };
                *results[at].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = scores;
            }
        };
        let work = &work;
        std::thread::scope(|scope| {
            let count = self.workers.settings.workers.min(batches.len());
            let threads: Vec<_> = (0..count).map(|worker| scope.spawn(move || work(worker))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })?;
        Ok(results.into_iter().flat_map(|scores| scores.into_inner().unwrap_or_default()).collect())
    }
}

impl Process {
    /// Scores of a batch by one of the workers.
    fn ask(&self, worker: usize, batch: &[Episode]) -> Result<Vec<Option<f32>>> {
        let program = self.workers.program(worker)?;
        self.workers.greet(worker, &program, &mut |answer| protocol::check_version(&answer))?;
        let (session, _) = self.workers.open_session();
        let episodes: Vec<Value> = batch.iter().map(told).collect();
        program.send(session, &json!({ "type": "score", "session": session, "episodes": episodes }));
        let answer = program.receive(session, self.workers.settings.timeout);
        let scores = answer.and_then(|answer| protocol::parse::<ScoreAnswer>("score", answer)).and_then(|answer| {
            let wrong = |reason| Err(Failure::new(FailureKind::Protocol, reason));
            match answer.scores {
                scores if scores.len() != batch.len() => {
                    wrong(format!("it gave {} scores for {} episodes", scores.len(), batch.len()))
                }
                scores if scores.iter().flatten().any(|score| !score.is_finite()) => {
                    wrong("a score is too large for 32 bits".to_string())
                }
                scores => Ok(scores),
            }
        });
        let scores = scores.map_err(|failure| self.workers.failed(worker, &program, failure))?;
        self.workers.succeeded(worker);
        Ok(scores)
    }
}

/// An episode as the program reads it: without token ids.
fn told(episode: &Episode) -> Value {
    let turn = |turn: &Turn| {
        let info = turn.info.as_deref().and_then(|info| serde_json::from_str(info).ok()).unwrap_or_else(|| json!({}));
        json!({
            "observation": turn.observation,
            "action": turn.action,
            "reward": turn.reward,
            "invalid_action": turn.invalid_action,
            "info": info,
        })
    };
    json!({ "id": episode.id, "turns": episode.turns.iter().map(turn).collect::<Vec<_>>(), "end": episode.end })
}
