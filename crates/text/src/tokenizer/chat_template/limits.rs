//! Bounds of what a chat template takes. Templates come with models from anybody: each ends, in bounded time and memory.

use std::thread;

use minijinja::{Error, State};
use serde::{Deserialize, Serialize};

/// Bounds of a chat template. The defaults are far above what published templates take.
///
/// ```
/// # use palestra_text::{ChatTemplate, Message, TemplateLimits};
/// let limits = TemplateLimits { steps: 1_000, ..TemplateLimits::default() };
/// let template = ChatTemplate::within(limits, "example", "{% for i in range(9999) %}{% endfor %}", Default::default())?;
/// let error = template.render(&[Message::new("user", "a")], false).unwrap_err().to_string();
/// assert!(error.contains("steps"), "{error}");
/// # Ok::<(), palestra_text::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemplateLimits {
    /// Most bytes of the template, 1 to 1 MiB (1,048,576).
    pub template_bytes: usize,
    /// Most bytes of code in one tag but those in quotes, 1 to 64 KiB (65,536). They bound how deep expressions are nested.
    pub tag_bytes: usize,
    /// Most steps of one rendering, 1 to 100,000,000; each byte of the conversation adds one. An instruction is a step, and
    /// so are 64 bytes of text that the template makes: this bounds time, memory and the length of the result.
    pub steps: u64,
}

impl Default for TemplateLimits {
    fn default() -> Self {
        Self { template_bytes: 256 << 10, tag_bytes: 8 << 10, steps: 1_000_000 }
    }
}

/// Stack of the thread that compiles a template within the default limits: minijinja's parser recurses for each sign, `not`
/// and `elif`.
const STACK: usize = 256 << 20;

impl TemplateLimits {
    /// Maximum of [`template_bytes`](Self::template_bytes): the stack for compiling grows with it.
    pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;
    /// Maximum of [`tag_bytes`](Self::tag_bytes): the stack for compiling grows with it.
    pub const MAX_TAG_BYTES: usize = 64 << 10;
    /// Maximum of [`steps`](Self::steps): the stack for nested values grows with it.
    pub const MAX_STEPS: u64 = 100_000_000;

    /// Stack for the deepest template that the limits let through.
    fn stack(self) -> usize {
        let default = Self::default();
        let times =
            self.template_bytes.div_ceil(default.template_bytes).max(self.tag_bytes.div_ceil(default.tag_bytes));
        STACK.saturating_mul(times.max(1))
    }

    /// Refuses a template that is too long.
    pub(super) fn check_length(&self, text: &str) -> Result<(), String> {
        let (length, most) = (text.len(), self.template_bytes);
        if length <= most { Ok(()) } else { Err(format!("has {length} bytes; a chat template has at most {most}")) }
    }

    /// Refuses the code of a tag, without its marks, that is too long.
    pub(super) fn check_tag(&self, code: &str) -> Result<(), String> {
        if code.len() <= self.tag_bytes {
            return Ok(());
        }
        let mut quote = None;
        let mut outside = 0;
        for byte in code.bytes() {
            match quote {
                Some(open) if byte == open => quote = None,
                Some(_) => {}
                None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
                None => outside += 1,
            }
        }
        let most = self.tag_bytes;
        if outside <= most {
            Ok(())
        } else {
            Err(format!("a tag has {outside} bytes of code; at most {most} are read"))
        }
    }

    /// Reads a template on a stack that its nesting does not exhaust.
    ///
    /// # Errors
    /// The reason why there is no result.
    pub(super) fn on_a_stack<T: Send>(self, read: impl FnOnce() -> T + Send) -> Result<T, String> {
        on_a_stack(self.stack(), read)
    }

    /// Runs a rendering on a stack for values as deep as so many steps can nest them. Memory is taken for what is used of
    /// it.
    ///
    /// # Errors
    /// The reason why there is no result.
    pub(super) fn rendering<T: Send>(steps: u64, render: impl FnOnce() -> T + Send) -> Result<T, String> {
        on_a_stack(usize::try_from(steps.saturating_mul(STACK_OF_STEP)).unwrap_or(usize::MAX).max(8 << 20), render)
    }
}

/// Bytes of stack for each step: a value is nested one deeper in no fewer than six steps.
const STACK_OF_STEP: u64 = 1024;

fn on_a_stack<T: Send>(size: usize, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(size).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| format!("no thread for the template: {error}"))?;
        thread.join().map_err(|_| "the template engine failed".to_string())
    })
}

/// Pays for a text that a filter or method is about to make.
pub(super) fn afford(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64 + 1)
}

/// Pays for the widths and precisions of a format, such as `%10d` or `{:>10}`.
pub(super) fn afford_widths(state: &State, format: &str) -> Result<(), Error> {
    let (mut is_field, mut width) = (false, 0usize);
    for character in format.chars() {
        match character.to_digit(10).filter(|_| is_field) {
            Some(digit) => width = width.saturating_mul(10).saturating_add(digit as usize),
            None => {
                afford(state, std::mem::take(&mut width))?;
                is_field = matches!(character, '%' | '{') || is_field && !character.is_alphabetic() && character != '}';
            }
        }
    }
    afford(state, width)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{ChatTemplate, Message};

    fn rendered(text: &str) -> String {
        // Fewer steps than by default, so that the test is quick where nothing is optimised.
        let limits = TemplateLimits { steps: 20_000, ..TemplateLimits::default() };
        let template = match ChatTemplate::within(limits, "t", text, BTreeMap::new()) {
            Ok(template) => template,
            Err(error) => return error.to_string(),
        };
        match template.render(&[Message::new("user", "a")], false) {
            Ok(text) => format!("rendered {} bytes", text.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn templates_that_take_too_much_are_refused_at_once() {
        let loops = "{% for a in range(99999) %}".repeat(5) + &"{% endfor %}".repeat(5);
        let doubling =
            "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}";
        let cases = [
            (loops.as_str(), "takes more than 200"),
            (doubling, "takes more than 200"),
            ("{{ 'a\nb' | indent(10**10) }}", "steps"),
            ("{{ 'a' | center(10**10) }}", "steps"),
            ("{{ 'a'.ljust(10**10) }}{{ 'a'.zfill(10**12) }}", "steps"),
            ("{{ 'a\t'.expandtabs(10**12) }}", "steps"),
            ("{{ '%9999999999d' % 1 }}", "steps"),
            ("{{ '%9999999999d' | format(1) }}", "steps"),
            ("{{ '%*d' % (9999999999, 1) }}", ""),
            ("{{ '{:>9999999999}'.format(1) }}", "steps"),
            ("{% set a = 'a' * 400000 %}{{ a.replace('a', a) }}", "steps"),
            ("{% set a = 'a' * 400000 %}{{ a | replace('a', a) }}", "steps"),
            ("{% set a = 'a' * 400000 %}{{ a.join(range(90000)) }}", "steps"),
            ("{% set a = 'a' * 400000 %}{{ range(90000) | join(a) }}", "steps"),
            ("{{ 'a' * 10**9 }}", ""),
            ("{{ [1] * 10**9 }}", ""),
            ("{{ 'a b' | batch(10**9) | list }}{{ range(9) | slice(10**9) | list }}", ""),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ];
        let told = cases.map(|(text, expected)| (text, expected, rendered(text)));
        let wrong: Vec<_> =
            told.iter().filter(|(_, expected, told)| !told.contains(expected) || told.len() > 300).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn the_largest_limits_end_no_program() {
        let limits = TemplateLimits {
            template_bytes: TemplateLimits::MAX_TEMPLATE_BYTES,
            tag_bytes: TemplateLimits::MAX_TAG_BYTES,
            ..TemplateLimits::default()
        };
        let signs = format!("{{{{ {}1 }}}}", "-".repeat(TemplateLimits::MAX_TAG_BYTES - 10));
        assert!(ChatTemplate::new("t", &signs, BTreeMap::new()).is_err(), "too deep for the default limits");
        assert!(ChatTemplate::within(limits, "t", &signs, BTreeMap::new()).is_ok());
    }

    #[test]
    fn values_that_are_nested_deep_are_freed() {
        let nest = "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}";
        for end in ["{{ ns.x | length }}", "{{ ns.x }}", "{{ ns.x == [1] }}", "{{ ns.x | tojson }}"] {
            let limits = TemplateLimits { steps: 300_000, ..TemplateLimits::default() };
            let template = ChatTemplate::within(limits, "t", &format!("{nest}{end}"), BTreeMap::new()).unwrap();
            let _ = template.render(&[Message::new("user", "a")], false);
        }
    }

    #[test]
    fn templates_that_are_nested_too_deep_are_refused() {
        let within = |unit: &str, end: &str| format!("{{{{ {}{end} }}}}", unit.repeat(8_000 / unit.len()));
        for text in [
            within("-", "1"),
            within("not ", "1"),
            within("1+", "1"),
            within("(", "1"),
            within("[", ""),
            within("1 if 1 else ", "1"),
            within("1~", "1"),
            format!("{{{{ a{} }}}}", ".b".repeat(4_000)),
            format!("{{{{ a{} }}}}", "|e".repeat(4_000)),
            "{% if 1 %}".repeat(20_000),
            format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(20_000)),
            "{% for a in b %}".repeat(9_000),
            // Each of these is read in one pass.
            "{{ ( }}".repeat(30_000),
            "{{ ' }}".repeat(30_000),
            "{% a".repeat(60_000),
            "{ {}".repeat(60_000),
        ] {
            assert!(rendered(&text).len() < 400, "{}", rendered(&text));
        }
        let long = format!("{{{{ {}1 }}}}", "-".repeat(50_000));
        assert!(
            rendered(&long).contains("a tag has 50003 bytes of code; at most 8192 are read"),
            "{}",
            rendered(&long)
        );
        assert!(rendered(&" ".repeat(300_000)).contains("has 300000 bytes; a chat template has at most 262144"));
        let quoted = format!("{{{{ '{}' }}}}", "a".repeat(50_000));
        assert_eq!(rendered(&quoted), "rendered 50000 bytes");
    }

    #[test]
    fn a_long_chain_of_elif_is_refused() {
        let chain = |count: usize| format!("{{% if 0 %}}{}{{% endif %}}", "{%- elif 0 %}".repeat(count));
        assert_eq!(rendered(&chain(1_000)), "rendered 0 bytes");
        assert!(rendered(&chain(1_001)).contains("has more than 1000 tags {% elif %}"), "{}", rendered(&chain(1_001)));
    }

    #[test]
    fn a_long_conversation_pays_for_itself() {
        let text = "{% for m in messages %}{{ '<' + m.role + '>' + m.content | trim + '\n' }}{% endfor %}";
        let template = ChatTemplate::new("t", text, BTreeMap::new()).unwrap();
        let messages: Vec<Message> = (0..200).map(|_| Message::new("user", "word ".repeat(1_000))).collect();
        assert!(template.render(&messages, false).unwrap().len() > 900_000);
    }
}
