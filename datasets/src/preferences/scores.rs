//! Aggregation of human preference data into one score per answer.

use std::collections::HashMap;

use super::steps::beginnings;
use super::{Preference, Record};
use crate::Content;

/// Scores of labelled answers, each from -1 (worst) to 1 (best); 0 is undecided.
///
/// A rated answer has the mean of its ratings, scaled from the lowest and highest rating to -1 and 1. Otherwise an
/// answer with good/bad labels has the mean of 1 and -1, as has each prefix of an answer with labelled steps. Otherwise
/// a compared answer has 2 w - 1 for the share w of comparisons that it won, with a tie as half a win. Each label
/// counts by the record's weight. A prompt as a text and the same prompt as a user message are identical.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// Scores of answers, by prompt; both [simplified](Content::simplified).
    of: HashMap<Content, HashMap<Content, f64>>,
}

/// Weighted sum of one kind of label of one answer.
#[derive(Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

/// Labels of one answer: ratings, then good/bad labels, then comparisons.
type Said = [Mean; 3];

impl Scores {
    /// Computes the scores of these records. `scale` is the lowest and the highest rating; by default, those of the
    /// records.
    ///
    /// # Errors
    /// A rating outside the scale.
    pub fn of(records: &[Record], scale: Option<(f64, f64)>) -> Result<Self, String> {
        let scale = scale.unwrap_or_else(|| range_of_ratings(records));
        let mut said: HashMap<(Content, Content), Said> = HashMap::new();
        for record in records {
            let mut add = |completion: &Content, kind: usize, value: f64| {
                let key = (record.prompt.simplified("user"), completion.simplified("assistant"));
                let mean = &mut said.entry(key).or_default()[kind];
                mean.sum += value * record.weight;
                mean.weight += record.weight;
            };
            match &record.preference {
                Preference::Rating { completion, rating } => add(completion, 0, place_in(scale, *rating)?),
                Preference::Label { completion, good } => add(completion, 1, sign(*good)),
                Preference::Better { chosen, rejected, .. } => {
                    add(chosen, 2, 1.0);
                    add(rejected, 2, -1.0);
                }
                Preference::Best { completions, best } => {
                    let best = &completions[*best];
                    for other in completions.iter().filter(|other| *other != best) {
                        add(best, 2, 1.0);
                        add(other, 2, -1.0);
                    }
                }
                Preference::Tie { answers } => answers.iter().for_each(|answer| add(answer, 2, 0.0)),
                Preference::Steps { completions, good } => {
                    for (beginning, good) in beginnings(completions, good) {
                        add(&beginning, 1, sign(good));
                    }
                }
            }
        }
        let mut scores = Self::default();
        for ((prompt, completion), said) in said {
            let mean = said.iter().find(|mean| mean.weight > 0.0).expect("it is there because something was said");
            scores.of.entry(prompt).or_default().insert(completion, mean.sum / mean.weight);
        }
        Ok(scores)
    }

    /// Returns the score of an answer to a prompt; `None` if it has no label.
    pub fn get(&self, prompt: &Content, completion: &Content) -> Option<f64> {
        self.of.get(&prompt.simplified("user"))?.get(&completion.simplified("assistant")).copied()
    }

    /// Iterates over prompt, answer and score: texts in alphabetical order, then messages.
    pub fn iter(&self) -> impl Iterator<Item = (&Content, &Content, f64)> {
        let mut all: Vec<_> = Vec::new();
        for (prompt, answers) in &self.of {
            all.extend(answers.iter().map(|(answer, score)| (prompt, answer, *score)));
        }
        let place = |content: &Content| match content {
            Content::Text(text) => (0, text.clone()),
            Content::Messages(_) => (1, content.canonical_json()),
        };
        all.sort_by_cached_key(|(prompt, answer, _)| (place(prompt), place(answer)));
        all.into_iter()
    }

    /// Returns the number of answers with a score.
    pub fn len(&self) -> usize {
        self.of.values().map(HashMap::len).sum()
    }

    /// True if no answer has a score.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

fn sign(good: bool) -> f64 {
    if good { 1.0 } else { -1.0 }
}

fn range_of_ratings(records: &[Record]) -> (f64, f64) {
    let ratings = records.iter().filter_map(|record| match record.preference {
        Preference::Rating { rating, .. } => Some(rating),
        _ => None,
    });
    ratings.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), rating| (low.min(rating), high.max(rating)))
}

/// Scales a rating to -1 at the low end and 1 at the high end; 0 if the two ends are equal.
fn place_in((low, high): (f64, f64), rating: f64) -> Result<f64, String> {
    match (low..=high).contains(&rating) {
        true if low == high => Ok(0.0),
        true => Ok(2.0 * (rating - low) / (high - low) - 1.0),
        false => Err(format!("rating {rating} is outside of the scale, {low} to {high}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(preference: Preference) -> Record {
        Record {
            prompt: "p".into(),
            is_parted: false,
            preference,
            annotator: None,
            weight: 1.0,
            other: Default::default(),
        }
    }

    fn better(chosen: &str, rejected: &str) -> Record {
        record(Preference::Better { chosen: chosen.into(), rejected: rejected.into(), margin: None })
    }

    fn rating(completion: &str, rating: f64) -> Record {
        record(Preference::Rating { completion: completion.into(), rating })
    }

    fn label(completion: &str, good: bool) -> Record {
        record(Preference::Label { completion: completion.into(), good })
    }

    fn of(records: &[Record], scale: Option<(f64, f64)>, completions: &[&str]) -> Vec<Option<f64>> {
        let scores = Scores::of(records, scale).unwrap();
        completions.iter().map(|completion| scores.get(&"p".into(), &(*completion).into())).collect()
    }

    #[test]
    fn an_answer_has_the_share_of_comparisons_that_it_won() {
        let tie = record(Preference::Tie { answers: ["a".into(), "c".into()] });
        let light = Record { weight: 0.5, ..better("b", "c") };
        // a: a win and a tie, w = 3/4; b: half a win of one and a half, w = 1/3; c: a tie of one and a half, w = 1/3.
        let scores = of(&[better("a", "b"), tie, light], None, &["a", "b", "c", "d"]);
        assert_eq!(scores, [Some(0.5), Some(-1.0 / 3.0), Some(-1.0 / 3.0), None]);
        assert_eq!(Scores::of(&[better("a", "b")], None).unwrap().get(&"q".into(), &"a".into()), None);
    }

    #[test]
    fn ratings_lie_on_their_scale_and_count_before_labels_and_those_before_comparisons() {
        let records = [rating("a", 2.0), rating("a", 4.0), rating("b", 5.0), label("b", false), label("c", true)];
        assert_eq!(of(&records, Some((1.0, 5.0)), &["a", "b", "c"]), [Some(0.0), Some(1.0), Some(1.0)]);
        // Without a scale, 2 is the lowest and 5 the highest rating: -1 and 1/3.
        assert!((of(&records, None, &["a"])[0].unwrap() + 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(
            of(&[label("a", true), label("a", false), better("a", "b")], None, &["a", "b"]),
            [Some(0.0), Some(-1.0)]
        );
        assert_eq!(of(&[rating("a", 3.0)], None, &["a"]), [Some(0.0)]);
    }

    #[test]
    fn the_beginnings_of_an_answer_are_scored_by_its_steps() {
        let steps = record(Preference::Steps { completions: vec!["a".into(), "b".into()], good: vec![true, false] });
        assert_eq!(of(&[steps], None, &["a", "a\nb", "b"]), [Some(1.0), Some(-1.0), None]);
    }

    #[test]
    fn what_is_on_no_scale_is_refused() {
        let error = Scores::of(&[rating("a", 7.0)], Some((1.0, 5.0))).unwrap_err();
        assert_eq!(error, "rating 7 is outside of the scale, 1 to 5");
    }
}
