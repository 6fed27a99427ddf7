//! `palestra bench`: measures the machines that a run would have.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::output::Output;
use crate::{Error, Result};
use palestra_learn::collective::{Speed, Threads, join, measure};

/// Time after which a rank that does not answer ends the measurement.
const DEADLINE: Duration = Duration::from_secs(60);

/// Measure the machines that a run would have
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Collective(CollectiveArgs),
}

/// Measure the communication between ranks, for `palestra plan --bandwidth --latency`
///
/// Under mpirun, between the ranks that it started; otherwise between threads of this process, which is the memory's speed
/// and no network's. Takes some seconds. Prints the time of a message, and the bytes that a rank sends in a second while
/// gradients are added in the way of a run on several ranks, with the copies and the addition.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra bench collective --ranks 4
  mpirun -n 2 palestra bench collective
  mpirun --hostfile machines --map-by node palestra bench collective --json | jq .bytes_per_second")]
struct CollectiveArgs {
    /// Number of ranks that are threads, without mpirun
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=64))]
    ranks: Option<u16>,
}

#[derive(Serialize)]
struct Report {
    /// True for processes of MPI, false for threads.
    mpi: bool,
    #[serde(flatten)]
    speed: Speed,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let Command::Collective(args) = &args.command;
    let collective = join(DEADLINE)?;
    let mpi = collective.size() > 1;
    let speed = match args.ranks {
        Some(ranks) if mpi => {
            let size = collective.size();
            return Err(Error::Config(format!("--ranks {ranks}: mpirun started {size} ranks, and they are measured")));
        }
        _ if mpi => measure(&*collective)?,
        ranks => Threads::run(ranks.map_or(2, usize::from), DEADLINE, |rank| measure(rank)).swap_remove(0)?,
    };
    if collective.rank() == 0 {
        let report = Report { mpi, speed };
        output.report(&report, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Speed { ranks, ranks_on_machine, message_seconds, bytes_per_second } = self.speed;
        let kind = if self.mpi { "processes of MPI" } else { "threads of one process" };
        writeln!(f, "ranks      {ranks} {kind}, {ranks_on_machine} of them on this machine")?;
        writeln!(f, "message    {:.1} us", message_seconds * 1e6)?;
        writeln!(f, "bandwidth  {:.3} GB/s that a rank sends, in adding gradients", bytes_per_second / 1e9)?;
        write!(f, "plan with  --bandwidth {:.3} --latency {:.1}", bytes_per_second / 1e9, message_seconds * 1e6)
    }
}
