//! Comparison of runs: groups of runs that differ by their seeds alone, their curves with bands, and how sure their order
//! is. Reads run directories; knows no models.
//!
//! The statistics are those of [Agarwal et al. 2021](https://arxiv.org/abs/2108.13264): interquartile means and
//! probabilities of improvement, with intervals by bootstrap over the runs of a group.

mod statistics;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use palestra_report::{Figure, Plot, Record, Report, Series, Table, lower_is_better, read_metrics};
use serde::Serialize;

use crate::run_dir::RunDir;
use crate::{Error, Result};
use palestra_display::significant;
pub use statistics::{Interval, interquartile_mean, mean, probability_of_improvement};
use statistics::{bootstrap, bootstrap_pair};

/// Metrics that a run is judged by, the first that it has.
const HEADLINES: [&str; 5] =
    ["episode/return_mean", "evaluation/return_mean", "validation/mean_nll", "rewards/accuracies", "loss/policy"];
/// Keys that two runs of a group may differ in.
const NO_DIFFERENCE: [&str; 3] = ["seed", "name", "train.threads"];
/// Points of a curve.
const POINTS: usize = 160;

/// A run to compare.
struct Run {
    path: PathBuf,
    /// Values of its configuration by dotted key, without those that it does not have.
    settings: BTreeMap<String, String>,
    records: Vec<Record>,
}

/// Advice for a group of a single run.
const ONE_RUN: &str =
    "a group of one run has no interval: train it with other seeds too, such as --set seed=2 --out runs/NAME-2";

/// Runs that differ by their seeds alone.
#[derive(Debug, Serialize)]
pub struct Group {
    /// Settings of the group that the others do not have, such as `ppo.epochs = 2`.
    pub label: String,
    /// Directories of its runs.
    pub runs: Vec<PathBuf>,
    /// Score of each run: the mean of the metric over the last tenth of its updates.
    pub scores: Vec<f64>,
    /// Mean of the scores, with its 95 % interval.
    pub mean: Interval,
    /// Interquartile mean of the scores, with its 95 % interval.
    pub interquartile_mean: Interval,
    /// Probability that a run of this group is better than one of the first group, with its 95 % interval.
    pub better_than_first: Option<Interval>,
    #[serde(skip)]
    curve: Series,
}

/// Runs, compared by a metric.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Metric that they are compared by.
    pub metric: String,
    /// True if a lower value is better.
    pub lower_is_better: bool,
    /// Groups, the best first.
    pub groups: Vec<Group>,
    /// Keys in which the runs differ, each with its value in each group.
    pub differences: BTreeMap<String, Vec<String>>,
    /// Runs that have not made all of their updates, with how far they came. Their scores are those of their last updates.
    pub unfinished: Vec<String>,
}

impl Comparison {
    /// Compares runs by a metric; by the first of the usual ones that all have, if none is named. `by` names the keys that
    /// make the groups; without any, all keys in which the runs differ do.
    ///
    /// # Errors
    /// A directory that is no run, a run without metrics, a metric that a run does not have.
    pub fn of(paths: &[PathBuf], metric: Option<&str>, by: &[String]) -> Result<Self> {
        let runs = paths.iter().map(|path| Run::open(path)).collect::<Result<Vec<_>>>()?;
        let metric = metric_of(&runs, metric)?;
        let lower_is_better = lower_is_better(&metric);
        let differing = differing(&runs);
        if let Some(unknown) = by.iter().find(|key| runs.iter().all(|run| !run.settings.contains_key(*key))) {
            return Err(Error::Config(format!(
                "--by {unknown}: no run has this key; those that differ: {}",
                list(&differing)
            )));
        }
        let keys: BTreeSet<String> = if by.is_empty() { differing.clone() } else { by.iter().cloned().collect() };
        let mut members: BTreeMap<Vec<String>, Vec<&Run>> = BTreeMap::new();
        for run in &runs {
            members.entry(keys.iter().map(|key| run.value(key)).collect()).or_default().push(run);
        }
        let mut groups: Vec<(Vec<String>, Group)> = members
            .into_iter()
            .map(|(values, runs)| {
                let pairs = keys.iter().zip(&values).map(|(key, value)| format!("{key} = {value}"));
                let label = if keys.is_empty() { runs[0].value("name") } else { pairs.collect::<Vec<_>>().join(", ") };
                (values, Group::of(label, &runs, &metric))
            })
            .collect();
        let sign = if lower_is_better { 1.0 } else { -1.0 };
        groups.sort_by(|left, right| (sign * left.1.mean.value).total_cmp(&(sign * right.1.mean.value)));
        let shown = |at: usize| groups.iter().map(|(values, _)| values[at].clone()).collect();
        let differences = keys.iter().enumerate().map(|(at, key)| (key.clone(), shown(at))).collect();
        let mut groups: Vec<Group> = groups.into_iter().map(|(_, group)| group).collect();
        if let Some((first, others)) = groups.split_first_mut() {
            for other in others {
                other.better_than_first = Some(bootstrap_pair(&other.scores, &first.scores, |ours, theirs| {
                    let better = probability_of_improvement(ours, theirs);
                    if lower_is_better { 1.0 - better } else { better }
                }));
            }
        }
        let unfinished = runs.iter().filter_map(Run::unfinished).collect();
        Ok(Self { metric, lower_is_better, groups, differences, unfinished })
    }

    /// The comparison as one page, which loads nothing from elsewhere.
    pub fn page(&self) -> String {
        let better = if self.lower_is_better { "lower is better" } else { "higher is better" };
        let runs: usize = self.groups.iter().map(|group| group.runs.len()).sum();
        let plot = Plot {
            title: format!("{} ({better}): mean and 95 % interval over seeds", self.metric),
            across: "update".into(),
            series: self.groups.iter().map(|group| group.curve.clone()).collect(),
            references: Vec::new(),
        };
        let differences = self.differences.iter().map(|(key, values)| (key.clone(), values.join(" | ")));
        let unfinished = self.unfinished.iter().map(|run| ("unfinished".to_string(), run.clone()));
        let one = self.groups.iter().any(|group| group.runs.len() == 1).then(|| ("intervals".into(), ONE_RUN.into()));
        Report {
            title: format!("Comparison of {runs} runs by {}", self.metric),
            summary: differences.chain(unfinished).chain(one).collect(),
            comparison: self.table(),
            figures: vec![Figure { title: self.metric.clone(), plots: vec![plot], ..Figure::default() }],
            ..Report::default()
        }
        .render()
    }

    /// A row for each group.
    fn table(&self) -> Table {
        let header = ["group", "runs", "mean (95 %)", "interquartile mean (95 %)", "P(better than the first) (95 %)"];
        let shown = |interval: &Interval| {
            let [value, low, high] = [interval.value, interval.low, interval.high].map(significant);
            if interval.is_known() { format!("{value} ({low} to {high})") } else { value }
        };
        let share = |interval: &Interval| match interval {
            Interval { value, low, high } if interval.is_known() => format!("{value:.2} ({low:.2} to {high:.2})"),
            _ => "-".to_string(),
        };
        let row = |group: &Group| {
            vec![
                group.label.clone(),
                group.runs.len().to_string(),
                shown(&group.mean),
                shown(&group.interquartile_mean),
                group.better_than_first.as_ref().map_or_else(String::new, share),
            ]
        };
        Table { header: header.map(String::from).into(), rows: self.groups.iter().map(row).collect(), marked: Some(0) }
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Table { header, rows, .. } = self.table();
        let all: Vec<&Vec<String>> = std::iter::once(&header).chain(&rows).collect();
        let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        write!(f, "{}", self.metric)?;
        for row in all {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            write!(f, "\n{}", cells.join("  ").trim_end())?;
        }
        for run in &self.unfinished {
            write!(f, "\nunfinished: {run}")?;
        }
        match self.groups.iter().any(|group| group.runs.len() == 1) {
            true => write!(f, "\n{ONE_RUN}"),
            false => Ok(()),
        }
    }
}

impl Run {
    fn open(path: &Path) -> Result<Self> {
        let dir = RunDir::open(path)?;
        let file = dir.run_file();
        let text = std::fs::read_to_string(&file).map_err(Error::io(&file))?;
        let table: toml::Table = text.parse().map_err(|error| Error::Config(format!("{}: {error}", file.display())))?;
        let mut settings = BTreeMap::new();
        flatten("", &toml::Value::Table(table), &mut settings);
        let records = read_metrics(&dir.metrics()).map_err(Error::io(path))?;
        if records.is_empty() {
            return Err(Error::Data(format!("{}: has no metrics yet", path.display())));
        }
        Ok(Self { path: path.to_path_buf(), settings, records })
    }

    /// Updates that the run has made, in words, if it has not made all of its updates.
    fn unfinished(&self) -> Option<String> {
        let updates: u64 = self.settings.get("train.updates")?.parse().ok()?;
        let done = self.records.last()?.step;
        (done < updates).then(|| format!("{} has {done} of {updates} updates", self.path.display()))
    }

    fn value(&self, key: &str) -> String {
        self.settings.get(key).cloned().unwrap_or_else(|| "absent".into())
    }

    fn has(&self, metric: &str) -> bool {
        self.records.iter().any(|record| record.metrics.contains_key(metric))
    }

    /// The (update, value) pairs of a metric that are finite.
    fn points(&self, metric: &str) -> Vec<(u64, f64)> {
        let value =
            |record: &Record| Some((record.step, *record.metrics.get(metric).filter(|value| value.is_finite())?));
        self.records.iter().filter_map(value).collect()
    }
}

impl Group {
    fn of(label: String, runs: &[&Run], metric: &str) -> Self {
        let curves: Vec<Vec<(u64, f64)>> = runs.iter().map(|run| run.points(metric)).collect();
        let score = |points: &Vec<(u64, f64)>| {
            let last = &points[points.len() - points.len().div_ceil(10)..];
            mean(&last.iter().map(|point| point.1).collect::<Vec<_>>())
        };
        let scores: Vec<f64> = curves.iter().filter(|points| !points.is_empty()).map(score).collect();
        Self {
            curve: curve(&label, &curves),
            runs: runs.iter().map(|run| run.path.clone()).collect(),
            mean: bootstrap(&scores, mean),
            interquartile_mean: bootstrap(&scores, interquartile_mean),
            better_than_first: None,
            scores,
            label,
        }
    }
}

/// Mean of several curves over the updates that all of them have, with 95 % intervals.
fn curve(label: &str, curves: &[Vec<(u64, f64)>]) -> Series {
    let maps: Vec<BTreeMap<u64, f64>> = curves.iter().map(|points| points.iter().copied().collect()).collect();
    let shared: Vec<u64> = maps
        .first()
        .map(|first| first.keys().copied().filter(|step| maps.iter().all(|map| map.contains_key(step))).collect())
        .unwrap_or_default();
    let mut series = Series { name: label.to_string(), ..Series::default() };
    for step in shared.iter().step_by(shared.len().div_ceil(POINTS).max(1)) {
        let values: Vec<f64> = maps.iter().map(|map| map[step]).collect();
        let Interval { value, low, high } = bootstrap(&values, mean);
        series.points.push((*step as f64, value));
        series.errors.push(if low.is_nan() { (0.0, 0.0) } else { (value - low, high - value) });
    }
    series
}

/// The named metric, or the first usual one that every run has.
fn metric_of(runs: &[Run], named: Option<&str>) -> Result<String> {
    let lacks = |metric: &str| runs.iter().find(|run| !run.has(metric));
    match named {
        Some(metric) => match lacks(metric) {
            None => Ok(metric.to_string()),
            Some(run) => {
                let names: BTreeSet<String> =
                    run.records.iter().flat_map(|record| record.metrics.keys().cloned()).collect();
                Err(Error::Config(format!("{}: has no metric {metric}; it has {}", run.path.display(), list(&names))))
            }
        },
        None => HEADLINES.into_iter().find(|metric| lacks(metric).is_none()).map(String::from).ok_or_else(|| {
            Error::Config(format!("--metric: the runs share none of {}; name one", HEADLINES.join(", ")))
        }),
    }
}

/// Keys that have several values among the runs, without those of a single run such as its seed.
fn differing(runs: &[Run]) -> BTreeSet<String> {
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let differs = |key: &&String| runs.iter().map(|run| run.value(key)).collect::<BTreeSet<_>>().len() > 1;
    let keys = keys.into_iter().filter(|key| !NO_DIFFERENCE.contains(&key.as_str()));
    keys.filter(differs).cloned().collect()
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// Leaves of a table by dotted key.
fn flatten(prefix: &str, value: &toml::Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, value, leaves);
            }
        }
        value => _ = leaves.insert(prefix.to_string(), value.to_string().trim_matches('"').to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path, name: &str, text: &str, values: &[f64]) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("run.toml"), text).unwrap();
        let line = |(at, value): (usize, &f64)| {
            format!("{{\"step\":{},\"time\":1.0,\"episode/return_mean\":{value}}}\n", at + 1)
        };
        let lines: String = values.iter().enumerate().map(line).collect();
        std::fs::write(path.join("metrics.jsonl"), lines).unwrap();
        path
    }

    #[test]
    fn runs_that_differ_by_their_seeds_are_a_group() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = [(1, 2, 0.1), (2, 2, 0.3), (1, 4, 0.6), (2, 4, 0.8)]
            .map(|(seed, epochs, level)| {
                let text = format!("name = 'r{seed}'\nseed = {seed}\n[ppo]\nepochs = {epochs}\n");
                run(folder.path(), &format!("{epochs}-{seed}"), &text, &[0.0, level / 2.0, level])
            })
            .into();
        let comparison = Comparison::of(&paths, None, &[]).unwrap();
        assert_eq!(comparison.metric, "episode/return_mean");
        let [best, other] = &comparison.groups[..] else { panic!("{comparison}") };
        assert_eq!((best.label.as_str(), best.scores.as_slice()), ("ppo.epochs = 4", &[0.6, 0.8][..]));
        assert_eq!(other.better_than_first.as_ref().unwrap().value, 0.0);
        assert!((best.mean.value - 0.7).abs() < 1e-12 && best.mean.low <= 0.7 && best.mean.high >= 0.7);
        assert_eq!(best.curve.points.len(), 3);
        let page = comparison.page();
        assert!(page.contains("ppo.epochs = 4") && page.contains("<svg"), "{page}");
        assert!(comparison.to_string().contains("ppo.epochs = 2"), "{comparison}");
    }

    #[test]
    fn groups_can_be_made_by_a_key_and_a_lower_loss_is_better() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str| format!("name = '{name}'\nseed = 1\n");
        let paths = [run(folder.path(), "a", &text("a"), &[1.0]), run(folder.path(), "b", &text("b"), &[2.0])];
        assert_eq!(Comparison::of(&paths, None, &[]).unwrap().groups.len(), 1);
        let by_name = Comparison::of(&paths, None, &["name".into()]).unwrap();
        let shown = by_name.to_string();
        assert!(
            shown.lines().nth(3).unwrap().ends_with("  -") && !shown.contains("(1"),
            "one run is no certainty: {shown}"
        );
        assert!(shown.ends_with(ONE_RUN) && by_name.page().contains("no interval"), "{shown}");
        assert_eq!(
            by_name.groups.iter().map(|group| group.label.as_str()).collect::<Vec<_>>(),
            ["name = b", "name = a"]
        );
        let told = Comparison::of(&paths, Some("loss/nll"), &[]).unwrap_err().to_string();
        assert!(told.ends_with("a: has no metric loss/nll; it has episode/return_mean"), "{told}");
        let told = Comparison::of(&paths, None, &["ppo.epochs".into()]).unwrap_err().to_string();
        assert!(told.starts_with("--by ppo.epochs: no run has this key"), "{told}");
    }
}
