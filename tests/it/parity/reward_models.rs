//! Our reward models in transformers: the same files must give texts the same scores.

use palestra::model::ops::{available_devices, open_device};
use palestra::reward_model::RewardModel;
use serde_json::json;

use super::script;
use crate::fine_tuning::LORA;
use crate::preferences::{sandbox, train};
use crate::tiny_run::checkpoints;

#[test]
#[ignore = "needs Python with transformers: cargo xtask parity"]
fn what_is_trained_scores_the_same_in_transformers() {
    for options in [&[][..], &LORA[..]] {
        let sandbox = sandbox();
        train(&sandbox, "reward.toml", "out", options);
        let device = open_device(available_devices().pop().unwrap()).unwrap();
        let model = RewardModel::open(&sandbox.path().join("out"), &device).unwrap();
        let encoder = model.encoder();
        let texts = [" yes", " never say never", " no"];
        let rows = texts.map(|answer| encoder.answer(&"question two".into(), &answer.into()).unwrap());
        let scores = model.score_rows(&rows.each_ref(), 3);
        let tokens: Vec<&Vec<u32>> = rows.iter().map(|row| &row.tokens).collect();
        let directory = checkpoints(&sandbox.path().join("out")).pop().unwrap();
        let ours = json!({ "tokens": tokens, "scores": scores }).to_string();
        std::fs::write(directory.join("ours.json"), ours).unwrap();
        println!("{}", script("parity.py", &["check", directory.to_str().unwrap()]));
    }
}
