//! Fields of a turn and of an episode, under all their customary names.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fields::{Fields, content_of, text_of};
use super::report::Notes;
use crate::error::Result;
use crate::{Content, End, Episode, Turn};

const OBSERVATION: [&str; 3] = ["observation", "state", "obs"];
const ACTION: [&str; 1] = ["action"];
const REWARD: [&str; 1] = ["reward"];
const NEXT: [&str; 3] = ["next_observation", "next_state", "next_obs"];
const DONE: [&str; 1] = ["done"];
const TERMINATED: [&str; 2] = ["terminated", "terminal"];
const TRUNCATED: [&str; 3] = ["truncated", "truncation", "timeout"];
const FINAL: [&str; 2] = ["final_observation", "final_state"];

/// Columns of a trajectory that are lists, each with the name of one of its values.
const LISTS: [(&str, &str); 22] = [
    ("observations", "observation"),
    ("states", "observation"),
    ("obs", "observation"),
    ("actions", "action"),
    ("rewards", "reward"),
    ("dones", "done"),
    ("terminals", "terminated"),
    ("terminations", "terminated"),
    ("terminated", "terminated"),
    ("truncations", "truncated"),
    ("truncated", "truncated"),
    ("timeouts", "truncated"),
    ("next_observations", "next_observation"),
    ("next_states", "next_observation"),
    ("next_obs", "next_observation"),
    ("infos", "info"),
    ("legal_actions", "legal_actions"),
    ("reward_parts", "reward_parts"),
    ("invalid_actions", "invalid_action"),
    ("action_ids", "action_ids"),
    ("log_probs", "log_probs"),
    ("timestamps", "timestamp"),
];

/// A turn, and the fields of its line about the episode.
pub(super) struct Step {
    pub turn: Turn,
    /// End of the episode: `None` if the line has no end flag, and `Some(None)` if the episode continues.
    pub end: Option<Option<End>>,
    pub end_reason: Option<String>,
    /// The next observation, after the action.
    pub next: Option<Content>,
    /// The observation after the last action, if it has its own field.
    pub final_observation: Option<Content>,
}

/// Consumes the fields of a turn.
pub(super) fn take_step(fields: &mut Fields, notes: &mut Notes) -> Result<Step> {
    let observation = fields.required_content(&OBSERVATION, "observation_messages", notes)?;
    let action = fields.required_text(&ACTION, notes)?;
    let reward = fields.required_number(&REWARD)?;
    let info = fields.take(&["info"]).map(|(_, value)| value);
    let end = take_end(fields, info.as_ref())?;
    let log_probs = match fields.take(&["log_probs", "log_prob", "logprob"]) {
        Some((name, value)) => {
            let numbers = if value.is_array() { value.clone() } else { Value::Array(vec![value.clone()]) };
            let numbers = serde_json::from_value::<Vec<f32>>(numbers).ok();
            Some(numbers.ok_or_else(|| fields.at.wrong(name, &value, "a number, or a number for each token"))?)
        }
        None => None,
    };
    let legal_actions: Option<Vec<Value>> = fields.typed("legal_actions", "a list of actions")?;
    let mut unnoted = Notes::default();
    let turn = Turn {
        observation,
        action,
        reward,
        reward_parts: fields.typed::<BTreeMap<String, f32>>("reward_parts", "numbers by name")?.unwrap_or_default(),
        legal_actions: legal_actions.map(|all| all.into_iter().map(|one| text_of(one, &mut unnoted)).collect()),
        invalid_action: fields.flag(&["invalid_action"])?.unwrap_or_default(),
        action_ids: fields.typed("action_ids", "a list of token ids")?,
        prompt_ids: fields.typed("prompt_ids", "a list of token ids")?,
        log_probs,
        info: info.map(|info| text_of(info, &mut unnoted)),
        timestamp: fields.typed("timestamp", "microseconds since 1970")?,
    };
    Ok(Step {
        turn,
        end,
        end_reason: fields.typed("end_reason", "a text")?,
        // The same observation is on the next line, and is counted there.
        next: fields.take(&NEXT).map(|(_, value)| content_of(value, &mut unnoted)),
        final_observation: take_final(fields)?,
    })
}

/// Consumes the observation after the last action.
pub(super) fn take_final(fields: &mut Fields) -> Result<Option<Content>> {
    fields.content(&FINAL, "final_observation_messages", &mut Notes::default())
}

/// Consumes the flags of an end. `done` alone does not distinguish the two kinds of end; if another field beside it
/// says that a limit was reached, the episode is truncated.
pub(super) fn take_end(fields: &mut Fields, info: Option<&Value>) -> Result<Option<Option<End>>> {
    let done = fields.flag(&DONE)?;
    let terminated = fields.flag(&TERMINATED)?;
    let truncated = fields.flag(&TRUNCATED)?;
    // Gym's TimeLimit reported it so when there was only `done`.
    let of_text = info.and_then(Value::as_str).and_then(|json| serde_json::from_str::<Value>(json).ok());
    let info = of_text.as_ref().or(info);
    let limit = info.and_then(|info| info.get("TimeLimit.truncated")).and_then(Value::as_bool).unwrap_or_default();
    if done.is_none() && terminated.is_none() && truncated.is_none() {
        return Ok(None);
    }
    Ok(Some(match (terminated, truncated, done) {
        (Some(true), _, _) => Some(End::Terminated),
        (_, Some(true), _) => Some(End::Truncated),
        (Some(false), _, Some(true)) => Some(End::Truncated),
        (None, _, Some(true)) => Some(if limit { End::Truncated } else { End::Terminated }),
        _ => None,
    }))
}

/// Consumes the fields of an episode as a whole. Its id is set later.
pub(super) fn take_episode(fields: &mut Fields) -> Result<Episode> {
    Ok(Episode {
        env_id: fields.typed("env_id", "a text")?.unwrap_or_default(),
        env_spec: fields.take(&["env_spec"]).map(|(_, value)| text_of(value, &mut Notes::default())),
        seed: fields.typed("seed", "a whole number, not negative")?,
        split: fields.typed("split", "a text")?,
        policy_id: fields.typed("policy_id", "a text")?.unwrap_or_default(),
        policy_step: fields.typed("policy_step", "a whole number, not negative")?.unwrap_or_default(),
        tokenizer_hash: fields.typed("tokenizer_hash", "a text")?,
        temperature: fields.typed("temperature", "a number")?,
        top_p: fields.typed("top_p", "a number")?,
        reward_source: fields.typed("reward_source", "rules, model or human")?,
        rater_id: fields.typed("rater_id", "a text")?,
        ..Episode::default()
    })
}

/// Splits the lists of a trajectory into one object per step. One observation may follow the last step.
pub(super) fn take_lists(fields: &mut Fields, notes: &mut Notes) -> Result<(Vec<Value>, Option<Content>)> {
    let Some((_, Value::Array(actions))) = fields.take(&["actions"]) else {
        return Err(fields.at.error("actions", "missing; a trajectory of lists has an action for each step"));
    };
    let mut steps: Vec<Map<String, Value>> =
        actions.into_iter().map(|action| Map::from_iter([("action".to_string(), action)])).collect();
    let mut last = None;
    for (list, name) in LISTS {
        if !fields.has_list(&[list]) {
            continue;
        }
        let Some((_, Value::Array(mut values))) = fields.take(&[list]) else { continue };
        if values.len() == steps.len() + 1 && (name == "observation" || name == "info") {
            let after = values.pop().expect("one more than steps");
            if name == "observation" {
                last = Some(content_of(after, notes));
            }
        }
        if values.len() != steps.len() {
            let reason = format!("{} values where {} should be: one for each action", values.len(), steps.len());
            return Err(fields.at.error(list, reason));
        }
        for (step, value) in steps.iter_mut().zip(values) {
            step.insert(name.to_string(), value);
        }
    }
    Ok((steps.into_iter().map(Value::Object).collect(), last))
}
