use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use palestra_envs::Registry;
use palestra_envs::policies::{Random, Scripted, mix};

use super::destination::{OverwriteArgs, check_path, files_of_model, named};
use super::output::Output;
use super::{log, policy};
use crate::record::{RecordOptions, Recorded, Watch, record};
use crate::signals::stop_on_signals;
use crate::{Error, Result};
use palestra_model::math::Sampling;

/// Play episodes and record them as an experience log
///
/// The policy is `random` (any legal action), `scripted` (the environment's own policy, if it has one), or the model of
/// a run's directory, which samples as in its rollouts unless an option says otherwise. --epsilon mixes in random
/// actions, turn by turn; the log then holds the probability of each action under the mixture.
///
/// Writes the Parquet file of --out, with one row per turn. Several files in a folder form one log: for a log of mixed
/// skill, record several policies. The file gets its name when it is complete, also if interrupted (Ctrl-C). If killed,
/// it leaves FILE.parquet.partial, from which the same command goes on with --resume; the episodes of the last
/// --flush-every seconds are played again. `palestra log repair` ends such a file as it is.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra rollout double-t-maze --policy scripted --epsilon 0.85 --episodes 1000 --out logs/maze/mixed.parquet
  palestra rollout double-t-maze --policy random --episodes 1000 --out logs/maze/random.parquet
  palestra rollout snake-6x6 --policy runs/snake-ppo --greedy --episodes 200 --out logs/snake/expert.parquet
  palestra rollout snake-6x6 --policy runs/snake-ppo --seed 1 --split validation --episodes 50 --out logs/v.parquet
  palestra rollout my_game.toml --policy random --episodes 100 --out logs/mine.parquet --flush-every 5 --resume
  palestra log stats logs/maze")]
pub struct Args {
    /// Name of a registered environment, or path of a TOML definition
    env: String,
    /// Policy that plays: random, scripted, or the directory of a run
    #[arg(long, value_name = "POLICY")]
    policy: String,
    /// Number of episodes to play
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    episodes: u64,
    /// Parquet file to create
    #[arg(long, value_name = "FILE.parquet")]
    out: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    /// Go on with a recording that was killed: keep its episodes, and play the others
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Seconds after which ended episodes are put on the disk; more often makes a larger file
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = super::play::seconds)]
    flush_every: Duration,
    /// Probability, in each turn, of a random legal action instead of the policy's own, from 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "E", value_parser = probability)]
    epsilon: f64,
    /// Sampling temperature, which divides the logits: below 1 sharpens, above 1 flattens [default: as in the run]
    #[arg(long, value_name = "T", value_parser = temperature, conflicts_with = "greedy")]
    temperature: Option<f32>,
    /// Take the likeliest token instead of sampling
    #[arg(long)]
    greedy: bool,
    /// Seed that the episodes' seeds are derived from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Split of the data that the episodes belong to, such as train
    #[arg(long)]
    split: Option<String>,
    /// Device to compute on: auto, cpu, cuda, cuda:<index>, flex, libtorch [default: the run's `device`]
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Key of the run file to change, such as ilql.beta=0; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    log::check_name(&args.out)?;
    check_path("--out", &args.out, "copy the log to the address when it is whole")?;
    let who = policy(args, registry)?;
    let reads = [named(&[&args.env]), files_of_model(Path::new(&args.policy))].concat();
    let _claimed = args.overwrite.claim(&args.out, &reads)?;
    let options = RecordOptions {
        episodes: args.episodes,
        seed: args.seed,
        split: args.split.clone(),
        overwrite: args.overwrite.overwrite,
        resume: args.resume,
        flush_every: Some(args.flush_every),
    };
    let stop = stop_on_signals()?;
    let bar = output.progress(args.episodes, "episodes");
    let watch = Watch { stop: &stop, ended: &|| bar.inc(1) };
    let report = record(registry, who, &options, &args.out, &watch)?;
    bar.finish_and_clear();
    let dropped = report.dropped.values().sum::<usize>() as u64;
    if report.episodes + report.unscored + dropped < args.episodes {
        return Err(Error::Interrupted(match report.episodes {
            0 => "stopped before an episode had ended; nothing was written".to_string(),
            count => format!("stopped; {} holds the {count} episodes that had ended", args.out.display()),
        }));
    }
    if report.episodes == 0 {
        return Err(Error::Data(format!(
            "no episode is whole, so that nothing was written: {} lack a reward, and the environment failed {dropped}",
            report.unscored
        )));
    }
    output.report(&report, &report)?;
    Ok(ExitCode::SUCCESS)
}

fn policy(args: &Args, registry: &Registry) -> Result<Recorded> {
    let Args { env, policy: name, epsilon, temperature, greedy, device, overrides, .. } = args;
    if Path::new(name).is_dir() {
        let mut overrides = overrides.clone();
        overrides.extend(device.iter().map(|device| format!("device={device}")));
        let agent = Box::new(policy::trained(name, env, registry, &overrides)?);
        let own = agent.spec.run.rollout.sampling;
        let sampling = if *greedy {
            Sampling::GREEDY
        } else {
            Sampling { temperature: temperature.unwrap_or(own.temperature), ..own }
        };
        return Ok(Recorded::Agent { agent, sampling, epsilon: *epsilon });
    }
    let of_a_model = [
        ("temperature", temperature.is_some()),
        ("greedy", *greedy),
        ("device", device.is_some()),
        ("set", !overrides.is_empty()),
    ];
    let wrong = match (name.as_str(), of_a_model.iter().find(|(_, given)| *given)) {
        ("random" | "scripted", Some((option, _))) => {
            format!("--{option}: {name} is no model; give the directory of a run to --policy")
        }
        ("random", None) if *epsilon > 0.0 => "--epsilon: random play is random already".to_string(),
        ("random", None) => {
            return Ok(Recorded::Baseline { policy: Box::new(Random), env: registry.definition(env)? });
        }
        ("scripted", None) if *epsilon > 0.0 => {
            return Ok(Recorded::Baseline {
                policy: Box::new(mix(*epsilon, Scripted)?),
                env: registry.definition(env)?,
            });
        }
        ("scripted", None) => {
            return Ok(Recorded::Baseline { policy: Box::new(Scripted), env: registry.definition(env)? });
        }
        _ => format!("--policy {name}: no such policy; it is random, scripted or a run's directory"),
    };
    Err(Error::Config(wrong))
}

fn probability(text: &str) -> Result<f64, String> {
    let value = text.parse().map_err(|_| "it must be a number from 0 to 1".to_string())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("it must be from 0 to 1".to_string()) }
}

fn temperature(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "it must be a number above 0".to_string())?;
    if value > 0.0 && value.is_finite() { Ok(value) } else { Err("it must be above 0; for 0, --greedy".to_string()) }
}
