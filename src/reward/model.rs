//! Reward that scores answers with a reward model.

use std::path::PathBuf;

use palestra_datasets::{Content, Message};
use palestra_envs::reward::{Reward, RewardSource, answer};
use palestra_envs::{Episode, Options, Result};
use palestra_model::Device;
use serde::Deserialize;

use crate::reward_model::RewardModel;
use palestra_learn::batch::TextRow;
use palestra_model::ops::open_device;
use palestra_model::quantize::Quantization;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ModelOptions {
    /// Directory of a reward model in Hugging Face's layout for sequence classification, or of a run that trained one.
    model: Option<PathBuf>,
    /// True if prompts and answers are the messages of a conversation, written by the reward model's chat template.
    chat: bool,
    /// Answers per forward pass.
    batch: usize,
    /// Form of the matrices of the model's blocks: `none`, `bf16`, `int8` or `nf4`; see `lora.quantize`.
    quantize: Quantization,
    /// Device to compute on; if absent, the device of the run.
    device: Option<String>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self { model: None, chat: false, batch: 16, quantize: Quantization::None, device: None }
    }
}

/// Builds the reward `model`.
///
/// # Errors
/// A directory that is missing or holds no reward model; another tokenizer than the model was trained with; `chat` for
/// a model without a chat template.
pub(super) fn build(options: &Options, device: &Device) -> Result<Box<dyn Reward>> {
    let ModelOptions { model, chat, batch, quantize, device: other } = options.parse()?;
    let path = model.ok_or_else(|| {
        options.wrong("model", "missing: name the directory of a reward model, or of a run that trained one")
    })?;
    if batch == 0 {
        return Err(options.wrong("batch", "0 is not at least 1"));
    }
    let device = match other {
        Some(name) => open_device(&name).map_err(|reason| options.wrong("device", reason))?,
        None => device.clone(),
    };
    let mut model = RewardModel::open(&path, &device).map_err(|error| options.wrong("model", error))?;
    model.policy.transformer = model.policy.transformer.quantized(quantize);
    if chat && model.chat.is_none() {
        let reason = format!("{} has no chat template; remove it", path.display());
        return Err(options.wrong("chat", reason));
    }
    Ok(Box::new(Scored { model, chat, batch }))
}

struct Scored {
    model: RewardModel,
    chat: bool,
    batch: usize,
}

impl Reward for Scored {
    /// Scores the last answer of each episode. An answer that the model cannot read has no score.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let encoder = self.model.encoder();
        let row = |episode: &Episode| {
            let (prompt, answer) = self.asked(episode);
            let row = encoder.answer(&prompt, &answer);
            row.inspect_err(|(column, why)| tracing::warn!("episode {}: no score: {column}: {why}", episode.id)).ok()
        };
        let rows: Vec<Option<TextRow>> = episodes.iter().map(row).collect();
        let known: Vec<&TextRow> = rows.iter().flatten().collect();
        let mut scores = self.model.score_rows(&known, self.batch).into_iter();
        Ok(rows.iter().map(|row| row.as_ref().and_then(|_| scores.next())).collect())
    }

    fn source(&self) -> RewardSource {
        RewardSource::Model
    }
}

impl Scored {
    /// Prompt with all earlier turns, and the last answer.
    fn asked(&self, episode: &Episode) -> (Content, Content) {
        let (mut messages, mut text) = (Vec::new(), String::new());
        for (number, turn) in episode.turns.iter().enumerate() {
            messages.extend(turn.observation.to_messages("user"));
            text.push_str(&turn.observation.as_text());
            if number + 1 < episode.turns.len() {
                messages.push(Message::new("assistant", &turn.action));
                text.push_str(&turn.action);
            }
        }
        if self.chat {
            (Content::Messages(messages), Content::Messages(vec![Message::new("assistant", answer(episode))]))
        } else {
            (Content::Text(text), answer(episode).into())
        }
    }
}
