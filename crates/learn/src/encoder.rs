//! Encoding of episodes as tokens: prompts, allowed actions, and written actions.
//!
//! No other module builds contexts. Rollouts and logged episodes share this code, so that a policy reads the same
//! tokens in both. This module knows tokenizers and episodes; it knows no models, environments or files.

use std::collections::HashMap;
use std::sync::Arc;

use palestra_datasets::{Content, End, Episode, Turn};
use serde::{Deserialize, Serialize};

use crate::trajectory::{ActionToken, Segment, Trajectory};
use crate::{Error, Result};
use palestra_model::generate::Choices;
use palestra_model::{EndTokens, GenerationConfig};
use palestra_text::{ChatTemplate, History, Message, Tokenizer};

/// Context of the policy when it writes an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Context {
    /// The observation of this turn alone.
    Observation,
    /// The whole episode so far; if that exceeds the model's context, it starts again from this turn.
    Transcript,
}

/// Settings of the context.
#[derive(Debug, Clone)]
pub struct Encoding {
    /// Context of the policy.
    pub context: Context,
    /// Treatment of earlier turns by a chat template that rewrites them.
    pub history: Option<History>,
    /// Max length of the context, in tokens.
    pub max_length: usize,
    /// True if only legal actions are allowed, where they are listed.
    pub legal_actions_only: bool,
    /// Decimals of the return to go before each observation; `None`: there is no return to go.
    pub return_to_go: Option<usize>,
}

/// Encoder of episodes, with one tokenizer and fixed settings.
#[derive(Debug, Clone)]
pub struct Encoder {
    tokenizer: Tokenizer,
    ends: EndTokens,
    encoding: Encoding,
    chat: Option<ChatTemplate>,
    /// Token sequences of the lists of legal actions seen so far.
    choices: HashMap<Arc<[String]>, Arc<Choices>>,
}

/// Characters of a return to go, in addition to those of a game.
pub const RETURN_ALPHABET: &str = "0123456789.- ";

/// Lists of legal actions whose tokens are kept.
const MAX_CHOICES: usize = 4096;

impl Encoder {
    /// Creates an encoder of episodes, in which the tokenizer's end token alone ends an action.
    pub fn new(tokenizer: Tokenizer, encoding: Encoding) -> Self {
        let ends = EndTokens::new(tokenizer.special().end, &GenerationConfig::default());
        Self { tokenizer, ends, encoding, chat: None, choices: HashMap::new() }
    }

    /// Sets the tokens that end an action.
    pub fn with_ends(self, ends: EndTokens) -> Self {
        Self { ends, ..self }
    }

    /// Formats observations with a chat template: a text as a user message, messages as they are. Without one, messages
    /// are read as the lines of [`Content::as_text`].
    pub fn with_chat(self, template: ChatTemplate) -> Self {
        Self { chat: Some(template), ..self }
    }

    /// Tokenizer of this encoder.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens that end an action.
    pub fn ends(&self) -> &EndTokens {
        &self.ends
    }

    /// Settings of the context.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// Returns the prompt of an action of at most `max_new_tokens` tokens: the tokens of the episode so far, if the context
    /// includes them, and this turn's observation. With [`History::AsTemplate`] the template writes all `turns` so far anew,
    /// as long as they fit.
    ///
    /// # Errors
    /// Characters that the tokenizer lacks; an observation that is empty, or too long for the model; a chat template that
    /// rewrites earlier turns, without a history.
    pub fn prompt(
        &self,
        so_far: &[u32],
        turns: &[Turn],
        observation: &Content,
        return_to_go: Option<f32>,
        max_new_tokens: usize,
    ) -> Result<Vec<u32>> {
        let so_far = if self.encoding.context == Context::Transcript { so_far } else { &[] };
        let rewritten =
            (self.chat.as_ref()).filter(|_| self.encoding.history == Some(History::AsTemplate) && !so_far.is_empty());
        let mut prompt = match rewritten {
            Some(template) => self.rewritten(template, turns, observation)?,
            None => self.shown(so_far, observation, return_to_go)?,
        };
        let context = self.encoding.max_length;
        if prompt.len() + max_new_tokens > context && !so_far.is_empty() {
            prompt = self.shown(&[], observation, return_to_go)?;
        }
        if prompt.len() + max_new_tokens > context {
            return Err(Error::Config(format!(
                "model.context: {context} is too short for an observation of {} tokens and an action of {max_new_tokens}; it \
                 should be at least {}",
                prompt.len(),
                prompt.len() + max_new_tokens
            )));
        }
        if prompt.is_empty() {
            return Err(Error::Config(
                "an empty observation gives the model nothing to read; choose a view that shows the state".to_string(),
            ));
        }
        Ok(prompt)
    }

    /// The whole conversation so far as the template writes it, up to this turn's observation.
    fn rewritten(&self, template: &ChatTemplate, turns: &[Turn], observation: &Content) -> Result<Vec<u32>> {
        let written = turns.iter().flat_map(|turn| {
            let answer = Message::new("assistant", turn.action.as_str());
            turn.observation.to_messages("user").into_iter().chain([answer])
        });
        let messages: Vec<Message> = written.chain(observation.to_messages("user")).collect();
        let mut prompt = Vec::new();
        self.tokenizer.encode(&template.render(&messages, true)?, &mut prompt)?;
        Ok(prompt)
    }

    /// Appends an observation to the tokens of the episode so far.
    fn shown(&self, so_far: &[u32], observation: &Content, return_to_go: Option<f32>) -> Result<Vec<u32>> {
        let special = self.tokenizer.special();
        let mut prompt = so_far.to_vec();
        if let Some(template) = &self.chat {
            let messages = observation.to_messages("user");
            let text = if so_far.is_empty() {
                template.render(&messages, true)?
            } else {
                // A truncated answer still gets its end token before the next message.
                prompt.extend(special.end.filter(|_| !self.ends.end(so_far)));
                template.render_further(&messages, self.encoding.history)?
            };
            self.tokenizer.encode(&text, &mut prompt)?;
            return Ok(prompt);
        }
        if so_far.is_empty() {
            prompt.extend(self.tokenizer.beginning());
        }
        prompt.extend(special.observation);
        if let Some((decimals, return_to_go)) = self.encoding.return_to_go.zip(return_to_go) {
            let rounded = format!("{return_to_go:.decimals$} ");
            let unsigned = rounded.strip_prefix('-').filter(|rest| rest.trim_end().bytes().all(|b| b"0.".contains(&b)));
            self.tokenizer.encode(unsigned.unwrap_or(&rounded), &mut prompt)?; // -0.0 is 0.0
        }
        self.tokenizer.encode(&observation.as_text(), &mut prompt)?;
        prompt.extend(special.action);
        Ok(prompt)
    }

    /// Returns the token sequences of a list of legal actions; `None` if any text is allowed.
    ///
    /// # Errors
    /// Characters that the tokenizer lacks.
    pub fn choices(&mut self, legal_actions: Option<&[String]>) -> Result<Option<Arc<Choices>>> {
        let Some(actions) = legal_actions.filter(|_| self.encoding.legal_actions_only) else { return Ok(None) };
        if actions.is_empty() {
            return Err(Error::Data(
                "legal_actions: the list is empty, so nothing can be written; leave it out, or end the \
                                    episode"
                    .into(),
            ));
        }
        if let Some(choices) = self.choices.get(actions) {
            return Ok(Some(Arc::clone(choices)));
        }
        let mut sequences = Vec::with_capacity(actions.len());
        for action in actions {
            let mut tokens = Vec::new();
            self.tokenizer.encode(action, &mut tokens)?;
            sequences.push(tokens);
        }
        let end = self.tokenizer.special().end.unwrap_or(self.tokenizer.special().pad);
        let choices = Arc::new(Choices::new(sequences, end));
        // A game whose lists never repeat would keep them all.
        if self.choices.len() == MAX_CHOICES {
            self.choices.clear();
        }
        self.choices.insert(actions.into(), Arc::clone(&choices));
        Ok(Some(choices))
    }

    /// Encodes a logged episode. Logged ids are used if they belong to this tokenizer; otherwise the text is encoded.
    /// Each turn's reward is on its last token.
    ///
    /// # Errors
    /// As [`Encoder::prompt`], naming the episode and the turn.
    pub fn trajectory(&mut self, episode: &Episode) -> Result<Trajectory> {
        let has_our_ids = episode.tokenizer_hash.as_deref() == Some(self.tokenizer.fingerprint());
        let (segments, return_to_go) = self
            .segments(&episode.turns, episode.total_reward() as f32, has_our_ids)
            .map_err(|error| Error::Data(format!("episode {}, {error}", episode.id)))?;
        let last = episode.final_observation.as_ref().filter(|_| episode.end == Some(End::Truncated));
        let so_far = segments.last().map_or(&[][..], |segment| &segment.tokens);
        let final_prompt = match last.filter(|content| !content.is_empty()) {
            Some(content) => Some(self.prompt(so_far, &episode.turns, content, Some(return_to_go), 0)?),
            None => None,
        };
        let mut trajectory = Trajectory { segments, end: episode.end, final_prompt, ..Trajectory::default() };
        trajectory.set_rewards(&episode.turns);
        Ok(trajectory)
    }

    /// Prompt of the action after `turns`, as [`Encoder::prompt`] writes it. The turns are encoded anew from their texts;
    /// `target_return` is that of the whole episode.
    ///
    /// # Errors
    /// As [`Encoder::trajectory`].
    pub fn prompt_after(
        &mut self,
        turns: &[Turn],
        observation: &Content,
        target_return: Option<f32>,
        max_new_tokens: usize,
    ) -> Result<Vec<u32>> {
        let earlier = if self.encoding.context == Context::Transcript { turns } else { &[] };
        let (segments, _) = self.segments(earlier, target_return.unwrap_or_default(), false)?;
        let so_far = segments.last().map_or(&[][..], |segment| &segment.tokens);
        let return_to_go = target_return.map(|target| turns.iter().fold(target, |left, turn| left - turn.reward));
        self.prompt(so_far, turns, observation, return_to_go, max_new_tokens)
    }

    /// Segments of turns from the beginning of an episode, and the return to go after them.
    fn segments(&mut self, turns: &[Turn], mut return_to_go: f32, has_our_ids: bool) -> Result<(Vec<Segment>, f32)> {
        let mut segments: Vec<Segment> = Vec::new();
        for (number, turn) in turns.iter().enumerate() {
            let segment = segments.last();
            let so_far = segment.map_or(&[][..], |segment| &segment.tokens);
            let (segment, goes_on) = self
                .turn(so_far, &turns[..number], turn, return_to_go, has_our_ids)
                .map_err(|error| Error::Data(format!("step {number}: {error}")))?;
            match segments.last_mut().filter(|_| goes_on) {
                Some(last) => {
                    last.tokens = segment.tokens;
                    last.actions.extend(segment.actions);
                }
                None => segments.push(segment),
            }
            return_to_go -= turn.reward;
        }
        Ok((segments, return_to_go))
    }

    /// Encodes the turn after `turns`; the bool is true if the turn continues the tokens of the episode so far.
    fn turn(
        &mut self,
        so_far: &[u32],
        turns: &[Turn],
        turn: &Turn,
        return_to_go: f32,
        has_our_ids: bool,
    ) -> Result<(Segment, bool)> {
        let choices = self.choices(turn.legal_actions.as_deref())?;
        let written = self.action(turn, choices.as_deref(), has_our_ids)?;
        let mut tokens = self.prompt(so_far, turns, &turn.observation, Some(return_to_go), written.len())?;
        let goes_on = !so_far.is_empty() && tokens.starts_with(so_far);
        let from = tokens.len();
        let choices = choices.filter(|choices| choices.contains(&written));
        let log_probs = turn.log_probs.as_ref().filter(|log_probs| log_probs.len() == written.len());
        let action = |i: usize| ActionToken {
            at: from + i,
            turn: turns.len(),
            log_prob: log_probs.map_or(0.0, |log_probs| log_probs[i]),
            reference_log_prob: None,
            value: 0.0,
            reward: 0.0,
            allowed: choices.as_ref().map(|choices| choices.allowed_after(&written[..i])),
        };
        let actions = (0..written.len()).map(action).collect();
        tokens.extend(&written);
        Ok((Segment { tokens, actions }, goes_on))
    }

    /// Tokens of a logged action: its logged ids if they belong to this tokenizer.
    fn action(&self, turn: &Turn, choices: Option<&Choices>, has_our_ids: bool) -> Result<Vec<u32>> {
        if let Some(ids) = turn.action_ids.as_ref().filter(|ids| has_our_ids && !ids.is_empty()) {
            return Ok(ids.clone());
        }
        self.written(&turn.action, choices)
    }

    /// Encodes an action, with the end token if the action is not complete without it.
    ///
    /// # Errors
    /// Characters that the tokenizer lacks, or nothing to write.
    pub fn written(&self, action: &str, choices: Option<&Choices>) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        self.tokenizer.encode(action, &mut tokens)?;
        if !choices.is_some_and(|choices| choices.contains(&tokens)) {
            tokens.extend(self.tokenizer.special().end);
        }
        match tokens.is_empty() {
            true => Err(Error::Data("action: it is empty, and the tokenizer has no token that ends a text".into())),
            false => Ok(tokens),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
