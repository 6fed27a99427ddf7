//! Terminal output while a run trains. Everything goes to standard error.

use std::io::IsTerminal;
use std::io::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::metrics::History;
use super::replay::harmless;

/// Display of progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Display {
    /// A bar if standard error is a terminal, otherwise lines.
    #[default]
    Auto,
    /// One live bar with the run's figures.
    Bar,
    /// One plain line from time to time.
    Lines,
    /// No output.
    Quiet,
}

/// One figure of the display: its label, and the metric whose latest value it shows.
pub type Figure = (&'static str, &'static str);

/// Figures that are shown if the run records them; of several with one label, the first.
pub const FIGURES: [Figure; 17] = [
    ("loss", "loss/nll"),
    ("loss", "loss/dpo"),
    ("loss", "loss/kto"),
    ("loss", "loss/reward_model"),
    ("loss", "loss/policy_avg"),
    ("loss", "loss/policy"),
    ("loss", "loss/q"),
    ("accuracy", "rewards/accuracies"),
    ("margin", "rewards/margins"),
    ("KL", "objective/kl"),
    ("entropy", "policy/entropy_avg"),
    ("entropy", "objective/entropy"),
    ("turns/s", "throughput/turns_per_second"),
    ("tokens/s", "throughput/tokens_per_second"),
    ("tokens/s", "throughput/update_tokens_per_second"),
    ("lr", "optimizer/learning_rate"),
    ("epoch", "data/epoch"),
];

/// The live display of one run.
#[derive(Debug)]
pub struct Progress {
    kind: Kind,
    total: u64,
    headline: String,
    lower_is_better: bool,
    shown: Option<Instant>,
    /// Time at which a line last said what the run does beside learning.
    told: Option<Instant>,
    started: (Instant, u64),
}

#[derive(Debug)]
enum Kind {
    Bar(ProgressBar),
    Lines { every: Duration },
    Quiet,
}

/// Minimum time between redraws of a bar; drawing takes longer than a small update.
const REDRAW: Duration = Duration::from_millis(100);
const SPARKLINE: usize = 32;

impl Progress {
    /// A display that starts after `done` of `total` updates, with at least `every` between two lines.
    pub fn new(
        display: Display,
        total: u64,
        done: u64,
        headline: &str,
        lower_is_better: bool,
        every: Duration,
    ) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let kind = match display {
            Display::Quiet => Kind::Quiet,
            Display::Lines => Kind::Lines { every },
            Display::Auto if !is_terminal => Kind::Lines { every },
            Display::Auto | Display::Bar => Kind::Bar(bar(total, done)),
        };
        Self {
            kind,
            total,
            headline: headline.into(),
            lower_is_better,
            shown: None,
            told: None,
            started: (Instant::now(), done),
        }
    }

    /// Shows what the run does beside learning, such as `evaluating`, until [`Progress::goes_on`]. Lines say it no more
    /// often than the figures.
    pub fn does(&mut self, what: &str, update: u64) {
        match &self.kind {
            Kind::Bar(bar) => bar.set_prefix(format!("  {what}")),
            Kind::Lines { every } if self.told.is_none_or(|told| told.elapsed() >= *every) => {
                self.told = Some(Instant::now());
                tell(&format!("update {update}/{}  {what}", self.total));
            }
            Kind::Lines { .. } | Kind::Quiet => {}
        }
    }

    /// Shows that the run learns again.
    pub fn goes_on(&self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.set_prefix("");
        }
    }

    /// Shows the state after the last update of `history`.
    pub fn update(&mut self, history: &History) {
        let since = self.shown.map(|shown| shown.elapsed());
        let wait = match &self.kind {
            Kind::Quiet => return,
            Kind::Lines { every } => *every,
            Kind::Bar(_) => REDRAW,
        };
        if since.is_none_or(|since| since >= wait) {
            self.show(history);
        }
    }

    /// Shows the final state, which stays on the terminal.
    pub fn finish(&mut self, history: &History) {
        self.show(history);
        if let Kind::Bar(bar) = &self.kind {
            bar.abandon();
        }
    }

    /// Writes a line above the bar, or as a line among the others.
    pub fn say(&self, line: &str) {
        match &self.kind {
            Kind::Bar(bar) => bar.suspend(|| tell(&harmless(line))),
            Kind::Lines { .. } => tell(&harmless(line)),
            Kind::Quiet => {}
        }
    }

    fn show(&mut self, history: &History) {
        self.shown = Some(Instant::now());
        let step = history.last_step().unwrap_or(0);
        let figures = figures(history, &self.headline, self.lower_is_better);
        match &self.kind {
            Kind::Quiet => {}
            Kind::Bar(bar) => {
                bar.set_position(step);
                bar.set_message(format!("{}\n{figures}", curve(history, &self.headline)));
            }
            Kind::Lines { .. } => {
                let (started, done) = self.started;
                let left = remaining(
                    started.elapsed().as_secs_f64(),
                    step - done.min(step),
                    self.total - step.min(self.total),
                );
                let left = left.map_or(String::new(), |left| format!("  {} left", palestra_display::duration(left)));
                tell(&format!("update {step}/{}  {figures}{left}", self.total));
            }
        }
    }
}

/// Writes a line to standard error. Nobody may read it any more, which ends no run; `eprintln!` would panic.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn bar(total: u64, done: u64) -> ProgressBar {
    let template = "{bar:32.cyan/238} {pos}/{len} updates  {elapsed} elapsed, {eta} left{prefix:.yellow}\n{msg}";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let bar = ProgressBar::new(total).with_position(done);
    bar.set_style(style.progress_chars("━╸─"));
    // The remaining time is estimated from the speed of this session: a resumed run did its first updates in another
    // one.
    bar.reset_eta();
    bar
}

/// Estimated seconds until `left` updates are done, if `done` took `seconds`.
fn remaining(seconds: f64, done: u64, left: u64) -> Option<f64> {
    (done > 0 && left > 0).then(|| seconds / done as f64 * left as f64)
}

/// The course of the headline metric over the whole run, as a sparkline with its range.
fn curve(history: &History, headline: &str) -> String {
    let values: Vec<f64> = history.series(headline).iter().map(|&(_, value)| value).collect();
    let name = headline.rsplit('/').next().unwrap_or(headline);
    format!("{} {name}", sparkline(&values, SPARKLINE))
}

/// The latest figures on one line, such as `return_mean 3.2 (best 4.1)  KL 0.031`.
fn figures(history: &History, headline: &str, lower_is_better: bool) -> String {
    let mut parts = Vec::new();
    if let Some(latest) = history.latest(headline) {
        let name = headline.rsplit('/').next().unwrap_or(headline);
        let values = history.series(headline).iter().map(|&(_, value)| value);
        let values = values.filter(|value| value.is_finite());
        let best = if lower_is_better { values.fold(latest, f64::min) } else { values.fold(latest, f64::max) };
        parts.push(format!(
            "{name} {} (best {})",
            palestra_display::significant(latest),
            palestra_display::significant(best)
        ));
    }
    let mut labels = Vec::new();
    for (label, metric) in FIGURES {
        let Some(&(_, value)) = history.series(metric).last() else {
            continue;
        };
        if metric != headline && !labels.contains(&label) {
            labels.push(label);
            parts.push(format!("{label} {}", palestra_display::significant(value)));
        }
    }
    if history.non_finite() > 0 {
        parts.push(format!("not finite {}", history.non_finite()));
    }
    harmless(&parts.join("  "))
}

/// Curve in one line of text of at most `width` characters; each shows the mean of its share of the values.
pub fn sparkline(values: &[f64], width: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let size = values.len().div_ceil(width.max(1)).max(1);
    let mean = |chunk: &[f64]| {
        let (sum, count) = chunk
            .iter()
            .filter(|value| value.is_finite())
            .fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
        if count > 0 { sum / f64::from(count) } else { f64::NAN }
    };
    let means: Vec<f64> = values.chunks(size).map(mean).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |&mean: &f64| match (mean - low) / (high - low) {
        _ if mean.is_nan() => ' ',
        share if share.is_nan() => LEVELS[3], // a constant
        share => LEVELS[(share * 7.0).round() as usize],
    };
    means.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn history(updates: &[(&str, f64)]) -> History {
        let mut history = History::default();
        for (step, &(name, value)) in updates.iter().enumerate() {
            history.push(&Record { step: step as u64 + 1, time: 0.0, metrics: [(name.to_string(), value)].into() });
        }
        history
    }

    #[test]
    fn a_sparkline_rises_with_its_values() {
        assert_eq!(sparkline(&[0.0, 1.0, f64::NAN, 7.0], 8), "▁▂ █");
        assert_eq!(sparkline(&[2.0, 2.0], 8), "▄▄");
        assert_eq!(sparkline(&[], 8), "");
        assert_eq!(sparkline(&[f64::NAN], 8), " ");
        let long: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(sparkline(&long, 8), "▁▂▃▄▅▆▇█");
    }

    #[test]
    fn the_figures_name_latest_and_best() {
        let history = history(&[
            ("episode/return_mean", 4.0),
            ("episode/return_mean", 3.0),
            ("episode/return_mean", f64::NAN),
            ("objective/kl", 0.0312),
            ("objective/entropy", 1.5),
            ("policy/entropy_avg", 1.25),
        ]);
        assert_eq!(
            figures(&history, "episode/return_mean", false),
            "return_mean 3 (best 4)  KL 0.0312  entropy 1.25  not finite 1"
        );
        assert_eq!(figures(&history, "objective/kl", true), "kl 0.0312 (best 0.0312)  entropy 1.25  not finite 1");
    }

    #[test]
    fn the_time_left_follows_from_the_speed() {
        assert_eq!(remaining(10.0, 5, 20), Some(40.0));
        assert_eq!((remaining(10.0, 0, 20), remaining(10.0, 5, 0)), (None, None));
    }
}
