use std::path::Path;
use std::process::ExitCode;

use palestra_datasets::log::{EpisodePlace, Located, Log, ReadOptions};
use palestra_datasets::{End, Episode};
use serde::Serialize;

use super::{Output, warn_of_skipped};
use crate::{Error, Result};
use palestra_report::harmless;

/// Show episodes of a log in readable form
///
/// Shows each turn: the observation, the action, its probability where known, and the reward. Without an option, shows
/// the first episode of the log.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra log show logs/maze
  palestra log show logs/maze --number 41
  palestra log show logs/maze --episode double-t-maze-v1/random/0/7
  palestra log show logs/maze --best 3
  palestra log show logs/maze --worst 1 --json | jq '.episodes[0].episode.turns[0]'")]
pub struct Args {
    /// Parquet files, folders or quoted patterns
    #[arg(required = true)]
    files: Vec<String>,
    /// Id of the episode to show
    #[arg(long, value_name = "ID", group = "which")]
    episode: Option<String>,
    /// Number of the episode to show, counted from 0 over all files
    #[arg(long, value_name = "N", group = "which")]
    number: Option<u64>,
    /// Show the K episodes with the highest returns
    #[arg(long, value_name = "K", group = "which", value_parser = clap::value_parser!(u64).range(1..))]
    best: Option<u64>,
    /// Show the K episodes with the lowest returns
    #[arg(long, value_name = "K", group = "which", value_parser = clap::value_parser!(u64).range(1..))]
    worst: Option<u64>,
    /// Skip files, row groups and episodes that cannot be read, and count them
    #[arg(long)]
    skip_bad: bool,
}

/// Episode with its place in the log.
#[derive(Serialize)]
struct Shown<'a> {
    number: u64,
    file: &'a Path,
    row_group: usize,
    row: u64,
    #[serde(rename = "return")]
    total_reward: f64,
    episode: Episode,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let log = Log::open(&args.files, ReadOptions { skip_bad: args.skip_bad, ..ReadOptions::default() })?;
    let episodes = chosen(args, &log)?;
    warn_of_skipped(&log);
    #[derive(Serialize)]
    struct List<'a> {
        episodes: &'a [Shown<'a>],
    }
    let text: Vec<String> = episodes.iter().map(Shown::text).collect();
    output.report(&List { episodes: &episodes }, text.join("\n\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn chosen<'a>(args: &Args, log: &'a Log) -> Result<Vec<Shown<'a>>> {
    let shown = |(number, Located { episode, place }): (u64, Located)| {
        let EpisodePlace { file, row_group, row } = place;
        Shown { number, file: &log.files()[file], row_group, row, total_reward: episode.total_reward(), episode }
    };
    let mut episodes = (0..).zip(log.episodes()).map(|(number, located)| Ok(shown((number, located?))));
    let missing = |what: String| Error::Config(format!("{what}; `palestra log stats` tells what is there"));
    let (most, sign) = match (args.best, args.worst) {
        (Some(most), _) => (most, -1.0),
        (None, Some(most)) => (most, 1.0),
        (None, None) => {
            let mut is_first = true;
            let found = episodes.find(|shown: &Result<Shown>| match (shown, &args.episode, args.number) {
                (Err(_), ..) => true,
                (Ok(shown), Some(id), _) => shown.episode.id == *id,
                (Ok(shown), None, Some(number)) => shown.number == number,
                (Ok(_), None, None) => std::mem::take(&mut is_first),
            });
            let what = match (&args.episode, args.number) {
                (Some(id), _) => format!("--episode {id}: no episode of the log has this id"),
                (None, Some(number)) => format!("--number {number}: the log ends before it"),
                (None, None) => "the log has no episodes".to_string(),
            };
            return Ok(vec![found.unwrap_or_else(|| Err(missing(what)))?]);
        }
    };
    let mut ranked: Vec<Shown> = Vec::new();
    for shown in episodes {
        let shown = shown?;
        let rank = sign * shown.total_reward;
        // Inserted behind those of the same return, which came earlier.
        let at = ranked.partition_point(|other| sign * other.total_reward <= rank);
        if at < most as usize {
            ranked.insert(at, shown);
            ranked.truncate(most as usize);
        }
    }
    if ranked.is_empty() { Err(missing("the log has no episodes".to_string())) } else { Ok(ranked) }
}

impl Shown<'_> {
    fn text(&self) -> String {
        let Self { number, file, row_group, row, total_reward, episode } = self;
        let mut lines = vec![
            format!("episode {}", harmless(&episode.id)),
            format!("number {number}, {} row {row} (row group {row_group})", file.display()),
        ];
        let facts = [
            (!episode.env_id.is_empty()).then(|| episode.env_id.clone()),
            episode.seed.map(|seed| format!("seed {seed}")),
            (!episode.policy_id.is_empty()).then(|| format!("played by {}", episode.policy_id)),
            (episode.policy_step > 0).then(|| format!("after {} updates", episode.policy_step)),
            episode.split.as_ref().map(|split| format!("split {split}")),
            episode.reward_source.as_ref().map(|source| format!("rewards by {source}")),
        ];
        lines.push(harmless(&facts.into_iter().flatten().collect::<Vec<_>>().join(", ")));
        let end = match episode.end {
            Some(End::Terminated) => "terminated",
            Some(End::Truncated) => "truncated",
            None => "without an end",
        };
        let reason = episode.end_reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
        lines.push(harmless(&format!("{} turns, return {total_reward}, {end}{reason}", episode.turns.len())));
        for (step, turn) in episode.turns.iter().enumerate() {
            lines.push(format!("\nstep {step}\n{}", indented(&turn.observation.as_text())));
            if let Some(legal) = &turn.legal_actions {
                lines.push(format!("  actions: {}", harmless(&legal.join(", "))));
            }
            let probability = turn.log_probs.as_ref().map(|log_probs| {
                let sum: f64 = log_probs.iter().copied().map(f64::from).sum();
                format!("  (probability {:.4})", sum.exp())
            });
            lines.push(format!("> {}{}", harmless(&turn.action), probability.unwrap_or_default()));
            let invalid = if turn.invalid_action { "  (not a legal action)" } else { "" };
            let parts: Vec<String> = turn.reward_parts.iter().map(|(name, part)| format!("{name} {part}")).collect();
            let parts = if parts.is_empty() { String::new() } else { format!(" = {}", harmless(&parts.join(" + "))) };
            lines.push(format!("  reward {}{parts}{invalid}", turn.reward));
        }
        if let Some(last) = &episode.final_observation {
            lines.push(format!("\nend\n{}", indented(&last.as_text())));
        }
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = harmless(text).split('\n').map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
