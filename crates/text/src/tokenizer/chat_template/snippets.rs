//! Snippets of chat templates, as transformers' Jinja2 renders them: `tests/transformers/chat_templates.py` records them.

use super::*;

/// Snippets that minijinja writes otherwise, and that templates do not ask for: values inside lists that have no JSON form,
/// functions and methods as values, `+` before a number; and leniency with `none` as a list, or with numbers among joined
/// texts, where Jinja2 fails.
const OTHERWISE: &[&str] = &[
    "{{ [n, b, missing, 'x', \"it's\", 'q\"q', 1.0] }}",
    "{{ [('x' if e)] }}",
    "{{ [uni, ctl] }}",
    "{{ 'A b'.istitle() }}",
    "{{ 'a_1'.isidentifier() }}",
    "{{ ', '.join([1, 2]) }}",
    "{{ '%r' % 'a' }}",
    "{{ m | attr('a') }}",
    "{{ 'a b' | urlencode }}",
    "{{ range(3) }}",
    "{{ range(2) is sequence }}",
    "{{ namespace(a=1) is mapping }}",
    "{% generation %}{% set y = 5 %}{{ y }}{% endgeneration %}[{{ y }}]",
    "{% for x in n %}a{% else %}none{% endfor %}",
    "{% macro f(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}",
    "{% macro f(x) -%}   {{ x }}   {%- endmacro %}[{{ f(1) }}] {{ f.name }} {{ f.arguments }}",
    "{{ +i }}",
    "{{ t.upper is defined }}",
    "{{ self is defined }}",
];

/// A template whose operands are checked: its remark has the name of a filter that marks text.
fn with_checked_operands(text: &str) -> String {
    format!("{{# e #}}\n{text}")
}

#[test]
fn snippets_are_rendered_as_jinja2_renders_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transformers/fixtures/chat-templates.json");
    let fixture: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let date: ChatDate = fixture["date"].as_str().unwrap().parse().unwrap();
    let snippets = fixture["snippets"].as_array().unwrap();
    assert!(snippets.len() > 500, "{}", snippets.len());
    let mut wrong = Vec::new();
    for snippet in snippets {
        let (snippet, right) = (snippet[0].as_str().unwrap(), snippet[1].as_str());
        for text in [snippet.to_string(), with_checked_operands(snippet)] {
            let template =
                ChatTemplate::new("snippet", &text, BTreeMap::new()).map(|template| template.with_date(date));
            let found =
                template.and_then(|template| template.render_values(Jinja::from(Serde(&fixture["values"])), 1_000_000));
            let found = found.map(|text| text.replace([BEGIN, END], ""));
            let is_same = found.as_ref().ok().map(String::as_str) == right;
            if is_same == OTHERWISE.contains(&snippet) {
                wrong.push(format!("{text}\n  right {right:?}\n  found {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} snippets:\n{}", wrong.len(), wrong.join("\n"));
}

/// `tests/differential/random_templates.py` records them. Operations on text that is marked as HTML may be refused.
#[test]
fn random_templates_are_rendered_as_jinja2_renders_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/differential/random-templates.json");
    let groups: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let (mut count, mut refused, mut wrong) = (0, 0, Vec::new());
    for group in groups.as_array().unwrap() {
        for case in group["templates"].as_array().unwrap() {
            let (text, right) = (case[0].as_str().unwrap(), case[1].as_str());
            for text in [text.to_string(), with_checked_operands(text)] {
                let values = Jinja::from(Serde(&group["values"]));
                let template = ChatTemplate::new("random", &text, BTreeMap::new());
                let found = template.and_then(|template| template.render_values(values, 1_000_000));
                let is_refused = found.as_ref().is_err_and(|error| error.to_string().contains("marked as HTML"));
                refused += usize::from(is_refused);
                if !is_refused && found.as_ref().ok().map(String::as_str) != right {
                    wrong.push(format!("{text:?}\n  right {right:?}\n  found {found:?}"));
                }
                count += 1;
            }
        }
    }
    assert!(count >= 1_000 && refused < count / 10, "{count}, {refused}");
    assert!(wrong.is_empty(), "{} of {count} templates:\n{}", wrong.len(), wrong.join("\n"));
}
