//! The choice of the next token of each text: on the host for small vocabularies, on the device for large ones.

use burn::tensor::Tensor;

use super::engine::Row;
use super::text::Text;
use super::{Limits, column, host};
use crate::math::{Sampling, likely_tokens, logits_of, penalise_repetitions, sample_token_by, sample_tokens};

/// Size of a vocabulary from which tokens are chosen on the device. Below, a row of logits is brought to the host
/// faster than the operations on the device begin.
pub(super) const LARGE_VOCABULARY: usize = 2048;

/// Number of likely tokens that are brought to the host where the unlikely ones are cut off.
const LIKELY: usize = 512;

/// Chooses or scores the next token of texts, by scores of `[texts, vocabulary]`. `texts` are rows of the engine; one that
/// is there several times is a forced text, whose next tokens are scored one after the other.
pub(super) struct Choosing<'a> {
    pub rows: &'a mut [Row],
    pub limits: &'a Limits<'a>,
    pub sampling: &'a Sampling,
    /// Size of a vocabulary from which tokens are chosen on the device.
    pub large: usize,
}

impl Choosing<'_> {
    pub fn choose(&mut self, scores: Tensor<2>, texts: Vec<usize>) {
        if scores.dims()[1] < self.large {
            return self.on_host(scores, texts);
        }
        let (mut whole, mut among, mut free) = (Vec::new(), Vec::new(), Vec::new());
        for (at, &row) in texts.iter().enumerate() {
            let Some(text) = &self.rows[row].text else { continue };
            let kind = match (text.is_forced(), &text.request.choices) {
                (true, _) => &mut whole,
                (false, Some(_)) => &mut among,
                (false, None) => &mut free,
            };
            kind.push((at, row));
        }
        let part = |kind: &[(usize, usize)]| match kind.len() == texts.len() {
            true => scores.clone(),
            false => {
                let at = column(kind.iter().map(|(at, _)| *at as u32), &scores.device());
                scores.clone().select(0, at.squeeze_dim(1))
            }
        };
        let rows = |kind: &[(usize, usize)]| kind.iter().map(|(_, row)| *row).collect::<Vec<_>>();
        if !whole.is_empty() {
            self.on_host(part(&whole), rows(&whole));
        }
        if !among.is_empty() {
            self.among_few(part(&among), rows(&among));
        }
        if !free.is_empty() {
            self.on_device(part(&free), rows(&free));
        }
    }

    fn text(&mut self, row: usize) -> &mut Text {
        self.rows[row].text.as_mut().expect("a row that was read has a text")
    }

    fn on_host(&mut self, scores: Tensor<2>, texts: Vec<usize>) {
        let [_, vocabulary] = scores.dims();
        let (limits, sampling) = (self.limits, self.sampling);
        let mut scores = host(scores.into_data());
        for (&row, logits) in texts.iter().zip(scores.chunks_exact_mut(vocabulary)) {
            self.text(row).choose(logits, limits, sampling);
        }
    }

    /// Brings the scores of the allowed tokens alone to the host.
    fn among_few(&mut self, scores: Tensor<2>, texts: Vec<usize>) {
        let (limits, sampling) = (self.limits, self.sampling);
        let allowed: Vec<_> = texts.iter().map(|&row| self.text(row).allowed().unwrap_or_default()).collect();
        let logits = logits_of(scores, &allowed.iter().map(|allowed| &**allowed).collect::<Vec<_>>());
        for ((&row, allowed), mut logits) in texts.iter().zip(&allowed).zip(logits) {
            self.text(row).choose_among(allowed, &mut logits, limits, sampling);
        }
    }

    fn on_device(&mut self, mut scores: Tensor<2>, texts: Vec<usize>) {
        let [_, vocabulary] = scores.dims();
        let (limits, sampling) = (self.limits, self.sampling);
        if sampling.repetition_penalty != 1.0 {
            let repeated: Vec<Vec<u32>> = texts.iter().map(|&row| self.text(row).repeated()).collect();
            let repeated: Vec<&[u32]> = repeated.iter().map(Vec::as_slice).collect();
            scores = penalise_repetitions(scores, &repeated, sampling.repetition_penalty);
        }
        if sampling.temperature <= 0.0 || !sampling.truncates() {
            let uniform: Vec<f64> = texts.iter().map(|&row| self.text(row).uniform(sampling)).collect();
            let chosen = sample_tokens(scores, sampling.temperature, &uniform);
            for (&row, (token, log_prob)) in texts.iter().zip(chosen) {
                self.text(row).accept(token, log_prob, limits, sampling);
            }
            return;
        }
        let likely = likely_tokens(scores.clone(), sampling.temperature, LIKELY.max(2 * sampling.top_k));
        for (at, (&row, likely)) in texts.iter().zip(likely).enumerate() {
            let text = self.text(row);
            let uniform = text.uniform(sampling);
            let (token, log_prob) = likely.sample(sampling, vocabulary, uniform).unwrap_or_else(|| {
                let logits = host(scores.clone().narrow(0, at, 1).into_data());
                sample_token_by(&logits, None, sampling, uniform)
            });
            text.accept(token, log_prob, limits, sampling);
        }
    }
}
