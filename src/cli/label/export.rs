use std::path::PathBuf;
use std::process::ExitCode;

use palestra_labels::Store;
use palestra_labels::exchange::{Tool, export, label_studio_config};
use palestra_labels::export::{Form, Layout, Naming, records};
use serde_json::json;

use super::Output;
use crate::cli::destination::OverwriteArgs;
use crate::{Error, Result};

/// Export labels as a file for training, or for another labelling tool
///
/// Forms of a row:
///   pairs         {"prompt", "chosen", "rejected"}, and "margin" if both answers were rated and the chosen one higher.
///                 A best answer makes a pair with every other answer; a ranking makes all its pairs. --ties adds
///                 {"tie": true} rows: a reader that does not know this column takes them for preferences
///   best          {"prompt", "completions", "best"}: the index of the best answer, from 0
///   labels        {"prompt", "completion", "label"}: true for a good answer. The better of two is good, the other is not
///   ratings       {"prompt", "completion", "rating"}: the overall rating
///   argilla       records of Argilla 2 as JSON, with all labels of an item in one record
///   label-studio  tasks of Label Studio as JSON, with an annotation for each label
///
/// Rows of the first four forms also have the annotator, item, seconds, comment, strength, criteria, and the policies that
/// wrote the answers. If annotators disagree, all their labels are exported. Gold items are left out. Annotators have
/// pseudonyms (annotator-1, ...), unless --names is given.
///
/// Writes the new file, completely or not at all. Its ending tells the format: .jsonl, .parquet, .csv or .tsv; .json for
/// argilla and label-studio.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra label export answers.db preferences.jsonl
  palestra label export answers.db preferences.parquet --form labels
  palestra label export answers.db ratings.csv --form ratings --names
  palestra label export answers.db tasks.json --form label-studio --config labeling.xml")]
pub struct Args {
    /// Label store to export
    store: PathBuf,
    /// File or address to create
    out: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    /// Form of a row
    #[arg(long, value_parser = ["pairs", "best", "labels", "ratings", "argilla", "label-studio"], default_value = "pairs")]
    form: String,
    /// Export pairs without a better answer as ties, too; only with pairs
    #[arg(long)]
    ties: bool,
    /// Export the names of annotators in place of pseudonyms
    #[arg(long)]
    names: bool,
    /// Also write a labelling configuration of Label Studio that the tasks fit; only with label-studio
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let tool = match args.form.as_str() {
        "argilla" => Some(Tool::Argilla),
        "label-studio" => Some(Tool::LabelStudio),
        _ => None,
    };
    let refused = |message: &str| Err(Error::Config(message.to_string()));
    if args.ties && args.form != "pairs" {
        return refused("--ties: only --form pairs has ties; leave it out");
    }
    if args.config.is_some() && tool != Some(Tool::LabelStudio) {
        return refused("--config: only --form label-studio has a configuration; leave it out");
    }
    let naming = if args.names { Naming::Names } else { Naming::Pseudonyms };
    let ending = args.out.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let wrong_ending = |right: &str| {
        let out = args.out.display();
        Error::Config(format!("{out}: its name does not tell what to write; let it end in {right}"))
    };
    let layout = match tool {
        Some(_) if ending != "json" => return Err(wrong_ending(".json")),
        Some(_) => None,
        None => Some(Layout::named(ending).ok_or_else(|| wrong_ending(".jsonl, .parquet, .csv or .tsv"))?),
    };
    let out = args.overwrite.claim(&args.out, &[&args.store])?;
    let config = args.config.as_ref().map(|file| args.overwrite.claim(file, &[&args.store])).transpose()?;
    let store = Store::open(&args.store)?;
    let (bytes, rows) = match layout {
        Some(layout) => {
            let form = match Form::named(&args.form).expect("clap knows the names") {
                Form::Pairs { .. } => Form::Pairs { ties: args.ties },
                other => other,
            };
            let records = records(&store, form, naming)?;
            let bytes = layout.encode(&records);
            let bytes = bytes.map_err(|reason| Error::Data(format!("{}: {reason}", args.out.display())))?;
            (bytes, records.len())
        }
        None => {
            let items = export(&store, tool.expect("only tools have no layout"), naming)?;
            if let Some(config) = config {
                config.write(label_studio_config(&items).as_bytes())?;
            }
            (format!("{items:#}\n").into_bytes(), items.as_array().map_or(0, Vec::len))
        }
    };
    out.write(&bytes)?;
    let report = json!({"file": args.out, "form": args.form, "rows": rows});
    output.report(&report, format_args!("{}: {rows} rows", args.out.display()))?;
    Ok(ExitCode::SUCCESS)
}
