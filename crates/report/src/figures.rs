//! Grouping of metrics into figures: the learning curve, and one figure for each group.

use std::collections::{BTreeMap, BTreeSet};

use super::metrics::History;
use super::plot::{Figure, Plot, Reference, Series};

/// The learning curve, which is the `headline` metric with its references, and a figure for each group of metrics. The
/// group is the part of a metric's name before the slash.
pub fn figures(history: &History, headline: &str, references: &[Reference]) -> Vec<Figure> {
    let title = stem(headline).0;
    let mut curve = plot_of(history, title);
    curve.references = references.to_vec();
    let short = title.rsplit('/').next().unwrap_or(title);
    let learning_curve =
        Figure { title: "Learning curve".into(), file: format!("plots/{}.svg", file_name(short)), plots: vec![curve] };

    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in history.names() {
        let group = name.split_once('/').map_or("other", |(group, _)| group);
        groups.entry(group).or_default().insert(stem(name).0);
    }
    let groups = groups.into_iter().map(|(group, titles)| Figure {
        title: group.into(),
        file: format!("plots/metrics/{}.svg", file_name(group)),
        plots: titles.into_iter().map(|title| plot_of(history, title)).collect(),
    });
    std::iter::once(learning_curve).chain(groups).collect()
}

/// The plot of a metric: `x_mean`, `x_min` and `x_max` are three series of one plot named `x`.
fn plot_of(history: &History, title: &str) -> Plot {
    let names: Vec<&str> = history.names().filter(|name| stem(name).0 == title).collect();
    let series = names.iter().map(|name| Series {
        name: stem(name).1.into(),
        points: history.series(name).iter().map(|&(update, value)| (update as f64, value)).collect(),
        errors: Vec::new(),
    });
    let mut series: Vec<Series> = series.collect();
    let title = if let [name] = names[..] { name } else { title };
    let order = |series: &Series| STATISTICS.iter().position(|name| *name == series.name);
    series.sort_by_key(order);
    Plot { title: title.into(), across: "update".into(), series, references: vec![] }
}

const STATISTICS: [&str; 4] = ["mean", "median", "min", "max"];

/// Splits `episode/return_mean` into `episode/return` and `mean`.
fn stem(name: &str) -> (&str, &str) {
    match name.rsplit_once('_') {
        Some((stem, statistic)) if STATISTICS.contains(&statistic) => (stem, statistic),
        _ => (name, name),
    }
}

fn file_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn history(metrics: &[&str]) -> History {
        let mut history = History::default();
        for step in 1..=3 {
            let metrics = metrics.iter().map(|name| (name.to_string(), step as f64));
            history.push(&Record { step, time: 0.0, metrics: metrics.collect() });
        }
        history
    }

    #[test]
    fn metrics_are_grouped_by_prefix_and_by_statistic() {
        let names = ["episode/return_max", "episode/return_mean", "objective/kl", "loss", "../x"];
        let figures = figures(&history(&names), "episode/return_mean", &[]);
        let files: Vec<&str> = figures.iter().map(|figure| figure.file.as_str()).collect();
        assert_eq!(
            files,
            [
                "plots/return.svg",
                "plots/metrics/__.svg",
                "plots/metrics/episode.svg",
                "plots/metrics/objective.svg",
                "plots/metrics/other.svg"
            ]
        );
        let names: Vec<&str> = figures[0].plots[0].series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["mean", "max"]);
        assert_eq!(figures[2].plots.len(), 1);
        assert_eq!((&*figures[2].plots[0].title, &*figures[3].plots[0].title), ("episode/return", "objective/kl"));
    }
}
