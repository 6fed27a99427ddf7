//! Long training and serving: memory and open files are read from the system each second, and must not grow.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Request;
use super::load::load_test;
use super::programs::{Folder, ended, program};
use super::work::WORK;
use crate::Result;
use crate::guard::Guarded;

/// Share of the time after which memory is compared: until then caches fill.
const WARM: f64 = 0.2;

/// Growth of memory that is accepted, as a share in an hour.
const GROWTH: f64 = 0.001;

/// Growth that is accepted whatever the time, in bytes: the allocator's steps.
const STEP: f64 = 2e6;

/// Memory and open files of a process at a moment.
struct Sample {
    hours: f64,
    bytes: f64,
    files: usize,
}

/// Work of [`WORK`] that goes on for the whole time.
const TRAINED: [&str; 2] = ["ppo", "sft"];

/// Asks a policy for an action 20 times a second; ends when it answers with an error, or does not answer.
const ASK: &str = r#"while sleep 0.05; do
echo '{"type":"act","states":[{"observation":"A cat was old.","legal_actions":["a","b"]}]}'
done | "$0" serve --policy policy | grep -m 1 '"type":"error"'"#;

/// People who label, and the shortest pause of each, in milliseconds.
const PEOPLE: u64 = 4;
const PAUSE: u64 = 100;

/// Items to label.
const ITEMS: u64 = 100_000;

/// A process that has no end, in a group that is killed with its value.
struct Run {
    name: &'static str,
    group: Guarded,
    /// The process of the group that runs the program, once it does.
    process: Option<u32>,
    samples: Vec<Sample>,
}

pub fn run(request: &Request) -> Result<String> {
    let (program, load) = (program(request, &[])?, load_test(request)?);
    let folder = Folder::new("soak")?;
    let mut runs = Vec::new();
    for work in WORK.iter().filter(|work| TRAINED.contains(&work.name)) {
        let place = folder.0.join(work.name);
        work.lay_out(&program, &place)?;
        let more = "--set train.updates=1000000000 --set train.checkpoint_every=1000";
        runs.push((work.name, work.start(&program, &place, "out", more)?));
        if work.name == "sft" {
            ended(&mut work.command(&program, &place, "policy", ""))?;
            let mut ask = Command::new("sh");
            ask.args(["-c", ASK]).arg(&program).current_dir(&place).stdin(Stdio::null()).stdout(Stdio::null());
            runs.push(("serve --policy", Guarded::start(&mut ask)?));
        }
    }
    runs.push(("label serve", Guarded::start(&mut labelling(&program, &load, request.deadline.seconds()))?));
    let run = |(name, group)| Run { name, group, process: None, samples: Vec::new() };
    let mut runs: Vec<Run> = runs.into_iter().map(run).collect();
    let begin = Instant::now();
    while !request.deadline.is_over() {
        sleep(Duration::from_secs(1));
        for run in &mut runs {
            // Looked for once: the file of the program may be replaced while it runs.
            run.process = run.process.or_else(|| process_of(run.group.id(), &program));
            let sample = run.process.map(|process| sample(process, begin));
            if run.group.is_over()? || matches!(sample, Some(None)) {
                return Err(format!("{}: ended by itself; see {}", run.name, folder.0.display()));
            }
            run.samples.extend(sample.flatten());
        }
    }
    let told = all_told(runs.iter().map(|run| (run.name, judge(&run.samples))));
    drop(runs);
    let told = told?;
    folder.remove();
    Ok(told)
}

/// The findings of all runs; an error where one of them is.
fn all_told(findings: impl Iterator<Item = (&'static str, Result<String>)>) -> Result<String> {
    let mut is_well = true;
    let mut told = Vec::new();
    for (name, finding) in findings {
        is_well &= finding.is_ok();
        told.push(format!("{name}: {}", finding.unwrap_or_else(|told| told)));
    }
    let told = told.join("; ");
    if is_well { Ok(told) } else { Err(told) }
}

/// A label server with people, who have items for longer than the campaign lasts.
fn labelling(program: &Path, load: &Path, seconds: u64) -> Command {
    let (seconds, pause) = ((seconds + 60).to_string(), PAUSE.max(2000 * seconds / ITEMS));
    let [items, people, pause] = [ITEMS, PEOPLE, pause].map(|number| number.to_string());
    let mut command = Command::new(load);
    command.arg(program).args(["--items", &items, "--people", &people, "--overlap", &people]);
    command.args(["--seconds", &seconds, "--pause", &pause]).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The process of a group that runs a program, as Linux tells it; there is none while the group prepares.
fn process_of(group: u32, program: &Path) -> Option<u32> {
    let of_group = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // After the name, which may hold anything: state, parent, group.
        stat.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(2)?.parse().ok()) == Some(group)
    };
    let runs_it = |process: &u32| fs::read_link(format!("/proc/{process}/exe")).is_ok_and(|path| path == program);
    let entries = fs::read_dir("/proc").ok()?;
    let mut processes = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.find(|process| of_group(process) && runs_it(process))
}

/// Memory and open files of a process, as Linux tells them.
fn sample(process: u32, begin: Instant) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let files = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
    Some(Sample { hours: begin.elapsed().as_secs_f64() / 3600.0, bytes: kibibytes * 1024.0, files })
}

/// Fits a line through the memory of the warm part, and compares the open files of its two halves: a leak raises their
/// least number, and the connections of clients, which come and go, do not.
fn judge(samples: &[Sample]) -> Result<String> {
    let warm = &samples[(samples.len() as f64 * WARM) as usize..];
    if warm.len() < 10 {
        return Err("too few samples; give it more time, on Linux".to_string());
    }
    let count = warm.len() as f64;
    let mean = |of: fn(&Sample) -> f64| warm.iter().map(of).sum::<f64>() / count;
    let (hours, bytes) = (mean(|sample| sample.hours), mean(|sample| sample.bytes));
    let covariance: f64 = warm.iter().map(|sample| (sample.hours - hours) * (sample.bytes - bytes)).sum();
    let variance: f64 = warm.iter().map(|sample| (sample.hours - hours).powi(2)).sum();
    let slope = covariance / variance;
    let (first, second) = warm.split_at(warm.len() / 2);
    let files = |part: &[Sample]| part.iter().map(|sample| sample.files).collect::<BTreeSet<_>>();
    let (first, second) = (files(first), files(second));
    let lasted = warm[warm.len() - 1].hours - warm[0].hours;
    let told = format!(
        "{:.0} MB, {:+.3} % an hour, {} to {} open files, {:.2} hours",
        bytes / 1e6,
        100.0 * slope / bytes,
        second.first().unwrap_or(&0),
        second.last().unwrap_or(&0),
        lasted
    );
    if slope * lasted > GROWTH * bytes * lasted + STEP || second.first() > first.first() {
        return Err(format!("grows: {told}"));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(bytes: impl Fn(f64) -> f64, files: impl Fn(usize) -> usize) -> Vec<Sample> {
        (0..3600)
            .map(|second| (second, f64::from(second) / 3600.0))
            .map(|(second, hours)| Sample { hours, bytes: bytes(hours), files: files(second as usize) })
            .collect()
    }

    #[test]
    fn growth_of_memory_and_of_files_is_told() {
        assert!(judge(&samples(|_| 1e8, |_| 9)).unwrap().starts_with("100 MB, +0.000 % an hour, 9 to 9 open files"));
        // More clients at once in the second half, which leave again.
        let told = judge(&samples(|_| 1e8, |second| 9 + 3 * usize::from(second == 3000))).unwrap();
        assert!(told.contains("9 to 12 open files"), "{told}");
        // What is filled at the beginning is not growth.
        judge(&samples(|hours| 1e8 + 5e7 * (hours * 20.0).min(1.0), |_| 9)).unwrap();
        assert!(judge(&samples(|hours| 1e8 + 1e7 * hours, |_| 9)).unwrap_err().starts_with("grows: "));
        assert!(judge(&samples(|_| 1e8, |second| 9 + second / 1000)).unwrap_err().starts_with("grows: "));
        assert!(judge(&[]).is_err());
    }

    #[test]
    fn a_run_that_grows_hides_no_other() {
        let findings = |second: Result<String>| [("ppo", Ok("flat".to_string())), ("sft", second)].into_iter();
        assert_eq!(all_told(findings(Ok("flat".to_string()))).unwrap(), "ppo: flat; sft: flat");
        assert_eq!(all_told(findings(Err("grows".to_string()))).unwrap_err(), "ppo: flat; sft: grows");
    }
}
