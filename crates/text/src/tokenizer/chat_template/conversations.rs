//! Conversations as transformers encodes them, and the templates for training beside those of their families:
//! `tests/transformers/conversations.py` records them.

use serde_json::json;

use super::*;
use crate::{TRAINING_TEMPLATES, Tokenizer, TrainingTemplate};

fn fixture() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transformers/fixtures/conversations.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn special(eos: &str) -> BTreeMap<String, String> {
    [("bos_token", "<s>"), ("eos_token", eos)].map(|(name, token)| (name.to_string(), token.to_string())).into()
}

/// The messages of a row as the readers of files make them, with the tools in the first one.
fn messages_of(row: &Value) -> Vec<Message> {
    let mut messages = row["messages"].clone();
    if let Some(tools) = row.get("tools") {
        messages[0]["tools"] = tools.clone();
    }
    serde_json::from_value(messages).unwrap()
}

fn user(content: &str) -> Message {
    Message::new("user", content)
}

fn assistant(content: &str) -> Message {
    Message::new("assistant", content)
}

fn training(name: &str) -> ChatTemplate {
    ChatTemplate::from_name(&NamedTemplate::from(name.to_string()), None).unwrap()
}

#[test]
fn ids_and_masks_are_those_of_transformers() {
    let fixture = fixture();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, fixture["tokenizer"].to_string()).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), json!({"eos_token": "</s>"}).to_string()).unwrap();
    let tokenizer = Tokenizer::from_file(&path).unwrap();
    let (templates, rows) = (fixture["templates"].as_object().unwrap(), fixture["rows"].as_array().unwrap());
    assert_eq!((templates.len(), rows.len()), (5, 20));
    for (name, text) in templates {
        let template = ChatTemplate::new(name, text.as_str().unwrap(), special("</s>")).unwrap();
        for (row, right) in rows.iter().zip(fixture["encoded"][name].as_array().unwrap()) {
            // The style of Llama 3 does not write thinking, which we refuse to lose.
            let chat = template.encode(&tokenizer, &messages_of(row)).unwrap_or_else(|error| panic!("{row}: {error}"));
            let ids: Vec<u32> = serde_json::from_value(right["ids"].clone()).unwrap();
            let shown = |ids: &[u32]| tokenizer.decode_with_special(ids).unwrap();
            assert_eq!(chat.tokens, ids, "{name}, {row}:\n{}\n{}", shown(&chat.tokens), shown(&ids));
            let mask: String = chat.is_assistant.iter().map(|&is| if is { '1' } else { '0' }).collect();
            assert_eq!(mask, right["mask"].as_str().unwrap(), "{name}, {row}");
            assert_eq!(mask.contains('1'), row["messages"].to_string().contains("assistant"), "{name}, {row}");
        }
    }
}

#[test]
fn training_templates_write_single_turns_as_their_families_do() {
    let fixture = fixture();
    let turns = fixture["single_turns"].as_array().unwrap();
    for TrainingTemplate { name, text } in &TRAINING_TEMPLATES {
        let template = ChatTemplate::new(*name, text, special("<｜end▁of▁sentence｜>")).unwrap();
        let own: Vec<&Value> = turns.iter().filter(|turn| turn["template"] == *name).collect();
        assert!(own.len() >= 5, "{name} is not recorded");
        for turn in own {
            let add_generation_prompt = turn["add_generation_prompt"].as_bool().unwrap_or(false);
            let text = template.render(&messages_of(turn), add_generation_prompt).unwrap();
            assert_eq!(text, turn["text"].as_str().unwrap(), "{turn}");
        }
    }
}

#[test]
fn training_templates_keep_every_turn() {
    let call =
        json!({"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]});
    let chat: Vec<Message> = serde_json::from_value(json!([
        {"role": "system", "content": "s"}, {"role": "user", "content": "q"}, call,
        {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "<think>\nt\n</think>\n\na"}, {"role": "user", "content": "r"},
        {"role": "assistant", "content": "b", "reasoning_content": "u"}, {"role": "user", "content": "p"},
        {"role": "assistant", "content": "c"}
    ]))
    .unwrap();
    for TrainingTemplate { name, .. } in &TRAINING_TEMPLATES {
        let template = training(name);
        let whole = template.render(&chat, false).unwrap();
        for at in (0..chat.len()).filter(|&at| chat[at].is_assistant()) {
            let before = template.render(&chat[..=at], false).unwrap();
            assert!(whole.starts_with(&before), "{name}, message {at}:\n{before}\n{whole}");
        }
        let marked = template.mark(&chat).unwrap();
        let spoken: Vec<&str> = marked.assistant.iter().map(|range| &marked.text[range.clone()]).collect();
        assert_eq!(spoken.len(), 4);
        assert!(spoken[1].contains("t\n</think>\n\na") && spoken[2].contains("u\n</think>\n\nb"), "{spoken:?}");
    }
}

/// The way of Qwen3's template: thinking in the last turn alone, empty where there is none.
const FORGETS: &str = "{% for m in messages %}[{{ m.role[0] }}]{% if m.role == 'assistant' %}\
    {% set parts = m.content.split('</think>') %}\
    {% if loop.last %}{{ parts[0] if parts | length > 1 else '<think>' }}</think>{% endif %}{{ parts[-1] }};\n\
    {% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}";

/// The way of R1's: the prompt begins to think, and no turn of a conversation does.
const BEGINS: &str = "{% for m in messages %}[{{ m.role[0] }}]{{ m.content.split('</think>')[-1] }}\
    {{ ';' if m.role == 'assistant' }}{% endfor %}{% if add_generation_prompt %}[a]<think>{% endif %}";

fn rows(template: &str, chat: &[Message], from: usize, history: Option<History>) -> Result<Vec<String>> {
    let template = ChatTemplate::new("t", template, special(";")).unwrap();
    let tokenizer = Tokenizer::from_alphabet("[]<>/;\n abcdefghijklmnopqrstuvwxyz").unwrap();
    let rows = template.encode_rows(&tokenizer, chat, from, history)?;
    let shown = |row: &EncodedChat| {
        let part = |is: bool| move |(_, mask): &(&u32, &bool)| **mask == is;
        let text = |is: bool| -> Vec<u32> {
            row.tokens.iter().zip(&row.is_assistant).filter(part(is)).map(|(token, _)| *token).collect()
        };
        format!("{} | {}", tokenizer.decode(&text(false)).unwrap(), tokenizer.decode(&text(true)).unwrap())
    };
    Ok(rows.iter().map(shown).collect())
}

#[test]
fn history_is_kept_or_rewritten_as_it_is_chosen() {
    let chat = [user("q"), assistant("<think>t</think>a"), user("r"), assistant("b"), user("p")];
    let error = rows(FORGETS, &chat, 0, None).unwrap_err().to_string();
    assert!(error.contains("t: it writes message 2 otherwise once messages follow"), "{error}");
    assert!(
        error.contains("\"as_written\"") && error.contains("\"as_template\"") && error.contains("\"qwen3-training\"")
    );
    assert_eq!(
        rows(FORGETS, &chat, 0, Some(History::AsWritten)).unwrap(),
        ["[u]q[a]\n[u]r[a]\n[u]p | <think>t</think>a;<think></think>b;"]
    );
    assert_eq!(
        rows(FORGETS, &chat, 0, Some(History::AsTemplate)).unwrap(),
        ["[u]q[a]\n | <think>t</think>a;", "[u]q[a]a;\n[u]r[a]\n | <think></think>b;"]
    );
    let last = rows(FORGETS, &chat[..4], 3, None).unwrap();
    assert_eq!(last, ["[u]q[a]a;\n[u]r[a]\n | <think></think>b;"], "the last answer alone needs no choice");
}

#[test]
fn an_answer_without_the_thinking_that_the_prompt_begins_is_what_follows_it() {
    let chat = [user("q"), assistant("a"), user("r"), assistant("b")];
    assert_eq!(rows(BEGINS, &chat, 0, None).unwrap(), ["[u]q[a][u]r[a] | a;b;"]);
    assert_eq!(rows(BEGINS, &chat, 3, None).unwrap(), ["[u]q[a]a;[u]r[a] | b;"]);
    let thinks = [user("q"), assistant("<think>t</think>a")];
    for history in [None, Some(History::AsWritten), Some(History::AsTemplate)] {
        let error = rows(BEGINS, &thinks, 0, history).unwrap_err().to_string();
        assert!(error.contains("it leaves out the thinking (up to </think>) of message 2"), "{error}");
        assert!(error.contains("\"r1-training\""), "{error}");
    }
}

#[test]
fn what_follows_an_answer_is_told_from_templates_that_rewrite_it() {
    let further = |template: &str, history| {
        ChatTemplate::new("t", template, special(";")).unwrap().render_further(&[user("r")], history)
    };
    for (template, right) in [(FORGETS, "\n[u]r[a]"), (BEGINS, "[u]r[a]<think>")] {
        let error = further(template, None).unwrap_err().to_string();
        assert!(error.contains("history = \"as_written\"") && error.contains("history = \"as_template\""), "{error}");
        assert_eq!(further(template, Some(History::AsWritten)).unwrap(), right);
    }
    let name = NamedTemplate::from("qwen3-training".to_string());
    let kept = ChatTemplate::new("t", &name.text().unwrap(), special("<|im_end|>")).unwrap();
    let kept = kept.render_further(&[user("r")], None).unwrap();
    assert_eq!(kept, "\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn a_template_is_named_or_a_file() {
    let error = ChatTemplate::from_name(&NamedTemplate::from("qwen4-training".to_string()), None).unwrap_err();
    let right = "chat_template: qwen4-training is no file, and no template for training: qwen3-training, r1-training";
    assert_eq!(error.to_string(), right);
    let written = serde_json::to_value(NamedTemplate::from("r1-training".to_string())).unwrap();
    assert_eq!(written, "r1-training");
}
