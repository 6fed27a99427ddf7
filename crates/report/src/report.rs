//! `report.html`: settings and results of a run in one self-contained file.

use palestra_display::{Page, escape};
use std::fmt::Write;

use palestra_datasets::{End, Episode, Turn};
use serde::{Deserialize, Serialize};

use super::plot::Figure;

/// Contents of the report. Empty parts are left out.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The heading, such as `PPO on snake-6x6-v1`.
    pub title: String,
    /// Setup of the run as (name, value) pairs: environment, model, learner, seed, device.
    pub summary: Vec<(String, String)>,
    /// Results: before and after training, against random, scripted and optimal policies.
    pub comparison: Table,
    /// The plots; an observer adds those of its metrics.
    pub figures: Vec<Figure>,
    /// Timing, throughput and memory; an observer adds its own measurements.
    pub resources: Vec<(String, String)>,
    /// Rendered frames of one episode, to step through.
    pub frames: Vec<String>,
    /// Sample episodes, shown turn by turn.
    pub episodes: Vec<Episode>,
    /// The same episodes before training, turn by turn.
    pub before: Vec<Episode>,
    /// Texts that a language model wrote during training, oldest first.
    pub texts: Vec<TextSample>,
    /// Next steps, as (purpose, command line) pairs.
    pub commands: Vec<(String, String)>,
    /// The resolved configuration as TOML.
    pub config: String,
}

/// A continuation that a language model wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextSample {
    /// Number of updates before it was written.
    pub update: u64,
    /// Prompt.
    pub prompt: String,
    /// Text that the model wrote.
    pub continuation: String,
}

/// Rows of text under a header; all columns but the first are aligned as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns.
    pub header: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
    /// Index of the row to highlight, such as the trained policy.
    pub marked: Option<usize>,
}

impl Report {
    /// Renders the report as one HTML document without external resources.
    ///
    /// All text is escaped: a model's output, markup and scripts included, is shown and never run.
    pub fn render(&self) -> String {
        let body = [
            self.heading(),
            section("Result", comparison(&self.comparison)),
            section("Plots", plots(&self.figures)),
            section("Replay", replay(&self.frames)),
            section("Sample episodes", self.episodes.iter().map(episode).collect()),
            section("The same before training", self.before.iter().map(episode).collect()),
            section("Samples during training", self.texts.iter().rev().map(text_sample).collect()),
            section("Time and memory", facts(&self.resources)),
            section("Going on from here", commands(&self.commands)),
        ]
        .concat();
        Page {
            title: &self.title,
            head: "<noscript><style>.frame[hidden] { display: block; } .controls { display: none; }</style></noscript>\n",
            css: include_str!("report.css"),
            body: &body,
            script: include_str!("report.js"),
        }
        .to_html()
    }

    fn heading(&self) -> String {
        let mut html = format!("<h1>{}</h1>\n{}", escape(&self.title), facts(&self.summary));
        if !self.config.is_empty() {
            let config = escape(&self.config);
            let _ = writeln!(
                html,
                "<details><summary>Configuration</summary><div class=\"body\"><pre>{config}</pre></div></details>"
            );
        }
        html
    }
}

fn section(title: &str, body: String) -> String {
    if body.is_empty() { body } else { format!("<section>\n<h2>{title}</h2>\n{body}</section>\n") }
}

fn facts(facts: &[(String, String)]) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let row = |(name, value): &(String, String)| {
        format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(value))
    };
    let rows: String = facts.iter().map(row).collect();
    format!("<table class=\"facts\">\n{rows}</table>\n")
}

fn comparison(table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let header: String = table.header.iter().map(|cell| format!("<th>{}</th>", escape(cell))).collect();
    let row = |(index, cells): (usize, &Vec<String>)| {
        let class = if table.marked == Some(index) { " class=\"marked\"" } else { "" };
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        format!("<tr{class}>{cells}</tr>\n")
    };
    let rows: String = table.rows.iter().enumerate().map(row).collect();
    format!(
        "<div class=\"scroll\"><table class=\"comparison\">\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// Plots of the report. The first figure, the learning curve, is open; the others are folded.
fn plots(figures: &[Figure]) -> String {
    let figure = |figure: &Figure| {
        let title = escape(&figure.title);
        format!("<h3>{title}</h3>\n<figure aria-label=\"{title}\">\n{}</figure>\n", figure.to_svg())
    };
    let Some((first, others)) = figures.split_first() else {
        return String::new();
    };
    let mut html = figure(first);
    if !others.is_empty() {
        let titles: Vec<String> = others.iter().map(|figure| escape(&figure.title)).collect();
        let figures: String = others.iter().map(figure).collect();
        let _ = writeln!(
            html,
            "<details><summary>All metrics <span class=\"soft\">· {}</span></summary>\
             <div class=\"body\">\n{figures}</div></details>",
            titles.join(" · ")
        );
    }
    html
}

fn replay(frames: &[String]) -> String {
    if frames.is_empty() {
        return String::new();
    }
    let frame = |(index, frame): (usize, &String)| {
        let hidden = if index == 0 { "" } else { " hidden" };
        format!("<pre class=\"frame\"{hidden}>{}</pre>\n", escape(frame))
    };
    let total = frames.len();
    let frames: String = frames.iter().enumerate().map(frame).collect();
    format!(
        "<div id=\"replay\">\n<div class=\"controls\"><button>Previous</button><button>Play</button>\
         <button>Next</button><output class=\"soft\">1 of {total}</output></div>\n{frames}</div>\n"
    )
}

/// Number of turns up to which an episode is unfolded.
const OPEN: usize = 2;

fn episode(episode: &Episode) -> String {
    let end = match episode.end {
        Some(End::Terminated) => "terminated",
        Some(End::Truncated) => "truncated",
        None => "cut off",
    };
    let turns: String = episode.turns.iter().enumerate().map(turn).collect();
    let last = episode.final_observation.as_ref().filter(|last| !last.is_empty()).map(|last| {
        format!(
            "<div class=\"turn\"><p>After the last action</p><pre class=\"wrap\">{}</pre></div>\n",
            escape(&last.as_text())
        )
    });
    format!(
        "<details{}><summary><strong>return {}</strong> <span class=\"soft\">· {} turns, {end} · {} · seed {} · \
         {} after {} updates</span></summary><div class=\"body\">\n{turns}{}</div></details>\n",
        if episode.turns.len() <= OPEN { " open" } else { "" },
        palestra_display::significant(episode.total_reward()),
        episode.turns.len(),
        escape(&episode.env_id),
        episode.seed.map_or("unknown".to_string(), |seed| seed.to_string()),
        if episode.policy_id.is_empty() { "policy".into() } else { escape(&episode.policy_id) },
        episode.policy_step,
        last.unwrap_or_default(),
    )
}

fn turn((index, turn): (usize, &Turn)) -> String {
    let mut reward = palestra_display::significant(turn.reward.into());
    for (name, part) in &turn.reward_parts {
        let _ = write!(reward, ", {} {}", escape(name), palestra_display::significant((*part).into()));
    }
    let invalid = if turn.invalid_action { " · <span class=\"bad\">invalid action</span>" } else { "" };
    format!(
        "<div class=\"turn\"><p>Turn {}</p><pre class=\"wrap\">{}</pre>\
         <p>Action · reward {reward}{invalid}</p><pre class=\"wrap action\">{}</pre></div>\n",
        index + 1,
        escape(&turn.observation.as_text()),
        escape(&turn.action),
    )
}

fn text_sample(sample: &TextSample) -> String {
    format!(
        "<details><summary><strong>update {}</strong></summary><div class=\"body\"><div class=\"turn\">\
         <pre class=\"wrap\">{}</pre><p>Continued</p><pre class=\"wrap action\">{}</pre></div></div></details>\n",
        sample.update,
        escape(&sample.prompt),
        escape(&sample.continuation),
    )
}

fn commands(commands: &[(String, String)]) -> String {
    let command = |(purpose, line): &(String, String)| {
        format!("<h3>{}</h3>\n<pre class=\"wrap\">{}</pre>\n", escape(purpose), escape(line))
    };
    commands.iter().map(command).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Plot, Series};

    const ATTACK: &str = "</pre></script><script>alert(1)</script><img src=x onerror='alert(2)'>\"&\u{1b}[2J";

    #[test]
    fn text_with_markup_is_shown_and_never_run() {
        let pair = || vec![(ATTACK.to_string(), ATTACK.to_string())];
        let turn = Turn {
            observation: ATTACK.into(),
            action: ATTACK.into(),
            reward_parts: [(ATTACK.to_string(), 1.0)].into(),
            ..Turn::default()
        };
        let plot = Plot { title: ATTACK.into(), series: vec![Series::default(); 2], ..Plot::default() };
        let report = Report {
            title: ATTACK.into(),
            summary: pair(),
            comparison: Table { header: vec![ATTACK.into()], rows: vec![vec![ATTACK.into()]], marked: None },
            figures: vec![Figure { title: ATTACK.into(), file: String::new(), plots: vec![plot] }],
            resources: pair(),
            frames: vec![ATTACK.into()],
            episodes: vec![Episode {
                env_id: ATTACK.into(),
                policy_id: ATTACK.into(),
                final_observation: Some(ATTACK.into()),
                turns: vec![turn],
                ..Episode::default()
            }],
            before: Vec::new(),
            texts: vec![TextSample { update: 1, prompt: ATTACK.into(), continuation: ATTACK.into() }],
            commands: pair(),
            config: ATTACK.into(),
        };
        let (attacked, harmless) = (report.render(), Report::default().render());
        assert_eq!(attacked.matches("<script").count(), harmless.matches("<script").count());
        assert_eq!(attacked.matches("</script").count(), harmless.matches("</script").count());
        assert!(!attacked.contains("<img") && !attacked.contains('\u{1b}'));
        // Every text is in the document; the report's title occurs twice and the figure's three times.
        assert_eq!(attacked.matches("&lt;img src=x").count(), 23);
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let html = Report::default().render();
        assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("src="));
    }

    #[test]
    fn what_is_empty_is_left_out() {
        assert!(!Report::default().render().contains("<section>"));
        let report = Report { frames: vec!["@.".into(), ".@".into()], ..Report::default() };
        let html = report.render();
        assert!(html.contains("1 of 2") && html.contains("<pre class=\"frame\" hidden>.@</pre>"));
        assert_eq!(html.matches("<section>").count(), 1);
    }
}
