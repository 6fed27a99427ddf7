//! Every write, sync and rename fails once: the disk is full, broken or read-only, or takes half of a write. The command
//! ends with an error that names a file; what was there before is whole, and the command works when the disk does again.

use std::path::Path;

use super::kill::{clear, finish};
use super::programs::{Folder, ended, program};
use super::work::{WORK, Work, difference};
use super::{Random, Request};
use crate::Result;

const KINDS: [&str; 4] = ["ENOSPC", "EIO", "EROFS", "SHORT"];

/// Steps after which the program certainly has none left.
const MOST_STEPS: u64 = 100_000;

pub fn run(request: &Request) -> Result<String> {
    let deadline = request.deadline;
    let program = program(request, &["failpoints"])?;
    let folder = Folder::new("disk")?;
    let mut random = Random::new()?;
    let (mut failures, mut steps, mut is_whole) = (0, 0, true);
    for (number, work) in WORK.iter().enumerate() {
        let place = folder.0.join(work.name.replace(' ', "-"));
        work.lay_out(&program, &place)?;
        if !succeeds(work, &program, &place, "whole", None)? {
            return Err(format!("{}: fails without a failing disk", work.name));
        }
        let last = last_step(work, &program, &place)?;
        steps += last;
        // All steps, or a sample of them where the time is short: each kind at least once, in turn.
        let end = deadline.length.mul_f64((number + 1) as f64 / WORK.len() as f64);
        is_whole = is_whole && deadline.begin.elapsed() < end;
        for step in 1..=last {
            if step > KINDS.len() as u64 && deadline.begin.elapsed() > end {
                is_whole = false;
                break;
            }
            let at = if is_whole { step } else { 1 + random.below(last) };
            fail_at(work, &program, &place, at, KINDS[step as usize % KINDS.len()])?;
            failures += 1;
        }
    }
    folder.remove();
    let share = if is_whole { "all" } else { "not all, for want of time," };
    Ok(format!("{failures} failures at {share} of {steps} writes of {} commands; files whole, each named", WORK.len()))
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
