//! Reference of the keys of a run file and of the metrics, as `docs/reference/` has it, by name.

use crate::config::name_here;
use crate::{Error, Result};
use palestra_settings::nearest;

const KEYS: &str = include_str!("../docs/reference/keys.md");
const METRICS: &str = include_str!("../docs/reference/metrics.md");

/// One of the references: a text in Markdown with an entry below each heading of the third level.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    /// Name of what an entry describes, such as `key`.
    what: &'static str,
    text: &'static str,
}

/// Keys of a run file.
pub const fn keys() -> Reference {
    Reference { what: "key", text: KEYS }
}

/// Metrics of a run.
pub const fn metrics() -> Reference {
    Reference { what: "metric", text: METRICS }
}

impl Reference {
    /// Names and descriptions of all entries.
    pub fn entries(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.text.split("\n### ").skip(1).filter_map(|entry| {
            let (name, body) = entry.split_once('\n')?;
            // The text of a section's heading ends its last entry.
            Some((name.trim(), body.split("\n## ").next().unwrap_or(body).trim()))
        })
    }

    /// Entries that a name stands for: the one of this name, or else all whose name it begins, up to a `.` or `/`.
    ///
    /// # Errors
    /// A name that stands for none; the message has the nearest, or the name here of what other tools call so.
    pub fn find(self, name: &str) -> Result<Vec<(&'static str, &'static str)>> {
        let begins = |entry: &str| {
            entry
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']) || name.ends_with(['.', '/']))
        };
        let exact: Vec<_> = self.entries().filter(|(entry, _)| *entry == name || is_pattern_of(entry, name)).collect();
        let found = if exact.is_empty() { self.entries().filter(|(entry, _)| begins(entry)).collect() } else { exact };
        if !found.is_empty() {
            return Ok(found);
        }
        if self.text.contains(&format!("\n## [{name}]\n")) {
            return Err(Error::Config(format!("[{name}] has no keys of its own: the section alone chooses it")));
        }
        let here = name_here(name).filter(|_| self.what == "key").map(|here| format!("that is {here} here"));
        let near = || {
            let names: Vec<&str> = self.entries().map(|(entry, _)| entry).collect();
            let last = |entry: &&str| entry.rsplit(['.', '/']).next() == Some(name);
            let same: Vec<&str> = names.iter().copied().filter(|entry| last(entry)).collect();
            let near = if same.is_empty() { nearest(name, names.iter().copied()) } else { same };
            if near.is_empty() {
                format!("`palestra {}s` lists them", self.what)
            } else {
                format!("did you mean {}?", near.join(", "))
            }
        };
        Err(Error::Config(format!("no {} is named `{name}`: {}", self.what, here.unwrap_or_else(near))))
    }
}

/// True if an entry such as `rewards/<name>_mean` stands for a name.
fn is_pattern_of(entry: &str, name: &str) -> bool {
    let Some((before, rest)) = entry.split_once('<') else { return false };
    let after = rest.split_once('>').map_or("", |(_, after)| after);
    name.len() > before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_its_name_its_section_or_its_pattern() {
        let names = |reference: Reference, name: &str| {
            reference.find(name).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(keys(), "dpo.beta"), ["dpo.beta"]);
        assert!(names(keys(), "dpo").len() > 3 && names(keys(), "dpo").iter().all(|name| name.starts_with("dpo.")));
        assert_eq!(names(metrics(), "objective/kl"), ["objective/kl"]);
        assert_eq!(names(metrics(), "rewards/length_mean"), ["rewards/<name>_mean"]);
        assert!(names(metrics(), "val").iter().all(|name| name.starts_with("val/")));
        let told = |reference: Reference, name: &str| reference.find(name).unwrap_err().to_string();
        assert_eq!(told(keys(), "supervised"), "[supervised] has no keys of its own: the section alone chooses it");
        assert_eq!(told(keys(), "lr"), "no key is named `lr`: that is optimizer.learning_rate here");
        assert_eq!(told(metrics(), "kl"), "no metric is named `kl`: did you mean objective/kl?");
        let near = told(keys(), "dpo.betta");
        assert!(near.starts_with("no key is named `dpo.betta`: did you mean dpo.beta"), "{near}");
    }

    #[test]
    fn no_entry_is_empty() {
        for (name, body) in keys().entries().chain(metrics().entries()) {
            assert!(!body.is_empty() && !body.contains("\n#"), "{name}: {body}");
        }
    }
}
