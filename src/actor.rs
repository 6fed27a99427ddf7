//! A policy that acts in states which it is given one at a time, as programs in other languages ask it to.
//!
//! It knows agents, language models and encoders. It knows no environments, and not how it is asked.

use std::path::Path;

use palestra_datasets::{Content, Turn};
use palestra_envs::Registry;
use palestra_model::checkpoint;
use palestra_settings::{Range, check_ranges};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use crate::agent::Agent;
use crate::config::RunFile;
use crate::language_model::LanguageModel;
use crate::model_dir::{checkpoint_of_run, is_of_run};
use crate::{Error, Result};
use palestra_learn::encoder::{Context, Encoder, Encoding};
use palestra_learn::rollout::action_text;
use palestra_model::Policy;
use palestra_model::generate::{Continuation, Limits, Request, generate};
use palestra_model::math::Sampling;
use palestra_model::ops::{open_device, set_threads};
use palestra_model::quantize::Quantization;
use palestra_text::StopCheck;

/// Maximum number of new tokens of a language model that nobody tells another; half of a context that is short.
const MAX_NEW_TOKENS: usize = 256;

/// A policy with all that its choice of an action depends on.
pub struct Actor {
    policy: Policy,
    encoder: Encoder,
    /// Encoder of messages, where it is another one: that of a language model with a chat template.
    chat: Option<Encoder>,
    /// True if messages can be read.
    reads_messages: bool,
    /// Sampling settings, unless a temperature is asked for.
    own: Sampling,
    /// Sampling settings at a temperature that is asked for.
    tempered: Sampling,
    max_new_tokens: usize,
    stop: Vec<String>,
    target_return: Option<f32>,
}

/// A state to act in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The text or the messages that are answered.
    pub observation: Content,
    /// The only actions that may be chosen; absent, any text.
    #[serde(default)]
    pub legal_actions: Option<Vec<String>>,
    /// Seed of the sampling.
    #[serde(default)]
    pub seed: u64,
    /// Earlier turns of the episode, oldest first.
    #[serde(default)]
    pub turns: Vec<Turn>,
}

/// Settings of the choice of actions; absent ones are the policy's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct ActOptions {
    /// Sampling temperature; 0 takes the likeliest token.
    pub temperature: Option<f32>,
    /// Maximum number of new tokens of an action that is not chosen from a list.
    pub max_new_tokens: Option<usize>,
}

impl Actor {
    /// Opens the best or else the last checkpoint of a run's directory, a checkpoint of a run, the directory of a model,
    /// or a GGUF file. `overrides` are keys of the run file with values.
    ///
    /// A run that plays, or that learned from a log of play, acts as in its evaluation. A run on texts or preferences is
    /// a language model, as the directory of a model is.
    ///
    /// # Errors
    /// A path that is none of these, files that are missing or damaged, a device that is not there.
    pub fn open(path: &Path, registry: &Registry, overrides: &[String], device: Option<&str>) -> Result<Self> {
        if is_of_run(path) {
            let (dir, checkpoint) = checkpoint_of_run(path)?;
            let device = device.map(|device| format!("device={device}"));
            let run = RunFile::load(&dir.run_file(), &[overrides, device.as_slice()].concat())?.resolve(registry)?;
            if run.text.is_none() && run.preferences.is_none() {
                return Self::of_run(run, &checkpoint);
            }
        }
        if let Some(key) = overrides.first() {
            let told = "it is a language model, which no key of a run file changes";
            return Err(Error::Config(format!("--set {key}: {}: {told}", path.display())));
        }
        let device = open_device(device.unwrap_or("auto")).map_err(Error::Device)?;
        Self::of_language_model(LanguageModel::open(path, &device)?)
    }

    fn of_run(run: RunFile, path: &Path) -> Result<Self> {
        let device = open_device(&run.device).map_err(Error::Device)?;
        run.train.threads.into_iter().for_each(set_threads); // another number gives other roundings
        let Agent { spec, policy } = Agent::from_checkpoint(run, checkpoint::load(path)?, path, &device)?;
        let rollout = &spec.run.rollout;
        Ok(Self {
            encoder: spec.encoder()?,
            chat: None,
            reads_messages: true,
            own: spec.sampling(),
            tempered: rollout.sampling,
            max_new_tokens: rollout.max_new_tokens,
            stop: rollout.stop.clone(),
            target_return: spec.run.learner.config.return_to_go().and_then(|it| it.target),
            policy,
        })
    }

    fn of_language_model(model: LanguageModel) -> Result<Self> {
        let sampling = model.sampling()?;
        let max_length = model.policy.transformer.config().context;
        let encoding = Encoding {
            context: Context::Observation,
            history: None,
            max_length,
            legal_actions_only: true,
            return_to_go: None,
        };
        let encoder = Encoder::new(model.tokenizer, encoding).with_ends(model.ends);
        let chat = model.chat.map(|template| encoder.clone().with_chat(template));
        Ok(Self {
            policy: model.policy,
            encoder,
            reads_messages: chat.is_some(),
            chat,
            own: sampling,
            tempered: sampling,
            max_new_tokens: MAX_NEW_TOKENS.min(max_length / 2),
            stop: Vec::new(),
            target_return: None,
        })
    }

    /// The actor with the matrices of its language model's blocks and output layer in this form, the latter in at least 8 bits.
    #[must_use]
    pub fn quantized(self, quantization: Quantization) -> Self {
        Self { policy: self.policy.quantized(quantization).with_quantized_output(quantization), ..self }
    }

    /// Context that it reads before it acts. Only a policy of [`Context::Transcript`] reads the earlier turns of a state.
    pub fn context(&self) -> Context {
        self.encoder.encoding().context
    }

    /// Chooses an action in each state. An action depends on its state, its seed and the options, but for rounding not on
    /// the other states.
    ///
    /// # Errors
    /// A state that the model cannot read, or an option out of its range.
    pub fn act(&mut self, states: &[State], options: &ActOptions) -> Result<Vec<String>> {
        check_ranges(
            "",
            &[
                ("temperature", &options.temperature, Range::AT_LEAST_ZERO),
                ("max_new_tokens", &options.max_new_tokens, Range::AT_LEAST_ONE),
            ],
        )?;
        let max_new_tokens = options.max_new_tokens.unwrap_or(self.max_new_tokens);
        let temperature = |temperature| Sampling { temperature, ..self.tempered };
        let sampling = options.temperature.map_or(self.own, temperature);
        let mut requests = Vec::with_capacity(states.len());
        for (number, state) in states.iter().enumerate() {
            let request = self.request(state, max_new_tokens);
            requests.push(request.map_err(|error| Error::Data(format!("states.{number}: {error}")))?);
        }
        let tokenizer = self.encoder.tokenizer();
        let check = StopCheck::new(tokenizer, &self.stop, requests.len());
        let is_stopped = |row, token| check.is_stopped(row, token);
        let stopped = (!self.stop.is_empty()).then_some(&is_stopped as _);
        let limits = Limits { end: self.encoder.ends().ids(), max_new_tokens, stopped };
        let written = generate(&self.policy, &mut requests, &limits, &sampling);
        let action = |(request, written): (&Request, Continuation)| {
            let stop = if request.choices.is_none() { self.stop.as_slice() } else { &[] };
            Ok(action_text(tokenizer, self.encoder.ends(), &written.tokens, stop)?)
        };
        requests.iter().zip(written).map(action).collect()
    }

    fn request(&mut self, state: &State, max_new_tokens: usize) -> Result<Request> {
        let is_conversation = matches!(state.observation, Content::Messages(_));
        if is_conversation && !self.reads_messages {
            let told = "the model has no chat template to write messages with; give a text";
            return Err(Error::Data(format!("observation: {told}")));
        }
        let encoder = match &mut self.chat {
            Some(chat) if is_conversation => chat,
            _ => &mut self.encoder,
        };
        let choices = encoder.choices(state.legal_actions.as_deref())?;
        let longest = choices.as_ref().map_or(max_new_tokens, |choices| choices.longest());
        let prompt = encoder.prompt_after(&state.turns, &state.observation, self.target_return, longest)?;
        Ok(Request { prompt, choices, rng: ChaCha8Rng::seed_from_u64(state.seed), forced: None })
    }
}
