//! Measurements of models' samples: the true reward, the reward model's score, and the distance of the model from its
//! start.

use std::error::Error;
use std::path::PathBuf;

use palestra::envs::episode_seed;
use palestra::language_model::LanguageModel;
use palestra::model::generate::{Limits, Request, generate};
use palestra::model::math::Sampling;
use palestra::model::ops::{available_devices, open_device, set_threads};
use palestra::reward_model::RewardModel;
use palestra_datasets::Content;
use palestra_labels::prompts_of_file;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::world::worth;

/// Models to score.
#[derive(clap::Args)]
pub struct ScoreArgs {
    /// Runs, checkpoints or model directories
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// The model that they started from
    #[arg(long)]
    start: PathBuf,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Reward model whose score of the samples is also reported
    #[arg(long)]
    reward_model: Option<PathBuf>,
}

/// Models for best-of-n sampling.
#[derive(clap::Args)]
pub struct BestArgs {
    /// The model that answers
    model: PathBuf,
    /// The reward model that chooses
    #[arg(long)]
    reward_model: PathBuf,
    /// Numbers of answers to choose from
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    of: Vec<usize>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Sampling of the models.
#[derive(clap::Args)]
struct SamplingArgs {
    /// JSON lines with a column `prompt`
    #[arg(long)]
    prompts: PathBuf,
    /// Number of prompts to answer
    #[arg(long, default_value_t = 1000)]
    samples: usize,
    /// Maximum number of tokens of an answer
    #[arg(long, default_value_t = 48)]
    max_new_tokens: usize,
    /// Seed of the answers
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// Measurements of one model.
#[derive(Serialize, Deserialize)]
pub struct Score {
    /// Name of the model.
    pub model: String,
    /// Number of answers.
    pub samples: usize,
    /// Mean true reward of the answers.
    pub mean: f64,
    /// Its standard deviation over answers.
    pub deviation: f64,
    /// The standard error of the mean.
    pub error: f64,
    /// KL(model, start) of an answer in nats: the mean of log(model / start) over the answers.
    pub kl: f64,
    /// Mean score of the reward model.
    pub reward: Option<f64>,
    /// One of the answers.
    pub example: String,
}

/// A sample: its text, its tokens with the end, and the log-probability of all of them.
struct Sampled {
    text: String,
    tokens: Vec<u32>,
    log_prob: f64,
}

/// Samples per forward pass.
const BATCH: usize = 256;

/// Prints a JSON object per model.
pub fn score(args: &ScoreArgs) -> Result<(), Box<dyn Error>> {
    set_threads(1);
    let device = open_device(available_devices().last().copied().unwrap_or("flex"))?;
    let start = LanguageModel::open(&args.start, &device)?;
    let reward_model = args.reward_model.as_ref().map(|path| RewardModel::open(path, &device)).transpose()?;
    let prompts = args.sampling.prompts()?;
    for path in &args.models {
        let model = LanguageModel::open(path, &device)?;
        let (mut liked, mut ratios, mut rewards, mut example) = (Vec::new(), Vec::new(), Vec::new(), String::new());
        for (number, prompts) in prompts.chunks(BATCH).enumerate() {
            let requests = encoded(&model, prompts)?;
            let seed = episode_seed(args.sampling.seed, number as u64);
            let sampled = sample(&model, &requests, args.sampling.max_new_tokens, seed)?;
            let likely = log_probs(&start, &requests, &sampled);
            liked.extend(sampled.iter().map(|sampled| worth(&sampled.text)));
            ratios.extend(sampled.iter().zip(likely).map(|(sampled, start)| sampled.log_prob - start));
            if let Some(reward_model) = &reward_model {
                rewards.extend(rewards_of(reward_model, prompts, &sampled)?);
            }
            example.clone_from(&sampled[0].text);
        }
        let kl = moments(&ratios).0;
        print(&path.display().to_string(), &liked, kl, reward_model.is_some().then(|| moments(&rewards).0), example)?;
    }
    Ok(())
}

/// Prints a JSON object for each number of answers that the reward model chooses from. Choosing the best of n moves the
/// policy at most log n - (n - 1) / n nats from the model.
pub fn best_of(args: &BestArgs) -> Result<(), Box<dyn Error>> {
    set_threads(1);
    let device = open_device(available_devices().last().copied().unwrap_or("flex"))?;
    let (model, reward_model) =
        (LanguageModel::open(&args.model, &device)?, RewardModel::open(&args.reward_model, &device)?);
    let most = args.of.iter().copied().max().unwrap_or(1);
    let mut answers: Vec<Vec<(f64, f64, String)>> = Vec::new();
    for (number, prompt) in args.sampling.prompts()?.iter().enumerate() {
        let prompts = vec![prompt.clone(); most];
        let seed = episode_seed(args.sampling.seed, number as u64);
        let sampled = sample(&model, &encoded(&model, &prompts)?, args.sampling.max_new_tokens, seed)?;
        let rewards = rewards_of(&reward_model, &prompts, &sampled)?.into_iter();
        answers.push(rewards.zip(sampled).map(|(reward, one)| (reward, worth(&one.text), one.text)).collect());
    }
    for &n in &args.of {
        let best = |some: &[(f64, f64, String)]| some.iter().cloned().max_by(|one, other| one.0.total_cmp(&other.0));
        let chosen: Vec<_> = answers.iter().flat_map(|answers| answers.chunks_exact(n)).filter_map(best).collect();
        let (rewards, liked): (Vec<f64>, Vec<f64>) = chosen.iter().map(|(reward, worth, _)| (*reward, *worth)).unzip();
        let kl = (n as f64).ln() - (n as f64 - 1.0) / n as f64;
        print(&format!("best of {n}"), &liked, kl, Some(moments(&rewards).0), chosen[0].2.clone())?;
    }
    Ok(())
}

fn print(model: &str, liked: &[f64], kl: f64, reward: Option<f64>, example: String) -> Result<(), Box<dyn Error>> {
    let ((mean, deviation), samples) = (moments(liked), liked.len());
    let error = deviation / (samples as f64).sqrt();
    let score = Score { model: model.to_string(), samples, mean, deviation, error, kl, reward, example };
    println!("{}", serde_json::to_string(&score)?);
    Ok(())
}

/// Reward model's scores of the samples.
fn rewards_of(reward_model: &RewardModel, prompts: &[String], sampled: &[Sampled]) -> palestra::Result<Vec<f64>> {
    let answers = prompts.iter().zip(sampled).map(|(prompt, one)| (prompt.as_str().into(), one.text.as_str().into()));
    let scores = reward_model.score(&answers.collect::<Vec<(Content, Content)>>(), BATCH)?;
    Ok(scores.into_iter().map(f64::from).collect())
}

impl SamplingArgs {
    /// The first prompts of the file, from its start again where there are fewer.
    fn prompts(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let mut prompts = Vec::new();
        for prompt in prompts_of_file(&self.prompts)? {
            match prompt? {
                Content::Text(prompt) => prompts.push(prompt),
                Content::Messages(_) => return Err("the prompts of this world are plain texts".into()),
            }
        }
        Ok(prompts.iter().cycle().take(self.samples).cloned().collect())
    }
}

/// The tokens of prompts.
fn encoded(model: &LanguageModel, prompts: &[String]) -> palestra::Result<Vec<Vec<u32>>> {
    prompts.iter().map(|prompt| model.encode(prompt)).collect()
}

/// A sample for each prompt, at temperature 1.
fn sample(
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
    let limits = Limits { end: model.ends.ids(), max_new_tokens, stopped: None };
    let written = generate(&model.policy, &mut requests, &limits, &Sampling::default());
    let sampled = written.into_iter().map(|written| {
        let log_prob = written.log_probs.iter().map(|&log_prob| f64::from(log_prob)).sum();
        Ok(Sampled { text: model.tokenizer.decode(&written.tokens)?, tokens: written.tokens, log_prob })
    });
    sampled.collect()
}

/// Log-probabilities of the samples under another model.
fn log_probs(model: &LanguageModel, prompts: &[Vec<u32>], sampled: &[Sampled]) -> Vec<f64> {
    let request = |(prompt, sampled): (&Vec<u32>, &Sampled)| Request {
        prompt: prompt.clone(),
        choices: None,
        rng: ChaCha8Rng::seed_from_u64(0),
        forced: Some(sampled.tokens.clone()),
    };
    let mut requests: Vec<Request> = prompts.iter().zip(sampled).map(request).collect();
    let limits = Limits { end: &[], max_new_tokens: 0, stopped: None };
    let read = generate(&model.policy, &mut requests, &limits, &Sampling::default());
    read.iter().map(|read| read.log_probs.iter().map(|&log_prob| f64::from(log_prob)).sum()).collect()
}

/// Mean and standard deviation.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0);
    (mean, variance.sqrt())
}
