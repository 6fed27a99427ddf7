//! Rules for every turn of a log, whichever tool wrote it.

use crate::Turn;

/// A violation of a rule: the column, and the reason.
pub(super) type Breach = (&'static str, String);

/// Checks that rewards and log-probabilities are usable for learning: finite numbers, one log-probability per token.
pub(super) fn check_turn(turn: &Turn) -> Result<(), Breach> {
    if !turn.reward.is_finite() {
        return Err(("reward", format!("{} is not a finite number", turn.reward)));
    }
    if let Some((name, part)) = turn.reward_parts.iter().find(|(_, part)| !part.is_finite()) {
        return Err(("reward_parts", format!("{name} is {part}, not a finite number")));
    }
    let Some(log_probs) = &turn.log_probs else { return Ok(()) };
    let (expected, what) = match &turn.action_ids {
        Some(ids) => (ids.len(), "as many as action_ids"),
        None => (1, "one for the whole action, as there are no action_ids"),
    };
    if log_probs.len() != expected {
        return Err(("log_probs", format!("{} numbers where {expected} should be: {what}", log_probs.len())));
    }
    match log_probs.iter().find(|log_prob| !(log_prob.is_finite() && **log_prob <= 0.0)) {
        Some(wrong) => Err(("log_probs", format!("{wrong} is not a log-probability: finite and at most 0"))),
        None => Ok(()),
    }
}
