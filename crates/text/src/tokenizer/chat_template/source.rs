//! The source of a chat template, rewritten where minijinja's syntax differs from that of transformers' Jinja.

use super::markup::{self, with_checked_operands};

/// Maximum number of `elif` tags: minijinja takes time with the square of a chain's length.
const MAX_ELIF: usize = 1_000;

/// A template in minijinja's syntax.
pub(super) struct Source {
    /// The text.
    pub text: String,
    /// True if there is a `{% generation %}`.
    pub marks_generation: bool,
    /// True if values may be put into values again and again: something with parts is set as an attribute.
    pub nests: bool,
}

/// Rewrites a template: line breaks are `\n`, as Jinja reads them; `{% generation %}` becomes a filter block, which keeps
/// all white-space rules; `"..." % x` becomes a filter; the operands of a template that marks text
/// are checked; the line break after `{% raw %}` is kept.
///
/// # Errors
/// Those of `check`, which is given the code of each tag.
pub(super) fn rewrite(template: &str, check: &dyn Fn(&str) -> Result<(), String>) -> Result<Source, String> {
    let template = template.replace("\r\n", "\n").replace('\r', "\n");
    let (mut text, mut marks_generation, mut nests) = (String::new(), false, false);
    let marks_text = markup::marks(&template);
    let mut rest = template.as_str();
    let mut chained = 0;
    while let Some(open) = begin_of_tag(rest) {
        let (before, tag) = rest.split_at(open);
        text.push_str(before);
        let length = match &tag[..2] {
            "{#" => tag[2..].find("#}").map(|at| at + 4),
            "{{" => end_of_code(&tag[2..], "}}").map(|at| at + 4),
            _ => end_of_code(&tag[2..], "%}").map(|at| at + 4),
        };
        let Some(length) = length else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(length);
        rest = after;
        let code = &tag[2..length - 2];
        if &tag[..2] != "{#" {
            check(code)?;
        }
        let word = code.trim_matches(['-', '+']).trim();
        nests |= sets_parts(word);
        chained += usize::from(&tag[..2] == "{%" && word.starts_with("elif"));
        if chained > MAX_ELIF {
            return Err(format!("has more than {MAX_ELIF} tags {{% elif %}}; a shorter chain, or a mapping, is read"));
        }
        match (&tag[..2], word) {
            ("{#", _) => text.push_str(tag),
            ("{%", "generation") => {
                marks_generation = true;
                text.push_str(&tag.replacen(word, "filter generation", 1));
            }
            ("{%", "endgeneration") => text.push_str(&tag.replacen(word, "endfilter", 1)),
            ("{%", "raw") => {
                text.push_str(tag);
                if after.starts_with('\n') && !tag.ends_with("-%}") {
                    text.push('\n');
                }
                let end =
                    after.find("{%").filter(|_| after.contains("endraw")).map_or(after.len(), |_| end_of_raw(after));
                text.push_str(&after[..end]);
                rest = &after[end..];
            }
            (open, _) => {
                let code = with_percent_filters(code);
                let code = if marks_text { with_checked_operands(&code)? } else { code };
                text.extend([open, &code, &tag[length - 2..]]);
            }
        }
    }
    // A tag without an end is an error of its own; its code is no longer than what is left.
    check(rest.get(2..).filter(|_| rest.starts_with(['{'])).unwrap_or_default())?;
    text.push_str(rest);
    Ok(Source { text, marks_generation, nests })
}

/// Place of the next tag. One pass over the text, whichever kinds of tags it has.
fn begin_of_tag(text: &str) -> Option<usize> {
    let is_tag = |at: &usize| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#'));
    text.match_indices('{').map(|(at, _)| at).find(is_tag)
}

/// True for code such as `set ns.x = [ns.x]`: of all that a template can do, setting attributes alone outlasts a loop.
fn sets_parts(code: &str) -> bool {
    let set = code.strip_prefix("set").and_then(|set| set.split_once('='));
    let makes_parts = |value: &str| ["[", "{", ",", "|", "dict", "namespace"].iter().any(|it| value.contains(it));
    set.is_some_and(|(target, value)| target.contains('.') && makes_parts(value))
}

/// Place of the tag `{% endraw %}`.
fn end_of_raw(text: &str) -> usize {
    let is_end = |at: &usize| text[at + 2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw");
    text.match_indices("{%").map(|(at, _)| at).find(is_end).unwrap_or(text.len())
}

/// Place of what ends a tag, outside of texts in quotes and of brackets.
fn end_of_code(code: &str, end: &str) -> Option<usize> {
    let (mut at, mut depth) = (0, 0usize);
    while let Some(character) = code[at..].chars().next() {
        if depth == 0 && code[at..].starts_with(end) {
            return Some(at);
        }
        match character {
            '"' | '\'' => {
                at = end_of_text(code, at);
                continue;
            }
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += character.len_utf8();
    }
    None // text or brackets without an end, which no Jinja reads
}

/// Place behind the text in quotes that begins at `start`.
pub(super) fn end_of_text(code: &str, start: usize) -> usize {
    let quote = code.as_bytes()[start];
    let mut at = start + 1;
    while at < code.len() {
        match code.as_bytes()[at] {
            b'\\' => at += 1,
            byte if byte == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    code.len()
}

/// Turns `"..." % x` into `"..."|percent(x)`: minijinja's `%` knows numbers alone.
fn with_percent_filters(code: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    while let Some(character) = code[at..].chars().next() {
        if !matches!(character, '"' | '\'') {
            out.push(character);
            at += character.len_utf8();
            continue;
        }
        let end = end_of_text(code, at);
        out.push_str(&code[at..end]);
        at = end;
        let operand = code[end..].trim_start();
        if let Some(operand) = operand.strip_prefix('%') {
            let from = code.len() - operand.len();
            let to = end_of_operand(code, from);
            out.extend(["|percent(", &with_percent_filters(code[from..to].trim()), ")"]);
            at = to;
        }
    }
    out
}

/// Place behind the bracket that closes the one at `start`.
pub(super) fn end_of_bracket(code: &str, start: usize) -> usize {
    let close = match code.as_bytes()[start] {
        b'(' => ")",
        b'[' => "]",
        _ => "}",
    };
    end_of_code(&code[start + 1..], close).map_or(code.len(), |length| start + 1 + length + 1)
}

/// Place behind the operand that begins at `start`: a value with its attributes, items, calls and filters.
pub(super) fn end_of_operand(code: &str, start: usize) -> usize {
    let bytes = code.as_bytes();
    let skip = |mut at: usize, is: fn(u8) -> bool| {
        while at < bytes.len() && is(bytes[at]) {
            at += 1;
        }
        at
    };
    let is_space = |byte: u8| byte.is_ascii_whitespace();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    let mut at = skip(start, |byte| byte.is_ascii_whitespace() || byte == b'-');
    let mut end = at;
    loop {
        end = match bytes.get(at) {
            Some(b'"' | b'\'') if end == at => end_of_text(code, at),
            Some(b'(' | b'[' | b'{') => end_of_bracket(code, at),
            Some(b'|') => skip(skip(at + 1, is_space), is_word),
            Some(byte) if is_word(*byte) && (end == at || *byte == b'.') => skip(at, is_word),
            _ => return end.max(start),
        };
        // A filter or an attribute may stand behind spaces; a word would be another operator.
        let next = skip(end, is_space);
        at = if matches!(bytes.get(next), Some(b'|' | b'(' | b'[' | b'.')) { next } else { end };
        if at == end && !matches!(bytes.get(at), Some(b'|' | b'(' | b'[' | b'.')) {
            return end;
        }
    }
}
