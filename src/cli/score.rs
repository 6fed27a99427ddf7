//! `palestra score`: a reward model's scores of labelled answers, and their agreement with the labels.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::destination::{OverwriteArgs, files_of_model, named};
use super::output::Output;
use super::writing::MachineArgs;
use crate::Result;
use crate::reward_model::RewardModel;
use palestra_learn::accuracy::PreferenceScore;
use palestra_learn::batch::{PromptPreferences, TextRow};
use palestra_learn::learners::PreferenceKinds;
use palestra_learn::source::{PreferenceCounts, read_preferences};

/// Score labelled answers with a reward model, and compare the scores with the preferences
///
/// Reads a file of preferences (docs/preferences.md): pairs, ties, the best of several, labels, ratings. Reports how
/// often the better answer has the higher score, by how much, and the expected calibration error: how far the
/// preference probabilities that follow from the scores are from how often people prefer.
///
/// Writes nothing but its output, unless --out names a file for the scores.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra score runs/reward-convincing --data preferences.jsonl --by topic
  palestra score runs/reward-convincing --data preferences.jsonl --json | jq .accuracy
  palestra score reward-model-directory --data preferences.parquet --out scores.jsonl")]
pub struct Args {
    /// Directory of a run that trained a reward model, or of a reward model in Hugging Face's layout
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Files of preferences: JSON lines or Parquet, folders, patterns
    #[arg(long, value_name = "FILE")]
    data: String,
    /// Column to group by: the accuracy is also reported for each of its values
    #[arg(long, value_name = "COLUMN")]
    by: Option<String>,
    /// Write each answer with its score into this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    /// Answers per forward pass
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Serialize)]
struct Report {
    model: PathBuf,
    data: String,
    preferences: usize,
    prompts: usize,
    answers: usize,
    answers_cut: usize,
    #[serde(flatten)]
    score: Option<PreferenceScore>,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let model = RewardModel::open(&args.model, &args.machine.open()?)?;
    let reads = [named(&[&args.data]), files_of_model(&args.model)].concat();
    let out = args.out.as_ref().map(|out| args.overwrite.claim(out, &reads)).transpose()?;
    let files = [args.data.clone()];
    let (prompts, counts) = read_preferences(&files, &model.encoder(), args.by.as_deref(), None, PreferenceKinds::All)?;
    let rows: Vec<&TextRow> = prompts.iter().flat_map(|prompt| &prompt.answers).collect();
    let scores = model.score_rows(&rows, args.batch as usize);
    if let Some(out) = out {
        out.write(lines(&model, &prompts, &scores)?.as_bytes())?;
    }
    let score = PreferenceScore::new(&prompts, &scores, f64::from(model.policy.score_scale()));
    let PreferenceCounts { kept, prompts, answers, cut, .. } = counts;
    let (model, data) = (args.model.clone(), args.data.clone());
    let report = Report { model, data, preferences: kept, prompts, answers, answers_cut: cut, score };
    output.report(&report, &report)?;
    Ok(ExitCode::SUCCESS)
}

fn lines(model: &RewardModel, prompts: &[PromptPreferences], scores: &[f32]) -> Result<String> {
    let mut lines = String::new();
    for (row, score) in prompts.iter().flat_map(|prompt| &prompt.answers).zip(scores) {
        let (prompt, answer) = row.tokens.split_at(row.counted[0]);
        let [prompt, answer] = [prompt, answer].map(|tokens| model.tokenizer.decode(tokens));
        lines += &format!("{}\n", json!({ "prompt": prompt?, "completion": answer?, "score": score }));
    }
    Ok(lines)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { preferences, answers, prompts, .. } = self;
        match &self.score {
            Some(score) => write!(f, "{score}"),
            None => write!(f, "no two of the answers can be compared"),
        }?;
        write!(f, "\n{preferences} preferences of {answers} answers to {prompts} prompts")
    }
}
