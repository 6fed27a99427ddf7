//! Memory that a run cannot do without, against what there is. A run that cannot fit is refused from its settings, before
//! memory is taken.

use std::path::Path;

use crate::config::RunFile;
use crate::{Error, Result};
use palestra_display::bytes;
use palestra_model::lora::LoraConfig;
use palestra_model::{Family, ModelConfig};

/// Bytes of a weight that is trained: itself, its gradient, two moments.
const TRAINED: u128 = 16;

/// Bytes of a weight that is not.
const FROZEN: u128 = 4;

/// Bytes that an episode takes at least: its observations, actions, tokens and their numbers.
const EPISODE: u128 = 512;

/// Refuses a model whose weights and positions alone take more memory than the machine has; `directory` is for the message.
///
/// # Errors
/// Names the setting that takes most, with both numbers.
pub(crate) fn check_model(config: &ModelConfig, directory: &Path) -> Result<()> {
    let Some(memory) = of_machine() else { return Ok(()) };
    refuse_beyond(memory, &parts_of_model(config, FROZEN)).map_err(|reason| {
        let path = directory.display().to_string();
        Error::Checkpoint { path, reason: format!("{reason}; a model must fit into memory") }
    })
}

/// Refuses a run whose model, adapters and episodes take more memory than `train.memory`, or than the machine has. `config`
/// is the resolved shape of its model.
///
/// # Errors
/// Names the setting that takes most, with both numbers.
pub(crate) fn check(run: &RunFile, config: &ModelConfig) -> Result<()> {
    // The memory of an accelerator is not known here.
    let machine = if run.device.contains("cuda") { None } else { of_machine() };
    match run.train.memory.or(machine) {
        Some(memory) => check_within(run, config, memory),
        None => Ok(()),
    }
}

fn check_within(run: &RunFile, config: &ModelConfig, memory: u64) -> Result<()> {
    refuse_beyond(memory, &parts(run, config))
        .map_err(|reason| Error::Config(format!("{reason}; make it smaller, or set train.memory if there is more")))
}

/// Refuses parts that take more than this memory; the reason names the largest.
fn refuse_beyond(memory: u64, parts: &[Part]) -> Result<(), String> {
    let total: u128 = parts.iter().map(|part| part.bytes).sum();
    let Some(largest) = parts.iter().max_by_key(|part| part.bytes).filter(|_| total > u128::from(memory)) else {
        return Ok(());
    };
    let shown = |size: u128| bytes(u64::try_from(size).unwrap_or(u64::MAX));
    Err(format!(
        "{}: {} takes {} of the {} that are needed at least, and there are {}",
        largest.setting,
        largest.value,
        shown(largest.bytes),
        shown(total),
        bytes(memory)
    ))
}

fn wide(number: usize) -> u128 {
    number as u128
}

/// Memory that a setting takes.
struct Part {
    setting: &'static str,
    value: usize,
    bytes: u128,
}

/// Memory of the weights of a model, at so many bytes each, and of its positions.
fn parts_of_model(config: &ModelConfig, of_weight: u128) -> Vec<Part> {
    let (width, layers) = (wide(config.width), wide(config.layers));
    let (query, kv) = (wide(config.heads) * wide(config.head_dim()), wide(config.kv_heads) * wide(config.head_dim()));
    let linears = if config.family == Family::Gpt2 { 2 } else { 3 };
    let block = width * (2 * query + 2 * kv + linears * wide(config.feed_forward));
    let tables = if config.tie_embeddings { 1 } else { 2 };
    // GPT-2 learns a row for each position; the others keep a row of cosines and one of sines.
    let position = if config.family == Family::Gpt2 { width * of_weight } else { 2 * wide(config.head_dim()) * FROZEN };
    let (shape, value) = match config {
        ModelConfig { layers, width, .. } if layers > width => ("model.layers", *layers),
        ModelConfig { width, feed_forward, .. } if *feed_forward > 16 * width => ("model.feed_forward", *feed_forward),
        _ => ("model.width", config.width),
    };
    vec![
        Part { setting: shape, value, bytes: layers * block * of_weight },
        Part {
            setting: "model.vocab_size",
            value: config.vocab_size,
            bytes: tables * wide(config.vocab_size) * width * of_weight,
        },
        Part { setting: "model.context", value: config.context, bytes: wide(config.context) * position },
    ]
}

fn parts(run: &RunFile, config: &ModelConfig) -> Vec<Part> {
    let mut parts = parts_of_model(config, if run.lora.is_some() { FROZEN } else { TRAINED });
    if let Some(LoraConfig { rank, .. }) = &run.lora {
        // One adapted layer at least, of the narrowest that there is.
        let kv_or_query = wide(config.kv_heads.min(config.heads)) * wide(config.head_dim());
        parts.push(Part {
            setting: "lora.rank",
            value: *rank,
            bytes: wide(*rank) * (wide(config.width) + kv_or_query) * TRAINED,
        });
    }
    if run.env.is_some() {
        let episodes = [("rollout.episodes", run.rollout.episodes), ("evaluation.episodes", run.evaluation.episodes)];
        parts.extend(episodes.map(|(setting, value)| Part { setting, value, bytes: wide(value) * EPISODE }));
    }
    parts
}

/// Memory of this machine in bytes, if the system tells.
fn of_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use palestra_envs::Registry;

    use super::*;

    fn refusal(settings: &[&str]) -> String {
        let text = "name = \"lake\"\n[env]\nid = \"frozen-lake-4x4\"\n";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lake.toml");
        std::fs::write(&file, text).unwrap();
        let run = RunFile::load(&file, settings).and_then(|run| run.resolve(&Registry::builtin()));
        let run = match run {
            Ok(run) => run,
            Err(error) => return error.to_string(),
        };
        let config = run.model.clone().unwrap_or_default().resolve(20).unwrap();
        check_within(&run, &config, 16 << 30).map_or_else(|error| error.to_string(), |()| "fits".to_string())
    }

    #[test]
    fn what_cannot_fit_is_named_before_memory_is_taken() {
        assert_eq!(refusal(&[]), "fits");
        let cases = [
            (&["model.context=1000000000"][..], "model.context: 1000000000 takes"),
            (&["model.width=1000000"], "model.width: 1000000 takes"),
            (&["model.layers=90000", "model.width=4096"], "model.layers: 90000 takes"),
            (&["model.feed_forward=900000000"], "model.feed_forward: 900000000 takes"),
            (&["model.vocab_size=900000000"], "model.vocab_size: 900000000 takes"),
            (&["rollout.episodes=90000000"], "rollout.episodes: 90000000 takes"),
            (&["evaluation.episodes=90000000"], "evaluation.episodes: 90000000 takes"),
            (&["model.width=9000000000000000000"], "model.width: 9000000000000000000 is not between 1 and"),
            (&["model.context=9000000000000000000"], "model.context: 9000000000000000000 is not between 1 and"),
            (&["rollout.episodes=9000000000000000000"], "rollout.episodes: 9000000000000000000 is not at most"),
        ];
        for (settings, expected) in cases {
            let told = refusal(settings);
            assert!(told.contains(expected), "{settings:?}: {told}");
        }
    }

    #[test]
    fn a_model_of_an_impossible_context_is_refused_by_its_directory() {
        let config = ModelConfig { context: 1_000_000_000, ..ModelConfig::default() }.resolve(20).unwrap();
        let error = check_model(&config, Path::new("hostile.gguf")).unwrap_err().to_string();
        assert!(error.contains("hostile.gguf") && error.contains("model.context: 1000000000 takes"), "{error}");
        check_model(&ModelConfig::default().resolve(20).unwrap(), Path::new("m")).unwrap();
    }

    #[test]
    fn an_adapter_of_an_impossible_rank_is_named() {
        let mut run: RunFile = toml::from_str("name = \"a\"\n[env]\nid = \"frozen-lake-4x4\"\n").unwrap();
        run.lora = Some(LoraConfig { rank: 1 << 40, ..LoraConfig::default() });
        let config = ModelConfig::default().resolve(20).unwrap();
        let error = check_within(&run, &config, 16 << 30).unwrap_err().to_string();
        assert!(error.starts_with("lora.rank: 1099511627776 takes"), "{error}");
    }
}
