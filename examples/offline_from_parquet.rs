//! From a Parquet log to an agent that answers, in one program and without an environment:
//!
//! ```text
//! cargo run --release --example offline_from_parquet -- my-log.parquet
//! ```
//!
//! The file needs the columns episode_id, step, observation, action, reward, terminated and truncated; docs/offline.md
//! describes each. If it also has `legal_actions`, the program shows how the agent's choices differ from the log's.

use std::error::Error;
use std::path::Path;

use palestra::agent::Agent;
use palestra::config::RunFile;
use palestra::envs::{Observation, Registry};
use palestra::train_run::{TrainOptions, train_run};
use palestra_datasets::log::{Log, ReadOptions};
use palestra_datasets::stats::{StatsOptions, stats};

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("usage: offline_from_parquet LOG.parquet")?;
    let log = Log::open(&[&file], ReadOptions::default())?;
    println!("{}", stats(&log, &StatsOptions::default())?);

    let run = format!(
        r#"
        name = "offline-from-parquet"
        [data]
        files = [{:?}]
        batch = 64
        steps = 10
        [model]
        context = 256
        layers = 1
        width = 32
        heads = 2
        [iql]
        tau = 0.8
        polyak = 0.02
        [train]
        updates = 10
        "#,
        std::path::absolute(Path::new(&file))?
    );
    let run = RunFile::from_toml("offline_from_parquet.rs", &run, &[] as &[&str])?;
    let registry = Registry::builtin();
    let report = train_run(run, &registry, TrainOptions::default())?;
    println!("{report}\n");

    let agent = Agent::load(&report.run_dir, &registry, &[] as &[&str])?;
    let mut policy = agent.spec.evaluation_policy(&agent.policy, 0.0, 0.0)?;
    let episodes = log.episodes().take(20).collect::<Result<Vec<_>, _>>()?;
    let turns = episodes.iter().flat_map(|located| &located.episode.turns);
    for turn in turns.filter(|turn| turn.legal_actions.is_some()).step_by(25).take(10) {
        let legal = turn.legal_actions.clone().unwrap_or_default();
        let seen = Observation {
            content: turn.observation.clone(),
            legal_actions: Some(legal.clone().into()),
            ..Default::default()
        };
        let probabilities = policy.action_probabilities(&[seen])?.remove(0);
        let best =
            legal.iter().zip(probabilities).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(action, _)| action.as_str());
        println!("{:?}: the log says {:?}, the agent {:?}", turn.observation, turn.action, best.unwrap_or(""));
    }
    Ok(())
}
