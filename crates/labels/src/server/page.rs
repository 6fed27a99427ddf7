//! The HTML page, assembled from its parts.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPTS: [&str; 3] =
    [include_str!("page/words.js"), include_str!("page/label.js"), include_str!("page/counts.js")];

/// Words of the interface: a file a language, by its tag. The page shows the first that the browser asks for.
const WORDS: [(&str, &str); 2] = [("en", include_str!("page/en.json")), ("es", include_str!("page/es.json"))];

/// Builds the page. Only its own style and script may run, which `nonce` authorizes, and it may connect to this server
/// alone. Prompts and answers come sanitised, or are shown as text. `key` gives the local annotator access without a token.
pub(super) fn page(nonce: &str, key: &str) -> Response {
    let words: Vec<String> = WORDS.iter().map(|(tag, words)| format!("\"{tag}\": {words}")).collect();
    let html = HTML
        .replace("{nonce}", nonce)
        .replace("{key}", key)
        .replace("{words}", &format!("{{{}}}", words.join(",")))
        .replace("{style}", STYLE)
        .replace("{script}", &SCRIPTS.concat());
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_string()),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer".to_string()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_string()),
        (CACHE_CONTROL, "no-store".to_string()),
    ];
    (headers, html).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{HTML, SCRIPTS, WORDS};

    type Words = BTreeMap<String, String>;

    fn places(text: &str) -> Vec<&str> {
        let mut places: Vec<&str> = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn every_language_has_every_word() {
        let [(_, english), others @ ..] = WORDS;
        let english: Words = serde_json::from_str(english).unwrap();
        for (tag, words) in others {
            let words: Words = serde_json::from_str(words).unwrap();
            assert!(words.keys().eq(english.keys()), "{tag}");
            for (name, text) in &words {
                assert!(!text.is_empty() && places(text) == places(&english[name]), "{tag}, {name}: {text}");
                assert!(!text.contains('<'), "{tag}, {name}: {text}");
            }
        }
        let used = HTML.split("data-").skip(1).filter_map(|rest| {
            let (kind, rest) = rest.split_once("=\"")?;
            ["word", "label", "placeholder"].contains(&kind).then(|| rest.split('"').next())?
        });
        let script = SCRIPTS.concat();
        let said = script.split("say('").skip(1).filter_map(|rest| {
            let (word, rest) = rest.split_once('\'')?;
            (!rest.starts_with(" +")).then_some(word)
        });
        for word in used.chain(said) {
            assert!(english.contains_key(word), "{word}");
        }
    }
}
