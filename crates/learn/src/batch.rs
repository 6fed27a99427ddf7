//! Batching: turns samples of different lengths into tensors. No other module pads or masks.

mod preferences;
mod rows;
mod text;

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use palestra_model::ops::AllowedTokens;

use crate::trajectory::Segment;
pub use preferences::{AnswerRows, Choice, Pair, Pairs, PreferenceBatch, PromptPreferences, Single, Singles, Totals};
use rows::Layout;
pub use rows::{Rows, side_by_side};
pub use text::{TextBatch, TextRow};

/// A token sequence with the training targets of its action tokens; all vectors but `tokens` have one entry per action
/// token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// All tokens, read and written.
    pub tokens: Vec<u32>,
    /// Positions of the action tokens in `tokens`.
    pub at: Vec<usize>,
    /// Allowed tokens at each action token; `None` for any.
    pub allowed: Vec<Option<Arc<[u32]>>>,
    /// Log-probabilities under the sampling policy.
    pub log_probs: Vec<f32>,
    /// Log-probabilities under a reference policy; empty without one.
    pub reference_log_probs: Vec<f32>,
    /// Values at sampling time of the states in which the tokens were written.
    pub values: Vec<f32>,
    /// Advantages.
    pub advantages: Vec<f32>,
    /// Returns, the targets of the value head.
    pub returns: Vec<f32>,
    /// Weight of each action token in the loss of the optimiser step.
    pub weight: f32,
}

/// Samples as tensors. Quantities of action tokens are gathered into flat vectors `[tokens]`, so that padding is not among them.
#[derive(Debug, Clone)]
pub struct ActionBatch {
    /// The tokens; samples may share rows.
    pub read: Rows,
    /// Position in `rows * time` whose output predicts each action token: the one before it.
    pub predicted_at: Tensor<1, Int>,
    /// The action tokens.
    pub targets: Tensor<1, Int>,
    /// Allowed tokens at each action token; `None` if all tokens are allowed everywhere.
    pub allowed: Option<AllowedTokens>,
    /// Log-probabilities under the sampling policy.
    pub log_probs: Tensor<1>,
    /// Log-probabilities under a reference policy, if there is one.
    pub reference_log_probs: Option<Tensor<1>>,
    /// Values at sampling time.
    pub values: Tensor<1>,
    /// Advantages.
    pub advantages: Tensor<1>,
    /// Returns.
    pub returns: Tensor<1>,
    /// Weight of each action token in the loss of the optimiser step.
    pub weights: Tensor<1>,
    /// Number of the sample of each action token, `[tokens]`.
    pub samples: Tensor<1, Int>,
    /// Number of samples.
    pub sample_count: usize,
    /// Number of action tokens of this part.
    pub token_count: usize,
}

/// A chunk of an episode for value learning: some of its segments, and the state that they lead to.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Segments, with the rewards on their action tokens.
    pub segments: Vec<Segment>,
    /// Discount after each action token.
    pub discounts: Vec<f32>,
    /// Discounted sum of the episode's rewards from each action token on.
    pub returns: Vec<f32>,
    /// Discount of the value of the state `next` in the return of each action token; 0 if nothing continues the return. It
    /// is not 0 only in chunks of truncated episodes whose `next` is the final observation.
    pub return_discounts: Vec<f32>,
    /// Outcome of the last action.
    pub next: Next,
}

/// Outcome of the last action of a chunk.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Terminated: there is no next state and no bootstrapping.
    Nothing,
    /// Next state, as the model reads it, and the tokens that can be written in it (`None`: any). A truncated episode
    /// has one, as does a chunk that is not the last of its episode.
    State(Vec<u32>, Option<Arc<[u32]>>),
    /// Unknown: the log was cut off, or did not keep the last observation. No value can be learned from the action.
    Unknown,
}

/// Chunks as tensors: states, the action tokens written in them, and the next states.
///
/// States are all positions at which a token was or could be written: first those of the action tokens, in order, then
/// the next states of the chunks that have one.
#[derive(Debug, Clone)]
pub struct TransitionBatch {
    /// The tokens.
    pub read: Rows,
    /// Position in `rows * time` whose output represents each state, `[states]`.
    pub states_at: Tensor<1, Int>,
    /// Allowed tokens in each state; `None` if all tokens are allowed everywhere.
    pub allowed: Option<AllowedTokens>,
    /// Action tokens, `[tokens]`, written in the first of the states.
    pub targets: Tensor<1, Int>,
    /// Index of the next state of each action token, `[tokens]`; 0 without a next state, which the discount 0 makes
    /// irrelevant.
    pub next: Tensor<1, Int>,
    /// Discount of the next state, `[tokens]`; 0 if the episode terminated.
    pub discounts: Tensor<1>,
    /// Reward of each token, `[tokens]`.
    pub rewards: Tensor<1>,
    /// Discounted sum of rewards from each token on, `[tokens]`.
    pub returns: Tensor<1>,
    /// Continuation of the returns of truncated episodes; `None` if no return of this part goes on.
    pub continuation: Option<Continuation>,
    /// Mask of known outcomes: 1 if the outcome of the token is known, else 0, `[tokens]`.
    pub known: Tensor<1>,
    /// Number of action tokens of this part.
    pub token_count: usize,
}

/// States in which the returns of truncated episodes go on: `R = returns + discounts * V(states)`.
#[derive(Debug, Clone)]
pub struct Continuation {
    /// Index of the state of each action token's return, `[tokens]`; 0 for a return that is complete.
    pub states: Tensor<1, Int>,
    /// Discount of the state's value, `[tokens]`; 0 for a return that is complete.
    pub discounts: Tensor<1>,
}

impl Sample {
    /// Tokens before the first action token.
    pub fn prompt(&self) -> &[u32] {
        &self.tokens[..self.at.first().copied().unwrap_or(0)]
    }
}

impl ActionBatch {
    /// Batches them as one part of a batch.
    pub fn new(samples: &[&Sample], device: &Device) -> Self {
        let sequences: Vec<&[u32]> = samples.iter().map(|sample| sample.tokens.as_slice()).collect();
        let layout = Layout::new(&sequences, device);
        let (mut predicted_at, mut targets, mut samples_of) = (Vec::new(), Vec::new(), Vec::new());
        for (number, sample) in samples.iter().enumerate() {
            predicted_at.extend(sample.at.iter().map(|at| layout.at(number, at - 1)));
            samples_of.extend(std::iter::repeat_n(number as i64, sample.at.len()));
            targets.extend(sample.at.iter().map(|&at| i64::from(sample.tokens[at])));
        }
        let flat = |field: fn(&Sample) -> &[f32]| {
            floats(samples.iter().flat_map(|sample| field(sample)).copied().collect(), device)
        };
        Self {
            read: layout.rows,
            predicted_at: ints(predicted_at, device),
            targets: ints(targets, device),
            allowed: AllowedTokens::new(samples.iter().flat_map(|sample| sample.allowed.iter().cloned())),
            log_probs: flat(|sample| &sample.log_probs),
            reference_log_probs: (samples.iter().all(|sample| sample.reference_log_probs.len() == sample.at.len()))
                .then(|| flat(|sample| &sample.reference_log_probs)),
            values: flat(|sample| &sample.values),
            advantages: flat(|sample| &sample.advantages),
            returns: flat(|sample| &sample.returns),
            weights: floats(
                samples.iter().flat_map(|sample| std::iter::repeat_n(sample.weight, sample.at.len())).collect(),
                device,
            ),
            token_count: samples_of.len(),
            sample_count: samples.len(),
            samples: ints(samples_of, device),
        }
    }
}

impl TransitionBatch {
    /// Batches them as one part of a batch.
    pub fn new(chunks: &[Chunk], device: &Device) -> Self {
        let segments = || chunks.iter().flat_map(|chunk| &chunk.segments);
        let last_states = || {
            chunks.iter().filter_map(|chunk| match &chunk.next {
                Next::State(prompt, allowed) => Some((prompt, allowed)),
                Next::Nothing | Next::Unknown => None,
            })
        };
        let rows = segments().map(|segment| segment.tokens.as_slice());
        let read = Rows::plain(rows.chain(last_states().map(|(prompt, _)| prompt.as_slice())), device);
        let [_, time] = read.dims();

        let (mut states_at, mut targets, mut allowed) = (Vec::new(), Vec::new(), Vec::new());
        for (row, segment) in segments().enumerate() {
            for action in &segment.actions {
                states_at.push((row * time + action.at - 1) as i64);
                targets.push(i64::from(segment.tokens[action.at]));
                allowed.push(action.allowed.clone());
            }
        }
        let (actions, rows) = (targets.len(), segments().count());
        for (row, (prompt, among)) in last_states().enumerate() {
            states_at.push(((rows + row) * time + prompt.len() - 1) as i64);
            allowed.push(among.clone());
        }

        let (mut next, mut discounts, mut known) = (Vec::<i64>::new(), Vec::<f32>::new(), vec![1.0; actions]);
        let mut return_states = Vec::<i64>::new();
        let mut last_state = actions;
        for chunk in chunks {
            let has_state = matches!(chunk.next, Next::State(..));
            return_states.extend(chunk.discounts.iter().map(|_| if has_state { last_state as i64 } else { 0 }));
            let from = next.len();
            next.extend((1..=chunk.discounts.len()).map(|i| (from + i) as i64));
            discounts.extend(&chunk.discounts);
            let (Some(next), Some(discount)) = (next.last_mut(), discounts.last_mut()) else { continue };
            match chunk.next {
                Next::State(..) => {
                    *next = last_state as i64;
                    last_state += 1;
                }
                Next::Nothing => (*next, *discount) = (0, 0.0),
                Next::Unknown => {
                    (*next, *discount) = (0, 0.0);
                    known[discounts.len() - 1] = 0.0;
                }
            }
        }
        let rewards = segments().flat_map(|segment| segment.actions.iter().map(|action| action.reward));
        let returns = chunks.iter().flat_map(|chunk| &chunk.returns).copied();
        let return_discounts: Vec<f32> = chunks.iter().flat_map(|chunk| &chunk.return_discounts).copied().collect();
        let continues = return_discounts.iter().any(|&discount| discount != 0.0);
        let continuation = continues
            .then(|| Continuation { states: ints(return_states, device), discounts: floats(return_discounts, device) });
        Self {
            read,
            states_at: ints(states_at, device),
            allowed: AllowedTokens::new(allowed),
            targets: ints(targets, device),
            next: ints(next, device),
            discounts: floats(discounts, device),
            rewards: floats(rewards.collect(), device),
            returns: floats(returns.collect(), device),
            continuation,
            known: floats(known, device),
            token_count: actions,
        }
    }

    /// Number of action tokens in this part.
    pub fn actions(&self) -> usize {
        self.targets.dims()[0]
    }
}

fn floats(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

fn ints(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
