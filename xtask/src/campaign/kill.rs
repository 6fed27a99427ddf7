//! SIGKILL at random moments: of one command, and of two at once on one output. What is started again ends with the bytes
//! of a run that was left alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::programs::{Folder, program};
use super::work::{WORK, Work, difference};
use super::{Random, Request};
use crate::Result;
use crate::guard::Guarded;

/// Kills of one output, at most, before it is left to end.
const KILLS: u64 = 4;

/// A work, laid out, with the result and the time of a run that was left alone.
struct Known {
    work: &'static Work,
    folder: std::path::PathBuf,
    result: BTreeMap<String, Vec<u8>>,
    time: Duration,
}

pub fn run(request: &Request) -> Result<String> {
    let deadline = request.deadline;
    let program = program(request, &[])?;
    let folder = Folder::new("kill")?;
    let mut random = Random::new()?;
    let mut known = Vec::new();
    for work in WORK {
        let place = folder.0.join(work.name.replace(' ', "-"));
        work.lay_out(&program, &place)?;
        let begin = Instant::now();
        end(work, work.start(&program, &place, "whole", "")?)?;
        let time = begin.elapsed();
        known.push(Known { work, result: work.result(&program, &place, "whole")?, folder: place, time });
    }
    let (mut kills, mut outputs) = (0, 0);
    while !deadline.is_over() {
        let one = &known[random.below(known.len() as u64) as usize];
        let out = format!("killed-{outputs}");
        kills += attack(one, &program, &out, &mut random)?;
        outputs += 1;
        clear(&one.folder, &out);
    }
    let commands = known.len();
    folder.remove();
    Ok(format!("{kills} kills of {commands} commands, {outputs} outputs, each with the bytes of a run left alone"))
}

/// Kills the command of an output some times, lets it end, and compares. Returns the number of kills.
fn attack(known: &Known, program: &Path, out: &str, random: &mut Random) -> Result<u64> {
    let Known { work, folder, result, time } = known;
    let mut kills = 0;
    let mut more = "";
    for _ in 0..1 + random.below(KILLS) {
        let mut one = work.start(program, folder, out, more)?;
        // Now and then a second process wants the same output. It is refused, or waits its turn.
        let mut two = match random.below(4) {
            0 => Some(work.start(program, folder, out, more)?),
            _ => None,
        };
        sleep(Duration::from_micros(random.below(time.as_micros() as u64)));
        for child in std::iter::once(&mut one).chain(&mut two) {
            kills += u64::from(!child.is_over()?);
        }
        drop((one, two)); // with SIGKILL
        more = work.resume;
    }
    finish(work, program, folder, out)?;
    match difference(&work.result(program, folder, out)?, result) {
        None => Ok(kills),
        Some(file) => Err(format!("{}: {file} differs after {kills} kills; see {}/{out}", work.name, folder.display())),
    }
}

/// Lets the command end. A run that ended before it was anything is started, and not resumed; one that is over stays.
pub fn finish(work: &Work, program: &Path, folder: &Path, out: &str) -> Result<()> {
    let resumed = end(work, work.start(program, folder, out, work.resume)?);
    match resumed {
        Ok(()) => Ok(()),
        Err(_) if !work.resume.is_empty() && !folder.join(out).join("checkpoints").exists() => {
            end(work, work.start(program, folder, out, "")?)
        }
        // What is whole already is not made again.
        Err(_) if work.resume.is_empty() && work.result(program, folder, out).is_ok() => Ok(()),
        Err(error) => Err(format!("{error}; see {}/{out}", folder.display())),
    }
}

fn end(work: &Work, child: Guarded) -> Result<()> {
    let output = child.output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{} ({}): {}", work.name, output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

/// Removes an output, and what an ended command left of it.
pub fn clear(folder: &Path, out: &str) {
    for suffix in ["", ".parquet", ".tokens", ".partial", ".parquet.partial"] {
        let path = folder.join(format!("{out}{suffix}"));
        // What is not there need not be removed; what cannot be is refused by the command, or costs space alone.
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
}
