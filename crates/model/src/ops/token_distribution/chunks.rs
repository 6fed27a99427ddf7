use std::ops::Range;

use burn::tensor::kind::Basic;
use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::{Entropy, TokenDistribution, TokenLogProbs};
use crate::math::entropy;
use crate::ops::add_product;
use crate::ops::log_probs::Softmax;

/// Rows outside autodiff that are computed a chunk at a time.
pub(super) struct Chunks {
    distribution: TokenDistribution,
    hidden: Tensor<2>,
    targets: Tensor<1, Int>,
    places: Vec<Range<usize>>,
}

/// Gradients of hidden states, W and b (`[1, vocab]`), of those that are wanted.
type Gradients = [Option<Tensor<2>>; 3];

impl Chunks {
    /// Divides rows into chunks of about equal size whose logits take at most so many bytes; `None` if one is enough.
    ///
    /// # Panics
    /// If the numbers of rows differ.
    pub fn new(
        distribution: &TokenDistribution,
        hidden: &Tensor<2>,
        targets: &Tensor<1, Int>,
        bytes: usize,
    ) -> Option<Self> {
        const FLOAT: usize = 4;
        let ([rows, _], [_, vocab]) = (hidden.dims(), distribution.weight.dims());
        assert_eq!([rows], targets.dims(), "hidden states and targets differ in rows");
        if let Some(allowed) = &distribution.allowed {
            assert_eq!(rows, allowed.count(), "hidden states and allowed tokens differ in rows");
        }
        let most = (bytes / (FLOAT * vocab)).max(1);
        let count = rows.div_ceil(most);
        let place = |chunk: usize| chunk * rows / count;
        (count > 1).then(|| Self {
            distribution: distribution.inner(),
            hidden: hidden.clone().inner(),
            targets: targets.clone().inner(),
            places: (0..count).map(|chunk| place(chunk)..place(chunk + 1)).collect(),
        })
    }

    /// Log-probabilities, and entropies if they are used.
    pub fn forward(&self, entropy: Entropy) -> TokenLogProbs {
        let mut found = Found::default();
        self.places.iter().for_each(|rows| found.add(&self.read(rows), entropy));
        found.finish()
    }

    /// Same as [`Chunks::forward`], with the gradients of the sum of all log-probabilities.
    pub fn forward_and_gradients(&self, entropy: Entropy, wanted: [bool; 3]) -> (TokenLogProbs, Gradients) {
        let (mut found, mut sum) = (Found::default(), GradientSum::default());
        for rows in &self.places {
            let chunk = self.read(rows);
            found.add(&chunk, entropy);
            let one = Tensor::ones([rows.len()], &chunk.hidden.device());
            let hidden = chunk.hidden.clone();
            sum.add(hidden, self.of_logits(chunk, one, None), &self.distribution.weight, wanted);
        }
        (found.finish(), sum.finish())
    }

    /// Gradients, given those of the log-probabilities and the entropies, `[rows]` each.
    pub fn backward(&self, of_log_probs: &Tensor<1>, of_entropy: Option<&Tensor<1>>, wanted: [bool; 3]) -> Gradients {
        let mut sum = GradientSum::default();
        for rows in &self.places {
            let chunk = self.read(rows);
            let hidden = chunk.hidden.clone();
            let of_entropy = of_entropy.map(|of_entropy| part(of_entropy, rows));
            let of_logits = self.of_logits(chunk, part(of_log_probs, rows), of_entropy);
            sum.add(hidden, of_logits, &self.distribution.weight, wanted);
        }
        sum.finish()
    }

    /// Number of rows of each chunk.
    #[cfg(test)]
    pub fn lengths(&self) -> Vec<usize> {
        self.places.iter().map(ExactSizeIterator::len).collect()
    }

    fn read(&self, rows: &Range<usize>) -> Chunk {
        let hidden = part(&self.hidden, rows);
        let scores = self.distribution.scores(hidden.clone(), rows.clone());
        let targets = part(&self.targets, rows);
        Chunk { hidden, targets, slope: self.slope(&scores), softmax: Softmax::of(scores), rows: rows.clone() }
    }

    /// Slope of the bound at logits that are bounded, `d cap(x) / dx = 1 - (cap(x) / c)^2`.
    fn slope(&self, scores: &Tensor<2>) -> Option<Tensor<2>> {
        let scale = f64::from(self.distribution.temperature);
        let cap = self.distribution.soft_cap?;
        Some(scores.clone().mul_scalar(scale / cap).square().neg().add_scalar(1.0))
    }

    /// Gradient of a chunk's logits, `[rows, vocab]`. With p the probabilities, H the entropy, and g and e the gradients
    /// of log-probability and entropy, the gradient of score i is `g ((i == target) - p_i) - e p_i (log p_i + H)`.
    fn of_logits(&self, chunk: Chunk, g: Tensor<1>, e: Option<Tensor<1>>) -> Tensor<2> {
        let Chunk { targets, softmax, slope, rows, .. } = chunk;
        let mut gradient = match e {
            None => softmax.gradient(&targets, g),
            Some(e) => {
                let log_probs = softmax.log_probs();
                let [g, e]: [Tensor<2>; 2] = [g, e].map(|gradient| gradient.unsqueeze_dim(1));
                let constant = g.clone() + e.clone() * entropy(log_probs.clone()).unsqueeze_dim(1);
                let spread = log_probs.clone().exp() * (log_probs * e.neg() - constant);
                spread.scatter(1, targets.unsqueeze_dim(1), g, IndexingUpdateOp::Add)
            }
        };
        let ([_, vocab], device) = (gradient.dims(), gradient.device());
        let TokenDistribution { allowed, temperature, .. } = &self.distribution;
        if let Some(forbidden) = allowed.as_ref().and_then(|allowed| allowed.forbidden(rows, vocab, &device)) {
            gradient = gradient.mask_fill(forbidden, 0.0);
        }
        if *temperature != 1.0 {
            gradient = gradient.div_scalar(*temperature);
        }
        match slope {
            Some(slope) => gradient * slope,
            None => gradient,
        }
    }
}

/// A chunk of rows, computed.
struct Chunk {
    hidden: Tensor<2>,
    targets: Tensor<1, Int>,
    softmax: Softmax,
    /// Slope of the bound at each logit, if they are bounded.
    slope: Option<Tensor<2>>,
    rows: Range<usize>,
}

/// Results of the chunks so far.
#[derive(Default)]
struct Found {
    log_probs: Vec<Tensor<1>>,
    entropies: Vec<Tensor<1>>,
}

impl Found {
    fn add(&mut self, chunk: &Chunk, wanted: Entropy) {
        self.log_probs.push(chunk.softmax.selected(&chunk.targets));
        if wanted != Entropy::Unused {
            self.entropies.push(entropy(chunk.softmax.log_probs()));
        }
    }

    fn finish(self) -> TokenLogProbs {
        let Self { log_probs, entropies } = self;
        let entropy = (!entropies.is_empty()).then(|| Tensor::cat(entropies, 0));
        TokenLogProbs { log_probs: Tensor::cat(log_probs, 0), entropy }
    }
}

/// Gradients of the chunks so far.
#[derive(Default)]
struct GradientSum {
    hidden: Vec<Tensor<2>>,
    weight: Option<Tensor<2>>,
    bias: Option<Tensor<2>>,
}

impl GradientSum {
    /// Adds a chunk, given the gradient of its logits.
    fn add(&mut self, hidden: Tensor<2>, of_logits: Tensor<2>, weight: &Tensor<2>, wanted: [bool; 3]) {
        let [of_hidden, of_weight, of_bias] = wanted;
        if of_hidden {
            self.hidden.push(of_logits.clone().matmul(weight.clone().transpose()));
        }
        if of_bias {
            let part = of_logits.clone().sum_dim(0);
            self.bias = Some(match self.bias.take() {
                Some(sum) => sum + part,
                None => part,
            });
        }
        if of_weight {
            let hidden = hidden.transpose();
            match &mut self.weight {
                Some(sum) => add_product(sum, hidden, of_logits),
                none => *none = Some(hidden.matmul(of_logits)),
            }
        }
    }

    fn finish(self) -> Gradients {
        let Self { hidden, weight, bias } = self;
        [(!hidden.is_empty()).then(|| Tensor::cat(hidden, 0)), weight, bias]
    }
}

fn part<const D: usize, K: Basic>(of_all: &Tensor<D, K>, rows: &Range<usize>) -> Tensor<D, K> {
    of_all.clone().narrow(0, rows.start, rows.len())
}
