//! HTML pages in one file. Must not know what they show.

/// An HTML page in one file, which loads nothing from elsewhere.
pub struct Page<'a> {
    /// Title, as plain text.
    pub title: &'a str,
    /// Elements of the head, as HTML.
    pub head: &'a str,
    /// Style sheet.
    pub css: &'a str,
    /// Body, as HTML.
    pub body: &'a str,
    /// Script at the end of the body; empty for none.
    pub script: &'a str,
}

impl Page<'_> {
    /// The page as HTML. Its content security policy forbids every outside resource, and scripts if it has none of its
    /// own, in case markup of a text slips through.
    pub fn to_html(&self) -> String {
        let Self { head, css, body, .. } = self;
        let (policy, script) = match self.script {
            "" => ("", String::new()),
            script => ("; script-src 'unsafe-inline'", format!("<script>\n{script}</script>\n")),
        };
        format!(
            r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'{policy}">
<title>{title}</title>
<style>
{css}</style>
{head}</head>
<body>
{body}{script}</body>
</html>
"#,
            title = escape(self.title),
        )
    }
}

/// Escapes text for HTML elements and quoted attributes. Control characters, which HTML forbids, are shown as
/// `\u{fffd}`.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\r' => {}
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_a_script_forbids_scripts() {
        let page = Page { title: "<a>", head: "", css: "", body: "", script: "" };
        let html = page.to_html();
        assert!(html.contains("<title>&lt;a&gt;</title>") && !html.contains("script"), "{html}");
        let html = Page { script: "run();", ..page }.to_html();
        assert!(html.contains("script-src 'unsafe-inline'") && html.contains("<script>\nrun();</script>"), "{html}");
    }

    #[test]
    fn markup_and_control_characters_are_escaped() {
        assert_eq!(escape("<a b='c'>&\r\n\u{7}"), "&lt;a b=&#39;c&#39;&gt;&amp;\n\u{fffd}");
    }
}
