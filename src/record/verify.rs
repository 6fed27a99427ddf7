//! Whether a log tells what is so: its token ids by their tokenizers, its rewards and states by their environments.

use std::collections::BTreeMap;
use std::path::Path;

use palestra_datasets::check::{Mismatch, Verdict};
use palestra_datasets::{Episode, Error as LogError};
use palestra_envs::Registry;
use palestra_envs::replay::{Replay, Replayer};

use crate::config::RunFile;
use palestra_learn::rollout::{RolloutConfig, action_text};
use crate::run_dir::RunDir;
use palestra_text::Tokenizer;
use palestra_model::checkpoint;
use crate::Result;

/// Judges whether the text of actions is what their ids stand for, with the tokenizers of some runs.
#[derive(Default)]
pub struct Decoding {
    /// By fingerprint.
    tokenizers: BTreeMap<String, (Tokenizer, RolloutConfig)>,
}

/// Judges whether an environment answers the actions of an episode as the log tells.
pub struct Replaying<'a> {
    replayer: Replayer<'a>,
    /// Why episodes could not be played again, and how many.
    pub reasons: BTreeMap<String, u64>,
}

impl Decoding {
    /// Adds the tokenizer of a run's last checkpoint.
    ///
    /// # Errors
    /// A directory that is no run's or has no checkpoint.
    pub fn add(&mut self, run_dir: &Path) -> Result<()> {
        let dir = RunDir::open(run_dir)?;
        let run = RunFile::load(&dir.run_file(), &[] as &[&str])?;
        let path = checkpoint::last(&dir.checkpoints())?;
        let tokenizer = Tokenizer::from_file(&path.join("tokenizer.json"))?;
        self.tokenizers.insert(tokenizer.fingerprint().to_string(), (tokenizer, run.rollout));
        Ok(())
    }

    /// An episode without ids, or with ids of another tokenizer, cannot be judged.
    ///
    /// # Errors
    /// None: ids that stand for nothing are the log's fault.
    pub fn judge(&self, episode: &Episode) -> Result<Verdict, LogError> {
        let known = episode.tokenizer_hash.as_ref().and_then(|hash| self.tokenizers.get(hash));
        let Some((tokenizer, rollout)) = known else { return Ok(Verdict::Unknown) };
        let mut verdict = Verdict::Unknown;
        for (step, turn) in episode.turns.iter().enumerate() {
            let Some(ids) = &turn.action_ids else { continue };
            let is_chosen = rollout.legal_actions_only && turn.legal_actions.is_some();
            let stop = if is_chosen { &[][..] } else { &rollout.stop };
            let right = match action_text(tokenizer, ids, stop) {
                Ok(text) if text == turn.action => {
                    verdict = Verdict::Right;
                    continue;
                }
                Ok(text) => format!("{text:?}, which action_ids decode to,"),
                Err(error) => format!("an action of other action_ids ({error})"),
            };
            let logged = format!("{:?}", turn.action);
            return Ok(Verdict::Wrong(Mismatch { step, column: "action", logged, right }));
        }
        Ok(verdict)
    }
}

impl<'a> Replaying<'a> {
    /// A judge with the environments of a registry.
    pub fn new(registry: &'a Registry) -> Self {
        Self { replayer: Replayer::new(registry), reasons: BTreeMap::new() }
    }

    /// An episode without a seed, or of an environment that is not here, cannot be judged.
    ///
    /// # Errors
    /// Whatever the environment fails with.
    pub fn judge(&mut self, episode: &Episode) -> Result<Verdict, LogError> {
        let replay = self.replayer.replay(episode).map_err(|error| LogError::Episode {
            id: episode.id.clone(),
            step: 0,
            column: "env_spec",
            reason: format!("the environment cannot play it again: {error}"),
        })?;
        Ok(match replay {
            Replay::Same => Verdict::Right,
            Replay::Differs(palestra_envs::replay::Mismatch { turn, field, logged, replayed }) => {
                let [logged, right] =
                    [logged, replayed].map(|value| if field == "end" { plain(&value) } else { value });
                Verdict::Wrong(Mismatch { step: turn, column: field, logged, right })
            }
            Replay::NotCheckable(reason) => {
                *self.reasons.entry(reason).or_default() += 1;
                Verdict::Unknown
            }
        })
    }
}

/// An optional end in words.
fn plain(end: &str) -> String {
    end.strip_prefix("Some(").and_then(|end| end.strip_suffix(')')).unwrap_or("no end").to_lowercase()
}
