use std::borrow::Cow;

use dom_query::Document;
use dom_smoothie::{Config, Readability, TextMode};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::html_bounds::check;
use crate::provenance::Provenance;
use crate::rule::{Failed, Rule};
use crate::settings::{HtmlText, MarkdownText, Read};

/// Elements without readable text.
const NO_TEXT: &str = "script, style, noscript, template, svg, iframe, object, select, button";
/// Limits for article extraction, whose time is quadratic in the number of elements and in their depth: larger or more
/// deeply nested pages (browsers stop at 512) are not searched for an article.
const MAX_ELEMENTS: usize = 100_000;
const DEEPEST: usize = 512;

/// Returns the text of a page, with each block on its own lines.
///
/// # Errors
/// A page beyond the bounds of `read.html_depth` and `read.html_marks`.
pub(super) fn text_of_html(page: &str, read: &Read, provenance: &mut Provenance) -> Result<String, Failed> {
    check(page, read).map_err(|reason| Failed::new(Rule::HostileHtml, reason))?;
    let document = Document::from(page);
    add_terms(&document, provenance);
    Ok(text_of(document, read.html))
}

/// Adds what the authors of a page allow: `<meta name="robots">` and `rel="license"`.
fn add_terms(document: &Document, provenance: &mut Provenance) {
    for meta in document.select("meta[name='robots' i][content]").iter() {
        provenance.add_robots(&meta.attr_or("content", ""));
    }
    for link in document.select("[rel~='license' i][href]").iter() {
        provenance.add_license(&link.attr_or("href", ""));
    }
}

fn text_of(document: Document, what: HtmlText) -> String {
    let is_tame = is_tame(&document);
    if what == HtmlText::Article && is_tame {
        let config = Config { text_mode: TextMode::Formatted, disable_json_ld: true, ..Config::default() };
        let article =
            Readability::with_document(document.clone(), None, Some(config)).and_then(|mut page| page.parse());
        if let Ok(article) = article
            && !article.text_content.trim().is_empty()
        {
            return article.text_content.to_string();
        }
    }
    document.select(NO_TEXT).remove();
    match is_tame {
        true => document.select("body").formatted_text().to_string(),
        false => document.text().to_string(),
    }
}

fn is_tame(document: &Document) -> bool {
    let mut open = vec![(document.root(), 0)];
    let mut elements = 0;
    while let Some((node, depth)) = open.pop() {
        elements += 1;
        if depth > DEEPEST || elements > MAX_ELEMENTS {
            return false;
        }
        open.extend(node.next_sibling().map(|next| (next, depth)));
        open.extend(node.first_child().map(|child| (child, depth + 1)));
    }
    true
}

/// Returns the text of Markdown, unchanged or without markup. Front matter between `---` is removed in both cases.
pub(super) fn text_of_markdown(text: Cow<'_, str>, what: MarkdownText) -> Cow<'_, str> {
    match what {
        MarkdownText::Keep => match after_front_matter(&text) {
            0 => text,
            start => Cow::Owned(text[start..].to_string()),
        },
        MarkdownText::Plain => Cow::Owned(plain(&text[after_front_matter(&text)..])),
    }
}

fn after_front_matter(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("---\n") else { return 0 };
    // A rule of three dashes may start a text too; front matter continues with a key on the next line.
    let has_key = rest.lines().next().is_some_and(|line| line.contains(':'));
    match rest.find("\n---\n") {
        Some(end) if has_key => "---\n".len() + end + "\n---\n".len(),
        _ => 0,
    }
}

fn plain(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            Event::SoftBreak | Event::HardBreak => text.push('\n'),
            Event::Start(Tag::Item) if !text.ends_with('\n') => text.push('\n'),
            Event::End(
                TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::CodeBlock | TagEnd::List(_) | TagEnd::Table,
            ) => {
                text.push_str("\n\n");
            }
            Event::End(TagEnd::Item | TagEnd::TableHead | TagEnd::TableRow) if !text.ends_with('\n') => {
                text.push('\n');
            }
            Event::End(TagEnd::TableCell) => text.push('\t'),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<!DOCTYPE html><html><head><title>On whales</title><style>p { color: red }</style></head><body>\
        <nav><ul><li><a href='/'>Home</a></li><li><a href='/shop'>Shop</a></li></ul></nav>\
        <article><h1>On whales</h1>\
        <p>Whales are not fish, though they live in the sea, and a man who has seen one will not forget it, whatever \
        the books that he has read may say of their size, their temper and their habits in the deep water.</p>\
        <p>They breathe air &amp; nurse their young, they sing to each other over hundreds of miles, and they travel \
        from the poles to the equator and back each year, which no other animal of their size has ever done.</p>\
        <p>Many have been hunted, and some kinds have hardly come back since, although the hunt has ended.</p>\
        </article><script>track('x < y');</script><footer>Copyright, imprint, contact</footer></body></html>";

    #[test]
    fn the_article_is_taken_without_menus_and_scripts() {
        let text = text_of(Document::from(PAGE), HtmlText::Article);
        assert!(text.contains("Whales are not fish") && text.contains("air & nurse"), "{text}");
        assert!(text.contains("sea") && text.lines().filter(|line| !line.is_empty()).count() >= 3, "{text}");
        for gone in ["Shop", "track", "color", "<p>"] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
    }

    #[test]
    fn all_text_has_the_menu_and_no_script() {
        let text = text_of(Document::from(PAGE), HtmlText::All);
        assert!(text.contains("Shop") && text.contains("Copyright") && !text.contains("track"), "{text}");
        // A page without an article returns all of its text.
        assert_eq!(
            text_of(Document::from("<p>One</p><p>Two"), HtmlText::Article).split_whitespace().collect::<Vec<_>>(),
            ["One", "Two"]
        );
    }

    #[test]
    fn terms_of_a_page_are_found_in_any_case() {
        let page = "<html><head><META NAME='Robots' content='noindex, noai'><meta name=robots content=noai>\
            <link rel='License' href='https://a.org/by'></head><body><p>By <a rel='nofollow license' href='/by-sa'>us</a>\
            <a rel=licensed href=/no>x</a></body></html>";
        let mut provenance = Provenance::default();
        text_of_html(page, &Read::default(), &mut provenance).unwrap();
        assert_eq!(provenance.robots.as_deref(), Some("noindex, noai"));
        assert_eq!(provenance.license.as_deref(), Some("https://a.org/by /by-sa"));
    }

    #[test]
    fn pages_nested_beyond_reason_are_read() {
        assert_eq!(text_of(Document::from("<div>".repeat(3000) + "deep"), HtmlText::Article), "deep");
        assert!(!is_tame(&Document::from("<b>".repeat(600))) && is_tame(&Document::from(PAGE)));
    }

    #[test]
    fn markdown_loses_its_front_matter_and_its_marks() {
        let source = "---\ntitle: x\n---\n# Head\n\nSome *soft* [link](http://x) and `code`.\n\n- one\n- two\n";
        assert!(text_of_markdown(source.into(), MarkdownText::Keep).starts_with("# Head"));
        let text = text_of_markdown(source.into(), MarkdownText::Plain);
        assert_eq!(text, "Head\n\nSome soft link and code.\n\none\ntwo\n\n\n");
    }
}
