use serde_json::json;

use super::*;
use crate::Tokenizer;

/// The templates of SmolLM2, of Llama 3 without tools, and one with `{% generation %}`.
const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const LLAMA3: &str = "{{- bos_token }}\n{%- for message in messages %}\n    {{- '<|start|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|eot|>' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start|>assistant<|end|>\\n\\n' }}\n{%- endif %}\n";
const MARKED: &str = "{%- for message in messages %}\n  {%- if message.role == 'assistant' %}\n    {%- generation %}\n      {{- message.content + eos_token }}\n    {%- endgeneration %}\n  {%- else %}\n    {{- '[' ~ message.content ~ ']' }}\n  {%- endif %}\n{%- endfor %}\n";

fn template(text: &str) -> ChatTemplate {
    let special = [("bos_token", "<s>"), ("eos_token", "<|im_end|>")];
    let special = special.map(|(name, token)| (name.to_string(), token.to_string()));
    ChatTemplate::new("t.jinja", text, special.into()).unwrap()
}

fn chat() -> Vec<Message> {
    vec![
        Message::new("user", "Hé?"),
        Message::new("assistant", "Hi."),
        Message::new("user", "Why?"),
        Message::new("assistant", "So."),
    ]
}

fn spoken(marked: &MarkedText) -> Vec<&str> {
    marked.assistant.iter().map(|range| &marked.text[range.clone()]).collect()
}

#[test]
fn conversations_are_rendered_as_transformers_renders_them() {
    let text = template(CHATML).render(&chat()[..1], true).unwrap();
    assert_eq!(
        text,
        "<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nHé?<|im_end|>\n<|im_start|>assistant\n"
    );
    let text = template(LLAMA3).render(&[Message::new("user", " a ")], true).unwrap();
    assert_eq!(text, "<s><|start|>user<|end|>\n\na<|eot|><|start|>assistant<|end|>\n\n");
    assert_eq!(template(MARKED).render(&chat(), false).unwrap(), "[Hé?]Hi.<|im_end|>[Why?]So.<|im_end|>");
}

#[test]
fn the_assistants_words_are_found_by_blocks_or_by_prefixes() {
    for text in [CHATML, MARKED] {
        let marked = template(text).mark(&chat()).unwrap();
        assert_eq!(spoken(&marked), ["Hi.<|im_end|>", "So.<|im_end|>"]);
    }
    assert_eq!(spoken(&template(LLAMA3).mark(&chat()).unwrap()), ["Hi.<|eot|>", "So.<|eot|>"]);
}

#[test]
fn tokens_are_masked_by_what_they_stand_for() {
    let tokenizer = Tokenizer::from_alphabet("[]Hé?i.WySo<|m_end>h").unwrap();
    let chat = template(MARKED).encode(&tokenizer, &chat()[..2]).unwrap();
    assert_eq!(chat.tokens.len(), "[Hé?]Hi.<|im_end|>".chars().count());
    let first = chat.is_assistant.iter().position(|is| *is).unwrap();
    assert_eq!((first, chat.is_assistant[first..].iter().all(|is| *is)), (5, true));
}

#[test]
fn what_python_offers_is_there() {
    let text = "{{ messages[0].content.strip().split(' ')[-1] }} {{ messages[1:] | length }} {{ extra | tojson }} \
                {%- set ns = namespace(n=0) %}{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}\
                {% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}";
    let template = template(&text.replace("extra", "messages[0].tool"));
    let mut messages = chat();
    let extra = json!({"role": "user", "content": " one two ", "tool": {"a": ["<b>", 1.5], "c": null}});
    messages[0] = Message::parse(extra).unwrap();
    assert_eq!(template.render(&messages, false).unwrap(), "two 3 {\"a\": [\"<b>\", 1.5], \"c\": null}3");
}

#[test]
fn a_template_that_fails_says_where_and_why() {
    let message = |result: Result<String>| result.unwrap_err().to_string();
    let refuses = "\n{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}";
    assert_eq!(
        message(template(refuses).render(&chat(), false)),
        "tokenizer: t.jinja: line 2: the template refuses: system first"
    );
    let broken = ChatTemplate::new("t.jinja", "a\n{% for %}", BTreeMap::new()).unwrap_err().to_string();
    assert!(broken.starts_with("tokenizer: t.jinja: line 2: "), "{broken}");
    let comment = ChatTemplate::new("t.jinja", "a{#}b", BTreeMap::new()).unwrap_err().to_string();
    assert!(comment.contains("t.jinja: line 1: ") && comment.contains("comment"), "{comment}");
    assert_eq!(template("a{#} b #}c").render(&chat(), false).unwrap(), "ac");
    let unknown = message(template("{{ messages[0].content.frobnicate() }}").render(&chat(), false));
    assert!(unknown.contains("line 1: ") && unknown.contains("frobnicate"), "{unknown}");
    let forgets = template("{% for m in messages[-1:] %}{{ m.content }}{% endfor %}");
    let unclear = forgets.mark(&chat()).unwrap_err().to_string();
    assert!(unclear.contains("t.jinja: it writes message 2 otherwise once messages follow"), "{unclear}");
    let odd = message(template(CHATML).render(&[Message::new("user", "\u{FDD0}")], false));
    assert!(odd.contains("a message of user holds U+FDD0"), "{odd}");
}

#[test]
fn a_directory_has_its_template_in_one_of_two_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert!(ChatTemplate::from_directory(path).unwrap().is_none());
    let config = json!({
        "eos_token": {"content": "<e>"},
        "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "1{{ eos_token }}"}]
    });
    fs::write(path.join("tokenizer_config.json"), config.to_string()).unwrap();
    let render = || ChatTemplate::from_directory(path).unwrap().unwrap().render(&chat(), false).unwrap();
    assert_eq!(render(), "1<e>");
    fs::write(path.join("chat_template.jinja"), "2{{ eos_token }}").unwrap();
    assert_eq!(render(), "2<e>");
}

#[test]
fn a_conversation_brings_its_tools_and_the_file_its_contents() {
    let text = "{% if tools %}{{ tools[0].name }}:{% endif %}{{ messages[0].tools is defined }}{% for m in messages %}|\
                {%- if m.content is defined %}{{ 'none' if m.content is none else m.content }}{% else %}missing{% endif %}{% endfor %}";
    let messages: Vec<Message> = serde_json::from_value(json!([
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "tools": [{"name": "add"}]},
        {"role": "assistant", "content": null, "tool_calls": [{"name": "add", "arguments": {"x": null}}]},
        {"role": "assistant", "tool_calls": []}
    ]))
    .unwrap();
    assert_eq!(template(text).render(&messages, false).unwrap(), "add:False|ab|none|missing");
    assert_eq!(template(text).render(&messages[1..], false).unwrap(), "False|none|missing");
    let parts = "{% for p in messages[0].content %}{{ p.type }}{{ p['text'] }} {% endfor %}{{ messages[1].tool_calls | tojson }}";
    let text = template(parts).render(&messages, false).unwrap();
    assert_eq!(text, "texta textb [{\"name\": \"add\", \"arguments\": {\"x\": null}}]");
}

#[test]
fn the_date_is_fixed_until_it_is_set() {
    let asks = template("{% set d = strftime_now('%d %b %Y') %}{{ d }} {{ messages[0].content }}");
    assert_eq!(asks.render(&chat()[..1], false).unwrap(), "26 Jul 2024 Hé?");
    let date: ChatDate = "2026-02-01".parse().unwrap();
    let asks = asks.with_date(date);
    assert_eq!((asks.render(&chat()[..1], false).unwrap().as_str(), asks.date()), ("01 Feb 2026 Hé?", Some(date)));
    assert_eq!(template(CHATML).date(), None);
    for wrong in ["2026-02-29", "2026-13-01", "today", "2026-02", ""] {
        let reason = wrong.parse::<ChatDate>().unwrap_err();
        assert!(reason.contains("is no date") && reason.contains(wrong), "{reason}");
    }
}

#[test]
fn an_answer_is_told_apart_where_earlier_ones_lose_their_thinking() {
    let thinks = template(
        "{% for m in messages %}{{ m.role[0] }}:{{ m.content if loop.last else m.content.split('>')[-1] }};{% endfor %}\
         {% if add_generation_prompt %}a:{% endif %}",
    );
    let said = [("user", "q"), ("assistant", "t>r"), ("user", "q"), ("assistant", "t>s")];
    let messages: Vec<Message> = said.map(|(role, content)| Message::new(role, content)).into();
    let tokenizer = Tokenizer::from_alphabet("aqrstu:;>").unwrap();
    let chat = thinks.encode_rows(&tokenizer, &messages, 3, None).unwrap().remove(0);
    assert_eq!(tokenizer.decode(&chat.tokens).unwrap(), "u:q;a:r;u:q;a:t>s;");
    assert_eq!(chat.is_assistant.iter().filter(|is| **is).count(), "t>s;".len());
    assert!(chat.is_assistant.ends_with(&[true; 4]));
    let refused = thinks.encode(&tokenizer, &messages).unwrap_err().to_string();
    assert!(refused.contains("it writes message 2 otherwise once messages follow"), "{refused}");
    for way_out in ["history = \"as_written\"", "history = \"as_template\"", "chat_template = \"qwen3-training\""] {
        assert!(refused.contains(way_out), "{refused}");
    }
    let rows = |history| {
        let rows = thinks.encode_rows(&tokenizer, &messages, 0, Some(history)).unwrap();
        rows.iter().map(|row| spoken_of(&tokenizer, row)).collect::<Vec<_>>()
    };
    assert_eq!(rows(History::AsWritten), ["u:q;a:[t>r;]u:q;a:[t>s;]"]);
    assert_eq!(rows(History::AsTemplate), ["u:q;a:[t>r;]", "u:q;a:r;u:q;a:[t>s;]"]);
}

/// The text of tokens with brackets around the assistant's parts.
fn spoken_of(tokenizer: &Tokenizer, chat: &EncodedChat) -> String {
    let mut text = String::new();
    let mut was_inside = false;
    for (token, is_inside) in chat.tokens.iter().zip(&chat.is_assistant) {
        let mark = match (was_inside, *is_inside) {
            (false, true) => "[",
            (true, false) => "]",
            _ => "",
        };
        text += mark;
        text += &tokenizer.decode(&[*token]).unwrap();
        was_inside = *is_inside;
    }
    text + if was_inside { "]" } else { "" }
}
