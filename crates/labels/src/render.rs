//! Markdown of prompts, answers and guidelines as HTML that is safe to show: no scripts, no styles, nothing that loads from
//! elsewhere.
//!
//! HTML in the Markdown is shown as text: annotators see what a model wrote. Mathematics between dollars, or between
//! `\(` and `\)` or `\[` and `\]`, becomes MathML. Images are shown if they are `data:` URLs; others become links.

use std::ops::Range;
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use palestra_datasets::{Content, Message};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use pulldown_latex::config::{DisplayMode, RenderConfig};
use pulldown_latex::{Storage, push_mathml};

use crate::images::without_data;

/// Maximum length of a text that is rendered, in bytes without its images; a longer one is shown as plain text.
const MAX_TEXT_LENGTH: usize = 200_000;

/// Maximum length of a formula, in bytes; a longer one is shown as its source.
const MAX_FORMULA_LENGTH: usize = 4_000;

/// Prefixes of the images that are shown. SVG is left out, because it may hold scripts.
pub(crate) const IMAGES: [&str; 5] =
    ["data:image/png;", "data:image/jpeg;", "data:image/gif;", "data:image/webp;", "data:image/avif;"];

/// HTML of each message of a content, or of its one text.
pub(crate) fn parts(content: &Content) -> Vec<String> {
    match content {
        Content::Text(text) => vec![html(text)],
        Content::Messages(messages) => messages.iter().map(|message| html(&markdown_of(message))).collect(),
    }
}

/// HTML of a Markdown text, safe to show.
pub fn html(text: &str) -> String {
    if text.len() > MAX_TEXT_LENGTH && without_data(text).len() > MAX_TEXT_LENGTH {
        return format!("<pre>{}</pre>", ammonia::clean_text(text));
    }
    let text = with_dollars(text);
    let mut rendered = String::new();
    pulldown_cmark::html::push_html(&mut rendered, events(&text).into_iter());
    SANITISER.clean(&rendered).to_string()
}

/// Text of a message, followed by a code block of each further field, such as the calls of tools.
fn markdown_of(message: &Message) -> String {
    let mut text = message.text().into_owned();
    for (name, value) in message.fields().iter().filter(|(name, _)| !["role", "content"].contains(&name.as_str())) {
        let value = value.as_str().map_or_else(|| value.to_string(), String::from);
        let longest = value.split(|char| char != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        text += &format!("\n\n{name}:\n\n{fence}\n{value}\n{fence}");
    }
    text
}

const OPTIONS: Options = Options::ENABLE_TABLES
    .union(Options::ENABLE_STRIKETHROUGH)
    .union(Options::ENABLE_TASKLISTS)
    .union(Options::ENABLE_MATH);

/// Events of a text, with nothing in them that is HTML, loads, or breaks the order of headings of the page.
fn events(text: &str) -> Vec<Event<'_>> {
    let mut events = Vec::new();
    let mut images = Vec::new();
    // Prompts and answers stand under headings of level 2.
    let (mut level, mut open) = (2, Vec::new());
    for (event, range) in Parser::new_ext(text, OPTIONS).into_offset_iter() {
        events.push(match event {
            Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
            Event::Start(Tag::HtmlBlock) => Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)),
            Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::CodeBlock),
            // Models break lines where they mean it, as in verse.
            Event::SoftBreak => Event::HardBreak,
            Event::Start(Tag::Heading { level: written, classes, attrs, .. }) => {
                level = (written as usize + 2).min(level + 1).min(6);
                open.push(level);
                Event::Start(Tag::Heading { level: heading(level), id: None, classes, attrs })
            }
            Event::End(TagEnd::Heading(_)) => Event::End(TagEnd::Heading(heading(open.pop().unwrap_or(level)))),
            Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                let is_shown = IMAGES.iter().any(|image| dest_url.starts_with(image));
                images.push(is_shown);
                if is_shown {
                    Event::Start(Tag::Image { link_type, dest_url, title, id })
                } else {
                    Event::Start(Tag::Link { link_type, dest_url, title, id })
                }
            }
            Event::End(TagEnd::Image) if !images.pop().unwrap_or(true) => Event::End(TagEnd::Link),
            Event::InlineMath(_) if is_amount(text, &range) => Event::Text(CowStr::Borrowed(&text[range])),
            Event::InlineMath(formula) => Event::InlineHtml(mathml(&formula, DisplayMode::Inline).into()),
            Event::DisplayMath(formula) => Event::InlineHtml(mathml(&formula, DisplayMode::Block).into()),
            other => other,
        });
    }
    events
}

fn heading(level: usize) -> HeadingLevel {
    HeadingLevel::try_from(level).unwrap_or(HeadingLevel::H6)
}

/// True for dollars that are money, as in "$5-$10": the second one stands before a digit.
fn is_amount(text: &str, range: &Range<usize>) -> bool {
    text[range.end..].starts_with(|char: char| char.is_ascii_digit())
}

/// MathML of a formula, or its source as code where it is not understood.
fn mathml(formula: &str, display_mode: DisplayMode) -> String {
    let source = || format!("<code>{}</code>", ammonia::clean_text(formula));
    if formula.len() > MAX_FORMULA_LENGTH {
        return source();
    }
    let rendered = || {
        let storage = Storage::new();
        let mut parts = Vec::new();
        for part in pulldown_latex::Parser::new(formula, &storage) {
            parts.push(Ok::<_, std::convert::Infallible>(part.ok()?));
        }
        let mut mathml = String::new();
        push_mathml(&mut mathml, parts.into_iter(), RenderConfig { display_mode, ..RenderConfig::default() }).ok()?;
        Some(mathml)
    };
    // A formula is a model's text: no bug of the parser may end a connection.
    std::panic::catch_unwind(rendered).ok().flatten().unwrap_or_else(source)
}

/// The text with the delimiters of LaTeX, `\(`, `\)`, `\[` and `\]`, as dollars, but in code.
fn with_dollars(text: &str) -> String {
    if !text.contains("\\(") && !text.contains("\\[") {
        return text.to_string();
    }
    let mut code = Vec::new();
    let mut block = None;
    for (event, range) in Parser::new_ext(text, OPTIONS).into_offset_iter() {
        match event {
            Event::Code(_) | Event::InlineMath(_) | Event::DisplayMath(_) => code.push(range),
            Event::Start(Tag::CodeBlock(_)) => block = Some(range.start),
            Event::End(TagEnd::CodeBlock) => code.push(block.take().unwrap_or(range.start)..range.end),
            _ => {}
        }
    }
    let mut written = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(code) = code.iter().find(|code| code.contains(&at)) {
            written.push_str(&text[at..code.end]);
            at = code.end;
            continue;
        }
        let pair = [("\\(", "\\)", "$"), ("\\[", "\\]", "$$")].into_iter().find_map(|(open, close, dollars)| {
            let formula = rest.strip_prefix(open)?;
            Some((&formula[..formula.find(close)?], dollars))
        });
        match pair {
            Some((formula, dollars)) => {
                written.push_str(&format!("{dollars}{}{dollars}", formula.trim()));
                at += formula.len() + 4;
            }
            None => {
                // An escaped character is no delimiter: in `\\(`, the parenthesis is a text.
                let escaped = rest.starts_with('\\');
                let length = rest.chars().take(1 + usize::from(escaped)).map(char::len_utf8).sum::<usize>();
                written.push_str(&rest[..length]);
                at += length;
            }
        }
    }
    written
}

/// Elements and attributes of MathML Core that formulas use.
const MATH_ELEMENTS: [&str; 29] = [
    "math",
    "merror",
    "mfrac",
    "mi",
    "mmultiscripts",
    "mn",
    "mo",
    "mover",
    "mpadded",
    "mphantom",
    "mprescripts",
    "mroot",
    "mrow",
    "ms",
    "mspace",
    "msqrt",
    "mstyle",
    "msub",
    "msubsup",
    "msup",
    "mtable",
    "mtd",
    "mtext",
    "mtr",
    "munder",
    "munderover",
    "none",
    "menclose",
    "mlabeledtr",
];
const MATH_ATTRIBUTES: [&str; 17] = [
    "accent",
    "accentunder",
    "depth",
    "displaystyle",
    "fence",
    "form",
    "height",
    "largeop",
    "linethickness",
    "lspace",
    "mathvariant",
    "maxsize",
    "minsize",
    "movablelimits",
    "rspace",
    "scriptlevel",
    "stretchy",
];

/// The second wall: even if an event held HTML, no script, style or request would pass.
static SANITISER: LazyLock<Builder> = LazyLock::new(|| {
    let mut builder = Builder::default();
    builder
        .add_tags(MATH_ELEMENTS)
        .add_tags(["input"])
        .add_tag_attributes("input", ["type", "checked", "disabled"])
        .add_tag_attributes("math", ["display"])
        .url_schemes(["http", "https", "mailto", "data"].into())
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            ("img", "src") => IMAGES.iter().any(|image| value.starts_with(image)).then(|| value.into()),
            (_, "href" | "src" | "cite") if value.trim_start().to_ascii_lowercase().starts_with("data:") => None,
            ("input", "type") => (value == "checkbox").then(|| value.into()),
            _ => Some(value.into()),
        });
    for element in MATH_ELEMENTS {
        builder.add_tag_attributes(element, MATH_ATTRIBUTES);
        builder.add_tag_attributes(element, ["width", "symmetric"]);
    }
    builder
});

#[cfg(test)]
mod tests;
