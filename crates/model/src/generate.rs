//! Text generation: prompts are continued token by token, each row with its own random generator.
//!
//! [`generate`] continues given prompts; an [`Engine`] takes them as they come.

mod choices;
mod choosing;
mod engine;
mod text;

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

use super::{Placement, Policy};
use crate::math::Sampling;
pub use choices::Choices;
pub use engine::{Engine, Finished};

/// A prompt to continue.
#[derive(Clone)]
pub struct Request {
    /// Tokens of the prompt; at least one.
    pub prompt: Vec<u32>,
    /// The only continuations allowed; `None` allows any text.
    pub choices: Option<Arc<Choices>>,
    /// Random generator of this row.
    pub rng: ChaCha8Rng,
    /// Tokens to write regardless of the policy, at least one: they are scored and not sampled. With choices, they are
    /// one of them.
    pub forced: Option<Vec<u32>>,
}

impl Request {
    /// Maximum number of new tokens of this request.
    fn max_new_tokens(&self, limits: &Limits) -> usize {
        let forced = self.forced.as_ref().map(Vec::len);
        forced.or(self.choices.as_ref().map(|choices| choices.longest())).unwrap_or(limits.max_new_tokens)
    }
}

/// Stop check: it is given the key of the request and each token that it writes in turn, but for an end token, and
/// returns true if the text ends with it.
pub type Stopped<'a> = dyn Fn(usize, u32) -> bool + 'a;

/// Stop conditions of a continuation, beside the completion of a choice.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// End tokens; the one that is written is part of the text.
    pub end: &'a [u32],
    /// Maximum number of new tokens.
    pub max_new_tokens: usize,
    /// Further stop condition.
    pub stopped: Option<&'a Stopped<'a>>,
}

/// A generated continuation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Continuation {
    /// Tokens written, the end token included.
    pub tokens: Vec<u32>,
    /// Log-probability of each token under the distribution that it was sampled from.
    pub log_probs: Vec<f32>,
    /// Value of the state before each token; empty without a value head.
    pub values: Vec<f32>,
    /// Tokens that each token was chosen from; `None` for any token.
    pub allowed: Vec<Option<Arc<[u32]>>>,
    /// True if the continuation ended by itself and not at the maximum length.
    pub ended: bool,
}

/// Number of prompts that [`generate`] continues at once.
const MAX_ROWS: usize = 256;

/// Continues every prompt until it ends, in their order. Log-probabilities and values equal those of a full forward
/// pass over the finished text. The key of a request is its index.
///
/// The model must be outside autodiff ([`burn::module::Module::valid`]).
pub fn generate(policy: &Policy, requests: &mut [Request], limits: &Limits, sampling: &Sampling) -> Vec<Continuation> {
    let mut engine = Engine::new(policy, *limits, *sampling, MAX_ROWS);
    requests.iter().enumerate().for_each(|(key, request)| engine.submit(key, request.clone()));
    let mut written = vec![Continuation::default(); requests.len()];
    while !engine.is_idle() {
        for Finished { key, request, continuation } in engine.step() {
            requests[key].rng = request.rng;
            written[key] = continuation;
        }
    }
    written
}

/// Value of the state after each prompt; 0 without a value head.
pub fn state_values(policy: &Policy, prompts: &[&[u32]]) -> Vec<f32> {
    /// Rows of one forward pass.
    const ROWS: usize = 256;
    let device = policy.transformer.device();
    let mut values = Vec::with_capacity(prompts.len());
    for prompts in prompts.chunks(ROWS) {
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        let mut tokens = vec![0; prompts.len() * longest]; // padded on the right, where a causal model cannot see
        for (row, prompt) in tokens.chunks_exact_mut(longest.max(1)).zip(prompts) {
            row[..prompt.len()].copy_from_slice(prompt);
        }
        let last = prompts.iter().enumerate().map(|(row, prompt)| (row * longest + prompt.len() - 1) as u32);
        let last: Tensor<2, Int> = column(last, &device);
        let tokens = column(tokens.into_iter(), &device).reshape([prompts.len(), longest]);
        let hidden = policy.transformer.forward(tokens, &Placement::causal(), None).select(0, last.squeeze_dim(1));
        match policy.values(hidden) {
            Some(found) => values.extend(host(found.into_data())),
            None => values.extend(std::iter::repeat_n(0.0, prompts.len())),
        }
    }
    values
}

/// Whole numbers as `[count, 1]`.
fn column(numbers: impl Iterator<Item = u32>, device: &Device) -> Tensor<2, Int> {
    let numbers: Vec<i64> = numbers.map(i64::from).collect();
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count, 1]), device)
}

/// Numbers of a tensor on the host.
fn host(data: TensorData) -> Vec<f32> {
    data.try_into_vec().expect("the model computes in f32")
}

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod tests;
