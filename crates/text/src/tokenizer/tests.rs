use std::fs;

use serde_json::{Value, json};

use super::*;

const ALPHABET: &str = "zyx .\n#Aé→😀<|padentiosbrv>c";
const TEXTS: [&str; 7] =
    ["", "abc", "a b\n\n c ", "éé→😀\n", "<|pad|>", "<|end|><|action|>x<|observation|>", "\n <|<|>|> ..AA##"];

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, &mut ids).unwrap();
    ids
}

/// A small Hugging Face tokenizer with byte-level BPE, in the format of GPT-2's file.
fn bpe(added: Value, truncation: Value) -> String {
    json!({
        "version": "1.0", "truncation": truncation, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4}, "merges": ["a b", "Ġ ab"]}
    })
    .to_string()
}

fn special(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": true})
}

#[test]
fn characters_are_sorted_after_the_special_tokens() {
    let tokenizer = Tokenizer::from_alphabet("cabba").unwrap();
    assert_eq!(tokenizer.vocab_size(), 7);
    assert_eq!(encode(&tokenizer, "cab"), [6, 4, 5]);
    assert_eq!(*tokenizer.special(), SpecialTokens { pad: 0, observation: Some(1), action: Some(2), end: Some(3) });
    assert_eq!(tokenizer.decode(&[1, 6, 2, 4, 5, 3, 0, 0]).unwrap(), "cab");
}

#[test]
fn every_text_comes_back() {
    let tokenizer = Tokenizer::from_alphabet(ALPHABET).unwrap();
    for text in TEXTS {
        assert_eq!(tokenizer.decode(&encode(&tokenizer, text)).unwrap(), text);
    }
}

#[test]
fn the_written_file_means_the_same_to_hugging_face() {
    let tokenizer = Tokenizer::from_alphabet(ALPHABET).unwrap();
    let theirs: tokenizers::Tokenizer = tokenizer.to_json().unwrap().parse().unwrap();
    for text in TEXTS {
        let ours = encode(&tokenizer, text);
        for add_special_tokens in [false, true] {
            assert_eq!(theirs.encode(text, add_special_tokens).unwrap().get_ids(), ours, "{text:?}");
        }
        let framed = [&[1], &ours[..], &[3, 0]].concat();
        assert_eq!(theirs.decode(&framed, true).unwrap(), tokenizer.decode(&framed).unwrap());
    }
    assert!(theirs.encode("Q", false).is_err(), "an unknown character is an error there too");
}

#[test]
fn our_own_file_gives_the_fast_path_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let tokenizer = Tokenizer::from_alphabet(ALPHABET).unwrap();
    fs::write(&path, tokenizer.to_json().unwrap()).unwrap();
    let again = Tokenizer::from_file(&path).unwrap();
    assert!(matches!(again.kind, Kind::Characters(_)));
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
    assert_eq!(again.special(), tokenizer.special());

    let changed = tokenizer.to_json().unwrap().replace("Isolated", "Removed");
    fs::write(&path, changed).unwrap();
    assert!(matches!(Tokenizer::from_file(&path).unwrap().kind, Kind::HuggingFace(_)));
}

#[test]
fn an_unknown_character_is_named_with_its_place() {
    let tokenizer = Tokenizer::from_alphabet("ab\n").unwrap();
    let mut ids = vec![9];
    let error = tokenizer.encode("ab\na\u{e9}", &mut ids).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"tokenizer: 'é' (U+00E9) at line 2, column 2 of the text is not in the alphabet "\nab""#
    );
    assert_eq!(ids, [9]);
}

#[test]
fn what_cannot_be_is_an_error() {
    let message = |result: Result<String>| result.unwrap_err().to_string();
    let tokenizer = Tokenizer::from_alphabet("ab").unwrap();
    assert_eq!(message(tokenizer.decode(&[6])), "tokenizer: no token has the id 6; the vocabulary ends at 5");
    assert!(Tokenizer::from_alphabet("").is_err());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    assert!(matches!(Tokenizer::from_file(&path), Err(Error::Io { .. })));
    fs::write(&path, "{}").unwrap();
    let error = Tokenizer::from_file(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("tokenizer: {}: no Hugging Face tokenizer", path.display())), "{error}");
}

#[test]
fn the_fingerprint_is_of_the_content() {
    let fingerprint = |alphabet| Tokenizer::from_alphabet(alphabet).unwrap().fingerprint().to_string();
    assert_eq!(fingerprint("ab"), fingerprint("bab"));
    assert_ne!(fingerprint("ab"), fingerprint("abc"));
    assert_eq!(fingerprint("ab"), "fb8e20fc2e4c3f248c60c39bd652f3c1", "SHA-256 of \"ab\", the first half");
}

#[test]
fn a_hugging_face_file_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let truncation = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    fs::write(&path, bpe(json!([special(5, "<|endoftext|>"), special(9, "<x>")]), truncation)).unwrap();
    let tokenizer = Tokenizer::from_file(&path).unwrap();
    assert_eq!(encode(&tokenizer, "ab ab ab<|endoftext|>"), [2, 4, 4, 5]);
    assert_eq!(tokenizer.decode(&[2, 4, 5]).unwrap(), "ab ab");
    assert_eq!(*tokenizer.special(), SpecialTokens { pad: 5, observation: None, action: None, end: Some(5) });
    assert_eq!(tokenizer.vocab_size(), 7);

    let copy = folder.path().join("copy.json");
    fs::write(&copy, tokenizer.to_json().unwrap()).unwrap();
    assert_eq!(Tokenizer::from_file(&copy).unwrap().fingerprint(), tokenizer.fingerprint());
}

#[test]
fn the_accompanying_config_names_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let added = json!([special(5, "<|endoftext|>"), special(6, "<stop>"), special(7, "<fill>")]);
    fs::write(&path, bpe(added, Value::Null)).unwrap();
    let config = json!({"eos_token": {"content": "<stop>"}, "pad_token": "<fill>"}).to_string();
    fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    let tokenizer = Tokenizer::from_file(&path).unwrap();
    assert_eq!(*tokenizer.special(), SpecialTokens { pad: 7, observation: None, action: None, end: Some(6) });
    let config: Value = serde_json::from_str(&tokenizer.to_config_json()).unwrap();
    assert_eq!((&config["eos_token"], &config["pad_token"]), (&json!("<stop>"), &json!("<fill>")));
}

/// A tokenizer with the special tokens `<s>` = 5 and `</s>` = 6, and a post-processor.
fn framed(post_processor: Value, config: Value) -> Tokenizer {
    let added = json!([special(5, "<s>"), special(6, "</s>")]);
    let mut json: Value = serde_json::from_str(&bpe(added, Value::Null)).unwrap();
    json["post_processor"] = post_processor;
    let mut roles = json!({"bos_token": "<s>", "eos_token": "</s>"});
    roles.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    made::opened(&json, &roles)
}

/// A post-processor that adds the named tokens before and after a text.
fn template(before: &[(&str, u32)], after: &[(&str, u32)]) -> Value {
    let token = |(name, _): &(&str, u32)| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let single: Vec<Value> = before.iter().map(token).chain([text("A")]).chain(after.iter().map(token)).collect();
    let named = before.iter().chain(after);
    let special: serde_json::Map<String, Value> =
        named.map(|(name, id)| (name.to_string(), json!({"id": name, "ids": [id], "tokens": [name]}))).collect();
    json!({"type": "TemplateProcessing", "single": single, "pair": [text("A"), text("B")], "special_tokens": special})
}

/// The ids are those of transformers 5.24: `AutoTokenizer.from_pretrained(directory)("ab").input_ids`.
#[test]
fn a_whole_text_has_the_special_tokens_that_transformers_gives_it() {
    let level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let (bos, eos) = (("<s>", 5), ("</s>", 6));
    let sequence = json!({"type": "Sequence", "processors": [level, template(&[bos], &[])]});
    let bert = json!({"type": "BertProcessing", "cls": ["<s>", 5], "sep": ["</s>", 6]});
    let cases: [(Value, &[u32]); 6] = [
        (Value::Null, &[2]),
        (level, &[2]),
        (template(&[bos], &[]), &[5, 2]),
        (sequence, &[5, 2]),
        (template(&[bos], &[eos]), &[5, 2, 6]),
        (bert, &[5, 2, 6]),
    ];
    // transformers 5 does not read these keys beside a tokenizer.json.
    let keys = [
        json!({}),
        json!({"add_bos_token": true}),
        json!({"add_bos_token": false}),
        json!({"add_eos_token": true}),
        json!({"add_bos_token": true, "add_eos_token": true}),
    ];
    for (post_processor, expected) in cases {
        for keys in &keys {
            let tokenizer = framed(post_processor.clone(), keys.clone());
            assert_eq!(tokenizer.encode_text("ab").unwrap(), expected, "{post_processor} {keys}");
            let Kind::HuggingFace(inner) = &tokenizer.kind else { panic!("a Hugging Face file") };
            for text in ["ab", "", " ab ab", "a<s>b"] {
                let theirs = inner.encode(text, true).unwrap();
                assert_eq!(tokenizer.encode_text(text).unwrap(), theirs.get_ids(), "{text:?}");
            }
        }
    }
}

#[test]
fn the_beginning_of_a_text_has_no_end_and_a_part_has_neither() {
    let tokenizer = framed(template(&[("<s>", 5)], &[("</s>", 6)]), json!({}));
    assert_eq!(tokenizer.beginning(), [5]);
    assert_eq!(tokenizer.encode_beginning("ab").unwrap(), [5, 2]);
    assert_eq!(tokenizer.encode_beginnings(&["ab".into(), String::new()]).unwrap(), [vec![5, 2], vec![5]]);
    assert_eq!(encode(&tokenizer, "<s>ab"), [5, 2], "a template writes its special tokens itself");
    let own = Tokenizer::from_alphabet("ab").unwrap();
    assert_eq!(own.encode_text("ab").unwrap(), encode(&own, "ab"), "characters alone");
    assert_eq!(own.encode_beginnings(&["ab".into()]).unwrap(), [encode(&own, "ab")]);
}

#[test]
fn a_post_processor_that_loses_the_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_str(&bpe(json!([special(5, "<s>")]), Value::Null)).unwrap();
    json["post_processor"] = template(&[("<s>", 5)], &[]);
    json["post_processor"]["single"].as_array_mut().unwrap().pop();
    fs::write(&path, json.to_string()).unwrap();
    let error = Tokenizer::from_file(&path).unwrap_err().to_string();
    assert!(error.contains("post_processor: it does not return a text once and whole"), "{error}");
}

/// The ids and flags are those of transformers 5.24 with the same two files.
#[test]
fn tokens_of_the_accompanying_config_alone_are_tokens() {
    let json: Value = serde_json::from_str(&bpe(json!([special(5, "<s>")]), Value::Null)).unwrap();
    let token = |content: &str, special: bool| json!({"content": content, "lstrip": false, "rstrip": false, "special": special});
    let mut strip = token("<strip>", true);
    (strip["lstrip"], strip["rstrip"]) = (true.into(), true.into());
    let config = json!({
        "eos_token": "<end>",
        "added_tokens_decoder": {"8": strip, "6": token("<end>", false), "5": token("<s>", true), "7": token("<tool>", false)},
    });
    let tokenizer = made::opened(&json, &config);
    assert_eq!(encode(&tokenizer, "<s>ab<end>a <strip> b<tool>"), [5, 2, 6, 0, 8, 1, 7]);
    assert_eq!((tokenizer.vocab_size(), tokenizer.special().end), (9, Some(6)));
    assert_eq!(tokenizer.decode(&[5, 2, 6, 0, 8, 1, 7]).unwrap(), "abab<tool>", "a token with a role is special");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tokenizer.json");
    fs::write(&copy, tokenizer.to_json().unwrap()).unwrap();
    assert_eq!(Tokenizer::from_file(&copy).unwrap().fingerprint(), tokenizer.fingerprint(), "the copy has them itself");
}

#[test]
fn tokens_of_the_accompanying_config_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, bpe(json!([special(5, "<s>")]), Value::Null)).unwrap();
    let refused = |config: Value| {
        fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        Tokenizer::from_file(&path).unwrap_err().to_string()
    };
    let message = refused(json!({"added_tokens_decoder": {"9": {"content": "<x>"}}}));
    assert!(
        message.contains(r#"gives "<x>" the id 9, and the next id after the tokens of tokenizer.json is 6"#),
        "{message}"
    );
    let message = refused(json!({"added_tokens_decoder": {"x": {"content": "<x>"}}}));
    assert!(message.contains(r#"added_tokens_decoder["x"] is no token"#), "{message}");
    let message = refused(json!({"eos_token": {"content": "<end>"}}));
    let expected = r#"tokenizer.json: tokenizer_config.json names the eos_token "<end>", and no token is so called"#;
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_padding_token_beyond_the_embedding_is_for_padding_alone() {
    let added = json!([special(5, "</s>"), special(6, "[PAD]")]);
    let json: Value = serde_json::from_str(&bpe(added, Value::Null)).unwrap();
    let config = json!({"eos_token": "</s>", "pad_token": "[PAD]"});
    let whole = made::opened(&json, &config);
    assert_eq!(whole.clone().for_rows(7).unwrap().special().pad, 6);
    let tokenizer = whole.clone().for_rows(6).unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.special().pad), (6, 5), "an id that can be looked up");
    assert_eq!(tokenizer.fingerprint(), whole.fingerprint());
    assert_eq!(encode(&tokenizer, "ab</s>"), [2, 5]);
    let mut ids = vec![9];
    let message = tokenizer.encode("ab[PAD]", &mut ids).unwrap_err().to_string();
    let expected = "the text has \"[PAD]\", token 6, and the model's vocabulary ends at 5: it is for padding alone";
    assert_eq!((message.as_str(), ids), (format!("tokenizer: {expected}").as_str(), vec![9]));
    assert!(tokenizer.encode_beginnings(&["a".into(), "[PAD]".into()]).unwrap_err().to_string().contains(expected));
    assert!(tokenizer.decode(&[6]).is_err());
    assert_eq!(tokenizer.token_bytes().len(), 6);
    let message = whole.for_rows(5).unwrap_err();
    let expected = "has 7 tokens, and the model's config.json says vocab_size = 5: they are of different models; \"</s>\" is \
                    token 5, which the model's embedding does not have";
    assert_eq!(message, expected);
}

#[test]
fn an_id_without_a_token_has_no_text() {
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 5}, "merges": [["a", "b"]]}
    });
    let tokenizer = made::opened(&json, &Value::Null);
    assert_eq!((tokenizer.vocab_size(), tokenizer.decode(&[0, 2, 5, 4, 1]).unwrap().as_str()), (6, "aabb"));
    assert_eq!(tokenizer.token_bytes(), [1, 1, 0, 0, 0, 2]);
    assert_eq!(tokenizer.holes(), [2, 3, 4]);
    assert_eq!(tokenizer.decode(&[3]).unwrap(), "");
}
