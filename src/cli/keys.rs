use std::process::ExitCode;

use serde::Serialize;

use super::output::Output;
use crate::Result;
use crate::reference::{self, Reference};

/// Explain the keys of a run file
///
/// Without a name it lists all keys with the first sentence of each. With a section it shows the keys of that section, and
/// with a key its type, default and meaning. Names of TRL, PEFT and CleanRL are answered with the name here.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra keys
  palestra keys dpo
  palestra keys optimizer.learning_rate")]
pub struct KeysArgs {
    /// Section or key, such as ppo or ppo.epochs
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Explain the metrics of a run
///
/// Without a name it lists all metrics with the first sentence of each. Names are those of metrics.jsonl.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra metrics
  palestra metrics objective
  palestra metrics objective/kl")]
pub struct MetricsArgs {
    /// Group or metric, such as objective or objective/kl
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    text: &'static str,
}

#[derive(Serialize)]
struct Entries {
    entries: Vec<Entry>,
}

pub fn keys(args: &KeysArgs, output: &mut Output) -> Result<ExitCode> {
    show(reference::keys(), args.name.as_deref(), output)
}

pub fn metrics(args: &MetricsArgs, output: &mut Output) -> Result<ExitCode> {
    show(reference::metrics(), args.name.as_deref(), output)
}

fn show(reference: Reference, name: Option<&str>, output: &mut Output) -> Result<ExitCode> {
    let found = name.map_or_else(|| Ok(reference.entries().collect()), |name| reference.find(name))?;
    let whole = name.is_some();
    let lines = found.iter().map(|(name, text)| match whole {
        true => format!("{name}\n    {}\n", text.replace('\n', "\n    ")),
        false => format!("{name}: {}", first_sentence(text)),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let entries = found.into_iter().map(|(name, text)| Entry { name, text }).collect();
    output.report(&Entries { entries }, text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// The first sentence of the last paragraph, which has the meaning.
fn first_sentence(text: &str) -> &str {
    let meaning = text.rsplit("\n\n").next().unwrap_or(text);
    meaning.split_once(". ").map_or(meaning, |(first, _)| first)
}
