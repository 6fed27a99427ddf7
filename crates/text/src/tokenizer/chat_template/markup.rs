//! Text that `escape` or `safe` marked as HTML. In Jinja it is MarkupSafe's `Markup`: it is not escaped twice, and text that
//! is put together with it is escaped.
//!
//! minijinja keeps the mark, and its `+` and `~` do not look at it. In a template that marks text their operands pass
//! filters, by which `~` takes the text alone, as Jinja does, and `+` refuses marked text.

use minijinja::value::{Rest, Tuple, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters};

use super::source::{end_of_bracket, end_of_operand, end_of_text};

/// Filters that mark text.
const MARKERS: [&str; 4] = ["e", "escape", "forceescape", "safe"];

/// Words of expressions and tags that are no operands.
const KEYWORDS: [&str; 11] = ["and", "elif", "else", "for", "if", "in", "is", "not", "or", "recursive", "set"];

/// Maximum depth of brackets in a template that marks text.
const MAX_DEPTH: usize = 100;

/// Adds the filters that mark text, and those by which operands pass.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    for name in ["e", "escape"] {
        environment.add_filter(name, |value: Value| if value.is_safe() { value } else { escaped(&value) });
    }
    environment.add_filter("forceescape", |value: Value| escaped(&value));
    environment.add_filter("format", |state: &mut State, text: Value, arguments: Rest<ValueOrKwargs>| {
        filters::format(state, &unmarked(refuse_marked(text, "`format`")?), arguments)
    });
    environment.add_filter("list", |state: &mut State, value: Value| filters::list(state, unmarked(value)));
    environment.add_filter("added", |value: Value| refuse_marked(value, "`+`"));
    environment.add_filter("sliced", |value: Value| refuse_marked(value, "`[...]`"));
    environment.add_filter("joined", unmarked);
}

/// Returns text with the mark that `source` has.
pub(super) fn marked_as(source: &Value, text: String) -> Value {
    if source.is_safe() { Value::from_safe_string(text) } else { text.into() }
}

/// Returns a value, if it is not marked text.
///
/// # Errors
/// Marked text, which `operation` would escape other text for.
pub(super) fn refuse_marked(value: Value, operation: &str) -> Result<Value, Error> {
    if !value.is_safe() {
        return Ok(value);
    }
    let reason =
        format!("{operation} of text that `escape` or `safe` marked as HTML is not read; `~` joins it as it is");
    Err(Error::new(ErrorKind::InvalidOperation, reason))
}

/// Calls a method of marked text: text among its arguments is escaped, and text in its result is marked.
pub(super) fn call_method(
    state: &mut State,
    value: &Value,
    name: &str,
    arguments: &[Value],
    call: impl FnOnce(&mut State, &Value, &str, &[Value]) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let escape =
        |value: &Value| if value.as_str().is_none() || value.is_safe() { value.clone() } else { escaped(value) };
    let mut arguments = arguments.to_vec();
    match (name, arguments.as_mut_slice()) {
        ("format", _) => _ = refuse_marked(value.clone(), "`format`")?,
        ("join", [items, ..]) => *items = items.try_iter()?.map(|item| escape(&item)).collect(),
        ("center" | "ljust" | "replace" | "rjust", [_, text, ..]) => *text = escape(text),
        _ => {}
    }
    let mark = |item: Value| item.as_str().map(|text| Value::from_safe_string(text.to_string())).unwrap_or(item);
    let result = call(state, &unmarked(value.clone()), name, &arguments)?;
    Ok(match result.kind() {
        ValueKind::Seq if result.is_tuple() => Tuple::from(result.try_iter()?.map(mark).collect::<Vec<_>>()).into(),
        ValueKind::Seq | ValueKind::Iterable => result.try_iter()?.map(mark).collect(),
        _ => mark(result),
    })
}

fn unmarked(value: Value) -> Value {
    match value.as_str() {
        Some(text) if value.is_safe() => text.into(),
        _ => value,
    }
}

fn escaped(value: &Value) -> Value {
    let text = value.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Value::from_safe_string(text.replace('\'', "&#39;").replace('"', "&#34;"))
}

/// True if a template may mark text.
pub(super) fn marks(template: &str) -> bool {
    template.split(|it: char| !it.is_alphanumeric() && it != '_').any(|word| MARKERS.contains(&word))
}

/// Adds the filters to the operands of `+`, `~` and `[...]` in the code of a tag.
///
/// # Errors
/// Brackets that are nested too deep: each level is read anew.
pub(super) fn with_checked_operands(code: &str) -> Result<String, String> {
    check_operands(code, 0)
}

fn check_operands(code: &str, depth: usize) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err(format!("has brackets nested more than {MAX_DEPTH} deep, and text that `escape` or `safe` marks"));
    }
    let mut out = String::new();
    let (mut at, mut before) = (0, ' ');
    while let Some(character) = code[at..].chars().next() {
        let end = if is_operand(character) { end_of_operand(code, at) } else { at };
        if end == at {
            // A sign at the beginning is that of white space, or of a number.
            if !character.is_whitespace() && !out.trim().is_empty() {
                before = character;
            }
            out.push(character);
            at += character.len_utf8();
            continue;
        }
        let word = &code[at..at + code[at..].find(|it: char| !is_word(it)).unwrap_or(code.len() - at)];
        if KEYWORDS.contains(&word) {
            out.push_str(word);
            at += word.len();
            before = ' ';
            continue;
        }
        out.push_str(&check_parts(&code[at..end], depth)?);
        let after = code[end..].trim();
        // A sign at the end is that of white space.
        let after = after.chars().next().filter(|_| after.len() > 1).unwrap_or(' ');
        if before == '+' || after == '+' {
            out.push_str("|added");
        } else if before == '~' || after == '~' {
            out.push_str("|joined");
        }
        (at, before) = (end, ' ');
    }
    Ok(out)
}

/// The same for what an operand has in brackets.
fn check_parts(operand: &str, depth: usize) -> Result<String, String> {
    let mut out = String::new();
    let mut at = 0;
    while let Some(character) = operand[at..].chars().next() {
        let end = match character {
            '"' | '\'' => end_of_text(operand, at),
            '(' | '[' | '{' => {
                if character == '[' && !out.trim().is_empty() {
                    out = format!("({out}|sliced)");
                }
                let end = end_of_bracket(operand, at);
                let inside = operand.get(at + 1..end - 1).filter(|_| operand[at..end].ends_with([')', ']', '}']));
                out.push(character);
                out.push_str(&check_operands(inside.unwrap_or(&operand[at + 1..end]), depth + 1)?);
                out.push_str(if inside.is_some() { &operand[end - 1..end] } else { "" });
                at = end;
                continue;
            }
            _ => at + character.len_utf8(),
        };
        out.push_str(&operand[at..end]);
        at = end;
    }
    Ok(out)
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn is_operand(character: char) -> bool {
    is_word(character) || matches!(character, '"' | '\'' | '(' | '[' | '{')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::{ChatTemplate, Message};

    fn rendered(text: &str) -> String {
        let template = ChatTemplate::new("t", text, BTreeMap::new());
        let rendered = template.and_then(|template| template.render(&[Message::new("user", "<a>")], false));
        rendered.unwrap_or_else(|error| error.to_string())
    }

    /// Expected texts are those of Jinja2 3.1.6 with MarkupSafe 3.0.4.
    #[test]
    fn marked_text_is_escaped_once_and_joined_as_it_is() {
        let cases = [
            ("{{ '<'|e|e }}{{ '<'|safe|e }}{{ '<'|e|forceescape }}", "&lt;<&amp;lt;"),
            (
                "{% set j = messages|tojson|safe %}{{ j ~ '\"' ~ (j|upper)|e }}",
                r#"[{"role": "user", "content": "<a>"}]"[{"ROLE": "USER", "CONTENT": "<A>"}]"#,
            ),
            ("{{ ('<'|safe ~ '>'|safe)|e }}{{ ['<'|safe, '>'|safe]|join|e }}", "&lt;&gt;&lt;&gt;"),
            ("{{ ('a,<'|safe).split(',')|map('e')|join(' ') }}{{ ('a<'|e).replace('a', '>') }}", "a <&gt;&lt;"),
            ("{{ ('<'|safe * 2)|e }}{{ ('%s'|safe).join(['<', '>'|safe]) }}", "<<&lt;%s>"),
            ("{{ [1, 2][1] + messages[0].content|length }}", "5"),
        ];
        for (text, right) in cases {
            assert_eq!(rendered(text), right, "{text}");
        }
    }

    #[test]
    fn operations_that_would_escape_other_text_are_refused() {
        for text in [
            "{{ '<' + '>'|e }}",
            "{{ '<'|e + '>' }}",
            "{{ ('%s'|safe)|format('<') }}",
            "{{ ('{}'|safe).format('<') }}",
            "{{ ('<a'|e)[1:] }}",
            "{% macro m() %}<{% endmacro %}{{ m() + '<' + m()|e }}",
        ] {
            let found = rendered(text);
            assert!(found.starts_with("tokenizer: t: line 1: `"), "{text}: {found}");
            assert!(found.contains("marked as HTML is not read"), "{text}: {found}");
        }
        let deep = format!("{{{{ {}1{}|safe }}}}", "(".repeat(101), ")".repeat(101));
        assert!(rendered(&deep).contains("nested more than 100 deep"), "{}", rendered(&deep));
    }
}
