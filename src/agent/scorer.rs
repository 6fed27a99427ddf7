//! What an agent that is a reward model has of its own: how its head starts, and which token pads.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::config::Algorithm;
use palestra_learn::learners::reward_model::HeadStart;
use palestra_model::classifier::ScoreSettings;
use palestra_model::{Init, Linear, Policy};
use palestra_text::Tokenizer;

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The policy with the score head that a run asks for, where it has a new one: those are zero.
pub(super) fn with_head_started(mut policy: Policy, algorithm: &Algorithm, seed: u64) -> Policy {
    let wants_noise = matches!(algorithm, Algorithm::RewardModel(config) if config.head == HeadStart::Normal);
    let is_new = |head: &Linear| head.weight.val().abs().max().into_scalar::<f32>() == 0.0;
    if wants_noise && policy.value_head.as_ref().is_some_and(is_new) {
        let width = policy.transformer.config().width;
        let std = (1.0 / (width as f64 + 1.0)).sqrt();
        let mut rng = ChaCha8Rng::seed_from_u64(!seed);
        let device = policy.transformer.device();
        policy.value_head = Some(Linear::new([width, 1], std, true, &mut Init::Random(&mut rng), &device));
    }
    policy
}

/// What the files of a reward model say of its scores.
pub(super) fn settings(policy: &Policy, tokenizer: &Tokenizer) -> ScoreSettings {
    ScoreSettings {
        scale: policy.score_scale(),
        pad: Some(padding(tokenizer)),
        tokenizer: Some(tokenizer.fingerprint().to_string()),
    }
}

/// A token that ends no text: transformers takes the score at the last token that is not it.
fn padding(tokenizer: &Tokenizer) -> u32 {
    let special = tokenizer.special();
    std::iter::once(special.pad).chain(0..).find(|&token| Some(token) != special.end).expect("there are two tokens")
}

/// Lets `tokenizer_config.json` name that token, and the one that ends texts where there is no such file yet.
pub(super) fn name_padding(companions: &mut BTreeMap<String, String>, tokenizer: &Tokenizer) {
    let text = companions.remove(TOKENIZER_CONFIG).unwrap_or_else(|| tokenizer.to_config_json());
    let mut config: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!({}));
    config["pad_token"] = json!(tokenizer.token(padding(tokenizer)));
    companions.insert(TOKENIZER_CONFIG.to_string(), format!("{config:#}"));
}
