//! The policy: a language model that acts, with the value heads that its learner needs.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::cache::{CacheShape, Pass, Reading, SharedPrefix};
use super::critic::{Critic, CriticShape};
use super::huggingface::is_own;
use super::layers::Init;
use super::{FrozenMatrices, KvCache, Linear, ModelConfig, Placement, Precision, Transformer, parameters};
use crate::Result;
use crate::checkpoint::Tensors;
use crate::ops::{OutputVocabulary, TokenDistribution};
use crate::quantize::Quantization;

/// A language model that acts by writing tokens: the actor, and with value heads the critic.
#[derive(Module, Debug)]
pub struct Policy {
    /// The language model.
    pub transformer: Transformer,
    /// Value head: the value of a state, read at the last token before the model writes, `[width, 1]`.
    pub value_head: Option<Linear>,
    /// Critic: values of tokens and states, learned from logged experience.
    pub critic: Option<Critic>,
    #[module(skip)]
    decoding: Decoding,
    #[module(skip)]
    score_scale: f32,
    /// Tokens that it chooses among.
    #[module(skip)]
    vocabulary: OutputVocabulary,
}

/// Heads of a policy beside its language model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heads {
    /// A linear value head on the language model.
    pub value: bool,
    /// A critic.
    pub critic: Option<CriticShape>,
}

/// Scores that a policy chooses tokens by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Decoding {
    /// Log-probabilities of the language model alone: log pi.
    #[default]
    Model,
    /// `log pi + beta (Q - V)` ([Snell et al. 2023](https://arxiv.org/abs/2206.11871)). V is the same for all tokens of
    /// a state, so it changes no choice and is left out. With `beta = 0` it is the language model.
    Advantage {
        /// Weight of the values against the language model.
        beta: f32,
    },
    /// `beta Q`: action values alone.
    Values {
        /// The inverse temperature.
        beta: f32,
    },
}

/// Hidden states of tokens, `[rows, width]` each.
#[derive(Clone)]
pub struct Hidden {
    /// Hidden states of the language model.
    pub actor: Tensor<2>,
    /// Hidden states of the critic, if tokens are chosen by its values.
    pub critic: Option<Tensor<2>>,
}

/// Key-value caches of a policy's transformers.
pub struct PolicyCache {
    actor: KvCache,
    critic: Option<KvCache>,
}

impl Policy {
    /// A newly initialised policy. The seed fixes its weights on every device; those of the language model do not
    /// depend on the heads. Heads start at zero.
    pub fn new(config: &ModelConfig, heads: Heads, seed: u64, device: &Device) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let transformer = Transformer::new(config, &mut Init::Random(&mut rng), device);
        Self::with_heads(transformer, heads, &mut Init::Random(&mut rng), device)
    }

    /// A policy with all of its weights given.
    ///
    /// # Errors
    /// Names each weight that is missing, unknown or of another shape.
    pub fn from_tensors(
        config: &ModelConfig,
        heads: Heads,
        tensors: Tensors,
        device: &Device,
    ) -> Result<Self, Vec<String>> {
        let transformer = Transformer::new(config, &mut Init::Blank, device);
        let blank = Self::with_heads(transformer, heads, &mut Init::Blank, device);
        parameters::replace(blank, parameters::data_of(tensors))
    }

    /// A policy that starts from a pretrained language model. Heads that are not among the weights are newly
    /// initialised, heads of another learner are dropped, and a critic's trunk starts as a copy of the language model, none
    /// of whose matrices is frozen then.
    ///
    /// # Errors
    /// Names each weight that is missing, unknown or of another shape.
    pub fn starting_from(
        config: &ModelConfig,
        heads: Heads,
        tensors: Tensors,
        frozen: FrozenMatrices,
        seed: u64,
        device: &Device,
    ) -> Result<Self, Vec<String>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let transformer = Transformer::new(config, &mut Init::Blank, device).with_frozen(frozen);
        let policy = Self::with_heads(transformer, heads, &mut Init::Random(&mut rng), device);
        let known = parameters::names(&policy);
        let mut kinds = Tensors::new();
        // A checkpoint's own trunk of values is taken whole.
        let own_trunks = ["trunk", "target_trunk"].map(|trunk| {
            let prefix = format!("critic.{trunk}.");
            (trunk, tensors.keys().any(|name| name.starts_with(&prefix)))
        });
        for (name, tensor) in tensors {
            for (trunk, is_there) in own_trunks {
                let in_critic = format!("critic.{trunk}.{name}");
                if !is_there && known.contains(&in_critic) {
                    kinds.insert(in_critic, tensor.clone());
                }
            }
            if !is_own(&name) || known.contains(&name) {
                kinds.insert(name, tensor);
            }
        }
        let missing: Vec<String> = known
            .into_iter()
            .filter(|name| !is_own(name) && !kinds.contains_key(name))
            .map(|name| format!("{name} is missing"))
            .collect();
        if missing.is_empty() { parameters::replace_some(policy, parameters::data_of(kinds)) } else { Err(missing) }
    }

    fn with_heads(transformer: Transformer, heads: Heads, init: &mut Init, device: &Device) -> Self {
        let config = transformer.config();
        let vocabulary = OutputVocabulary::whole(config.vocab_size);
        let value_head = heads.value.then(|| Linear::new([config.width, 1], 0.0, true, init, device));
        let critic = heads.critic.map(|shape| Critic::new(config, shape, &transformer, init, device));
        Self { transformer, value_head, critic, decoding: Decoding::Model, score_scale: 1.0, vocabulary }
    }

    /// The policy with this decoding.
    ///
    /// # Panics
    /// If the decoding needs action values and there is no critic with action-value heads.
    #[must_use]
    pub fn with_decoding(mut self, decoding: Decoding) -> Self {
        let has_values = self.critic.as_ref().is_some_and(|critic| !critic.q.is_empty());
        assert!(decoding == Decoding::Model || has_values, "there are no values to choose by");
        self.decoding = decoding;
        self
    }

    /// Computes hidden states, `[batch, time]` to `[batch * time, width]`.
    pub fn read(&self, tokens: Tensor<2, Int>, placement: &Placement) -> Hidden {
        let read = |model: &Transformer| model.forward(tokens.clone(), placement, None);
        let actor = read(&self.transformer);
        let critic = self.deciding_critic().map(|critic| critic.trunk.as_ref().map_or_else(|| actor.clone(), read));
        Hidden { actor, critic }
    }

    /// Computes hidden states of the tokens of the pass that a cache of this policy has begun, and adds them to the cache.
    /// `is_far` says if their texts are longer than LongRoPE's first context.
    pub fn read_pass(&self, tokens: &[u32], is_far: bool, cache: &mut PolicyCache) -> Hidden {
        let actor = self.transformer.read(tokens, is_far, &mut cache.actor);
        let trunk = self.deciding_critic().map(|critic| critic.trunk.as_ref().zip(cache.critic.as_mut()));
        let critic = trunk.map(|trunk| match trunk {
            Some((trunk, cache)) => trunk.read(tokens, is_far, cache),
            None => actor.clone(),
        });
        Hidden { actor, critic }
    }

    /// The policy that chooses among the tokens of a tokenizer. Others are never written, and have no probability.
    ///
    /// # Panics
    /// If the model has fewer logits.
    #[must_use]
    pub fn with_vocabulary(self, vocabulary: OutputVocabulary) -> Self {
        let logits = self.transformer.config().vocab_size;
        assert!(vocabulary.size() <= logits, "the tokenizer has tokens that the model does not");
        Self { vocabulary, ..self }
    }

    /// The policy with gradient checkpointing in each transformer that it trains, or without.
    #[must_use]
    pub fn with_gradient_checkpointing(mut self, recomputes: bool) -> Self {
        self.transformer = self.transformer.with_gradient_checkpointing(recomputes);
        if let Some(critic) = &mut self.critic {
            let trunk = critic.trunk.take();
            critic.trunk = trunk.map(|trunk| trunk.with_gradient_checkpointing(recomputes));
        }
        self
    }

    /// The policy with this precision in each of its transformers.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.transformer = self.transformer.with_precision(precision);
        if let Some(critic) = &mut self.critic {
            critic.trunk = critic.trunk.take().map(|trunk| trunk.with_precision(precision));
            critic.target_trunk = critic.target_trunk.take().map(|trunk| trunk.with_precision(precision));
        }
        self
    }

    /// The policy with its language model's matrices in the precision that they are multiplied in: what is computed is the
    /// same, and nothing is rounded again at each use.
    #[must_use]
    pub fn frozen(self) -> Self {
        let precision = self.transformer.precision();
        self.quantized(precision.of_frozen())
    }

    /// The policy with its language model's matrices in this form, as [`Transformer::quantized`].
    #[must_use]
    pub fn quantized(self, quantization: Quantization) -> Self {
        Self { transformer: self.transformer.quantized(quantization), ..self }
    }

    /// The policy with its language model's output layer in this form, as [`Transformer::with_quantized_output`].
    #[must_use]
    pub fn with_quantized_output(self, quantization: Quantization) -> Self {
        Self { transformer: self.transformer.with_quantized_output(quantization), ..self }
    }

    /// Tokens that it chooses among.
    pub fn vocabulary(&self) -> &OutputVocabulary {
        &self.vocabulary
    }

    /// Scores that tokens are chosen by, up to a constant of each row: `[rows, width]` to logits `[rows, vocabulary]`.
    pub fn scores(&self, hidden: Hidden) -> Tensor<2> {
        self.vocabulary.scores(self.all_scores(hidden))
    }

    /// Distribution that tokens are written from at temperature 1, as a function of the language model's hidden states;
    /// `None` if tokens are chosen by values.
    pub fn next_token(&self) -> Option<TokenDistribution> {
        self.deciding_critic().is_none().then(|| self.transformer.next_token().over(self.vocabulary.clone()))
    }

    fn all_scores(&self, hidden: Hidden) -> Tensor<2> {
        let values = self.deciding_critic().zip(hidden.critic).map(|(critic, hidden)| critic.min_q(hidden));
        match (self.decoding, values) {
            (Decoding::Advantage { beta }, Some(values)) => {
                log_softmax(self.transformer.logits(hidden.actor), 1) + values.mul_scalar(beta)
            }
            (Decoding::Values { beta }, Some(values)) => values.mul_scalar(beta),
            _ => self.transformer.logits(hidden.actor),
        }
    }

    /// Values of states by the linear value head, `[rows, width]` to `[rows]`; `None` without one.
    pub fn values(&self, hidden: Tensor<2>) -> Option<Tensor<1>> {
        self.value_head.as_ref().map(|head| head.forward(hidden).squeeze_dim(1))
    }

    /// Normalises a reward model: answers whose scores have this mean and standard deviation now get mean 0 and
    /// standard deviation 1.
    #[must_use]
    pub fn with_scores_normalised(mut self, mean: f64, std: f64) -> Self {
        let changed = |head: Linear| Linear {
            weight: head.weight.map(|weight| keeping_track(weight, |weight| weight.div_scalar(std))),
            bias: head
                .bias
                .map(|bias| bias.map(|bias| keeping_track(bias, |bias| bias.sub_scalar(mean).div_scalar(std)))),
            adapter: head.adapter,
        };
        self.value_head = self.value_head.map(changed);
        self.with_score_scale(std as f32)
    }

    /// Sets the factor that turns a difference of scores into log-odds.
    #[must_use]
    pub fn with_score_scale(self, score_scale: f32) -> Self {
        Self { score_scale, ..self }
    }

    /// Factor that turns a difference of scores into log-odds: 1, unless scores were normalised.
    pub fn score_scale(&self) -> f32 {
        self.score_scale
    }

    /// Polyak update of the critic's target networks: `target += rate * (new - target)`.
    #[must_use]
    pub fn polyak_update(mut self, rate: f64) -> Self {
        self.critic = self.critic.map(|critic| critic.polyak_update(&self.transformer, rate));
        self
    }

    /// A cache for [`Policy::read_pass`] that holds `capacity` tokens in each of `rows` rows. It belongs to this policy.
    pub fn cache(&self, rows: usize, capacity: usize) -> PolicyCache {
        let cache = |model: &Transformer| KvCache::new(model, rows, capacity);
        let trunk = self.deciding_critic().and_then(|critic| critic.trunk.as_ref());
        PolicyCache { actor: cache(&self.transformer), critic: trunk.map(cache) }
    }

    /// The critic, if tokens are chosen by its values.
    fn deciding_critic(&self) -> Option<&Critic> {
        match self.decoding {
            Decoding::Model => None,
            Decoding::Advantage { .. } | Decoding::Values { .. } => self.critic.as_ref(),
        }
    }
}

/// Changes a parameter's value outside autodiff; it is trained as before.
fn keeping_track<const D: usize>(value: Tensor<D>, change: impl FnOnce(Tensor<D>) -> Tensor<D>) -> Tensor<D> {
    let trains = value.is_require_grad();
    change(value.detach()).detach().set_require_grad(trains)
}

impl From<Transformer> for Policy {
    /// A policy without heads.
    fn from(transformer: Transformer) -> Self {
        let vocabulary = OutputVocabulary::whole(transformer.config().vocab_size);
        let decoding = Decoding::Model;
        Self { transformer, value_head: None, critic: None, decoding, score_scale: 1.0, vocabulary }
    }
}

impl Hidden {
    /// The hidden states of the given rows.
    pub fn select(self, rows: &Tensor<1, Int>) -> Self {
        self.map(|hidden| hidden.select(0, rows.clone()))
    }

    /// Applies `change` to both parts.
    pub fn map(self, change: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        Self { actor: change(self.actor), critic: self.critic.map(change) }
    }
}

impl PolicyCache {
    /// Number of texts and of tokens of each that it holds.
    pub fn shape(&self) -> CacheShape {
        self.actor.shape()
    }

    /// Grows to at least this many rows and tokens; what it holds stays.
    pub fn reserve(&mut self, rows: usize, capacity: usize) {
        self.each(|cache| cache.reserve(rows, capacity));
    }

    /// Copies beginnings of rows to other rows, as [`KvCache::share`].
    pub fn share(&mut self, prefixes: &[SharedPrefix]) {
        self.each(|cache| cache.share(prefixes));
    }

    /// Begins a pass of these readings, at least one, each of another row.
    pub fn begin(&mut self, readings: Vec<Reading>) -> Arc<Pass> {
        let pass = Arc::new(Pass::new(readings));
        self.each(|cache| cache.begin(Arc::clone(&pass)));
        pass
    }

    fn each(&mut self, mut change: impl FnMut(&mut KvCache)) {
        change(&mut self.actor);
        self.critic.iter_mut().for_each(change);
    }
}
