use std::collections::BTreeSet;
use std::sync::Arc;

use rand::RngExt;

use super::{Continuation, Limits, Request};
use crate::math::{Sampling, penalise_repetition, sample_token, token_log_prob};

/// A text that is being read and written.
pub(super) struct Text {
    pub key: usize,
    pub request: Request,
    /// Prompt and continuation.
    pub tokens: Vec<u32>,
    pub continuation: Continuation,
    /// Distinct tokens of the text, if they are penalised.
    repeated: Option<BTreeSet<u32>>,
    max_new_tokens: usize,
    has_values: bool,
}

impl Text {
    /// A text of which nothing is read. `has_values`: the value of each state is wanted.
    pub fn new(key: usize, request: Request, limits: &Limits, sampling: &Sampling, has_values: bool) -> Self {
        let repeated = (sampling.repetition_penalty != 1.0).then(|| request.prompt.iter().copied().collect());
        let mut continuation = Continuation::default();
        continuation.tokens.extend(request.forced.iter().flatten());
        continuation.ended = request.forced.is_some();
        let tokens = [request.prompt.as_slice(), &continuation.tokens].concat();
        let max_new_tokens = request.max_new_tokens(limits);
        Self { key, tokens, continuation, repeated, max_new_tokens, has_values, request }
    }

    /// Number of tokens of the text that must be read for what is missing of its continuation.
    pub fn to_read(&self) -> usize {
        let last = self.tokens.len();
        if !self.is_decided() {
            last
        } else if self.is_finished() {
            0
        } else {
            last - 1
        }
    }

    /// Maximum number of tokens that are read.
    pub fn capacity(&self) -> usize {
        self.request.prompt.len() + self.max_new_tokens.max(1) - 1
    }

    /// Position of the first token whose next one is written.
    pub fn first_state(&self) -> usize {
        self.request.prompt.len() - 1
    }

    /// True if token `index` of the continuation needs logits, once its state is read.
    pub fn is_unscored(&self, index: usize) -> bool {
        self.continuation.log_probs.len() <= index
    }

    /// True if all tokens are chosen.
    fn is_decided(&self) -> bool {
        self.continuation.ended || self.continuation.tokens.len() >= self.max_new_tokens
    }

    /// True if nothing is missing.
    pub fn is_finished(&self) -> bool {
        let Continuation { tokens, log_probs, values, .. } = &self.continuation;
        self.is_decided() && log_probs.len() == tokens.len() && (!self.has_values || values.len() == tokens.len())
    }

    /// True if the next token is forced, and not sampled.
    pub fn is_forced(&self) -> bool {
        self.request.forced.is_some()
    }

    /// Tokens that the first token without a log-probability is chosen from; `None` for any token.
    pub fn allowed(&self) -> Option<Arc<[u32]>> {
        let Continuation { tokens, log_probs, .. } = &self.continuation;
        self.request.choices.as_ref().map(|choices| choices.allowed_after(&tokens[..log_probs.len()]))
    }

    /// Distinct tokens of the text, if they are penalised.
    pub fn repeated(&self) -> Vec<u32> {
        self.repeated.iter().flatten().copied().collect()
    }

    /// The random number of the next token, if it is sampled.
    pub fn uniform(&mut self, sampling: &Sampling) -> f64 {
        if sampling.temperature > 0.0 { self.request.rng.random() } else { 0.0 }
    }

    /// Chooses the first token that has no log-probability by its logits, or scores it if it is forced.
    pub fn choose(&mut self, logits: &mut [f32], limits: &Limits, sampling: &Sampling) {
        if let Some(repeated) = &self.repeated {
            penalise_repetition(logits, repeated.iter().copied(), sampling.repetition_penalty);
        }
        let allowed = self.allowed();
        let allowed = allowed.as_deref();
        let (token, log_prob) = match &self.request.forced {
            Some(forced) => {
                let token = forced[self.continuation.log_probs.len()];
                (token, token_log_prob(logits, allowed, sampling.temperature, token))
            }
            None => sample_token(logits, allowed, sampling, &mut self.request.rng),
        };
        self.accept(token, log_prob, limits, sampling);
    }

    /// As [`Text::choose`], by the logits of the allowed tokens alone, of a text that is not forced.
    pub fn choose_among(&mut self, allowed: &[u32], logits: &mut [f32], limits: &Limits, sampling: &Sampling) {
        if let Some(repeated) = &self.repeated {
            let places = allowed.iter().zip(0..).filter(|(token, _)| repeated.contains(token)).map(|(_, place)| place);
            penalise_repetition(logits, places, sampling.repetition_penalty);
        }
        let (place, log_prob) = sample_token(logits, None, sampling, &mut self.request.rng);
        self.accept(allowed[place as usize], log_prob, limits, sampling);
    }

    /// Takes a token that was chosen, or scored, and writes the tokens after it to which there is no alternative, so that
    /// they are read at once.
    pub fn accept(&mut self, token: u32, log_prob: f32, limits: &Limits, sampling: &Sampling) {
        let allowed = self.allowed();
        self.continuation.allowed.push(allowed);
        self.continuation.log_probs.push(log_prob);
        self.repeated.iter_mut().for_each(|repeated| _ = repeated.insert(token));
        if self.request.forced.is_none() {
            self.write(token, limits);
            self.write_certain(limits, sampling);
        }
    }

    fn write(&mut self, token: u32, limits: &Limits) {
        self.tokens.push(token);
        let Continuation { tokens, ended, .. } = &mut self.continuation;
        tokens.push(token);
        *ended = match &self.request.choices {
            Some(choices) => choices.allowed_after(tokens).is_empty(),
            None => limits.end.contains(&token) || limits.stopped.is_some_and(|stopped| stopped(self.key, token)),
        };
    }

    /// Writes the tokens of a choice that alone can follow. Each still takes its random number.
    fn write_certain(&mut self, limits: &Limits, sampling: &Sampling) {
        let Some(choices) = self.request.choices.clone() else { return };
        while !self.is_decided() {
            let allowed = choices.allowed_after(&self.continuation.tokens);
            let &[token] = &*allowed else { return };
            if sampling.temperature > 0.0 {
                let _: f64 = self.request.rng.random();
            }
            self.continuation.log_probs.push(0.0);
            self.continuation.allowed.push(Some(allowed));
            self.repeated.iter_mut().for_each(|repeated| _ = repeated.insert(token));
            self.write(token, limits);
        }
    }
}
