//! What a training run came to: for a program, for the terminal, and as a page.

use std::fmt;
use std::path::PathBuf;

use burn::module::Module;
use palestra_envs::Episode;
use palestra_envs::baseline::Baseline;
use serde::Serialize;

use crate::Result;
use crate::agent::{Agent, Evaluation};
use crate::observe::{Report, Table};
use crate::run_dir::RunDir;

/// What a training run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainReport {
    /// The directory that was written.
    pub run_dir: PathBuf,
    /// Updates done, those before a resumption included.
    pub updates: u64,
    /// Seconds from start to end, those before a resumption included.
    pub seconds: f64,
    /// The most memory that this process has held, in bytes, where the system tells it.
    pub peak_memory_bytes: Option<u64>,
    /// How it played before it learned.
    pub before: Baseline,
    /// How a random player plays; `None` where the environment lists no legal actions.
    pub random: Option<Baseline>,
    /// How the environment's scripted player plays; `None` where there is none.
    pub scripted: Option<Baseline>,
    /// How the finished model plays.
    pub evaluation: Evaluation,
}

/// What the report page shows.
pub(super) fn page(
    agent: &Agent,
    report: &TrainReport,
    frames: Vec<String>,
    episodes: Vec<Episode>,
    dir: &RunDir,
) -> Result<Report> {
    let Agent { run, policy, .. } = agent;
    let pair = |name: &str, value: String| (name.to_string(), value);
    let path = dir.path().display();
    let megabytes = report.peak_memory_bytes.map(|bytes| format!("{:.0} MB", bytes as f64 / 1e6));
    Ok(Report {
        title: format!("{}: PPO on {}", run.name, report.evaluation.env_id),
        summary: vec![
            pair("environment", report.evaluation.env_id.clone()),
            pair("model", format!("{} parameters", policy.num_params())),
            pair("updates", report.updates.to_string()),
            pair("seed", run.seed.to_string()),
            pair("device", run.device.clone()),
        ],
        comparison: report.comparison(),
        figures: Vec::new(),
        resources: megabytes.map(|megabytes| pair("peak memory", megabytes)).into_iter().collect(),
        frames,
        episodes,
        commands: vec![
            pair("Judge it again", format!("palestra evaluate {path} --episodes 1000")),
            pair("Watch it play", format!("palestra play {} --policy {path} --delay 0.2", report.evaluation.env_id)),
        ],
        config: run.to_toml()?,
    })
}

impl TrainReport {
    /// Random, untrained, trained, scripted and optimal play side by side.
    fn comparison(&self) -> Table {
        let numbers: Vec<&String> = self.evaluation.score.info.keys().collect();
        let mut header = ["player", "mean return", "+-", "turns"].map(str::to_string).to_vec();
        header.extend(numbers.iter().map(|name| name.to_string()));
        let row = |name: &str, score: &Baseline| {
            let mut row = vec![
                name.to_string(),
                format!("{:.4}", score.mean_return),
                format!("{:.4}", score.standard_error),
                format!("{:.1}", score.mean_turns),
            ];
            row.extend(numbers.iter().map(|&name| score.info.get(name).map_or(String::new(), |x| format!("{x:.3}"))));
            row
        };
        let mut rows: Vec<Vec<String>> = self.random.iter().map(|score| row("random", score)).collect();
        rows.push(row("before training", &self.before));
        rows.push(row("after training", &self.evaluation.score));
        let marked = Some(rows.len() - 1);
        rows.extend(self.scripted.iter().map(|score| row("scripted", score)));
        if let Some(optimum) = self.evaluation.optimal_return {
            let mut row = vec!["optimum".to_string(), format!("{optimum:.4}")];
            row.resize(header.len(), String::new());
            rows.push(row);
        }
        Table { header, rows, marked }
    }
}

impl fmt::Display for TrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { header, rows, .. } = self.comparison();
        let width = |column: usize| rows.iter().chain([&header]).map(|row| row[column].len()).max().unwrap_or(0);
        for row in std::iter::once(&header).chain(&rows) {
            let cells = row.iter().enumerate().map(|(column, cell)| match column {
                0 => format!("{cell:<0$}", width(column)),
                _ => format!("{cell:>0$}", width(column)),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        writeln!(f, "\n{}", self.evaluation)?;
        write!(f, "{} updates in {:.0} s; ", self.updates, self.seconds)?;
        if let Some(bytes) = self.peak_memory_bytes {
            write!(f, "at most {:.0} MB of memory; ", bytes as f64 / 1e6)?;
        }
        write!(f, "report: {}", self.run_dir.join("report.html").display())
    }
}
