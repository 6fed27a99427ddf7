//! The date that `strftime_now` tells a chat template.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A day of the Gregorian calendar, written `2024-07-26`: today, for chat templates that ask.
///
/// ```
/// # use palestra_text::ChatDate;
/// let date: ChatDate = "2024-07-26".parse()?;
/// assert_eq!(date.format("%d %b %Y, %A"), "26 Jul 2024, Friday");
/// assert!("2024-02-30".parse::<ChatDate>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChatDate {
    year: u32,
    month: u32,
    day: u32,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Default for ChatDate {
    /// The day that Llama's templates name where there is no clock.
    fn default() -> Self {
        Self { year: 2024, month: 7, day: 26 }
    }
}

impl ChatDate {
    /// Formats midnight of this day as C's `strftime` does in the locale C. What it does not know stays as it is.
    pub fn format(&self, form: &str) -> String {
        let mut text = String::new();
        let mut characters = form.chars().peekable();
        while let Some(character) = characters.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            let flag = characters.next_if(|next| "-_0".contains(*next));
            let Some(letter) = characters.next() else {
                text.push('%');
                break;
            };
            match self.part(letter) {
                Some(part) => text.push_str(&with_flag(&part, flag)),
                None => text.extend([Some('%'), flag, Some(letter)].into_iter().flatten()),
            }
        }
        text
    }

    fn part(&self, letter: char) -> Option<String> {
        let Self { year, month, day } = *self;
        let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[self.week_day()]);
        let week_day = self.week_day() as u32;
        let year_day = self.year_day();
        Some(match letter {
            'Y' | 'G' => year.to_string(),
            'y' => format!("{:02}", year % 100),
            'C' => format!("{:02}", year / 100),
            'm' => format!("{month:02}"),
            'd' => format!("{day:02}"),
            'e' => format!("{day:>2}"),
            'B' => month_name.to_string(),
            'b' | 'h' => month_name[..3].to_string(),
            'A' => day_name.to_string(),
            'a' => day_name[..3].to_string(),
            'j' => format!("{year_day:03}"),
            'u' => (week_day + 1).to_string(),
            'w' => ((week_day + 1) % 7).to_string(),
            'U' => format!("{:02}", (year_day + 6 - (week_day + 1) % 7) / 7),
            'W' => format!("{:02}", (year_day + 6 - week_day) / 7),
            'H' | 'M' | 'S' => "00".to_string(),
            'k' => " 0".to_string(),
            'f' => "000000".to_string(),
            'I' | 'l' => "12".to_string(),
            'p' => "AM".to_string(),
            'F' => self.to_string(),
            'D' | 'x' => format!("{month:02}/{day:02}/{:02}", year % 100),
            'T' | 'X' => "00:00:00".to_string(),
            'R' => "00:00".to_string(),
            'r' => "12:00:00 AM".to_string(),
            'c' => format!("{} {} {day:>2} 00:00:00 {year}", &day_name[..3], &month_name[..3]),
            'z' | 'Z' => String::new(),
            'n' => "\n".to_string(),
            't' => "\t".to_string(),
            '%' => "%".to_string(),
            _ => return None,
        })
    }

    /// Days since Monday.
    fn week_day(&self) -> usize {
        let before = self.year - 1;
        ((before * 365 + before / 4 - before / 100 + before / 400 + self.year_day() - 1) % 7) as usize
    }

    /// Day of the year, from 1.
    fn year_day(&self) -> u32 {
        (1..self.month).map(|month| days(self.year, month)).sum::<u32>() + self.day
    }
}

/// Applies a flag of GNU's `strftime`: without padding, or with spaces, or with zeros.
fn with_flag(part: &str, flag: Option<char>) -> String {
    let digits = part.trim_start_matches([' ', '0']);
    let digits = if digits.is_empty() && part.len() > digits.len() { "0" } else { digits };
    match flag {
        Some('-') => digits.to_string(),
        Some('_') => format!("{digits:>width$}", width = part.len()),
        Some('0') => part.replace(' ', "0"),
        _ => part.to_string(),
    }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for ChatDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for ChatDate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<Option<u32>> = text.split('-').map(|part| part.parse().ok()).collect();
        match parts[..] {
            [Some(year), Some(month), Some(day)]
                if (1..=9999).contains(&year)
                    && (1..=12).contains(&month)
                    && (1..=days(year, month)).contains(&day) =>
            {
                Ok(Self { year, month, day })
            }
            _ => Err(format!("{text:?} is no date; it should be one such as \"2024-07-26\"")),
        }
    }
}

impl TryFrom<String> for ChatDate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ChatDate> for String {
    fn from(date: ChatDate) -> Self {
        date.to_string()
    }
}
