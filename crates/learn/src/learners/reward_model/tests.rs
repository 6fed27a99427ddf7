use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use palestra_testing::assert_close;

use super::*;
use crate::batch::PromptPreferences;
use crate::learners::check::{Example, check_learner, measure, uneven_parts};
use crate::learners::preference::PreferenceLearner;
use crate::learners::preference::tests::{policy, prompts};
use palestra_model::ops::{available_devices, open_device};
use palestra_model::{Family, Heads, parameters};

const SCORED: Heads = Heads { value: true, critic: None };

fn learner(config: RewardModelConfig, known_answers: Vec<TextRow>) -> PreferenceLearner {
    PreferenceLearner { objective: Arc::new(RewardModelObjective { config, known_answers }) }
}

/// A policy whose score head is not zero.
fn scored(family: Family, device: &Device) -> Policy {
    let policy = policy(family, SCORED, device);
    let mut moved = parameters::collect(&policy);
    let width = policy.transformer.config().width;
    let weights = (0..width).map(|at| (at as f32 - 7.0) / 20.0).collect();
    moved.insert("value_head.weight".into(), burn::tensor::TensorData::new::<f32, _>(weights, [width, 1]));
    parameters::replace(policy, moved).unwrap()
}

fn batch(parts: usize, device: &Device) -> Vec<PreferenceBatch> {
    let prompts = prompts();
    let prompts: Vec<&PromptPreferences> = prompts.iter().collect();
    let part = |part: &[&PromptPreferences]| PreferenceBatch::whole(part, usize::from(parts > 1), device);
    uneven_parts(&prompts, parts).into_iter().map(part).collect()
}

#[test]
fn a_reward_model_learns_as_every_learner_does() {
    fn centred() -> PreferenceLearner {
        learner(RewardModelConfig { center_rewards_coefficient: 0.01, ..RewardModelConfig::default() }, Vec::new())
    }
    let model = |device: &Device| scored(Family::Llama, device);
    check_learner(&Example { learner: centred, model, batch, rows: 3 });
}

#[test]
fn a_zero_head_loses_ln_2_of_pairs_and_labels() {
    for name in available_devices() {
        let device = open_device(name).unwrap().autodiff();
        let model = policy(Family::Gpt2, SCORED, &device);
        let mut prompts = prompts();
        prompts.iter_mut().for_each(|prompt| {
            prompt.choices.clear();
            prompt.ratings.clear();
            prompt.pairs.iter_mut().for_each(|pair| pair.margin = 0.0);
        });
        let prompts: Vec<&PromptPreferences> = prompts.iter().collect();
        let learner = learner(RewardModelConfig::default(), Vec::new());
        let (numbers, _) = measure(&learner, &model, PreferenceBatch::parts(&prompts, 0, &device));
        assert!((numbers["total"] - std::f32::consts::LN_2).abs() < 1e-6, "{numbers:?}");
        assert_eq!((numbers["rewards/margins"], numbers["rewards/accuracies"]), (0.0, 0.0));
    }
}

#[test]
fn the_score_is_read_at_the_last_token_whatever_stands_beside() {
    for name in available_devices() {
        let policy = scored(Family::Llama, &open_device(name).unwrap());
        let prompts = prompts();
        let rows: Vec<&TextRow> = prompts.iter().flat_map(|prompt| &prompt.answers).collect();
        let together = read_answers(&policy, Reading::Score, &rows, rows.len());
        let alone = read_answers(&policy, Reading::Score, &rows, 1);
        assert_eq!(alone.len(), rows.len());
        assert_close!(together, alone, 1e-6);
        for (row, alone) in rows.iter().zip(alone) {
            // A separate forward pass, read at the last position.
            let tokens = burn::tensor::Tensor::<2, burn::tensor::Int>::from_data(
                burn::tensor::TensorData::new(
                    row.tokens.iter().map(|&token| i64::from(token)).collect::<Vec<_>>(),
                    [1, row.tokens.len()],
                ),
                &policy.transformer.device(),
            );
            let hidden = policy.transformer.forward(tokens, &palestra_model::Placement::causal(), None);
            let scores: Vec<f32> = policy.values(hidden).unwrap().into_data().try_into_vec().unwrap();
            assert_close!(scores[row.tokens.len() - 1], alone, 1e-6);
        }
    }
}

#[test]
fn known_answers_have_mean_0_and_deviation_1_in_the_end() {
    for name in available_devices() {
        let model = scored(Family::Llama, &open_device(name).unwrap());
        let known: Vec<TextRow> = prompts().into_iter().flat_map(|prompt| prompt.answers).collect();
        let rows: Vec<&TextRow> = known.iter().collect();
        let before = read_answers(&model, Reading::Score, &rows, 4);
        let learner = learner(RewardModelConfig::default(), known.clone());
        let trained = model.clone().train();
        let finished = crate::learners::Learner::finish(&learner, trained);
        assert!(parameters::count_trained(&finished) > 0, "it can be trained further");
        let finished = finished.valid();
        let after = read_answers(&finished, Reading::Score, &rows, 4);
        let mean = after.iter().sum::<f32>() / after.len() as f32;
        let variance = after.iter().map(|score| (score - mean).powi(2)).sum::<f32>() / after.len() as f32;
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
        // Log-odds do not change.
        let scale = finished.score_scale();
        for at in 1..before.len() {
            let (before, after) = (before[at] - before[0], scale * (after[at] - after[0]));
            assert!((before - after).abs() < 1e-5, "{before} {after}");
        }
        let same = crate::learners::Learner::finish(
            &self::learner(RewardModelConfig { normalise: false, ..RewardModelConfig::default() }, known.clone()),
            model.clone(),
        );
        assert_eq!(parameters::collect(&same), parameters::collect(&model));
    }
}

#[test]
fn a_row_that_nothing_is_said_of_may_hold_nan() {
    let device = Device::flex().autodiff();
    let prompts = prompts();
    let mut only_one = prompts[0].clone();
    only_one.choices.clear();
    only_one.labels.clear();
    only_one.ratings.clear();
    only_one.pairs.truncate(1);
    let batch = PreferenceBatch::whole(&[&only_one], 0, &device);
    // The longest answer, which is the third, comes first.
    let scores = Tensor::<1>::from_data([f32::NAN, 0.25, 0.5], &device).require_grad();
    let objective = RewardModelObjective { config: RewardModelConfig::default(), known_answers: Vec::new() };
    let loss = objective.loss(scores.clone(), &[], &batch);
    let gradients = loss.total.sum.backward();
    let gradient: Vec<f32> = scores.grad(&gradients).unwrap().into_data().try_into_vec().unwrap();
    assert!(loss.total.sum.into_scalar::<f32>().is_finite() && gradient.iter().all(|number| number.is_finite()));
    assert_eq!(gradient[0], 0.0);
}
