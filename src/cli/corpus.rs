mod fetch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use palestra_corpus::{BuildProgress, Error as CorpusError, Options, Ranks, Report, Settings, build_on_ranks};
use palestra_files::{Address, remove_directory};
use palestra_remote::{check_free, files_of, put_folder, staging};
use serde::Serialize;

use super::output::Output;
use crate::{Error, Result};
use palestra_learn::collective::{Collective, join};
use palestra_report::peak_memory_bytes;

/// Time after which a rank that does not answer ends the run. A rank may have one long file more than another.
const DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// Build clean training shards from raw text
///
/// Reads text, Markdown, HTML, JSON lines, Parquet and web archives (WARC, and WET and WAT of Common Crawl), each also as
/// .gz or .zst: files, folders, quoted patterns. Each document is decoded, repaired (charsets, mojibake such as "Ã©",
/// Unicode forms), filtered by the rules of C4 and Gopher, and stripped of e-mail addresses, IP addresses and phone
/// numbers. Exact and near duplicates are dropped.
///
/// Writes the folder of --out: train-*.parquet and validation-*.parquet (id, text, source, row, language, url, ...),
/// report.html and report.json with what was dropped, why, and samples of it, and corpus.toml with every setting. The
/// folder appears when the corpus is complete; until then DIR.partial holds the finished shards. A run that was stopped
/// or killed continues after them when it is started again, and writes the same bytes. For an address such as s3://bucket/web
/// the folder is built in the cache, sent when it is complete, and then removed (docs/object-stores.md).
///
/// Under mpirun, each rank cleans files of its own; the output is that of one process (docs/cluster.md).
#[derive(clap::Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
#[command(after_long_help = "\
Examples:
  palestra corpus books/ --out corpora/books
  palestra corpus 'crawl/*.jsonl.gz' --text-column content --language eng --out corpora/crawl
  palestra corpus 'CC-MAIN-*.warc.gz' --skip-bad --out corpora/web
  palestra corpus --config corpus.toml --set duplicates.near=0.8 --set gopher.stop_words=false
  mpirun -n 8 --bind-to none palestra corpus 'CC-MAIN-*.warc.gz' --skip-bad --out corpora/web
  palestra corpus books/ --out corpora/try --max-documents 10000     (then look at corpora/try/report.html)

A small corpus.toml (every key with its default: docs/corpus.md, or the corpus.toml of a finished corpus):
  inputs = [\"books/\", \"crawl/*.jsonl.gz\"]
  out = \"corpora/mixed\"
  [language]
  keep = [\"eng\"]
  [gopher]
  words = [20, 100000]      # a rule's threshold,
  stop_words = false        # or false to switch it off
  [split]
  validation = 0.02")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Files, folders, patterns and addresses to read, instead of `inputs` in the settings file
    #[arg(value_name = "IN")]
    inputs: Vec<String>,
    /// Folder or address to write, instead of `out` in the settings file
    #[arg(long, value_name = "DIR")]
    out: Option<String>,
    /// TOML file with settings
    #[arg(long, value_name = "CORPUS.toml")]
    config: Option<PathBuf>,
    /// Language to keep, such as eng; can be repeated [default: all]
    #[arg(long = "language", value_name = "CODE")]
    languages: Vec<String>,
    /// Column or field with the text, in Parquet and JSON lines [default: text]
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Share of documents for validation, from 0 to 1 [default: 0.01]
    #[arg(long, value_name = "SHARE")]
    validation: Option<f64>,
    /// Switch off the rules of C4 and Gopher, and keep everything that is not a duplicate
    #[arg(long)]
    no_filters: bool,
    /// Maximum number of documents, to try out settings
    #[arg(long, value_name = "N")]
    max_documents: Option<u64>,
    /// Skip rows and files that cannot be read, and count them, instead of stopping
    #[arg(long)]
    skip_bad: bool,
    /// Number of threads that clean [default: one per core]. The output is the same with any number
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Discard what an unfinished run left in DIR.partial
    #[arg(long)]
    restart: bool,
    /// Setting to change, such as gopher.words=[20,100000]; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(clap::Subcommand)]
enum Command {
    Fetch(fetch::Args),
}

/// The ranks of a run, as a corpus sees them.
struct CollectiveRanks<'a>(&'a dyn Collective);

impl Ranks for CollectiveRanks<'_> {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn local_size(&self) -> usize {
        self.0.local_size()
    }

    fn name(&self, rank: usize) -> String {
        self.0.name(rank)
    }

    fn all_gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        self.0.all_gather(own).map_err(|error| error.to_string())
    }
}

/// Report of a build, with the time that it took.
#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    report: Report,
    /// Address that it was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    seconds: f64,
    peak_memory_bytes: Option<u64>,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    if let Some(Command::Fetch(args)) = &args.command {
        return fetch::run(args, output);
    }
    let mut settings = settings(args)?;
    let collective = join(DEADLINE)?;
    let ranks = CollectiveRanks(&*collective);
    let is_first = collective.rank() == 0;
    let address = Address::parse(&settings.out).transpose().map_err(Error::Config)?.map(|address| address.folder());
    if let Some(address) = &address {
        if is_first {
            check_free(address, false)?;
        }
        settings.out = staging(address)?.display().to_string();
    }
    let bar = output.progress(0, "MB");
    let on_progress = |progress: BuildProgress| {
        bar.set_length(progress.total_bytes / 1_000_000);
        bar.set_position(progress.bytes / 1_000_000);
    };
    let on_note = |note: &str| bar.suspend(|| tracing::info!("{note}"));
    let start = Instant::now();
    let options = match is_first {
        true => Options { restart: args.restart, on_progress: Some(&on_progress), on_note: Some(&on_note) },
        // Rank 0 alone shows something.
        false => Options { restart: args.restart, ..Options::default() },
    };
    let built = build_on_ranks(&settings, &options, &ranks);
    bar.finish_and_clear();
    let report = match built {
        Ok(_) if !is_first => return Ok(ExitCode::SUCCESS),
        // Rank 0 tells it, and fails; mpirun would end it before.
        Err(CorpusError::Ranks(_)) if !is_first => return Ok(ExitCode::SUCCESS),
        Err(error) if collective.size() > 1 && !matches!(error, CorpusError::Ranks(_)) => {
            let name = collective.name(collective.rank());
            super::fail(&Error::Data(format!("{name}: {error}")), output.wants_json());
            // The other ranks would wait for this one.
            collective.abort();
            return Ok(ExitCode::FAILURE);
        }
        built => built?,
    };
    if report.validation.documents == 0 && report.settings.split.validation > 0.0 {
        tracing::warn!(
            "no document is for validation: {} are few for a share of {}",
            report.kept().documents,
            report.settings.split.validation
        );
    }
    let mut text = format!("{report}");
    if let Some(address) = &address {
        let built = Path::new(&settings.out);
        put_folder(&files_of(built)?, address, false)?;
        remove_directory(built)?;
        text += &format!("\nsent to {address}");
    }
    let address = address.map(|address| address.to_string());
    let seconds = start.elapsed().as_secs_f64();
    output.report(&Made { report, address, seconds, peak_memory_bytes: peak_memory_bytes() }, text)?;
    Ok(ExitCode::SUCCESS)
}

/// Settings of the file, with those of the command line applied.
fn settings(args: &Args) -> Result<Settings> {
    let mut settings = match &args.config {
        Some(file) => Settings::load(file, &args.overrides)?,
        None => Settings::parse("", "the defaults", &args.overrides)?,
    };
    if !args.inputs.is_empty() {
        settings.inputs.clone_from(&args.inputs);
    }
    if !args.languages.is_empty() {
        settings.language.keep.clone_from(&args.languages);
    }
    if let Some(out) = &args.out {
        settings.out.clone_from(out);
    }
    if let Some(column) = &args.text_column {
        settings.read.text_column.clone_from(column);
    }
    if args.no_filters {
        settings.switch_off_filters();
    }
    settings.split.validation = args.validation.unwrap_or(settings.split.validation);
    settings.max_documents = args.max_documents.unwrap_or(settings.max_documents);
    settings.threads = args.threads.unwrap_or(settings.threads);
    settings.skip_bad |= args.skip_bad;
    Ok(settings)
}
