//! Formats of preference data in files.

use super::rows::{Row, flag_of};
use super::{Preference, Record};
use crate::error::Result;
use crate::{Content, Message};

/// Parses a row as a record of preference data; the columns decide on its format.
///
/// # Errors
/// Columns of no known format, or a value that its column does not allow. The message names the file, the row and the
/// column.
pub fn record_of(mut row: Row) -> Result<Record> {
    let annotator = row.string(&["annotator", "worker", "rater_id"])?;
    let weight = match row.number(&["weight"])? {
        Some(weight) if weight <= 0.0 => {
            return Err(row.wrong("weight", &weight.into(), "a number above 0"));
        }
        weight => weight.unwrap_or(1.0),
    };
    let is_parted = row.has(&["chosen"]) && !row.has(&["prompt"]);
    let tools = row.take(&["tools"]).map(|(_, tools)| tools).unwrap_or_default();
    let (prompt, preference) = if row.has(&["preferred_output", "non_preferred_output"]) {
        openai_fine_tuning(&mut row)?
    } else if row.has(&["summaries", "choice"]) {
        openai_summaries(&mut row)?
    } else if row.has(&["answer_0", "answer_1"]) {
        openai_web(&mut row)?
    } else if row.has(&["chosen"]) || row.has(&["rejected"]) {
        pair(&mut row)?
    } else if row.has(&["completions", "best"]) {
        best(&mut row)?
    } else if row.has(&["completions"]) {
        steps(&mut row)?
    } else if row.has(&["completion"]) {
        single(&mut row)?
    } else {
        let found: Vec<&str> = row.columns.keys().map(String::as_str).collect();
        let reason = format!(
            "are {}, which is no preference; it should be prompt with chosen and rejected, completion and label, \
             completions and labels, completions and best, or completion and rating",
            found.join(", ")
        );
        return Err(row.error("the columns", reason));
    };
    let prompt = prompt.with_tools(tools).map_err(|reason| row.error("tools", reason))?;
    let is_parted = is_parted && matches!(prompt, Content::Text(_));
    Ok(Record { prompt, is_parted, preference, annotator, weight, other: row.columns })
}

fn pair(row: &mut Row) -> Result<(Content, Preference)> {
    let (chosen, rejected) = (row.text("chosen")?, row.text("rejected")?);
    let margin = row.number(&["margin"])?;
    let is_tie = row.flag("tie")?.unwrap_or(false);
    let prompt = match row.has(&["prompt"]).then(|| row.text("prompt")).transpose()? {
        // A prompt text beside whole conversations, as in UltraFeedback: the conversations begin with it.
        Some(Content::Text(_)) if is_conversation(&chosen) && is_conversation(&rejected) => None,
        prompt => prompt,
    };
    let (prompt, chosen, rejected) = match prompt {
        Some(prompt) => (prompt, chosen, rejected),
        None => split_prompt(&chosen, &rejected).map_err(|reason| row.error("chosen", reason))?,
    };
    Ok((prompt, verdict(chosen, rejected, margin, is_tie)))
}

/// Splits two whole conversations into their common prefix, the prompt, and the two answers.
///
/// Texts are split as in TRL's `extract_prompt`: before the first character in which they differ, and before a space
/// that precedes it. `Err` says why they cannot be split.
fn split_prompt(chosen: &Content, rejected: &Content) -> Result<(Content, Content, Content), String> {
    match (chosen, rejected) {
        (Content::Text(chosen), Content::Text(rejected)) => {
            let same = chosen.chars().zip(rejected.chars()).take_while(|(left, right)| left == right);
            let mut end: usize = same.map(|(char, _)| char.len_utf8()).sum();
            if chosen[..end].ends_with(' ') {
                end -= 1;
            }
            let part = |text: &str| Content::Text(text.to_string());
            Ok((part(&chosen[..end]), part(&chosen[end..]), part(&rejected[end..])))
        }
        (Content::Messages(chosen), Content::Messages(rejected)) => {
            let mut end = chosen.iter().zip(rejected).take_while(|(left, right)| left == right).count();
            if (end == chosen.len()) != (end == rejected.len()) {
                // One is the beginning of the other: both answer with the last message that they share, and go on.
                end = chosen[..end].iter().rposition(Message::is_assistant).unwrap_or(end);
            }
            let part = |messages: &[Message]| Content::Messages(messages.to_vec());
            Ok((part(&chosen[..end]), part(&chosen[end..]), part(&rejected[end..])))
        }
        _ => Err("is a text where the other answer is messages; both should be of one kind".to_string()),
    }
}

fn verdict(chosen: Content, rejected: Content, margin: Option<f64>, is_tie: bool) -> Preference {
    match is_tie {
        true => Preference::Tie { answers: [chosen, rejected] },
        false => Preference::Better { chosen, rejected, margin },
    }
}

/// True if a role other than the assistant has a message, so that the text is more than an answer.
fn is_conversation(text: &Content) -> bool {
    matches!(text, Content::Messages(messages) if messages.first().is_some_and(|message| !message.is_assistant()))
}

fn steps(row: &mut Row) -> Result<(Content, Preference)> {
    let (prompt, completions) = (row.text("prompt")?, row.texts("completions")?);
    let value = row.required("labels")?;
    let good: Option<Vec<bool>> = value.as_array().and_then(|list| list.iter().map(flag_of).collect());
    let good = good.ok_or_else(|| row.wrong("labels", &value, "a list of true and false"))?;
    if good.len() != completions.len() || good.is_empty() {
        let reason =
            format!("has {} values for {} completions; there should be one for each", good.len(), completions.len());
        return Err(row.error("labels", reason));
    }
    Ok((prompt, Preference::Steps { completions, good }))
}

/// Parses the best of several answers, given by its index or by its text.
fn best(row: &mut Row) -> Result<(Content, Preference)> {
    let (prompt, completions) = (row.text("prompt")?, row.texts("completions")?);
    let twice = (1..completions.len()).find(|&place| completions[..place].contains(&completions[place]));
    if completions.len() < 2 || twice.is_some() {
        let reason = "should hold at least two answers, all of them different";
        return Err(row.error("completions", reason));
    }
    let value = row.required("best")?;
    let place = value.as_u64().and_then(|place| usize::try_from(place).ok()).filter(|&place| place < completions.len());
    let named =
        || Content::parse(value.clone()).ok().and_then(|text| completions.iter().position(|answer| *answer == text));
    let right = "the number of one of the completions, from 0, or its text";
    let best = place.or_else(named).ok_or_else(|| row.wrong("best", &value, right))?;
    Ok((prompt, Preference::Best { completions, best }))
}

fn single(row: &mut Row) -> Result<(Content, Preference)> {
    let (prompt, completion) = (row.text("prompt")?, row.text("completion")?);
    let (good, rating) = (row.flag("label")?, row.number(&["rating", "score"])?);
    match (good, rating) {
        (Some(good), None) => Ok((prompt, Preference::Label { completion, good })),
        (None, Some(rating)) => Ok((prompt, Preference::Rating { completion, rating })),
        (Some(_), Some(_)) => {
            Err(row.error("label", "stands beside a rating; a row is one preference, so make it two rows"))
        }
        (None, None) => Err(row.error("label", "missing, and rating too; a completion needs one of them")),
    }
}

/// Parses OpenAI's preference fine-tuning format: `input.messages`, `preferred_output`, `non_preferred_output`.
fn openai_fine_tuning(row: &mut Row) -> Result<(Content, Preference)> {
    let (chosen, rejected) = (row.text("preferred_output")?, row.text("non_preferred_output")?);
    let input = row.required("input")?;
    let prompt = Content::parse(input["messages"].clone()).map_err(|reason| row.error("input.messages", reason))?;
    let prompt = prompt.with_tools(input["tools"].clone()).map_err(|reason| row.error("input.tools", reason))?;
    Ok((prompt, Preference::Better { chosen, rejected, margin: None }))
}

/// Parses OpenAI's summarize-from-feedback format: `info.post` (or `info.article`), two `summaries` with their
/// `policy`, `choice` 0 or 1.
fn openai_summaries(row: &mut Row) -> Result<(Content, Preference)> {
    let (choice, summaries) = (row.required("choice")?, row.required("summaries")?);
    let text = |place: usize| summaries[place]["text"].as_str().map(Content::from);
    let (Some(first), Some(second), 2) = (text(0), text(1), summaries.as_array().map_or(0, Vec::len)) else {
        return Err(row.wrong("summaries", &summaries, "a list of two {\"text\": \"...\"}"));
    };
    let (chosen, rejected) = match choice.as_u64() {
        Some(0) => (first, second),
        Some(1) => (second, first),
        _ => return Err(row.wrong("choice", &choice, "0 or 1")),
    };
    let info = row.required("info")?;
    let prompt = info["post"].as_str().or(info["article"].as_str()).map(Content::from);
    let prompt = prompt.ok_or_else(|| row.wrong("info", &info, "an object with post or article"))?;
    row.columns.insert("info".into(), info);
    Ok((prompt, Preference::Better { chosen, rejected, margin: None }))
}

/// Parses OpenAI's WebGPT comparisons: `question` (a text, or an object with `full_text`), two answers and their
/// scores.
fn openai_web(row: &mut Row) -> Result<(Content, Preference)> {
    let question = row.required("question")?;
    let prompt = question.as_str().or(question["full_text"].as_str()).map(Content::from);
    let prompt = prompt.ok_or_else(|| row.wrong("question", &question, "a text, or an object with full_text"))?;
    let (first, second) = (row.text("answer_0")?, row.text("answer_1")?);
    let mut score = |name| row.number(&[name])?.ok_or_else(|| row.error(name, "missing; it should be a number"));
    let (left, right): (f64, f64) = (score("score_0")?, score("score_1")?);
    let (chosen, rejected) = if left < right { (second, first) } else { (first, second) };
    Ok((prompt, verdict(chosen, rejected, Some((left - right).abs()), left == right)))
}
