//! Answers as expressions: a number with its unit, a collection, a union of intervals, or a text.

use std::sync::LazyLock;

use regex::Regex;

use super::number::Number;

/// Maximum depth of collections in collections.
const DEEPEST: usize = 8;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    /// A number, and the unit behind it; empty without one.
    Number(Number, String),
    /// An infinity: true if it is positive.
    Infinity(bool),
    /// Entries without order: in braces, or a bare list.
    Set(Vec<Expression>),
    /// Entries in order, and their brackets: a point, or an interval.
    Sequence(char, Vec<Expression>, char),
    /// Intervals without order.
    Union(Vec<Expression>),
    Text(String),
}

use Expression::{Infinity, Sequence, Set, Text, Union};

impl Expression {
    /// Parses an answer in plain text or LaTeX. What is nothing else is a text.
    pub fn parse(text: &str) -> Self {
        let text = plain(text);
        // A name before the answer, as in `x = 5`.
        let value = match text.split_once('=') {
            Some((name, value)) if name.trim().chars().all(char::is_alphanumeric) => value.trim(),
            _ => &text,
        };
        Self::parse_plain(value, 0)
    }

    fn parse_plain(text: &str, depth: usize) -> Self {
        let text = text.trim();
        let parse = |part: &str| Self::parse_plain(part, depth + 1);
        if depth > DEEPEST {
            return Text(compact(text));
        }
        if let Some(number) = number(text) {
            return number;
        }
        match text {
            "∅" => return Set(Vec::new()),
            "∞" | "+∞" | "inf" | "+inf" | "infinity" => return Infinity(true),
            "-∞" | "-inf" | "-infinity" => return Infinity(false),
            _ => {}
        }
        let parts = split(text, '∪');
        if parts.len() > 1 {
            return Union(parts.into_iter().map(parse).collect());
        }
        if let Some((open, inside, close)) = bracketed(text) {
            let entries = split(inside, ',');
            return match (open, entries.as_slice()) {
                ('{', [""]) => Set(Vec::new()),
                ('{', _) => Set(entries.into_iter().map(parse).collect()),
                ('(', [one]) => parse(one),
                _ => Sequence(open, entries.into_iter().map(parse).collect(), close),
            };
        }
        let entries = split(text, ',');
        if entries.len() > 1 { Set(entries.into_iter().map(parse).collect()) } else { Text(compact(text)) }
    }

    /// True if two answers are the same; numbers may differ by a relative `tolerance`.
    pub fn is_equal(&self, other: &Self, tolerance: f64) -> bool {
        let same = |one: &Self, two: &Self| one.is_equal(two, tolerance);
        match (self, other) {
            (Self::Number(one, unit), Self::Number(two, other_unit)) => {
                let is_equal = one.is_equal(*two, tolerance);
                let hundredth = Number::Exact(1, 100);
                match (unit == "%", other_unit == "%") {
                    (true, false) => is_equal || one.times(hundredth).is_equal(*two, tolerance),
                    (false, true) => is_equal || two.times(hundredth).is_equal(*one, tolerance),
                    _ => is_equal && (unit == other_unit || unit.is_empty() || other_unit.is_empty()),
                }
            }
            (Set(one), Set(two)) | (Union(one), Union(two)) => {
                let is_in = |entry: &Self, all: &[Self]| all.iter().any(|one| same(one, entry));
                one.iter().all(|entry| is_in(entry, two)) && two.iter().all(|entry| is_in(entry, one))
            }
            (Sequence(open, one, close), Sequence(other_open, two, other_close)) => {
                (open, close) == (other_open, other_close)
                    && one.len() == two.len()
                    && one.iter().zip(two).all(|(one, two)| same(one, two))
            }
            (Infinity(one), Infinity(two)) => one == two,
            (Text(one), Text(two)) => !one.is_empty() && one == two,
            _ => false,
        }
    }
}

/// Pieces of LaTeX and of typography, with what they stand for.
const REPLACED: [(&str, &str); 34] = [
    ("\\$", ""),
    ("$", ""),
    ("\\(", ""),
    ("\\)", ""),
    ("\\[", ""),
    ("\\]", ""),
    ("{,}", ","),
    ("\\left", ""),
    ("\\right", ""),
    ("\\displaystyle", ""),
    ("\\!", ""),
    ("\\,", " "),
    ("\\;", " "),
    ("\\:", " "),
    ("\\ ", " "),
    ("~", " "),
    ("\\{", "{"),
    ("\\}", "}"),
    ("\\%", "%"),
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("^{\\circ}", " degrees"),
    ("^\\circ", " degrees"),
    ("°", " degrees"),
    ("\\infty", "∞"),
    ("\\emptyset", "∅"),
    ("\\varnothing", "∅"),
    ("\\cup", "∪"),
    (" U ", " ∪ "),
    ("\\times", "×"),
    ("\\cdot", "×"),
    ("−", "-"),
    ("\\mathrm", "\\text"),
    ("\\textbf", "\\text"),
];

static WORDS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\\text\s*\{([^{}]*)\}").expect("a constant"));

/// An answer without the marks of LaTeX that say nothing.
fn plain(text: &str) -> String {
    let mut text = text.trim().to_string();
    for (mark, meaning) in REPLACED {
        text = text.replace(mark, meaning);
    }
    let text = WORDS.replace_all(&text, " $1 ");
    let text = text.trim();
    text.strip_suffix('.').unwrap_or(text).trim().to_string()
}

/// A text without white space, case, and braces around single letters.
fn compact(text: &str) -> String {
    let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    SINGLE.replace_all(&text.to_lowercase(), "$1").into_owned()
}

static SINGLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{(\w)\}").expect("a constant"));

/// Sign, then a mixed number, a fraction, a number times a power of ten, or a number; then a unit.
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    const DECIMAL: &str = r"(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?";
    const FRACTION: &str = r"\\frac\s*(?:\{\s*(?P<top>[+-]?[\d.,]+)\s*\}|(?P<top1>\d))\s*(?:\{\s*(?P<bottom>[+-]?[\d.,]+)\s*\}|(?P<bottom1>\d))";
    let power = r"\s*×\s*10\s*\^\s*\{?\s*(?P<power>[+-]?\d{1,4})\s*\}?";
    let pattern = format!(
        r"^(?P<sign>[+-]?)\s*(?:(?:(?P<whole>\d+)\s*)?{FRACTION}|(?:(?P<plain>\d+)\s+)?(?P<upper>\d[\d,]*)\s*/\s*(?P<lower>\d[\d,]*)|(?P<decimal>{DECIMAL})(?:{power})?)\s*(?P<unit>%|[\p{{Alphabetic}}][\p{{Alphabetic}}\d\s./^²³]*)?$"
    );
    Regex::new(&pattern).expect("a constant")
});

/// Parses a number with its unit.
fn number(text: &str) -> Option<Expression> {
    let found = NUMBER.captures(text)?;
    let named = |name: &str| found.name(name).map(|part| part.as_str());
    let parsed = |name: &str| named(name).and_then(Number::parse);
    let (top, bottom) = (parsed("top").or(parsed("top1")), parsed("bottom").or(parsed("bottom1")));
    let value = match (top.zip(bottom), parsed("upper").zip(parsed("lower"))) {
        (Some((top, bottom)), _) => with_whole(parsed("whole"), top.divided_by(bottom)?),
        (None, Some((top, bottom))) => with_whole(parsed("plain"), top.divided_by(bottom)?),
        (None, None) => {
            let power = named("power").map_or(Some(0), |power| power.parse().ok())?;
            parsed("decimal")?.times(Number::power_of_ten(power))
        }
    };
    let value = if named("sign") == Some("-") { value.negated() } else { value };
    let unit = named("unit").unwrap_or_default();
    // A letter that stands at the number is a variable, and the answer a term: `2x`.
    if unit.chars().count() == 1 && unit != "%" && !text[..text.len() - unit.len()].ends_with(' ') {
        return None;
    }
    Some(Expression::Number(value, compact(unit))).filter(|_| value.value().is_finite())
}

fn with_whole(whole: Option<Number>, fraction: Number) -> Number {
    whole.map_or(fraction, |whole| whole.plus(fraction))
}

/// The content of a text that is one pair of brackets, with its brackets.
fn bracketed(text: &str) -> Option<(char, &str, char)> {
    let (open, close) = (text.chars().next()?, text.chars().next_back()?);
    let is_pair = matches!((open, close), ('{', '}') | ('(' | '[', ')' | ']'));
    if !is_pair || text.len() < 2 {
        return None;
    }
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        depth += step(letter);
        if depth == 0 && at + letter.len_utf8() < text.len() {
            return None; // the first bracket closes before the end
        }
    }
    (depth == 0).then(|| (open, text[1..text.len() - 1].trim(), close))
}

/// Parts of a text between separators that stand outside of brackets.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in text.char_indices() {
        depth += step(letter);
        if letter == separator && depth == 0 {
            parts.push(text[start..at].trim());
            start = at + letter.len_utf8();
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn step(letter: char) -> i32 {
    match letter {
        '{' | '(' | '[' => 1,
        '}' | ')' | ']' => -1,
        _ => 0,
    }
}
