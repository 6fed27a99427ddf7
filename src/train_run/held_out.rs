//! Held-out data, and the model's score on it: text, which the model also continues as samples, or preferences.

use std::path::Path;

use palestra_envs::episode_seed;
use palestra_model::Module;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::preferences::HeldOutPreferences;
use crate::agent::AgentSpec;
use crate::{Error, Result};
use palestra_files::write_atomically;
use palestra_learn::accuracy::PreferenceScore;
use palestra_learn::batch::TextRow;
use palestra_learn::collective::Collective;
use palestra_learn::likelihood::{Likelihood, TextScore};
use palestra_learn::source::{TextConfig, Texts};
use palestra_model::generate::{Limits, Request, generate};
use palestra_model::math::Sampling;
use palestra_model::{EndTokens, Policy};
use palestra_report::{Metrics, TextSample};
use palestra_text::Tokenizer;

/// Held-out data of a run.
#[expect(clippy::large_enum_variant, reason = "a run has one")]
pub(super) enum HeldOut {
    /// Text.
    Text(HeldOutText),
    /// Preferences.
    Preferences(HeldOutPreferences),
}

/// Score of a model on held-out data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum HeldOutScore {
    /// Score on text.
    Text(TextScore),
    /// Score on preferences.
    Preferences(PreferenceScore),
}

impl HeldOut {
    /// Scores the model on the held-out data, of which each rank reads its share.
    ///
    /// # Errors
    /// A rank that takes no part.
    pub fn score(&self, policy: &Policy, collective: &dyn Collective) -> Result<HeldOutScore> {
        Ok(match self {
            Self::Text(text) => HeldOutScore::Text(text.score(policy, collective)?),
            Self::Preferences(data) => HeldOutScore::Preferences(data.score(policy, collective)?),
        })
    }

    /// Metric that the run is evaluated by, and true if lower is better. A run that is not evaluated while it trains has the
    /// same of what it learns from.
    pub fn headline(&self, is_evaluated: bool) -> (&'static str, bool) {
        match (self, is_evaluated) {
            (Self::Text(_), true) => ("validation/mean_nll", true),
            (Self::Text(_), false) => ("loss/nll", true),
            (Self::Preferences(_), true) => ("eval/rewards/accuracies", false),
            (Self::Preferences(_), false) => ("rewards/accuracies", false),
        }
    }

    /// Held-out text; `None` for preferences.
    pub fn text_mut(&mut self) -> Option<&mut HeldOutText> {
        match self {
            Self::Text(text) => Some(text),
            Self::Preferences(_) => None,
        }
    }

    /// Samples written so far.
    pub fn samples(&self) -> &[TextSample] {
        match self {
            Self::Text(text) => &text.samples,
            Self::Preferences(_) => &[],
        }
    }
}

impl HeldOutScore {
    /// The score as metrics.
    pub fn metrics(&self) -> Metrics {
        match self {
            Self::Text(score) => score.metrics(),
            Self::Preferences(score) => score.metrics(),
        }
    }
}

/// Held-out windows, always the same, and the samples written so far.
pub(super) struct HeldOutText {
    rows: Vec<TextRow>,
    batch: usize,
    tokenizer: Tokenizer,
    ends: EndTokens,
    sampling: Sampling,
    seed: u64,
    /// Tokens that each sample begins with.
    prompts: Vec<Vec<u32>>,
    sample_tokens: usize,
    samples: Vec<TextSample>,
}

impl HeldOutText {
    /// Held-out text of a run whose windows have `window` tokens.
    ///
    /// # Errors
    /// Less held-out text than a window, or damaged generation settings.
    pub fn new(texts: &Texts, config: &TextConfig, window: usize, agent: &AgentSpec) -> Result<Self> {
        let (rows, prompts) = texts.held_out(window, config.validation_windows, config.samples)?;
        Ok(Self {
            rows,
            // As many tokens at once as a training step computes, or a few more, since there is no gradient.
            batch: config.batch.max(4096 / window.max(1)),
            tokenizer: agent.tokenizer.clone(),
            ends: agent.end_tokens()?,
            sampling: agent.run.rollout.sampling,
            seed: agent.run.seed,
            prompts,
            sample_tokens: config.sample_tokens,
            samples: Vec::new(),
        })
    }

    /// Likelihood of the held-out text under the model.
    fn score(&self, policy: &Policy, collective: &dyn Collective) -> Result<TextScore> {
        let mut own = Likelihood::default();
        own.add(policy, &self.rows[collective.share(self.rows.len())], self.batch);
        let all = own.over_ranks(collective)?;
        Ok(all.score().expect("there is a window, and it has tokens to predict"))
    }

    /// Reads the samples that a resumed run wrote up to an update.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn take_up(&mut self, path: &Path, updates: u64) -> Result<()> {
        if updates == 0 || !path.exists() {
            return Ok(());
        }
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let wrong = |error| Error::Data(format!("{}: {error}; remove it to go on without its samples", path.display()));
        let samples: Result<Vec<TextSample>> =
            text.lines().map(|line| serde_json::from_str(line).map_err(wrong)).collect();
        self.samples = samples?.into_iter().filter(|sample| sample.update <= updates).collect();
        Ok(())
    }

    /// Continues the beginnings of held-out texts, and writes all samples so far.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_samples(&mut self, policy: &Policy, update: u64, path: &Path) -> Result<()> {
        let policy = policy.valid();
        for (number, prompt) in self.prompts.iter().enumerate() {
            let rng = ChaCha8Rng::seed_from_u64(episode_seed(self.seed ^ update, number as u64));
            let written = self.go_on(&policy, prompt, rng);
            let text = |tokens: &[u32]| self.tokenizer.decode(tokens);
            self.samples.push(TextSample { update, prompt: text(prompt)?, continuation: text(&written)? });
        }
        let line = |sample| serde_json::to_string(sample).expect("a sample is texts and a number") + "\n";
        Ok(write_atomically(path, self.samples.iter().map(line).collect::<String>().as_bytes())?)
    }

    /// Continues a prompt. When the model's context is full, it goes on from the last half of the context.
    fn go_on(&self, policy: &Policy, prompt: &[u32], mut rng: ChaCha8Rng) -> Vec<u32> {
        let context = policy.transformer.config().context;
        let mut all = prompt.to_vec();
        while all.len() < prompt.len() + self.sample_tokens && context > 1 {
            let kept = all.len().min(if all.len() < context { context - 1 } else { (context / 2).max(1) });
            let read = all[all.len() - kept..].to_vec();
            let left = prompt.len() + self.sample_tokens - all.len();
            let limits = Limits { end: self.ends.ids(), max_new_tokens: left.min(context - kept), stopped: None };
            let next = ChaCha8Rng::from_rng(&mut rng);
            let mut request = [Request { prompt: read, choices: None, rng: next, forced: None }];
            let written = generate(policy, &mut request, &limits, &self.sampling).remove(0);
            all.extend(&written.tokens);
            if written.ended {
                break;
            }
        }
        all.split_off(prompt.len())
    }
}
