//! Reward from people's labels: read from files of preferences, or asked for in a label store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use palestra_datasets::preferences::{Record, Scores, find, read, resolve};
use palestra_datasets::{Content, Message};
use palestra_envs::reward::{Missing, Reward, RewardSource, answer};
use palestra_envs::{Episode, Error, Options, Result};
use palestra_labels::queue::{Question, ask, scores};
use palestra_labels::{Answer, ItemId, Settings, Store};
use serde::Deserialize;

use palestra_learn::source::Conflicts;

/// Interval between checks of the store for new labels.
const POLL: Duration = Duration::from_millis(200);

/// Least time between messages about the number of waiting answers. A message needs a changed number.
const TELL: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LabelOptions {
    /// Files of preferences: JSON lines or Parquet, folders, patterns.
    files: Vec<String>,
    /// Label store. Answers without a label are added to its queue.
    store: Option<PathBuf>,
    /// Rule for different labels of the same answers in the files.
    conflicts: Conflicts,
    /// Lowest and highest rating of the files' scale; if absent, the lowest and highest that occur.
    scale: Option<(f64, f64)>,
    /// Longest time that training waits for people, in minutes; if absent, there is no limit.
    timeout: Option<f64>,
}

impl Default for LabelOptions {
    fn default() -> Self {
        Self { files: Vec::new(), store: None, conflicts: Conflicts::Share, scale: None, timeout: None }
    }
}

/// Builds the reward `labels`.
///
/// # Errors
/// Neither files nor a store, or both; a file without preferences, or in which one person gives two different labels; a
/// store that cannot be opened.
pub(super) fn build(options: &Options, stop: &Arc<AtomicBool>) -> Result<Box<dyn Reward>> {
    let labels: LabelOptions = options.parse()?;
    match (&labels.store, labels.files.is_empty()) {
        (None, true) => Err(options.wrong("files", "missing: name files of preferences, or a label store in `store`")),
        (Some(_), false) => Err(options.wrong("store", "there are files too; remove one of them, or make two rewards")),
        (None, false) if labels.timeout.is_some() => {
            Err(options.wrong("timeout", "files are not waited for; remove it, or name a label store in `store`"))
        }
        (None, false) => {
            let scores = read_scores(&labels).map_err(|reason| options.wrong("files", reason))?;
            Ok(Box::new(LabelledAnswers { scores, files: labels.files.join(", ") }))
        }
        (Some(_), true) if labels.scale.is_some() => {
            Err(options.wrong("scale", "ratings of a label store are from 1 to 5; remove it"))
        }
        (Some(store), true) => {
            let timeout = labels.timeout.map(|minutes| match minutes > 0.0 && minutes.is_finite() {
                true => Ok(Duration::from_secs_f64(minutes * 60.0)),
                false => Err(options.wrong("timeout", format!("{minutes} is no number of minutes above 0"))),
            });
            check_store(store).map_err(|reason| options.wrong("store", reason))?;
            Ok(Box::new(AskedPeople { store: store.clone(), timeout: timeout.transpose()?, stop: Arc::clone(stop) }))
        }
    }
}

fn read_scores(labels: &LabelOptions) -> Result<Scores, String> {
    let told = |error: palestra_datasets::Error| error.to_string();
    let mut records: Vec<Record> = Vec::new();
    for file in find(&labels.files).map_err(told)? {
        for record in read(&file).map_err(told)? {
            records.push(record.map_err(told)?);
        }
    }
    let files = || labels.files.join(", ");
    if let Some(rule) = labels.conflicts.rule() {
        records = resolve(records, rule).map_err(|reason| format!("{}: {reason}", files()))?.records;
    }
    Scores::of(&records, labels.scale).map_err(|reason| format!("{}: {reason}", files()))
}

/// Checks the path of a store. An existing file must be a store; a missing one is created when people are first asked.
fn check_store(store: &Path) -> Result<(), String> {
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match store.exists() {
        true => Store::open(store).map(|_| ()).map_err(|error| error.to_string()),
        false if folder.is_dir() => Ok(()),
        false => Err(format!("{}: there is no folder {} to make a label store in", store.display(), folder.display())),
    }
}

/// Scores from files of preferences.
struct LabelledAnswers {
    scores: Scores,
    files: String,
}

impl Reward for LabelledAnswers {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let found: Vec<Option<f32>> = episodes.iter().map(|episode| score_of(&self.scores, episode)).collect();
        match episodes.first() {
            Some(first) if found.iter().all(Option::is_none) => Err(failed(format!(
                "{}: none of {} answers is labelled; the first is {:?} to {:?}",
                self.files,
                episodes.len(),
                answer(first),
                question(first).as_text()
            ))),
            _ => Ok(found),
        }
    }

    fn source(&self) -> RewardSource {
        RewardSource::Human
    }

    fn when_missing(&self) -> Missing {
        Missing::Error
    }
}

/// Scores from people, who are asked and waited for.
struct AskedPeople {
    store: PathBuf,
    timeout: Option<Duration>,
    stop: Arc<AtomicBool>,
}

impl Reward for AskedPeople {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let told = |error: palestra_labels::Error| failed(error.to_string());
        let mut store = Store::create(&self.store, Settings::default()).map_err(told)?;
        let questions: Vec<Question> = episodes.iter().map(question_of).collect();
        let asked = ask(&mut store, &questions).map_err(told)?;
        self.wait(&store, &asked.ids)?;
        let scores = scores(&store).map_err(told)?;
        Ok(episodes.iter().map(|episode| score_of(&scores, episode)).collect())
    }

    fn source(&self) -> RewardSource {
        RewardSource::Human
    }
}

impl AskedPeople {
    /// Waits until people have labelled these items.
    fn wait(&self, store: &Store, items: &[ItemId]) -> Result<()> {
        let (began, file) = (Instant::now(), self.store.display());
        let mut told: Option<(Instant, usize)> = None;
        loop {
            let waiting = store.waiting(items).map_err(|error| failed(error.to_string()))?;
            if waiting == 0 {
                return Ok(());
            }
            if told.is_none_or(|(when, before)| before != waiting && when.elapsed() >= TELL) {
                tracing::info!("{waiting} of {} items wait for people: palestra label serve {file}", items.len());
                told = Some((Instant::now(), waiting));
            }
            let waiting = format!("{waiting} of {} items wait for people, and stay in {file}", items.len());
            if self.stop.load(Ordering::Relaxed) {
                return Err(failed(format!("stopped: {waiting}")));
            }
            if let Some(timeout) = self.timeout.filter(|timeout| began.elapsed() >= *timeout) {
                let minutes = timeout.as_secs_f64() / 60.0;
                return Err(failed(format!(
                    "after {minutes} minutes {waiting}; go on with --resume when they are labelled"
                )));
            }
            sleep(POLL);
        }
    }
}

fn score_of(scores: &Scores, episode: &Episode) -> Option<f32> {
    scores.get(&question(episode), &answer(episode).into()).map(|score| score as f32)
}

fn question_of(episode: &Episode) -> Question {
    let policy = Some(format!("{} {}", episode.policy_id, episode.policy_step));
    let policy = policy.filter(|_| !episode.policy_id.is_empty());
    Question { prompt: question(episode), answer: Answer { text: answer(episode).into(), policy } }
}

/// Prompt of an episode's last action: an observation, or after several turns the whole conversation.
fn question(episode: &Episode) -> Content {
    let [earlier @ .., last] = &episode.turns[..] else { return "".into() };
    if earlier.is_empty() {
        return last.observation.clone();
    }
    let mut messages = Vec::new();
    for turn in earlier {
        messages.extend(turn.observation.to_messages("user"));
        messages.push(Message::new("assistant", &turn.action));
    }
    messages.extend(last.observation.to_messages("user"));
    Content::Messages(messages)
}

fn failed(reason: String) -> Error {
    Error::Reward { name: "labels".to_string(), reason }
}

#[cfg(test)]
mod tests;
