//! A language model with its tokenizer, opened from a directory to generate text.
//!
//! Knows files, models and text; knows nothing of environments, learners or run files. A run's directory works too: its
//! last checkpoint is the model.

mod export;
mod merge;

use std::cell::RefCell;
use std::path::Path;
use std::time::Instant;

use palestra_model::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::model_dir::{ModelDir, check_writes, model_directory, output_vocabulary, template_limits};
use crate::{Error, Result};
pub use export::{Exported, export_gguf};
pub use merge::{Merged, merge};
use palestra_model::generate::{Limits, Request, generate};
use palestra_model::huggingface::is_own;
use palestra_model::lora::{base_of_adapters, merged, read_adapters};
use palestra_model::math::Sampling;
use palestra_model::quantize::Quantization;
use palestra_model::{EndTokens, GenerationConfig, Heads, Policy};
use palestra_text::{ChatTemplate, StopCheck, StopStream, Tokenizer, before_stop};

/// A model that reads and writes text.
pub struct LanguageModel {
    /// The model, outside autodiff.
    pub policy: Policy,
    /// Tokenizer of the model.
    pub tokenizer: Tokenizer,
    /// Generation settings of the model's directory.
    pub generation: GenerationConfig,
    /// Tokens that end what the model writes.
    pub ends: EndTokens,
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
    /// Opens a Hugging Face model directory, a GGUF file, or the last checkpoint of a run's directory. A checkpoint of adapters is
    /// opened with its base model.
    ///
    /// # Errors
    /// A file that is missing or damaged, weights that do not fit, a tokenizer of another model, or a reward model.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        Self::open_quantized(path, Quantization::None, device)
    }

    /// As [`LanguageModel::open`], with the matrices of the blocks' linear layers in this form, each as soon as it is read, and the
    /// output layer too, in at least 8 bits. The base of adapters is read whole, and then quantised beside them.
    ///
    /// # Errors
    /// As [`LanguageModel::open`].
    pub fn open_quantized(path: &Path, quantization: Quantization, device: &Device) -> Result<Self> {
        let directory = model_directory(path)?;
        if let Some(base) = base_of_adapters(&directory)? {
            return Ok(Self::open(&base, device)?.with_adapters(&directory)?.quantized(quantization));
        }
        check_writes(&directory)?;
        let directory = ModelDir::open(&directory)?;
        let policy = directory.frozen_policy((quantization, device), |config, mut tensors, frozen| {
            tensors.retain(|name, _| !is_own(name)); // values and adapters of a learner
            Policy::starting_from(&config, Heads::default(), tensors, frozen, 0, device)
        })?;
        let (generation, chat) = (directory.generation()?, directory.chat_template()?);
        let ends = EndTokens::new(directory.tokenizer.special().end, &generation);
        let policy = policy.with_quantized_output(quantization);
        Ok(Self { policy, tokenizer: directory.tokenizer, generation, ends, chat })
    }

    /// Adds the adapters of a PEFT directory or of a run, and the chat template beside them, if there is one. Adapters
    /// that the model had before are merged into it.
    ///
    /// # Errors
    /// As [`read_adapters`], or an invalid template.
    pub fn with_adapters(self, path: &Path) -> Result<Self> {
        let directory = model_directory(path)?;
        check_writes(&directory)?;
        let policy = Policy::from(read_adapters(merged(self.policy.transformer), &directory)?);
        let policy = policy.with_vocabulary(output_vocabulary(&self.tokenizer));
        let chat = ChatTemplate::from_directory_within(template_limits(&directory)?, &directory)?.or(self.chat);
        Ok(Self { policy, chat, ..self })
    }

    /// The model with the matrices of its blocks' linear layers and its output layer in this form, the latter in at least 8 bits.
    #[must_use]
    pub fn quantized(self, quantization: Quantization) -> Self {
        Self { policy: self.policy.quantized(quantization).with_quantized_output(quantization), ..self }
    }

    /// Sampling settings of the model's directory; greedy decoding by default.
    ///
    /// # Errors
    /// A setting that changes what transformers generates and that is not supported.
    pub fn sampling(&self) -> Result<Sampling> {
        let unsupported = self.generation.unsupported();
        if !unsupported.is_empty() {
            let fields = unsupported.join(", ");
            return Err(Error::Config(format!(
                "generation_config.json: {fields}: not supported; remove it to generate without it"
            )));
        }
        let GenerationConfig { do_sample, temperature, top_k, top_p, min_p, .. } = self.generation;
        let repetition_penalty = self.generation.repetition_penalty.unwrap_or(1.0);
        Ok(match do_sample {
            Some(true) => Sampling {
                repetition_penalty,
                temperature: temperature.unwrap_or(1.0),
                top_k: top_k.unwrap_or(DEFAULT_TOP_K),
                top_p: top_p.unwrap_or(1.0),
                min_p: min_p.unwrap_or(0.0),
            },
            _ => Sampling { repetition_penalty, ..Sampling::GREEDY },
        })
    }

    /// Encodes a text to be continued, after the special tokens that the tokenizer begins texts with.
    ///
    /// # Errors
    /// Text that the tokenizer cannot encode.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode_beginning(text)?)
    }

    /// Encodes a text that a chat template wrote, with its special tokens.
    ///
    /// # Errors
    /// As [`LanguageModel::encode`].
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>> {
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
        let check = StopCheck::new(&self.tokenizer, stop, requests.len());
        let stopped = |row, token| check.is_stopped(row, token);
        let stopped = (!stop.is_empty()).then_some(&stopped as _);
        let limits = Limits { end: self.ends.ids(), max_new_tokens: *max_new_tokens, stopped };
        let written = generate(&self.policy, &mut requests, &limits, &writing.sampling);
        let text = |tokens: &[u32]| {
            let text = self.tokenizer.decode(self.ends.before(tokens))?;
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
        let max_new_tokens = writing.max_new_tokens.min(context - prompt.len());
        let began = Instant::now();
        let stream = StopStream::new(&self.tokenizer, &writing.stop);
        let progress = RefCell::new(StreamedText { stream, tell, text: String::new(), failure: None });
        let stopped = |_, token| progress.borrow_mut().take(token);
        let limits = Limits { end: self.ends.ids(), max_new_tokens, stopped: Some(&stopped) };
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

/// State of a text that is being generated: the part of it that was passed on, and what is held back.
struct StreamedText<'a> {
    stream: StopStream<'a>,
    tell: &'a mut dyn FnMut(&str) -> Result<()>,
    text: String,
    failure: Option<Error>,
}

impl StreamedText<'_> {
    /// Takes the next token written; returns true if the text ends.
    fn take(&mut self, token: u32) -> bool {
        let taken = self.stream.push(token).map_err(Error::from).and_then(|piece| self.pass_on(&piece));
        self.failure = taken.err();
        self.stream.is_stopped() || self.failure.is_some()
    }

    fn pass_on(&mut self, piece: &str) -> Result<()> {
        self.text.push_str(piece);
        if piece.is_empty() { Ok(()) } else { (self.tell)(piece) }
    }

    /// The whole text, once no token follows.
    fn finish(mut self) -> Result<String> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let last = self.stream.finish()?;
        self.pass_on(&last)?;
        Ok(self.text)
    }
}
