use std::sync::Arc;

use burn::tensor::Device;

use super::*;
use crate::batch::PromptPreferences;
use crate::learners::check::{Example, check_learner, measure, uneven_parts};
use crate::learners::preference::tests::{policy, prompts};
use crate::learners::preference::{PreferenceLearner, read_answers};
use palestra_model::ops::{available_devices, open_device};
use palestra_model::{Family, Heads};

fn batch(parts: usize, device: &Device) -> Vec<PreferenceBatch> {
    let prompts = prompts();
    let prompts: Vec<&PromptPreferences> = prompts.iter().collect();
    let part = |part: &[&PromptPreferences]| PreferenceBatch::whole(part, usize::from(parts > 1), device);
    uneven_parts(&prompts, parts).into_iter().map(part).collect()
}

fn learner() -> PreferenceLearner {
    let config = KtoConfig { beta: 0.3, desirable_weight: 1.0, undesirable_weight: 1.3 };
    PreferenceLearner { objective: Arc::new(Kto(config)) }
}

#[test]
fn kto_learns_as_every_learner_does() {
    let model = |device: &Device| policy(Family::Llama, Heads::default(), device);
    check_learner(&Example { learner, model, batch, rows: 3 });
}

#[test]
fn where_policy_and_reference_are_the_same_the_loss_is_a_half() {
    for name in available_devices() {
        let device = open_device(name).unwrap().autodiff();
        let model = policy(Family::Gpt2, Heads::default(), &device);
        let mut prompts = prompts();
        for prompt in &mut prompts {
            let rows: Vec<&crate::batch::TextRow> = prompt.rows().collect();
            prompt.references = read_answers(&model, Reading::LogProb, &rows, 2);
        }
        let prompts: Vec<&PromptPreferences> = prompts.iter().collect();
        let learner = PreferenceLearner { objective: Arc::new(Kto(KtoConfig::default())) };
        let (numbers, _) = measure(&learner, &model, vec![PreferenceBatch::whole(&prompts, 2, &device)]);
        assert!((numbers["total"] - 0.5).abs() < 1e-5, "{numbers:?}");
        assert!(numbers["objective/kl"].abs() < 1e-5 && numbers["rewards/chosen"].abs() < 1e-5, "{numbers:?}");
    }
}

#[test]
fn impossible_knobs_are_refused_by_name() {
    let refused = |config: KtoConfig| config.check().unwrap_err().to_string();
    assert_eq!(refused(KtoConfig { beta: -1.0, ..KtoConfig::default() }), "kto.beta: -1 is not above 0");
    let weight = refused(KtoConfig { undesirable_weight: f32::NAN, ..KtoConfig::default() });
    assert_eq!(weight, "kto.undesirable_weight: NaN is not at least 0");
}
