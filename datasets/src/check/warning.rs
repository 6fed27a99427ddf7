//! Warnings about properties of the data that hinder learning.

use std::path::PathBuf;

use serde::Serialize;

use super::Coverage;
use crate::stats::Summary;
use palestra_display::significant;

/// Threshold of near-expert data: the mean return, as a fraction of the way from the weakest episodes (the 5 %
/// quantile, so that a few outliers do not decide) to the best.
const NEAR_EXPERT: f64 = 0.9;
/// Share of turns with an unparsable action from which a warning is given.
const MANY_INVALID: f64 = 0.1;

/// A property of the data that hinders learning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The kind of warning.
    pub kind: WarningKind,
    /// The observed property, and its consequence for learning.
    pub text: String,
}

/// Kinds of warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// A file has no end.
    CutFile,
    /// Episodes have no end.
    CutEpisodes,
    /// Truncated episodes have no final observation.
    NoFinalObservation,
    /// Turns have no log-probabilities.
    NoLogProbs,
    /// Many actions could not be read.
    InvalidActions,
    /// Episodes occur more than once.
    Duplicates,
    /// All returns are equal.
    EqualReturns,
    /// Almost no episode is worse than the best.
    NearExpert,
}

pub(super) fn warnings(coverage: &Coverage, cut_files: &[PathBuf]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |kind, text| warnings.push(Warning { kind, text });
    for file in cut_files {
        let text = format!(
            "{}: has no end, as its writer was killed or is still writing; the last row group may be lost",
            file.display()
        );
        warn(WarningKind::CutFile, text);
    }
    let Coverage { returns, invalid_actions, duplicates, cut, truncated_without_final_observation, log_probs } =
        coverage;
    if cut.count > 0 {
        let text = format!("{cut} episodes are cut: what they would still have earned is missing from their returns");
        warn(WarningKind::CutEpisodes, text);
    }
    let without = truncated_without_final_observation;
    if without.count > 0 {
        let text = format!(
            "{without} truncated episodes have no final_observation: what followed their last turn is unknown, so that it \
             cannot be bootstrapped"
        );
        warn(WarningKind::NoFinalObservation, text);
    }
    if log_probs.count < log_probs.of {
        let text = format!(
            "{log_probs} turns have log_probs: importance sampling, as in PPO on stored data or off-policy evaluation, is \
             refused without them"
        );
        warn(WarningKind::NoLogProbs, text);
    }
    if invalid_actions.share > MANY_INVALID {
        let text = format!("{invalid_actions} actions could not be read by the environment: the log teaches them too");
        warn(WarningKind::InvalidActions, text);
    }
    if duplicates.count > 0 {
        let text = format!(
            "{duplicates} episodes have the observations and actions of an earlier one: they count twice, and where a \
             split is made by episode the test data has been seen"
        );
        warn(WarningKind::Duplicates, text);
    }
    if let Some(returns) = returns
        && returns.count > 1
    {
        warnings.extend(spread(returns));
    }
    warnings
}

/// Returns the warning about the spread of returns, which offline reinforcement learning needs: it compares better and
/// worse behaviour.
fn spread(returns: &Summary) -> Option<Warning> {
    let (best, mean) = (significant(returns.max), significant(returns.mean));
    if returns.min == returns.max {
        let text = format!(
            "all returns are {best}: the rewards do not tell better play from worse, so that offline reinforcement learning \
             can at best do what cloning does"
        );
        return Some(Warning { kind: WarningKind::EqualReturns, text });
    }
    let weakest = returns.low;
    let is_near = returns.max == weakest || (returns.mean - weakest) / (returns.max - weakest) >= NEAR_EXPERT;
    is_near.then(|| Warning {
        kind: WarningKind::NearExpert,
        text: format!(
            "the best return is {best} and the mean {mean}: this is near-expert play. Cloning it gives near-expert play \
             too, so that this log cannot show what offline reinforcement learning adds; for that, log worse play as well"
        ),
    })
}
