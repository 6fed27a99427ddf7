//! Wordle: find a word from the feedback on guesses. `CARD.md` has the rules and the measured baselines.

mod words;

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Deserialize;

use crate::phase::Phase;
use crate::{End, Env, EnvSpec, Error, Info, Observation, Options, Result, Step};

use words::{Feedback, Mark, Word, Words, feedback, text_of};

/// The named definitions, as TOML.
pub const DEFINITIONS: [&str; 1] = [include_str!("wordle/wordle.toml")];

/// Observation format of the guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum View {
    Text,
    Compact,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WordleOptions {
    /// A file of words, one per line, in place of the built-in list.
    words: Option<String>,
    /// Maximum number of guesses.
    limit: u32,
    view: View,
}

impl Default for WordleOptions {
    fn default() -> Self {
        Self { words: None, limit: 6, view: View::Text }
    }
}

/// Builds a game of Wordle.
///
/// # Errors
/// An unknown option, an invalid value, or an invalid list of words.
pub fn build(options: &Options) -> Result<Box<dyn Env>> {
    Ok(Box::new(Wordle::new(options.parse()?)?))
}

struct Wordle {
    spec: EnvSpec,
    limit: u32,
    view: View,
    words: Arc<Words>,
    no_actions: Arc<[String]>,
    phase: Phase,
    answer: Word,
    /// The guesses so far that are words of the list.
    guesses: Vec<(Word, Feedback)>,
    turns: u32,
}

impl Wordle {
    fn new(options: WordleOptions) -> Result<Self> {
        let WordleOptions { words, limit, view } = options;
        if !(1..=1_000).contains(&limit) {
            return Err(Error::Definition(format!("limit = {limit}: a game of Wordle has 1 to 1000 guesses")));
        }
        let words = match words {
            None => Words::builtin(),
            Some(path) => Arc::new(Words::read(&path)?),
        };
        Ok(Self {
            spec: EnvSpec {
                id: "wordle-v1".into(),
                max_turns: Some(limit),
                reward_range: (-1.0, 0.0),
                optimal_return: None,
                solved_return: None,
                stochastic: true,
                reproducible: true,
                tasks: None,
                alphabet: Some(view.alphabet().to_string()),
            },
            limit,
            view,
            answer: words.words[0],
            words,
            no_actions: Arc::new([]),
            phase: Phase::New,
            guesses: Vec::new(),
            turns: 0,
        })
    }

    fn is_solved(&self) -> bool {
        self.guesses.last().is_some_and(|(guess, _)| *guess == self.answer)
    }

    fn observe(&self) -> Observation {
        let mut info = Info::new();
        info.insert("answer".into(), text_of(&self.answer).into());
        if self.phase == Phase::Over {
            info.insert("solved".into(), self.is_solved().into());
            info.insert("guesses".into(), self.turns.into());
        }
        Observation {
            content: match self.view {
                View::Text => self.text().into(),
                View::Compact => self.compact().into(),
            },
            legal_actions: Some(match self.phase {
                Phase::Running => self.words.actions.clone(),
                _ => self.no_actions.clone(),
            }),
            info,
        }
    }

    fn text(&self) -> String {
        let mut text =
            String::from("Find the word of five letters. G: right place, Y: other place, B: not in the word.\n");
        text.push_str(&self.transcript());
        text.push_str(&format!("Guesses left: {}. Your guess:", self.limit - self.turns));
        text
    }

    /// One line per guess: the word and its marks.
    fn transcript(&self) -> String {
        let line = |(guess, marks): &(Word, Feedback)| {
            let marks = marks.iter().map(|mark| mark.letter());
            format!("{} {}\n", text_of(guess), marks.collect::<String>())
        };
        self.guesses.iter().map(line).collect()
    }

    /// The guesses left, then each letter with its mark.
    fn compact(&self) -> String {
        let mut text = (self.limit - self.turns).to_string();
        for (guess, marks) in &self.guesses {
            for (&letter, mark) in guess.iter().zip(marks) {
                text.extend([char::from(letter), mark.letter()]);
            }
        }
        text
    }
}

impl Env for Wordle {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let count = self.words.words.len() as u32;
        self.answer = self.words.words[random.random_range(0..count) as usize];
        self.guesses.clear();
        self.turns = 0;
        self.phase = Phase::Running;
        Ok(self.observe())
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        self.phase.check_running(&self.spec.id)?;
        self.turns += 1;
        let guess = self.words.find(action);
        if let Some(guess) = guess {
            self.guesses.push((guess, feedback(&guess, &self.answer)));
        }
        let right = guess == Some(self.answer);
        let end = (right || self.turns == self.limit).then_some(End::Terminated);
        if end.is_some() {
            self.phase = Phase::Over;
        }
        Ok(Step {
            observation: self.observe(),
            reward: if right { 0.0 } else { -1.0 },
            end,
            invalid_action: guess.is_none(),
        })
    }

    fn render(&self) -> String {
        let left = self.limit - self.turns;
        format!("{}guesses left: {left}", self.transcript())
    }

    /// The possible answer that splits the remaining possible answers best. It uses only the feedback, not the answer.
    fn scripted_action(&self) -> Option<String> {
        if self.phase != Phase::Running {
            return None;
        }
        let guess = self.words.best_guess(&self.guesses)?;
        Some(text_of(&guess))
    }
}

impl View {
    fn alphabet(self) -> &'static str {
        match self {
            View::Text => "\n ,.:0123456789BFGYabcdefghijklmnopqrstuvwxyz",
            View::Compact => "0123456789BGYabcdefghijklmnopqrstuvwxyz",
        }
    }
}

impl Mark {
    fn letter(self) -> char {
        match self {
            Mark::Green => 'G',
            Mark::Yellow => 'Y',
            Mark::Black => 'B',
        }
    }
}

#[cfg(test)]
mod tests;
