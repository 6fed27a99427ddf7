use super::*;

#[test]
fn markdown_with_code_tables_and_lists() {
    assert_eq!(html("**bold** and `a < b`"), "<p><strong>bold</strong> and <code>a &lt; b</code></p>\n");
    assert_eq!(html("one\ntwo"), "<p>one<br>\ntwo</p>\n");
    let code = html("```rust\nfn main() { \"<b>\" }\n```");
    assert!(code.starts_with("<pre><code>fn main() {") && code.contains("&lt;b&gt;"), "{code}");
    let table = html("| a | b |\n|---|--:|\n| 1 | 2 |");
    assert!(table.contains("<th>a</th>") && table.contains("<td>1</td>") && !table.contains("style"), "{table}");
    let tasks = html("- [x] done\n- [ ] open");
    assert!(tasks.contains("checkbox") && tasks.contains("disabled"), "{tasks}");
    assert_eq!(html("# One\n### Three\n# Four"), "<h3>One</h3>\n<h4>Three</h4>\n<h3>Four</h3>\n");
}

#[test]
fn mathematics_is_mathml() {
    for text in ["$x^2$", r"\(x^2\)"] {
        let shown = html(text);
        assert!(shown.contains("<math") && shown.contains("<msup><mi>x</mi><mn>2</mn></msup>"), "{shown}");
    }
    for text in ["$$\\frac{1}{2}$$", "\\[ \\frac{1}{2} \\]"] {
        let shown = html(text);
        assert!(shown.contains("display=\"block\"") && shown.contains("<mfrac>"), "{shown}");
    }
    for (text, expected) in [
        ("from $5 to $10, or $5-$10", "<p>from $5 to $10, or $5-$10</p>\n"),
        (r"`\(x\)` \\(y\\)", "<p><code>\\(x\\)</code> \\(y\\)</p>\n"),
        (r"$\undefined{x}$", "<p><code>\\undefined{x}</code></p>\n"),
        ("a \\( without an end", "<p>a ( without an end</p>\n"),
    ] {
        assert_eq!(html(text), expected);
    }
    assert_eq!(html("```\n\\[x\\]\n```"), "<pre><code>\\[x\\]\n</code></pre>\n");
    let long = format!("${}$", "x".repeat(MAX_FORMULA_LENGTH + 1));
    assert!(html(&long).starts_with("<p><code>xxx"));
}

/// Nothing that could run or load is in the HTML but as text.
#[test]
fn nothing_runs_and_nothing_loads() {
    let hostile = [
        "<script>alert(1)</script>",
        "text <img src=x onerror=alert(1)> text",
        "<style>@import 'http://evil.example';</style>",
        "[link](javascript:alert(1))",
        "[link](data:text/html,<script>alert(1)</script>)",
        "![image](http://evil.example/a.png)",
        "![image](data:image/svg+xml;base64,PHN2Zz4=)",
        "![image](//evil.example/a.png)",
        "![image](/api/next)",
        "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
        "<svg onload=alert(1)>",
        "$\\text{<img src=x onerror=alert(1)>}$",
        "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
        "`<script>`\n\n    <script>\n\n> <object data=x>\n\n| <embed src=x> |\n|---|",
    ];
    for text in hostile {
        let shown = html(text);
        for element in ["<script", "<img", "<style", "<iframe", "<svg", "<object", "<embed", "<input"] {
            assert!(!shown.to_lowercase().contains(element), "{text}: {shown}");
        }
        for value in ["href=\"javascript", "href=\"data", "href=\"/"] {
            assert!(!shown.contains(value), "{text}: {shown}");
        }
    }
    let link = html("[site](https://example.org) ![picture](https://example.org/a.png)");
    assert!(link.contains("rel=\"noopener noreferrer nofollow\"") && link.contains("target=\"_blank\""), "{link}");
    assert!(link.contains(">picture</a>"), "{link}");
}

#[test]
fn images_that_come_as_data_are_shown() {
    let image = "data:image/png;base64,iVBORw0KGgo=";
    let shown = html(&format!("![a cat]({image})"));
    assert!(shown.contains(&format!("<img src=\"{image}\" alt=\"a cat\">")), "{shown}");
}

#[test]
fn messages_are_rendered_one_by_one_with_their_fields() {
    let json = r#"[{"role": "user", "content": "*Hi*"},
        {"role": "assistant", "content": "x", "tool_calls": [{"function": "f```"}]}]"#;
    let content: Content = serde_json::from_str(json).unwrap();
    let parts = parts(&content);
    assert_eq!(parts[0], "<p><em>Hi</em></p>\n");
    assert!(parts[1].contains("<p>tool_calls:</p>") && parts[1].contains("[{\"function\":\"f```\"}]"), "{}", parts[1]);
    let long = html(&"<b>".repeat(MAX_TEXT_LENGTH));
    assert!(long.starts_with("<pre>&lt;b&gt;"), "{}", &long[..40]);
}
