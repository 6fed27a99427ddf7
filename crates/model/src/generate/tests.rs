use std::cell::RefCell;

use palestra_testing::assert_close;
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};

use super::*;
use crate::ops::{available_devices, open_device, selected_log_probs};
use crate::{ExpertsConfig, Family, Heads, ModelConfig, RopeScaling, parameters};

const VOCAB: usize = 11;
const END: u32 = 3;

/// Runs a test with models of every kind of layer on every device: GPT-2 and Llama with tied and untied embeddings, and the
/// families whose layers differ from these.
fn each_policy(test: impl Fn(&Policy)) {
    for device in available_devices() {
        for shape in shapes() {
            let shape = ModelConfig { context: 32, width: 16, heads: 4, ..shape };
            test(&policy(&shape.resolve(VOCAB).unwrap(), &open_device(device).unwrap()));
        }
    }
}

fn shapes() -> Vec<ModelConfig> {
    let mut shapes = Vec::new();
    for tie_embeddings in [true, false] {
        shapes.push(ModelConfig { family: Family::Gpt2, tie_embeddings, ..ModelConfig::default() });
        shapes.push(ModelConfig { kv_heads: 2, tie_embeddings, ..ModelConfig::default() });
    }
    let of = |family| ModelConfig { family, kv_heads: 2, ..ModelConfig::default() };
    let experts = ExpertsConfig { count: 4, feed_forward: 8, ..ExpertsConfig::default() };
    shapes.extend([
        ModelConfig {
            sliding_window: 3,
            full_attention_layers: vec![1],
            local_rope_theta: 100.0,
            query_pre_attn_scalar: 9,
            final_logit_softcapping: 4.0,
            ..of(Family::Gemma3)
        },
        ModelConfig { partial_rotary_factor: 0.5, sliding_window: 4, ..of(Family::Phi3) },
        ModelConfig { no_rope_layers: vec![0], ..of(Family::SmolLm3) },
        of(Family::Olmo2),
        ModelConfig { experts: Some(experts), ..of(Family::Qwen3Moe) },
    ]);
    shapes
}

/// Where a text passes the first context of LongRoPE, what was read before has other positions.
#[test]
fn the_cache_is_made_anew_where_the_frequencies_change() {
    let scaling = RopeScaling::LongRope {
        short_factor: vec![1.0; 2],
        long_factor: vec![8.0; 2],
        original_context: 9,
        attention_factor: None,
    };
    let shape = ModelConfig { rope_scaling: Some(scaling), context: 32, width: 16, heads: 4, ..ModelConfig::default() };
    let device = Device::flex();
    let policy = policy(&shape.resolve(VOCAB).unwrap(), &device);
    for forced in [4, 12] {
        let forced: Vec<u32> = (0..forced).map(|at| at * 5 % VOCAB as u32).collect();
        let request =
            Request { prompt: vec![1, 2, 4], choices: None, rng: ChaCha8Rng::seed_from_u64(0), forced: Some(forced) };
        let written = generate(&policy, &mut [request], &LIMITS, &sampling(1.0)).remove(0);
        for (at, &token) in written.tokens.iter().enumerate() {
            let text: Vec<i64> = [1, 2, 4].iter().chain(&written.tokens[..at]).map(|&token| i64::from(token)).collect();
            let time = text.len();
            let input = Tensor::<2, Int>::from_data(TensorData::new(text, [1, time]), &device);
            let last = policy.read(input, &Placement::causal(), None).map(|hidden| hidden.narrow(0, time - 1, 1));
            let target = Tensor::from_data(TensorData::new(vec![i64::from(token)], [1]), &device);
            let whole = selected_log_probs(policy.scores(last), target);
            assert_close!([written.log_probs[at]], host(whole.into_data()), 1e-4, "token {at}");
        }
    }
}

/// A policy with weights large enough, in every part, that a wrong position or mask changes the result.
fn policy(config: &ModelConfig, device: &Device) -> Policy {
    let policy = Policy::new(config, Heads { value: true, critic: None }, 1, device);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let noise = Normal::new(0.0f32, 0.2).unwrap();
    let mut weights = parameters::collect(&policy);
    for data in weights.values_mut() {
        let moved: Vec<f32> = data.iter::<f32>().map(|weight| weight + noise.sample(&mut rng)).collect();
        *data = TensorData::new(moved, data.shape().to_vec());
    }
    parameters::replace(policy, weights).unwrap()
}

/// Prompts of different lengths, so that all but the longest are padded; some write free text, others have choices.
fn requests() -> Vec<Request> {
    let choices = Arc::new(Choices::new(vec![vec![4, 5], vec![4, 5, 6], vec![7], vec![8, 9, 10, 4]], END));
    let lengths = [1, 5, 3, 8, 2, 4, 8, 6];
    let request = |(row, &length): (usize, &usize)| Request {
        prompt: (0..length as u32).map(|i| (7 * row as u32 + 3 * i) % VOCAB as u32).collect(),
        choices: (row % 3 == 1).then(|| Arc::clone(&choices)),
        rng: ChaCha8Rng::seed_from_u64(row as u64),
        forced: None,
    };
    lengths.iter().enumerate().map(request).collect()
}

const LIMITS: Limits = Limits { end: &[END], max_new_tokens: 12, stopped: None };

fn sampling(temperature: f32) -> Sampling {
    Sampling { temperature, ..Sampling::default() }
}

/// Evaluates the last `written` tokens of a text with one full forward pass.
fn full_pass(policy: &Policy, tokens: Vec<u32>, allowed: Vec<Option<Arc<[u32]>>>, temperature: f32) -> FullPass {
    let (device, count, time) = (policy.transformer.device(), allowed.len(), tokens.len());
    let ids: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
    let input = Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [1, time]), &device);
    let hidden = policy.read(input, &Placement::causal(), None);
    let hidden = hidden.map(|hidden| hidden.narrow(0, time - count - 1, count));
    let values = policy.values(hidden.actor.clone()).map(|values| host(values.into_data()));
    let is_forbidden =
        |token: u32, allowed: &Option<Arc<[u32]>>| allowed.as_ref().is_some_and(|it| !it.contains(&token));
    let cells = allowed.iter().flat_map(|allowed| (0..VOCAB as u32).map(move |token| is_forbidden(token, allowed)));
    let forbidden = Tensor::<2, Bool>::from_data(TensorData::new(cells.collect::<Vec<_>>(), [count, VOCAB]), &device);
    let scores = policy.scores(hidden).div_scalar(temperature);
    let forbidden = forbidden.narrow(1, 0, scores.dims()[1]);
    let scores = scores.mask_fill(forbidden, -1e9);
    let targets = Tensor::from_data(TensorData::new(ids[time - count..].to_vec(), [count]), &device);
    let best = scores.clone().argmax(1).into_data().iter::<i64>().map(|token| token as u32).collect();
    FullPass { log_probs: host(selected_log_probs(scores, targets).into_data()), best, values }
}

/// Log-probability of each token written, the likeliest token in its place, and the value of the state before it.
struct FullPass {
    log_probs: Vec<f32>,
    best: Vec<u32>,
    values: Option<Vec<f32>>,
}

#[test]
fn what_was_sampled_with_a_cache_is_what_a_full_pass_scores() {
    each_policy(|policy| {
        let mut requests = requests();
        let written = generate(policy, &mut requests, &LIMITS, &sampling(1.3));
        let lengths: Vec<usize> = written.iter().map(|text| text.tokens.len()).collect();
        assert!(lengths.iter().max() >= Some(&5) && lengths.iter().min() <= Some(&2), "too much alike: {lengths:?}");
        assert_eq!(written.len(), requests.len());
        for (request, text) in requests.iter().zip(&written) {
            let tokens = [request.prompt.as_slice(), &text.tokens].concat();
            let full = full_pass(policy, tokens, text.allowed.clone(), 1.3);
            assert_close!(text.log_probs, full.log_probs, 1e-4);
            assert_close!(text.values, full.values.unwrap(), 1e-4);
        }
    });
}

#[test]
fn a_text_is_the_same_alone_and_among_others() {
    each_policy(|policy| {
        let together = generate(policy, &mut requests(), &LIMITS, &sampling(1.0));
        assert_eq!(together.len(), requests().len());
        for (mut request, expected) in requests().into_iter().zip(together) {
            let alone = generate(policy, std::slice::from_mut(&mut request), &LIMITS, &sampling(1.0)).remove(0);
            assert_eq!((&alone.tokens, alone.ended), (&expected.tokens, expected.ended));
            assert_close!(alone.log_probs, expected.log_probs, 1e-4);
            assert_close!(alone.values, expected.values, 1e-4);
        }
    });
}

#[test]
fn padding_does_not_change_what_is_made_of_real_tokens() {
    let prompt = [5u32, 1, 7, 2];
    let (left, right) = (3, 2);
    each_policy(|policy| {
        let device = policy.transformer.device();
        let forward = |tokens: &[u32], placement: &Placement| {
            let tokens: Vec<i64> = tokens.iter().map(|&token| token.into()).collect();
            let count = tokens.len();
            let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [1, count]), &device);
            host(policy.transformer.forward(tokens, placement, None).into_data())
        };
        let bare = forward(&prompt, &Placement::causal());
        for filler in [0, 9] {
            let padded = [&[filler; 3][..], &prompt].concat();
            let placement =
                Padding { left: Some(vec![left]), last: 31 }.placement(&[0], padded.len(), padded.len(), &device);
            assert_close!(&forward(&padded, &placement)[left * 16..], bare, 1e-5);
            let padded = [&prompt[..], &[filler; 2]].concat();
            assert_close!(&forward(&padded, &Placement::causal())[..(padded.len() - right) * 16], bare, 1e-5);
        }
    });
}

#[test]
fn greedy_is_the_likeliest_token() {
    each_policy(|policy| {
        let mut requests = requests();
        let written = generate(policy, &mut requests, &LIMITS, &Sampling::GREEDY);
        assert_eq!(written.len(), requests.len());
        for (request, text) in requests.iter().zip(&written).filter(|(request, _)| request.choices.is_none()) {
            let tokens = [request.prompt.as_slice(), &text.tokens].concat();
            let full = full_pass(policy, tokens, text.allowed.clone(), 1.0);
            assert_eq!(text.tokens, full.best);
        }
    });
}

#[test]
fn a_text_ends_at_its_end_token_its_stop_or_its_limit() {
    each_policy(|policy| {
        for (has_stop, end) in [(false, &[END][..]), (true, &[END]), (false, &[END, 5, 7])] {
            let written = RefCell::new(vec![Vec::new(); requests().len()]);
            let third = |row: usize, token: u32| {
                written.borrow_mut()[row].push(token);
                written.borrow()[row].len() == 3
            };
            let limits = Limits { end, max_new_tokens: 5, stopped: has_stop.then_some(&third) };
            let most = if has_stop { 3 } else { 5 };
            let texts = generate(policy, &mut requests(), &limits, &sampling(1.0));
            for ((row, request), text) in requests().iter().enumerate().zip(texts) {
                if request.choices.is_some() {
                    continue;
                }
                let at_end = text.tokens.iter().position(|token| end.contains(token));
                assert_eq!(text.tokens.len(), at_end.map_or(most, |at| at + 1).min(most));
                assert_eq!(text.ended, has_stop || at_end.is_some());
                let shown = &text.tokens[..at_end.unwrap_or(text.tokens.len())];
                assert!(!has_stop || written.borrow()[row] == shown, "the check is shown each token once");
            }
            assert!(generate(policy, &mut [], &limits, &sampling(1.0)).is_empty());
        }
    });
}

#[test]
fn choices_are_all_that_can_be_written() {
    let sequences = [vec![4, 5], vec![4, 5, 6], vec![7], vec![8, 9, 10, 4]];
    let choices = Arc::new(Choices::new(sequences.to_vec(), END));
    let ended: Vec<Vec<u32>> = sequences.iter().map(|sequence| [&sequence[..], &[END]].concat()).collect();
    assert_eq!(choices.sequences, ended, "one is the beginning of another, so that all need an end");
    assert_eq!(choices.longest(), 5);
    each_policy(|policy| {
        let prompt = vec![1, 2];
        let log_prob = |sequence: &Vec<u32>| {
            let allowed = (0..sequence.len()).map(|at| Some(choices.allowed_after(&sequence[..at]))).collect();
            let full = full_pass(policy, [&prompt[..], sequence].concat(), allowed, 1.0);
            full.log_probs.iter().sum::<f32>()
        };
        let total: f32 = ended.iter().map(|sequence| log_prob(sequence).exp()).sum();
        assert_close!(total, 1.0, 1e-5, "sum of the probabilities of all choices");

        let request = |seed| Request {
            prompt: prompt.clone(),
            choices: Some(Arc::clone(&choices)),
            rng: ChaCha8Rng::seed_from_u64(seed),
            forced: None,
        };
        let mut requests: Vec<Request> = (0..100).map(request).collect();
        for text in generate(policy, &mut requests, &LIMITS, &sampling(1.0)) {
            assert!(text.ended && ended.contains(&text.tokens), "{:?}", text.tokens);
            assert_close!(text.log_probs.iter().sum::<f32>(), log_prob(&text.tokens), 1e-4);
        }

        let forced = |sequence: &Vec<u32>| Request { forced: Some(sequence.clone()), ..request(0) };
        let mut requests: Vec<Request> = ended.iter().map(forced).collect();
        let written = generate(policy, &mut requests, &LIMITS, &sampling(1.0));
        assert_eq!(written.len(), ended.len());
        for (text, sequence) in written.iter().zip(&ended) {
            assert_eq!((&text.tokens, text.ended), (sequence, true));
            assert_close!(text.log_probs.iter().sum::<f32>(), log_prob(sequence), 1e-4);
        }
        let certain = generate(policy, &mut [request(0)], &LIMITS, &sampling(0.0)).remove(0).tokens;
        let written = generate(policy, &mut requests, &LIMITS, &sampling(0.0));
        let found: Vec<f32> = written.iter().map(|text| text.log_probs.iter().sum()).collect();
        let log_prob_of = |sequence: &Vec<u32>| if *sequence == certain { 0.0 } else { f32::NEG_INFINITY };
        let expected: Vec<f32> = ended.iter().map(log_prob_of).collect();
        assert_eq!(found, expected, "greedy choice writes {certain:?} and no other");
    });
}

#[test]
fn choices_without_a_common_beginning_need_no_end() {
    let choices = Choices::new(vec![vec![5, 4], vec![4], vec![5, 6], vec![4]], END);
    assert_eq!(choices.sequences, [vec![4], vec![5, 4], vec![5, 6]]);
    assert_eq!((&*choices.allowed_after(&[]), &*choices.allowed_after(&[5])), (&[4, 5][..], &[4, 6][..]));
    assert!(choices.allowed_after(&[5, 4]).is_empty());
}

#[test]
fn a_state_is_valued_as_where_it_is_written_in() {
    each_policy(|policy| {
        let mut requests = requests();
        let written = generate(policy, &mut requests, &LIMITS, &sampling(1.0));
        let prompts: Vec<Vec<u32>> = requests.into_iter().map(|request| request.prompt).collect();
        let first: Vec<f32> = written.iter().map(|text| text.values[0]).collect();
        assert_close!(state_values(policy, &prompts.iter().map(Vec::as_slice).collect::<Vec<_>>()), first, 1e-4);
    });
}

/// A short row ends at once beside one that fills the context: while it waits to be dropped it must not count past the
/// last position, which GPT-2's table of positions does not have.
#[test]
fn a_row_that_has_ended_stays_inside_the_context() {
    each_policy(|policy| {
        let rng = || ChaCha8Rng::seed_from_u64(1);
        let request = |length: usize, forced: Vec<u32>| Request {
            prompt: vec![4; length],
            choices: None,
            rng: rng(),
            forced: Some(forced),
        };
        // The context is 32: two rows end after 31 + 1 tokens, and three others write from 4 tokens to 32.
        let full = || request(4, vec![5; 28]);
        let mut requests = vec![request(31, vec![5]), full(), full(), full(), request(31, vec![5])];
        let written = generate(policy, &mut requests, &LIMITS, &sampling(1.0));
        let lengths: Vec<usize> = written.iter().map(|text| text.tokens.len()).collect();
        assert_eq!(lengths, [1, 28, 28, 28, 1]);
        let alone = generate(policy, &mut [full()], &LIMITS, &sampling(1.0));
        assert_close!(written[1].log_probs, alone[0].log_probs, 1e-4);
    });
}

/// Many models have more rows of logits than their tokenizer has tokens.
#[test]
fn tokens_beyond_the_tokenizer_are_never_written() {
    each_policy(|policy| {
        let policy = policy.clone().with_vocabulary(5);
        let mut requests: Vec<Request> = requests().into_iter().filter(|request| request.choices.is_none()).collect();
        let written = generate(&policy, &mut requests, &LIMITS, &sampling(3.0));
        assert!(written.len() > 1 && written.iter().flat_map(|text| &text.tokens).all(|&token| token < 5));
        let full = full_pass(&policy, vec![4, 1, 2], vec![None, None], 1.0);
        let unpadded = full_pass(&policy.clone().with_vocabulary(VOCAB), vec![4, 1, 2], vec![None, None], 1.0);
        assert_eq!(full.log_probs.len(), unpadded.log_probs.len());
        assert!(full.log_probs.iter().zip(&unpadded.log_probs).all(|(five, eleven)| five > eleven), "renormalised");
    });
}
