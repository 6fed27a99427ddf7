//! `metrics.jsonl`: one JSON object for each update, the source of plots and reports.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use palestra_files::{AtomicFile, OutputFile};

use super::at;

/// Metrics of one update: one line of the file.
///
/// The line is a flat object, `{"step":7,"time":3.2,"objective/kl":0.03}`. A value that is not finite is
/// written as `null` and read back as NaN.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Record {
    /// Number of updates of the policy so far, this one included.
    pub step: u64,
    /// Seconds since the run's start, without the time that the run was stopped.
    pub time: f64,
    /// Metrics by name, such as `objective/kl`.
    #[serde(flatten)]
    pub metrics: BTreeMap<String, f64>,
}

/// All metrics of a run so far, as one series of (step, value) for each metric. A long series is thinned, so that the memory
/// of a run is bounded; `metrics.jsonl` has every value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    series: BTreeMap<String, Series>,
    updates: u64,
    last_step: Option<u64>,
    elapsed: f64,
    non_finite: u64,
}

/// Maximum number of points of a series, whose memory is taken at once, so that a run does not grow while they fill. Half as
/// many are more than the pixels of a plot.
const MAX_POINTS: usize = 2048;

/// The points of one metric: every so many, and the latest.
#[derive(Debug, Clone, PartialEq)]
struct Series {
    points: Vec<(u64, f64)>,
    /// Points recorded for each one kept, a power of two.
    every: u64,
    /// Points recorded.
    recorded: u64,
    /// Sum and number of all finite values.
    sum: f64,
    finite: u64,
}

impl Series {
    fn of(point: (u64, f64)) -> Self {
        let points = Vec::with_capacity(MAX_POINTS + 1);
        let mut series = Self { points, every: 1, recorded: 0, sum: 0.0, finite: 0 };
        series.push(point);
        series
    }

    fn push(&mut self, point: (u64, f64)) {
        // The latest point is kept until the next one, whether its turn it is or not.
        if self.recorded > 0 && !(self.recorded - 1).is_multiple_of(self.every) {
            self.points.pop();
        }
        self.points.push(point);
        self.recorded += 1;
        if point.1.is_finite() {
            self.sum += point.1;
            self.finite += 1;
        }
        if self.points.len() > MAX_POINTS {
            self.every *= 2;
            let last = self.points.len() - 1;
            let mut at = 0;
            self.points.retain(|_| {
                at += 1;
                (at - 1) % 2 == 0 || at - 1 == last
            });
        }
    }
}

/// The open `metrics.jsonl` of a run.
#[derive(Debug)]
pub struct MetricsLog {
    file: OutputFile,
    path: PathBuf,
}

impl MetricsLog {
    /// Opens the log of a run and returns the metrics that are already in it.
    ///
    /// With `resume_at` the run resumes after that step: later lines are removed, as is a last line that a crash left
    /// unfinished, so that the file holds one consistent history. Without it the run is new.
    ///
    /// # Errors
    /// A new run whose file already holds lines; a broken line that is not the last; an I/O error.
    pub fn open(path: &Path, resume_at: Option<u64>) -> io::Result<(Self, History)> {
        let is_empty = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
        let history = match resume_at {
            _ if is_empty => History::default(),
            Some(step) => cut_after(path, step)?,
            None => {
                let message = "holds another run's metrics; resume that run or name a new directory";
                return Err(at(path)(io::Error::new(ErrorKind::AlreadyExists, message)));
            }
        };
        let log = Self { file: OutputFile::append(path).map_err(at(path))?, path: path.into() };
        Ok((log, history))
    }

    /// Appends one line and hands it to the operating system at once, so that a crash loses at most this line.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(at(&self.path))
    }
}

impl History {
    /// Reads the metrics of a run, tolerating an unfinished last line.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut history = Self::default();
        for_each_line(path, |_, record| {
            history.push(&record);
            Ok(())
        })?;
        Ok(history)
    }

    /// Adds the metrics of one update.
    pub fn push(&mut self, record: &Record) {
        for (name, &value) in &record.metrics {
            self.non_finite += u64::from(!value.is_finite());
            match self.series.get_mut(name) {
                Some(series) => series.push((record.step, value)),
                None => {
                    self.series.insert(name.clone(), Series::of((record.step, value)));
                }
            }
        }
        self.updates += 1;
        self.last_step = Some(record.step);
        self.elapsed = record.time;
    }

    /// The (step, value) pairs of a metric; empty if it was never recorded.
    pub fn series(&self, name: &str) -> &[(u64, f64)] {
        self.series.get(name).map_or(&[], |series| &series.points)
    }

    /// Names of all metrics, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// Latest finite value of a metric.
    pub fn latest(&self, name: &str) -> Option<f64> {
        let values = self.series(name).iter().rev().map(|&(_, value)| value);
        values.into_iter().find(|value| value.is_finite())
    }

    /// Mean of a metric's finite values.
    pub fn mean(&self, name: &str) -> Option<f64> {
        let series = self.series.get(name).filter(|series| series.finite > 0)?;
        Some(series.sum / series.finite as f64)
    }

    /// Number of updates.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Step of the last update.
    pub fn last_step(&self) -> Option<u64> {
        self.last_step
    }

    /// Seconds from the run's start to its last update.
    pub fn elapsed(&self) -> f64 {
        self.elapsed
    }

    /// Number of values that were not finite.
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }
}

/// Rewrites the file without the lines after `step`.
fn cut_after(path: &Path, step: u64) -> io::Result<History> {
    let mut history = History::default();
    let mut kept = AtomicFile::create(path)?;
    for_each_line(path, |line, record| {
        if record.step <= step {
            history.push(&record);
            kept.write_all(line.trim_ascii()).and_then(|()| kept.write_all(b"\n")).map_err(at(path))?;
        }
        Ok(())
    })?;
    kept.commit()?;
    Ok(history)
}

/// True if a lower value of a metric is better, as of a loss.
pub fn lower_is_better(metric: &str) -> bool {
    ["nll", "loss", "perplexity", "bits_per_byte", "error"].iter().any(|part| metric.contains(part))
}

/// Reads all metrics of a run; an unfinished last line is left out.
///
/// # Errors
/// A file that is missing, or a broken line that is not the last.
pub fn read_metrics(path: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for_each_line(path, |_, record| {
        records.push(record);
        Ok(())
    })?;
    Ok(records)
}

/// Passes each line to `visit`, as bytes and as a record; an unfinished last line of a crash is skipped.
fn for_each_line(path: &Path, mut visit: impl FnMut(&[u8], Record) -> io::Result<()>) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path).map_err(at(path))?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(at(path))? == 0 {
            break;
        }
        match parse(&line) {
            Ok(record) => visit(&line, record)?,
            Err(_) if reader.fill_buf().map_err(at(path))?.is_empty() => break,
            Err(error) => {
                let message = format!(
                    "{}:{number}: not a line of metrics ({error}); each is a JSON object with step, time and numbers",
                    path.display()
                );
                return Err(io::Error::new(ErrorKind::InvalidData, message));
            }
        }
    }
    Ok(())
}

fn parse(line: &[u8]) -> serde_json::Result<Record> {
    #[derive(Deserialize)]
    struct Line {
        step: u64,
        time: f64,
        #[serde(flatten)]
        metrics: BTreeMap<String, Option<f64>>,
    }
    let line: Line = serde_json::from_slice(line)?;
    let metrics = line.metrics.into_iter();
    Ok(Record {
        step: line.step,
        time: line.time,
        metrics: metrics.map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64, kl: f64) -> Record {
        Record { step, time: step as f64 / 2.0, metrics: [("objective/kl".to_string(), kl)].into() }
    }

    fn log_of(steps: std::ops::RangeInclusive<u64>) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let (mut log, _) = MetricsLog::open(&path, None).unwrap();
        for step in steps {
            log.append(&record(step, 0.25)).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn a_long_history_takes_bounded_memory_and_keeps_its_ends() {
        let mut history = History::default();
        for step in 1..=100_000 {
            let metrics = BTreeMap::from([("a".to_string(), step as f64)]);
            history.push(&Record { step, time: 0.0, metrics });
        }
        let series = history.series("a");
        assert!((MAX_POINTS / 2..=MAX_POINTS).contains(&series.len()), "{}", series.len());
        assert_eq!((series[0], series[series.len() - 1]), ((1, 1.0), (100_000, 100_000.0)));
        assert!(series.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[1].0 - pair[0].0 <= 64));
        assert_eq!((history.mean("a"), history.updates()), (Some(50_000.5), 100_000));
    }

    #[test]
    fn a_line_is_flat_json_and_what_is_not_finite_is_null() {
        let line = |kl| serde_json::to_string(&record(7, kl)).unwrap();
        assert_eq!(line(0.25), r#"{"step":7,"time":3.5,"objective/kl":0.25}"#);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(line(value), r#"{"step":7,"time":3.5,"objective/kl":null}"#);
        }
        let read = parse(line(f64::NAN).as_bytes()).unwrap();
        assert!(read.metrics["objective/kl"].is_nan());
    }

    #[test]
    fn resuming_cuts_off_what_came_later() {
        let (_dir, path) = log_of(1..=5);
        let (mut log, history) = MetricsLog::open(&path, Some(3)).unwrap();
        assert_eq!((history.last_step(), history.elapsed()), (Some(3), 1.5));
        log.append(&record(4, f64::NAN)).unwrap();
        let history = History::read(&path).unwrap();
        let steps: Vec<u64> = history.series("objective/kl").iter().map(|point| point.0).collect();
        assert_eq!(steps, [1, 2, 3, 4]);
        assert_eq!((history.non_finite(), history.updates()), (1, 4));
        assert_eq!((history.latest("objective/kl"), history.mean("objective/kl")), (Some(0.25), Some(0.25)));
    }

    #[test]
    fn every_place_where_a_crash_can_cut_the_last_line_leaves_a_readable_log() {
        let (_dir, path) = log_of(1..=2);
        let whole = std::fs::read(&path).unwrap();
        let first_line = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for length in first_line..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (mut log, history) = MetricsLog::open(&path, Some(2)).unwrap();
            // A line that lacks only its line break is complete.
            let whole_lines = if length == whole.len() - 1 { 2 } else { 1 };
            assert_eq!(history.updates(), whole_lines, "cut at byte {length}");
            log.append(&record(3, 0.5)).unwrap();
            assert_eq!(History::read(&path).unwrap().updates(), whole_lines + 1);
        }
    }

    #[test]
    fn a_broken_line_inside_the_log_is_named() {
        let (_dir, path) = log_of(1..=1);
        let line = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{line}oops\n{line}")).unwrap();
        let error = MetricsLog::open(&path, Some(9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("metrics.jsonl:2:"), "{error}");
    }

    #[test]
    fn a_new_run_does_not_write_into_an_old_one() {
        let (_dir, path) = log_of(1..=1);
        let error = MetricsLog::open(&path, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("metrics.jsonl"), "{error}");
    }
}
