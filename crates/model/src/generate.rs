//! Text generation: batches of prompts are continued token by token, each row with its own random generator.

use std::collections::BTreeSet;
use std::sync::Arc;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

use super::{Placement, Policy};
use crate::math::{Sampling, penalise_repetition, sample_token, token_log_prob};
use crate::ops::AttentionMask;

/// Token sequences that an action is restricted to.
#[derive(Debug, PartialEq)]
pub struct Choices {
    /// Ascending, without duplicates; none is a prefix of another.
    sequences: Vec<Vec<u32>>,
    /// Distinct first tokens, kept because every turn needs them.
    first: Arc<[u32]>,
}

impl Choices {
    /// A choice among token sequences. If one sequence is a prefix of another, `end` is appended to all, so that both
    /// can be written.
    pub fn new(mut sequences: Vec<Vec<u32>>, end: u32) -> Self {
        sequences.sort();
        sequences.dedup();
        if sequences.iter().any(Vec::is_empty) || sequences.windows(2).any(|pair| pair[1].starts_with(&pair[0])) {
            sequences.iter_mut().for_each(|sequence| sequence.push(end));
            sequences.sort();
        }
        let first = next_tokens(&sequences, 0);
        Self { sequences, first }
    }

    /// Number of tokens of the longest choice.
    pub fn longest(&self) -> usize {
        self.sequences.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// True if the sequence is one of the choices.
    pub fn contains(&self, sequence: &[u32]) -> bool {
        self.sequences.binary_search_by(|choice| choice.as_slice().cmp(sequence)).is_ok()
    }

    /// Tokens that may follow the prefix `written`, ascending; none if a choice is complete.
    pub fn allowed_after(&self, written: &[u32]) -> Arc<[u32]> {
        if written.is_empty() {
            return Arc::clone(&self.first);
        }
        let from = self.sequences.partition_point(|sequence| sequence.as_slice() < written);
        let matching = self.sequences[from..].iter().take_while(|sequence| sequence.starts_with(written)).count();
        next_tokens(&self.sequences[from..from + matching], written.len())
    }
}

/// Distinct tokens at one depth of sorted sequences.
fn next_tokens(sequences: &[Vec<u32>], depth: usize) -> Arc<[u32]> {
    let mut tokens: Vec<u32> = sequences.iter().filter_map(|sequence| sequence.get(depth).copied()).collect();
    tokens.dedup();
    tokens.into()
}

/// A prompt to continue.
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

/// Stop check: it is given the index of the request and each token that it writes in turn, but for an end token, and
/// returns true if the text ends with it.
pub type Stopped<'a> = dyn Fn(usize, u32) -> bool + 'a;

/// Stop conditions of a continuation, beside the completion of a choice.
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

/// Continues every prompt until it ends. Log-probabilities and values equal those of a full forward pass over the
/// finished text.
///
/// Rows end at different times; finished rows are dropped once they are half of the batch.
/// The model must be outside autodiff ([`burn::module::Module::valid`]).
pub fn generate(policy: &Policy, requests: &mut [Request], limits: &Limits, sampling: &Sampling) -> Vec<Continuation> {
    let mut written = vec![Continuation::default(); requests.len()];
    if requests.is_empty() {
        return written;
    }
    let device = policy.transformer.device();
    let context = policy.transformer.config().context;
    let longest_prompt = requests.iter().map(|request| request.prompt.len()).max().unwrap_or(0);
    let max_new_tokens = requests.iter().map(|request| request.max_new_tokens(limits)).max().unwrap_or(0);
    // The last token written is never read, so that generating a single token needs no cache.
    let mut cache =
        (max_new_tokens > 1).then(|| policy.cache(requests.len(), longest_prompt + max_new_tokens - 1, &device));

    let mut active: Vec<usize> = (0..requests.len()).collect(); // the request of each row that is still computed
    let padding = Padding::new(requests.iter().map(|request| request.prompt.len()), longest_prompt, context);
    let mut input = left_padded(requests.iter().map(|request| request.prompt.as_slice()), longest_prompt, &device);
    let mut ended = vec![false; requests.len()];
    let penalty = sampling.repetition_penalty;
    // The distinct tokens of each text, if they are penalised.
    let mut repeated: Option<Vec<BTreeSet<u32>>> =
        (penalty != 1.0).then(|| requests.iter().map(|request| request.prompt.iter().copied().collect()).collect());
    let mut is_far = false; // the angles of what the cache holds
    for step in 0..max_new_tokens {
        let total = longest_prompt + step;
        if policy.transformer.is_far(padding.positions(&active, total)) != is_far {
            is_far = !is_far;
            if step > 0 {
                // What was read has other positions in a text of this length: it is read again, as a whole pass would.
                cache = cache.map(|_| policy.cache(active.len(), longest_prompt + max_new_tokens - 1, &device));
                let texts: Vec<Vec<u32>> =
                    active.iter().map(|&at| [requests[at].prompt.as_slice(), &written[at].tokens].concat()).collect();
                input = left_padded(texts.iter().map(Vec::as_slice), total, &device);
            }
        }
        let [rows, time] = input.dims();
        let placement = padding.placement(&active, total, time, &device);
        let hidden = policy.read(input, &placement, cache.as_mut());
        let last = hidden.map(|hidden| last_of_each_row(hidden, rows));
        let values = policy.values(last.actor.clone()).map(|values| host(values.into_data()));
        let mut logits = host(policy.scores(last).into_data());
        let width = logits.len() / rows;
        for (row, logits) in logits.chunks_exact_mut(width).enumerate() {
            let at = active[row];
            if ended[at] {
                continue;
            }
            let (request, text) = (&mut requests[at], &mut written[at]);
            if let Some(repeated) = &repeated {
                penalise_repetition(logits, repeated[at].iter().copied(), penalty);
            }
            let allowed = request.choices.as_ref().map(|choices| choices.allowed_after(&text.tokens));
            let (token, log_prob) = match &request.forced {
                Some(forced) => {
                    let token = forced[step];
                    (token, token_log_prob(logits, allowed.as_deref(), sampling.temperature, token))
                }
                None => sample_token(logits, allowed.as_deref(), sampling, &mut request.rng),
            };
            text.tokens.push(token);
            if let Some(repeated) = &mut repeated {
                repeated[at].insert(token);
            }
            text.log_probs.push(log_prob);
            text.allowed.push(allowed);
            text.values.extend(values.as_ref().map(|values| values[row]));
            text.ended = match (&request.forced, &request.choices) {
                (Some(forced), _) => text.tokens.len() == forced.len(),
                (None, Some(choices)) => choices.allowed_after(&text.tokens).is_empty(),
                (None, None) => limits.end.contains(&token) || limits.stopped.is_some_and(|stopped| stopped(at, token)),
            };
            ended[at] = text.ended || text.tokens.len() >= request.max_new_tokens(limits);
        }
        let going: Vec<usize> = (0..rows).filter(|&row| !ended[active[row]]).collect();
        if going.is_empty() {
            break;
        }
        if going.len() * 2 <= rows {
            let kept = going.iter().map(|&row| row as i64).collect::<Vec<_>>();
            if let Some(cache) = &mut cache {
                cache.keep_rows(Tensor::from_data(TensorData::new(kept, [going.len()]), &device));
            }
            active = going.iter().map(|&row| active[row]).collect();
        }
        let next: Vec<i64> = active.iter().map(|&at| *written[at].tokens.last().unwrap_or(&0) as i64).collect();
        input = Tensor::from_data(TensorData::new(next, [active.len(), 1]), &device);
    }
    written
}

/// Value of the state after each prompt; 0 without a value head.
pub fn state_values(policy: &Policy, prompts: &[&[u32]]) -> Vec<f32> {
    /// Rows of one forward pass.
    const ROWS: usize = 256;
    let device = policy.transformer.device();
    let context = policy.transformer.config().context;
    let mut values = Vec::with_capacity(prompts.len());
    for prompts in prompts.chunks(ROWS) {
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        let padding = Padding::new(prompts.iter().map(|prompt| prompt.len()), longest, context);
        let all: Vec<usize> = (0..prompts.len()).collect();
        let placement = padding.placement(&all, longest, longest, &device);
        let input = left_padded(prompts.iter().copied(), longest, &device);
        let last = last_of_each_row(policy.transformer.forward(input, &placement, None), prompts.len());
        match policy.values(last) {
            Some(found) => values.extend(host(found.into_data())),
            None => values.extend(std::iter::repeat_n(0.0, prompts.len())),
        }
    }
    values
}

/// Number of padding tokens on the left of each row; `None` if all rows have the same length.
struct Padding {
    left: Option<Vec<usize>>,
    /// Last position of the context. A row that has ended is computed until it is dropped, and must not count past it.
    last: usize,
}

impl Padding {
    fn new(lengths: impl Iterator<Item = usize>, longest: usize, context: usize) -> Self {
        let left: Vec<usize> = lengths.map(|length| longest - length).collect();
        Self { left: left.iter().any(|&left| left > 0).then_some(left), last: context - 1 }
    }

    /// Number of positions of the active rows in `total` columns.
    fn positions(&self, active: &[usize], total: usize) -> usize {
        let Some(left) = &self.left else { return total };
        active.iter().map(|&at| (total - left[at]).min(self.last + 1)).max().unwrap_or(total)
    }

    /// The placement of the last `time` of `total` columns of the active rows.
    fn placement(&self, active: &[usize], total: usize, time: usize, device: &Device) -> Placement {
        let Some(left) = &self.left else { return Placement::causal() };
        let last = self.last;
        let real = active.iter().flat_map(|&at| (0..total).map(move |column| column >= left[at])).collect::<Vec<_>>();
        let real = Tensor::<2, Bool>::from_data(TensorData::new(real, [active.len(), total]), device);
        let positions = active
            .iter()
            .flat_map(|&at| (total - time..total).map(move |column| column.saturating_sub(left[at]).min(last) as i64))
            .collect::<Vec<_>>();
        let positions = Tensor::<2, Int>::from_data(TensorData::new(positions, [active.len(), time]), device);
        Placement { mask: AttentionMask::padded(real, time), positions: Some(positions) }
    }
}

/// Prompts as `[batch, longest]`, each ending in the last column. Padding is token 0, which the mask hides.
fn left_padded<'a>(
    prompts: impl ExactSizeIterator<Item = &'a [u32]>,
    longest: usize,
    device: &Device,
) -> Tensor<2, Int> {
    let rows = prompts.len();
    let mut tokens = vec![0i64; rows * longest];
    for (row, prompt) in tokens.chunks_exact_mut(longest).zip(prompts) {
        let start = longest - prompt.len();
        row[start..].iter_mut().zip(prompt).for_each(|(cell, &token)| *cell = i64::from(token));
    }
    Tensor::from_data(TensorData::new(tokens, [rows, longest]), device)
}

/// `[rows * time, width]` to the last of each row, `[rows, width]`.
fn last_of_each_row(hidden: Tensor<2>, rows: usize) -> Tensor<2> {
    let [all, width] = hidden.dims();
    let time = all / rows;
    match time {
        1 => hidden,
        _ => hidden.reshape([rows, time, width]).narrow(1, time - 1, 1).squeeze_dim(1),
    }
}

/// Numbers of a tensor on the host.
fn host(data: TensorData) -> Vec<f32> {
    data.try_into_vec().expect("the model computes in f32")
}

#[cfg(test)]
mod tests;
