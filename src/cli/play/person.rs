//! A person who plays in the terminal, by lines of text, or by arrow keys where actions are directions.

use std::io::{self, BufRead, IsTerminal, Write};

use console::{Key, Term};

use crate::cli::output::STANDARD_OUTPUT;
use crate::{Error, Result};

/// Person who writes the actions.
pub(super) struct Person {
    lines: Box<dyn BufRead>,
    /// Terminal whose keys can be read one by one.
    terminal: Option<Term>,
}

/// Names of the action of each arrow key.
static ARROWS: [(Key, [&str; 4]); 4] = [
    (Key::ArrowUp, ["up", "north", "u", "n"]),
    (Key::ArrowDown, ["down", "south", "d", "s"]),
    (Key::ArrowLeft, ["left", "west", "l", "w"]),
    (Key::ArrowRight, ["right", "east", "r", "e"]),
];

/// The character that Ctrl-D sends.
const END_OF_INPUT: char = '\u{4}';

impl Person {
    /// The person at standard input.
    pub fn at_terminal() -> Self {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        Self { lines: Box::new(io::stdin().lock()), terminal: is_terminal.then(Term::stdout) }
    }

    /// Asks for an action until it is a legal one, if they are listed; `None` if the person stops.
    ///
    /// # Errors
    /// An input or a screen that fails.
    pub fn act(&mut self, legal: Option<&[String]>, screen: &mut dyn Write) -> Result<Option<String>> {
        loop {
            write!(screen, "> ").and_then(|()| screen.flush()).map_err(Error::io(STANDARD_OUTPUT))?;
            let legal = legal.filter(|legal| !legal.is_empty());
            let has_arrows = ARROWS.iter().any(|(key, _)| arrow(key, legal).is_some());
            let typed = match self.terminal.as_ref().filter(|_| has_arrows) {
                Some(terminal) => read_keys(terminal, legal).map_err(Error::io("standard input"))?,
                None => read_line(&mut self.lines)?,
            };
            let (Some(typed), Some(legal)) = (&typed, legal) else { return Ok(typed) };
            match legal.iter().find(|action| action.eq_ignore_ascii_case(typed.trim())) {
                Some(action) => return Ok(Some(action.clone())),
                None => {
                    writeln!(screen, "{typed:?} is no legal action, and costs no turn; there are: {}", legal.join(", "))
                        .map_err(Error::io(STANDARD_OUTPUT))?
                }
            }
        }
    }
}

/// Legal action that an arrow key stands for.
fn arrow<'a>(key: &Key, legal: Option<&'a [String]>) -> Option<&'a String> {
    let (_, names) = ARROWS.iter().find(|(arrow, _)| arrow == key)?;
    names.iter().find_map(|name| legal?.iter().find(|action| action.eq_ignore_ascii_case(name)))
}

/// Reads an arrow key, or a line of other keys.
fn read_keys(terminal: &Term, legal: Option<&[String]>) -> io::Result<Option<String>> {
    let mut typed = String::new();
    loop {
        match terminal.read_key()? {
            Key::Enter => {
                terminal.write_line("")?;
                return Ok(Some(typed));
            }
            Key::Backspace if typed.pop().is_some() => terminal.clear_chars(1)?,
            Key::Char(END_OF_INPUT) if typed.is_empty() => return Ok(None),
            Key::Char(character) if !character.is_control() => {
                typed.push(character);
                terminal.write_str(character.encode_utf8(&mut [0; 4]))?;
            }
            key => {
                if let Some(action) = arrow(&key, legal) {
                    terminal.write_line(action)?;
                    return Ok(Some(action.clone()));
                }
            }
        }
    }
}

fn read_line(lines: &mut dyn BufRead) -> Result<Option<String>> {
    let mut line = String::new();
    let length = lines.read_line(&mut line).map_err(Error::io("standard input"))?;
    Ok((length > 0).then(|| line.trim_end_matches(['\r', '\n']).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_typo_is_asked_again() {
        let mut person = Person { lines: Box::new(io::Cursor::new("jump\n RIGHT \n")), terminal: None };
        let mut screen = Vec::new();
        let legal = texts(&["left", "right"]);
        assert_eq!(person.act(Some(legal.as_slice()), &mut screen).unwrap().as_deref(), Some("right"));
        let shown = String::from_utf8(screen).unwrap();
        assert_eq!(shown, "> \"jump\" is no legal action, and costs no turn; there are: left, right\n> ");
        assert_eq!(person.act(Some(legal.as_slice()), &mut Vec::new()).unwrap(), None, "the input has ended");
    }

    #[test]
    fn arrows_are_the_directions_of_a_game() {
        let named = |words: &[&str], key: &Key| arrow(key, Some(texts(words).as_slice())).cloned();
        assert_eq!(named(&["left", "Up"], &Key::ArrowUp).as_deref(), Some("Up"));
        assert_eq!(named(&["n", "s", "w"], &Key::ArrowDown).as_deref(), Some("s"));
        assert_eq!(named(&["n", "s", "w"], &Key::ArrowRight), None);
        assert_eq!(named(&["left"], &Key::Enter), None);
    }
}
