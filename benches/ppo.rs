//! Rollout and update of PPO: tokens per second, and the environments' share of the time.
//!
//! `cargo bench --features libtorch --bench ppo` (or without the feature, for flex alone). Each line is the median of
//! several updates after a warm-up. Tokens are those read and written; an update counts them as often as they are
//! learned from.

use std::sync::atomic::AtomicBool;

use palestra::Result;
use palestra::envs::{Definition, Options, Pool, Registry};
use palestra::learn::collective::Alone;
use palestra::learn::encoder::Encoder;
use palestra::learn::learners::ppo::{Ppo, PpoConfig};
use palestra::learn::rollout::{Rollout, RolloutConfig};
use palestra::learn::source::{OnPolicySource, ReferencePolicy};
use palestra::learn::train::{UpdateRange, train};
use palestra::model::ops::{available_devices, open_device, set_threads};
use palestra::model::optim::{AdamW, OptimizerConfig};
use palestra::model::{Family, Heads, ModelConfig, Module, Policy};
use palestra::report::Metrics;
use palestra::text::Tokenizer;

const UPDATES: u64 = 9;
const WARM_UP: usize = 2;

fn main() -> Result<()> {
    println!(
        "device    threads  environment      model      rollout tok/s   update tok/s   environments' share of the time"
    );
    for device in available_devices() {
        for threads in [1, 2] {
            set_threads(threads);
            for (env, layers, width) in [("snake-6x6", 1, 32), ("tic-tac-toe", 2, 64), ("frozen-lake-4x4", 2, 64)] {
                let updates = run(device, env, layers, width)?;
                let median = |value: &dyn Fn(&Metrics) -> f64| {
                    let mut values: Vec<f64> = updates.iter().skip(WARM_UP).map(value).collect();
                    values.sort_by(f64::total_cmp);
                    values[values.len() / 2]
                };
                let rollout = median(&|m| m["throughput/tokens_per_second"]);
                let update = median(&|m| m["throughput/update_tokens_per_second"]);
                let share = median(&|m| {
                    let (rollout, update) = (m["rollout/seconds"], m["update/seconds"]);
                    m["rollout/environment_share"] * rollout / (rollout + update)
                });
                println!(
                    "{device:<9} {threads:>7}  {env:<15}  {layers} x {width:<5} {rollout:>14.0} {update:>14.0} {:>12.2} %",
                    100.0 * share
                );
            }
        }
    }
    Ok(())
}

/// Metrics of a few updates of a policy with random initial weights.
fn run(device: &str, env: &str, layers: usize, width: usize) -> Result<Vec<Metrics>> {
    let device = open_device(device).map_err(palestra::Error::Device)?;
    let mut definition = Definition::named(env);
    definition.options = Options::new(toml::toml! { view = "compact" });
    let registry = Registry::builtin();
    let pool = Pool::new(&registry, &definition, 256)?;
    let tokenizer = Tokenizer::from_alphabet(pool.spec().alphabet.as_deref().unwrap_or_default())?;
    let shape = ModelConfig { family: Family::Gpt2, layers, width, context: 16, ..ModelConfig::default() };
    let policy =
        Policy::new(&shape.resolve(tokenizer.vocab_size())?, Heads { value: true, critic: None }, 0, &device).train();
    let config = RolloutConfig { episodes: 256, environments: 256, ..RolloutConfig::default() };
    let mut source = OnPolicySource::new(
        Rollout::new(pool, Encoder::new(tokenizer, config.encoding(16)), config, None),
        0,
        device.autodiff(),
        ReferencePolicy::None,
    );
    let mut learner = Ppo::new(PpoConfig::default(), 1.0)?;
    let mut optimizer = AdamW::new(OptimizerConfig::default())?;
    let span = UpdateRange { start: 0, updates: UPDATES, stop: &AtomicBool::new(false) };
    let mut updates = Vec::new();
    train(&mut learner, policy, &mut source, &mut optimizer, &span, &Alone, |progress| {
        updates.push(progress.metrics.clone());
        Ok::<(), palestra::learn::Error>(())
    })?;
    Ok(updates)
}
