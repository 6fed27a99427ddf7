//! Batches of preference data from files: whole prompts, shuffled in each epoch.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use palestra_datasets::preferences::Rule;
use palestra_datasets::shards::Shuffle;
use palestra_envs::episode_seed;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::examples::{Border, ExampleEncoder, TooLong};
use super::preference_files::{PreferenceCounts, read_preferences};
use super::{ExamplePlace, Source};
use crate::batch::{PreferenceBatch, PromptPreferences};
use crate::collective::Collective;
use crate::learners::{Learner, PreferenceKinds};
use crate::{Error, Result};
use palestra_model::Policy;
use palestra_report::Metrics;
use palestra_text::{ChatTemplate, History, NamedTemplate, Tokenizer};

/// Preference data of a run, and its batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreferenceConfig {
    /// JSON lines or Parquet files, folders or patterns, with the columns of docs/preferences.md. Relative to the run
    /// file.
    pub files: Vec<String>,
    /// Validation files, which are not trained on; absent, a part of the prompts of `files` is held out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<String>,
    /// Fraction of the prompts that is held out, above 0 and at most 1/2, if `validation` names no files. It is made
    /// one over a whole number: 0.2 makes five folds, one of which is held out.
    pub validation_share: f64,
    /// Group column, such as `topic`: prompts of one group are held out together, and results are reported per group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_by: Option<String>,
    /// Index of the held-out fold, from 0; using each fold in turn is a cross-validation.
    pub fold: usize,
    /// Resolution of conflicting preferences over the same answers.
    pub conflicts: Conflicts,
    /// The `tokenizer.json` of a model trained from scratch; a model of `start_from` has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Chat template, if it is not that of `start_from`: a Jinja file, or one of `TRAINING_TEMPLATES` by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<NamedTemplate>,
    /// Max length of a prompt with its answer, in tokens, at most the model's context; 0: the model's context.
    pub window: usize,
    /// Treatment of longer answers: `cut` truncates the end, `drop` drops the answer.
    pub too_long: TooLong,
    /// Treatment of a prompt and an answer, both texts, whose border lies inside a token of the two together: `apart` encodes
    /// them apart and counts the rows, `refuse` refuses the row.
    pub border: Border,
    /// Min number of preferences per optimiser step, at least 1: whole prompts are added until it is reached.
    pub batch: usize,
    /// Answers per forward pass, to save memory; 0: the whole batch.
    pub micro_batch: usize,
    /// Optimiser steps of one update, at least 1.
    pub steps: usize,
}

/// Resolution of conflicting preferences over the same answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conflicts {
    /// Majority vote; an equal number of votes is a tie.
    Majority,
    /// Each verdict counts with its share of the votes.
    Share,
    /// Each preference counts by itself, as if it were about other answers.
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
            border: Border::Apart,
            batch: 16,
            micro_batch: 0,
            steps: 1,
        }
    }
}

impl PreferenceConfig {
    /// Number of answers per forward pass without gradients.
    pub fn answers_per_pass(&self) -> usize {
        if self.micro_batch == 0 { 16 } else { self.micro_batch }
    }

    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        if self.files.is_empty() {
            return Err(Error::Config("preferences.files: name files of preferences".into()));
        }
        // Validation files leave the share and the fold unused.
        let share = self.validation.is_empty().then_some(self.validation_share);
        check_ranges(
            "preferences",
            &[
                ("validation_share", &share, Range::above_to(0.0, 0.5)),
                ("batch", &self.batch, Range::AT_LEAST_ONE),
                ("steps", &self.steps, Range::AT_LEAST_ONE),
            ],
        )?;
        if self.validation.is_empty() && self.fold >= self.folds() {
            return Err(Error::Config(format!(
                "preferences.fold: {} is not below {}, the parts that validation_share makes",
                self.fold,
                self.folds()
            )));
        }
        Ok(())
    }

    /// All lists of files in this section.
    pub fn file_lists(&mut self) -> impl Iterator<Item = &mut Vec<String>> {
        [&mut self.files, &mut self.validation].into_iter()
    }

    /// Max length of a row, in tokens, for a model with this context.
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
    /// Rule of `palestra_datasets`, if there is one.
    pub fn rule(self) -> Option<Rule> {
        match self {
            Self::Majority => Some(Rule::Majority),
            Self::Share => Some(Rule::Share),
            Self::All => None,
        }
    }
}

/// Preference data of a run, split into training and validation.
#[derive(Debug, Clone)]
pub struct PreferenceData {
    /// Training prompts.
    pub training: Vec<PromptPreferences>,
    /// Held-out prompts.
    pub validation: Vec<PromptPreferences>,
    /// Counts over the files.
    pub counts: PreferenceCounts,
}

impl PreferenceData {
    /// Reads all preferences of a run's files that a learner uses. A prompt with its answer has at most `window`
    /// tokens.
    ///
    /// # Errors
    /// Files that cannot be read, a row that is no preference or cannot be encoded, with file, row and column; a person who
    /// said two things of the same answers; nothing to learn from, or nothing to hold out.
    pub fn open(
        config: &PreferenceConfig,
        tokenizer: &Tokenizer,
        template: Option<&ChatTemplate>,
        window: usize,
        kinds: PreferenceKinds,
    ) -> Result<Self> {
        // An answer is learned as it was written; what the template writes before it is only read.
        let encoder = ExampleEncoder {
            tokenizer,
            template,
            max_length: window,
            too_long: config.too_long,
            border: config.border,
            history: Some(History::AsWritten),
        };
        let (group, rule) = (config.validation_by.as_deref(), config.conflicts.rule());
        let (found, counts) = read_preferences(&config.files, &encoder, group, rule, kinds)?;
        let (mut training, validation) = match config.validation.is_empty() {
            true => hold_out(found, config)?,
            false => (found, read_preferences(&config.validation, &encoder, group, rule, kinds)?.0),
        };
        if kinds == PreferenceKinds::Labels {
            mismatch(&mut training, window)?;
        }
        Ok(Self { training, validation, counts })
    }

    /// Optimiser steps of a pass over the training preferences, in batches of this many.
    pub fn steps_per_epoch(&self, batch: usize) -> f64 {
        self.training.iter().map(PromptPreferences::count).sum::<usize>() as f64 / batch as f64
    }

    /// All prompts, with the held-out ones last.
    pub fn prompts_mut(&mut self) -> impl Iterator<Item = &mut PromptPreferences> {
        self.training.iter_mut().chain(&mut self.validation)
    }
}

/// Splits prompts into folds and holds one out. Groups stay whole, and preferences are spread as evenly as that allows.
/// Without groups each prompt is its own group.
fn hold_out(
    prompts: Vec<PromptPreferences>,
    config: &PreferenceConfig,
) -> Result<(Vec<PromptPreferences>, Vec<PromptPreferences>)> {
    let mut groups: Vec<(Option<Arc<str>>, usize)> = Vec::new();
    let mut group_of = Vec::new();
    for prompt in &prompts {
        let known = groups.iter().position(|(group, _)| group.is_some() && *group == prompt.group);
        let place = known.unwrap_or_else(|| {
            groups.push((prompt.group.clone(), 0));
            groups.len() - 1
        });
        groups[place].1 += prompt.count();
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
    // Largest group first, each into the fold with the fewest preferences so far.
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(groups[place].1));
    let (mut sizes, mut fold_of) = (vec![0; folds], vec![0; groups.len()]);
    for place in order {
        let least = (0..folds).min_by_key(|&fold| sizes[fold]).expect("there are folds");
        sizes[least] += groups[place].1;
        fold_of[place] = least;
    }
    let mut places = group_of.into_iter();
    let is_held_out = |_: &PromptPreferences| places.next().is_some_and(|place| fold_of[place] == config.fold);
    let (validation, training) = prompts.into_iter().partition(is_held_out);
    Ok((training, validation))
}

/// Pairs each prompt with the answers of the next prompt, as many as it has of its own.
fn mismatch(prompts: &mut [PromptPreferences], window: usize) -> Result<()> {
    if prompts.len() < 2 {
        return Err(Error::Data(
            "preferences.files: KTO compares each prompt with answers to another, and there is one prompt".into(),
        ));
    }
    let with_answer_of = |own: &PromptPreferences, other: &PromptPreferences, number: usize| {
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

/// Endless source of preference data: each epoch goes through all prompts, in its own order.
pub struct PreferenceSource {
    prompts: Vec<PromptPreferences>,
    counts: PreferenceCounts,
    config: PreferenceConfig,
    seed: u64,
    place: ExamplePlace,
    device: Device,
    steps_left: usize,
    tokens: usize,
}

impl PreferenceSource {
    /// Creates a source of a run's preferences; the seed fixes their order. `device` is the device of the batches, in
    /// the autodiff context of the model.
    pub fn new(preferences: PreferenceData, config: PreferenceConfig, seed: u64, device: Device) -> Self {
        let PreferenceData { training: prompts, counts, .. } = preferences;
        let place = ExamplePlace::default();
        Self { prompts, counts, config, seed, place, device, steps_left: 0, tokens: 0 }
    }

    /// Returns the parts of a rank's share of one step's batch: whole prompts.
    pub fn next_parts(&mut self, collective: &dyn Collective) -> Vec<PreferenceBatch> {
        let (mut drawn, mut preferences) = (Vec::new(), 0);
        while preferences < self.config.batch {
            drawn.push(self.draw());
            preferences += self.prompts[drawn[drawn.len() - 1]].count();
        }
        let drawn: Vec<&PromptPreferences> = drawn.into_iter().map(|number| &self.prompts[number]).collect();
        self.tokens += drawn.iter().flat_map(|prompt| prompt.rows()).map(|row| row.tokens.len()).sum::<usize>();
        PreferenceBatch::parts(&drawn[collective.share(drawn.len())], self.config.micro_batch, &self.device)
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

impl<L: Learner<Model = Policy, Batch = PreferenceBatch>> Source<L> for PreferenceSource {
    fn begin(&mut self, _: &mut L, _: &Policy, _: u64, _: &dyn Collective) -> Result<Metrics> {
        (self.steps_left, self.tokens) = (self.config.steps, 0);
        Ok(Metrics::new())
    }

    fn steps(&self) -> usize {
        self.config.steps
    }

    fn next_batch(&mut self, _: &L, collective: &dyn Collective) -> Result<Option<Vec<PreferenceBatch>>> {
        if self.steps_left == 0 {
            return Ok(None);
        }
        self.steps_left -= 1;
        Ok(Some(self.next_parts(collective)))
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
