use burn::module::Module;
use burn::tensor::{Device, Int, TensorData};
use palestra_envs::End;
use palestra_testing::assert_close;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use super::*;
use crate::learners::check::{Example, check_learner, measure, uneven_parts};
use crate::learners::token_log_probs;
use crate::trajectory::Segment;
use palestra_model::ops::{Entropy, available_devices, open_device};
use palestra_model::{Family, Heads, ModelConfig, Placement, parameters};

const VOCAB: usize = 7;

fn plain() -> PpoConfig {
    PpoConfig { entropy_coefficient: 0.0, value_coefficient: 0.0, ..PpoConfig::default() }
}

fn ppo(config: PpoConfig) -> Ppo {
    Ppo::new(config, 1.0).unwrap()
}

/// A policy whose value head and logits differ between states.
fn policy(device: &Device) -> Policy {
    let shape = ModelConfig { family: Family::Gpt2, context: 12, layers: 1, width: 8, heads: 2, ..Default::default() };
    let policy = Policy::new(&shape.resolve(VOCAB).unwrap(), Heads { value: true, critic: None }, 1, device);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let noise = Normal::new(0.0f32, 0.3).unwrap();
    let mut weights = parameters::collect(&policy);
    for data in weights.values_mut() {
        let moved: Vec<f32> = data.iter::<f32>().map(|weight| weight + noise.sample(&mut rng)).collect();
        *data = TensorData::new(moved, data.shape().to_vec());
    }
    parameters::replace(policy, weights).unwrap()
}

/// Eight rows of different lengths; some have several action tokens, some are chosen from a list.
fn samples() -> Vec<Sample> {
    let row = |row: usize| {
        let at: Vec<usize> = if row.is_multiple_of(2) { vec![row / 2 + 1] } else { vec![1, row, row + 1] };
        let number = |scale: f32| at.iter().map(|at| ((row * 5 + at * 3) % 7) as f32 * scale - 3.0 * scale).collect();
        Sample {
            tokens: (0..row + 2).map(|i| ((row * 3 + i * 5) % VOCAB) as u32).collect(),
            allowed: at.iter().map(|_| (row == 3).then(|| (0..VOCAB as u32).collect())).collect(),
            log_probs: at.iter().map(|at| -2.0 + 0.1 * (at % 3) as f32).collect(),
            values: number(0.1),
            advantages: number(0.5),
            returns: number(0.2),
            at,
            ..Sample::default()
        }
    };
    (0..8).map(row).collect()
}

fn parts(samples: &[Sample], parts: usize, device: &Device) -> Vec<ActionBatch> {
    let rows: Vec<&Sample> = samples.iter().collect();
    uneven_parts(&rows, parts).into_iter().map(|part| ActionBatch::new(part, device)).collect()
}

fn each_device(test: impl Fn(&Device)) {
    available_devices().iter().for_each(|name| test(&open_device(name).unwrap().autodiff()));
}

fn training(device: &Device) -> Policy {
    policy(&device.clone().inner()).train()
}

#[test]
fn ppo_learns_as_every_learner_does() {
    check_learner(&Example {
        learner: || ppo(PpoConfig { entropy_coefficient: 0.01, ..PpoConfig::default() }),
        model: policy,
        batch: |count, device| parts(&samples(), count, device),
        rows: 8,
    });
}

#[test]
fn the_loss_by_hand() {
    each_device(|device| {
        let model = training(device);
        let mut sample = Sample {
            tokens: vec![1, 2, 3, 4, 5],
            at: vec![1, 3, 4],
            allowed: vec![None, Some([4, 6].into()), None],
            log_probs: vec![0.0; 3],
            values: vec![0.0; 3],
            advantages: vec![1.0, -1.0, 2.0],
            returns: vec![0.0; 3],
            ..Sample::default()
        };
        let batch = &parts(std::slice::from_ref(&sample), 1, device)[0];
        let evaluation = evaluate_actions(&model, batch, 1.0, Entropy::Unused);
        let host = |tensor: Tensor<1>| tensor.into_data().try_into_vec::<f32>().unwrap();
        let (now, values) = (host(evaluation.log_probs), host(evaluation.values.unwrap()));
        let hidden = model.read(batch.read.tokens.clone(), &Placement::causal()).select(&batch.predicted_at);
        let all: Vec<f32> = token_log_probs(&model, hidden, batch.allowed.as_ref(), 1.0).into_data().iter().collect();
        let entropy = -all.iter().map(|x| x.exp() * x).sum::<f32>() / 3.0;
        // Ratios 1.5, 0.5 and 1 to the sampling policy; values that moved up by 0.5, with returns 1 above.
        sample.log_probs = now.iter().zip([1.5f32, 0.5, 1.0]).map(|(now, ratio)| now - ratio.ln()).collect();
        sample.values = values.iter().map(|value| value - 0.5).collect();
        sample.returns = values.iter().map(|value| value + 1.0).collect();

        let config = PpoConfig { entropy_coefficient: 0.1, value_coefficient: 0.5, ..PpoConfig::default() };
        let (numbers, _) = measure(&ppo(config), &model, parts(&[sample], 1, device));
        let policy_loss = (-1.2 + 0.8 - 2.0) / 3.0;
        let value_loss = 0.5 * 1.3f32.powi(2); // the clipped value is 0.3 lower, and so 1.3 from the return
        let expected = [
            ("loss/policy_avg", policy_loss),
            ("loss/value_avg", value_loss),
            ("policy/entropy_avg", entropy),
            ("total", policy_loss + 0.5 * value_loss - 0.1 * entropy),
            ("policy/approxkl_avg", 0.5 * (1.5f32.ln().powi(2) + 0.5f32.ln().powi(2)) / 3.0),
            ("policy/clipfrac_avg", 2.0 / 3.0),
            ("policy/ratio_error", 1.0 / 3.0),
            ("val/ratio", 1.0),
            ("val/clipfrac_avg", 1.0),
        ];
        assert_eq!(numbers.len(), expected.len(), "{numbers:?}");
        for (name, expected) in expected {
            assert_close!(numbers[name], expected, 1e-5, "{name}");
        }
    });
}

#[test]
fn padding_is_never_seen() {
    each_device(|device| {
        let model = training(device);
        let learner = ppo(PpoConfig { entropy_coefficient: 0.01, ..PpoConfig::default() });
        let samples = samples();
        let total = |batch: Vec<ActionBatch>| measure(&learner, &model, batch).0["total"];
        let padded = parts(&samples, 1, device);
        let mut filled = padded.clone();
        let width = filled[0].read.tokens.dims()[1];
        let mut cells: Vec<i64> = filled[0].read.tokens.to_data().iter().collect();
        for (cells, sample) in cells.chunks_exact_mut(width).zip(&samples) {
            cells[sample.tokens.len()..].fill(6);
        }
        let shape = [samples.len(), width];
        filled[0].read.tokens = Tensor::<2, Int>::from_data(TensorData::new(cells, shape), device);
        assert_eq!(total(padded), total(filled), "padding of another kind");

        let short = &samples[1..2];
        let among_longer = |longer: &Sample| {
            let silent = Sample { tokens: longer.tokens.clone(), ..Sample::default() };
            total(vec![ActionBatch::new(&[&short[0], &silent], device)])
        };
        let alone = total(parts(short, 1, device));
        assert!((among_longer(&samples[7]) - alone).abs() < 1e-6, "a longer row in the same batch");
    });
}

#[test]
fn without_advantages_there_is_no_policy_gradient() {
    each_device(|device| {
        let model = training(device);
        let mut samples = samples();
        samples.iter_mut().for_each(|sample| sample.advantages.fill(0.0));
        let (numbers, gradients) = measure(&ppo(plain()), &model, parts(&samples, 1, device));
        assert_eq!(numbers["total"], 0.0);
        for (name, gradient) in gradients {
            assert!(gradient.iter().all(|&x| x == 0.0), "{name} has a gradient");
        }
    });
}

/// An episode of one segment with one action token a turn, and no values.
fn trajectory(rewards: &[f32], log_ratios: &[f32], end: End, last_value: f32) -> Trajectory {
    let action = |(turn, (&reward, &log_ratio)): (usize, (&f32, &f32))| ActionToken {
        at: 2 * turn + 1,
        turn,
        log_prob: -1.0,
        reference_log_prob: Some(-1.0 - log_ratio),
        value: 0.0,
        reward,
        allowed: None,
    };
    let actions = rewards.iter().zip(log_ratios).enumerate().map(action).collect();
    let segment = Segment { tokens: vec![1; 2 * rewards.len()], actions };
    Trajectory { segments: vec![segment], end: Some(end), last_value, ..Trajectory::default() }
}

/// PPO whose advantages are the sums of future rewards.
fn sums_of_rewards() -> PpoConfig {
    PpoConfig { lambda: 1.0, gamma: 1.0, whiten_advantages: false, ..plain() }
}

#[test]
fn the_kl_penalty_is_taken_off_each_tokens_reward() {
    let episode = trajectory(&[0.0, 0.0, 1.0], &[0.5, -1.0, 2.0], End::Terminated, 0.0);
    let mut free = ppo(sums_of_rewards());
    assert_close!(free.prepare(std::slice::from_ref(&episode)).0[0].returns, [1.0, 1.0, 1.0], 1e-6);
    let mut held = ppo(PpoConfig { kl_coefficient: 0.1, ..sums_of_rewards() });
    let (samples, metrics) = held.prepare(std::slice::from_ref(&episode));
    assert_close!(samples[0].returns, [1.0 - 0.15, 1.0 - 0.1, 1.0 - 0.2], 1e-6);
    assert_close!(metrics["objective/kl"], 1.5, 1e-6);
    assert_eq!((metrics["objective/kl_coefficient"], held.kl.beta), (0.1, 0.1), "fixed without a target");
}

#[test]
fn an_adaptive_kl_coefficient_follows_the_kl_and_is_resumed() {
    let config = PpoConfig { kl_coefficient: 0.2, kl_target: 6.0, kl_horizon: 100.0, ..sums_of_rewards() };
    let mut learner = ppo(config.clone());
    let episodes = |kl: f32| vec![trajectory(&[0.0], &[kl], End::Terminated, 0.0); 10];
    learner.prepare(&episodes(60.0)); // far above: the most that it can rise at once
    assert!((learner.kl.beta - 0.2 * 1.02).abs() < 1e-9);
    learner.prepare(&episodes(5.4)); // a tenth below
    assert!((learner.kl.beta - 0.2 * 1.02 * 0.99).abs() < 1e-7);
    let mut resumed = ppo(config);
    resumed.restore(&learner.state()).unwrap();
    assert_eq!(resumed.kl, learner.kl);
    let refused = resumed.restore(&serde_json::json!({})).unwrap_err().to_string();
    assert_eq!(refused, "the learner's state {} has no number kl_beta");
}

#[test]
fn a_truncated_episode_bootstraps_and_a_terminated_one_does_not() {
    let config = PpoConfig { gamma: 0.5, ..sums_of_rewards() };
    let truncated = trajectory(&[0.0, 1.0], &[0.0; 2], End::Truncated, 4.0);
    let terminated = trajectory(&[0.0, 1.0], &[0.0; 2], End::Terminated, 0.0);
    let (samples, _) = ppo(config).prepare(&[truncated, terminated]);
    assert_close!(samples[0].returns, [1.5, 3.0], 1e-6);
    assert_close!(samples[1].returns, [0.5, 1.0], 1e-6);
}

#[test]
fn advantages_are_whitened_over_all_that_was_collected() {
    let episode = |reward| trajectory(&[reward], &[0.0], End::Terminated, 0.0);
    let config = PpoConfig { whiten_advantages: true, ..sums_of_rewards() };
    let (samples, _) = ppo(config).prepare(&[episode(1.0), episode(3.0)]);
    assert_close!([samples[0].advantages[0], samples[1].advantages[0]], [-1.0, 1.0], 1e-6);
    assert_close!([samples[0].returns[0], samples[1].returns[0]], [1.0, 3.0], 1e-6);
}

#[test]
fn the_chain_of_advantages_runs_through_all_segments() {
    let mut episode = trajectory(&[0.0, 0.0, 1.0], &[0.0; 3], End::Terminated, 0.0);
    let later = episode.segments[0].actions.split_off(1);
    episode.segments.push(Segment { tokens: vec![1; 6], actions: later });
    let (samples, _) = ppo(PpoConfig { gamma: 0.5, ..sums_of_rewards() }).prepare(&[episode]);
    assert_close!(samples[0].returns, [0.25], 1e-6);
    assert_close!(samples[1].returns, [0.5, 1.0], 1e-6);
}

#[test]
fn coefficients_follow_the_run() {
    let mut learner = ppo(PpoConfig { final_entropy_coefficient: Some(0.1), entropy_coefficient: 0.5, ..plain() });
    learner.set_progress(0.25);
    assert!((learner.entropy_coefficient - 0.4).abs() < 1e-6);
    let strict = ppo(PpoConfig { target_kl: 0.1, ..plain() });
    let step = |kl: f64| Metrics::from([("policy/approxkl_avg".to_string(), kl)]);
    assert_eq!([0.05, 0.2].map(|kl| strict.has_moved_too_far(&step(kl))), [false, true]);
    assert!(!learner.has_moved_too_far(&step(9.0)), "without a target nothing is too far");
}
