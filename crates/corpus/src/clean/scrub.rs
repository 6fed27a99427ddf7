use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::AddAssign;

use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};

use crate::settings::Scrub;

/// Counts of replaced personal data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// E-mail addresses.
    pub email: u64,
    /// Public IP addresses.
    pub ip: u64,
    /// Phone numbers.
    pub phone: u64,
}

/// Patterns of personal data.
pub(super) struct Scrubber {
    email: Option<Regex>,
    ip: Option<(Regex, Regex)>,
    phone: Option<Regex>,
}

impl Scrubber {
    pub fn new(wanted: &Scrub) -> Self {
        let pattern = |pattern: &str| Regex::new(pattern).expect("the pattern is well formed");
        // ASCII letters, as in the patterns of Dolma (Soldaini et al. 2024).
        let email = r"(?i-u)\b[a-z0-9](?:[a-z0-9._%+-]{0,62}[a-z0-9_+-])?@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}\b";
        let ipv4 = r"(?-u:\b)(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?-u:\b)";
        let ipv6 = r"(?i-u)\b(?:[0-9a-f]{1,4}:){1,7}(?::[0-9a-f]{1,4}){1,6}\b|\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b";
        // International with a country code (+49 30 1234567), or North American: (212) 555-0123, 212-555-0123,
        // 212.555.0123.
        let phone = concat!(
            r"\+[1-9][0-9]{0,2}(?:[ .\-]?\(?[0-9]{1,4}\)?){2,5}(?-u:\b)",
            r"|(?-u:\b)(?:1[ .\-])?[2-9][0-9]{2}(?:-[2-9][0-9]{2}-|\.[2-9][0-9]{2}\.)[0-9]{4}(?-u:\b)",
            r"|\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ \-][0-9]{4}(?-u:\b)",
        );
        Self {
            email: wanted.email.then(|| pattern(email)),
            ip: wanted.ip.then(|| (pattern(ipv4), pattern(ipv6))),
            phone: wanted.phone.then(|| pattern(phone)),
        }
    }

    /// Returns the text with placeholders in place of personal data; `None` if it has none.
    pub fn scrub(&self, text: &str, count: &mut Scrubbed) -> Option<String> {
        let mut text = Cow::Borrowed(text);
        if let Some(email) = &self.email
            && text.contains('@')
        {
            replace(&mut text, email, &mut count.email, |_| Some("<email>"));
        }
        if !text.bytes().any(|byte| byte.is_ascii_digit()) {
            return owned(text);
        }
        if let Some((ipv4, ipv6)) = &self.ip {
            replace(&mut text, ipv4, &mut count.ip, |found| {
                found.parse().is_ok_and(|address| is_public(&address)).then_some("<ip>")
            });
            if text.contains(':') {
                replace(&mut text, ipv6, &mut count.ip, |found| {
                    found.parse::<Ipv6Addr>().is_ok_and(|address| is_public_v6(&address)).then_some("<ip>")
                });
            }
        }
        if let Some(phone) = &self.phone {
            replace(&mut text, phone, &mut count.phone, |found| {
                let digits = found.bytes().filter(u8::is_ascii_digit).count();
                (8..=15).contains(&digits).then_some("<phone>")
            });
        }
        owned(text)
    }
}

fn replace<'t>(text: &mut Cow<'_, str>, pattern: &Regex, count: &mut u64, by: impl Fn(&str) -> Option<&'t str>) {
    let before = *count;
    let replaced = pattern.replace_all(text, |found: &Captures<'_>| match by(&found[0]) {
        Some(placeholder) => {
            *count += 1;
            placeholder.to_string()
        }
        None => found[0].to_string(),
    });
    if *count > before {
        *text = Cow::Owned(replaced.into_owned());
    }
}

fn owned(text: Cow<'_, str>) -> Option<String> {
    match text {
        Cow::Owned(text) => Some(text),
        Cow::Borrowed(_) => None,
    }
}

/// True if an address can belong to a person: private, loopback and documentation addresses cannot.
fn is_public(address: &Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    let nobodys = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast();
    // Numbers that start with 0 are mostly numbers of a version or section.
    first != 0 && first < 240 && !nobodys
}

fn is_public_v6(address: &Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // 2000::/3 is the allocated range, of which 2001:db8::/32 is for documentation.
    first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0xdb8)
}

impl AddAssign for Scrubbed {
    fn add_assign(&mut self, other: Self) {
        self.email += other.email;
        self.ip += other.ip;
        self.phone += other.phone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub(text: &str) -> String {
        let scrubber = Scrubber::new(&Scrub::default());
        scrubber.scrub(text, &mut Scrubbed::default()).unwrap_or_else(|| text.to_string())
    }

    #[test]
    fn personal_data_is_replaced() {
        for (text, clean) in [
            ("Write to Jane.Doe+news@mail.example.co.uk, soon", "Write to <email>, soon"),
            ("<a.b@c-d.org>; x@y.io.", "<<email>>; <email>."),
            ("from 8.8.8.8 and 2a00:1450:4001::200e today", "from <ip> and <ip> today"),
            ("Call +49 30 1234567 or +1 (212) 555-0123.", "Call <phone> or <phone>."),
            ("(212) 555-0123, 212-555-0123, 212.555.0123", "<phone>, <phone>, <phone>"),
            ("+442071838750", "<phone>"),
        ] {
            assert_eq!(scrub(text), clean);
        }
        let mut count = Scrubbed::default();
        Scrubber::new(&Scrub::default()).scrub("a@b.de c@d.de 9.9.9.9 +442071838750", &mut count);
        assert_eq!(count, Scrubbed { email: 2, ip: 1, phone: 1 });
    }

    #[test]
    fn other_numbers_and_marks_stay() {
        for text in [
            "In 1914-1918, 2021-03-04, 10:30:15, 3.14159, 1,000,000, $12.50, pages 100-200.",
            "192.168.0.1, 127.0.0.1, 10.1.2.3 and version 1.2.3, 999.1.1.1, std::fmt::Display, fe80::1",
            "ISBN 978-3-16-148410-0, 2 + 2 = 4, +5 points, a @ b, @name, me@localhost",
            "12:30:45:12 and 555-0123",
        ] {
            assert_eq!(scrub(text), text);
        }
        let off = Scrubber::new(&Scrub { email: false, ip: false, phone: false });
        assert_eq!(off.scrub("a@b.de 9.9.9.9 +442071838750", &mut Scrubbed::default()), None);
    }
}
