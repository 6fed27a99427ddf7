//! Tokens that only `added_tokens_decoder` of `tokenizer_config.json` has, beside a `tokenizer.json` without them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokenizers::AddedToken;

use super::limits::check_token;
use crate::{Error, Result};

/// Fields of `tokenizer_config.json` that name one special token each.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Fields that list special tokens.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// Adds the tokens of `added_tokens_decoder` that the tokenizer does not have yet, in the order of their ids, as
/// transformers does. A token with a role, such as `eos_token`, is special.
///
/// # Errors
/// An entry that is no token, or a token whose id is not the next one after the vocabulary.
pub fn add_configured(inner: &mut tokenizers::Tokenizer, config: &Value) -> Result<()> {
    let special = special_names(config);
    let mut tokens = BTreeMap::new();
    for (id, entry) in config["added_tokens_decoder"].as_object().into_iter().flatten() {
        let wrong =
            || Error::Tokenizer(format!("tokenizer_config.json: added_tokens_decoder[{id:?}] is no token: {entry}"));
        let (number, content) = (id.parse::<u32>().ok(), entry["content"].as_str());
        let (Some(number), Some(content)) = (number, content) else { return Err(wrong()) };
        check_token("tokenizer_config.json: added_tokens_decoder", content, &number.into())
            .map_err(Error::Tokenizer)?;
        let flag = |name: &str| entry[name].as_bool();
        let is_special = flag("special").unwrap_or(false);
        let token = AddedToken::from(content, is_special || special.contains(content))
            .single_word(flag("single_word").unwrap_or(false))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!is_special && !special.contains(content)));
        tokens.insert(number, token);
    }
    for (id, token) in tokens {
        let is_known = inner.token_to_id(&token.content).is_some();
        inner.add_tokens(std::slice::from_ref(&token));
        let given = inner.token_to_id(&token.content);
        if !is_known && given != Some(id) {
            return Err(Error::Tokenizer(format!(
                "tokenizer_config.json: added_tokens_decoder gives {:?} the id {id}, and the next id after the tokens of \
                 tokenizer.json is {}: they are of different models",
                token.content,
                given.map_or("none".into(), |id| id.to_string())
            )));
        }
    }
    Ok(())
}

/// Names of the tokens with a role.
fn special_names(config: &Value) -> BTreeSet<&str> {
    let listed = LISTS.iter().flat_map(|list| config[*list].as_array().into_iter().flatten());
    ROLES.iter().map(|role| &config[*role]).chain(listed).filter_map(name_of).collect()
}

/// Name of a token that is written as a text or as an object with its flags.
pub fn name_of(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}
