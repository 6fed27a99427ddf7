use burn::module::Module;
use burn::tensor::{Device, TensorData};
use palestra_testing::assert_close;

use super::*;
use crate::learners::check::{Example, check_learner, measure, uneven_parts};
use crate::trajectory::{ActionToken, Segment};
use palestra_model::ops::{Entropy, available_devices, open_device};
use palestra_model::{Family, Heads, ModelConfig};

const VOCAB: usize = 7;
const LONGEST: usize = 9;

fn policy(device: &Device) -> Policy {
    let shape = ModelConfig { family: Family::Gpt2, context: 12, layers: 1, width: 8, heads: 2, ..Default::default() };
    Policy::new(&shape.resolve(VOCAB).unwrap(), Heads::default(), 1, device)
}

fn group(config: GroupConfig) -> Group {
    Group::new(config, 1.0, LONGEST).unwrap()
}

/// Rows of different lengths, with sampling and reference log-probabilities.
fn samples() -> Vec<Sample> {
    let row = |row: usize| {
        let at: Vec<usize> = (1..row + 2).collect();
        let number = |from: f32, scale: f32| at.iter().map(|at| from + scale * ((at * 3 + row) % 5) as f32).collect();
        Sample {
            tokens: (0..row + 2).map(|i| ((row * 3 + i * 5) % VOCAB) as u32).collect(),
            allowed: vec![None; at.len()],
            log_probs: number(-2.1, 0.07),
            reference_log_probs: number(-2.2, 0.1),
            advantages: vec![[1.0, -0.5, 2.0, -1.0][row % 4]; at.len()],
            at,
            ..Sample::default()
        }
    };
    (0..8).map(row).collect()
}

/// A batch in parts, with the learner's token weights.
fn parts(learner: &Group, mut samples: Vec<Sample>, parts: usize, device: &Device) -> Vec<ActionBatch> {
    for sample in &mut samples {
        sample.weight = learner.config.aggregation.token_weight(sample.at.len(), learner.longest);
    }
    let rows: Vec<&Sample> = samples.iter().collect();
    uneven_parts(&rows, parts).into_iter().map(|part| ActionBatch::new(part, device)).collect()
}

fn each_device(test: impl Fn(&Device, Policy)) {
    for name in available_devices() {
        let device = open_device(name).unwrap();
        test(&device.clone().autodiff(), policy(&device).train());
    }
}

fn held() -> GroupConfig {
    GroupConfig { kl_coefficient: 0.1, entropy_coefficient: 0.01, clip_high: 0.28, ..GroupConfig::default() }
}

const AGGREGATIONS: [Aggregation; 4] = [
    Aggregation::TokenMean,
    Aggregation::SequenceMeanTokenMean,
    Aggregation::SequenceMeanTokenSum,
    Aggregation::Constant,
];

/// Runs the checks of every learner with one of [`AGGREGATIONS`], on samples whose ratios are clipped at both ends.
fn aggregation_learns<const INDEX: usize>() {
    fn learner<const INDEX: usize>() -> Group {
        group(GroupConfig { aggregation: AGGREGATIONS[INDEX], clip_low: 0.1, clip_high: 0.14, ..held() })
    }
    fn batch<const INDEX: usize>(count: usize, device: &Device) -> Vec<ActionBatch> {
        parts(&learner::<INDEX>(), samples(), count, device)
    }
    each_device(|device, model| {
        let share = measure(&learner::<INDEX>(), &model, batch::<INDEX>(1, device)).0["policy/clipfrac_avg"];
        assert!((0.2..0.8).contains(&share), "the clip is active for {share} of the tokens");
    });
    check_learner(&Example { learner: learner::<INDEX>, model: policy, batch: batch::<INDEX>, rows: 8 });
}

#[test]
fn every_aggregation_learns_as_every_learner_does() {
    aggregation_learns::<0>();
    aggregation_learns::<1>();
    aggregation_learns::<2>();
    aggregation_learns::<3>();
}

#[test]
fn the_loss_by_hand() {
    each_device(|device, model| {
        let config = GroupConfig { aggregation: Aggregation::Constant, kl_coefficient: 0.1, ..GroupConfig::default() };
        let learner = group(config);
        let mut sample = samples().remove(2); // three action tokens
        let evaluation =
            evaluate_actions(&model, &parts(&learner, vec![sample.clone()], 1, device)[0], 1.0, Entropy::Unused);
        let now: Vec<f32> = evaluation.log_probs.into_data().iter().collect();
        // Ratios 1.5 (clipped to 1.2), 0.5 and 1 with advantage 2; log-ratios to the reference 0.5, 0, 0.
        sample.log_probs = now.iter().zip([1.5f32, 0.5, 1.0]).map(|(now, ratio)| now - ratio.ln()).collect();
        sample.reference_log_probs = now.iter().zip([0.5, 0.0, 0.0]).map(|(now, x)| now - x).collect();
        let (numbers, _) = measure(&learner, &model, parts(&learner, vec![sample], 1, device));
        let expected = (-2.0 * (1.2 + 0.5 + 1.0) + 0.1 * 0.106531) / LONGEST as f32;
        assert_close!(numbers["total"], expected, 1e-5);
        assert_close!(numbers["policy/kl_avg"], 0.106531 / 3.0, 1e-5);
        assert_close!(numbers["policy/clipfrac_avg"], 2.0 / 3.0, 1e-5);
    });
}

#[test]
fn without_advantages_there_is_no_gradient() {
    each_device(|device, model| {
        let learner = group(GroupConfig::default());
        let mut samples = samples();
        samples.iter_mut().for_each(|sample| sample.advantages.fill(0.0));
        let (_, gradients) = measure(&learner, &model, parts(&learner, samples, 1, device));
        for (name, gradient) in gradients {
            assert!(gradient.iter().all(|&x| x == 0.0), "{name} has a gradient");
        }
    });
}

#[test]
fn padding_is_never_seen() {
    each_device(|device, model| {
        let learner = group(held());
        let mut batch = parts(&learner, samples(), 1, device);
        let whole = measure(&learner, &model, batch.clone()).0["total"];
        let [rows, time] = batch[0].read.tokens.dims();
        let mut cells: Vec<i64> = batch[0].read.tokens.to_data().iter().collect();
        for (cells, sample) in cells.chunks_exact_mut(time).zip(samples()) {
            cells[sample.tokens.len()..].fill(6);
        }
        batch[0].read.tokens = burn::tensor::Tensor::from_data(TensorData::new(cells, [rows, time]), device);
        assert_eq!(measure(&learner, &model, batch).0["total"], whole);
    });
}

/// An episode of a group whose only reward comes at its end.
fn episode(group: u64, reward: f32) -> Trajectory {
    let action = |at: usize| ActionToken {
        at,
        turn: 0,
        log_prob: -1.0,
        reference_log_prob: Some(-1.5),
        value: 0.0,
        reward: if at == 2 { reward } else { 0.0 },
        allowed: None,
    };
    let segment = Segment { tokens: vec![1; 3], actions: vec![action(1), action(2)] };
    Trajectory { segments: vec![segment], group, ..Trajectory::default() }
}

#[test]
fn each_episode_is_held_against_its_group() {
    let rewards = [(0, 1.0), (1, 3.0), (0, 0.0), (1, 3.0), (2, 9.0), (0, 0.5)];
    let episodes = rewards.map(|(group, reward)| episode(group, reward));
    let config = GroupConfig { advantage: GroupAdvantage::DrGrpo, kl_coefficient: 0.5, ..GroupConfig::default() };
    let (samples, metrics) = group(config).prepare(&episodes);
    let found: Vec<&[f32]> = samples.iter().map(|sample| sample.advantages.as_slice()).collect();
    assert_eq!(found, [[0.5, 0.5], [0.0, 0.0], [-0.5, -0.5], [0.0, 0.0], [0.0, 0.0]], "the one alone is left out");
    let told = |name: &str| metrics[&format!("objective/{name}")];
    assert_eq!((told("frac_reward_zero_std"), told("alone_in_group"), told("reward_std")), (0.5, 1.0, 0.25));
    assert_eq!((told("scores"), told("entropy"), told("kl")), (16.5 / 6.0, 2.0, 1.0));
    assert_eq!((told("non_score_reward"), told("rlhf_reward")), (-0.5, 16.5 / 6.0 - 0.5));
    assert_eq!(samples[0].reference_log_probs, [-1.5, -1.5]);
}

#[test]
fn knobs_that_cannot_be_are_refused() {
    let told = |config: GroupConfig| config.check().unwrap_err().to_string();
    let default = GroupConfig::default;
    assert_eq!(told(GroupConfig { batch: 0, ..default() }), "grpo.batch: 0 is not at least 1");
    assert_eq!(told(GroupConfig { clip_low: 1.5, ..default() }), "grpo.clip_low: 1.5 is not above 0 and below 1");
    assert_eq!(
        told(GroupConfig { clip_high: f32::NAN, ..default() }),
        "grpo.clip_high: NaN is not above 0, or inf for no clipping"
    );
    assert_eq!(told(GroupConfig { kl_coefficient: -0.1, ..default() }), "grpo.kl_coefficient: -0.1 is not at least 0");
}

#[test]
fn sequence_ratios_and_cispo_by_hand() {
    each_device(|device, model| {
        let aggregation = Aggregation::SequenceMeanTokenMean;
        let loss_of = |config: GroupConfig, samples: Vec<Sample>| {
            let learner = group(config);
            measure(&learner, &model, parts(&learner, samples, 1, device)).0["total"]
        };
        let plain = GroupConfig { aggregation, clip_low: 0.1, clip_high: 0.2, ..GroupConfig::default() };
        let mut samples = samples()[1..3].to_vec(); // of two and of three action tokens
        let learner = group(plain.clone());
        let batch = &parts(&learner, samples.clone(), 1, device)[0];
        let now: Vec<f32> =
            evaluate_actions(&model, batch, 1.0, Entropy::Unused).log_probs.into_data().iter().collect();
        let log_ratios = [0.4f32, 0.2, -0.3, 0.0, 0.0];
        for (sample, (now, x)) in samples.iter_mut().zip([(&now[..2], &log_ratios[..2]), (&now[2..], &log_ratios[2..])])
        {
            assert_eq!(sample.log_probs.len(), x.len());
            sample.log_probs = now.iter().zip(x).map(|(now, x)| now - x).collect();
            sample.advantages = vec![if x.len() == 2 { 2.0 } else { -1.0 }; x.len()];
        }
        // Sequence ratios exp(0.3) = 1.3499, clipped to 1.2 of advantage 2, and exp(-0.1) = 0.9048 of advantage -1, above 0.9.
        let gspo = GroupConfig { importance_sampling_level: ImportanceLevel::Sequence, ..plain.clone() };
        let expected = (-2.0 * 1.2 + 0.904837) / 2.0;
        let found = loss_of(gspo, samples.clone());
        assert_close!(found, expected, 1e-5);
        // Weights min(exp(x), 1.2): 1.2, 1.2, 0.740818, 1, 1.
        let cispo = GroupConfig { surrogate: Surrogate::Cispo, ..plain };
        let first = -2.0 * 1.2 * (now[0] + now[1]) / 2.0;
        let second = (0.740818 * now[2] + now[3] + now[4]) / 3.0;
        let found = loss_of(cispo, samples);
        assert_close!(found, (first + second) / 2.0, 1e-5);
    });
}

#[test]
fn cispo_and_gspo_learn_as_every_learner_does() {
    fn gspo() -> GroupConfig {
        let aggregation = Aggregation::SequenceMeanTokenMean;
        GroupConfig { importance_sampling_level: ImportanceLevel::Sequence, aggregation, ..held() }
    }
    fn cispo() -> GroupConfig {
        GroupConfig { surrogate: Surrogate::Cispo, kl_coefficient: 0.0, ..held() }
    }
    check_learner(&Example {
        learner: || group(gspo()),
        model: policy,
        batch: |count, device| parts(&group(gspo()), samples(), count, device),
        rows: 8,
    });
    check_learner(&Example {
        learner: || group(cispo()),
        model: policy,
        batch: |count, device| parts(&group(cispo()), samples(), count, device),
        rows: 8,
    });
}

#[test]
fn reinforce_plus_plus_normalises_over_the_rollout() {
    let episodes = [(0, 1.0), (1, 3.0), (2, 2.0), (3, 2.0)].map(|(group, reward)| episode(group, reward));
    let config = |advantage| GroupConfig { advantage, ..GroupConfig::default() };
    let (samples, metrics) = group(config(GroupAdvantage::ReinforcePlusPlus)).prepare(&episodes);
    let found: Vec<f32> = samples.iter().map(|sample| sample.advantages[0]).collect();
    // Scores 1, 3, 2, 2, each on two tokens: mean 2, variance 1/2.
    let one = 2.0f32.sqrt();
    assert_close!(found, [-one, one, 0.0, 0.0], 1e-5);
    assert_eq!((samples.len(), metrics["objective/alone_in_group"]), (4, 0.0));

    let episodes = [(0, 1.0), (0, 3.0), (1, 9.0), (1, 9.0)].map(|(group, reward)| episode(group, reward));
    let (samples, _) = group(config(GroupAdvantage::ReinforcePlusPlusBaseline)).prepare(&episodes);
    let found: Vec<f32> = samples.iter().map(|sample| sample.advantages[0]).collect();
    assert!(found[0] < -1.0 && (found[0] + found[1]).abs() < 1e-5 && found[2].abs() < 1e-6, "{found:?}");
}

#[test]
fn truncated_answers_are_left_out_of_the_loss_and_count_in_the_baseline() {
    let mut episodes = [(0, 1.0), (0, 0.0)].map(|(group, reward)| episode(group, reward));
    episodes[1].is_cut = true;
    let advantage = GroupAdvantage::DrGrpo;
    let config = GroupConfig { advantage, mask_truncated_completions: true, ..GroupConfig::default() };
    let (samples, metrics) = group(config.clone()).prepare(&episodes);
    assert_eq!(samples.iter().map(|sample| sample.advantages[0]).collect::<Vec<_>>(), [0.5]);
    assert_eq!(metrics["objective/truncated_masked"], 1.0);
    let (samples, _) = group(GroupConfig { mask_truncated_completions: false, ..config }).prepare(&episodes);
    assert_eq!(samples.len(), 2);
}
