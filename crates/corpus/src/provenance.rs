//! Origin of a document of the web, and what its authors allow.

use serde::{Deserialize, Serialize};

/// Address, date, languages and terms of a page, as far as its file tells them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Provenance {
    pub url: Option<String>,
    /// Time of the request, as the archive writes it (ISO 8601).
    pub date: Option<String>,
    /// Languages that the archive identified, such as `eng,deu`.
    pub identified_languages: Option<String>,
    /// Values of `X-Robots-Tag` and `<meta name="robots">`.
    pub robots: Option<String>,
    /// Addresses of `rel="license"`.
    pub license: Option<String>,
}

impl Provenance {
    /// Adds a directive to robots, such as `noindex`.
    pub fn add_robots(&mut self, value: &str) {
        add(&mut self.robots, value, ", ");
    }

    /// Adds the address of a licence.
    pub fn add_license(&mut self, address: &str) {
        add(&mut self.license, address, " ");
    }
}

/// Adds a value that is not there yet.
fn add(values: &mut Option<String>, value: &str, separator: &str) {
    let value = value.trim();
    match values {
        _ if value.is_empty() => {}
        None => *values = Some(value.to_string()),
        Some(known) if known.split(separator).any(|known| known == value) => {}
        Some(known) => {
            known.push_str(separator);
            known.push_str(value);
        }
    }
}
