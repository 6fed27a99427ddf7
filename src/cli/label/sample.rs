use std::path::{Path, PathBuf};

use palestra_datasets::{Content, Message};
use palestra_envs::episode_seed;
use palestra_labels::{Added, Store, Writer, prompts_of_file, sample};

use super::Output;
use super::order::Scorer;
use crate::cli::writing::{MachineArgs, WritingArgs};
use crate::language_model::{LanguageModel, Writing};
use crate::model_dir::model_directory;
use crate::{Error, Result};
use palestra_model::math::Sampling;

/// Answers to sample, and the models to sample from.
#[derive(clap::Args)]
pub struct SampleArgs {
    /// Prompts to sample answers to: JSON lines, Parquet, CSV or TSV with a column `prompt`, or plain lines (.txt)
    #[arg(long, value_name = "FILE", requires = "from")]
    prompts: Option<PathBuf>,
    /// Model to sample from: the directory of a Hugging Face model, or of a run; if repeated, models are compared
    #[arg(long, value_name = "MODEL", requires = "prompts")]
    from: Vec<PathBuf>,
    /// Number of answers of each model to each prompt [default: 2 of one model, 1 of each of several]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9), requires = "prompts")]
    samples: Option<u8>,
    /// Number of answers to write at once; does not change the answers
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    #[command(flatten)]
    writing: WritingArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Prompts, and the models that answer them, after all checks.
pub struct Sampler {
    prompts: Vec<Content>,
    writers: Vec<ModelWriter>,
    samples: usize,
    batch: usize,
}

/// Model that answers prompts; the same seed gives the same answers.
struct ModelWriter {
    policy: String,
    model: LanguageModel,
    writing: Writing,
    /// Number of prompts that it was asked so far.
    asked: u64,
}

impl SampleArgs {
    /// Opens the prompts and models, if answers are to be sampled.
    ///
    /// # Errors
    /// A file without prompts, a directory without a model, a prompt that one of the models cannot read.
    pub fn open(&self, seed: u64) -> Result<Option<Sampler>> {
        let Some(file) = &self.prompts else { return Ok(None) };
        let samples = usize::from(self.samples.unwrap_or(if self.from.len() == 1 { 2 } else { 1 }));
        self.check(samples)?;
        let prompts: Vec<Content> = prompts_of_file(file)?.collect::<palestra_datasets::Result<_>>()?;
        let device = self.machine.open()?;
        let mut writers = Vec::new();
        for (number, path) in self.from.iter().enumerate() {
            let model = LanguageModel::open(path, &device)?;
            let own = model.sampling()?;
            let own = if own.temperature == 0.0 { Sampling { temperature: 1.0, ..own } } else { own };
            // Models that are nearly the same must not draw the same random numbers.
            let writing = self.writing.over(own, episode_seed(seed, number as u64))?;
            let policy = model_directory(path)?.display().to_string();
            let writer = ModelWriter { policy, model, writing, asked: 0 };
            writer.check(&prompts, file)?;
            writers.push(writer);
        }
        Ok(Some(Sampler { prompts, writers, samples, batch: self.batch.into() }))
    }

    fn check(&self, samples: usize) -> Result<()> {
        let refused = |message: String| Err(Error::Config(message));
        if let Some(twice) = (1..self.from.len()).find(|at| self.from[..*at].contains(&self.from[*at])) {
            let model = self.from[twice].display();
            return refused(format!("--from {model}: is there twice; more answers of one model are --samples"));
        }
        if samples * self.from.len() > MAX_ANSWERS {
            let models = self.from.len();
            return refused(format!(
                "--samples {samples}: of {models} models these are {} answers to a prompt, and {MAX_ANSWERS} are the most",
                samples * models
            ));
        }
        if self.writing.greedy && samples > 1 {
            return refused(format!("--greedy: --samples {samples} would be the same answer each time; leave one out"));
        }
        Ok(())
    }
}

/// Maximum number of answers in an item of a store.
const MAX_ANSWERS: usize = 9;

impl Sampler {
    /// Samples, and adds each batch as soon as it is written. Also returns the number of prompts that made no item.
    pub fn add_to(mut self, store: &mut Store, scorer: Option<&Scorer>, output: &Output) -> Result<(Added, usize)> {
        let progress = output.progress(self.prompts.len() as u64, "prompts answered");
        let (mut added, mut alike) = (Added::default(), 0);
        for prompts in self.prompts.chunks(self.batch.div_ceil(self.samples)) {
            let mut items = sample(prompts, &mut self.writers, self.samples)?;
            if let Some(scorer) = scorer {
                scorer.score(&mut items)?;
            }
            alike += prompts.len() - items.len();
            let new = store.add(items.into_iter().map(Ok::<_, palestra_labels::Error>))?;
            added.added += new.added;
            added.known += new.known;
            added.scored += new.scored;
            progress.inc(prompts.len() as u64);
        }
        progress.finish_and_clear();
        Ok((added, alike))
    }
}

impl ModelWriter {
    /// Refuses the first prompt that the model cannot read, by its number in the file.
    fn check(&self, prompts: &[Content], file: &Path) -> Result<()> {
        for (number, prompt) in prompts.iter().enumerate() {
            let readable =
                self.tokens(prompt).and_then(|tokens| self.model.check_room(tokens.len(), self.writing.max_new_tokens));
            readable.map_err(|error| {
                Error::Config(format!("{}: prompt {}, for {}: {error}", file.display(), number + 1, self.policy))
            })?;
        }
        Ok(())
    }

    fn tokens(&self, prompt: &Content) -> Result<Vec<u32>> {
        let messages = match prompt {
            Content::Text(text) => return self.model.encode(text),
            Content::Messages(messages) => messages,
        };
        let template = self.model.chat.as_ref().ok_or_else(|| {
            Error::Config(
                "the prompt is a conversation, and the model has no chat template (chat_template.jinja, or chat_template \
                 in tokenizer_config.json)"
                    .into(),
            )
        })?;
        self.model.encode_rendered(&template.render(messages, true)?)
    }
}

impl Writer for ModelWriter {
    fn policy(&self) -> &str {
        &self.policy
    }

    fn answers(&mut self, prompts: &[Content], count: usize) -> Result<Vec<Vec<Content>>, String> {
        let mut requests = Vec::new();
        for prompt in prompts {
            let tokens = self.tokens(prompt).map_err(|error| error.to_string())?;
            let seed = episode_seed(self.writing.seed, self.asked);
            requests.extend((0..count).map(|number| (tokens.clone(), episode_seed(seed, number as u64))));
            self.asked += 1;
        }
        let written = self.model.write_all(requests, &self.writing).map_err(|error| error.to_string())?;
        let answers = written.chunks(count).zip(prompts);
        Ok(answers.map(|(texts, prompt)| texts.iter().map(|text| answer_to(prompt, text)).collect()).collect())
    }
}

/// Answer of the same kind as its prompt: a text, or a message.
fn answer_to(prompt: &Content, text: &str) -> Content {
    match prompt {
        Content::Text(_) => text.into(),
        Content::Messages(_) => Content::Messages(vec![Message::new("assistant", text)]),
    }
}
