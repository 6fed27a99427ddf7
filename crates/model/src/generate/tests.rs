use std::cell::RefCell;

use palestra_testing::assert_close;
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};

use burn::tensor::Bool;

use super::engine::Sizes;
use super::*;
use crate::ops::{OutputVocabulary, available_devices, open_device, selected_log_probs};
use crate::{ExpertsConfig, Family, Heads, ModelConfig, RopeScaling, parameters};

pub(crate) const VOCAB: usize = 11;
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

pub(crate) fn shapes() -> Vec<ModelConfig> {
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
            let last = policy.read(input, &Placement::causal()).map(|hidden| hidden.narrow(0, time - 1, 1));
            let target = Tensor::from_data(TensorData::new(vec![i64::from(token)], [1]), &device);
            let whole = selected_log_probs(policy.scores(last), target);
            assert_close!([written.log_probs[at]], host(whole.into_data()), 1e-4, "token {at}");
        }
    }
}

/// A policy with weights large enough, in every part, that a wrong position or mask changes the result.
pub(crate) fn policy(config: &ModelConfig, device: &Device) -> Policy {
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
pub(super) fn full_pass(
    policy: &Policy,
    tokens: Vec<u32>,
    allowed: Vec<Option<Arc<[u32]>>>,
    temperature: f32,
) -> FullPass {
    let (device, count, time) = (policy.transformer.device(), allowed.len(), tokens.len());
    let ids: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
    let input = Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [1, time]), &device);
    let hidden = policy.read(input, &Placement::causal());
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
pub(super) struct FullPass {
    pub log_probs: Vec<f32>,
    best: Vec<u32>,
    pub values: Option<Vec<f32>>,
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
    each_policy(|policy| {
        let device = policy.transformer.device();
        let forward = |tokens: &[u32]| {
            let count = tokens.len();
            let tokens = column(tokens.iter().copied(), &device).reshape([1, count]);
            host(policy.transformer.forward(tokens, &Placement::causal(), None).into_data())
        };
        for filler in [0, 9] {
            assert_close!(&forward(&[&prompt[..], &[filler; 2]].concat())[..prompt.len() * 16], forward(&prompt), 1e-5);
        }
    });
}

/// Continues requests in an engine of few rows and small passes, one request more each step; returns the continuations
/// and the number of tokens that were read.
pub(super) fn trickled(policy: &Policy, requests: Vec<Request>, rows: usize, sizes: Sizes) -> (Vec<Continuation>, u64) {
    let mut engine = Engine::new(policy, LIMITS, sampling(1.0), rows);
    engine.sizes = sizes;
    let mut written = vec![None; requests.len()];
    let mut requests = requests.into_iter().enumerate();
    loop {
        let next = requests.next();
        let is_last = next.is_none();
        next.into_iter().for_each(|(key, request)| engine.submit(key, request));
        let finished = engine.step();
        finished.into_iter().for_each(|finished| written[finished.key] = Some(finished.continuation));
        if is_last && engine.is_idle() {
            return (written.into_iter().map(|text| text.expect("every request ends")).collect(), engine.tokens_read());
        }
    }
}

fn assert_same_texts(found: &[Continuation], expected: &[Continuation]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!((&found.tokens, found.ended), (&expected.tokens, expected.ended));
        assert_eq!(found.allowed, expected.allowed);
        assert_close!(found.log_probs, expected.log_probs, 1e-4);
        assert_close!(found.values, expected.values, 1e-4);
    }
}

const SIZES: Sizes = Sizes { chunk: 512, pass: 4096, worth_sharing: 32 };

#[test]
fn rows_are_refilled_and_prompts_are_read_in_parts_without_changing_a_text() {
    each_policy(|policy| {
        let expected = generate(policy, &mut requests(), &LIMITS, &sampling(1.0));
        for (rows, chunk, pass) in [(1, 512, 4096), (2, 3, 4), (3, 2, 1), (5, 512, 4096), (8, 3, 4096)] {
            let (written, _) = trickled(policy, requests(), rows, Sizes { chunk, pass, ..SIZES });
            assert_same_texts(&written, &expected);
        }
    });
}

#[test]
fn tokens_chosen_on_the_device_are_those_of_the_host() {
    let samplings = [
        sampling(1.0),
        Sampling::GREEDY,
        Sampling { repetition_penalty: 1.4, ..sampling(0.8) },
        Sampling { top_k: 4, top_p: 0.9, repetition_penalty: 0.8, ..sampling(1.2) },
    ];
    each_policy(|policy| {
        for sampling in samplings {
            let mut requests = requests();
            requests[0].forced = Some(vec![4, 5, 4]);
            let written = [1, usize::MAX].map(|large| {
                let mut engine = Engine::new(policy, LIMITS, sampling, 8);
                engine.large_vocabulary = large;
                requests.iter().enumerate().for_each(|(key, request)| engine.submit(key, request.clone()));
                let mut written = vec![Continuation::default(); requests.len()];
                while !engine.is_idle() {
                    engine.step().into_iter().for_each(|finished| written[finished.key] = finished.continuation);
                }
                written
            });
            assert_same_texts(&written[0], &written[1]);
        }
    });
}

#[test]
fn windows_of_attention_are_kept_in_the_cache() {
    for device in available_devices() {
        let shape =
            ModelConfig { sliding_window: 4, context: 32, layers: 2, width: 16, heads: 4, ..ModelConfig::default() };
        let policy = policy(&shape.resolve(VOCAB).unwrap(), &open_device(device).unwrap());
        let (written, _) = trickled(&policy, requests(), 3, Sizes { chunk: 3, ..SIZES });
        for (request, text) in requests().iter().zip(&written) {
            let tokens = [request.prompt.as_slice(), &text.tokens].concat();
            let full = full_pass(&policy, tokens, text.allowed.clone(), 1.0);
            assert_close!(text.log_probs, full.log_probs, 1e-4);
        }
    }
}

#[test]
fn a_common_beginning_is_read_once() {
    each_policy(|policy| {
        let system = [5, 1, 7, 2, 2, 9, 8, 1, 0, 4];
        // Two groups of three, and one prompt that shares the system prompt alone.
        let ends: [&[u32]; 7] = [&[6], &[6], &[6], &[7, 7, 1], &[7, 7, 1], &[7, 7, 1], &[0]];
        let request = |(seed, end): (usize, &&[u32])| Request {
            prompt: [&system[..], end].concat(),
            choices: None,
            rng: ChaCha8Rng::seed_from_u64(seed as u64),
            forced: Some(vec![4, 5, 6]),
        };
        let requests = || ends.iter().enumerate().map(request).collect::<Vec<_>>();
        let (expected, all) = trickled(policy, requests(), 8, SIZES);
        for rows in [1, 2, 8] {
            let (written, read) = trickled(policy, requests(), rows, Sizes { worth_sharing: 4, ..SIZES });
            assert_same_texts(&written, &expected);
            let prompts: usize = ends.iter().map(|end| system.len() + end.len()).sum();
            assert_eq!(all, (prompts + 7 * 2) as u64, "each forced token but the last is read");
            // The system prompt is read once, then every prompt's own end: of a prompt that was read, its last token.
            assert_eq!(read, (system.len() + 1 + 1 + 1 + 3 + 1 + 1 + 1 + 7 * 2) as u64, "with {rows} rows");
        }
    });
}

#[test]
fn a_turn_reads_what_is_new_alone() {
    each_policy(|policy| {
        let request = |prompt: &[u32]| Request {
            prompt: prompt.to_vec(),
            choices: None,
            rng: ChaCha8Rng::seed_from_u64(3),
            forced: Some(vec![4, 5]),
        };
        let mut engine = Engine::new(policy, LIMITS, sampling(1.0), 2).keeping_texts();
        let finish = |engine: &mut Engine| loop {
            if let Some(finished) = engine.step().pop() {
                return finished.continuation;
            }
        };
        let mut context = vec![1, 2, 3];
        let mut read = 0;
        for turn in 0..4 {
            for key in [0, 1] {
                engine.submit(key, request(&context));
                let alone = generate(policy, &mut [request(&context)], &LIMITS, &sampling(1.0)).remove(0);
                assert_same_texts(&[finish(&mut engine)], &[alone]);
                // Of the first turn three tokens and the first of the action; then the rest of that and the observation.
                read += 4;
                assert_eq!(engine.tokens_read(), read, "turn {turn} of episode {key}");
            }
            context.extend([4, 5, 8 - turn, turn]);
        }
        // A third episode takes the row that was released, and the other goes on.
        engine.release(0);
        engine.submit(2, request(&[9, 9]));
        finish(&mut engine);
        engine.submit(1, request(&context));
        finish(&mut engine);
        assert_eq!(engine.tokens_read(), read + 3 + 4);
        // A context that does not go on from what was read is read again.
        engine.submit(1, request(&context[5..]));
        let alone = generate(policy, &mut [request(&context[5..])], &LIMITS, &sampling(1.0)).remove(0);
        assert_same_texts(&[finish(&mut engine)], &[alone]);
        assert_eq!(engine.tokens_read(), read + 3 + 4 + context.len() as u64 - 5 + 1);
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
fn ids_without_a_token_are_never_written() {
    each_policy(|policy| {
        let policy = policy.clone().with_vocabulary(OutputVocabulary::new(6, &[3]));
        let mut requests: Vec<Request> = requests().into_iter().filter(|request| request.choices.is_none()).collect();
        let written = generate(&policy, &mut requests, &LIMITS, &sampling(3.0));
        assert!(
            written.len() > 1 && written.iter().flat_map(|text| &text.tokens).all(|&token| token < 6 && token != 3)
        );
        let full = full_pass(&policy, vec![4, 1, 2], vec![None, None], 1.0);
        let all = policy.with_vocabulary(OutputVocabulary::whole(VOCAB));
        let unrestricted = full_pass(&all, vec![4, 1, 2], vec![None, None], 1.0);
        assert_eq!(full.log_probs.len(), unrestricted.log_probs.len());
        assert!(full.log_probs.iter().zip(&unrestricted.log_probs).all(|(five, eleven)| five > eleven), "renormalised");
    });
}

#[test]
fn texts_that_one_pass_reads_need_no_cache() {
    let limits = Limits { max_new_tokens: 1, ..LIMITS };
    let write = |mut engine: Engine, requests: Vec<Request>| {
        let mut written = vec![Continuation::default(); requests.len()];
        requests.into_iter().enumerate().for_each(|(key, request)| engine.submit(key, request));
        while !engine.is_idle() {
            engine.step().into_iter().for_each(|finished| written[finished.key] = finished.continuation);
        }
        (written, engine.cache.shape().capacity)
    };
    let free = || requests().into_iter().filter(|request| request.choices.is_none()).collect::<Vec<_>>();
    let forced = || {
        let write = |request: Request| Request { forced: Some(vec![5, 1, 4]), ..request };
        free().into_iter().map(write).collect::<Vec<_>>()
    };
    each_policy(|policy| {
        let kinds: [&dyn Fn() -> Vec<Request>; 2] = [&free, &forced];
        for requests in kinds {
            let engine = || Engine::new(policy, limits, sampling(1.0), 3);
            let (expected, needed) = write(engine().keeping_texts(), requests());
            let (written, capacity) = write(engine(), requests());
            assert!(needed >= 8, "the longest prompt has 8 tokens");
            assert_eq!(capacity, 0);
            assert_same_texts(&written, &expected);
        }
        // Beside a text that is read in several passes.
        let both = || [forced(), self::requests()].concat();
        let (expected, _) = write(Engine::new(policy, LIMITS, sampling(1.0), 4).keeping_texts(), both());
        assert_same_texts(&write(Engine::new(policy, LIMITS, sampling(1.0), 4), both()).0, &expected);
    });
}
