use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use palestra_testing::assert_close;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use super::*;
use crate::batch::{Chunk, Next};
use crate::learners::batch_gradients;
use crate::learners::check::{Example, check_learner, measure, uneven_parts};
use crate::trajectory::{ActionToken, Segment};
use palestra_model::ops::{available_devices, open_device};
use palestra_model::{CriticShape, Decoding, Family, Heads, ModelConfig, Targets, parameters};

pub(super) const VOCAB: usize = 7;

const ALL_PARTS: CriticShape = CriticShape { own_trunk: true, q_heads: 2, targets: Targets::Network, v_head: true };

/// A policy whose heads give different outputs for different states and tokens.
pub(in crate::learners) fn policy(shape: Option<CriticShape>, device: &Device) -> Policy {
    let config =
        ModelConfig { family: Family::Gpt2, context: 12, layers: 1, width: 8, heads: 2, ..ModelConfig::default() };
    let heads = Heads { value: false, critic: shape };
    let policy = Policy::new(&config.resolve(VOCAB).unwrap(), heads, 1, device);
    let mut weights = parameters::collect(&policy);
    for (index, data) in weights.values_mut().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(index as u64);
        let noise = Normal::new(0.0f32, 0.3).unwrap();
        let moved: Vec<f32> = data.iter::<f32>().map(|weight| weight + noise.sample(&mut rng)).collect();
        *data = TensorData::new(moved, data.shape().to_vec());
    }
    parameters::replace(policy, weights).unwrap()
}

fn action(at: usize, turn: usize, reward: f32, allowed: Option<&[u32]>) -> ActionToken {
    ActionToken {
        at,
        turn,
        log_prob: 0.0,
        reference_log_prob: None,
        value: 0.0,
        reward,
        allowed: allowed.map(Arc::from),
    }
}

/// Six chunks: of one turn and of two; terminated, truncated, continued, or with an unknown next state.
pub(in crate::learners) fn chunks() -> Vec<Chunk> {
    let chunk = |number: usize| {
        let turns = 1 + number % 2;
        let segment = |turn: usize| {
            let length = 3 + (number + turn) % 3;
            let tokens = (0..length).map(|i| ((number * 3 + turn * 2 + i * 5) % VOCAB) as u32).collect::<Vec<_>>();
            let last = tokens[length - 1];
            let allowed = (number == 3).then(|| [last, (last + 1) % 7]);
            let allowed = allowed.map(|mut among| {
                among.sort_unstable();
                among
            });
            let reward = (number as f32 - 2.0) * 0.3 + turn as f32;
            Segment { tokens, actions: vec![action(length - 1, turn, reward, allowed.as_ref().map(|a| &a[..]))] }
        };
        let next = match number % 3 {
            0 => Next::Nothing,
            1 => Next::State(vec![number as u32, 2, 4], (number == 1).then(|| Arc::from([1, 2, 3].as_slice()))),
            _ => Next::Unknown,
        };
        Chunk {
            segments: (0..turns).map(segment).collect(),
            discounts: vec![0.9; turns],
            returns: (0..turns).map(|turn| 0.4 * number as f32 - turn as f32).collect(),
            return_discounts: vec![if number % 3 == 1 { 0.9 } else { 0.0 }; turns],
            next,
        }
    };
    (0..6).map(chunk).collect()
}

pub(in crate::learners) fn parts(chunks: &[Chunk], parts: usize, device: &Device) -> Vec<TransitionBatch> {
    uneven_parts(chunks, parts).into_iter().map(|part| TransitionBatch::new(part, device)).collect()
}

pub(super) fn each_device(test: impl Fn(&Device)) {
    available_devices().iter().for_each(|name| test(&open_device(name).unwrap().autodiff()));
}

pub(super) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

pub(super) fn learns<L: Learner<Model = Policy, Batch = TransitionBatch>>(
    learner: fn() -> L,
    model: fn(&Device) -> Policy,
) {
    check_learner(&Example { learner, model, batch: |count, device| parts(&chunks(), count, device), rows: 6 });
}

#[test]
fn cloning_learns_as_every_learner_does() {
    learns(|| BehaviourCloning, |device| policy(None, device));
    learns(|| DecisionTransformer, |device| policy(None, device));
}

#[test]
fn awr_learns_as_every_learner_does() {
    learns(|| Awr(AwrConfig::default()), |device| policy(Some(AwrConfig::default().critic()), device));
}

#[test]
fn monte_carlo_values_learn_as_every_learner_does() {
    let model = |device: &Device| policy(Some(MonteCarloConfig::default().critic()), device);
    learns(|| MonteCarlo(MonteCarloConfig::default()), model);
}

#[test]
fn cql_learns_as_every_learner_does() {
    learns(|| Cql(CqlConfig::default()), |device| policy(Some(CqlConfig::default().critic()), device));
}

#[test]
fn iql_learns_as_every_learner_does() {
    learns(|| Iql(IqlConfig::default()), |device| policy(Some(IqlConfig::default().critic()), device));
}

#[test]
fn ilql_learns_as_every_learner_does() {
    learns(|| Ilql(IlqlConfig::default()), |device| policy(Some(IlqlConfig::default().critic()), device));
}

#[test]
fn a_shared_trunk_learns_too() {
    fn config() -> IlqlConfig {
        IlqlConfig { shared_trunk: true, ..IlqlConfig::default() }
    }
    learns(|| Ilql(config()), |device| policy(Some(config().critic()), device));
}

/// Model outputs at each action token and state of a batch, read one row at a time.
struct ByHand {
    /// At the action tokens.
    log_probs: Vec<f32>,
    q: [Vec<f32>; 2],
    target: Vec<f32>,
    all_q: [Vec<Vec<f32>>; 2],
    /// At all states.
    v: Vec<f32>,
    all_target: Vec<Vec<f32>>,
    policy: Vec<Vec<f32>>,
}

/// Hidden states of the target transformer in the states of a batch.
pub(super) fn read_averaged(model: &Policy, batch: &TransitionBatch) -> Tensor<2> {
    let trunk = model.critic.as_ref().and_then(|critic| critic.target_trunk.as_ref()).unwrap();
    trunk.forward(batch.read.tokens.clone(), &Placement::causal(), None).select(0, batch.states_at.clone())
}

impl ByHand {
    fn of(model: &Policy, batch: &TransitionBatch) -> Self {
        let critic = model.critic.as_ref().unwrap();
        let select = |hidden: Tensor<2>| hidden.select(0, batch.states_at.clone());
        let actor = model.transformer.forward(batch.read.tokens.clone(), &Placement::causal(), None);
        let values = select(critic.read(batch.read.tokens.clone(), &actor));
        let table = |tensor: Tensor<2>| host(tensor).chunks(VOCAB).map(<[f32]>::to_vec).collect::<Vec<_>>();
        let targets: Vec<usize> = batch.targets.to_data().iter::<i64>().map(|token| token as usize).collect();
        let picked = |table: &[Vec<f32>]| targets.iter().zip(table).map(|(&token, row)| row[token]).collect();
        let states = batch.states_at.dims()[0];
        let mask = batch.allowed.as_ref().and_then(|allowed| allowed.forbidden(0..states, VOCAB, &Device::flex()));
        let forbidden: Option<Vec<bool>> = mask.map(|mask| mask.into_data().iter().collect());
        let mut logits = table(model.transformer.logits(select(actor)));
        if let Some(forbidden) = &forbidden {
            for (row, forbidden) in logits.iter_mut().zip(forbidden.chunks(VOCAB)) {
                row.iter_mut().zip(forbidden).filter(|(_, no)| **no).for_each(|(x, _)| *x = f32::NEG_INFINITY);
            }
        }
        let log_softmax = |row: &Vec<f32>| {
            let sum = row.iter().map(|x| x.exp()).sum::<f32>().ln();
            row.iter().map(|x| x - sum).collect::<Vec<_>>()
        };
        let all_q = [0, 1].map(|head| table(critic.q[head].forward(values.clone())));
        let all_target = table(critic.min_target_q(read_averaged(model, batch)));
        let log_probs: Vec<Vec<f32>> = logits.iter().map(log_softmax).collect();
        Self {
            log_probs: picked(&log_probs),
            policy: log_probs.iter().map(|row| row.iter().map(|x| x.exp()).collect()).collect(),
            q: [0, 1].map(|head| picked(&all_q[head])),
            target: picked(&all_target),
            all_q,
            v: host(critic.state_values(values).unwrap()),
            all_target,
        }
    }
}

/// Two chunks: one of two turns that terminates with +1, and one that was truncated.
pub(super) fn ended_and_truncated() -> Vec<Chunk> {
    let segment = |tokens: [u32; 3], turn, reward| Segment {
        tokens: tokens.to_vec(),
        actions: vec![action(2, turn, reward, None)],
    };
    vec![
        Chunk {
            segments: vec![segment([1, 2, 3], 0, 0.5), segment([4, 5, 6], 1, 1.0)],
            discounts: vec![0.9, 0.9],
            returns: vec![1.4, 1.0],
            return_discounts: vec![0.0; 2],
            next: Next::Nothing,
        },
        Chunk {
            segments: vec![segment([3, 0, 2], 0, -1.0)],
            discounts: vec![0.9],
            returns: vec![-1.0],
            return_discounts: vec![0.0],
            next: Next::State(vec![6, 1], None),
        },
    ]
}

#[test]
fn ilql_by_hand_with_every_kind_of_end() {
    each_device(|device| {
        let model = policy(Some(ALL_PARTS), &device.clone().inner()).train();
        let batch = || parts(&ended_and_truncated(), 1, device);
        let ByHand { log_probs, q, target, all_q, v, .. } = ByHand::of(&model, &batch()[0]);
        // The last transition of the game has the value of its reward, +1, alone. A known published implementation
        // bootstraps it from itself. The truncated one continues in its next state.
        let y = [0.5 + 0.9 * v[1], 1.0, -1.0 + 0.9 * v[3]];
        assert!(v[1].abs() > 0.01 && v[3].abs() > 0.01, "values of 0 show nothing");
        let q_loss = (0..3).map(|i| (q[0][i] - y[i]).powi(2) + (q[1][i] - y[i]).powi(2)).sum::<f32>() / 3.0;
        let expectile = |u: f32| if u < 0.0 { 0.2 * u * u } else { 0.8 * u * u };
        let v_loss = (0..3).map(|i| expectile(target[i] - v[i])).sum::<f32>() / 3.0;
        let cross_entropy =
            |head: usize, i: usize| all_q[head][i].iter().map(|x| x.exp()).sum::<f32>().ln() - q[head][i];
        let conservative = (0..3).map(|i| cross_entropy(0, i) + cross_entropy(1, i)).sum::<f32>() / 3.0;
        let policy_loss = -log_probs.iter().sum::<f32>() / 3.0;

        let config = IlqlConfig { tau: 0.8, alpha: 0.5, policy_coefficient: 2.0, ..IlqlConfig::default() };
        let (numbers, _) = measure(&Ilql(config), &model, batch());
        let expected = [
            ("loss/q", q_loss),
            ("loss/v", v_loss),
            ("loss/conservative", conservative),
            ("loss/policy", policy_loss),
            ("total", q_loss + v_loss + 0.5 * conservative + 2.0 * policy_loss),
        ];
        for (name, expected) in expected {
            assert_close!(numbers[name], expected, 1e-5, "{name}");
        }
    });
}

#[test]
fn iql_by_hand() {
    each_device(|device| {
        let model = policy(Some(ALL_PARTS), &device.clone().inner()).train();
        let batch = || parts(&ended_and_truncated(), 1, device);
        let ByHand { log_probs, target, v, .. } = ByHand::of(&model, &batch()[0]);
        let unbounded = |i: usize| (2.0 * (target[i] - v[i])).exp();
        let max_weight = (0..3).map(unbounded).sum::<f32>() / 3.0; // some are above, some below
        let weight = |i: usize| unbounded(i).min(max_weight);
        let expected = -(0..3).map(|i| weight(i) * log_probs[i]).sum::<f32>() / 3.0;
        let config = IqlConfig { beta: 2.0, max_weight, ..IqlConfig::default() };
        let (numbers, _) = measure(&Iql(config), &model, batch());
        assert_close!(numbers["loss/policy"], expected, 1e-5);
        assert!((numbers["total"] - numbers["loss/q"] - numbers["loss/v"] - expected).abs() < 1e-5);
    });
}

#[test]
fn cql_by_hand() {
    each_device(|device| {
        let model = policy(Some(CriticShape { v_head: false, ..ALL_PARTS }), &device.clone().inner()).train();
        let batch = || parts(&ended_and_truncated(), 1, device);
        let with_v = policy(Some(ALL_PARTS), &device.clone().inner()).train();
        assert_eq!(parameters::collect(&with_v).len(), parameters::collect(&model).len() + 4);
        let critic = model.critic.as_ref().unwrap();
        let table = |tensor: Tensor<2>| host(tensor).chunks(VOCAB).map(<[f32]>::to_vec).collect::<Vec<_>>();
        let online = table(critic.min_q(States::read(&model, &batch()[0]).critic_hidden));
        let target = table(critic.min_target_q(read_averaged(&model, &batch()[0])));
        let best = |state: usize| {
            let row = &online[state];
            let token = (0..VOCAB).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
            target[state][token]
        };
        let y = [0.5 + 0.9 * best(1), 1.0, -1.0 + 0.9 * best(3)];
        let (numbers, _) = measure(&Cql(CqlConfig::default()), &model, batch());
        let states_batch = batch();
        let states = States::read(&model, &states_batch[0]);
        let q: Vec<Vec<f32>> = critic.q.iter().map(|head| host(states.q(head).1)).collect();
        let expected = (0..3).map(|i| (q[0][i] - y[i]).powi(2) + (q[1][i] - y[i]).powi(2)).sum::<f32>() / 3.0;
        assert_close!(numbers["loss/q"], expected, 1e-5);
    });
}

#[test]
fn monte_carlo_and_awr_by_hand() {
    each_device(|device| {
        let model = policy(Some(ALL_PARTS), &device.clone().inner()).train();
        let batch = || parts(&ended_and_truncated(), 1, device);
        let ByHand { log_probs, q, v, .. } = ByHand::of(&model, &batch()[0]);
        let returns = [1.4, 1.0, -1.0];
        let (numbers, _) =
            measure(&Awr(AwrConfig { lambda: 0.5, max_weight: 4.0, ..AwrConfig::default() }), &model, batch());
        let weight = |i: usize| ((returns[i] - v[i]) / 0.5).exp().min(4.0);
        let expected = -(0..3).map(|i| weight(i) * log_probs[i]).sum::<f32>() / 3.0;
        assert_close!(numbers["loss/policy"], expected, 1e-5);
        let expected = (0..3).map(|i| (returns[i] - v[i]).powi(2)).sum::<f32>() / 3.0;
        assert_close!(numbers["loss/v"], expected, 1e-5);

        let both = measure(&MonteCarlo(MonteCarloConfig::default()), &model, batch()).0["loss/q"];
        let error = |head: usize| (0..3).map(|i| (q[head][i] - returns[i]).powi(2)).sum::<f32>() / 3.0;
        assert!((both - error(0) - error(1)).abs() < 1e-5);
    });
}

#[test]
fn the_value_of_the_final_observation_continues_the_return_of_a_truncated_episode() {
    each_device(|device| {
        let model = policy(Some(ALL_PARTS), &device.clone().inner()).train();
        let mut chunks = ended_and_truncated();
        chunks[1].return_discounts = vec![0.9];
        let batch = || parts(&chunks, 1, device);
        let ByHand { q, v, all_q, policy, .. } = ByHand::of(&model, &batch()[0]);
        let mean_square =
            |found: &[f32], returns: [f32; 3]| (0..3).map(|i| (found[i] - returns[i]).powi(2)).sum::<f32>() / 3.0;
        let awr = measure(&Awr(AwrConfig::default()), &model, batch()).0["loss/v"];
        assert!((awr - mean_square(&v, [1.4, 1.0, -1.0 + 0.9 * v[3]])).abs() < 1e-5);

        let value: f32 = policy[3].iter().zip(&all_q[0][3]).map(|(p, q)| p * q).sum();
        assert!(value.abs() > 1e-3, "a value of 0 shows nothing: {value}");
        let returns = [1.4, 1.0, -1.0 + 0.9 * value];
        let monte_carlo = measure(&MonteCarlo(MonteCarloConfig::default()), &model, batch()).0["loss/q"];
        assert!((monte_carlo - mean_square(&q[0], returns) - mean_square(&q[1], returns)).abs() < 1e-5);
    });
}

#[test]
fn an_action_whose_outcome_nobody_knows_teaches_no_value() {
    each_device(|device| {
        let model = policy(Some(ALL_PARTS), &device.clone().inner()).train();
        let mut chunks = ended_and_truncated();
        let q_loss = |chunks: &[Chunk]| measure(&Ilql(IlqlConfig::default()), &model, parts(chunks, 1, device)).0;
        let known = q_loss(&chunks);
        chunks[1].next = Next::Unknown;
        let before = q_loss(&chunks);
        chunks[1].segments[0].actions[0].reward = 50.0;
        let after = q_loss(&chunks);
        assert_eq!((before["loss/q"], before["loss/v"]), (after["loss/q"], after["loss/v"]));
        assert!(before["loss/q"] < known["loss/q"] && before["loss/policy"] == known["loss/policy"]);
    });
}

#[test]
fn what_could_not_be_written_has_no_part_in_any_loss() {
    each_device(|device| {
        let model = policy(Some(ALL_PARTS), &device.clone().inner()).train();
        let mut chunks = ended_and_truncated();
        let forced = |chunk: &mut Chunk| {
            for segment in &mut chunk.segments {
                let token = segment.tokens[2];
                segment.actions[0].allowed = Some(Arc::from([token].as_slice()));
            }
        };
        chunks.iter_mut().for_each(forced);
        let (numbers, _) = measure(&Ilql(IlqlConfig::default()), &model, parts(&chunks, 1, device));
        assert!(numbers["loss/policy"].abs() < 1e-6 && numbers["loss/conservative"].abs() < 1e-6, "{numbers:?}");
        // The best token of the next state is the only one that can be written there.
        chunks[1].next = Next::State(vec![6, 1], Some(Arc::from([2].as_slice())));
        let ByHand { q, all_target, .. } = ByHand::of(&model, &parts(&chunks, 1, device)[0]);
        let y = [0.5 + 0.9 * all_target[1][6], 1.0, -1.0 + 0.9 * all_target[3][2]];
        let expected = (0..3).map(|i| (q[0][i] - y[i]).powi(2) + (q[1][i] - y[i]).powi(2)).sum::<f32>() / 3.0;
        let (numbers, _) = measure(&Cql(CqlConfig::default()), &model, parts(&chunks, 1, device));
        assert_close!(numbers["loss/q"], expected, 1e-5);
    });
}

#[test]
fn padding_may_hold_anything() {
    each_device(|device| {
        let model = policy(Some(ALL_PARTS), &device.clone().inner()).train();
        let batch = parts(&chunks(), 1, device).remove(0);
        let mut filled = batch.clone();
        let [rows, time] = batch.read.tokens.dims();
        let ends: Vec<usize> = {
            let mut ends = vec![0; rows];
            for at in batch.states_at.to_data().iter::<i64>() {
                // The tokens after a state's position in its row are the action or padding, and no state attends to
                // them.
                let (row, column) = (at as usize / time, at as usize % time);
                ends[row] = ends[row].max(column + 1);
            }
            ends
        };
        let mut cells: Vec<i64> = batch.read.tokens.to_data().iter().collect();
        for (cells, end) in cells.chunks_exact_mut(time).zip(ends) {
            cells[end..].fill(5);
        }
        filled.read.tokens = Tensor::from_data(TensorData::new(cells, [rows, time]), device);
        let loss = |batch| measure(&Ilql(IlqlConfig::default()), &model, vec![batch]).0["total"];
        assert_eq!(loss(batch), loss(filled));
    });
}

#[test]
fn targets_follow_by_polyak_averaging() {
    each_device(|device| {
        let model = policy(Some(ALL_PARTS), &device.clone().inner()).train();
        let before = parameters::collect(&model);
        let after = parameters::collect(&model.polyak_update(0.25));
        let mut moved = 0;
        for (name, old) in &before {
            let averaged = [("critic.targets.", "critic.q."), ("critic.target_trunk.", "critic.trunk.")];
            let of = averaged.iter().find_map(|(from, to)| Some(format!("{to}{}", name.strip_prefix(from)?)));
            let Some(of) = of else {
                assert_eq!(old, &after[name], "{name} does not move");
                continue;
            };
            moved += 1;
            assert_eq!(old.shape(), before[&of].shape());
            let new = before[&of].iter::<f32>();
            let expected: Vec<f32> = old.iter::<f32>().zip(new).map(|(old, new)| old + 0.25 * (new - old)).collect();
            assert_close!(after[name].iter::<f32>().collect::<Vec<_>>(), expected, 1e-6, "{name}");
        }
        // Two heads with two layers and biases, and a transformer of the same shape as the policy's.
        let transformer = before.keys().filter(|name| !name.starts_with("critic.")).count();
        assert_eq!(moved, 2 * 4 + transformer);
    });
}

#[test]
fn ilql_without_beta_is_behaviour_cloning() {
    each_device(|device| {
        // Trained from the same start: the values have their own transformer and leave the policy unchanged.
        let config = palestra_model::optim::OptimizerConfig { max_grad_norm: 0.0, ..Default::default() };
        let trained = |learner: &OfflineLearner, mut model: Policy| {
            let mut optimizer = palestra_model::optim::AdamW::new(config.clone()).unwrap();
            for _ in 0..5 {
                let (gradients, _) = batch_gradients(learner, &model, parts(&chunks(), 1, device));
                (model, _) = optimizer.step(model, gradients, 1e-2).unwrap();
                model = learner.after_step(model);
            }
            model.valid()
        };
        let plain = Policy::new(&tiny(), Heads::default(), 3, &device.clone().inner());
        let heads = Heads { value: false, critic: Some(ALL_PARTS) };
        let with_values = Policy::new(&tiny(), heads, 3, &device.clone().inner());
        let cloned = trained(&(Box::new(BehaviourCloning) as OfflineLearner), plain.train());
        let ilql = trained(&(Box::new(Ilql(IlqlConfig::default())) as OfflineLearner), with_values.train());
        let tokens = parts(&chunks(), 1, &device.clone().inner())[0].read.tokens.clone();
        let scores = |policy: &Policy| host(policy.scores(policy.read(tokens.clone(), &Placement::causal())));
        let log_softmax = |scores: Vec<f32>| -> Vec<f32> {
            let rows = scores.chunks(VOCAB);
            rows.flat_map(|row| {
                let sum = row.iter().map(|x| x.exp()).sum::<f32>().ln();
                row.iter().map(move |x| x - sum).collect::<Vec<_>>()
            })
            .collect()
        };
        let cloned = log_softmax(scores(&cloned));
        let at = |beta: f32| log_softmax(scores(&ilql.clone().with_decoding(Decoding::Advantage { beta })));
        assert_close!(at(0.0), cloned, 1e-5);
        assert!(palestra_testing::compare(&at(4.0), &cloned, 1e-2).is_err(), "values change what is written");
    });
}

fn tiny() -> ModelConfig {
    let config =
        ModelConfig { family: Family::Gpt2, context: 12, layers: 1, width: 8, heads: 2, ..ModelConfig::default() };
    config.resolve(VOCAB).unwrap()
}
