use palestra_model::Module;
use palestra_model::ops::{Entropy, available_devices, open_device};
use palestra_model::{Family, Heads, ModelConfig, Policy};
use palestra_testing::assert_close;

use super::*;
use crate::batch::{ActionBatch, Sample};
use crate::learners::check::{assert_same, measure};
use crate::learners::{Learner, Loss, Sum, evaluate_actions};

/// Answers of these lengths to each of some prompts, whose lengths are given.
fn sequences(prompts: &[(usize, &[usize])]) -> Vec<Vec<u32>> {
    let token = |seed: usize, at: usize| ((31 * seed + 7 * at * at + at) % 23) as u32;
    let mut sequences = Vec::new();
    for (number, (prompt, answers)) in prompts.iter().enumerate() {
        for (answer, length) in answers.iter().enumerate() {
            let prompt = (0..*prompt).map(|at| token(number, at));
            // The first token tells answers apart.
            let answer = (0..*length).map(|at| if at == 0 { answer as u32 } else { token(100 * answer + number, at) });
            sequences.push(prompt.chain(answer).collect());
        }
    }
    sequences
}

fn layout(sequences: &[Vec<u32>], device: &Device) -> Layout {
    Layout::new(&sequences.iter().map(Vec::as_slice).collect::<Vec<_>>(), device)
}

#[test]
fn every_token_has_its_place() {
    let device = Device::flex();
    for (prompts, expected) in [
        // Eight answers stand behind one prompt, and the two short texts fill a row.
        (&[(200, &[9, 10, 9, 9, 9, 8, 9, 9][..]), (0, &[100]), (0, &[150])][..], [2, 272]),
        // Each text takes a row: nothing is shared, and nothing is padded.
        (&[(0, &[300]), (0, &[300]), (0, &[298])], [3, 300]),
        // Too little to be worth a mask.
        (&[(40, &[2, 3])], [2, 43]),
    ] {
        let sequences = sequences(prompts);
        let layout = layout(&sequences, &device);
        assert_eq!(layout.rows.dims(), expected);
        let tokens: Vec<i64> = layout.rows.tokens.to_data().iter().collect();
        for (number, sequence) in sequences.iter().enumerate() {
            for (position, token) in sequence.iter().enumerate() {
                assert_eq!(tokens[layout.at(number, position) as usize], i64::from(*token), "{number} at {position}");
            }
        }
    }
}

#[test]
fn sequences_of_one_prompt_come_together() {
    let [long, other, short] = [vec![1; 40], vec![2; 40], vec![3; 4]];
    let prompts = [&long, &short, &other, &long, &short, &other];
    assert_eq!(side_by_side(vec![5, 1, 0, 4, 3, 2], |at| prompts[at]), [5, 2, 1, 0, 3, 4]);
}

/// A weighted sum of the log-probabilities and values of all action tokens.
struct Weighted;

impl Learner for Weighted {
    type Model = Policy;
    type Batch = ActionBatch;

    fn loss(&self, model: &Policy, batch: ActionBatch, _: &[Tensor<1>]) -> Loss {
        let found = evaluate_actions(model, &batch, 1.0, Entropy::Unused);
        let sum = ((found.log_probs - found.values.unwrap()) * batch.weights).sum();
        Loss { total: Sum { sum, count: batch.sample_count as f64 }, metrics: Vec::new() }
    }
}

#[test]
fn shared_prompts_change_no_number() {
    for name in available_devices() {
        let device = open_device(name).unwrap();
        for family in [Family::Gpt2, Family::Llama, Family::Gemma3] {
            let config = ModelConfig {
                family,
                layers: 3,
                width: 16,
                heads: 4,
                kv_heads: if family == Family::Gpt2 { 4 } else { 2 },
                context: 160,
                sliding_window: if family == Family::Gemma3 { 12 } else { 0 },
                full_attention_layers: if family == Family::Gemma3 { vec![1] } else { vec![] },
                ..ModelConfig::default()
            };
            let config = config.resolve(23).unwrap();
            let policy = Policy::new(&config, Heads { value: true, critic: None }, 3, &device).train();
            let sequences = sequences(&[(120, &[20, 30, 8, 17]), (90, &[12, 5, 40, 33]), (0, &[44])]);
            let sample = |(number, tokens): (usize, &Vec<u32>)| Sample {
                at: (1..tokens.len()).filter(|at| *at > 100 || tokens.len() < 50).collect(),
                allowed: vec![None; (1..tokens.len()).filter(|at| *at > 100 || tokens.len() < 50).count()],
                tokens: tokens.clone(),
                weight: 0.3 + number as f32 / 7.0,
                ..Sample::default()
            };
            let samples: Vec<Sample> = sequences.iter().enumerate().map(sample).collect();
            let batch = |samples: &[&Sample]| ActionBatch::new(samples, &policy.transformer.device());
            let samples: Vec<&Sample> = samples.iter().collect();
            let together = batch(&samples);
            assert!(together.read.dims()[0] < samples.len(), "{:?}", together.read.dims());
            let apart: Vec<ActionBatch> = samples.iter().map(|sample| batch(&[sample])).collect();
            let host = |tensor: Tensor<1>| -> Vec<f32> { tensor.into_data().try_into_vec().unwrap() };
            let log_probs = |batch| host(evaluate_actions(&policy, batch, 1.0, Entropy::Unused).log_probs);
            let expected: Vec<f32> = apart.iter().flat_map(log_probs).collect();
            assert_close!(log_probs(&together), expected, 1e-5, "{name} {family:?}");
            let [found, expected] = [vec![together], apart].map(|parts| measure(&Weighted, &policy, parts));
            assert_same(&found, &expected, &format!("{name} {family:?}"));
        }
    }
}
