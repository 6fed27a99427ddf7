//! A language model with its tokenizer, opened from a directory to generate text.
//!
//! Knows files, models and text; knows nothing of environments, learners or run files. A run's directory works too: its
//! last checkpoint is the model.

mod merge;

use std::cell::RefCell;
use std::path::Path;
use std::time::Instant;

use palestra_model::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::model_dir::{ModelDir, model_directory};
use crate::{Error, Result};
pub use merge::{Merged, merge};
use palestra_model::generate::{Limits, Request, generate};
use palestra_model::huggingface::is_own;
use palestra_model::lora::{base_of_adapters, merged, read_adapters};
use palestra_model::math::Sampling;
use palestra_model::{GenerationConfig, Heads, Policy};
use palestra_text::{ChatTemplate, TextStream, Tokenizer, before_stop};

/// A model that reads and writes text.
pub struct LanguageModel {
    /// The model, outside autodiff.
    pub policy: Policy,
    /// Tokenizer of the model.
    pub tokenizer: Tokenizer,
    /// Generation settings of the model: end tokens and sampling.
    pub generation: GenerationConfig,
    /// Chat template, if the directory has one.
    pub chat: Option<ChatTemplate>,
}

/// Settings of text generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Writing {
    /// Sampling settings.
    pub sampling: Sampling,
    /// Maximum number of new tokens.
    pub max_new_tokens: usize,
    /// Stop strings, which end the text and are left out of it.
    pub stop: Vec<String>,
    /// Seed of sampling.
    pub seed: u64,
}

/// Reason why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// An end token or a stop string.
    Stop,
    /// The maximum number of new tokens, or the model's context.
    Length,
}

/// A generated text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Written {
    /// Text without the end token or stop string.
    pub text: String,
    /// Tokens of the text, the end token included.
    pub tokens: Vec<u32>,
    /// Number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// Reason why the text ended.
    pub finish: Finish,
    /// Seconds that reading and generating took.
    pub seconds: f64,
    /// Generated tokens per second.
    pub tokens_per_second: f64,
}

/// Top-k of transformers where a directory samples and names none.
const DEFAULT_TOP_K: usize = 50;

impl LanguageModel {
    /// Opens a Hugging Face model directory, or the last checkpoint of a run's directory. A checkpoint of adapters is
    /// opened with its base model.
    ///
    /// # Errors
    /// A file that is missing or damaged, weights that do not fit, or a tokenizer of another model.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let directory = model_directory(path)?;
        if let Some(base) = base_of_adapters(&directory)? {
            return Self::open(&base, device)?.with_adapters(&directory);
        }
        let directory = ModelDir::open(&directory)?;
        let policy = directory.policy(|config, mut tensors| {
            tensors.retain(|name, _| !is_own(name)); // values and adapters of a learner
            Policy::from_tensors(&config, Heads::default(), tensors, device)
        })?;
        let (generation, chat) = (directory.generation()?, directory.chat_template()?);
        Ok(Self { policy, tokenizer: directory.tokenizer, generation, chat })
    }

    /// Adds the adapters of a PEFT directory or of a run, and the chat template beside them, if there is one. Adapters
    /// that the model had before are merged into it.
    ///
    /// # Errors
    /// As [`read_adapters`], or an invalid template.
    pub fn with_adapters(self, path: &Path) -> Result<Self> {
        let directory = model_directory(path)?;
        let policy = Policy::from(read_adapters(merged(self.policy.transformer), &directory)?);
        let policy = policy.with_vocabulary(self.tokenizer.vocab_size());
        let chat = ChatTemplate::from_directory(&directory)?.or(self.chat);
        Ok(Self { policy, chat, ..self })
    }

    /// Sampling settings of the model's directory; greedy decoding by default.
    pub fn sampling(&self) -> Sampling {
        let GenerationConfig { do_sample, temperature, top_k, top_p, min_p, .. } = self.generation;
        match do_sample {
            Some(true) => Sampling {
                temperature: temperature.unwrap_or(1.0),
                top_k: top_k.unwrap_or(DEFAULT_TOP_K),
                top_p: top_p.unwrap_or(1.0),
                min_p: min_p.unwrap_or(0.0),
            },
            _ => Sampling::GREEDY,
        }
    }

    /// Encodes a text.
    ///
    /// # Errors
    /// Text that the tokenizer cannot encode.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        self.tokenizer.encode(text, &mut tokens)?;
        Ok(tokens)
    }

    /// Continues several texts at once. Each prompt comes with the seed of its text, so that the other prompts of the
    /// batch have no effect on it. The seed of `writing` is not used.
    ///
    /// # Errors
    /// A prompt that [`check_room`](Self::check_room) refuses.
    pub fn write_all(&self, prompts: Vec<(Vec<u32>, u64)>, writing: &Writing) -> Result<Vec<String>> {
        prompts.iter().try_for_each(|(prompt, _)| self.check_room(prompt.len(), writing.max_new_tokens))?;
        let request = |(prompt, seed): (Vec<u32>, u64)| Request {
            prompt,
            choices: None,
            rng: ChaCha8Rng::seed_from_u64(seed),
            forced: None,
        };
        let mut requests: Vec<Request> = prompts.into_iter().map(request).collect();
        let Writing { stop, max_new_tokens, .. } = writing;
        let is_end = |token: &u32| self.generation.eos.contains(token);
        let has_stop =
            |tokens: &[u32]| self.tokenizer.decode(tokens).is_ok_and(|text| before_stop(&text, stop).is_some());
        let stopped = |tokens: &[u32]| tokens.last().is_some_and(is_end) || (!stop.is_empty() && has_stop(tokens));
        let limits = Limits { end: None, max_new_tokens: *max_new_tokens, stopped: Some(&stopped) };
        let written = generate(&self.policy, &mut requests, &limits, &writing.sampling);
        let text = |tokens: &[u32]| {
            let said = tokens.split_last().filter(|(last, _)| is_end(last)).map_or(tokens, |(_, said)| said);
            let text = self.tokenizer.decode(said)?;
            Ok(before_stop(&text, stop).map(String::from).unwrap_or(text))
        };
        written.iter().map(|written| text(&written.tokens)).collect()
    }

    /// Checks that a prompt of `prompt` tokens and its continuation fit into the model's context.
    ///
    /// # Errors
    /// A prompt without tokens, or one that is too long.
    pub fn check_room(&self, prompt: usize, max_new_tokens: usize) -> Result<()> {
        let context = self.policy.transformer.config().context;
        match prompt {
            0 => Err(Error::Config("the prompt is empty; a model needs a token to go on from".into())),
            prompt if prompt + max_new_tokens > context => Err(Error::Config(format!(
                "the prompt has {prompt} tokens, and with {max_new_tokens} more it is longer than the model's context of \
                 {context}; shorten it, or ask for fewer new tokens"
            ))),
            _ => Ok(()),
        }
    }

    /// Continues a text, and passes each piece of it to `tell` as soon as it is complete.
    ///
    /// # Errors
    /// A prompt without tokens, or longer than the model's context; an error of `tell`.
    pub fn write(
        &self,
        prompt: &[u32],
        writing: &Writing,
        tell: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Written> {
        let context = self.policy.transformer.config().context;
        if prompt.is_empty() {
            return Err(Error::Config("the prompt is empty; a model needs a token to go on from".into()));
        }
        if prompt.len() >= context {
            return Err(Error::Config(format!(
                "the prompt has {} tokens, and the model's context is {context}: nothing can follow; shorten it",
                prompt.len()
            )));
        }
        let room = writing.max_new_tokens.min(context - prompt.len());
        let began = Instant::now();
        let progress = RefCell::new(Progress::new(self, writing, tell));
        let stopped = |tokens: &[u32]| progress.borrow_mut().take(tokens);
        let limits = Limits { end: None, max_new_tokens: room, stopped: Some(&stopped) };
        let rng = ChaCha8Rng::seed_from_u64(writing.seed);
        let mut requests = [Request { prompt: prompt.to_vec(), choices: None, rng, forced: None }];
        let continuation = generate(&self.policy, &mut requests, &limits, &writing.sampling).remove(0);
        let text = progress.into_inner().finish()?;
        let seconds = began.elapsed().as_secs_f64();
        Ok(Written {
            text,
            prompt_tokens: prompt.len(),
            finish: if continuation.ended { Finish::Stop } else { Finish::Length },
            tokens_per_second: continuation.tokens.len() as f64 / seconds,
            tokens: continuation.tokens,
            seconds,
        })
    }
}

/// State of a text that is being generated: the text so far, and the part of it that was passed on.
struct Progress<'a> {
    stream: TextStream<'a>,
    end: &'a [u32],
    stop: &'a [String],
    tell: &'a mut dyn FnMut(&str) -> Result<()>,
    text: String,
    /// Number of bytes of the text that were passed on. The rest may be the beginning of a stop string.
    told: usize,
    stopped: bool,
    failure: Option<Error>,
}

impl<'a> Progress<'a> {
    fn new(model: &'a LanguageModel, writing: &'a Writing, tell: &'a mut dyn FnMut(&str) -> Result<()>) -> Self {
        Self {
            stream: TextStream::new(&model.tokenizer),
            end: &model.generation.eos,
            stop: &writing.stop,
            tell,
            text: String::new(),
            told: 0,
            stopped: false,
            failure: None,
        }
    }

    /// Takes the last of the tokens written; returns true if the text ends.
    fn take(&mut self, tokens: &[u32]) -> bool {
        let Some(&token) = tokens.last() else { return false };
        if self.end.contains(&token) {
            return true;
        }
        let taken = self.stream.push(token).map_err(Error::from).and_then(|piece| self.append(&piece));
        self.failure = taken.err();
        self.stopped || self.failure.is_some()
    }

    fn append(&mut self, piece: &str) -> Result<()> {
        let longest = self.stop.iter().map(String::len).max().unwrap_or(0);
        let unseen = self.text.floor_char_boundary(self.text.len().saturating_sub(longest));
        self.text.push_str(piece);
        let found = self.stop.iter().filter_map(|stop| self.text[unseen..].find(stop.as_str())).min();
        if let Some(at) = found {
            self.text.truncate(unseen + at);
            self.stopped = true;
            return self.tell_until(self.text.len());
        }
        // Holds back the beginning of a stop string.
        let begun = |at: &usize| self.stop.iter().any(|stop| stop.starts_with(&self.text[*at..]));
        let mut ends = self.text.char_indices().map(|(at, _)| at).filter(|at| *at >= unseen.max(self.told));
        let until = ends.find(begun).unwrap_or(self.text.len());
        self.tell_until(until)
    }

    fn tell_until(&mut self, until: usize) -> Result<()> {
        if until > self.told {
            (self.tell)(&self.text[self.told..until])?;
            self.told = until;
        }
        Ok(())
    }

    /// The whole text, once no token follows.
    fn finish(mut self) -> Result<String> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if !self.stopped {
            let last = self.stream.finish()?;
            self.append(&last)?;
            self.tell_until(self.text.len())?; // what was held back began no stop text
        }
        Ok(self.text)
    }
}
