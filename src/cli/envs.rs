use std::process::ExitCode;

use palestra_envs::{Definition, EnvSpec, Registry};
use serde::Serialize;

use super::output::Output;
use crate::{Error, Result};
use palestra_display::decimals4;

/// List the environments, or show one
///
/// Without a name, prints a table: each environment's name and version, its optimum (the mean return of the best
/// policy, if known), the maximum number of turns of an episode, and a summary of the game. With a name, or with the
/// path of a TOML file that defines an environment, prints its card: rules, observations, rewards, baselines.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra envs
  palestra envs frozen-lake-4x4
  palestra envs --json | jq '.environments[].spec.id'")]
pub struct Args {
    /// Name of a registered environment, or path of a TOML definition
    name: Option<String>,
}

/// Environment in the output of `--json`.
#[derive(Serialize)]
struct Facts<'a> {
    name: String,
    kind: &'a str,
    summary: &'a str,
    spec: EnvSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<Definition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<&'a str>,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    match &args.name {
        Some(name) => show(name, registry, output)?,
        None => list(registry, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(registry: &Registry, output: &mut Output) -> Result<()> {
    let mut environments = Vec::new();
    for entry in registry.entries() {
        let spec = registry.make(entry.name)?.spec().clone();
        let (name, kind, summary) = (entry.name.to_string(), entry.kind, entry.summary);
        environments.push(Facts { name, kind, summary, spec, definition: None, card: None });
    }
    #[derive(Serialize)]
    struct List<'a> {
        environments: &'a [Facts<'a>],
    }
    output.report(&List { environments: &environments }, table(&environments))
}

fn show(name: &str, registry: &Registry, output: &mut Output) -> Result<()> {
    let definition = registry.definition(name)?;
    let spec = registry.build(&definition)?.spec().clone();
    // A custom definition has the card of its kind.
    let entry = registry.entry(name).or_else(|| registry.kind(definition.kind.as_deref()?));
    let (summary, card) = entry.map_or(("", None), |entry| (entry.summary, entry.card));
    let kind = definition.kind.clone().unwrap_or_default();
    let mut text = facts_line(&spec);
    if registry.entry(name).is_none() {
        let written = toml::to_string(&definition).map_err(|error| Error::Config(format!("{name}: {error}")))?;
        text += &format!("\n\n{}\n\nThe card of its kind, `{kind}`, in its standard form:", written.trim_end());
    }
    if let Some(card) = card {
        text += &format!("\n\n{}", card.trim_end());
    }
    let name = definition.id.clone().unwrap_or_default();
    output.report(&Facts { name, kind: &kind, summary, spec, definition: Some(definition), card }, text)
}

fn table(environments: &[Facts]) -> String {
    let heads = ["name", "version", "optimum", "turns", "summary"].map(str::to_string);
    let rows = environments.iter().map(|Facts { name, summary, spec, .. }| {
        let version = spec.id.rsplit_once('-').map_or("", |(_, version)| version);
        let optimum = spec.optimal_return.map_or_else(|| "-".to_string(), decimals4);
        let turns = spec.max_turns.map_or_else(|| "-".to_string(), |turns| turns.to_string());
        [name.clone(), version.to_string(), optimum, turns, summary.to_string()]
    });
    let rows: Vec<[String; 5]> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let lines = rows.iter().map(|[name, version, optimum, turns, summary]| {
        let [a, b, c, d, _] = widths;
        format!("{name:a$}  {version:b$}  {optimum:>c$}  {turns:>d$}  {summary}").trim_end().to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn facts_line(spec: &EnvSpec) -> String {
    let optimum =
        spec.optimal_return.map_or("optimum unknown".to_string(), |optimum| format!("optimum {}", decimals4(optimum)));
    let turns = spec.max_turns.map_or("no limit of turns".to_string(), |turns| format!("at most {turns} turns"));
    format!("{}: {optimum}, {turns}", spec.id)
}
