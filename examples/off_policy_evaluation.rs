//! Error of off-policy estimates, and the share of their intervals that hold the true value: twenty policies of
//! FrozenLake and tic-tac-toe with known exact values, each evaluated on a log of another policy.
//!
//! `cargo run --release --features libtorch --example off_policy_evaluation -- FOLDER [DEVICE]` keeps its logs and runs
//! in a new folder. On one core it takes about a minute per policy.

use std::path::{Path, PathBuf};
use std::time::Instant;

use palestra::Result;
use palestra::agent::Agent;
use palestra::config::RunFile;
use palestra::envs::policies::{BaselinePolicy, Scripted, mix};
use palestra::envs::record::record;
use palestra::envs::{Definition, Registry, episode_seed};
use palestra::estimate::{Estimate, EstimateConfig, Method, Outcome, estimate};
use palestra::model::checkpoint;
use palestra::model::ops::{open_device, set_threads};
use palestra::report::Display;
use palestra::train_run::{TrainOptions, train_run};
use palestra_datasets::log::{LogWriter, WriteOptions};

/// Game with the logs that its policies clone and are evaluated on.
struct Game {
    id: &'static str,
    gamma: f64,
    /// Width of the one layer of the policies, and of the critics that evaluate them.
    width: usize,
    /// Share of random actions in the log that is cloned.
    cloned: f64,
    /// Share of random actions in the logs that the policies are evaluated on.
    logged_share: f64,
    /// Number of episodes of each log.
    episodes: u64,
}

const GAMES: [Game; 2] = [
    Game { id: "frozen-lake-4x4", gamma: 0.95, width: 32, cloned: 0.2, logged_share: 0.4, episodes: 2000 },
    Game { id: "tic-tac-toe", gamma: 1.0, width: 64, cloned: 0.3, logged_share: 0.8, episodes: 4000 },
];

/// Update of the checkpoint, temperature and share of random actions of each game's policies.
const POLICIES: [(u64, f32, f64); 10] = [
    (1, 1.0, 0.0),
    (2, 1.0, 0.0),
    (3, 1.0, 0.1),
    (5, 1.0, 0.0),
    (5, 0.5, 0.0),
    (5, 0.5, 0.3),
    (8, 1.0, 0.0),
    (8, 1.0, 0.2),
    (8, 0.5, 0.2),
    (8, 0.0, 0.4),
];

/// Result of a method for one policy.
struct Measured {
    error: f64,
    width: f64,
    holds: bool,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "off-policy-evaluation".to_string()));
    let device = arguments.next().unwrap_or_else(|| "flex".to_string());
    set_threads(1);
    let registry = Registry::builtin();
    let mut all: Vec<(&str, Method, Option<Measured>)> = Vec::new();
    for (number, game) in GAMES.iter().enumerate() {
        let mut env = Definition::named(game.id);
        env.options.set("view", "compact");
        let folder = folder.join(game.id);
        std::fs::create_dir_all(&folder).map_err(palestra::Error::io(&folder))?;
        let data = folder.join("cloned.parquet");
        write_log(&registry, &env, &mut mix(game.cloned, Scripted)?, 1000, 1, &data)?;
        let run = train(&registry, game, &device, &data, &folder)?;
        println!("\n{}, gamma {}, {} episodes a policy", game.id, game.gamma, game.episodes);
        for (which, (update, temperature, epsilon)) in POLICIES.into_iter().enumerate() {
            let agent = agent_of(&run, &registry, update, &device)?;
            let log = folder.join(format!("{which}.parquet"));
            let seed = episode_seed(2 + number as u64, which as u64);
            write_log(&registry, &env, &mut mix(game.logged_share, Scripted)?, game.episodes, seed, &log)?;
            let config = EstimateConfig { gamma: game.gamma, temperature, epsilon, seed, ..EstimateConfig::default() };
            let began = Instant::now();
            let report = estimate(&agent, &registry, &[log.display().to_string()], &config)?;
            let exact = report.exact.expect("both games are small");
            println!("\nupdate {update}, {:.0} s\n{report}", began.elapsed().as_secs_f64());
            for Estimate { method, outcome } in report.estimates {
                let measured = match outcome {
                    Outcome::Estimated(value) => Some(Measured {
                        error: (value.value - exact).abs(),
                        width: value.high - value.low,
                        holds: (value.low..=value.high).contains(&exact),
                    }),
                    Outcome::Refused { .. } => None,
                };
                all.push((game.id, method, measured));
            }
        }
    }
    println!("\n| game | method | policies | refused | mean error | greatest error | coverage | mean width |");
    println!("|---|---|---|---|---|---|---|---|");
    for game in GAMES.iter().map(|game| game.id).chain(["all"]) {
        for method in Method::ALL {
            let own: Vec<_> =
                all.iter().filter(|(id, by, _)| (game == "all" || *id == game) && *by == method).collect();
            summarise(game, method, own.iter().filter_map(|(_, _, measured)| measured.as_ref()).collect(), own.len());
        }
    }
    Ok(())
}

fn summarise(game: &str, method: Method, measured: Vec<&Measured>, asked: usize) {
    let count = measured.len().max(1) as f64;
    let mean = |of: fn(&Measured) -> f64| measured.iter().map(|measured| of(measured)).sum::<f64>() / count;
    let greatest = measured.iter().map(|measured| measured.error).fold(0.0, f64::max);
    println!(
        "| {game} | {} | {asked} | {} | {:.4} | {greatest:.4} | {} of {} | {:.4} |",
        method.name(),
        asked - measured.len(),
        mean(|measured| measured.error),
        measured.iter().filter(|measured| measured.holds).count(),
        measured.len(),
        mean(|measured| measured.width),
    );
}

/// Plays episodes into a log.
fn write_log(
    registry: &Registry,
    env: &Definition,
    policy: &mut dyn BaselinePolicy,
    episodes: u64,
    seed: u64,
    path: &Path,
) -> Result<()> {
    let mut writer = LogWriter::create(path, WriteOptions::default())?;
    for episode in record(registry, env, 0..episodes, seed, policy)? {
        writer.write(&episode?)?;
    }
    writer.finish()?;
    Ok(())
}

/// Clones a log, keeping a checkpoint of every update.
fn train(registry: &Registry, game: &Game, device: &str, data: &Path, folder: &Path) -> Result<PathBuf> {
    let text = format!(
        r#"
        name = "{id}-bc"
        device = "{device}"
        [env]
        id = "{id}"
        options = {{ view = "compact" }}
        [data]
        files = ["{data}"]
        batch = 128
        steps = 25
        [bc]
        [model]
        family = "gpt2"
        context = 16
        layers = 1
        width = {width}
        heads = 2
        [optimizer]
        learning_rate = 2e-3
        [train]
        updates = 8
        checkpoint_every = 1
        keep_checkpoints = 8
        threads = 1
        [evaluation]
        episodes = 1
        "#,
        id = game.id,
        width = game.width,
        data = data.display(),
    );
    let run = RunFile::from_toml("off_policy_evaluation.rs", &text, &[] as &[&str])?;
    let out = folder.join("run");
    let options = TrainOptions { out: Some(out.clone()), display: Display::Quiet, ..TrainOptions::default() };
    train_run(run, registry, options)?;
    Ok(out)
}

/// Loads the agent as it was after an update.
fn agent_of(run: &Path, registry: &Registry, update: u64, device: &str) -> Result<Agent> {
    let last = Agent::load(run, registry, &[] as &[&str])?;
    let checkpoints = run.join("checkpoints");
    let entries = std::fs::read_dir(&checkpoints).map_err(palestra::Error::io(&checkpoints))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort(); // one of each update
    let path = &paths[update as usize - 1];
    let device = open_device(device).map_err(palestra::Error::Device)?;
    Agent::from_checkpoint(last.spec.run, checkpoint::load(path)?, path, &device)
}
