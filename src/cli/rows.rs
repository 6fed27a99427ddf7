use std::path::PathBuf;
use std::process::ExitCode;

use palestra_envs::Registry;
use serde_json::json;

use super::output::Output;
use crate::Result;
use crate::config::RunFile;
use crate::train_run::rows_of_run;
use palestra_learn::batch::TextRow;
use palestra_text::Tokenizer;

/// Show the rows that a training run on text learns from
///
/// Prints the rows of the first steps, in the order of the run: the text with its template and special tokens as the
/// model reads it, and which of its tokens are learned. Look at them before fine-tuning: a wrong template or loss mask
/// shows here.
///
/// With --json, a row has its tokens, the positions of those that are learned (`counted`), the positions where another
/// text begins that does not attend to those before it (`borders`), and the number of bytes that are learned.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra rows examples/recipes/sft-finance.toml
  palestra rows tune.toml --set text.packing=false --steps 3
  palestra rows tune.toml --steps 10 --json | jq '.steps[0][0].tokens'")]
pub struct Args {
    /// Run file to show
    #[arg(value_name = "RUN.toml")]
    file: PathBuf,
    /// Number of steps to show
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Key of the run file to change, such as text.window=128; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    let run = RunFile::load(&args.file, &args.overrides)?;
    let (steps, tokenizer) = rows_of_run(run, registry, args.steps)?;
    if output.wants_json() {
        output.report(&json!({ "steps": steps }), "")?;
        return Ok(ExitCode::SUCCESS);
    }
    for (step, rows) in (1..).zip(&steps) {
        for (number, row) in (1..).zip(rows) {
            let TextRow { tokens, counted, borders, .. } = row;
            let (all, learned, texts) = (tokens.len(), counted.len(), borders.len() + 1);
            output.line(format!("--- step {step}, row {number}: {all} tokens, {learned} learned, texts: {texts}"))?;
            output.line(marked(row, &tokenizer)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Text of a row. Learned parts stand between ⟦ and ⟧, and another text begins in a line of its own.
fn marked(row: &TextRow, tokenizer: &Tokenizer) -> Result<String> {
    let is_learned = |at: usize| row.counted.binary_search(&at).is_ok();
    let mut text = String::new();
    let mut start = 0;
    for end in 1..=row.tokens.len() {
        let is_border = row.borders.contains(&end);
        if end < row.tokens.len() && is_learned(end) == is_learned(start) && !is_border {
            continue;
        }
        let piece = tokenizer.decode_with_special(&row.tokens[start..end])?;
        text += &if is_learned(start) { format!("⟦{piece}⟧") } else { piece };
        if is_border {
            text += "\n";
        }
        start = end;
    }
    Ok(text)
}
