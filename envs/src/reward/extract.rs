//! Extraction of the answer proper from what a model wrote: `<answer>...</answer>`, `\boxed{...}`, or a pattern.

use regex::Regex;
use serde::{Deserialize, Serialize};

/// Place of the answer proper in a text; the last one counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Extract {
    /// Between the tags of this name: `<answer>...</answer>`.
    Xml(String),
    /// In `\boxed{...}`; true.
    Boxed(bool),
    /// Match of a regular expression: its first group, or all of it if it has none.
    Pattern(String),
}

/// An [`Extract`] that was checked.
#[derive(Debug, Clone)]
pub(super) enum Extractor {
    /// Between an opening and a closing tag.
    Xml(String, String),
    Boxed,
    Pattern(Regex),
}

impl Extract {
    /// Checks it. `Err` says what would be right.
    pub(super) fn compile(&self) -> Result<Extractor, String> {
        match self {
            Self::Boxed(true) => Ok(Extractor::Boxed),
            Self::Boxed(false) => Err("boxed = false extracts nothing; remove it".to_string()),
            Self::Xml(tag) if tag.is_empty() || !tag.chars().all(|c| c.is_alphanumeric() || "-_".contains(c)) => {
                Err(format!("xml: {tag:?} names no tag; write letters, digits, `-` and `_`"))
            }
            Self::Xml(tag) => Ok(Extractor::Xml(format!("<{tag}>"), format!("</{tag}>"))),
            Self::Pattern(text) if text.is_empty() => Err("pattern: it is empty".to_string()),
            Self::Pattern(text) => {
                Regex::new(text).map(Extractor::Pattern).map_err(|error| format!("pattern: {error}"))
            }
        }
    }
}

impl Extractor {
    /// The answer proper, without white space around it; `None` if the text has none.
    pub fn find<'a>(&self, text: &'a str) -> Option<&'a str> {
        let found = match self {
            Self::Xml(open, close) => text.rmatch_indices(open.as_str()).find_map(|(start, _)| {
                let content = &text[start + open.len()..];
                content.find(close.as_str()).map(|end| &content[..end])
            }),
            Self::Boxed => last_boxed(text),
            Self::Pattern(pattern) => {
                let last = pattern.captures_iter(text).last()?;
                last.get(1).or(last.get(0)).map(|found| found.as_str())
            }
        };
        found.map(str::trim)
    }
}

/// The content of the last `\boxed{...}` whose braces are closed.
fn last_boxed(text: &str) -> Option<&str> {
    const BOXED: &str = "\\boxed{";
    text.rmatch_indices(BOXED).find_map(|(start, _)| {
        let content = &text[start + BOXED.len()..];
        let mut depth = 1;
        let end = content.char_indices().find(|(_, letter)| {
            depth += match letter {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0
        });
        end.map(|(end, _)| &content[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_is_found() {
        let found = |extract: &Extract, text: &'static str| extract.compile().unwrap().find(text);
        let xml = Extract::Xml("answer".into());
        assert_eq!(found(&xml, "<answer>1</answer> no: <answer>\n 2 </answer>."), Some("2"));
        assert_eq!(found(&xml, "<answer> or <answer>3</answer></answer> <answer>"), Some("3"));
        assert_eq!(found(&xml, "<answer>1"), None);
        let boxed = Extract::Boxed(true);
        assert_eq!(found(&boxed, r"so \boxed{1}, or $\boxed{\frac{1}{2}}$ and {x}"), Some(r"\frac{1}{2}"));
        assert_eq!(found(&boxed, r"\boxed{1} \boxed{2"), Some("1"), "the last is not closed");
        assert_eq!(found(&Extract::Pattern("#### (.*)".into()), "#### 1\n#### 22 "), Some("22"));
        assert_eq!(found(&Extract::Pattern("[0-9]+".into()), "1 and 22"), Some("22"));
        for (wrong, told) in [
            (Extract::Xml("a b".into()), "xml: \"a b\" names no tag"),
            (Extract::Boxed(false), "boxed = false extracts nothing"),
            (Extract::Pattern("(".into()), "pattern: regex"),
        ] {
            assert!(wrong.compile().unwrap_err().starts_with(told));
        }
    }
}
