//! Adversarial texts that every environment must handle.

use super::Stop;
use super::session::{Session, shown};
use crate::{Observation, episode_seed};

/// Plays each adversarial text as the first action of an episode, twice, and a legal action after it.
pub(super) fn check(session: &mut Session<'_>) -> Result<(), Stop> {
    session.episode = None;
    let seed = episode_seed(session.options.seed, 0);
    let first = session.reset(seed)?;
    for text in texts(&first) {
        let step = play(session, seed, &text)?;
        let again = play(session, seed, &text)?;
        if step != again {
            session.not_reproduced("same-seed", Some(1), format!("the action {} led to different steps", shown(&text)));
        }
        if !step.0 && !listed(&first, &text) {
            let message = format!("{} is not among the legal actions, and was accepted", shown(&text));
            session.warn("legal-actions", Some(1), message);
        }
    }
    Ok(())
}

/// Plays a text and a legal action after it. Returns true if the text was flagged invalid, and the transcript of the
/// steps.
fn play(session: &mut Session<'_>, seed: u64, text: &str) -> Result<(bool, String), Stop> {
    session.reset(seed)?;
    let step = session.step(text, Some(1))?;
    let mut lines = format!("{step:?}");
    let next = step.observation.legal_actions.as_deref().and_then(|legal| legal.first());
    if let (None, Some(action)) = (step.end, next) {
        lines += &format!("{:?}", session.step(action, Some(2))?);
    }
    Ok((step.invalid_action, lines))
}

/// True if a text matches one of the listed actions, or if there is no list.
fn listed(observation: &Observation, text: &str) -> bool {
    let Some(legal) = observation.legal_actions.as_deref() else { return true };
    legal.iter().any(|action| action.trim().to_lowercase() == text.trim().to_lowercase())
}

fn texts(observation: &Observation) -> Vec<String> {
    let mut texts: Vec<String> =
        ["", " ", "\n", "\0", "\u{1b}[2J", "\u{7f}\u{8}\r\t", "\"'\\`{}[]()<>%s%n$;", "-1"].map(String::from).into();
    texts.extend(
        ["99999999999999999999", "NaN", "вверх", "上", "يسار", "e\u{301}\u{200b}\u{202e}", "🙂👩‍👩‍👧"].map(String::from),
    );
    texts.push("x".repeat(1 << 20));
    texts.push("🙂".repeat(1 << 18));
    texts.push("\n".repeat(1 << 16));
    if let Some(action) = observation.legal_actions.as_deref().and_then(|legal| legal.first()) {
        for junk in [" and then some", "\0", "!", "🙂", "\nleft\nright"] {
            texts.push(format!("{action}{junk}"));
        }
        texts.push(format!("{action}{action}"));
        texts.push(format!("please {action}"));
        texts.extend(action.char_indices().nth(1).map(|(end, _)| action[end..].to_string()));
    }
    texts
}
