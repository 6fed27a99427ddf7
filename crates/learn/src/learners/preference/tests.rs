//! Shared test data of the preference learners, and tests of gradients in chunks.

use burn::tensor::Device;
use palestra_testing::assert_close;

use super::*;
use crate::batch::{Choice, Pair, PromptPreferences, Single};
use crate::learners::check::{assert_same, own_way};
use crate::learners::dpo::{Dpo, DpoConfig};
use crate::learners::kto::{Kto, KtoConfig};
use palestra_model::ops::{available_devices, open_device};
use palestra_model::{Family, Heads, ModelConfig};

const VOCAB: usize = 7;

/// A model with two layers.
pub fn policy(family: Family, heads: Heads, device: &Device) -> Policy {
    let config = ModelConfig { family, context: 12, layers: 2, width: 16, heads: 2, ..ModelConfig::default() };
    Policy::new(&config.resolve(VOCAB).unwrap(), heads, 1, device)
}

/// Three prompts with answers of different lengths and preferences of every kind; the first answer of each prompt is
/// better than the second. Reference log-probabilities and mismatched answers are included.
pub fn prompts() -> Vec<PromptPreferences> {
    let row = |number: usize, length: usize| {
        let tokens: Vec<u32> = (0..length).map(|at| ((number * 3 + at * 5 + at * at) % VOCAB) as u32).collect();
        TextRow { counted: (2..length).collect(), tokens, ..TextRow::default() }
    };
    let single = |answer, value| Single { answer, value, weight: 1.0 };
    (0..3)
        .map(|number| PromptPreferences {
            answers: (0..3).map(|answer| row(7 * number + answer, 4 + (number + 2 * answer) % 5)).collect(),
            mismatched: (0..3).map(|answer| row(5 * number + answer + 1, 5 + (number + answer) % 3)).collect(),
            references: (0..6).map(|answer| -(answer as f32) - number as f32 - 3.0).collect(),
            pairs: vec![
                Pair {
                    chosen: 0,
                    rejected: 1,
                    is_tie: false,
                    margin: 0.1 * number as f32,
                    weight: 1.0 + number as f32,
                },
                Pair { chosen: 2, rejected: 1, is_tie: number == 1, margin: 0.0, weight: 0.5 },
            ],
            choices: vec![Choice { answers: (0..2 + number % 2).collect(), weight: 1.0 }],
            labels: vec![single(0, 1.0), single(1, 0.0)],
            ratings: vec![single(2, number as f32 / 2.0)],
            group: None,
        })
        .collect()
}

/// Same as [`prompts`], without ties.
pub fn pairs() -> Vec<PromptPreferences> {
    let mut prompts = prompts();
    prompts.iter_mut().flat_map(|prompt| &mut prompt.pairs).for_each(|pair| pair.is_tie = false);
    prompts
}

#[test]
fn chunks_give_the_same_gradients() {
    for name in available_devices() {
        let device = open_device(name).unwrap();
        for family in [Family::Gpt2, Family::Llama] {
            let model = policy(family, Heads::default(), &device).train();
            let device = model.transformer.device();
            let prompts = pairs();
            let prompts: Vec<&PromptPreferences> = prompts.iter().collect();
            let objectives: [Arc<dyn Objective>; 2] =
                [Arc::new(Dpo(DpoConfig::default())), Arc::new(Kto(KtoConfig::default()))];
            for objective in objectives {
                let learner = PreferenceLearner { objective };
                let batch = |chunk| PreferenceBatch::whole(&prompts, chunk, &device);
                let expected = own_way(&learner, &model, vec![batch(0)]);
                for chunk in [1, 4] {
                    let found = own_way(&learner, &model, vec![batch(chunk)]);
                    assert_same(&found, &expected, &format!("chunks of {chunk}"));
                }
            }
        }
    }
}

#[test]
fn log_probabilities_are_those_of_the_counted_tokens() {
    for name in available_devices() {
        let device = open_device(name).unwrap();
        let model = policy(Family::Llama, Heads::default(), &device);
        let prompts = prompts();
        let rows: Vec<&TextRow> = prompts.iter().flat_map(|prompt| prompt.rows()).collect();
        let found = read_answers(&model, Reading::LogProb, &rows, 4);
        assert_eq!(found.len(), rows.len());
        for (row, found) in rows.into_iter().zip(found) {
            let batch = crate::batch::TextBatch::whole(std::slice::from_ref(row), &device);
            let expected = crate::learners::supervised::text_log_probs(&model, &batch).sum().into_scalar::<f32>();
            assert_close!(found, expected, 1e-5);
        }
    }
}
