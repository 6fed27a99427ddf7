//! Ranks of a run that are killed, or stopped, at random moments: mpirun and all other ranks end within the deadline, and what
//! is resumed ends with the bytes of a run that was left alone. Needs a program with MPI, and mpirun.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::programs::{Folder, program};
use super::work::{WORK, Work, difference};
use super::{Random, Request};
use crate::Result;

const RANKS: u64 = 3;

/// Kills of one output, at most, before it is left to end.
const KILLS: u64 = 4;

/// Seconds that a rank waits for another, `train.deadline`.
const DEADLINE: u64 = 15;

/// Time in which all processes are over after the deadline.
const LIMIT: Duration = Duration::from_secs(DEADLINE + 10);

/// A run, laid out, with the result and the time of one that was left alone.
struct Known {
    work: &'static Work,
    folder: PathBuf,
    /// Options of the command.
    options: String,
    result: BTreeMap<String, Vec<u8>>,
    time: Duration,
}

/// Kills so far, and the longest time from one to the end of all processes.
#[derive(Default)]
struct Tally {
    killed: u64,
    stopped: u64,
    /// Stops of a rank whose run was whole already.
    stopped_at_end: u64,
    after_kill: Duration,
    after_stop: Duration,
}

pub fn run(request: &Request) -> Result<String> {
    let program = program(request, &["mpi"])?;
    let folder = Folder::new("ranks")?;
    let mut random = Random::new()?;
    let mut known = Vec::new();
    for (number, work) in WORK.iter().filter(|work| !work.resume.is_empty()).enumerate() {
        let place = folder.0.join(work.name.replace(' ', "-"));
        work.lay_out(&program, &place)?;
        let sharding = ["none", "optimizer"][number % 2];
        let options = format!("--set train.deadline={DEADLINE}.0 --set train.sharding=\"{sharding}\"");
        let begin = Instant::now();
        finish(work, start(work, &program, &place, "whole", &options)?)?;
        known.push(Known {
            work,
            result: work.result(&program, &place, "whole")?,
            time: begin.elapsed(),
            folder: place,
            options,
        });
    }
    let (mut tally, mut outputs) = (Tally::default(), 0);
    while !request.deadline.is_over() {
        let one = &known[random.below(known.len() as u64) as usize];
        attack(one, &program, &format!("killed-{outputs}"), &mut random, &mut tally)?;
        outputs += 1;
    }
    folder.remove();
    let Tally { killed, stopped, stopped_at_end, after_kill, after_stop } = tally;
    Ok(format!(
        "{RANKS} ranks, {} runs: {killed} kills, all over at most {:.1} s later, and {stopped} stops, {:.1} s with a deadline of \
         {DEADLINE} s ({stopped_at_end} more of ranks that had ended their work); {outputs} outputs, each with the bytes of a \
         run left alone",
        known.len(),
        after_kill.as_secs_f64(),
        after_stop.as_secs_f64()
    ))
}

/// Kills ranks of a run some times, lets it end, and compares.
fn attack(known: &Known, program: &Path, out: &str, random: &mut Random, tally: &mut Tally) -> Result<()> {
    let Known { work, folder, options, result, time } = known;
    let resumed = |out: &str| {
        let more = if folder.join(out).join("run.toml").exists() { work.resume } else { "" };
        start(work, program, folder, out, &format!("{options} {more}"))
    };
    for _ in 0..1 + random.below(KILLS) {
        let mut child = resumed(out)?;
        sleep(Duration::from_micros(random.below(time.as_micros() as u64)));
        let is_stop = random.below(4) == 0;
        let (rank, sent) = (random.below(RANKS), if is_stop { "-STOP" } else { "-KILL" });
        let is_hit = signal(folder, rank, sent)?;
        let begin = Instant::now();
        // A run that no signal met goes on to its end.
        let over = wait_for(&mut child, if is_hit { LIMIT } else { Duration::MAX })?;
        if over.is_none() {
            // A rank that was stopped after its last answer keeps only mpirun: the run is whole, and so ends when it goes on.
            if !is_stop || !signal(folder, rank, "-CONT")? || wait_for(&mut child, LIMIT)? != Some(true) {
                let _ = child.kill(); // it may have ended by now
                let place = folder.display();
                return Err(format!(
                    "{}: not over {LIMIT:?} after {sent} of rank {rank}; see {place}/{out}",
                    work.name
                ));
            }
            tally.stopped_at_end += 1;
            continue;
        }
        match (is_hit, is_stop) {
            (false, _) => {}
            (true, false) => {
                (tally.killed, tally.after_kill) = (tally.killed + 1, tally.after_kill.max(begin.elapsed()))
            }
            (true, true) => {
                (tally.stopped, tally.after_stop) = (tally.stopped + 1, tally.after_stop.max(begin.elapsed()))
            }
        }
    }
    finish(work, resumed(out)?)?;
    match difference(&work.result(program, folder, out)?, result) {
        None => fs::remove_dir_all(folder.join(out)).map_err(|error| format!("{out}: {error}")),
        Some(file) => Err(format!("{}: {file} differs after kills; see {}/{out}", work.name, folder.display())),
    }
}

/// Success of a program once it is over; `None` if it is not over in time.
fn wait_for(child: &mut Child, limit: Duration) -> Result<Option<bool>> {
    let begin = Instant::now();
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => return Ok(Some(status.success())),
            None if begin.elapsed() > limit => return Ok(None),
            None => sleep(Duration::from_millis(20)),
        }
    }
}

/// Starts the run on ranks.
fn start(work: &Work, program: &Path, folder: &Path, out: &str, more: &str) -> Result<Child> {
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", &RANKS.to_string()]).arg(program);
    mpirun.args(work.command(program, folder, out, more).get_args()).current_dir(folder).stdin(Stdio::null());
    mpirun.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|error| format!("mpirun: {error}"))
}

/// Sends a signal to a rank of the run in a folder; false if it is not there, because it has not begun or is over.
fn signal(folder: &Path, rank: u64, signal: &str) -> Result<bool> {
    let variable = format!("OMPI_COMM_WORLD_RANK={rank}");
    let is_rank = |id: &String| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|found| found == variable.as_bytes())
            && fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|place| place == folder)
    };
    let processes = fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
    let mut ids = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let Some(id) = ids.find(is_rank) else { return Ok(false) };
    let sent = Command::new("kill").args([signal, &id]).stderr(Stdio::null()).status();
    Ok(sent.map_err(|error| format!("kill: {error}"))?.success())
}

fn finish(work: &Work, child: Child) -> Result<()> {
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{} ({}): {}", work.name, output.status, String::from_utf8_lossy(&output.stderr))),
    }
}
