use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use palestra_testing::assert_close;

use super::tests::{VOCAB, each_device, ended_and_truncated, host, learns, parts, policy, read_averaged};
use super::*;
use crate::batch::Next;
use crate::learners::Loss;
use crate::learners::check::measure;
use palestra_model::parameters;

fn evaluated(temperature: f32, epsilon: f64, device: &Device) -> TokenPolicy {
    let policy = policy(None, &device.clone().inner());
    // A different model than the trained one.
    let weights = parameters::collect(&policy).into_iter().map(|(name, data)| {
        let moved: Vec<f32> = data.iter::<f32>().map(|weight| 2.0 * weight).collect();
        (name, TensorData::new(moved, data.shape().to_vec()))
    });
    let policy = parameters::replace(policy, weights.collect()).unwrap();
    TokenPolicy { policy, temperature, epsilon }
}

/// An FQE learner that creates its evaluated policy on the device of the batch.
struct Anywhere;

impl Learner for Anywhere {
    type Model = Policy;
    type Batch = TransitionBatch;

    fn loss(&self, model: &Policy, batch: TransitionBatch, statistics: &[Tensor<1>]) -> Loss {
        Fqe { evaluated: evaluated(0.7, 0.2, &batch.read.tokens.device()), polyak: 0.05 }.loss(model, batch, statistics)
    }

    fn after_step(&self, model: Policy) -> Policy {
        model.polyak_update(0.05)
    }
}

#[test]
fn fqe_learns_as_every_learner_does() {
    learns(|| Anywhere, |device| policy(Some(Fqe::critic()), device));
}

/// Evaluated policy, computed by hand: the softmax of the scores divided by the temperature over the allowed tokens,
/// mixed with a uniform choice.
fn by_hand(evaluated: &TokenPolicy, scores: &[f32], allowed: Option<&[u32]>) -> Vec<f32> {
    let can_be = |token: usize| allowed.is_none_or(|allowed| allowed.contains(&(token as u32)));
    let own: Vec<f32> = if evaluated.temperature == 0.0 {
        let best = (0..VOCAB).filter(|&token| can_be(token)).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        (0..VOCAB).map(|token| f32::from(u8::from(best == Some(token)))).collect()
    } else {
        let weight = |token: usize| if can_be(token) { (scores[token] / evaluated.temperature).exp() } else { 0.0 };
        let total: f32 = (0..VOCAB).map(weight).sum();
        (0..VOCAB).map(|token| weight(token) / total).collect()
    };
    let Some(allowed) = allowed else { return own };
    let epsilon = evaluated.epsilon as f32;
    let uniform = |token: usize| if can_be(token) { 1.0 / allowed.len() as f32 } else { 0.0 };
    own.iter().enumerate().map(|(token, p)| (1.0 - epsilon) * p + epsilon * uniform(token)).collect()
}

#[test]
fn fqe_by_hand_with_every_kind_of_end() {
    each_device(|device| {
        let model = policy(Some(Fqe::critic()), &device.clone().inner()).train();
        let mut chunks = ended_and_truncated();
        let lists: [Option<&[u32]>; 3] = [Some(&[0, 3]), Some(&[1, 5, 6]), None];
        chunks[0].segments[0].actions[0].allowed = lists[0].map(Arc::from);
        chunks[0].segments[1].actions[0].allowed = Some(Arc::from([2, 6].as_slice()));
        let Next::State(_, allowed) = &mut chunks[1].next else { panic!("the second is truncated") };
        *allowed = lists[1].map(Arc::from);
        let batch = || parts(&chunks, 1, device);
        for (temperature, epsilon) in [(1.0, 0.0), (0.5, 0.3), (0.0, 0.0), (0.0, 0.4)] {
            let evaluated = evaluated(temperature, epsilon, device);
            let states = batch().remove(0);
            let rows = |tensor: Tensor<2>| host(tensor).chunks(VOCAB).map(<[f32]>::to_vec).collect::<Vec<_>>();
            let read = |policy: &Policy| {
                let hidden = policy.transformer.forward(states.read.tokens.clone(), &Placement::causal(), None);
                hidden.select(0, states.states_at.clone())
            };
            let scores = rows(evaluated.policy.transformer.logits(read(&evaluated.policy.clone().train())));
            let critic = model.critic.as_ref().unwrap();
            let targets = rows(critic.min_target_q(read_averaged(&model, &states)));
            let value = |state: usize, allowed: Option<&[u32]>| -> f32 {
                by_hand(&evaluated, &scores[state], allowed).iter().zip(&targets[state]).map(|(p, q)| p * q).sum()
            };
            // States: those of the three actions, then the final state of the truncated episode.
            let after = [value(1, Some(&[2, 6])), value(3, lists[1])];
            let y = [0.5 + 0.9 * after[0], 1.0, -1.0 + 0.9 * after[1]];
            assert!(after.iter().all(|value| value.abs() > 0.01), "values of 0 show nothing: {after:?}");
            let written = states.targets.to_data();
            let all_q = rows(critic.q[0].forward(read(&model)));
            let q: Vec<f32> = written.iter::<i64>().zip(all_q).map(|(token, row)| row[token as usize]).collect();
            let expected = (0..3).map(|i| (q[i] - y[i]).powi(2)).sum::<f32>() / 3.0;
            let learner = Fqe { evaluated: evaluated.clone(), polyak: 0.05 };
            let (numbers, gradients) = measure(&learner, &model, batch());
            assert_close!(numbers["total"], expected, 1e-5);
            assert!(gradients.keys().all(|name| !name.starts_with("critic.target")), "{:?}", gradients.keys());
            let found = host(learner.values(&model, &states));
            let expected = [value(0, lists[0]), after[0], value(2, lists[2]), after[1]];
            assert_close!(found, expected, 1e-5);
        }
    });
}
