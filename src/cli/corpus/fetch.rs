use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use palestra_corpus::{FetchOptions, fetch};

use crate::Result;
use crate::cli::output::Output;

/// Fetch pages of the web into an archive, for `palestra corpus`
///
/// Reads addresses, one a line, and asks for each once: one request at a time of a host, with a pause after it, and none that
/// its robots.txt disallows. Writes the answers to a web archive (WARC), each as soon as it is there. Until all addresses were
/// asked for, the archive is named OUT.partial. A run that was stopped or killed goes on behind the last whole page when it is
/// started again.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra corpus fetch urls.txt --out pages.warc.gz --user-agent 'our-crawler/1.0 (+https://example.org/crawler)'
  palestra corpus pages.warc.gz --out corpora/pages")]
pub struct Args {
    /// File with addresses, one a line; lines that begin with # are comments
    #[arg(value_name = "URLS")]
    addresses: PathBuf,
    /// Archive to write; its name ends in .warc.gz
    #[arg(long, value_name = "OUT.warc.gz")]
    out: PathBuf,
    /// Name for servers and their robots.txt, with an address to ask [default: palestra/VERSION]
    #[arg(long, value_name = "NAME")]
    user_agent: Option<String>,
    /// Seconds between two requests to a host; robots.txt may ask for more, up to 60
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pause: f64,
    /// Seconds that a request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    timeout: f64,
    /// Bytes of a page; longer ones are cut and marked
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    max_page_bytes: u64,
    /// Number of hosts to ask at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    hosts: u16,
    /// Replace an archive that exists
    #[arg(long)]
    overwrite: bool,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let defaults = FetchOptions::default();
    let options = FetchOptions {
        user_agent: args.user_agent.clone().unwrap_or(defaults.user_agent),
        pause: Duration::from_secs_f64(args.pause),
        timeout: Duration::from_secs_f64(args.timeout),
        max_page_bytes: args.max_page_bytes,
        hosts: args.hosts.into(),
        overwrite: args.overwrite,
    };
    let bar = output.progress(0, "pages");
    let on_progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let fetched = fetch(&args.addresses, &args.out, &options, &on_progress);
    bar.finish_and_clear();
    let report = fetched?;
    output.report(&report, &report)?;
    Ok(ExitCode::SUCCESS)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0 to 86400 is right".to_string()),
    }
}
