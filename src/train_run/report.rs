//! Report of a training run: for a program, for the terminal, and as a page.

use std::fmt;
use std::path::PathBuf;

use palestra_datasets::log::Outcome;
use palestra_display::grouped;
use palestra_envs::Episode;
use palestra_envs::baseline::{Baseline, mean_and_error};
use serde::Serialize;

use super::held_out::HeldOutScore;
use crate::agent::{AgentSpec, Evaluation};
use crate::run_dir::RunDir;
use crate::{Error, Result};
use palestra_learn::accuracy::PreferenceScore;
use palestra_learn::learners::AnyConfig;
use palestra_learn::likelihood::TextScore;
use palestra_report::{Report, Table, TextSample};

/// Report of a training run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainReport {
    /// Directory that was written.
    pub run_dir: PathBuf,
    /// Number of updates done, those before a resumption included.
    pub updates: u64,
    /// Seconds from start to end, those before a resumption included.
    pub seconds: f64,
    /// Peak memory of this process, in bytes, if the system reports it.
    pub peak_memory_bytes: Option<u64>,
    /// Log that the run learned from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSummary>,
    /// Score before training. This and the next three fields are `None` if there is no environment to play.
    pub before: Option<Baseline>,
    /// Score of a random policy; `None` if the environment lists no legal actions.
    pub random: Option<Baseline>,
    /// Score of the environment's scripted policy; `None` if there is none.
    pub scripted: Option<Baseline>,
    /// Evaluation of the finished model.
    pub evaluation: Option<Evaluation>,
    /// Likelihood of held-out text; `None` if the run did not learn from text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<HeldOutScores>,
    /// Agreement of its rewards with held-out preferences; `None` if the run did not learn from preferences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferences: Option<PreferenceScores>,
}

/// Agreement of rewards with held-out preferences.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreferenceScores {
    /// Score before training.
    pub before: PreferenceScore,
    /// Score of the finished model.
    pub after: PreferenceScore,
}

/// Held-out scores before and after training side by side, by kind.
pub(super) fn held_out_scores(
    before: Option<HeldOutScore>,
    after: Option<HeldOutScore>,
    vocab_size: usize,
) -> (Option<HeldOutScores>, Option<PreferenceScores>) {
    match before.zip(after) {
        Some((HeldOutScore::Text(before), HeldOutScore::Text(after))) => {
            (Some(HeldOutScores { before, after, vocab_size }), None)
        }
        Some((HeldOutScore::Preferences(before), HeldOutScore::Preferences(after))) => {
            (None, Some(PreferenceScores { before, after }))
        }
        _ => (None, None),
    }
}

impl PreferenceScores {
    fn comparison(&self) -> Table {
        let row = |name: &str, score: &PreferenceScore| {
            let numbers = [score.accuracy, score.mean_margin, score.mean_nll, score.calibration_error];
            [vec![name.to_string()], numbers.map(|number| format!("{number:.4}")).to_vec()].concat()
        };
        let mut rows = vec![row("before training", &self.before), row("after training", &self.after)];
        for (group, accuracy) in &self.after.accuracy_by_group {
            rows.push([vec![format!("  {group}"), format!("{accuracy:.4}")], vec![String::new(); 3]].concat());
        }
        let header = ["held-out preferences", "accuracy", "margin", "nll", "calibration error"];
        Table { header: header.map(str::to_string).to_vec(), rows, marked: Some(1) }
    }
}

/// Likelihood of held-out text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldOutScores {
    /// Score before training.
    pub before: TextScore,
    /// Score of the finished model.
    pub after: TextScore,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
}

impl HeldOutScores {
    /// Table of a uniform distribution over tokens, and of the model before and after training.
    fn comparison(&self) -> Table {
        let TextScore { tokens, bytes, .. } = self.after;
        let uniform = TextScore::new((self.vocab_size as f64).ln() * tokens as f64, tokens, bytes);
        let row = |name: &str, score: &TextScore| {
            let numbers = [score.mean_nll, score.perplexity, score.bits_per_byte].map(|number| format!("{number:.4}"));
            [vec![name.to_string()], numbers.to_vec()].concat()
        };
        Table {
            header: ["held-out text", "mean nll", "perplexity", "bits per byte"].map(str::to_string).to_vec(),
            rows: vec![
                row("every token alike", &uniform),
                row("before training", &self.before),
                row("after training", &self.after),
            ],
            marked: Some(2),
        }
    }
}

/// Summary of the log that a run learned from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogSummary {
    /// Number of episodes in the log.
    pub episodes: u64,
    /// Mean of their returns.
    pub mean_return: f64,
    /// Standard error of `mean_return`.
    pub standard_error: f64,
    /// Highest of their returns.
    pub best_return: f64,
}

impl LogSummary {
    /// Summarises a log whose episodes have these outcomes.
    ///
    /// # Errors
    /// A log without an episode.
    pub fn of(outcomes: &[Outcome]) -> Result<Self> {
        let returns: Vec<f64> = outcomes.iter().map(|outcome| outcome.total_reward).collect();
        let best_return = returns.iter().copied().max_by(f64::total_cmp);
        let best_return = best_return.ok_or_else(|| Error::Data("data.files: the log has no episodes".into()))?;
        let (mean_return, standard_error) = mean_and_error(&returns);
        Ok(Self { episodes: returns.len() as u64, mean_return, standard_error, best_return })
    }
}

/// Report page of a run that has taken some of its updates: what it is, and what is measured so far.
pub(super) fn so_far(agent: &AgentSpec, done: u64) -> Result<Report> {
    let run = &agent.run;
    let env_id = run.env.as_ref().and_then(|env| env.id.as_deref());
    Ok(Report {
        title: format!("{}: {}, {done} of {} updates", run.name, run.learner.name, run.train.updates),
        summary: setup(agent, env_id, format!("{done} of {}", run.train.updates)),
        config: run.to_toml()?,
        ..Report::default()
    })
}

/// Setup of a run, as (name, value) pairs.
fn setup(agent: &AgentSpec, env_id: Option<&str>, updates: String) -> Vec<(String, String)> {
    let AgentSpec { run, parameters, .. } = agent;
    vec![
        pair("learner", run.learner.name.to_string()),
        pair("environment", env_id.unwrap_or("none").to_string()),
        pair("model", format!("{} parameters", grouped(*parameters))),
        pair("updates", updates),
        pair("seed", run.seed.to_string()),
        pair("device", run.device.clone()),
    ]
}

fn pair(name: &str, value: String) -> (String, String) {
    (name.to_string(), value)
}

/// Report page of a finished run.
pub(super) fn page(
    agent: &AgentSpec,
    report: &TrainReport,
    frames: Vec<String>,
    [before, episodes]: [Vec<Episode>; 2],
    texts: &[TextSample],
    dir: &RunDir,
) -> Result<Report> {
    let run = &agent.run;
    let path = dir.path().display();
    let learner = run.learner.name;
    let env_id = report.evaluation.as_ref().map(|evaluation| evaluation.env_id.as_str());
    let learned_from = match (&report.text, &report.preferences) {
        (Some(_), _) => "text",
        (_, Some(_)) => "preferences",
        _ => "a log",
    };
    let subject = env_id.unwrap_or(learned_from);
    let is_text = matches!(run.learner.config, AnyConfig::Text(_));
    let writes = (is_text || run.start_from.is_some()) && run.learner.config.score_head().is_none();
    let how = if agent.companions.contains_key("chat_template.jinja") { "--chat" } else { "--prompt TEXT" };
    let write = writes.then(|| pair("Let it write", format!("palestra generate {path} {how}")));
    let merge = (writes && run.lora.is_some())
        .then(|| pair("Put its adapters into the model", format!("palestra merge {path} --out DIR")));
    let watch = env_id.map(|id| pair("Watch it play", format!("palestra play {id} --policy {path} --delay 0.2")));
    let evaluate = match &run.learner.config {
        AnyConfig::Text(_) => Some(pair("Measure it on another text", format!("palestra eval {path} --data FILE"))),
        AnyConfig::Preferences(learner) if learner.score_head().is_some() => {
            Some(pair("Score other answers", format!("palestra score {path} --data FILE")))
        }
        AnyConfig::Preferences(_) => None,
        AnyConfig::Play(_) | AnyConfig::Log(_) => {
            Some(pair("Evaluate it again", format!("palestra evaluate {path} --episodes 1000")))
        }
    };
    let commands = [evaluate, watch, write, merge].into_iter().flatten().collect();
    Ok(Report {
        title: format!("{}: {learner} on {subject}", run.name),
        summary: setup(agent, env_id, report.updates.to_string()),
        comparison: report.comparison(),
        figures: report.preferences.iter().map(|scores| scores.after.reliability_diagram()).collect(),
        resources: Vec::new(), // the observer adds its own
        frames,
        episodes,
        before,
        texts: texts.to_vec(),
        commands,
        config: run.to_toml()?,
    })
}

impl TrainReport {
    /// Table of random, untrained, trained, scripted and optimal returns.
    fn comparison(&self) -> Table {
        if let Some(text) = &self.text {
            return text.comparison();
        }
        if let Some(preferences) = &self.preferences {
            return preferences.comparison();
        }
        let evaluation = self.evaluation.as_ref();
        let numbers = evaluation.iter().flat_map(|evaluation| evaluation.score.info.keys());
        let numbers: Vec<&String> = numbers.filter(|name| *name != "turns").collect(); // every environment's are counted
        let mut header = ["policy", "mean return", "+-", "turns"].map(str::to_string).to_vec();
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
        if let Some(log) = &self.log {
            let returns = [log.mean_return, log.standard_error].map(|number| format!("{number:.4}"));
            let mut row = [vec!["the log".to_string()], returns.to_vec()].concat();
            row.resize(header.len(), String::new());
            rows.push(row);
        }
        rows.extend(self.before.iter().map(|score| row("before training", score)));
        rows.extend(evaluation.map(|evaluation| row("after training", &evaluation.score)));
        let marked = evaluation.map(|_| rows.len() - 1);
        rows.extend(self.scripted.iter().map(|score| row("scripted", score)));
        if let Some(optimum) = evaluation.and_then(|evaluation| evaluation.optimal_return) {
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
        if let Some(evaluation) = &self.evaluation {
            writeln!(f, "\n{evaluation}")?;
        }
        write!(f, "{} updates in {:.0} s; ", self.updates, self.seconds)?;
        if let Some(bytes) = self.peak_memory_bytes {
            write!(f, "at most {:.0} MB of memory; ", bytes as f64 / 1e6)?;
        }
        write!(f, "report: {}", self.run_dir.join("report.html").display())
    }
}
