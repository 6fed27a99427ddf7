//! Checks of a log's contents: its token ids by their tokenizers, its rewards and states by their environments.

use std::collections::BTreeMap;
use std::path::Path;

use palestra_datasets::check::{Mismatch, Verdict};
use palestra_datasets::{Episode, Error as LogError};
use palestra_envs::Registry;
use palestra_envs::replay::{Replay, Replayer};

use crate::Result;
use crate::config::RunFile;
use crate::run_dir::RunDir;
use palestra_learn::rollout::{RolloutConfig, action_text};
use palestra_model::{EndTokens, checkpoint, generation_config_of, read_companions};
use palestra_text::Tokenizer;

/// Checks that the text of actions is what their token ids decode to, with the tokenizers of given runs.
#[derive(Default)]
pub struct Decoding {
    /// Tokenizers by fingerprint.
    tokenizers: BTreeMap<String, (Tokenizer, EndTokens, RolloutConfig)>,
}

/// Checks that an environment answers the actions of an episode as the log says.
pub struct Replaying<'a> {
    replayer: Replayer<'a>,
    /// Reasons why episodes could not be replayed, with counts.
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
        let generation = generation_config_of(&read_companions(&path)?)?;
        let ends = EndTokens::new(tokenizer.special().end, &generation);
        self.tokenizers.insert(tokenizer.fingerprint().to_string(), (tokenizer, ends, run.rollout));
        Ok(())
    }

    /// Checks the token ids of an episode. An episode without ids, or with ids of another tokenizer, cannot be checked.
    ///
    /// # Errors
    /// None: ids that decode to nothing are a finding about the log.
    pub fn verify(&self, episode: &Episode) -> Result<Verdict, LogError> {
        let known = episode.tokenizer_hash.as_ref().and_then(|hash| self.tokenizers.get(hash));
        let Some((tokenizer, ends, rollout)) = known else { return Ok(Verdict::Unknown) };
        let mut verdict = Verdict::Unknown;
        for (step, turn) in episode.turns.iter().enumerate() {
            let Some(ids) = &turn.action_ids else { continue };
            let is_chosen = rollout.legal_actions_only && turn.legal_actions.is_some();
            let stop = if is_chosen { &[][..] } else { &rollout.stop };
            let right = match action_text(tokenizer, ends, ids, stop) {
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
    /// Creates a check with the environments of a registry.
    pub fn new(registry: &'a Registry) -> Self {
        Self { replayer: Replayer::new(registry), reasons: BTreeMap::new() }
    }

    /// Replays an episode. One without a seed, or of an environment that is not registered, cannot be checked.
    ///
    /// # Errors
    /// Any error of the environment.
    pub fn verify(&mut self, episode: &Episode) -> Result<Verdict, LogError> {
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

/// Writes an optional end in words.
fn plain(end: &str) -> String {
    end.strip_prefix("Some(").and_then(|end| end.strip_suffix(')')).unwrap_or("no end").to_lowercase()
}
