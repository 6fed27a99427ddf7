//! Batches of judged answers, from files of judgements: whole prompts, in an order of each epoch.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use palestra_datasets::preferences::Rule;
use palestra_datasets::shards::Shuffle;
use palestra_envs::episode_seed;
use serde::{Deserialize, Serialize};

use super::examples::{ExampleEncoder, TooLong};
use super::judgements::{JudgementCounts, Wanted, read_judgements};
use super::{ExamplePlace, Source};
use crate::batch::{JudgedBatch, JudgedPrompt};
use crate::learners::Learner;
use palestra_model::Policy;
use palestra_report::Metrics;
use palestra_text::{ChatTemplate, Tokenizer};
use crate::{Error, Result};

/// Which judgements are learned from, and how they are gone through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreferenceConfig {
    /// JSON lines or Parquet, folders, patterns, in the columns of docs/preferences.md. As seen from the run file.
    pub files: Vec<String>,
    /// Files that are held out of training and measured; absent, a part of the prompts of `files`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<String>,
    /// The part of the prompts that is held out, above 0 and at most 1/2, where `validation` names no files. It is made one
    /// over a whole number: 0.2 makes five parts, one of which is held out.
    pub validation_share: f64,
    /// A column, such as `topic`: prompts that have the same in it are held out together, and results are told for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_by: Option<String>,
    /// Which of the parts is held out, from 0; all of them in turn are a cross-validation.
    pub fold: usize,
    /// What becomes of different judgements of the same answers.
    pub conflicts: Conflicts,
    /// The `tokenizer.json` of a model from nothing; a model of `start_from` has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// The Jinja file that conversations are written with, where it is not that of `start_from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<PathBuf>,
    /// The most tokens of a prompt with its answer, at most the model's context; 0: the model's context.
    pub window: usize,
    /// What becomes of an answer that is longer with its prompt: `cut` at its end, or `drop`.
    pub too_long: TooLong,
    /// The fewest judgements of one optimiser step, at least 1: prompts come whole, until there are as many.
    pub batch: usize,
    /// Answers computed at once, where memory is short; 0: the whole batch.
    pub micro_batch: usize,
    /// Optimiser steps of one update, at least 1.
    pub steps: usize,
}

/// What becomes of different judgements of the same answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conflicts {
    /// What most people said is taken; as many against as for make a tie.
    Majority,
    /// Each verdict counts by its share.
    Share,
    /// Each judgement counts by itself, as if it were of other answers.
    All,
}

impl Default for PreferenceConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            validation: Vec::new(),
            validation_share: 0.1,
            validation_by: None,
            fold: 0,
            conflicts: Conflicts::Majority,
            tokenizer: None,
            chat_template: None,
            window: 0,
            too_long: TooLong::Cut,
            batch: 16,
            micro_batch: 0,
            steps: 1,
        }
    }
}

impl PreferenceConfig {
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, value: String, right: &str| {
            Err(Error::Config(format!("preferences.{field}: {value} is not {right}")))
        };
        if self.files.is_empty() {
            return Err(Error::Config("preferences.files: name files of judgements".into()));
        }
        if self.validation.is_empty() && !(self.validation_share > 0.0 && self.validation_share <= 0.5) {
            return wrong("validation_share", self.validation_share.to_string(), "above 0 and at most 0.5");
        }
        if self.validation.is_empty() && self.fold >= self.folds() {
            let right = format!("below {}, the parts that validation_share makes", self.folds());
            return wrong("fold", self.fold.to_string(), &right);
        }
        match [("batch", self.batch), ("steps", self.steps)].into_iter().find(|(_, value)| *value == 0) {
            Some((field, _)) => wrong(field, "0".into(), "at least 1"),
            None => Ok(()),
        }
    }

    /// All lists of files that the section names.
    pub fn file_lists(&mut self) -> impl Iterator<Item = &mut Vec<String>> {
        [&mut self.files, &mut self.validation].into_iter()
    }

    /// The most tokens of a row of a model with this context.
    ///
    /// # Errors
    /// A window longer than the context.
    pub fn window_of(&self, context: usize) -> Result<usize> {
        match self.window {
            0 => Ok(context),
            window if window <= context => Ok(window),
            window => Err(Error::Config(format!(
                "preferences.window: {window} tokens are more than the model's context of {context}; set a shorter window"
            ))),
        }
    }

    fn folds(&self) -> usize {
        (1.0 / self.validation_share).round() as usize
    }
}

impl Conflicts {
    /// The rule of `palestra_datasets`, where there is one.
    pub fn rule(self) -> Option<Rule> {
        match self {
            Self::Majority => Some(Rule::Majority),
            Self::Share => Some(Rule::Share),
            Self::All => None,
        }
    }
}

/// The judgements of a run: what is learned from, and what is held out.
#[derive(Debug, Clone)]
pub struct Judgements {
    /// What is learned from.
    pub training: Vec<JudgedPrompt>,
    /// What is held out.
    pub validation: Vec<JudgedPrompt>,
    /// What became of the files.
    pub counts: JudgementCounts,
}

impl Judgements {
    /// Reads all judgements of a run's files that a learner wants. A prompt with its answer has at most `window` tokens.
    ///
    /// # Errors
    /// Files that cannot be read, a row that is no judgement or cannot be encoded, with file, row and column; a person who
    /// said two things of the same answers; nothing to learn from, or nothing to hold out.
    pub fn open(
        config: &PreferenceConfig,
        tokenizer: &Tokenizer,
        template: Option<&ChatTemplate>,
        window: usize,
        wanted: Wanted,
    ) -> Result<Self> {
        let encoder = ExampleEncoder { tokenizer, template, room: window, too_long: config.too_long };
        let (group, rule) = (config.validation_by.as_deref(), config.conflicts.rule());
        let (found, counts) = read_judgements(&config.files, &encoder, group, rule, wanted)?;
        let (mut training, validation) = match config.validation.is_empty() {
            true => hold_out(found, config)?,
            false => (found, read_judgements(&config.validation, &encoder, group, rule, wanted)?.0),
        };
        if wanted == Wanted::Labels {
            mismatch(&mut training, window)?;
        }
        Ok(Self { training, validation, counts })
    }

    /// All prompts, those that are held out last.
    pub fn prompts_mut(&mut self) -> impl Iterator<Item = &mut JudgedPrompt> {
        self.training.iter_mut().chain(&mut self.validation)
    }
}

/// Divides prompts into as many parts as there are folds, groups whole and judgements as evenly as that allows, and holds one
/// part out. Without groups each prompt is one.
fn hold_out(prompts: Vec<JudgedPrompt>, config: &PreferenceConfig) -> Result<(Vec<JudgedPrompt>, Vec<JudgedPrompt>)> {
    let mut groups: Vec<(Option<Arc<str>>, usize)> = Vec::new();
    let mut group_of = Vec::new();
    for prompt in &prompts {
        let known = groups.iter().position(|(group, _)| group.is_some() && *group == prompt.group);
        let place = known.unwrap_or_else(|| {
            groups.push((prompt.group.clone(), 0));
            groups.len() - 1
        });
        groups[place].1 += prompt.judgements();
        group_of.push(place);
    }
    let folds = config.folds();
    if groups.len() < folds {
        let what = if config.validation_by.is_some() { "groups" } else { "prompts" };
        return Err(Error::Data(format!(
            "preferences.validation_share: {} makes {folds} parts, and the files have {} {what}; raise it, or name files in \
             preferences.validation",
            config.validation_share,
            groups.len()
        )));
    }
    // The largest first, each to the part that has the least so far.
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(groups[place].1));
    let (mut sizes, mut fold_of) = (vec![0; folds], vec![0; groups.len()]);
    for place in order {
        let least = (0..folds).min_by_key(|&fold| sizes[fold]).expect("there are folds");
        sizes[least] += groups[place].1;
        fold_of[place] = least;
    }
    let mut places = group_of.into_iter();
    let is_held_out = |_: &JudgedPrompt| places.next().is_some_and(|place| fold_of[place] == config.fold);
    let (validation, training) = prompts.into_iter().partition(is_held_out);
    Ok((training, validation))
}

/// Gives each prompt the answers of the next one, as many as it has of its own.
fn mismatch(prompts: &mut [JudgedPrompt], window: usize) -> Result<()> {
    if prompts.len() < 2 {
        return Err(Error::Data(
            "preferences.files: KTO compares each prompt with answers to another, and there is one prompt".into(),
        ));
    }
    let with_answer_of = |own: &JudgedPrompt, other: &JudgedPrompt, number: usize| {
        let (row, other) = (&own.answers[number], &other.answers[number % other.answers.len()]);
        let (start, from) = (row.counted[0], other.counted[0]);
        let mut mixed = row.clone();
        mixed.tokens.truncate(start);
        mixed.tokens.extend(&other.tokens[from..]);
        mixed.tokens.truncate(window);
        mixed.counted = other.counted.iter().map(|at| start + at - from).filter(|&at| at < window).collect();
        mixed
    };
    for place in 0..prompts.len() {
        let (own, other) = (&prompts[place], &prompts[(place + 1) % prompts.len()]);
        let mixed = (0..own.answers.len()).map(|number| with_answer_of(own, other, number)).collect();
        prompts[place].mismatched = mixed;
    }
    Ok(())
}

/// Learns from judged prompts without end: each epoch goes through all of them, in an order of its own.
pub struct PreferenceSource {
    prompts: Vec<JudgedPrompt>,
    counts: JudgementCounts,
    config: PreferenceConfig,
    /// Whether the loss of a step is one of all its answers together.
    is_whole: bool,
    seed: u64,
    place: ExamplePlace,
    device: Device,
    steps_left: usize,
    tokens: usize,
}

impl PreferenceSource {
    /// A source of a run's judgements; the seed fixes their order. `device` is where batches are made, in the autodiff
    /// context of the model.
    pub fn new(judgements: Judgements, config: PreferenceConfig, wanted: Wanted, seed: u64, device: Device) -> Self {
        let Judgements { training: prompts, counts, .. } = judgements;
        let (place, is_whole) = (ExamplePlace::default(), wanted == Wanted::Labels);
        Self { prompts, counts, config, is_whole, seed, place, device, steps_left: 0, tokens: 0 }
    }

    /// The parts of the batch of one step.
    pub fn next_parts(&mut self) -> Vec<JudgedBatch> {
        let (mut drawn, mut judgements) = (Vec::new(), 0);
        while judgements < self.config.batch {
            drawn.push(self.draw());
            judgements += self.prompts[drawn[drawn.len() - 1]].judgements();
        }
        let drawn: Vec<&JudgedPrompt> = drawn.into_iter().map(|number| &self.prompts[number]).collect();
        self.tokens += drawn.iter().flat_map(|prompt| prompt.rows()).map(|row| row.tokens.len()).sum::<usize>();
        match self.is_whole {
            true => vec![JudgedBatch::whole(&drawn, self.config.micro_batch, &self.device)],
            false => JudgedBatch::parts(&drawn, self.config.micro_batch, &self.device),
        }
    }

    fn draw(&mut self) -> usize {
        let count = self.prompts.len() as u64;
        if self.place.number >= count {
            self.place = ExamplePlace { epoch: self.place.epoch + 1, number: 0 };
        }
        let shuffle = Shuffle::new(count, episode_seed(self.seed, self.place.epoch));
        self.place.number += 1;
        shuffle.at(self.place.number - 1) as usize
    }
}

impl<L: Learner<Model = Policy, Batch = JudgedBatch>> Source<L> for PreferenceSource {
    fn begin(&mut self, _: &mut L, _: &Policy, _: u64) -> Result<Metrics> {
        (self.steps_left, self.tokens) = (self.config.steps, 0);
        Ok(Metrics::new())
    }

    fn next_batch(&mut self, _: &L) -> Result<Option<Vec<JudgedBatch>>> {
        if self.steps_left == 0 {
            return Ok(None);
        }
        self.steps_left -= 1;
        Ok(Some(self.next_parts()))
    }

    fn tokens(&self) -> usize {
        self.tokens
    }

    fn end(&mut self) -> Metrics {
        let mut metrics = self.counts.metrics();
        metrics.insert("data/epoch".to_string(), self.place.epoch as f64);
        metrics
    }

    fn state(&self) -> serde_json::Value {
        serde_json::to_value(self.place).expect("a place is numbers")
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<()> {
        let place: Option<ExamplePlace> = serde_json::from_value(state.clone()).ok();
        match place.filter(|place| place.number <= self.prompts.len() as u64) {
            Some(place) => {
                self.place = place;
                Ok(())
            }
            None => Err(Error::Training(format!("the source's state {state} is no place among these prompts"))),
        }
    }
}

#[cfg(test)]
mod tests;
