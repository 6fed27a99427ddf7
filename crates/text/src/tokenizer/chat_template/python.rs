//! Tests, filters and methods of Python's Jinja that minijinja lacks, or has otherwise, for chat templates.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Rest, Tuple, Value, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, Output, State};
use minijinja_contrib::{filters, globals, pycompat};

use super::limits::{afford, afford_widths};
use super::markup::{self, marked_as, refuse_marked};

/// Adds the tests, filters, functions and methods of Python's Jinja to an environment.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.set_formatter(write);
    environment.set_unknown_method_callback(method);
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    // What has a length and items by index, to Jinja: texts and mappings too.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
    });
    environment.add_test("callable", |value: &Value| matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined));
    environment.add_filter("percent", percent);
    environment.add_filter("int", |value: Value, options: Arguments| {
        let [default, base] = bind(&options.into_values(), ["default", "base"])?;
        let base = base.and_then(|base| u32::try_from(base).ok()).filter(|base| (2..=36).contains(base)).unwrap_or(10);
        let text = value.as_str().map(|text| text.trim().replace('_', ""));
        let whole = match &text {
            Some(text) => i64::from_str_radix(text, base).ok(),
            None if value.is_integer() => return Ok(value),
            None => None,
        };
        let whole = whole.or_else(|| number(&value).map(|number| number as i64));
        Ok::<_, Error>(whole.map(Value::from).or(default).unwrap_or(Value::from(0)))
    });
    environment.add_filter("float", |value: Value, options: Arguments| {
        let [default] = bind(&options.into_values(), ["default"])?;
        Ok::<_, Error>(number(&value).map(Value::from).or(default).unwrap_or(Value::from(0.0)))
    });
    for name in ["default", "d"] {
        environment.add_filter(name, |value: Value, options: Arguments| {
            let [default, for_false] = bind(&options.into_values(), ["default_value", "boolean"])?;
            let is_missing = value.is_undefined() || for_false.is_some_and(|it| it.is_true()) && !value.is_true();
            Ok::<_, Error>(if is_missing { default.unwrap_or(Value::from("")) } else { value })
        });
    }
    environment.add_filter("indent", indent);
    environment.add_filter("center", |state: &mut State, text: Value, options: Arguments| {
        let [width] = bind(&options.into_values(), ["width"])?;
        let width = width.map(usize::try_from).transpose()?.unwrap_or(80);
        afford(state, width)?;
        Ok::<_, Error>(marked_as(&text, padded(&text.to_string(), width, ' ', Side::Both)))
    });
    environment.add_filter("striptags", filters::striptags);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", |text: String| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()
    });
    environment.add_filter("filesizeformat", filters::filesizeformat);
    environment.add_function("cycler", |items: Rest<Value>| globals::cycler(items.0));
    environment.add_function("joiner", globals::joiner);
}

/// Further arguments of a filter, by position and by keyword.
pub(super) type Arguments = Rest<ValueOrKwargs>;

/// Binds arguments to the names of parameters, as Python does: by position, then by keyword. None counts as missing.
pub(super) fn bind<const N: usize>(arguments: &[Value], names: [&str; N]) -> Result<[Option<Value>; N], Error> {
    let (given, named): (&[Value], Kwargs) = from_args(arguments)?;
    if given.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut bound = [const { None }; N];
    for (place, (number, name)) in bound.iter_mut().zip(names.into_iter().enumerate()) {
        let value = given.get(number).cloned().or(named.get::<Option<Value>>(name)?);
        *place = value.filter(|value| !value.is_none());
    }
    named.assert_all_used()?;
    Ok(bound)
}

/// Returns a number as Python's `repr` writes it.
pub(super) fn float(number: f64) -> String {
    let text = format!("{number:?}").to_lowercase();
    match text.split_once('e') {
        Some((digits, power)) => {
            let power: i32 = power.parse().unwrap_or_default();
            format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
        }
        None => text,
    }
}

/// Value of a number, of a text that shows one, or of true and false.
fn number(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::String => value.as_str().and_then(|text| text.trim().replace('_', "").parse().ok()),
        ValueKind::Bool => Some(f64::from(value.is_true())),
        _ => f64::try_from(value.clone()).ok(),
    }
}

fn write(output: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match f64::try_from(value.clone()) {
        Ok(number) if value.is_number() && !value.is_integer() => {
            output.write_str(&float(number)).map_err(|_| Error::from(ErrorKind::WriteFailure))
        }
        _ => minijinja::escape_formatter(output, state, value),
    }
}

fn indent(state: &mut State, value: Value, options: Arguments) -> Result<Value, Error> {
    let text = value.to_string();
    let [width, first, blank] = bind(&options.into_values(), ["width", "first", "blank"])?;
    let width = match width {
        Some(text) if text.as_str().is_some() => text.to_string(),
        Some(spaces) => {
            let spaces = usize::try_from(spaces)?;
            afford(state, spaces)?;
            " ".repeat(spaces)
        }
        None => " ".repeat(4),
    };
    afford(state, width.len().saturating_mul(text.split('\n').count()))?;
    let is_true = |option: &Option<Value>| option.as_ref().is_some_and(Value::is_true);
    let indented = |(number, line): (usize, &str)| {
        let is_indented = if number == 0 { is_true(&first) } else { !line.is_empty() || is_true(&blank) };
        if is_indented { format!("{width}{line}") } else { line.to_string() }
    };
    Ok(marked_as(&value, text.split('\n').enumerate().map(indented).collect::<Vec<_>>().join("\n")))
}

fn truncate(value: Value, options: Arguments) -> Result<Value, Error> {
    let [length, kill_words, end, leeway] = bind(&options.into_values(), ["length", "killwords", "end", "leeway"])?;
    let number = |value: Option<Value>, default| value.map_or(Ok(default), usize::try_from);
    let (length, leeway) = (number(length, 255)?, number(leeway, 5)?);
    let end = end.map_or("...".to_string(), |end| end.to_string());
    let text = value.to_string();
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= length + leeway {
        return Ok(marked_as(&value, text));
    }
    refuse_marked(value, "`truncate`")?;
    let kept: String = characters[..length.saturating_sub(end.chars().count())].iter().collect();
    let kept = match kill_words.is_some_and(|it| it.is_true()) {
        true => kept.as_str(),
        false => kept.rsplit_once(' ').map_or(kept.as_str(), |(words, _)| words),
    };
    Ok(format!("{kept}{end}").into())
}

/// Python's `text % arguments`.
fn percent(state: &mut State, text: &str, arguments: Value) -> Result<String, Error> {
    afford_widths(state, text)?;
    let arguments = match arguments.kind() {
        ValueKind::Map if text.contains("%(") => {
            let keys = arguments.try_iter()?;
            let named = keys.map(|key| Ok((key.to_string(), arguments.get_item(&key)?)));
            vec![Value::from(named.collect::<Result<Kwargs, Error>>()?)]
        }
        _ if arguments.is_tuple() => arguments.try_iter()?.collect(),
        _ => vec![arguments],
    };
    format(FormatStyle::Printf, text, &arguments)
}

fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    if value.is_safe() {
        return markup::call_method(state, value, name, arguments, method);
    }
    let own = match value.kind() {
        ValueKind::String => text_method(state, value.as_str().unwrap_or_default(), name, arguments)?,
        ValueKind::Seq if name == "index" => {
            let (wanted,): (&Value,) = from_args(arguments)?;
            let place = value.try_iter()?.position(|item| item == *wanted);
            Some(Value::from(place.ok_or_else(|| failed(format!("{wanted} is not in the list")))?))
        }
        ValueKind::Seq | ValueKind::Map if name == "copy" => Some(value.clone()),
        _ => None,
    };
    match own {
        Some(found) => Ok(found),
        None => pycompat::unknown_method_callback(state, value, name, arguments),
    }
}

/// Methods of Python's `str` that minijinja-contrib lacks, or whose parameters it lacks.
fn text_method(state: &State, text: &str, name: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    let is_right = name.starts_with('r');
    Ok(Some(match name {
        "split" | "rsplit" => {
            let [separator, most] = bind(arguments, ["sep", "maxsplit"])?;
            let most = most.map(i64::try_from).transpose()?.and_then(|most| usize::try_from(most).ok());
            Value::from(split(text, separator.as_ref().and_then(Value::as_str), most.unwrap_or(usize::MAX), is_right)?)
        }
        "removeprefix" | "removesuffix" => {
            let (part,): (&str,) = from_args(arguments)?;
            let rest = if name == "removeprefix" { text.strip_prefix(part) } else { text.strip_suffix(part) };
            Value::from(rest.unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (part, start, end): (&str, Option<i64>, Option<i64>) = from_args(arguments)?;
            let Slice { start, text } = Slice::of(text, start, end);
            let place = if is_right { text.rfind(part) } else { text.find(part) };
            match place {
                Some(place) => Value::from(start + text[..place].chars().count()),
                None if name.ends_with("find") => Value::from(-1),
                None => return Err(failed("substring not found".to_string())),
            }
        }
        "startswith" | "endswith" if arguments.len() > 1 => {
            let (part, start, end): (Value, Option<i64>, Option<i64>) = from_args(arguments)?;
            let Slice { text, .. } = Slice::of(text, start, end);
            let parts: Vec<Value> = if part.as_str().is_some() { vec![part] } else { part.try_iter()?.collect() };
            let mut parts = parts.iter().filter_map(Value::as_str);
            Value::from(
                parts.any(|part| if name == "endswith" { text.ends_with(part) } else { text.starts_with(part) }),
            )
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            let found = if is_right { text.rsplit_once(separator) } else { text.split_once(separator) };
            let parts = match found {
                Some((before, after)) => [before, separator, after],
                None if is_right => ["", "", text],
                None => [text, "", ""],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<char>) = from_args(arguments)?;
            afford(state, width.saturating_mul(fill.map_or(1, char::len_utf8)))?;
            let side = match name {
                "ljust" => Side::Right,
                "rjust" => Side::Left,
                _ => Side::Both,
            };
            Value::from(padded(text, width, fill.unwrap_or(' '), side))
        }
        "zfill" => {
            let (width,): (usize,) = from_args(arguments)?;
            afford(state, width)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            Value::from(format!("{sign}{}", padded(digits, width.saturating_sub(sign.len()), '0', Side::Left)))
        }
        "title" => {
            let mut is_inside = false;
            let mut titled = String::new();
            for character in text.chars() {
                match is_inside {
                    true => titled.extend(character.to_lowercase()),
                    false => titled.extend(character.to_uppercase()),
                }
                is_inside = character.is_alphabetic();
            }
            Value::from(titled)
        }
        "swapcase" => {
            let swap = |character: char| match character.is_uppercase() {
                true => character.to_lowercase().to_string(),
                false => character.to_uppercase().to_string(),
            };
            Value::from(text.chars().map(swap).collect::<String>())
        }
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "expandtabs" => {
            let [size] = bind(arguments, ["tabsize"])?;
            let size = size.map(usize::try_from).transpose()?.unwrap_or(8);
            afford(state, size.saturating_mul(text.matches('\t').count()))?;
            let mut expanded = String::new();
            let mut column = 0;
            for character in text.chars() {
                match character {
                    '\t' if size == 0 => {}
                    '\t' => {
                        let spaces = size - column % size;
                        expanded.push_str(&" ".repeat(spaces));
                        column += spaces;
                    }
                    _ => {
                        expanded.push(character);
                        column = if matches!(character, '\n' | '\r') { 0 } else { column + 1 };
                    }
                }
            }
            Value::from(expanded)
        }
        // What these make is paid for before minijinja-contrib makes it.
        "replace" => {
            let (part, new, _): (&str, &str, Option<i32>) = from_args(arguments)?;
            afford(state, text.matches(part).count().saturating_mul(new.len()))?;
            return Ok(None);
        }
        "join" => {
            let (items,): (&Value,) = from_args(arguments)?;
            let mut bytes = 0usize;
            for item in items.try_iter()? {
                bytes = bytes.saturating_add(text.len()).saturating_add(item.as_str().map_or(0, str::len));
            }
            afford(state, bytes)?;
            return Ok(None);
        }
        "format" => {
            afford_widths(state, text)?;
            return Ok(None);
        }
        _ => return Ok(None),
    }))
}

/// A part of a text by Python's indices, with the number of characters before it.
struct Slice<'a> {
    start: usize,
    text: &'a str,
}

impl<'a> Slice<'a> {
    fn of(text: &'a str, start: Option<i64>, end: Option<i64>) -> Self {
        let count = text.chars().count();
        let place =
            |index: i64| if index < 0 { count.saturating_sub(index.unsigned_abs() as usize) } else { index as usize };
        let byte = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(byte, _)| byte);
        let start = place(start.unwrap_or(0)).min(count);
        let end = end.map_or(count, place).clamp(start, count);
        Self { start, text: &text[byte(start)..byte(end)] }
    }
}

/// Python's `split` and `rsplit`, at a separator or at white space.
fn split(text: &str, separator: Option<&str>, most: usize, is_right: bool) -> Result<Vec<String>, Error> {
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = text;
    match separator {
        Some("") => return Err(failed("empty separator".to_string())),
        Some(separator) => {
            while parts.len() < most {
                let cut = if is_right { rest.rsplit_once(separator) } else { rest.split_once(separator) };
                let Some((before, after)) = cut else { break };
                let (part, left) = if is_right { (after, before) } else { (before, after) };
                parts.push(part);
                rest = left;
            }
            parts.push(rest);
        }
        None => loop {
            rest = if is_right { rest.trim_end() } else { rest.trim_start() };
            if rest.is_empty() {
                break;
            }
            let cut = if is_right { rest.rfind(char::is_whitespace) } else { rest.find(char::is_whitespace) };
            let Some(cut) = cut.filter(|_| parts.len() < most) else {
                parts.push(rest);
                break;
            };
            let after = cut + rest[cut..].chars().next().map_or(0, char::len_utf8);
            let (part, left) = if is_right { (&rest[after..], &rest[..cut]) } else { (&rest[..cut], &rest[after..]) };
            parts.push(part);
            rest = left;
        },
    }
    if is_right {
        parts.reverse();
    }
    Ok(parts.into_iter().map(String::from).collect())
}

/// Side of a text on which it is filled up.
enum Side {
    Left,
    Right,
    Both,
}

fn padded(text: &str, width: usize, fill: char, side: Side) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let left = match side {
        Side::Left => missing,
        Side::Right => 0,
        // As Python rounds: an odd character goes to the left where the width is odd.
        Side::Both => missing / 2 + (missing & width & 1),
    };
    let filled = |count: usize| String::from_iter(std::iter::repeat_n(fill, count));
    format!("{}{text}{}", filled(left), filled(missing - left))
}

fn failed(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}
