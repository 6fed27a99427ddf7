use palestra_text::Message;

use super::*;

fn encoder(return_to_go: Option<usize>) -> Encoder {
    let encoding = Encoding {
        context: Context::Observation,
        max_length: 16,
        history: None,
        legal_actions_only: true,
        return_to_go,
    };
    Encoder::new(Tokenizer::from_alphabet(&format!("abc{RETURN_ALPHABET}")).unwrap(), encoding)
}

fn turn(action: &str, reward: f32, legal: Option<&[&str]>) -> Turn {
    let legal_actions = legal.map(|legal| legal.iter().map(|action| action.to_string()).collect());
    Turn { observation: "ab".into(), action: action.into(), reward, legal_actions, ..Turn::default() }
}

fn text(encoder: &Encoder, tokens: &[u32]) -> String {
    encoder.tokenizer().decode(tokens).unwrap()
}

#[test]
fn the_return_to_go_stands_before_each_observation() {
    let mut encoder = encoder(Some(1));
    let rewards = [0.5, -0.25, 0.0, -0.3, 0.05];
    let turns = rewards.map(|reward| turn("a", reward, None)).to_vec();
    let trajectory = encoder.trajectory(&Episode { turns, ..Episode::default() }).unwrap();
    let read: Vec<String> = trajectory.segments.iter().map(|segment| text(&encoder, &segment.tokens)).collect();
    // Returns to go: 0, -.5, -.25, -.25, .05. No return is written as -0.0.
    assert_eq!(read, ["0.0 aba", "-0.5 aba", "-0.2 aba", "-0.2 aba", "0.1 aba"]);
    let asked = encoder.prompt(&[], &[], &"c".into(), Some(7.0), 1).unwrap();
    assert_eq!(text(&encoder, &asked), "7.0 c");
    assert_eq!(text(&encoder, &encoder.prompt(&[], &[], &"c".into(), Some(-0.04), 1).unwrap()), "0.0 c");
}

#[test]
fn an_action_ends_where_its_choice_is_complete_and_else_with_the_end_token() {
    let mut encoder = encoder(None);
    let end = encoder.tokenizer().special().end.unwrap();
    let written = |encoder: &mut Encoder, turn: Turn| {
        let trajectory = encoder.trajectory(&Episode { turns: vec![turn], ..Episode::default() }).unwrap();
        let Segment { tokens, actions } = &trajectory.segments[0];
        let ends = tokens.last() == Some(&end);
        let text: String = actions.iter().map(|action| text(encoder, &[tokens[action.at]])).collect();
        (text, ends, actions.iter().map(|action| action.allowed.as_ref().map(|a| a.len())).collect::<Vec<_>>())
    };
    let plain = Some(["a", "bc", "bb"].as_slice());
    assert_eq!(written(&mut encoder, turn("bc", 0.0, plain)), ("bc".into(), false, vec![Some(2), Some(2)]));
    // `a` is a prefix of `ab`, so every choice gets an end token.
    let nested = Some(["a", "ab"].as_slice());
    assert_eq!(written(&mut encoder, turn("a", 0.0, nested)), ("a".into(), true, vec![Some(1), Some(2)]));
    // An illegal action may have been any text.
    assert_eq!(written(&mut encoder, turn("ca", 0.0, plain)), ("ca".into(), true, vec![None; 3]));
    assert_eq!(written(&mut encoder, turn("a", 0.0, None)), ("a".into(), true, vec![None; 2]));
}

#[test]
fn ids_of_another_tokenizer_are_not_taken() {
    let mut encoder = encoder(None);
    let mut episode = Episode { turns: vec![turn("a", 1.0, None)], ..Episode::default() };
    episode.turns[0].action_ids = Some(vec![0, 1, 2]);
    let written =
        |encoder: &mut Encoder, episode: &Episode| encoder.trajectory(episode).unwrap().segments[0].actions.len();
    assert_eq!(written(&mut encoder, &episode), 2, "the letter and the end");
    episode.tokenizer_hash = Some("another".into());
    assert_eq!(written(&mut encoder, &episode), 2);
    episode.tokenizer_hash = Some(encoder.tokenizer().fingerprint().to_string());
    assert_eq!(written(&mut encoder, &episode), 3, "the logged ids");
}

#[test]
fn what_cannot_be_encoded_is_told_with_its_episode_and_step() {
    let mut encoder = encoder(None);
    let told = |encoder: &mut Encoder, turn: Turn| {
        let turns = vec![Turn { observation: "a".into(), action: "b".into(), ..Turn::default() }, turn];
        encoder.trajectory(&Episode { id: "e7".into(), turns, ..Episode::default() }).unwrap_err().to_string()
    };
    let long = Turn { observation: "abc".repeat(9).into(), ..turn("a", 0.0, None) };
    assert_eq!(
        told(&mut encoder, long),
        "episode e7, step 1: model.context: 16 is too short for an observation of 29 tokens and an action of 2; it \
         should be at least 31"
    );
    assert!(told(&mut encoder, turn("x", 0.0, None)).starts_with("episode e7, step 1: "));
}

const TEMPLATE: &str = "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }};{% endfor %}\
                        {% if add_generation_prompt %}<a>{% endif %}";

fn chat(context: Context, max_length: usize) -> Encoder {
    let encoding = Encoding { context, max_length, history: None, legal_actions_only: true, return_to_go: None };
    let template = ChatTemplate::new("example", TEMPLATE, Default::default()).unwrap();
    Encoder::new(Tokenizer::from_alphabet("<>;abcsu").unwrap(), encoding).with_chat(template)
}

#[test]
fn observations_are_read_by_a_chat_template() {
    let alone = chat(Context::Observation, 64);
    assert_eq!(text(&alone, &alone.prompt(&[], &[], &"ab".into(), None, 4).unwrap()), "<u>ab;<a>");
    let listed = Content::Messages(vec![Message::new("system", "b"), Message::new("user", "c")]);
    assert_eq!(text(&alone, &alone.prompt(&[], &[], &listed, None, 4).unwrap()), "<s>b;<u>c;<a>");
}

#[test]
fn a_text_in_the_form_of_a_list_is_read_as_a_text() {
    let json = r#"[{"role":"user","content":"x"}]"#;
    let tokenizer = Tokenizer::from_alphabet(&format!("<>;u123 asm{json}")).unwrap();
    let encoding = Encoding {
        context: Context::Observation,
        max_length: 64,
        history: None,
        legal_actions_only: true,
        return_to_go: None,
    };
    let plain = Encoder::new(tokenizer, encoding);
    let template = ChatTemplate::new("example", TEMPLATE, Default::default()).unwrap();
    let chat = plain.clone().with_chat(template);
    for seen in ["[1, 2, 3]", json] {
        let read = |encoder: &Encoder| text(encoder, &encoder.prompt(&[], &[], &seen.into(), None, 4).unwrap());
        assert_eq!((read(&plain), read(&chat)), (seen.to_string(), format!("<u>{seen};<a>")));
    }
    let messages: Content = serde_json::from_str(json).unwrap();
    let read = |encoder: &Encoder| text(encoder, &encoder.prompt(&[], &[], &messages, None, 4).unwrap());
    assert_eq!((read(&plain), read(&chat)), ("x".to_string(), "<u>x;<a>".to_string()));
}

#[test]
fn a_conversation_goes_on_after_what_was_written() {
    let encoder = chat(Context::Transcript, 24);
    let end = encoder.tokenizer().special().end.unwrap();
    let mut so_far = encoder.prompt(&[], &[], &"ab".into(), None, 4).unwrap();
    encoder.tokenizer().encode("c", &mut so_far).unwrap();
    let cut_short = encoder.prompt(&so_far, &[], &"b".into(), None, 4).unwrap();
    so_far.push(end);
    let further = encoder.prompt(&so_far, &[], &"b".into(), None, 4).unwrap();
    assert_eq!((text(&encoder, &further), further[so_far.len() - 1]), ("<u>ab;<a>c<u>b;<a>".to_string(), end));
    assert_eq!(cut_short, further, "an answer ends before the next message begins");
    let beyond = encoder.prompt(&further, &[], &"ab".into(), None, 4).unwrap();
    assert_eq!(text(&encoder, &beyond), "<u>ab;<a>", "where there is no room, it begins again");
}

/// As templates of reasoning models: what stands before `>` is dropped from every turn but the last.
const FORGETS: &str = "{% for m in messages %}<{{ m.role[0] }}>{{ m.content if loop.last else m.content.split('>')[-1] }};\
                       {% endfor %}{% if add_generation_prompt %}<a>{% endif %}";

#[test]
fn a_template_that_rewrites_turns_is_read_as_it_is_chosen() {
    let forgets = ChatTemplate::new("forgets", FORGETS, Default::default()).unwrap();
    let with = |history, max_length| {
        let context = Context::Transcript;
        let encoding = Encoding { context, history, max_length, legal_actions_only: true, return_to_go: None };
        Encoder::new(Tokenizer::from_alphabet("<>;abcsu").unwrap(), encoding).with_chat(forgets.clone())
    };
    let turns = ["ab", "b"].map(|seen| Turn { observation: seen.into(), ..turn("c>a", 0.0, None) });
    let episode = Episode { id: "e7".into(), turns: turns.into(), end: Some(End::Terminated), ..Episode::default() };
    let read = |history, max_length| {
        let mut encoder = with(history, max_length);
        let segments = encoder.trajectory(&episode).map(|trajectory| trajectory.segments)?;
        Ok::<_, Error>(segments.iter().map(|segment| text(&encoder, &segment.tokens)).collect::<Vec<_>>())
    };
    let error = read(None, 64).unwrap_err().to_string();
    assert!(error.starts_with("episode e7, step 1: ") && error.contains("history = \"as_template\""), "{error}");
    assert_eq!(read(Some(History::AsWritten), 64).unwrap(), ["<u>ab;<a>c>a<u>b;<a>c>a"]);
    assert_eq!(read(Some(History::AsTemplate), 64).unwrap(), ["<u>ab;<a>c>a", "<u>ab;<a>a;<u>b;<a>c>a"]);
    assert_eq!(read(Some(History::AsTemplate), 20).unwrap(), ["<u>ab;<a>c>a", "<u>b;<a>c>a"], "where there is no room");
}

#[test]
fn an_empty_list_of_legal_actions_is_an_error() {
    let error = encoder(None).choices(Some(&[])).unwrap_err().to_string();
    assert_eq!(error, "legal_actions: the list is empty, so nothing can be written; leave it out, or end the episode");
}

#[test]
fn the_cache_of_choices_is_bounded() {
    let mut encoder = encoder(None);
    let letters = ["a", "b", "c"];
    for number in 0..MAX_CHOICES + 10 {
        let action: String = (0..9).map(|place| letters[number / 3usize.pow(place) % 3]).collect();
        encoder.choices(Some(&[action])).unwrap();
    }
    assert!(encoder.choices.len() <= MAX_CHOICES);
}

/// A tokenizer of characters whose post-processor begins every text with token 1.
pub(crate) fn beginning_with_bos(alphabet: &str) -> Tokenizer {
    let own = Tokenizer::from_alphabet(alphabet).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&own.to_json().unwrap()).unwrap();
    let bos = "<|observation|>";
    let text = |id: &str| serde_json::json!({"Sequence": {"id": id, "type_id": 0}});
    json["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, text("A")],
        "pair": [text("A"), text("B")],
        "special_tokens": {bos: {"id": bos, "ids": [1], "tokens": [bos]}},
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, json.to_string()).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), own.to_config_json()).unwrap();
    Tokenizer::from_file(&path).unwrap()
}

#[test]
fn an_episode_begins_as_the_tokenizer_begins_texts() {
    let tokenizer = beginning_with_bos("<>;abcsu");
    let [a, b] = ["a", "b"].map(|text| tokenizer.encode_beginning(text).unwrap()[1]);
    let encoding = Encoding {
        context: Context::Transcript,
        max_length: 8,
        history: None,
        legal_actions_only: true,
        return_to_go: None,
    };
    let mut encoder = Encoder::new(tokenizer.clone(), encoding.clone());
    let first = encoder.prompt(&[], &[], &"ab".into(), None, 1).unwrap();
    assert_eq!(first, [1, a, b]);
    let so_far = [&first[..], &[a]].concat();
    assert_eq!(encoder.prompt(&so_far, &[], &"b".into(), None, 1).unwrap(), [1, a, b, a, b], "a text begins once");
    assert_eq!(
        encoder.prompt(&so_far, &[], &"bbb".into(), None, 2).unwrap(),
        [1, b, b, b],
        "and anew where there is no room"
    );
    let turns = vec![turn("a", 0.0, None)];
    let logged = encoder.trajectory(&Episode { turns, ..Episode::default() }).unwrap();
    assert_eq!(logged.segments[0].tokens[..4], [1, a, b, a], "an action is a part of the text");

    let template =
        ChatTemplate::new("example", "{% for m in messages %}{{ m.content }}{% endfor %}", Default::default());
    let chat = Encoder::new(tokenizer, encoding).with_chat(template.unwrap());
    assert_eq!(
        chat.prompt(&[], &[], &"ab".into(), None, 1).unwrap(),
        [a, b],
        "a template writes its special tokens itself"
    );
}

#[test]
fn an_answer_that_any_end_token_ended_gets_no_other() {
    let encoder = chat(Context::Transcript, 24);
    let end = encoder.tokenizer().special().end.unwrap();
    let (a, other) = (encoder.tokenizer().encode_beginning("a").unwrap()[0], 2);
    let generation = GenerationConfig { eos: vec![other], ..GenerationConfig::default() };
    let encoder = encoder.with_ends(EndTokens::new(Some(end), &generation));
    let after = |so_far: &[u32]| encoder.prompt(so_far, &[], &"b".into(), None, 4).unwrap()[so_far.len()] == end;
    assert_eq!([&[a][..], &[a, end], &[a, other]].map(after), [true, false, false]);
    assert_eq!(encoder.written("a", None).unwrap(), [a, end], "the tokenizer's own is written");
}

#[test]
fn a_prompt_after_turns_is_the_one_of_play() {
    let words = ["ab", "c", "a"];
    let turns: Vec<Turn> = words.iter().map(|action| turn(action, 0.5, Some(["ab", "c", "a"].as_slice()))).collect();
    for context in [Context::Observation, Context::Transcript] {
        let mut encoder = encoder(Some(1));
        (encoder.encoding.context, encoder.encoding.max_length) = (context, 64);
        let episode = Episode { turns: turns.clone(), ..Episode::default() };
        let played = encoder.trajectory(&episode).unwrap();
        for number in 0..turns.len() {
            let (earlier, now) = (&turns[..number], &turns[number]);
            let longest = encoder.choices(now.legal_actions.as_deref()).unwrap().unwrap().longest();
            let prompt = encoder.prompt_after(earlier, &now.observation, Some(1.5), longest).unwrap();
            let (segment, first) = played
                .segments
                .iter()
                .find_map(|segment| Some((segment, segment.actions.iter().find(|action| action.turn == number)?)))
                .unwrap();
            assert_eq!(prompt, segment.tokens[..first.at], "{context:?}, turn {number}");
        }
    }
}
