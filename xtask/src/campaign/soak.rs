//! A long run: its memory and its open files are read from the system each second, and must not grow.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Request;
use super::programs::{Folder, program};
use super::work::WORK;
use crate::Result;
use crate::guard::Guarded;

/// Share of the time after which memory is compared: until then caches fill.
const WARM: f64 = 0.2;

/// Growth of memory that is accepted, as a share in an hour.
const GROWTH: f64 = 0.001;

/// Growth that is accepted whatever the time, in bytes: the allocator's steps.
const STEP: f64 = 2e6;

/// What a process had at a moment.
struct Sample {
    hours: f64,
    bytes: f64,
    files: usize,
}

/// Work that goes on for the whole time.
const SOAKED: [&str; 2] = ["ppo", "sft"];

/// A run that has no end, which is killed with its value.
struct Run {
    name: &'static str,
    child: Guarded,
    samples: Vec<Sample>,
}

pub fn run(request: &Request) -> Result<String> {
    let program = program(request, &[])?;
    let folder = Folder::new("soak")?;
    let mut runs = Vec::new();
    for work in WORK.iter().filter(|work| SOAKED.contains(&work.name)) {
        let place = folder.0.join(work.name);
        work.lay_out(&program, &place)?;
        let child =
            work.start(&program, &place, "out", "--set train.updates=1000000000 --set train.checkpoint_every=1000")?;
        runs.push(Run { name: work.name, child, samples: Vec::new() });
    }
    let begin = Instant::now();
    while !request.deadline.is_over() {
        sleep(Duration::from_secs(1));
        for run in &mut runs {
            if run.child.is_over()? {
                return Err(format!("{}: ended by itself; see {}", run.name, folder.0.display()));
            }
            run.samples.extend(sample(run.child.id(), begin));
        }
    }
    let told: Result<Vec<_>> = runs
        .iter()
        .map(|run| {
            judge(&run.samples)
                .map_err(|told| format!("{}: {told}", run.name))
                .map(|told| format!("{}: {told}", run.name))
        })
        .collect();
    drop(runs);
    let told = told?;
    folder.remove();
    Ok(told.join("; "))
}

/// Memory and open files of a process, as Linux tells them.
fn sample(process: u32, begin: Instant) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let files = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
    Some(Sample { hours: begin.elapsed().as_secs_f64() / 3600.0, bytes: kibibytes * 1024.0, files })
}

/// Fits a line through the memory of the warm part, and compares the open files of its two halves.
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
    let most = |part: &[Sample]| part.iter().map(|sample| sample.files).max().unwrap_or(0);
    let lasted = warm[warm.len() - 1].hours - warm[0].hours;
    let told = format!(
        "{:.0} MB, {:+.3} % an hour, {} open files, {:.2} hours",
        bytes / 1e6,
        100.0 * slope / bytes,
        most(second),
        lasted
    );
    if slope * lasted > GROWTH * bytes * lasted + STEP || most(second) > most(first) {
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
        assert!(judge(&samples(|_| 1e8, |_| 9)).unwrap().starts_with("100 MB, +0.000 % an hour, 9 open files"));
        // What is filled at the beginning is not growth.
        judge(&samples(|hours| 1e8 + 5e7 * (hours * 20.0).min(1.0), |_| 9)).unwrap();
        assert!(judge(&samples(|hours| 1e8 + 1e7 * hours, |_| 9)).unwrap_err().starts_with("grows: "));
        assert!(judge(&samples(|_| 1e8, |second| 9 + second / 1000)).unwrap_err().starts_with("grows: "));
        assert!(judge(&[]).is_err());
    }
}
