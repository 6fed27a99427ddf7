use crate::settings::Read;

/// Elements that hold nothing, or whose end is left out so often that they do not nest.
const FLAT: [&str; 30] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr", "p",
    "li", "dt", "dd", "option", "optgroup", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "rp", "rt",
    "html",
];

/// Refuses a page for which the HTML parser takes more than a time in proportion to its size: the time is quadratic in the
/// depth of elements, in the attributes of one, and in the number of `&` that begin no character reference.
pub(super) fn check(page: &str, read: &Read) -> Result<(), String> {
    let (mut depth, mut stray) = (0usize, 0usize);
    let mut rest = page.as_bytes();
    while let Some(at) = memchr::memchr2(b'<', b'&', rest) {
        let after = &rest[at + 1..];
        if rest[at] == b'&' {
            stray += usize::from(!after.first().is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'#'));
            if stray > read.html_marks {
                return Err(format!("more than {} `&` that begin no character", read.html_marks));
            }
            rest = after;
            continue;
        }
        let is_end = after.first() == Some(&b'/');
        let name = &after[usize::from(is_end)..];
        let length = name.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let (name, inside) = name.split_at(length);
        if name.is_empty() {
            rest = after;
            continue;
        }
        let is_flat = FLAT.iter().any(|flat| flat.as_bytes().eq_ignore_ascii_case(name));
        if !is_flat {
            depth = if is_end { depth.saturating_sub(1) } else { depth + 1 };
        }
        if depth > read.html_depth {
            return Err(format!("elements nested more than {} deep", read.html_depth));
        }
        let Attributes { count, end } = attributes(inside);
        if count > read.html_marks {
            return Err(format!("an element of {count} attributes, at most {}", read.html_marks));
        }
        rest = &inside[end..];
    }
    Ok(())
}

/// The attributes of a tag: their number, and the end of the tag.
struct Attributes {
    count: usize,
    end: usize,
}

fn attributes(inside: &[u8]) -> Attributes {
    let (mut count, mut quote, mut is_apart) = (0, None, false);
    for (at, &byte) in inside.iter().enumerate() {
        match quote {
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if byte == b'>' => return Attributes { count, end: at },
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            None if byte.is_ascii_whitespace() || byte == b'/' => is_apart = true,
            None => {
                count += usize::from(is_apart);
                is_apart = false;
            }
        }
    }
    Attributes { count, end: inside.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(page: &str) -> String {
        check(page, &Read::default()).err().unwrap_or_default()
    }

    #[test]
    fn pages_whose_time_is_quadratic_are_refused() {
        assert_eq!(refusal(&"<div>".repeat(200_000)), "elements nested more than 8192 deep");
        assert_eq!(refusal(&"<DIV a='>' b>".repeat(9_000)), "elements nested more than 8192 deep");
        assert_eq!(refusal(&"&".repeat(5_000_000)), "more than 10000 `&` that begin no character");
        let attributes: String = (0..20_000).map(|number| format!(" a{number}=b")).collect();
        assert_eq!(refusal(&format!("<a{attributes}>")), "an element of 20000 attributes, at most 10000");
        assert_eq!(refusal(&format!("<a{attributes}")), "an element of 20000 attributes, at most 10000");
    }

    #[test]
    fn long_and_careless_pages_are_read() {
        let pages = [
            "<p>one<br><img src=a><li>two &amp; three &lt; &#228;".repeat(20_000),
            "<div><b>x</b></div>".repeat(20_000),
            "<div>".repeat(4_000),
            "a < b & c ".repeat(9_000),
            "<td>".repeat(9_000),
        ];
        for page in pages {
            assert_eq!(refusal(&page), "", "{}", &page[..20]);
        }
    }
}
