//! Parts of an agent that are specific to reward models: the initial score head, and the padding token.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use palestra_learn::learners::HeadStart;
use palestra_model::classifier::ScoreSettings;
use palestra_model::{Init, Linear, Policy};
use palestra_text::Tokenizer;

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Initialises the score head as the run asks. A head of zeros counts as new; a trained one is left unchanged.
pub(super) fn with_head_started(mut policy: Policy, head: Option<HeadStart>, seed: u64) -> Policy {
    let is_new = |head: &Linear| head.weight.dense().abs().max().into_scalar::<f32>() == 0.0;
    if head == Some(HeadStart::Normal) && policy.value_head.as_ref().is_some_and(is_new) {
        let width = policy.transformer.config().width;
        let std = (1.0 / (width as f64 + 1.0)).sqrt();
        let mut rng = ChaCha8Rng::seed_from_u64(!seed);
        let device = policy.transformer.device();
        policy.value_head = Some(Linear::new([width, 1], std, true, &mut Init::Random(&mut rng), &device));
    }
    policy
}

/// Score settings that are saved with a reward model.
pub(super) fn settings(policy: &Policy, tokenizer: &Tokenizer) -> ScoreSettings {
    ScoreSettings {
        scale: policy.score_scale(),
        pad: Some(padding(tokenizer)),
        tokenizer: Some(tokenizer.fingerprint().to_string()),
    }
}

/// Padding token: one that ends no text. transformers takes the score at the last token that is not padding.
fn padding(tokenizer: &Tokenizer) -> u32 {
    let special = tokenizer.special();
    std::iter::once(special.pad).chain(0..).find(|&token| Some(token) != special.end).expect("there are two tokens")
}

/// Sets the padding token in `tokenizer_config.json`. If there is no such file yet, it is created with the end token
/// too.
pub(super) fn name_padding(companions: &mut BTreeMap<String, String>, tokenizer: &Tokenizer) {
    let text = companions.remove(TOKENIZER_CONFIG).unwrap_or_else(|| tokenizer.to_config_json());
    let mut config: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!({}));
    config["pad_token"] = json!(tokenizer.token(padding(tokenizer)));
    companions.insert(TOKENIZER_CONFIG.to_string(), format!("{config:#}"));
}
