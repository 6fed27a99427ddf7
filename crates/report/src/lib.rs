//! Monitoring of a training run: metrics on disk, TensorBoard, plots, the report, the terminal.
//!
//! An [`Observer`] receives the metrics of each update, and at the end the results of the run. It writes into the run's
//! directory:
//!
//! | file | what |
//! |---|---|
//! | `metrics.jsonl` | one JSON object for each update; the source of everything else |
//! | `tensorboard/events.out.tfevents.*` | the same for TensorBoard |
//! | `plots/*.svg`, `plots/metrics/*.svg` | the learning curve, and a figure for each group of metrics |
//! | `report.html` | all of it on one page |
//!
//! This module knows no models, no learners and no tensors: its inputs are numbers by name, and episodes.
//!
//! ```no_run
//! use palestra_report::{Observer, Options, Report};
//! # fn main() -> std::io::Result<()> {
//! let options = Options { updates: 100, ..Options::default() };
//! let mut observer = Observer::create("runs/first".as_ref(), options)?;
//! for step in 1..=100 {
//!     let metrics = [("episode/return_mean".to_string(), step as f64)].into();
//!     observer.update(step, &metrics)?;
//! }
//! let report = observer.finish(Report { title: "First run".into(), ..Report::default() })?;
//! println!("{}", report.display());
//! # Ok(())
//! # }
//! ```

mod axis;
mod bars;
mod figures;
mod memory;
mod metrics;
mod plot;
mod progress;
mod replay;
mod report;
mod tensorboard;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use bars::{Bars, bars_svg};
pub use figures::figures;
pub use memory::peak_memory_bytes;
pub use metrics::{History, MetricsLog, Record, lower_is_better, read_metrics};
pub use plot::{Figure, Plot, Reference, Series};
pub use progress::{Display, FIGURES, Progress, sparkline};
pub use replay::{Playback, harmless, replay};
pub use report::{Report, Table, TextSample};
pub use tensorboard::EventWriter;

use palestra_files::write_atomically;

/// Metrics by their usual names, such as `policy/clipfrac_avg`.
pub type Metrics = BTreeMap<String, f64>;

/// Settings of an observer.
#[derive(Debug, Clone)]
pub struct Options {
    /// Total number of updates of the run.
    pub updates: u64,
    /// Step to resume after; `None` for a new run.
    pub resume_at: Option<u64>,
    /// Main metric of the run, which the learning curve shows.
    pub headline: String,
    /// True if a lower value of the headline metric is better, as for a loss.
    pub lower_is_better: bool,
    /// Reference values in the learning curve.
    pub references: Vec<Reference>,
    /// Display of the progress.
    pub display: Display,
    /// Minimum time between two lines of progress, if lines are shown.
    pub line_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            updates: 0,
            resume_at: None,
            headline: "episode/return_mean".into(),
            lower_is_better: false,
            references: vec![],
            display: Display::Auto,
            line_every: Duration::from_secs(10),
        }
    }
}

/// Records one run into the run's directory.
#[derive(Debug)]
pub struct Observer {
    dir: PathBuf,
    options: Options,
    history: History,
    log: MetricsLog,
    events: EventWriter,
    progress: Progress,
    clock: Instant,
    earlier: f64,
}

impl Observer {
    /// Starts to observe the run in `dir`, which is created if missing.
    ///
    /// With [`Options::resume_at`] the history up to that step is read back and later lines are removed.
    ///
    /// # Errors
    /// A new run in a directory that has metrics already; a broken metrics file; an I/O error. Every message names the
    /// file.
    pub fn create(dir: &Path, options: Options) -> io::Result<Self> {
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let (log, history) = MetricsLog::open(&dir.join("metrics.jsonl"), options.resume_at)?;
        let done = options.resume_at.unwrap_or(0);
        let tensorboard = dir.join("tensorboard");
        std::fs::create_dir_all(&tensorboard).map_err(at(&tensorboard))?;
        Ok(Self {
            dir: dir.into(),
            log,
            events: EventWriter::create(&tensorboard, options.resume_at)?,
            progress: Progress::new(
                options.display,
                options.updates,
                done,
                &options.headline,
                options.lower_is_better,
                options.line_every,
            ),
            earlier: history.elapsed(),
            history,
            options,
            clock: Instant::now(),
        })
    }

    /// Records the metrics of update number `step`; takes well under a millisecond.
    ///
    /// # Errors
    /// A step that does not come after the last one; a metric named `step` or `time`; an output error.
    pub fn update(&mut self, step: u64, metrics: &BTreeMap<String, f64>) -> io::Result<()> {
        let refused = |message| Err(io::Error::new(ErrorKind::InvalidInput, message));
        if let Some(last) = self.history.last_step().filter(|&last| last >= step) {
            return refused(format!("metrics of step {step} came after those of step {last}; steps must rise"));
        }
        if let Some(name) = ["step", "time"].iter().find(|&&name| metrics.contains_key(name)) {
            return refused(format!("a metric cannot be named {name:?}: every line of metrics has that field already"));
        }
        let record = Record { step, time: (self.elapsed() * 1e4).round() / 1e4, metrics: metrics.clone() };
        self.log.append(&record)?;
        self.events.scalars(step, metrics)?;
        self.history.push(&record);
        self.progress.update(&self.history);
        Ok(())
    }

    /// Draws the plots of the metrics so far.
    fn draw_plots(&self) -> io::Result<()> {
        for figure in self.figures() {
            write_atomically(&self.dir.join(&figure.file), figure.to_svg().as_bytes())?;
        }
        Ok(())
    }

    /// Ends the display, and writes the plots and the report as [`Self::write_report`] does.
    pub fn finish(mut self, report: Report) -> io::Result<PathBuf> {
        self.progress.finish(&self.history);
        self.write_report(report)
    }

    /// Draws the plots and writes `report.html`; returns its path. Takes a few milliseconds for each figure, so call it at
    /// checkpoints.
    ///
    /// `report` holds the run's own information; the observer adds its figures, times, throughput and peak memory.
    pub fn write_report(&self, mut report: Report) -> io::Result<PathBuf> {
        self.draw_plots()?;
        report.figures.splice(0..0, self.figures());
        report.resources.splice(0..0, self.resources());
        let path = self.dir.join("report.html");
        write_atomically(&path, report.render().as_bytes())?;
        Ok(path)
    }

    /// Does something beside learning after an update, such as `evaluating`, and shows that.
    pub fn during<T>(&mut self, what: &str, update: u64, work: impl FnOnce() -> T) -> T {
        self.progress.does(what, update);
        let result = work();
        self.progress.goes_on();
        result
    }

    /// Writes a line to the terminal without breaking the progress bar; silent if the display is.
    pub fn say(&self, line: &str) {
        self.progress.say(line);
    }

    /// All metrics so far, earlier sessions of a resumed run included.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Seconds that the run has taken so far, without the time that it was stopped.
    pub fn elapsed(&self) -> f64 {
        self.earlier + self.clock.elapsed().as_secs_f64()
    }

    fn figures(&self) -> Vec<Figure> {
        figures(&self.history, &self.options.headline, &self.options.references)
    }

    fn resources(&self) -> Vec<(String, String)> {
        let (updates, elapsed) = (self.history.updates(), self.history.elapsed());
        let mut rows = vec![
            ("Updates".to_string(), updates.to_string()),
            ("Wall time".into(), palestra_display::duration(elapsed)),
        ];
        if updates > 0 {
            rows.push((
                "Time per update".into(),
                format!("{} s", palestra_display::significant(elapsed / updates as f64)),
            ));
        }
        for name in self.history.names().filter(|name| name.starts_with("throughput/")) {
            if let Some(mean) = self.history.mean(name) {
                let name = name["throughput/".len()..].replace('_', " ");
                rows.push((format!("Mean {name}"), palestra_display::significant(mean)));
            }
        }
        if let Some(bytes) = peak_memory_bytes() {
            rows.push(("Peak memory of the last session".into(), palestra_display::bytes(bytes)));
        }
        if self.history.non_finite() > 0 {
            rows.push(("Values that were not finite".into(), self.history.non_finite().to_string()));
        }
        rows
    }
}

/// Adds the path to an error and keeps its kind.
fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(resume_at: Option<u64>) -> Options {
        Options { updates: 4, resume_at, display: Display::Quiet, ..Options::default() }
    }

    fn metrics(value: f64) -> BTreeMap<String, f64> {
        [("episode/return_mean", value), ("objective/kl", value / 8.0), ("throughput/tokens_per_second", 500.0)]
            .map(|(name, value)| (name.to_string(), value))
            .into()
    }

    #[test]
    fn a_run_leaves_metrics_plots_and_a_report() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("runs/first");
        let mut observer = Observer::create(&run, options(None)).unwrap();
        for step in 1..=4 {
            observer.update(step, &metrics(step as f64)).unwrap();
        }
        let report = Report { title: "Learns to count".into(), ..Report::default() };
        let html = std::fs::read_to_string(observer.finish(report).unwrap()).unwrap();
        assert!(html.contains("Learns to count") && html.contains("Mean tokens per second"));
        assert_eq!(html.matches("<svg").count(), 4);
        for file in ["metrics.jsonl", "plots/return.svg", "plots/metrics/objective.svg"] {
            assert!(std::fs::metadata(run.join(file)).unwrap().len() > 0, "{file}");
        }
        assert!(!walk(&run).iter().any(|name| palestra_files::is_temporary(Path::new(name))));
    }

    #[test]
    fn a_resumed_run_has_the_history_of_an_uninterrupted_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path, None).unwrap().0;
        for step in 1..=3 {
            let (time, metrics) = (step as f64 * 100.0, metrics(step as f64));
            let record = Record { step, time, metrics };
            log.append(&record).unwrap();
        }
        let mut second = Observer::create(dir.path(), options(Some(2))).unwrap();
        for step in 3..=4 {
            second.update(step, &metrics(step as f64)).unwrap();
        }
        let expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)];
        assert_eq!(second.history().series("episode/return_mean"), expected);
        let read = History::read(&path).unwrap();
        assert_eq!(read.series("episode/return_mean"), expected);
        let elapsed = second.history().elapsed();
        assert!((200.0..300.0).contains(&elapsed), "the clock goes on from step 2: {elapsed}");
    }

    #[test]
    fn steps_must_rise_and_reserved_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut observer = Observer::create(dir.path(), options(None)).unwrap();
        observer.update(2, &metrics(1.0)).unwrap();
        let message = observer.update(2, &metrics(1.0)).unwrap_err().to_string();
        assert!(message.contains("step 2"), "{message}");
        let message = observer.update(3, &[("time".to_string(), 1.0)].into()).unwrap_err().to_string();
        assert!(message.contains("\"time\""), "{message}");
    }

    #[test]
    fn an_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("taken");
        std::fs::write(&file, "").unwrap();
        let error = Observer::create(&file, options(None)).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
    }

    fn walk(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let inside = |path: PathBuf| {
            if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }
        };
        entries.flat_map(inside).collect()
    }
}
