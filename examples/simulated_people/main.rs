//! People simulated by a hidden reward, in a world in which the truth is known: what a reward model learns from them,
//! and how well a policy trained on it pleases them. `examples/recipes/people.sh` runs all of it; docs/people.md shows
//! the results.
//!
//! ```text
//! cargo run --release --features libtorch --example simulated_people -- world people
//! ```
//!
//! This command writes the texts of that world. `label` labels the items of a label store for the people. `score` and
//! `best-of` report the true reward of answers, and their distance from the start policy. `draw` plots this.

mod curve;
mod measure;
mod people;
mod world;

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

#[derive(Parser)]
#[command(about = "People simulated by a hidden rule")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write training texts, reviews and opinions, and prompts for reviews
    World {
        /// The folder to write texts.jsonl and prompts.jsonl into
        folder: PathBuf,
        /// Number of texts, half of them reviews
        #[arg(long, default_value_t = 20_000)]
        texts: usize,
        /// Number of prompts
        #[arg(long, default_value_t = 2_000)]
        prompts: usize,
        /// Seed of all texts and prompts
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Label everything in a label store, as people who follow the hidden reward
    Label {
        /// The label store
        store: PathBuf,
        /// Number of people who take turns
        #[arg(long, default_value_t = 4)]
        people: usize,
        /// Probability that a person says the opposite
        #[arg(long, default_value_t = 0.1)]
        noise: f64,
        /// Seed of the labels
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Report the true reward of models' samples, and the distance of the models from the one that they started from
    Score(measure::ScoreArgs),
    /// Report the true reward of the best of several answers, if a reward model chooses
    BestOf(measure::BestArgs),
    /// Plot the output of `score` and `best-of`: reward against distance
    Draw {
        /// The picture to write, .svg
        out: PathBuf,
        /// Files of this output; each is a line, named for its file
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().command {
        Command::World { folder, texts, prompts, seed } => write_world(&folder, texts, prompts, seed),
        Command::Label { store, people, noise, seed } => {
            let labelled = people::label(&store, people, noise, seed)?;
            println!("{}: {labelled} labels of {people} people", store.display());
            Ok(())
        }
        Command::Score(args) => measure::score(&args),
        Command::BestOf(args) => measure::best_of(&args),
        Command::Draw { out, files } => curve::draw(&out, &files),
    }
}

fn write_world(folder: &Path, texts: usize, prompts: usize, seed: u64) -> Result<(), Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    std::fs::create_dir_all(folder)?;
    let (mut rows, mut asked) = (String::new(), String::new());
    for number in 0..texts {
        let (prompt, completion) = match number % 2 {
            0 => (world::prompt(&mut rng), world::review(&mut rng)),
            _ => world::opinion(&mut rng),
        };
        writeln!(
            rows,
            "{}",
            json!({"text": format!("{prompt}{completion}"), "prompt": prompt, "completion": completion})
        )?;
    }
    for _ in 0..prompts {
        writeln!(asked, "{}", json!({"prompt": world::prompt(&mut rng)}))?;
    }
    std::fs::write(folder.join("texts.jsonl"), rows)?;
    std::fs::write(folder.join("prompts.jsonl"), asked)?;
    Ok(())
}
