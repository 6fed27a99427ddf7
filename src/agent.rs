//! Agent: a policy with its tokenizer, created from a run file or read from a run's directory; and its evaluation.

mod evaluation;
mod evaluation_policy;
mod made;
mod saved;
mod scorer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use palestra_envs::{Definition, Pool, Registry, Rewards};

use crate::config::RunFile;
use crate::model_dir::{local_tokenizer, model_directory};
use crate::{Error, Result};
pub use evaluation::Evaluation;
pub use evaluation_policy::EvaluationPolicy;
use palestra_learn::encoder::Encoder;
use palestra_learn::rollout::{Context, Rollout, RolloutConfig};
use palestra_learn::source::template_of;
use palestra_model::{Critic, Module, parameters};
use palestra_model::{EndTokens, ModelConfig, Policy, generation_config_of};
use palestra_text::{ChatTemplate, History, Message, Tokenizer};
pub use saved::TRAINED;

/// A policy that reads and writes text.
pub struct Agent {
    /// All but the weights.
    pub spec: AgentSpec,
    /// The model, outside autodiff.
    pub policy: Policy,
}

/// An agent without its weights, which are elsewhere while they are trained: they would be in memory twice.
pub struct AgentSpec {
    /// Run file that it was, or will be, trained by; its environment is resolved.
    pub run: RunFile,
    /// Shape of the model.
    pub model: ModelConfig,
    /// Number of its parameters, adapters and heads included.
    pub parameters: u64,
    /// Tokenizer of the model.
    pub tokenizer: Tokenizer,
    /// Other files of the model, by name: its chat template, and its tokenizer's special tokens.
    pub companions: BTreeMap<String, String>,
    /// Number of updates that it has learned from.
    pub updates: u64,
    /// Rewards of its episodes, in addition to the environment's.
    pub rewards: Rewards,
}

impl Agent {
    /// An agent at update 0, without rewards.
    fn of(run: RunFile, policy: Policy, tokenizer: Tokenizer, companions: BTreeMap<String, String>) -> Self {
        let (model, parameters) = (policy.transformer.config().clone(), policy.num_params() as u64);
        let rewards = Rewards::default();
        Self { spec: AgentSpec { run, model, parameters, tokenizer, companions, updates: 0, rewards }, policy }
    }

    /// The agent with these rewards.
    #[must_use]
    pub fn with_rewards(self, rewards: Rewards) -> Self {
        Self { spec: AgentSpec { rewards, ..self.spec }, ..self }
    }
}

impl AgentSpec {
    /// A policy in the form in which the run trains it: inside autodiff, but for a critic's targets, which are moved.
    pub fn trained(&self, policy: Policy) -> Policy {
        let policy = parameters::set_trained(policy.train(), &|name, was| was && !Critic::is_target(name));
        policy.with_gradient_checkpointing(self.run.train.gradient_checkpointing)
    }

    /// Chat template of the model, if known.
    ///
    /// # Errors
    /// A file that cannot be read, or is not a template.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        let template =
            template_of(self.run.chat_template(), tokenizer_folder(&self.run)?.as_deref(), self.run.template_limits)?;
        Ok(template.map(|template| template.with_date(self.run.chat_date.unwrap_or_default())))
    }

    /// Tokens that end what the model writes.
    ///
    /// # Errors
    /// Generation settings that are damaged.
    pub fn end_tokens(&self) -> Result<EndTokens> {
        Ok(EndTokens::new(self.tokenizer.special().end, &generation_config_of(&self.companions)?))
    }

    /// Encoder of episodes into this agent's tokens.
    ///
    /// # Errors
    /// A run that chats with a model without a chat template, or generation settings that are damaged.
    pub fn encoder(&self) -> Result<Encoder> {
        let mut encoding = self.run.rollout.encoding(self.model.context);
        encoding.return_to_go = self.run.learner.config.return_to_go().map(|it| it.decimals);
        let encoder = Encoder::new(self.tokenizer.clone(), encoding).with_ends(self.end_tokens()?);
        if !self.run.rollout.chat {
            return Ok(encoder);
        }
        let template = self.chat_template()?.ok_or_else(|| {
            let model = self.run.start_from.as_deref().unwrap_or(Path::new("")).display();
            Error::Config(format!(
                "rollout.chat: {model} has no chat template; remove it, or start from a model that has"
            ))
        })?;
        if self.run.rollout.context == Context::Transcript && self.run.rollout.history != Some(History::AsTemplate) {
            // A template that rewrites earlier turns is refused before anything is played.
            template.render_further(&[Message::new("user", "a")], self.run.rollout.history)?;
        }
        Ok(encoder.with_chat(template))
    }

    /// Environment of the agent.
    ///
    /// # Errors
    /// A run that learned from a log, and names none.
    pub fn env(&self) -> Result<&Definition> {
        let missing = || {
            Error::Config(format!(
                "{}: it learned from a log and names no environment; say which, such as --set env.id=frozen-lake-4x4",
                self.run.name
            ))
        };
        self.run.env.as_ref().ok_or_else(missing)
    }

    /// Environment that the agent is evaluated in: [`AgentSpec::env`], or with other prompts as the run file says.
    ///
    /// # Errors
    /// As [`AgentSpec::env`].
    pub fn evaluation_env(&self) -> Result<Definition> {
        self.env()?;
        Ok(self.run.evaluation_env().expect("the run has an environment"))
    }

    /// Creates a rollout with the run's settings, in at most this many environments at once.
    ///
    /// # Errors
    /// An environment that cannot be built.
    pub fn rollout(&self, registry: &Registry, environments: usize) -> Result<Rollout> {
        self.rollout_in(self.env()?, self.run.rollout.clone(), registry, environments)
    }

    /// Creates a rollout as [`AgentSpec::rollout`] does, in an environment and with settings that may not be the run's.
    ///
    /// # Errors
    /// As [`AgentSpec::rollout`].
    pub fn rollout_in(
        &self,
        env: &Definition,
        config: RolloutConfig,
        registry: &Registry,
        environments: usize,
    ) -> Result<Rollout> {
        let pool = Pool::new(registry, env, environments)?;
        let target_return = self.run.learner.config.return_to_go().and_then(|it| it.target);
        Ok(Rollout::new(pool, self.encoder()?, config, target_return).with_rewards(self.rewards.clone()))
    }
}

/// Directory of a run's tokenizer, if it comes from one: of another run that it starts from, a checkpoint.
fn tokenizer_folder(run: &RunFile) -> Result<Option<PathBuf>> {
    match &run.start_from {
        Some(model) => model_directory(model).map(Some),
        None => {
            let tokenizer = run.tokenizer().map(local_tokenizer).transpose()?;
            Ok(tokenizer.and_then(|file| file.parent().map(Path::to_path_buf)))
        }
    }
}

#[cfg(test)]
mod tests {
    use palestra_model::ops::open_device;
    use palestra_model::optim::AdamW;

    use super::*;

    /// Targets follow the critic; moments of theirs would be as large as another critic's.
    #[test]
    fn a_critics_targets_have_no_moments() {
        let text = "name = \"run\"\n[env]\nid = \"frozen-lake-4x4\"\n[model]\nfamily = \"gpt2\"\ncontext = 32\n\
                    layers = 1\nwidth = 8\nheads = 1\n[data]\nfiles = [\"log.parquet\"]\n[ilql]\n";
        let registry = Registry::builtin();
        let run = RunFile::from_toml("run.toml", text, &[] as &[&str]).unwrap().resolve(&registry).unwrap();
        let Agent { spec, policy } = Agent::new(run, &registry, None, &open_device("flex").unwrap()).unwrap();
        let mut optimizer = AdamW::new(spec.run.optimizer.clone()).unwrap();
        optimizer.prepare(&optimizer.freeze(spec.trained(policy)).unwrap());
        let (_, moments) = optimizer.state();
        let is_of = |part: &str| moments.keys().any(|name| name.starts_with(part));
        assert!(is_of("critic.q.") && is_of("blocks.0.") && !is_of("critic.target"), "{:?}", moments.keys());
    }
}
