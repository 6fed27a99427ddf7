//! `palestra label`: one file per subcommand, and labelling in the terminal.

mod add;
mod export;
mod order;
mod sample;
mod serve;
mod stats;

use std::io::stdin;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use palestra_labels::Store;
use palestra_labels::terminal::{self, Questions};

use super::output::Output;
use crate::{Error, Result};

/// Collect people's preferences among answers
///
/// A label store is one file with prompts, answers, annotators and their labels:
///   label add     creates the store from a file of prompts with answers, or from models that answer prompts
///   label serve   serves a web page on which annotators label
///   label STORE   labels in this terminal, for one annotator
///   label stats   reports counts, agreement, and which policies win
///   label export  writes the labels as a file for training, or for Argilla or Label Studio
/// The guide is docs/labels.md.
///
/// In the terminal, type the letter of the better answer and Enter; ? lists the other keys: ratings, ties, undo, and going
/// back to earlier labels.
///
/// Writes labels into the store. Each label is on the disk before the next item is shown.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, arg_required_else_help = true)]
#[command(args_conflicts_with_subcommands = true, subcommand_precedence_over_arg = true)]
#[command(after_long_help = "\
Examples:
  palestra label add answers.db answers.jsonl
  palestra label answers.db --name ada
  palestra label answers.db --criterion helpful --criterion true --strength
  palestra label serve answers.db
  palestra label export answers.db preferences.jsonl

`palestra label <command> --help` explains a command, with an example and what it writes.")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Label store to label in this terminal
    #[arg(required = true)]
    store: Option<PathBuf>,
    /// Your name as an annotator
    #[arg(long, value_name = "NAME", default_value = "me")]
    name: String,
    #[command(flatten)]
    questions: QuestionArgs,
}

/// Questions to annotators besides which answer is best.
#[derive(clap::Args)]
pub struct QuestionArgs {
    /// Criterion by which each answer is rated from 1 to 5, besides the overall rating; can be repeated [default: none]
    #[arg(long, value_name = "NAME")]
    criterion: Vec<String>,
    /// Ask whether the better of two answers is slightly or much better
    #[arg(long)]
    strength: bool,
}

#[derive(Subcommand)]
enum Command {
    Add(add::Args),
    Serve(serve::Args),
    Export(export::Args),
    Stats(stats::Args),
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    match &args.command {
        Some(Command::Add(args)) => add::run(args, output),
        Some(Command::Serve(args)) => serve::run(args, output),
        Some(Command::Export(args)) => export::run(args, output),
        Some(Command::Stats(args)) => stats::run(args, output),
        None => label(args, output),
    }
}

fn label(args: &Args, output: &mut Output) -> Result<ExitCode> {
    if output.wants_json() {
        return Err(Error::Config(
            "--json: labelling in the terminal asks questions; `palestra label stats` has the counts".into(),
        ));
    }
    let mut store = Store::open(args.store.as_deref().expect("clap asks for it where there is no command"))?;
    let person = store.annotator(&args.name)?;
    let QuestionArgs { criterion, strength } = &args.questions;
    let questions = Questions { criteria: criterion.clone(), strength: *strength };
    let kept = terminal::label(&mut store, &person, &questions, stdin().lock(), output.screen())?;
    let progress = store.progress(&person)?;
    output.line(format_args!(
        "kept {kept} labels of {} in {}; {} left",
        person.name,
        store.file().display(),
        progress.left
    ))?;
    Ok(ExitCode::SUCCESS)
}
