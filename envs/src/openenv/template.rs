//! Texts to the actions of a server, and its observations to texts, as the run file describes them.

use serde_json::Value;

/// Placeholder of the action's text in a template of actions.
const TEXT: &str = "{action}";

/// Placeholder of the action's text read as JSON. It is a value of its own.
const JSON: &str = "{action:json}";

/// Fills the text of an action into a template; `None` if the template needs JSON and the text is none.
pub(super) fn action(template: &Value, text: &str) -> Option<Value> {
    match template {
        Value::String(template) if template == JSON => serde_json::from_str(text.trim()).ok(),
        Value::String(template) => Some(template.replace(TEXT, text).into()),
        Value::Array(items) => {
            items.iter().map(|item| action(item, text)).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Value::Object(fields) => {
            let filled = fields.iter().map(|(name, value)| Some((name.clone(), action(value, text)?)));
            filled.collect::<Option<serde_json::Map<_, _>>>().map(Value::Object)
        }
        other => Some(other.clone()),
    }
}

/// True if a template of actions has a place for the action.
pub(super) fn has_action(template: &Value) -> bool {
    match template {
        Value::String(template) => template.contains(TEXT) || template == JSON,
        Value::Array(items) => items.iter().any(has_action),
        Value::Object(fields) => fields.values().any(has_action),
        _ => false,
    }
}

/// Fills the fields of an observation into a template: `{board}`, `{board.0}`; `{{` and `}}` are braces. A text stands as it
/// is, and anything else as JSON. The error names the field that is missing.
pub(super) fn observation(template: &str, observation: &Value) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        if let Some(after) = from.strip_prefix("{{").or(from.strip_prefix("}}")) {
            text.push_str(&from[..1]);
            rest = after;
            continue;
        }
        let field = from.strip_prefix('{').and_then(|from| from.split_once('}'));
        let (path, after) = field.ok_or("it has a brace without its partner; write `{{` or `}}` for a brace")?;
        text.push_str(&shown(field_at(observation, path)?));
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// The value at a path of names and numbers with points between them.
pub(super) fn field_at<'a>(observation: &'a Value, path: &str) -> Result<&'a Value, String> {
    path.split('.').try_fold(observation, |value, name| {
        let inner = name.parse().ok().and_then(|index: usize| value.get(index)).or_else(|| value.get(name));
        inner.ok_or_else(|| {
            let known = value.as_object().map_or_else(String::new, |fields| {
                format!("; it has {}", fields.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
            });
            format!("the observation has no field `{path}`{known}")
        })
    })
}

/// A value as a text.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_action_is_filled_in() {
        let template = json!({ "message": "say {action}", "id": "{action:json}", "more": [1, "{action}"] });
        assert_eq!(action(&template, "3"), Some(json!({ "message": "say 3", "id": 3, "more": [1, "3"] })));
        assert_eq!(action(&template, "three"), None);
        assert_eq!(action(&json!({ "m": "{action}" }), "\"}{action}"), Some(json!({ "m": "\"}{action}" })));
        assert!(has_action(&template) && !has_action(&json!({ "message": "always the same" })));
    }

    #[test]
    fn an_observation_is_written() {
        let seen = json!({ "board": [[1, 0], [0, 2]], "said": "go \"on\"", "won": null });
        let written = |template: &str| observation(template, &seen);
        assert_eq!(written("{said}: {board.1} {{{board.0.0}}} {won}").unwrap(), "go \"on\": [0,2] {1} null");
        assert_eq!(
            written("{bord}").unwrap_err(),
            "the observation has no field `bord`; it has `board`, `said`, `won`"
        );
        assert!(written("{said").unwrap_err().contains("without its partner"));
    }
}
