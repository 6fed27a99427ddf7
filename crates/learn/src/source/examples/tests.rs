use palestra_datasets::Content;
use palestra_datasets::examples::{Form, Lesson};
use palestra_text::{History, Tokenizer};

use super::encoder::EncodedExample;
use super::*;
use crate::batch::TextRow;
use crate::encoder::tests::beginning_with_bos;

const TEMPLATE: &str = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}.{% endfor %}\
                        {% if add_generation_prompt %}a:{% endif %}";

fn tokenizer() -> Tokenizer {
    Tokenizer::from_alphabet("abcdefghijklmnopqrstuvwxyz:. ").unwrap()
}

fn template() -> ChatTemplate {
    ChatTemplate::new("t.jinja", TEMPLATE, Default::default()).unwrap()
}

/// Reads and encodes lines, into rows of the given window plus one token.
fn read(lines: &str, form: Form, window: usize, too_long: TooLong) -> Result<ExampleRows> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    std::fs::write(&path, lines).unwrap();
    let (tokenizer, template) = (tokenizer(), template());
    let encoder = ExampleEncoder {
        tokenizer: &tokenizer,
        template: Some(&template),
        max_length: window + 1,
        too_long,
        border: Border::Apart,
        history: None,
    };
    encoder.read(&[path.display().to_string()], form)
}

/// Counted text of a row; `<` marks the end of a text.
fn learned(row: &TextRow) -> String {
    let tokenizer = tokenizer();
    let shown = |at: &usize| match tokenizer.special().end == Some(row.tokens[*at]) {
        true => "<".to_string(),
        false => tokenizer.decode(&row.tokens[*at..=*at]).unwrap(),
    };
    row.counted.iter().map(shown).collect()
}

fn all_learned(lines: &str, form: Form) -> Vec<String> {
    read(lines, form, 100, TooLong::Cut).unwrap().rows.iter().map(learned).collect()
}

#[test]
fn what_is_learned_is_the_answer_and_its_end() {
    assert_eq!(all_learned("{\"text\": \"abc\"}", Form::Text), ["bc<"], "nothing predicts the first token");
    let line = "{\"prompt\": \"ab\", \"completion\": \" cd\", \"chosen\": \" ef\"}";
    assert_eq!(all_learned(line, Form::Completion), [" cd<"]);
    assert_eq!(all_learned(line, Form::Chosen), [" ef<"]);
}

#[test]
fn of_a_conversation_the_assistants_words_are_learned() {
    let say = |role: &str, text: &str| format!("{{\"role\": \"{role}\", \"content\": \"{text}\"}}");
    let [hi, ho, why, so] = [say("user", "hi"), say("assistant", "ho"), say("user", "why"), say("assistant", "so")];
    let whole = format!("{{\"messages\": [{hi}, {ho}, {why}, {so}]}}");
    assert_eq!(all_learned(&whole, Form::Messages), ["ho.so."]);
    let last = format!("{{\"prompt\": [{hi}, {ho}, {why}], \"completion\": [{so}]}}");
    assert_eq!(all_learned(&last, Form::Completion), ["so."], "what the prompt has of the assistant is read");
    let rows = read(&last, Form::Completion, 100, TooLong::Cut).unwrap().rows;
    assert_eq!(tokenizer().decode(&rows[0].tokens).unwrap(), "u:hi.a:ho.u:why.a:so.");
    assert_eq!(rows[0].bytes, 3);
}

#[test]
fn turns_that_a_template_rewrites_may_be_rows_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let say = |role: &str, text: &str| format!("{{\"role\": \"{role}\", \"content\": \"{text}\"}}");
    let chat = [say("user", "q"), say("assistant", "x:a"), say("user", "r"), say("assistant", "y:b")];
    let short = [say("user", "s"), say("assistant", "c")];
    let lines = [chat.join(", "), short.join(", ")].map(|messages| format!("{{\"messages\": [{messages}]}}\n"));
    std::fs::write(&path, lines.concat()).unwrap();
    let forgets = "{% for m in messages %}{{ m.role[0] }}:{{ m.content if loop.last else m.content.split(':')[-1] }}.\
                   {% endfor %}{% if add_generation_prompt %}a:{% endif %}";
    let (tokenizer, template) = (tokenizer(), ChatTemplate::new("t.jinja", forgets, Default::default()).unwrap());
    let read = |history| {
        let encoder = ExampleEncoder {
            tokenizer: &tokenizer,
            template: Some(&template),
            max_length: 100,
            too_long: TooLong::Cut,
            border: Border::Apart,
            history,
        };
        encoder.read(&[path.display().to_string()], Form::Messages)
    };
    let error = read(None).unwrap_err().to_string();
    assert!(error.contains("a.jsonl: line 1, messages: ") && error.contains("history = \"as_written\""), "{error}");
    let shown = |rows: &[TextRow]| -> Vec<(String, String)> {
        rows.iter().map(|row| (tokenizer.decode(&row.tokens).unwrap(), learned(row))).collect()
    };
    let pairs =
        |of: &[(&str, &str)]| of.iter().map(|(all, own)| (all.to_string(), own.to_string())).collect::<Vec<_>>();
    let mut written = read(Some(History::AsWritten)).unwrap();
    assert_eq!(shown(&written.rows), pairs(&[("u:q.a:x:a.u:r.a:y:b.", "x:a.y:b."), ("u:s.a:c.", "c.")]));
    assert_eq!(shown(&written.split_off(0.1).unwrap()), pairs(&[("u:s.a:c.", "c.")]));
    let mut apart = read(Some(History::AsTemplate)).unwrap();
    assert_eq!(
        shown(&apart.rows),
        pairs(&[("u:q.a:x:a.", "x:a."), ("u:q.a:a.u:r.a:y:b.", "y:b."), ("u:s.a:c.", "c.")])
    );
    let held_out = apart.split_off(0.6).unwrap();
    assert_eq!((apart.rows.len(), held_out.len()), (2, 1), "a conversation is not held out in part");
}

#[test]
fn truncation_is_counted_and_what_is_left_without_an_answer_is_dropped() {
    let lines = "{\"prompt\": \"ab\", \"completion\": \"cd\"}\n\
                 {\"prompt\": \"ab\", \"completion\": \"cdefgh\"}\n\
                 {\"prompt\": \"abcdefgh\", \"completion\": \"i\"}\n";
    let cut = read(lines, Form::Completion, 5, TooLong::Cut).unwrap();
    assert_eq!(cut.rows.iter().map(learned).collect::<Vec<_>>(), ["cd<", "cdef"]);
    let counts =
        ExampleCounts { read: 3, cut: 1, too_long: 1, counted: 7, tokens: 11, cut_off: 3, without_target: 0, apart: 0 };
    assert_eq!(cut.counts, counts);
    assert_eq!(
        cut.counts.to_string(),
        "3 examples of 11 tokens, 7 of them learned; 1 cut to text.window, which leaves out 3 tokens; 1 dropped as longer \
         than text.window"
    );
    let dropped = read(lines, Form::Completion, 5, TooLong::Drop).unwrap();
    assert_eq!((dropped.rows.len(), dropped.counts.cut, dropped.counts.too_long), (1, 0, 2));
    assert_eq!(dropped.counts.metrics()["data/examples_dropped"], 2.0);
    let silent = "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n{\"messages\": [{\"role\": \"assistant\", \
                  \"content\": \"ho\"}]}";
    assert_eq!(read(silent, Form::Messages, 9, TooLong::Cut).unwrap().counts.without_target, 1);
}

#[test]
fn rows_that_cannot_be_learned_from_are_refused() {
    let refused = |lines: &str, form| read(lines, form, 5, TooLong::Cut).unwrap_err().to_string();
    assert!(refused("", Form::Text).ends_with("a.jsonl: there is no row in it"));
    let all = refused("{\"prompt\": \"abcdefgh\", \"completion\": \"i\"}", Form::Completion);
    assert!(all.contains("a.jsonl: of 1 rows none is left to learn from: 1 are longer than text.window = 5 "), "{all}");
    let odd = refused("{\"text\": \"a\"}\n{\"text\": \"É\"}", Form::Text);
    assert!(odd.contains("a.jsonl: line 2, text: tokenizer: "), "{odd}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    std::fs::write(&path, "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}").unwrap();
    let files = [path.display().to_string()];
    let tokenizer = tokenizer();
    let told = |template: Option<&ChatTemplate>| {
        let encoder = ExampleEncoder {
            tokenizer: &tokenizer,
            template,
            max_length: 9,
            too_long: TooLong::Cut,
            border: Border::Apart,
            history: None,
        };
        encoder.read(&files, Form::Messages).unwrap_err().to_string()
    };
    assert!(told(None).contains("a.jsonl: line 1, messages: there is no chat template"));
    let strict = ChatTemplate::new("t.jinja", "{{ raise_exception('no') }}", Default::default()).unwrap();
    let message = told(Some(&strict));
    assert!(message.ends_with("line 1, messages: tokenizer: t.jinja: line 1: the template refuses: no"), "{message}");
}

fn order(count: usize, packed_to: Option<usize>, seed: u64) -> ExampleOrder {
    let example = |at: usize| TextRow::whole(vec![at as u32; 2 + at % 5], 1);
    ExampleOrder::new((0..count).map(example).collect(), packed_to, seed)
}

fn epoch_of(order: &mut ExampleOrder, epoch: u64) -> Vec<TextRow> {
    let mut rows = Vec::new();
    while order.place().epoch == epoch {
        rows.push(order.draw());
    }
    rows.pop(); // the first of the next epoch
    rows
}

#[test]
fn each_epoch_has_every_example_once_in_an_order_of_the_seed() {
    for packed_to in [None, Some(7)] {
        let mut one = order(50, packed_to, 3);
        let (first, second) = (epoch_of(&mut one, 0), epoch_of(&mut one, 1));
        assert_ne!(first, second);
        let mut seen: Vec<u32> = Vec::new();
        for row in &first {
            assert!(packed_to.is_none_or(|max_length| row.tokens.len() <= max_length) && row.borders.len() < 3);
            let starts = std::iter::once(&0).chain(&row.borders);
            seen.extend(starts.map(|&start| row.tokens[start]));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        assert_eq!(first, epoch_of(&mut order(50, packed_to, 3), 0));
        assert_ne!(first, epoch_of(&mut order(50, packed_to, 4), 0));
    }
}

#[test]
fn a_resumed_order_goes_on_with_the_same_rows() {
    for packed_to in [None, Some(9)] {
        for stop in [0, 1, 19, 20, 47] {
            let mut whole = order(20, packed_to, 5);
            (0..stop).for_each(|_| drop(whole.draw()));
            let mut resumed = order(20, packed_to, 5);
            assert!(resumed.go_to(serde_json::from_value(serde_json::to_value(whole.place()).unwrap()).unwrap()));
            for _ in 0..30 {
                assert_eq!(resumed.draw(), whole.draw());
            }
        }
    }
    assert!(!order(20, None, 5).go_to(ExamplePlace { epoch: 0, number: 21 }));
}

#[test]
fn a_packed_row_keeps_what_each_example_learns() {
    let row = |tokens: &[u32], counted: &[usize]| TextRow {
        tokens: tokens.to_vec(),
        counted: counted.to_vec(),
        borders: Vec::new(),
        bytes: counted.len(),
    };
    let rows = packed(&[row(&[1, 2, 3], &[2]), row(&[4, 5, 6, 7], &[1, 3]), row(&[8, 9], &[1])], 5);
    assert_eq!(rows[0], row(&[4, 5, 6, 7], &[1, 3]));
    let both = TextRow { borders: vec![3], ..row(&[1, 2, 3, 8, 9], &[2, 4]) };
    assert_eq!(rows[1], both);
}

#[test]
fn an_example_begins_as_the_tokenizer_begins_texts() {
    let tokenizer = beginning_with_bos("ab.:u");
    let [a, b] = ["a", "b"].map(|text| tokenizer.encode_beginning(text).unwrap()[1]);
    let end = tokenizer.special().end.unwrap();
    let template = template();
    let encoder = ExampleEncoder {
        tokenizer: &tokenizer,
        template: Some(&template),
        max_length: 9,
        too_long: TooLong::Cut,
        border: Border::Apart,
        history: None,
    };
    let row = |prompt: &str, answer: &str| encoder.answer(&prompt.into(), &answer.into()).unwrap();
    assert_eq!((row("a", "b").tokens, row("a", "b").counted), (vec![1, a, b, end], vec![2, 3]));
    assert_eq!((row("", "b").tokens, row("", "b").counted), (vec![1, b, end], vec![1, 2]), "the first word is learned");
    let said = |role: &str, content: &str| Content::Messages(vec![palestra_text::Message::new(role, content)]);
    let chat = encoder.answer(&said("user", "a"), &said("assistant", "b"));
    assert!(!chat.unwrap().tokens.contains(&1), "a template writes its special tokens itself");
}

/// Letters, and `bc` as one token.
fn merging() -> Tokenizer {
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": null,
        "added_tokens": [{"id": 0, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "model": {"type": "BPE", "vocab": {"</s>": 0, "a": 1, "b": 2, "c": 3, "d": 4, "bc": 5}, "merges": [["b", "c"]]},
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, json.to_string()).unwrap();
    Tokenizer::from_file(&path).unwrap()
}

#[test]
fn a_border_inside_a_token_is_encoded_apart_or_refused() {
    let tokenizer = merging();
    let with = |border| ExampleEncoder {
        tokenizer: &tokenizer,
        template: None,
        max_length: 9,
        too_long: TooLong::Cut,
        border,
        history: None,
    };
    let lesson = |prompt: &str, completion: &str| Lesson::Continuation {
        prompt: prompt.to_string(),
        completion: completion.to_string(),
    };
    let apart = with(Border::Apart).encode(&lesson("ab", "cd")).unwrap();
    let learned = vec![false, false, true, true, true];
    assert_eq!(apart, EncodedExample { tokens: vec![1, 2, 3, 4, 0], learned, is_apart: true });
    let whole = with(Border::Apart).encode(&lesson("a", "bcd")).unwrap();
    let learned = vec![false, true, true, true];
    assert_eq!(whole, EncodedExample { tokens: vec![1, 5, 4, 0], learned, is_apart: false });
    let (column, reason) = with(Border::Refuse).encode(&lesson("ab", "cd")).unwrap_err();
    assert!(column == "prompt" && reason.contains("their border lies inside a token"), "{reason}");
}

#[test]
fn two_texts_share_their_longest_beginning_of_tokens() {
    let tokenizer = merging();
    let encoder = ExampleEncoder {
        tokenizer: &tokenizer,
        template: None,
        max_length: 9,
        too_long: TooLong::Cut,
        border: Border::Apart,
        history: None,
    };
    let parted = |first: &str, second: &str| {
        let both = encoder.encode_parted([first.to_string(), second.to_string()]).unwrap();
        both.map(|text| {
            text.tokens
                .into_iter()
                .zip(text.learned)
                .filter_map(|(token, is)| is.then_some(token))
                .collect::<Vec<u32>>()
        })
    };
    // The texts part behind `ab`, and the tokens behind `a`.
    assert_eq!(parted("abcd", "abd"), [vec![5, 4, 0], vec![2, 4, 0]]);
    assert_eq!(parted("abcd", "abc"), [vec![4, 0], vec![0]], "the shorter one ends");
    assert_eq!(parted("ad", "da"), [vec![1, 4, 0], vec![4, 1, 0]]);
}
