//! Parsing of `corpus.toml`: unknown keys are refused with the nearest known key.

use std::path::Path;

use crate::error::{Error, Result};
use crate::settings::Settings;

impl Settings {
    /// Reads a TOML file. Each of `overrides` is a `key=value` that is applied after it.
    pub fn load(file: &Path, overrides: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|source| Error::io(file, "read", source))?;
        Self::parse(&text, &file.display().to_string(), overrides)
    }

    /// Parses the settings from a TOML text; `name` is used in errors.
    ///
    /// ```
    /// use palestra_corpus::Settings;
    /// let error = Settings::parse("[gopher]\nword = [5, 10]\n", "corpus.toml", &[]).unwrap_err();
    /// assert!(error.to_string().starts_with("corpus.toml:2: unknown key `word` in [gopher]; did you mean `words`?"));
    /// ```
    pub fn parse(text: &str, name: &str, overrides: &[String]) -> Result<Self> {
        let line_of = |place: usize| text[..place.min(text.len())].matches('\n').count() + 1;
        let wrong = |error: toml::de::Error| {
            let line = error.span().map_or(String::new(), |span| format!(":{}", line_of(span.start)));
            Error::Settings(format!("{name}{line}: {}", error.message().trim_end().replace('\n', "; ")))
        };
        let spanned = toml::de::DeTable::parse(text).map_err(wrong)?;
        let defaults = toml::Table::try_from(Self::default()).expect("the defaults are TOML");
        check_keys(spanned.get_ref(), &defaults, "", &|place| format!("{name}:{}", line_of(place)))?;
        let _: Self = toml::from_str(text).map_err(wrong)?;

        let mut table: toml::Table = toml::from_str(text).map_err(wrong)?;
        for change in overrides {
            set(&mut table, change, &defaults)?;
        }
        let settings: Self = table.try_into().map_err(|error: toml::de::Error| {
            Error::Settings(format!("--set {}: {}", overrides.join(" "), error.message()))
        })?;
        Ok(settings)
    }

    /// Returns the settings as TOML, every key with its value.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("settings are TOML")
    }
}

/// Refuses unknown keys, with the nearest key of the defaults.
fn check_keys(
    table: &toml::de::DeTable<'_>,
    defaults: &toml::Table,
    path: &str,
    place: &dyn Fn(usize) -> String,
) -> Result<()> {
    for (key, value) in table {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        match (defaults.get(name), value.get_ref()) {
            (None, _) => return Err(unknown(&place(at), path, name, defaults)),
            (Some(toml::Value::Table(inner)), toml::de::DeValue::Table(table)) => {
                check_keys(table, inner, &format!("{path}{name}."), place)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn set(table: &mut toml::Table, change: &str, defaults: &toml::Table) -> Result<()> {
    let Some((key, value)) = change.split_once('=') else {
        return Err(Error::Settings(format!("--set {change}: write KEY=VALUE, such as gopher.stop_words=false")));
    };
    // A bare word is a string, so that no nested quotes are needed.
    let value = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_string()));
    let (mut at, mut known, mut path) = (table, defaults, String::new());
    let mut names = key.trim().split('.').peekable();
    while let Some(name) = names.next() {
        let inner = match known.get(name) {
            None => return Err(unknown("--set", &path, name, known)),
            Some(toml::Value::Table(inner)) => Some(inner),
            Some(_) => None,
        };
        match (inner, names.peek()) {
            (Some(inner), Some(_)) => {
                let next = at.entry(name).or_insert_with(|| toml::Table::new().into());
                at = next.as_table_mut().expect("the file's keys were checked");
                known = inner;
                path = format!("{path}{name}.");
            }
            (None, None) => {
                at.insert(name.to_string(), value);
                return Ok(());
            }
            _ => return Err(Error::Settings(format!("--set {change}: `{path}{name}` cannot be set like this"))),
        }
    }
    Ok(())
}

fn unknown(place: &str, path: &str, name: &str, known: &toml::Table) -> Error {
    let nearest = known.keys().min_by_key(|key| strsim::damerau_levenshtein(key, name));
    let near = nearest.filter(|key| strsim::damerau_levenshtein(key, name) <= 2 + name.len() / 4);
    let hint = near.map_or(String::new(), |near| format!(" did you mean `{near}`?"));
    let section = if path.is_empty() { String::new() } else { format!(" in [{}]", path.trim_end_matches('.')) };
    let keys: Vec<&str> = known.keys().map(String::as_str).collect();
    Error::Settings(format!("{place}: unknown key `{name}`{section};{hint} known keys: {}", keys.join(", ")))
}

#[cfg(test)]
mod tests {
    use crate::settings::{Limit, Settings};

    fn error(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
        Settings::parse(text, "c.toml", &overrides).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_comes_back() {
        let changes = ["gopher.words=false", "language.keep=['deu']", "out=here", "c4.sentences=5"].map(String::from);
        let settings = Settings::parse("out = 'there'\n[gopher]\nhashes = 0.2", "c.toml", &changes).unwrap();
        assert_eq!((settings.out.as_str(), settings.gopher.words), ("here", Limit::Off));
        assert_eq!((settings.gopher.hashes, settings.c4.sentences), (Limit::At(0.2), Limit::At(5)));
        assert_eq!(settings.language.keep, ["deu"]);
        assert_eq!(Settings::parse(&settings.to_toml(), "c.toml", &[]).unwrap(), settings);
        assert_eq!(Settings::parse("", "c.toml", &[]).unwrap(), Settings::default());
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        assert!(
            error("\n[gofer]\n", &[]).starts_with("c.toml:2: unknown key `gofer`; did you mean `gopher`? known keys: ")
        );
        let said = error("[c4]\nlorem_ipsun = true", &[]);
        assert!(said.starts_with("c.toml:2: unknown key `lorem_ipsun` in [c4]; did you mean `lorem_ipsum`?"), "{said}");
        assert_eq!(error("[split]\nseed = 1", &[]), "c.toml:2: unknown key `seed` in [split]; known keys: validation");
        assert!(error("", &["split.validate=1"]).starts_with("--set: unknown key `validate` in [split]; did you mean"));
        assert!(error("", &["gopher"]).contains("write KEY=VALUE"));
        assert!(error("", &["gopher=1"]).contains("cannot be set like this"));
    }

    #[test]
    fn wrong_values_are_refused_with_what_would_be_right() {
        let said = error("[gopher]\nwords = 'many'", &[]);
        assert!(said.starts_with("c.toml:2: ") && said.contains("a threshold of the rule's kind"), "{said}");
        assert_eq!(error("out = 'x", &[]).lines().count(), 1);
        assert!(error("", &["split.validation=many"]).starts_with("--set split.validation=many: invalid type: string"));
        assert!(
            error("[gopher]\nstop_words = true", &[]).contains("true"),
            "{}",
            error("[gopher]\nstop_words = true", &[])
        );
        assert!(error("[repair]\nunicode = 'nfd'", &[]).contains("nfc"));
        let refused = |text: &str| {
            let text = format!("inputs = ['a.txt']\nout = 'b'\n{text}");
            Settings::parse(&text, "c.toml", &[]).unwrap().check().unwrap_err().to_string()
        };
        assert!(refused("[language]\nkeep = ['English']").contains("write \"eng\""));
        assert!(refused("[language]\nkeep = ['xx']").contains("three letters"));
        assert!(refused("[duplicates]\nnear = 0.5").starts_with("`duplicates.near` is 0.5; from 0.7"));
        let inside = Settings { inputs: vec!["./books/".into()], out: "books/clean".into(), ..Settings::default() };
        assert!(inside.check().unwrap_err().to_string().contains("outside of the input ./books/"));
        assert!(refused("[split]\nvalidation = 1.0").contains("below 1"));
        assert!(refused("[shards]\nzstd_level = 30").contains("1 to 19"));
        assert!(refused("[read]\npart_bytes = 3").contains("at least 1024"));
    }
}
