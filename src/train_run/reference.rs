//! Reference policy, which a run starts from: its log-probabilities of labelled answers, computed once and kept with
//! the run.
//!
//! A file of such log-probabilities records what they belong to: the model's weights, its tokenizer, and the tokens of
//! the answers after truncation. A file of another run is refused.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::agent::Agent;
use crate::{Error, Result};
use palestra_files::write_atomically;
use palestra_learn::batch::TextRow;
use palestra_learn::collective::{Collective, of_first};
use palestra_learn::learners::preference::{Reading, read_answers_on_ranks};
use palestra_learn::source::{PreferenceConfig, PreferenceData};
use palestra_model::{Policy, lora, parameters};

/// Log-probabilities of labelled answers, and what they belong to.
#[derive(Serialize, Deserialize)]
struct Reference {
    /// Fingerprints of `model`, `tokenizer` and `answers`.
    of: BTreeMap<String, String>,
    log_probs: Vec<f32>,
}

/// Sets the log-probability of each answer under the policy that the run starts from, without adapters. They are read
/// from the file if it exists, and otherwise computed, each rank its share, and written by rank 0.
///
/// # Errors
/// A file that is damaged, or of another model, tokenizer or other answers; an answer without a finite log-probability.
pub(super) fn fill(
    data: &mut PreferenceData,
    Agent { spec, policy }: &Agent,
    file: &Path,
    collective: &dyn Collective,
) -> Result<()> {
    let base = Policy::from(lora::without_adapters(policy.transformer.clone()));
    let rows: Vec<&TextRow> = data.training.iter().chain(&data.validation).flat_map(|prompt| prompt.rows()).collect();
    let of = BTreeMap::from([
        ("model".to_string(), fingerprint_of_model(&base)),
        ("tokenizer".to_string(), spec.tokenizer.fingerprint().to_string()),
        ("answers".to_string(), fingerprint_of_answers(&rows)),
    ]);
    // As rank 0 sees it, which may have written the file before another rank looks.
    let log_probs = if of_first(collective, &file.exists())? {
        read(file, &of, rows.len())?
    } else {
        let batch = spec.run.preferences.as_ref().map_or(1, PreferenceConfig::answers_per_pass);
        let log_probs = read_answers_on_ranks(&base, Reading::LogProb, &rows, batch, collective)?;
        if let Some(place) = log_probs.iter().position(|log_prob| !log_prob.is_finite()) {
            return Err(Error::Training(format!(
                "the model of start_from gives answer {place} of {} the log-probability {}; its weights are no numbers, or \
                 too large",
                rows.len(),
                log_probs[place]
            )));
        }
        if collective.rank() == 0 {
            let json = serde_json::to_string(&Reference { of, log_probs: log_probs.clone() });
            write_atomically(file, json.expect("numbers and texts are JSON").as_bytes())?;
        }
        log_probs
    };
    let mut log_probs = log_probs.into_iter();
    for prompt in data.prompts_mut() {
        prompt.references = log_probs.by_ref().take(prompt.rows().count()).collect();
    }
    Ok(())
}

fn read(file: &Path, of: &BTreeMap<String, String>, count: usize) -> Result<Vec<f32>> {
    let damaged = |reason: String| Error::Data(format!("{}: {reason}; remove it to compute it again", file.display()));
    let text = std::fs::read_to_string(file).map_err(Error::io(file))?;
    let found: Reference = serde_json::from_str(&text).map_err(|error| damaged(format!("is damaged: {error}")))?;
    for (what, own) in of {
        let theirs = found.of.get(what).map_or("none", String::as_str);
        if theirs != own {
            return Err(damaged(format!(
                "its log-probabilities are of the {what} with the fingerprint {theirs}, and this run has {own}"
            )));
        }
    }
    match found.log_probs.len() == count {
        true => Ok(found.log_probs),
        false => Err(damaged(format!("has {} log-probabilities for {count} answers", found.log_probs.len()))),
    }
}

fn fingerprint_of_model(policy: &Policy) -> String {
    let mut hash = Sha256::new();
    for (name, data) in parameters::collect(policy) {
        hash.update(name);
        hash.update(data.as_bytes());
    }
    for (name, matrix) in policy.transformer.frozen_matrices() {
        hash.update(name);
        hash.update(matrix.to_bytes());
    }
    shortened(hash)
}

fn fingerprint_of_answers(rows: &[&TextRow]) -> String {
    let mut hash = Sha256::new();
    for row in rows {
        hash.update((row.tokens.len() as u64).to_le_bytes());
        hash.update(bytemuck::cast_slice(&row.tokens));
        row.counted.iter().for_each(|&at| hash.update((at as u64).to_le_bytes()));
    }
    shortened(hash)
}

fn shortened(hash: Sha256) -> String {
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
