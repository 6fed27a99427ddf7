//! The label that an annotator gives to an item.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Maximum rating; the minimum is 1.
pub const SCALE: u8 = 5;

/// Maximum length of a comment in bytes.
const MAX_COMMENT_LENGTH: usize = 10_000;

/// Maximum number of criteria of a label, and the maximum length of a criterion's name in bytes.
pub const MAX_CRITERIA: usize = 20;
const MAX_CRITERION_LENGTH: usize = 100;

/// The label of an annotator for an item. Indices are those of the item's answers, or of the answers as they were
/// shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The best answer, or the verdict that none is best.
    pub verdict: Verdict,
    /// A rating of each answer, from 1 to [`SCALE`]; empty where none was rated.
    #[serde(default)]
    pub ratings: Vec<Option<f64>>,
    /// Ratings of each answer by criterion, such as "helpful"; as `ratings`, which are overall.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub criteria: BTreeMap<String, Vec<Option<f64>>>,
    /// Difference between the best of two answers and the other; `None` if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<Strength>,
    /// Free-text comment.
    #[serde(default)]
    pub comment: String,
}

/// Difference in quality between the best of two answers and the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// The best is slightly better.
    Slightly,
    /// The best is much better.
    Much,
}

/// The best answer, or the verdict that none is best.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", from = "Written")]
pub enum Verdict {
    /// One answer is better than every other; a single answer is good.
    Best {
        /// Index of the answer.
        answer: usize,
    },
    /// All answers, from the best to the worst.
    Ranking {
        /// Indices of the answers.
        answers: Vec<usize>,
    },
    /// No answer is better than another, and they are not all bad.
    Tie,
    /// Every answer is bad.
    AllBad,
    /// The annotator cannot decide; the item is given to another annotator.
    Skip,
    /// The label consists of the ratings alone.
    Rated,
}

/// A verdict as it is read. Serde refuses unknown fields of a variant with braces alone, such as the answer of a tie.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Written {
    Best { answer: usize },
    Ranking { answers: Vec<usize> },
    Tie {},
    AllBad {},
    Skip {},
    Rated {},
}

impl From<Written> for Verdict {
    fn from(written: Written) -> Self {
        match written {
            Written::Best { answer } => Self::Best { answer },
            Written::Ranking { answers } => Self::Ranking { answers },
            Written::Tie {} => Self::Tie,
            Written::AllBad {} => Self::AllBad,
            Written::Skip {} => Self::Skip,
            Written::Rated {} => Self::Rated,
        }
    }
}

impl Label {
    /// Creates a label with a verdict only.
    pub fn of(verdict: Verdict) -> Self {
        Self { verdict, ratings: Vec::new(), criteria: BTreeMap::new(), strength: None, comment: String::new() }
    }

    /// Checks that the label is valid for an item with `answers` answers.
    pub fn check(&self, answers: usize) -> Result<()> {
        let wrong = |reason: String| Err(Error::label("verdict", reason));
        match &self.verdict {
            Verdict::Best { answer } if *answer >= answers => {
                return wrong(format!("answer {answer} where one from 0 to {} should be", answers - 1));
            }
            Verdict::Ranking { answers: ranked } => {
                let mut sorted = ranked.clone();
                sorted.sort_unstable();
                if answers < 2 || !sorted.iter().copied().eq(0..answers) {
                    return wrong(format!("ranking {ranked:?} where each of the {answers} answers should stand once"));
                }
            }
            Verdict::Tie if answers < 2 => {
                return wrong("a tie of a single answer; it is good, or bad, or rated".into());
            }
            Verdict::Rated if self.all_ratings().all(|(_, ratings)| ratings.iter().all(Option::is_none)) => {
                return wrong("rated, without a rating; rate an answer, or choose one".into());
            }
            _ => {}
        }
        if self.strength.is_some() && (answers != 2 || !matches!(self.verdict, Verdict::Best { .. })) {
            return Err(Error::label("strength", "stands without a better one of two answers; leave it out"));
        }
        if self.criteria.len() > MAX_CRITERIA {
            let count = self.criteria.len();
            return Err(Error::label("criteria", format!("are {count}; there should be {MAX_CRITERIA} at most")));
        }
        if let Some(name) = self.criteria.keys().find(|name| !is_criterion(name)) {
            return Err(Error::label("criteria", format!("{name:?} where {CRITERION} should be")));
        }
        self.all_ratings().try_for_each(|(field, ratings)| check_ratings(field, ratings, answers))?;
        if self.comment.len() > MAX_COMMENT_LENGTH {
            let length = self.comment.len();
            return Err(Error::label("comment", format!("has {length} bytes; {MAX_COMMENT_LENGTH} are the most")));
        }
        Ok(())
    }

    /// The same label for reordered answers: `order[place]` is the new index of the answer at `place`. The label must
    /// have passed [`check`](Self::check).
    pub fn reordered(&self, order: &[usize]) -> Self {
        let verdict = match &self.verdict {
            Verdict::Best { answer } => Verdict::Best { answer: order[*answer] },
            Verdict::Ranking { answers } => {
                Verdict::Ranking { answers: answers.iter().map(|place| order[*place]).collect() }
            }
            other => other.clone(),
        };
        let reordered = |ratings: &[Option<f64>]| {
            let mut moved = vec![None; ratings.len()];
            for (rating, place) in ratings.iter().zip(order) {
                moved[*place] = *rating;
            }
            moved
        };
        let criteria = self.criteria.iter().map(|(name, ratings)| (name.clone(), reordered(ratings))).collect();
        Self {
            verdict,
            ratings: reordered(&self.ratings),
            criteria,
            strength: self.strength,
            comment: self.comment.clone(),
        }
    }

    /// The overall ratings and those of each criterion, with the field for errors.
    fn all_ratings(&self) -> impl Iterator<Item = (&'static str, &[Option<f64>])> {
        let criteria = self.criteria.values().map(|ratings| ("criteria", ratings.as_slice()));
        std::iter::once(("ratings", self.ratings.as_slice())).chain(criteria)
    }

    /// Index of the best answer of this label.
    pub fn best(&self) -> Option<usize> {
        match &self.verdict {
            Verdict::Best { answer } => Some(*answer),
            Verdict::Ranking { answers } => answers.first().copied(),
            _ => None,
        }
    }
}

/// Description of the name of a criterion, for errors.
pub const CRITERION: &str = "a name of 1 to 100 bytes without control characters";

/// True for the name of a criterion that a label may have.
pub fn is_criterion(name: &str) -> bool {
    (1..=MAX_CRITERION_LENGTH).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Checks the criteria that annotators are asked for.
pub(crate) fn check_criteria(criteria: &[String]) -> Result<()> {
    let wrong = |reason: String| Err(Error::label("criteria", reason));
    if criteria.len() > MAX_CRITERIA {
        return wrong(format!("are {}; there should be {MAX_CRITERIA} at most", criteria.len()));
    }
    if let Some(name) = criteria.iter().find(|name| !is_criterion(name)) {
        return wrong(format!("{name:?} where {CRITERION} should be"));
    }
    match (1..criteria.len()).find(|place| criteria[..*place].contains(&criteria[*place])) {
        Some(place) => wrong(format!("{:?} is there twice; name it once", criteria[place])),
        None => Ok(()),
    }
}

fn check_ratings(field: &'static str, ratings: &[Option<f64>], answers: usize) -> Result<()> {
    if !ratings.is_empty() && ratings.len() != answers {
        let count = ratings.len();
        return Err(Error::label(
            field,
            format!("are {count}; there should be none, or one for each of {answers} answers"),
        ));
    }
    match ratings.iter().flatten().find(|rating| !(1.0..=f64::from(SCALE)).contains(*rating)) {
        Some(rating) => Err(Error::label(field, format!("{rating} where a number from 1 to {SCALE} should be"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_say_nothing_possible_are_refused() {
        let rated = |ratings: &[f64]| Label {
            ratings: ratings.iter().copied().map(Some).collect(),
            ..Label::of(Verdict::Rated)
        };
        let by = |name: &str, ratings: &[f64]| {
            BTreeMap::from([(name.to_string(), ratings.iter().copied().map(Some).collect())])
        };
        let cases = [
            (Label::of(Verdict::Best { answer: 2 }), 2, "verdict: answer 2 where one from 0 to 1"),
            (Label::of(Verdict::Ranking { answers: vec![0, 0, 1] }), 3, "each of the 3 answers should stand once"),
            (Label::of(Verdict::Tie), 1, "a tie of a single answer"),
            (Label::of(Verdict::Rated), 2, "rated, without a rating"),
            (rated(&[3.0]), 2, "ratings: are 1"),
            (rated(&[3.0, f64::NAN]), 2, "ratings: NaN where a number from 1 to 5"),
            (rated(&[3.0, 6.0]), 2, "ratings: 6 where"),
            (Label { strength: Some(Strength::Much), ..Label::of(Verdict::Tie) }, 2, "strength: stands without"),
            (Label { strength: Some(Strength::Much), ..Label::of(Verdict::Best { answer: 0 }) }, 3, "strength: stands"),
            (Label { criteria: by("true", &[6.0, 1.0]), ..Label::of(Verdict::Rated) }, 2, "criteria: 6 where"),
            (Label { criteria: by("", &[1.0, 1.0]), ..Label::of(Verdict::Rated) }, 2, "criteria: \"\" where a name"),
            (Label { comment: "x".repeat(10_001), ..Label::of(Verdict::Skip) }, 2, "comment: has 10001 bytes"),
        ];
        for (label, answers, expected) in cases {
            let error = label.check(answers).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        Label::of(Verdict::Ranking { answers: vec![2, 0, 1] }).check(3).unwrap();
        rated(&[1.0, 5.0]).check(2).unwrap();
        Label { criteria: by("true", &[1.0, 5.0]), ..Label::of(Verdict::Rated) }.check(2).unwrap();
    }

    #[test]
    fn a_label_of_what_was_shown_is_one_of_what_there_is() {
        // The order shown: the item's answer 2, then 0, then 1.
        let order = [2, 0, 1];
        let label = Label {
            ratings: vec![Some(5.0), None, Some(1.0)],
            criteria: BTreeMap::from([("true".to_string(), vec![None, Some(2.0), Some(3.0)])]),
            ..Label::of(Verdict::Ranking { answers: vec![1, 0, 2] })
        };
        let item = label.reordered(&order);
        assert_eq!(item.verdict, Verdict::Ranking { answers: vec![0, 2, 1] });
        assert_eq!(item.ratings, [None, Some(1.0), Some(5.0)]);
        assert_eq!(item.criteria["true"], [Some(2.0), Some(3.0), None]);
        assert_eq!(item.reordered(&crate::order::inverse(&order)), label);
        assert_eq!((label.best(), item.best()), (Some(1), Some(0)));
    }
}
