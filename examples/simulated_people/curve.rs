//! Plots of reward against distance from the start.

use std::error::Error;
use std::path::{Path, PathBuf};

use palestra::report::{Figure, Plot, Series};

use super::measure::Score;

/// Draws two plots with a line for each file of scores: the true reward of answers, and the reward model's score.
pub fn draw(out: &Path, files: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let mut curves = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().replace('-', " ");
        let lines = std::fs::read_to_string(file)?;
        let scores: Vec<Score> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        curves.push((name, scores));
    }
    let plot = |title: &str, value: fn(&Score) -> f64, error: fn(&Score) -> f64| Plot {
        title: title.to_string(),
        across: "KL from the start, nats an answer".to_string(),
        series: curves.iter().map(|(name, scores)| series(name, scores, value, error)).collect(),
        ..Plot::default()
    };
    let plots = vec![
        plot("what people truly like", |score| score.mean, |score| 2.0 * score.error),
        plot("what the reward model says", |score| score.reward.unwrap_or(f64::NAN), |_| 0.0),
    ];
    std::fs::write(out, Figure { plots, ..Figure::default() }.to_svg())?;
    Ok(())
}

fn series(name: &str, scores: &[Score], value: fn(&Score) -> f64, error: fn(&Score) -> f64) -> Series {
    let points = scores.iter().map(|score| (score.kl, value(score))).collect();
    Series { name: name.to_string(), points, errors: scores.iter().map(error).map(|error| (error, error)).collect() }
}
