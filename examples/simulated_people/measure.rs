//! What samples of models are truly worth, and how far the models are from where they started.

use std::error::Error;
use std::path::{Path, PathBuf};

use palestra::envs::episode_seed;
use palestra::language_model::LanguageModel;
use palestra::math::Sampling;
use palestra::model::generate::{Limits, Request, generate};
use palestra::ops::{available_devices, open_device, set_threads};
use palestra_datasets::preferences::Text;
use palestra_labels::prompts_of_file;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::world::worth;

/// What to score.
#[derive(clap::Args)]
pub struct ScoreArgs {
    /// Runs, checkpoints or model directories
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// The model that they started from
    #[arg(long)]
    start: PathBuf,
    /// Prompts, a sample each
    #[arg(long)]
    prompts: PathBuf,
    /// How many of them
    #[arg(long, default_value_t = 1000)]
    samples: usize,
    /// The most tokens of a sample
    #[arg(long, default_value_t = 48)]
    max_new_tokens: usize,
    /// Fixes the samples
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// What was sampled of one model.
#[derive(Serialize)]
struct Score {
    model: String,
    samples: usize,
    /// The mean of the hidden rule, its standard deviation over samples, and the standard error of the mean.
    mean: f64,
    deviation: f64,
    error: f64,
    /// KL(model, start) of a whole answer in nats, estimated by the mean of log(model / start) over the samples; its error.
    kl: f64,
    kl_error: f64,
    example: String,
}

/// A sample: its text, and the log-probability of all its tokens.
pub struct Sampled {
    /// What was answered.
    pub text: String,
    /// The tokens of it, the end included.
    pub tokens: Vec<u32>,
    /// The sum of the log-probabilities of its tokens.
    pub log_prob: f64,
}

/// How many samples are written at once.
const BATCH: usize = 256;

/// Prints a JSON object a model.
pub fn score(args: &ScoreArgs) -> Result<(), Box<dyn Error>> {
    set_threads(1);
    let device = open_device(available_devices().last().copied().unwrap_or("flex"))?;
    let start = LanguageModel::open(&args.start, &device)?;
    let prompts = prompts(&args.prompts, args.samples)?;
    for path in &args.models {
        let model = LanguageModel::open(path, &device)?;
        let (mut liked, mut ratios, mut example) = (Vec::new(), Vec::new(), String::new());
        for (number, prompts) in prompts.chunks(BATCH).enumerate() {
            let requests = encoded(&model, prompts)?;
            let seed = episode_seed(args.seed, number as u64);
            let sampled = sample(&model, &requests, args.max_new_tokens, seed)?;
            let likely = log_probs(&start, &requests, &sampled);
            liked.extend(sampled.iter().map(|sampled| worth(&sampled.text)));
            ratios.extend(sampled.iter().zip(likely).map(|(sampled, start)| sampled.log_prob - start));
            example.clone_from(&sampled[0].text);
        }
        let ((mean, deviation), (kl, spread)) = (moments(&liked), moments(&ratios));
        let root = (liked.len() as f64).sqrt();
        let score = Score {
            model: path.display().to_string(),
            samples: liked.len(),
            mean,
            deviation,
            error: deviation / root,
            kl,
            kl_error: spread / root,
            example,
        };
        println!("{}", serde_json::to_string(&score)?);
    }
    Ok(())
}

/// The first prompts of a file, from its start again where there are fewer.
fn prompts(file: &Path, count: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let mut prompts = Vec::new();
    for prompt in prompts_of_file(file)? {
        match prompt? {
            Text::Plain(prompt) => prompts.push(prompt),
            Text::Messages(_) => return Err("the prompts of this world are plain texts".into()),
        }
    }
    Ok(prompts.iter().cycle().take(count).cloned().collect())
}

/// The tokens of prompts.
pub fn encoded(model: &LanguageModel, prompts: &[String]) -> palestra::Result<Vec<Vec<u32>>> {
    prompts.iter().map(|prompt| model.encode(prompt)).collect()
}

/// A sample for each prompt, at temperature 1.
pub fn sample(
    model: &LanguageModel,
    prompts: &[Vec<u32>],
    max_new_tokens: usize,
    seed: u64,
) -> palestra::Result<Vec<Sampled>> {
    let rng = |number: usize| ChaCha8Rng::seed_from_u64(episode_seed(seed, number as u64));
    let request = |(number, prompt): (usize, &Vec<u32>)| Request {
        prompt: prompt.clone(),
        choices: None,
        rng: rng(number),
        forced: None,
    };
    let mut requests: Vec<Request> = prompts.iter().enumerate().map(request).collect();
    let limits = Limits { end: model.generation.eos.first().copied(), max_new_tokens, stopped: None };
    let written = generate(&model.policy, &mut requests, &limits, &Sampling::default());
    let sampled = written.into_iter().map(|written| {
        let log_prob = written.log_probs.iter().map(|&log_prob| f64::from(log_prob)).sum();
        Ok(Sampled { text: model.tokenizer.decode(&written.tokens)?, tokens: written.tokens, log_prob })
    });
    sampled.collect()
}

/// How likely another model finds the samples.
fn log_probs(model: &LanguageModel, prompts: &[Vec<u32>], sampled: &[Sampled]) -> Vec<f64> {
    let request = |(prompt, sampled): (&Vec<u32>, &Sampled)| Request {
        prompt: prompt.clone(),
        choices: None,
        rng: ChaCha8Rng::seed_from_u64(0),
        forced: Some(sampled.tokens.clone()),
    };
    let mut requests: Vec<Request> = prompts.iter().zip(sampled).map(request).collect();
    let limits = Limits { end: None, max_new_tokens: 0, stopped: None };
    let read = generate(&model.policy, &mut requests, &limits, &Sampling::default());
    read.iter().map(|read| read.log_probs.iter().map(|&log_prob| f64::from(log_prob)).sum()).collect()
}

/// Mean and standard deviation.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0);
    (mean, variance.sqrt())
}
