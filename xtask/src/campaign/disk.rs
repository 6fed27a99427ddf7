//! Every write, sync and rename fails once: the disk is full, broken or read-only, or takes half of a write. The command
//! ends with an error that names a file; what was there before is whole, and the command works when the disk does again.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::kill::{clear, finish};
use super::programs::{Folder, ended, program};
use super::work::{WORK, Work, difference};
use super::{Deadline, Random, Request};
use crate::Result;

const KINDS: [&str; 4] = ["ENOSPC", "EIO", "EROFS", "SHORT"];

/// Steps after which the program certainly has none left.
const MOST_STEPS: u64 = 100_000;

pub fn run(request: &Request) -> Result<String> {
    let program = program(request, &["failpoints"])?;
    let folder = Folder::new("disk")?;
    let mut random = Random::new()?;
    let waiting: Vec<(&Work, Random)> = WORK.iter().map(|work| (work, Random(random.next()))).collect();
    let waiting = Mutex::new(waiting.into_iter());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let is_broken = AtomicBool::new(false);
    let of_thread = || -> Result<[u64; 2]> {
        let mut sums = [0; 2];
        loop {
            let (next, left) = {
                let mut waiting = waiting.lock().map_err(|_| "a thread has panicked")?;
                (waiting.next(), waiting.len() + 1)
            };
            let Some((work, random)) = next else { return Ok(sums) };
            // The time that is left, shared with the commands that wait.
            let time = request.deadline.length.saturating_sub(request.deadline.begin.elapsed());
            let time = time.mul_f64(threads.min(left) as f64 / left as f64);
            let place = folder.0.join(work.name.replace(' ', "-"));
            match fail_at_each(work, &program, &place, random, time, &is_broken) {
                Ok(counts) => sums = [sums[0] + counts[0], sums[1] + counts[1]],
                Err(error) => {
                    is_broken.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let (mut failures, mut steps) = (0, 0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(of_thread)).collect();
        threads.into_iter().try_for_each(|thread| {
            let counts = thread.join().map_err(|_| "a thread has panicked")??;
            (failures, steps) = (failures + counts[0], steps + counts[1]);
            Result::Ok(())
        })
    })?;
    folder.remove();
    let share = if failures == steps { "all" } else { "not all, for want of time," };
    Ok(format!("{failures} failures at {share} of {steps} writes of {} commands; files whole, each named", WORK.len()))
}

/// Lets the steps of a command fail in a random order: all of them, or those for which there is time, each kind of failure at
/// least once. Returns how many failed, and how many there are.
fn fail_at_each(
    work: &Work,
    program: &Path,
    place: &Path,
    mut random: Random,
    time: Duration,
    is_broken: &AtomicBool,
) -> Result<[u64; 2]> {
    let deadline = Deadline { begin: Instant::now(), length: time };
    work.lay_out(program, place)?;
    if !succeeds(work, program, place, "whole", None)? {
        return Err(format!("{}: fails without a failing disk", work.name));
    }
    let last = last_step(work, program, place)?;
    let mut steps: Vec<u64> = (1..=last).collect();
    for end in (1..steps.len()).rev() {
        steps.swap(end, random.below(end as u64 + 1) as usize);
    }
    let mut failures = 0;
    for (number, step) in steps.into_iter().enumerate() {
        let has_all_kinds = number >= KINDS.len();
        if has_all_kinds && deadline.is_over() || is_broken.load(Ordering::Relaxed) {
            break;
        }
        fail_at(work, program, place, step, KINDS[number % KINDS.len()])?;
        failures += 1;
    }
    Ok([failures, last])
}

/// Number of steps of a command: the least that is never reached.
fn last_step(work: &Work, program: &Path, folder: &Path) -> Result<u64> {
    let (mut reached, mut beyond) = (0, 64);
    while !succeeds(work, program, folder, "probe", Some((beyond, "EIO")))? {
        (reached, beyond) = (beyond, beyond * 2);
        if beyond > MOST_STEPS {
            return Err(format!("{}: more than {MOST_STEPS} writes", work.name));
        }
    }
    while reached + 1 < beyond {
        let middle = (reached + beyond) / 2;
        match succeeds(work, program, folder, "probe", Some((middle, "EIO")))? {
            true => beyond = middle,
            false => reached = middle,
        }
    }
    Ok(reached)
}

fn fail_at(work: &Work, program: &Path, folder: &Path, step: u64, kind: &str) -> Result<()> {
    clear(folder, "failed");
    let mut command = work.command(program, folder, "failed", "");
    let output = ended(command.env("PALESTRA_FAIL", format!("{step}:{kind}")))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let wrong = |reason: &str| Err(format!("{}: PALESTRA_FAIL={step}:{kind}: {reason}: {told}", work.name));
    if output.status.success() {
        return Ok(()); // a step that may fail, such as the removal of what is left
    }
    if output.status.code() != Some(1) || told.contains("panicked") {
        return wrong("ended otherwise than with an error");
    }
    if !told.contains('/') && !told.contains("failed") {
        return wrong("the message names no file");
    }
    // The disk works again.
    if let Err(error) = finish(work, program, folder, "failed") {
        return wrong(&format!("does not go on ({error})"));
    }
    match difference(&work.result(program, folder, "failed")?, &work.result(program, folder, "whole")?) {
        Some(file) => wrong(&format!("{file} differs when it goes on")),
        None => Ok(()),
    }
}

fn succeeds(work: &Work, program: &Path, folder: &Path, out: &str, failure: Option<(u64, &str)>) -> Result<bool> {
    clear(folder, out);
    let mut command = work.command(program, folder, out, "");
    if let Some((step, kind)) = failure {
        command.env("PALESTRA_FAIL", format!("{step}:{kind}"));
    }
    ended(&mut command).map(|output| output.status.success())
}
