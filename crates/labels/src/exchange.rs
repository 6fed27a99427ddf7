//! Argilla's and Label Studio's JSON: items read from it, and labelled items written as it.
//!
//! Both have an object of named texts for an item: Argilla's `fields`, Label Studio's `data`. The prompt is the first of
//! `PROMPTS` that is there, and the answers are those whose names begin with one of `ANSWERS`, in the order of their
//! names. The labels of a file that is read are in `given.rs`.

mod given;

use std::collections::BTreeMap;

use palestra_datasets::Content;
use palestra_datasets::preferences::Row;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::export::{Naming, conversational};
use crate::label::{SCALE, Verdict};
use crate::store::{LabelledItem, Store};
use given::given;
pub use given::{GivenLabel, GivenLabels};

/// Names of the prompt.
const PROMPTS: [&str; 6] = ["prompt", "instruction", "question", "input", "context", "conversation"];

/// Beginnings of the names of answers.
const ANSWERS: [&str; 7] = ["answer", "response", "completion", "generation", "output", "chosen", "rejected"];

/// Another tool whose JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Argilla 2: a list of records, for `dataset.records.from_json` or `Record.from_dict`.
    Argilla,
    /// Label Studio: a list of tasks with annotations, for its import.
    LabelStudio,
}

/// Returns the row of an item of either tool with the columns `prompt` and `completions`, or `completion`, and the labels
/// that it has; another row as it is.
pub(crate) fn item_row(mut row: Row) -> palestra_datasets::Result<(Row, GivenLabels)> {
    let is_item = ["prompt", "chosen"].iter().all(|name| !row.has(&[name]));
    let Some((name, texts)) = is_item.then(|| row.take(&["fields", "data"])).flatten() else {
        return Ok((row, GivenLabels::default()));
    };
    let Value::Object(mut texts) = texts else { return Err(row.wrong(name, &texts, "an object of texts")) };
    let prompt = PROMPTS.iter().find_map(|name| texts.remove(*name));
    let named = texts.keys().filter(|name| ANSWERS.iter().any(|answer| name.starts_with(answer)));
    let mut named: Vec<String> = named.cloned().collect();
    named.sort();
    let mut answers: Vec<Value> = named.iter().filter_map(|name| texts.remove(name)).collect();
    let is_missing = |answer: &Value| answer.is_null() || (name == "data" && answer == "");
    while answers.last().is_some_and(is_missing) {
        answers.pop();
    }
    let count = answers.len();
    let metadata = row.columns.get("metadata").or_else(|| row.columns.get("meta"));
    let policy = |number: usize| Some(metadata?.get(format!("policy_{}", number + 1))?.clone());
    let policies: Vec<Value> = (0..answers.len()).map(|number| policy(number).unwrap_or(Value::Null)).collect();
    let Some(prompt) = prompt.filter(|_| !answers.is_empty()) else {
        let right = format!("one of {} and answers such as answer_1", PROMPTS.join(", "));
        return Err(row.error(name, format!("has not what an item needs; it should have {right}")));
    };
    let mut columns = Map::from_iter([("prompt".to_string(), prompt), ("completions".to_string(), answers.into())]);
    if policies.iter().any(|policy| !policy.is_null()) {
        columns.insert("policies".to_string(), policies.into());
    }
    named.truncate(count);
    let labels = given(&row, &named);
    Ok((Row::new(row.origin().clone(), columns), labels))
}

/// Labelled items as the JSON of another tool: a list, an item with all its labels in each element. Gold items are left
/// out.
///
/// # Errors
/// A store without labels.
pub fn export(store: &Store, tool: Tool, naming: Naming) -> Result<Value> {
    let names = naming.names(store)?;
    let labelled: Vec<LabelledItem> =
        store.labelled()?.into_iter().filter(|labelled| labelled.gold.is_none()).collect();
    if labelled.is_empty() {
        return Err(Error::store(store.file(), "nothing was labelled yet, so that there is nothing to export"));
    }
    let items = labelled.chunk_by(|left, right| left.item == right.item);
    Ok(match tool {
        Tool::Argilla => items.map(|item| argilla(item, &names)).collect(),
        Tool::LabelStudio => {
            let most = labelled.iter().map(|labelled| labelled.answers.len()).max().unwrap_or(0);
            items.map(|item| label_studio(item, &names, most)).collect()
        }
    })
}

/// `prompt`, `answer_1`, `answer_2`, ...
fn texts(item: &LabelledItem, shown: fn(&Content) -> Value) -> Map<String, Value> {
    let (prompt, answers) = conversational(item);
    let answers = answers.iter().enumerate().map(|(place, text)| (format!("answer_{}", place + 1), shown(text)));
    std::iter::once(("prompt".to_string(), shown(&prompt))).chain(answers).collect()
}

fn metadata(item: &LabelledItem) -> Map<String, Value> {
    let policies = item.answers.iter().enumerate();
    let policies =
        policies.filter_map(|(place, answer)| Some((format!("policy_{}", place + 1), answer.policy.clone()?)));
    std::iter::once(("item".to_string(), item.item.into()))
        .chain(policies.map(|(name, policy)| (name, policy.into())))
        .collect()
}

/// The choice of a label: `answer_1`, ..., `tie`, `all_bad`; `None` for a skip, and where there are ratings alone.
fn choice(labelled: &LabelledItem) -> Option<String> {
    match &labelled.label.verdict {
        Verdict::Tie => Some("tie".to_string()),
        Verdict::AllBad => Some("all_bad".to_string()),
        _ => labelled.label.best().map(|best| format!("answer_{}", best + 1)),
    }
}

/// Ratings with the name of their question: `rating_1` (overall, of the first answer), `helpful_1`, ...
fn ratings(labelled: &LabelledItem) -> Vec<(String, usize, f64)> {
    let overall = std::iter::once(("rating", &labelled.label.ratings));
    let criteria = labelled.label.criteria.iter().map(|(name, ratings)| (name.as_str(), ratings));
    let mut named = Vec::new();
    for (name, ratings) in overall.chain(criteria) {
        for (place, rating) in ratings.iter().enumerate().filter_map(|(place, rating)| Some((place, (*rating)?))) {
            named.push((format!("{}_{}", question(name), place + 1), place, rating));
        }
    }
    named
}

/// Name of a question: lower-case letters, digits and underscores, as Argilla wants them.
fn question(name: &str) -> String {
    name.to_lowercase().chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect()
}

fn argilla(item: &[LabelledItem], names: &BTreeMap<String, String>) -> Value {
    let mut responses: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for labelled in item {
        let user = user_id(&names[&labelled.annotator]);
        let status = if labelled.label.verdict == Verdict::Skip { "discarded" } else { "submitted" };
        let mut respond = |question: &str, value: Value| {
            let response = json!({"value": value, "user_id": user, "status": status});
            responses.entry(question.to_string()).or_default().push(response);
        };
        if let Some(choice) = choice(labelled) {
            respond("preference", choice.into());
        }
        if let Verdict::Ranking { answers } = &labelled.label.verdict {
            let rank =
                |(rank, place): (usize, &usize)| json!({"value": format!("answer_{}", place + 1), "rank": rank + 1});
            respond("ranking", answers.iter().enumerate().map(rank).collect());
        }
        for (question, _, rating) in ratings(labelled) {
            // Argilla's ratings are whole numbers.
            respond(&question, (rating.round() as i64).into());
        }
        if let Some(strength) = labelled.label.strength {
            respond("strength", json!(strength));
        }
        if !labelled.label.comment.is_empty() {
            respond("comment", labelled.label.comment.as_str().into());
        }
    }
    let fields = texts(&item[0], |text| json!(text));
    json!({
        "id": item[0].item.to_string(), "fields": fields, "metadata": metadata(&item[0]), "suggestions": {},
        "responses": responses, "vectors": {}, "status": "completed", "_server_id": null,
    })
}

/// A UUID for a name, the same for the same name: Argilla knows its users by them.
fn user_id(name: &str) -> String {
    let hash = Sha256::digest(format!("palestra annotator {name}"));
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    // Version 8: a UUID of one's own making, of RFC 9562.
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

fn label_studio(item: &[LabelledItem], names: &BTreeMap<String, String>, most_answers: usize) -> Value {
    let annotations = item.iter().map(|labelled| {
        let mut result = Vec::new();
        let mut add = |from: &str, to: &str, kind: &str, value: Value| {
            let id = format!("{}-{}", labelled.number, result.len());
            result.push(
                json!({"id": id, "from_name": from, "to_name": to, "type": kind, "value": value, "origin": "manual"}),
            );
        };
        if let Some(choice) = choice(labelled) {
            add("preference", "prompt", "choices", json!({"choices": [choice]}));
        }
        if let Verdict::Ranking { answers } = &labelled.label.verdict {
            let ranked: Vec<String> = answers.iter().map(|place| format!("answer_{}", place + 1)).collect();
            add("ranking", "prompt", "textarea", json!({"text": [ranked.join(", ")]}));
        }
        for (question, place, rating) in ratings(labelled) {
            // Label Studio's stars are whole numbers.
            add(&question, &format!("answer_{}", place + 1), "rating", json!({"rating": rating.round() as i64}));
        }
        if let Some(strength) = labelled.label.strength {
            add("strength", "prompt", "choices", json!({"choices": [strength]}));
        }
        if !labelled.label.comment.is_empty() {
            add("comment", "prompt", "textarea", json!({"text": [labelled.label.comment]}));
        }
        json!({
            "id": labelled.number, "result": result, "was_cancelled": labelled.label.verdict == Verdict::Skip,
            "ground_truth": false, "lead_time": labelled.seconds, "completed_by": {"email": names[&labelled.annotator]},
        })
    });
    // Label Studio's tags show texts, and a conversation as one.
    let mut data = texts(&item[0], |text| text.as_text().into());
    // Label Studio refuses a task without a field that the configuration shows.
    for answer in item[0].answers.len()..most_answers {
        data.insert(format!("answer_{}", answer + 1), "".into());
    }
    json!({"id": item[0].item, "data": data, "meta": metadata(&item[0]), "annotations": annotations.collect::<Value>()})
}

/// Labelling configuration of Label Studio that the exported tasks of a store fit, for its field "Labeling interface".
pub fn label_studio_config(tasks: &Value) -> String {
    let mut controls: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut answers = 0;
    for task in tasks.as_array().into_iter().flatten() {
        let data = task["data"].as_object().into_iter().flat_map(Map::keys);
        answers = answers.max(data.filter(|name| name.starts_with("answer_")).count());
        let annotations = task["annotations"].as_array().into_iter().flatten();
        for result in annotations.flat_map(|annotation| annotation["result"].as_array().into_iter().flatten()) {
            let text = |name: &str| result[name].as_str().unwrap_or_default();
            controls.insert(text("from_name"), (text("to_name"), text("type")));
        }
    }
    let mut config = "<View>\n  <Text name=\"prompt\" value=\"$prompt\"/>\n".to_string();
    for answer in 1..=answers {
        config += &format!("  <Text name=\"answer_{answer}\" value=\"$answer_{answer}\"/>\n");
    }
    controls.entry("preference").or_insert(("prompt", "choices"));
    for (name, (to, kind)) in controls {
        let choices: Vec<String> = match (kind, name) {
            ("choices", "strength") => vec!["slightly".into(), "much".into()],
            _ => {
                (1..=answers).map(|answer| format!("answer_{answer}")).chain(["tie".into(), "all_bad".into()]).collect()
            }
        };
        config += &match kind {
            "choices" => {
                let choices: String =
                    choices.iter().map(|choice| format!("    <Choice value=\"{choice}\"/>\n")).collect();
                format!("  <Choices name=\"{name}\" toName=\"{to}\" choice=\"single\">\n{choices}  </Choices>\n")
            }
            "rating" => format!("  <Rating name=\"{name}\" toName=\"{to}\" maxRating=\"{SCALE}\"/>\n"),
            _ => format!("  <TextArea name=\"{name}\" toName=\"{to}\"/>\n"),
        };
    }
    config + "</View>\n"
}

#[cfg(test)]
mod tests;
