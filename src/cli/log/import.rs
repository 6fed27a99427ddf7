use std::path::{Path, PathBuf};
use std::process::ExitCode;

use palestra_datasets::import::{ImportOptions, import_jsonl, import_minari, import_preferences, rewrite};
use palestra_datasets::local;
use palestra_datasets::log::{Log, ReadOptions};

use super::{Output, OverwriteArgs, check_name, named, warn_of_skipped};
use crate::{Error, Result};

/// Import experience of another program as a log
///
/// jsonl    lines of {"state", "action", "reward", "done"}, one per turn; lists of the same, one line per episode
///          ({"states": [...], "actions": [...], ...}); {"steps": [...]}; or an episode as `palestra play --json`
///          prints it. `episode_id`, `terminated` and `truncated`, `next_state`, `legal_actions`, `log_probs`, ... are
///          optional.
/// minari   the folder of a Minari dataset in Arrow or Parquet form; values that are not text become their JSON
/// parquet  logs of any tool with the columns of an experience log: rewritten with checksums, as one file
/// preferences
///          preferences in any form that docs/labels.md describes. Each answer becomes an episode of one turn. Its
///          reward, from -1 to 1, is the mean of its ratings or of its good and bad labels, or the share of
///          comparisons that it won.
///
/// If the source does not say how an episode ended, the episode is cut: neither terminated nor truncated.
///
/// Writes the Parquet file of --out, under a hidden name until it is complete.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra log import played.jsonl --out logs/played.parquet --env-id frozen-lake-4x4-v1 --policy-id me
  palestra log import ~/.minari/datasets/minigrid/fourrooms/random-v0 --out logs/fourrooms.parquet
  palestra log import preferences.jsonl --format preferences --out logs/preferences.parquet
  palestra log import damaged.parquet --skip-bad --out logs/rest.parquet

A sample of lines:
  {\"episode_id\": \"a\", \"state\": \"S...\", \"action\": \"right\", \"reward\": 0, \"done\": false}
  {\"episode_id\": \"a\", \"state\": \".S..\", \"action\": \"down\", \"reward\": 1, \"done\": true}")]
pub struct Args {
    /// Files to import, or the folder of a Minari dataset
    #[arg(required = true)]
    source: Vec<String>,
    /// Parquet file to create
    #[arg(long, value_name = "FILE.parquet")]
    out: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    /// Format of the source, if its name does not tell
    #[arg(long)]
    format: Option<Format>,
    /// Id of the environment with its version, for episodes that have none
    #[arg(long, value_name = "ID")]
    env_id: Option<String>,
    /// Name of the policy that played, for episodes that have none
    #[arg(long, value_name = "NAME")]
    policy_id: Option<String>,
    /// Split of the data, such as train, for episodes that have none
    #[arg(long)]
    split: Option<String>,
    /// Source of the rewards, for episodes that have none
    #[arg(long, value_name = "WHO", value_parser = ["rules", "model", "human"])]
    reward_source: Option<String>,
    /// Skip files, row groups and episodes of a Parquet source that cannot be read, and count them
    #[arg(long)]
    skip_bad: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Jsonl,
    Preferences,
    Minari,
    Parquet,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let out = &args.out;
    check_name(out)?;
    let format = args.format.map_or_else(|| format_of(&args.source[0]), Ok)?;
    if args.skip_bad && format != Format::Parquet {
        let reason =
            "--skip-bad: only what is damaged in Parquet files can be passed over; mend the line, or remove it";
        return Err(Error::Config(reason.to_string()));
    }
    let options = ImportOptions {
        env_id: args.env_id.clone(),
        policy_id: args.policy_id.clone(),
        split: args.split.clone(),
        reward_source: args.reward_source.clone(),
        overwrite: args.overwrite.overwrite,
        ..ImportOptions::default()
    };
    let claimed = args.overwrite.claim(out, &named(&args.source))?;
    let out = claimed.file().path();
    let report = match (format, &args.source[..]) {
        (Format::Jsonl, files) => import_jsonl(&paths(files)?, out, &options)?,
        (Format::Preferences, files) => import_preferences(&paths(files)?, out, &options)?,
        (Format::Minari, [folder]) => import_minari(&local(Path::new(folder))?, out, &options)?,
        (Format::Minari, [_, second, ..]) => {
            return Err(Error::Config(format!(
                "{second}: name one Minari dataset, and import the next to a file of its own"
            )));
        }
        (Format::Parquet, files) => {
            let log = Log::open(files, ReadOptions { skip_bad: args.skip_bad, ..ReadOptions::default() })?;
            let report = rewrite(&log, out, &options)?;
            warn_of_skipped(&log);
            report
        }
        (Format::Minari, []) => unreachable!("at least one source is required"),
    };
    claimed.finish()?;
    output.report(&report, report.to_string().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Paths of files, and of copies of addresses.
fn paths(files: &[String]) -> Result<Vec<PathBuf>> {
    files.iter().map(|file| Ok(local(Path::new(file))?.into_owned())).collect()
}

/// Format of a source, by its name or, for a folder, by its contents.
fn format_of(source: &str) -> Result<Format> {
    let path = Path::new(source);
    if path.is_dir() {
        let has_metadata = ["metadata.json", "data/metadata.json"].iter().any(|file| path.join(file).is_file());
        return Ok(if has_metadata { Format::Minari } else { Format::Parquet });
    }
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
        Some("parquet") => Ok(Format::Parquet),
        _ => Err(Error::Config(format!(
            "{source}: its name does not tell what it is; add --format jsonl, preferences, minari or parquet"
        ))),
    }
}
