use std::sync::Arc;

use burn::tensor::Device;

use super::*;
use crate::batch::PromptPreferences;
use crate::learners::check::{Example, check_learner, measure, uneven_parts};
use crate::learners::preference::tests::{pairs, policy};
use crate::learners::preference::{PreferenceLearner, read_answers};
use palestra_model::ops::{available_devices, open_device};
use palestra_model::{Family, Heads, Policy};

fn config(loss: PairLoss) -> DpoConfig {
    match loss {
        PairLoss::Sigmoid => DpoConfig { label_smoothing: 0.1, nll_coefficient: 0.2, ..DpoConfig::default() },
        PairLoss::Ipo => DpoConfig { loss, length_normalised: true, beta: 0.5, ..DpoConfig::default() },
        PairLoss::Simpo => DpoConfig { loss, beta: 2.0, ..DpoConfig::default() },
        loss => DpoConfig { loss, ..DpoConfig::default() },
    }
}

fn learner(config: DpoConfig) -> PreferenceLearner {
    PreferenceLearner { objective: Arc::new(Dpo(config)) }
}

fn model(device: &Device) -> Policy {
    policy(Family::Llama, Heads::default(), device)
}

fn batch(parts: usize, device: &Device) -> Vec<PreferenceBatch> {
    let prompts = pairs();
    let prompts: Vec<&PromptPreferences> = prompts.iter().collect();
    let part = |part: &[&PromptPreferences]| PreferenceBatch::whole(part, usize::from(parts > 1), device);
    uneven_parts(&prompts, parts).into_iter().map(part).collect()
}

#[test]
fn every_loss_learns_as_every_learner_does() {
    let learners: [fn() -> PreferenceLearner; 5] = [
        || learner(config(PairLoss::Sigmoid)),
        || learner(config(PairLoss::Ipo)),
        || learner(config(PairLoss::Hinge)),
        || learner(config(PairLoss::Simpo)),
        || learner(config(PairLoss::Orpo)),
    ];
    for learner in learners {
        check_learner(&Example { learner, model, batch, rows: 3 });
    }
}

#[test]
fn where_policy_and_reference_are_the_same() {
    for name in available_devices() {
        let device = open_device(name).unwrap().autodiff();
        let model = model(&device);
        let mut prompts = pairs();
        for prompt in &mut prompts {
            let rows: Vec<&crate::batch::TextRow> = prompt.rows().collect();
            prompt.references = read_answers(&model, Reading::LogProb, &rows, 2);
        }
        let prompts: Vec<&PromptPreferences> = prompts.iter().collect();
        for (loss, expected) in
            [(PairLoss::Sigmoid, std::f32::consts::LN_2), (PairLoss::Ipo, 25.0), (PairLoss::Hinge, 1.0)]
        {
            let learner = learner(DpoConfig { loss, ..DpoConfig::default() });
            let (numbers, _) = measure(&learner, &model, PreferenceBatch::parts(&prompts, 0, &device));
            assert!((numbers["loss/dpo"] - expected).abs() < 1e-4, "{loss:?}: {numbers:?}");
            for name in ["rewards/chosen", "rewards/rejected", "rewards/margins"] {
                assert!(numbers[name].abs() < 1e-5, "{loss:?}: {name} {numbers:?}");
            }
            assert!(numbers["logps/chosen"] < 0.0 && numbers["logps/rejected"] < 0.0);
        }
    }
}

#[test]
fn impossible_knobs_are_refused_by_name() {
    let refused = |config: DpoConfig| config.check().unwrap_err().to_string();
    let base = DpoConfig::default;
    assert_eq!(refused(DpoConfig { beta: 0.0, ..base() }), "dpo.beta: 0 is not above 0");
    assert_eq!(
        refused(DpoConfig { label_smoothing: 0.6, ..base() }),
        "dpo.label_smoothing: 0.6 is not between 0 and 0.5"
    );
    let smoothed = refused(DpoConfig { label_smoothing: 0.1, loss: PairLoss::Ipo, ..base() });
    assert_eq!(smoothed, "dpo.label_smoothing: only the loss \"sigmoid\" has it; remove it");
    assert!(refused(DpoConfig { length_normalised: true, ..base() }).contains("only the loss \"ipo\""));
    assert!(refused(DpoConfig { nll_coefficient: f32::NAN, ..base() }).contains("NaN is not at least 0"));
}
