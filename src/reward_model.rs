//! A reward model with its tokenizer, opened from a directory to score answers.
//!
//! Knows files, models and text; knows nothing of environments, run files or the use of scores. A run's directory works
//! too: its last checkpoint is the model.

use std::path::Path;

use palestra_datasets::Content;
use palestra_model::Device;

use crate::model_dir::ModelDir;
use crate::{Error, Result};
use palestra_learn::batch::TextRow;
use palestra_learn::learners::preference::{Reading, read_answers};
use palestra_learn::source::{Border, ExampleEncoder, TooLong};
use palestra_model::{Heads, Policy, read_config_json};
use palestra_text::{ChatTemplate, History, Tokenizer};

/// A model that scores answers.
pub struct RewardModel {
    /// The model, outside autodiff; its value head is the score head.
    pub policy: Policy,
    /// Tokenizer of the model.
    pub tokenizer: Tokenizer,
    /// Chat template, if the directory has one.
    pub chat: Option<ChatTemplate>,
}

impl RewardModel {
    /// Opens a directory in Hugging Face's layout for sequence classification with one label, PEFT's adapters for it, or the
    /// directory of a run that trained one.
    ///
    /// # Errors
    /// A file that is missing or damaged, a model that is not a reward model, or a tokenizer other than that of
    /// training.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let directory = ModelDir::open(path)?;
        let Some(settings) = directory.score_settings()? else {
            let found = &read_config_json(&directory.path)?["architectures"][0];
            return Err(directory.fault(format!("is a {found}, and no reward model; train one with [reward_model]")));
        };
        let fingerprint = directory.tokenizer.fingerprint();
        if let Some(trained_with) = settings.tokenizer.filter(|trained_with| trained_with != fingerprint) {
            return Err(directory.fault(format!(
                "was trained with a tokenizer of the fingerprint {trained_with}, and its tokenizer.json has {fingerprint}: \
                 put the tokenizer that it was trained with back"
            )));
        }
        let heads = Heads { value: true, critic: None };
        let policy = directory.policy(|config, tensors| Policy::from_tensors(&config, heads, tensors, device))?;
        let (policy, chat) = (policy.with_score_scale(settings.scale), directory.chat_template()?);
        Ok(Self { policy, tokenizer: directory.tokenizer, chat })
    }

    /// Scores answers to prompts, `batch` at a time. An answer that exceeds the model's context is truncated at its
    /// end.
    ///
    /// # Errors
    /// A text that cannot be encoded, a conversation without a template, or a prompt that leaves no space for its
    /// answer; the message names the index of the answer, from 0.
    pub fn score(&self, answers: &[(Content, Content)], batch: usize) -> Result<Vec<f32>> {
        let encoder = self.encoder();
        let rows = answers.iter().enumerate().map(|(number, (prompt, answer))| {
            let encoded = encoder.answer(prompt, answer);
            encoded.map_err(|(column, reason)| Error::Data(format!("answer {number}: {column}: {reason}")))
        });
        let rows: Vec<TextRow> = rows.collect::<Result<_>>()?;
        let rows: Vec<&TextRow> = rows.iter().collect();
        Ok(self.score_rows(&rows, batch))
    }

    /// Scores rows of tokens, `batch` at a time; each is read whole.
    pub fn score_rows(&self, rows: &[&TextRow], batch: usize) -> Vec<f32> {
        read_answers(&self.policy, Reading::Score, rows, batch)
    }

    /// Encoder of answers for this model.
    pub fn encoder(&self) -> ExampleEncoder<'_> {
        ExampleEncoder {
            tokenizer: &self.tokenizer,
            template: self.chat.as_ref(),
            max_length: self.policy.transformer.config().context,
            too_long: TooLong::Cut,
            border: Border::Apart,
            history: Some(History::AsWritten),
        }
    }
}
