//! The distribution of the next token, from the hidden state that predicts it: log-probabilities and entropies, with
//! gradients, that never hold the logits of all rows at once.

mod chunks;
#[cfg(test)]
mod tests;

use std::ops::Range;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, module};

use super::gradient_rule::with_gradient_rule;
use super::{AllowedTokens, OutputVocabulary, selected_log_probs};
use crate::math::entropy;
use chunks::Chunks;

/// Bytes of the logits of a chunk of rows. The few buffers of this size are small beside a model whose vocabulary needs
/// chunks, and its rows, 341 for 49,152 tokens, are enough for matrix products at full speed. Logits that fit into one
/// chunk are left to autodiff, which keeps them instead of computing them again.
pub const LOGITS_CHUNK: usize = 64 << 20;

/// Distribution of the next token as a function of a hidden state:
/// `softmax(cap(hidden W + b) / temperature)` over the tokens that are allowed, `cap(x) = c tanh(x / c)`.
#[derive(Clone, Debug)]
pub struct TokenDistribution {
    /// W, `[width, vocab]`. Ids beyond the vocabulary have no column.
    pub weight: Tensor<2>,
    /// b, `[vocab]`.
    pub bias: Option<Tensor<1>>,
    /// c, the bound of the logits ([Gemma 2 2024](https://arxiv.org/abs/2408.00118), section 2); `None` for no bound.
    pub soft_cap: Option<f64>,
    /// Temperature, above 0.
    pub temperature: f32,
    /// Tokens that each row may choose among; `None`: any.
    pub allowed: Option<AllowedTokens>,
    /// Tokens that it is over, of as many ids as W has columns.
    pub vocabulary: OutputVocabulary,
}

/// Use of entropies by a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entropy {
    /// Not computed.
    Unused,
    /// Computed without a gradient.
    Measured,
    /// Computed with a gradient.
    InLoss,
}

/// Log-probabilities of tokens, and the entropies of the distributions that they are from.
#[derive(Clone, Debug)]
pub struct TokenLogProbs {
    /// Log-probability of each row's target, `[rows]`.
    pub log_probs: Tensor<1>,
    /// Entropy of each row, `[rows]`, if it is used.
    pub entropy: Option<Tensor<1>>,
}

impl TokenDistribution {
    /// Same distribution over the tokens of a vocabulary.
    #[must_use]
    pub fn over(self, vocabulary: OutputVocabulary) -> Self {
        let size = vocabulary.size();
        if self.weight.dims()[1] == size {
            return Self { vocabulary, ..self };
        }
        let bias = self.bias.map(|bias| bias.narrow(0, 0, size));
        Self { weight: self.weight.narrow(1, 0, size), bias, vocabulary, ..self }
    }

    /// Log-probabilities of `targets`, `[rows]`, from `hidden`, `[rows, width]`. Differentiable in `hidden`, W and b.
    ///
    /// Logits of more than one chunk are computed again in the backward pass, unless W and b are frozen and the entropy
    /// is not in the loss: then the forward pass makes the gradient of each log-probability, which is as large as
    /// `hidden`.
    ///
    /// # Panics
    /// If the numbers of rows differ.
    pub fn log_probs(&self, hidden: Tensor<2>, targets: Tensor<1, Int>, entropy: Entropy) -> TokenLogProbs {
        self.log_probs_by(LOGITS_CHUNK, hidden, targets, entropy)
    }

    /// Sum of the log-probabilities of all targets, `[1]`. Differentiable as [`TokenDistribution::log_probs`]; but since
    /// the gradient of the sum is known but for a factor, it is made in the forward pass, and no logits are computed
    /// again.
    ///
    /// # Panics
    /// If the numbers of rows differ.
    pub fn log_likelihood(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        self.log_likelihood_by(LOGITS_CHUNK, hidden, targets)
    }

    fn log_probs_by(
        &self,
        chunk: usize,
        hidden: Tensor<2>,
        targets: Tensor<1, Int>,
        entropy: Entropy,
    ) -> TokenLogProbs {
        let Some(chunks) = Chunks::new(self, &hidden, &targets, chunk) else {
            return self.composed(hidden, targets, entropy);
        };
        let (inputs, tracked) = self.inputs(hidden);
        if tracked == [false; 3] {
            return chunks.forward(entropy);
        }
        if tracked == [true, false, false] && entropy != Entropy::InLoss {
            let (found, [of_hidden, ..]) = chunks.forward_and_gradients(entropy, tracked);
            let rule = |gradient: Tensor<1>, _| {
                [of_hidden.map(|of_hidden| of_hidden * gradient.unsqueeze_dim(1)), None, None].into()
            };
            let log_probs = with_gradient_rule(inputs, found.log_probs, Box::new(rule));
            return TokenLogProbs { log_probs, entropy: found.entropy };
        }
        let TokenLogProbs { log_probs, entropy: found } = chunks.forward(entropy);
        match (entropy, found) {
            (Entropy::InLoss, Some(found)) => {
                // An operation has one output.
                let [rows] = found.dims();
                let rule = move |gradient: Tensor<1>, wanted| {
                    let of_entropy = gradient.clone().narrow(0, rows, rows);
                    chunks.backward(&gradient.narrow(0, 0, rows), Some(&of_entropy), wanted).into()
                };
                let both = with_gradient_rule(inputs, Tensor::cat(vec![log_probs, found], 0), Box::new(rule));
                TokenLogProbs { log_probs: both.clone().narrow(0, 0, rows), entropy: Some(both.narrow(0, rows, rows)) }
            }
            (_, entropy) => {
                let rule = move |gradient: Tensor<1>, wanted| chunks.backward(&gradient, None, wanted).into();
                TokenLogProbs { log_probs: with_gradient_rule(inputs, log_probs, Box::new(rule)), entropy }
            }
        }
    }

    fn log_likelihood_by(&self, chunk: usize, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let Some(chunks) = Chunks::new(self, &hidden, &targets, chunk) else {
            return self.composed(hidden, targets, Entropy::Unused).log_probs.sum();
        };
        let (inputs, tracked) = self.inputs(hidden);
        if tracked == [false; 3] {
            return chunks.forward(Entropy::Unused).log_probs.sum();
        }
        let (found, gradients) = chunks.forward_and_gradients(Entropy::Unused, tracked);
        let rule =
            |factor: Tensor<1>, _| gradients.map(|found| found.map(|found| found * factor.clone().unsqueeze())).into();
        with_gradient_rule(inputs, found.log_probs.sum(), Box::new(rule))
    }

    /// All rows at once, differentiated by autodiff.
    fn composed(&self, hidden: Tensor<2>, targets: Tensor<1, Int>, wanted: Entropy) -> TokenLogProbs {
        let [rows, _] = hidden.dims();
        let scores = self.scores(hidden, 0..rows);
        if wanted == Entropy::Unused {
            return TokenLogProbs { log_probs: selected_log_probs(scores, targets), entropy: None };
        }
        let all = log_softmax(scores, 1);
        let log_probs = all.clone().gather(1, targets.unsqueeze_dim(1)).squeeze_dim(1);
        let measured = if wanted == Entropy::Measured { all.detach() } else { all };
        TokenLogProbs { log_probs, entropy: Some(entropy(measured)) }
    }

    /// Log-probabilities of all tokens up to a constant of each row, `[rows, width]` to `[rows, vocab]`. `rows` is their
    /// place among all rows.
    fn scores(&self, hidden: Tensor<2>, rows: Range<usize>) -> Tensor<2> {
        let mut scores = module::linear(hidden, self.weight.clone(), self.bias.clone());
        #[cfg(test)]
        tests::observe(&scores);
        if let Some(cap) = self.soft_cap {
            scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
        }
        if self.temperature != 1.0 {
            scores = scores.div_scalar(self.temperature);
        }
        let scores = self.vocabulary.without_holes(scores);
        match &self.allowed {
            Some(allowed) => allowed.mask(scores, rows),
            None => scores,
        }
    }

    /// Hidden states, W and b as matrices; and which of them are differentiated.
    fn inputs(&self, hidden: Tensor<2>) -> ([Tensor<2>; 3], [bool; 3]) {
        let no_bias = || Tensor::zeros([1, 1], &hidden.device());
        let bias = self.bias.clone().map_or_else(no_bias, |bias| bias.unsqueeze());
        let inputs = [hidden, self.weight.clone(), bias];
        let tracked = inputs.each_ref().map(Tensor::is_tracked);
        (inputs, tracked)
    }

    /// The same distribution outside autodiff.
    fn inner(&self) -> Self {
        let (weight, bias) = (self.weight.clone().inner(), self.bias.clone().map(Tensor::inner));
        Self { weight, bias, allowed: self.allowed.clone(), vocabulary: self.vocabulary.clone(), ..*self }
    }
}
