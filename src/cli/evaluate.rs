use std::path::PathBuf;
use std::process::ExitCode;

use palestra_envs::Registry;
use serde::Serialize;

use super::destination::{OverwriteArgs, files_of_model};
use super::output::Output;
use super::writing::QuantizeArgs;
use crate::agent::Evaluation;
use crate::run_dir::RunDir;
use crate::train_run::evaluate_run;
use crate::{Error, Result};
use palestra_model::checkpoint;
use palestra_report::{Figure, Plot, Reference, Series};

/// Evaluate a trained model by playing
///
/// Plays episodes with the best checkpoint that a run kept (train.keep_best), or else its last, and reports the mean return
/// with its standard error, and the optimum if it is known. Actions are the likeliest ones, or sampled if the run file has
/// evaluation.greedy = false. To measure how likely a language model finds a text, see `palestra eval`.
///
/// --all plays with each checkpoint that the run has. --over plays once for each value of a key, such as the target return
/// of a Decision Transformer.
///
/// Writes nothing but its output, and the picture of --plot.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra evaluate runs/frozen-lake-ppo
  palestra evaluate runs/frozen-lake-ppo --episodes 1000 --seed 1 --json | jq .mean_return
  palestra evaluate runs/frozen-lake-ppo --all                     (which update played best)
  palestra evaluate runs/double-t-maze-ilql --set ilql.beta=0      (how the cloned policy alone plays)
  palestra evaluate runs/double-t-maze-ilql --over ilql.beta=0,1,4,16,64 --plot beta.svg
  palestra evaluate runs/from-my-log --set env.id=frozen-lake-4x4  (a run that learned without an environment)")]
pub struct Args {
    /// Directory of a run, or of one of its checkpoints
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Number of episodes to play [default: the run's `evaluation.episodes`]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    episodes: Option<u64>,
    /// Seed that the episodes' seeds are derived from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Device to compute on: auto, cpu, cuda, cuda:<index>, flex, libtorch [default: the run's `device`]
    #[arg(long, value_name = "D")]
    device: Option<String>,
    #[command(flatten)]
    quantize: QuantizeArgs,
    /// Key of the run file to change, such as ilql.beta=0 or env.id=frozen-lake-4x4; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Evaluate every checkpoint of the run
    #[arg(long, conflicts_with = "over")]
    all: bool,
    /// Evaluate once with each of these values of a key of the run file
    #[arg(long, value_name = "KEY=V1,V2,...", allow_hyphen_values = true)]
    over: Option<String>,
    /// Draw the mean returns of --over, with bands of 95 %, into this SVG file
    #[arg(long, value_name = "FILE.svg", requires = "over")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    let mut overrides = args.overrides.clone();
    overrides.extend(args.device.iter().map(|device| format!("device={device}")));
    if args.all {
        return evaluate_all(args, registry, &overrides, output);
    }
    let Some(over) = &args.over else {
        let evaluation =
            evaluate_run(&args.run, registry, args.episodes, args.seed, &overrides, args.quantize.quantize)?;
        output.report(&evaluation, &evaluation)?;
        return Ok(ExitCode::SUCCESS);
    };
    let (key, values) = values_of(over)?;
    let reads = files_of_model(&args.run);
    let plot = args.plot.as_ref().map(|file| args.overwrite.claim(file, &reads)).transpose()?;
    let mut sweep = Sweep { key, points: Vec::new() };
    for value in values {
        let mut overrides = overrides.clone();
        overrides.push(format!("{key}={value}"));
        let evaluation =
            evaluate_run(&args.run, registry, args.episodes, args.seed, &overrides, args.quantize.quantize)?;
        if !output.wants_json() {
            output.line(format!("{key} = {value}\n{evaluation}"))?;
        }
        sweep.points.push(Point { value, evaluation });
    }
    if let Some(file) = plot {
        file.write(sweep.figure().to_svg().as_bytes())?;
    }
    if output.wants_json() {
        output.report(&sweep, "")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Evaluates every checkpoint of a run, the oldest first, and then its best if it keeps one.
fn evaluate_all(args: &Args, registry: &Registry, overrides: &[String], output: &mut Output) -> Result<ExitCode> {
    let run = RunDir::open(&args.run)?;
    let paths = [checkpoint::all(&run.checkpoints())?, checkpoint::all(&run.best())?].concat();
    let mut checkpoints = Vec::new();
    for path in paths {
        let evaluation = evaluate_run(&path, registry, args.episodes, args.seed, overrides, args.quantize.quantize)?;
        let checkpoint = path.strip_prefix(run.path()).unwrap_or(&path).to_path_buf();
        if !output.wants_json() {
            output.line(format!("{}\n{evaluation}", checkpoint.display()))?;
        }
        checkpoints.push(Evaluated { checkpoint, evaluation });
    }
    let by_return = |one: &&Evaluated, other: &&Evaluated| {
        one.evaluation.score.mean_return.total_cmp(&other.evaluation.score.mean_return)
    };
    let Some(best) = checkpoints.iter().max_by(by_return) else {
        return Err(Error::Config(format!("{}: --all: the run has no whole checkpoint yet", args.run.display())));
    };
    let told = format!("highest mean return: {}", best.checkpoint.display());
    let best = best.checkpoint.clone();
    output.report(&AllEvaluated { checkpoints, best }, told)?;
    Ok(ExitCode::SUCCESS)
}

/// Evaluations of all checkpoints of a run.
#[derive(Serialize)]
struct AllEvaluated {
    checkpoints: Vec<Evaluated>,
    /// The checkpoint with the highest mean return.
    best: PathBuf,
}

#[derive(Serialize)]
struct Evaluated {
    /// The checkpoint, as seen from the run's directory.
    checkpoint: PathBuf,
    #[serde(flatten)]
    evaluation: Evaluation,
}

/// Evaluations for several values of a key.
#[derive(Serialize)]
struct Sweep<'a> {
    key: &'a str,
    points: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    value: f64,
    #[serde(flatten)]
    evaluation: Evaluation,
}

impl Sweep<'_> {
    fn figure(&self) -> Figure {
        let points = |y: fn(&Point) -> f64| self.points.iter().map(move |point| (point.value, y(point))).collect();
        let obtained = Series {
            name: "mean return".into(),
            points: points(|point| point.evaluation.score.mean_return),
            errors: self
                .points
                .iter()
                .map(|point| 1.96 * point.evaluation.score.standard_error)
                .map(|error| (error, error))
                .collect(),
        };
        let mut series = vec![obtained];
        if self.key == "decision_transformer.target_return" {
            let name = "as asked for".to_string();
            series.push(Series { name, points: points(|point| point.value), errors: Vec::new() });
        }
        let evaluation = self.points.first().map(|point| &point.evaluation);
        let optimum = evaluation.and_then(|evaluation| evaluation.optimal_return);
        let title = format!("{}: mean return", evaluation.map_or("", |evaluation| &evaluation.env_id));
        let references = optimum.map(|value| Reference { name: "optimum".into(), value }).into_iter().collect();
        let plot = Plot { title, across: self.key.to_string(), series, references };
        Figure { plots: vec![plot], ..Figure::default() }
    }
}

/// Parses `KEY=V1,V2,...`, and sorts the values in rising order.
fn values_of(over: &str) -> Result<(&str, Vec<f64>)> {
    let wrong = |reason: String| Error::Config(format!("--over {over}: {reason}; it is KEY=V1,V2,..."));
    let (key, values) = over.split_once('=').ok_or_else(|| wrong("there is no =".into()))?;
    let number = |text: &str| match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(wrong(format!("{text:?} is no number"))),
    };
    let mut values: Vec<f64> = values.split(',').map(number).collect::<Result<_>>()?;
    values.sort_by(f64::total_cmp);
    Ok((key, values))
}
