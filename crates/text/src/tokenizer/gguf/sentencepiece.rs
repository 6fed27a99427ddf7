//! BPE as SentencePiece makes it ([Kudo and Richardson 2018](https://arxiv.org/abs/1808.06226)): `▁` for a space, bytes for
//! characters that have no token, and a score for each token. Of two neighbours that make a token, those that make the one of
//! the highest score are merged first.
//!
//! A `tokenizer.json` has merges in place of scores. They mean the same if all pairs that make a token are merged, one after
//! the other.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use palestra_gguf::{Gguf, Value};
use serde_json::{Value as Json, json};

use super::{BYTE, Form, NORMAL, Parts, UNKNOWN, merges_of, role_setting, shortened};
use crate::{Error, Result};

/// Value of `tokenizer.ggml.model`.
pub const MODEL: &str = "llama";
const SCORES: &str = "tokenizer.ggml.scores";
const PREFIX: &str = "tokenizer.ggml.add_space_prefix";

/// Tokens that llama.cpp takes for these roles where a file names none.
pub const ROLES: [(&str, usize); 2] = [("bos", 1), ("eos", 2)];

/// Character that stands for a space.
const SPACE: &str = "▁";

/// The settings of a `tokenizer.json`.
pub fn form(json: &Json, rows: usize) -> Result<Form, String> {
    let model = &json["model"];
    let is_empty = |field: &str| model[field].is_null() || model[field] == "" || model[field] == false;
    let fields = ["continuing_subword_prefix", "end_of_word_suffix", "ignore_merges", "dropout"];
    if let Some(field) = fields.iter().find(|field| model["type"] != "BPE" || !is_empty(field)) {
        return Err(format!("model: {} with {field} {} cannot be written", model["type"], model[field]));
    }
    let (has_prefix, note) = spaces(json).ok_or_else(|| {
        format!(
            "normalizer and pre_tokenizer: are {} and {}, and no way of SentencePiece to write spaces as {SPACE}: Prepend and \
             Replace, or Metaspace without split",
            shortened(&json["normalizer"]),
            shortened(&json["pre_tokenizer"])
        )
    })?;
    let settings =
        vec![(SCORES.into(), Value::Floats(scores(model, rows)?)), (PREFIX.into(), Value::Switch(has_prefix))];
    Ok(Form { model: MODEL, settings, types: types(model), note })
}

/// True if texts get a [`SPACE`] before them, and what llama.cpp does in another way; `None` if spaces are treated otherwise.
fn spaces(json: &Json) -> Option<(bool, Option<&'static str>)> {
    let (normalizer, pre_tokenizer) = (&json["normalizer"], &json["pre_tokenizer"]);
    if pre_tokenizer.is_null() {
        return [true, false].into_iter().find(|has| *normalizer == self::normalizer(*has)).map(|has| (has, None));
    }
    let is = |field: &str, value: &str| pre_tokenizer[field] == value;
    if !normalizer.is_null() || !is("type", "Metaspace") || !is("replacement", SPACE) || pre_tokenizer["split"] != false
    {
        return None;
    }
    match pre_tokenizer["prepend_scheme"].as_str()? {
        "never" => Some((false, None)),
        "always" => Some((true, Some("llama.cpp puts a space before a text that begins with one, too"))),
        "first" => Some((
            true,
            Some(
                "llama.cpp puts a space before a text that begins with one, too, and before a text behind a special token",
            ),
        )),
        _ => None,
    }
}

/// Types of the unknown token and of bytes.
fn types(model: &Json) -> HashMap<String, i64> {
    let unknown = model["unk_token"].as_str().map(|token| (token.to_string(), UNKNOWN));
    (0..=255).map(|byte: u8| (format!("<0x{byte:02X}>"), BYTE)).chain(unknown).collect()
}

/// Scores of tokens, by id: that of a merged token says when it is merged.
fn scores(model: &Json, rows: usize) -> Result<Vec<f32>, String> {
    let vocabulary = model["vocab"].as_object().into_iter().flatten();
    let ids: HashMap<&str, usize> =
        vocabulary.filter_map(|(token, id)| Some((token.as_str(), id.as_u64()? as usize))).collect();
    let merges = merges_of(model)?;
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for (pair, rank) in merges.iter().zip(first_ranks(&merges)) {
        let token = pair.concat();
        if ranks.get(&token).is_some_and(|known| *known != rank) {
            return Err(format!(
                "model.merges: those to {token:?} do not stand one after the other, so that it has no score"
            ));
        }
        ranks.insert(token, rank);
    }
    let known: HashSet<[&str; 2]> = merges.iter().map(|[one, other]| [one.as_str(), other.as_str()]).collect();
    for token in ranks.keys() {
        if let Some([one, other]) = pairs_of(token, |part| ids.contains_key(part)).find(|pair| !known.contains(pair)) {
            return Err(format!(
                "model.merges: {one:?} and {other:?} are not merged, and llama.cpp merges all tokens that make one"
            ));
        }
    }
    let mut scores = vec![-(merges.len() as f32); rows];
    for (token, rank) in ranks {
        if let Some(score) = ids.get(token.as_str()).and_then(|&id| scores.get_mut(id)) {
            *score = -(rank as f32);
        }
    }
    Ok(scores)
}

/// Number of the first merge to the token of each, or to any run of its character where runs grow from the left: such runs are
/// of equal score, and of equal ones llama.cpp merges the left-most, here the one of the longest left part.
fn first_ranks(merges: &[[String; 2]]) -> Vec<usize> {
    let mut ranks: Vec<usize> = Vec::with_capacity(merges.len());
    while let Some(pair) = merges.get(ranks.len()) {
        let (first, token) = (ranks.len(), pair.concat());
        let rest = &merges[first..];
        let run = run_of(&token);
        let of_runs = rest.iter().take_while(|pair| run.is_some() && run_of(&pair.concat()) == run).count();
        let grows = rest[..of_runs].is_sorted_by_key(|pair| growth(&pair[0], &pair[1]));
        let of_token = || rest.iter().take_while(|pair| pair.concat() == token).count();
        ranks.resize(first + if grows && of_runs > 0 { of_runs } else { of_token() }, first);
    }
    ranks
}

/// The character of which a token is a run.
fn run_of(token: &str) -> Option<char> {
    let first = token.chars().next()?;
    token.chars().all(|character| character == first).then_some(first)
}

/// Place of a pair among those of equal score.
fn growth(left: &str, right: &str) -> Reverse<(usize, usize)> {
    Reverse((left.len(), right.len()))
}

/// Pairs of known tokens that make a token.
fn pairs_of<'a>(token: &'a str, is_known: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = [&'a str; 2]> + 'a {
    let places = token.char_indices().skip(1).map(|(at, _)| at);
    places.map(|at| [&token[..at], &token[at..]]).filter(move |pair| pair.iter().all(|part| is_known(part)))
}

/// The parts of a `tokenizer.json` that a file has.
pub fn parts(file: &Gguf, tokens: &[String], types: &[i64]) -> Result<Parts> {
    let fault = |reason: String| Error::from(file.fault(reason));
    let has_prefix = file.switch(PREFIX)?.unwrap_or(true);
    let scores = file.floats(SCORES)?.unwrap_or_default();
    if scores.len() != tokens.len() {
        return Err(fault(format!("{SCORES} has {} scores, and there are {} tokens", scores.len(), tokens.len())));
    }
    let kind = |id: usize| types.get(id).copied().unwrap_or(NORMAL);
    let merged: HashSet<&str> =
        (0..tokens.len()).filter(|&id| kind(id) == NORMAL).map(|id| tokens[id].as_str()).collect();
    let (mut made, mut merges) = (Vec::new(), Vec::new());
    for id in (0..tokens.len()).filter(|&id| kind(id) == NORMAL) {
        let from = merges.len();
        merges.extend(pairs_of(&tokens[id], |part| merged.contains(part)).map(|pair| (scores[id], pair)));
        if merges.len() > from {
            made.push((scores[id], tokens[id].as_str()));
        }
    }
    made.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let is_unclear = |pair: &&[(f32, &str)]| {
        let [(score, one), (other_score, other)] = [pair[0], pair[1]];
        score == other_score && (run_of(one).is_none() || run_of(one) != run_of(other))
    };
    if let Some(pair) = made.windows(2).find(is_unclear) {
        return Err(fault(format!(
            "{SCORES}: {:?} and {:?} both have {}, so that no order of merges stands for it; write the file from the \
             tokenizer.model of SentencePiece",
            pair[0].1, pair[1].1, pair[0].0
        )));
    }
    merges.sort_by(|(one, [left, right]), (other, [other_left, other_right])| {
        other.total_cmp(one).then(growth(left, right).cmp(&growth(other_left, other_right)))
    });
    let unknown = match file.count(&role_setting("unknown"))? {
        Some(id) => tokens.get(id),
        None => (0..tokens.len()).find(|&id| kind(id) == UNKNOWN).map(|id| &tokens[id]),
    };
    Ok(Parts {
        adds_bos: true,
        normalizer: normalizer(has_prefix),
        pre_tokenizer: Json::Null,
        post_processor: Json::Null,
        decoder: decoder(has_prefix),
        unknown: unknown.cloned(),
        byte_fallback: true,
        ignores_merges: false,
        merges: merges.into_iter().map(|(_, pair)| json!(pair)).collect(),
    })
}

fn normalizer(has_prefix: bool) -> Json {
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    match has_prefix {
        true => {
            json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": SPACE }, replace] })
        }
        false => replace,
    }
}

fn decoder(has_prefix: bool) -> Json {
    let mut steps = vec![
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if has_prefix {
        steps.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    json!({ "type": "Sequence", "decoders": steps })
}
