//! Preference files as prompts with their answers: each answer is encoded once, preferences refer to answers by index.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use palestra_datasets::Content;
use palestra_datasets::examples::Lesson;
use palestra_datasets::preferences::{self, Origin, Preference, PreferenceRows, Record, Row, Rule, find, resolve};
use serde_json::Value;

use super::examples::{Border, Encoded, ExampleEncoder};
use crate::batch::{Choice, Pair, PromptPreferences, Single, TextRow};
use crate::learners::PreferenceKinds;
use crate::{Error, Result};
use palestra_report::Metrics;

/// Counts of the preference data of some files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PreferenceCounts {
    /// Preferences read.
    pub read: usize,
    /// Answers, or pairs of answers, with conflicting preferences.
    pub conflicts: usize,
    /// Preferences of a kind that the learner does not use, or left undecided by a conflict.
    pub unused: usize,
    /// Preferences between two answers that are the same.
    pub equal: usize,
    /// Answers encoded apart from their prompt.
    pub apart: usize,
    /// Truncated answers.
    pub cut: usize,
    /// Answers dropped for their length.
    pub too_long: usize,
    /// Preferences dropped because an answer was dropped, or because truncation made their answers equal.
    pub dropped: usize,
    /// Kept prompts.
    pub prompts: usize,
    /// Answers of the kept prompts.
    pub answers: usize,
    /// Preferences of the kept prompts.
    pub kept: usize,
    /// Tokens of the kept prompts with their answers.
    pub tokens: usize,
}

/// Encoded answers to a prompt, by their text; `None` for a dropped answer.
type Answers = HashMap<Content, Option<TextRow>>;

/// Reads the preferences of some files that a learner uses, grouped by prompt in order of first occurrence. `group` is
/// the column that holds the prompts' group; without a rule every preference counts by itself. Step labels become
/// preferences over each prefix of their answer, or, if binary labels are kinds, over the whole answer.
///
/// # Errors
/// A row that is no preference or cannot be encoded, with file, row and column; files with nothing to learn from.
pub fn read_preferences(
    files: &[String],
    encoder: &ExampleEncoder,
    group: Option<&str>,
    rule: Option<Rule>,
    kinds: PreferenceKinds,
) -> Result<(Vec<PromptPreferences>, PreferenceCounts)> {
    let mut counts = PreferenceCounts::default();
    let (mut records, mut encoded) = (Vec::new(), HashMap::<Content, Answers>::new());
    for file in find(files)? {
        for row in PreferenceRows::open(&file)? {
            let (origin, record) = record_of(row?, group)?;
            if record.is_of_equals() {
                counts.equal += 1;
                continue;
            }
            let answers = encoded.entry(record.prompt.clone()).or_default();
            if record.is_parted && encoder.border == Border::Apart {
                encode_parted(encoder, &record, answers, &origin, &mut counts)?;
            }
            let mut of_answers = record.of_answers();
            if kinds == PreferenceKinds::Labels {
                of_answers.drain(..of_answers.len() - 1); // a policy would learn to end after a step
            }
            for record in &of_answers {
                for answer in answers_of(&record.preference) {
                    if !answers.contains_key(answer) {
                        let row = encode(encoder, &record.prompt, answer, &origin, &mut counts)?;
                        answers.insert(answer.clone(), row);
                    }
                }
            }
            records.extend(of_answers);
        }
    }
    counts.read = records.len() + counts.equal;
    if let Some(rule) = rule {
        let resolved =
            resolve(records, rule).map_err(|reason| Error::Data(format!("{}: {reason}", files.join(", "))))?;
        (counts.conflicts, counts.unused) = (resolved.conflicts, resolved.dropped);
        records = resolved.records;
    }
    let mut gathered = Gathered { kinds, counts, places: HashMap::new(), prompts: Vec::new() };
    for record in records {
        gathered.take(&record, &encoded[&record.prompt], group);
    }
    gathered.finish(files, encoder)
}

/// Parses a row as preference data, and checks that it has the group column.
fn record_of(row: Row, group: Option<&str>) -> Result<(Origin, Record)> {
    let origin = row.origin().clone();
    let record = preferences::record_of(row)?;
    if let Some(column) = group.filter(|column| group_of(&record, column).is_none()) {
        let reason = "missing, and preferences.validation_by names it; it should be a text or a number";
        return Err(origin.error(column, reason).into());
    }
    Ok((origin, record))
}

fn group_of(record: &Record, column: &str) -> Option<Arc<str>> {
    match record.other.get(column)? {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

fn answers_of(preference: &Preference) -> Vec<&Content> {
    match preference {
        Preference::Better { chosen, rejected, .. } => vec![chosen, rejected],
        Preference::Tie { answers } => answers.iter().collect(),
        Preference::Label { completion, .. } | Preference::Rating { completion, .. } => vec![completion],
        Preference::Best { completions, .. } | Preference::Steps { completions, .. } => completions.iter().collect(),
    }
}

fn encode(
    encoder: &ExampleEncoder,
    prompt: &Content,
    answer: &Content,
    origin: &Origin,
    counts: &mut PreferenceCounts,
) -> Result<Option<TextRow>> {
    let lesson = Lesson::of_answer(prompt, answer).map_err(|reason| origin.error("the answer", reason))?;
    let encoded = encoder.encode(&lesson).map_err(|(column, reason)| origin.error(column, reason))?;
    counts.apart += usize::from(encoded.is_apart);
    Ok(counts.fitted(encoder.fit(encoded)))
}

/// Encodes the answers of a record whose prompt is what two whole texts have in common. The two texts are encoded whole,
/// since the border may lie inside a token.
fn encode_parted(
    encoder: &ExampleEncoder,
    record: &Record,
    answers: &mut Answers,
    origin: &Origin,
    counts: &mut PreferenceCounts,
) -> Result<()> {
    let [first, second] = answers_of(&record.preference)[..] else { return Ok(()) };
    if answers.contains_key(first) && answers.contains_key(second) {
        return Ok(());
    }
    let whole = |answer: &Content| format!("{}{}", record.prompt.as_text(), answer.as_text());
    let encoded = encoder.encode_parted([whole(first), whole(second)]);
    let encoded = encoded.map_err(|(_, reason)| origin.error("chosen", reason))?;
    for (answer, encoded) in [first, second].into_iter().zip(encoded) {
        if !answers.contains_key(answer) {
            answers.insert(answer.clone(), counts.fitted(encoder.fit(encoded)));
        }
    }
    Ok(())
}

/// Accumulator of prompts with their preferences.
struct Gathered {
    kinds: PreferenceKinds,
    counts: PreferenceCounts,
    places: HashMap<Content, usize>,
    prompts: Vec<PromptPreferences>,
}

impl Gathered {
    fn take(&mut self, record: &Record, encoded: &Answers, group: Option<&str>) {
        let place = *self.places.entry(record.prompt.clone()).or_insert(self.prompts.len());
        if place == self.prompts.len() {
            let group = group.and_then(|column| group_of(record, column));
            self.prompts.push(PromptPreferences { group, ..PromptPreferences::default() });
        }
        let prompt = &mut self.prompts[place];
        let labelled: Option<Vec<&TextRow>> =
            answers_of(&record.preference).into_iter().map(|answer| encoded[answer].as_ref()).collect();
        let Some(labelled) = labelled else {
            self.counts.dropped += 1;
            return;
        };
        let told_apart = (1..labelled.len()).all(|at| !labelled[..at].contains(&labelled[at]));
        if !told_apart {
            self.counts.dropped += 1;
            return;
        }
        let before = prompt.count();
        take_preference(prompt, &record.preference, &labelled, record.weight as f32, self.kinds);
        self.counts.unused += usize::from(prompt.count() == before);
    }

    fn finish(self, files: &[String], encoder: &ExampleEncoder) -> Result<(Vec<PromptPreferences>, PreferenceCounts)> {
        let Self { mut counts, mut prompts, kinds, .. } = self;
        prompts.retain(|prompt| prompt.count() > 0);
        counts.prompts = prompts.len();
        counts.answers = prompts.iter().map(|prompt| prompt.answers.len()).sum();
        counts.kept = prompts.iter().map(PromptPreferences::count).sum();
        counts.tokens = prompts.iter().flat_map(|prompt| &prompt.answers).map(|row| row.tokens.len()).sum();
        if prompts.is_empty() {
            let kind = match kinds {
                PreferenceKinds::All => "preferences",
                PreferenceKinds::Pairs => "pairs of a better and a worse answer",
                PreferenceKinds::Labels => "answers that are good or not",
            };
            return Err(Error::Data(format!(
                "{}: of {} preferences none is left to learn from: {} are no {kind}, {} are between equal answers, and {} were \
                 dropped since answers are longer than preferences.window = {} tokens",
                files.join(", "),
                counts.read,
                counts.unused,
                counts.equal,
                counts.dropped,
                encoder.max_length
            )));
        }
        Ok((prompts, counts))
    }
}

/// Adds preference data over some answers to a prompt, if the learner uses its kind.
fn take_preference(
    prompt: &mut PromptPreferences,
    preference: &Preference,
    labelled: &[&TextRow],
    weight: f32,
    kinds: PreferenceKinds,
) {
    let mut place = |number: usize| {
        let known = prompt.answers.iter().position(|row| row == labelled[number]);
        known.unwrap_or_else(|| {
            prompt.answers.push(labelled[number].clone());
            prompt.answers.len() - 1
        })
    };
    match (preference, kinds) {
        (Preference::Better { margin, .. }, PreferenceKinds::All | PreferenceKinds::Pairs) => {
            let margin = margin.unwrap_or(0.0) as f32;
            let pair = Pair { chosen: place(0), rejected: place(1), is_tie: false, margin, weight };
            prompt.pairs.push(pair);
        }
        (Preference::Tie { .. }, PreferenceKinds::All) => {
            let pair = Pair { chosen: place(0), rejected: place(1), is_tie: true, margin: 0.0, weight };
            prompt.pairs.push(pair);
        }
        (Preference::Best { completions, best }, PreferenceKinds::All) => {
            let others = (0..completions.len()).filter(|number| number != best);
            let answers = std::iter::once(*best).chain(others).map(place).collect();
            prompt.choices.push(Choice { answers, weight });
        }
        (Preference::Best { completions, best }, PreferenceKinds::Pairs) => {
            let chosen = place(*best);
            let others: Vec<usize> = (0..completions.len()).filter(|number| number != best).map(place).collect();
            let weight = weight / others.len() as f32;
            let pair = |rejected| Pair { chosen, rejected, is_tie: false, margin: 0.0, weight };
            prompt.pairs.extend(others.into_iter().map(pair));
        }
        (Preference::Better { .. } | Preference::Best { .. }, PreferenceKinds::Labels) => {
            let best = if let Preference::Best { best, .. } = preference { *best } else { 0 };
            let label = |number| Single { answer: place(number), value: f32::from(number == best), weight };
            let labels: Vec<Single> = (0..labelled.len()).map(label).collect();
            prompt.labels.extend(labels);
        }
        (Preference::Label { good, .. }, PreferenceKinds::All | PreferenceKinds::Labels) => {
            let label = Single { answer: place(0), value: f32::from(*good), weight };
            prompt.labels.push(label);
        }
        (Preference::Rating { rating, .. }, PreferenceKinds::All) => {
            let rating = Single { answer: place(0), value: *rating as f32, weight };
            prompt.ratings.push(rating);
        }
        _ => {}
    }
}

impl PreferenceCounts {
    /// Counts an answer as fitted to the max length, and returns its row.
    fn fitted(&mut self, encoded: Encoded) -> Option<TextRow> {
        match encoded {
            Encoded::Whole(row) => Some(row),
            Encoded::Cut(row, _) => {
                self.cut += 1;
                Some(row)
            }
            Encoded::TooLong | Encoded::WithoutTarget => {
                self.too_long += 1;
                None
            }
        }
    }

    /// Metrics of each update.
    pub fn metrics(&self) -> Metrics {
        let named = [
            ("data/answers_cut", self.cut),
            ("data/answers_dropped", self.too_long),
            ("data/preferences_dropped", self.dropped),
            ("data/preferences_unused", self.unused),
            ("data/preferences_equal", self.equal),
            ("data/answers_apart", self.apart),
        ];
        named.map(|(name, count)| (name.to_string(), count as f64)).into()
    }
}

impl fmt::Display for PreferenceCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, conflicts, unused, equal, apart, cut, too_long, dropped, prompts, answers, kept, tokens } =
            self;
        write!(
            f,
            "{read} preferences, of which {kept} are of {answers} answers to {prompts} prompts, {tokens} tokens"
        )?;
        let told = [
            (conflicts, "labelled differently by several people"),
            (unused, "left out, since nothing is learned from their kind"),
            (equal, "left out, since both answers are the same"),
            (apart, "answers encoded apart from their prompt, which ends inside a token of the whole text"),
            (cut, "answers cut to preferences.window"),
            (too_long, "answers dropped as longer than preferences.window"),
            (dropped, "preferences dropped with what was cut off their answers"),
        ];
        told.iter().filter(|(count, _)| **count > 0).try_for_each(|(count, what)| write!(f, "; {count} {what}"))
    }
}
