//! Labels in the JSON of Argilla and Label Studio, by annotator.
//!
//! Argilla has `responses`, a list for each question; Label Studio has `annotations`, a list of results each. A choice of an
//! answer is its field's name; `tie` and `all_bad` are the other choices. A rating of answer 2 is a question whose name
//! ends in `_2`. Questions that no label here can hold are counted.

use std::collections::BTreeMap;

use palestra_datasets::preferences::Row;
use serde_json::Value;

use crate::label::{Label, SCALE, Strength, Verdict};

/// Name of the overall rating; other ratings are criteria.
const OVERALL: &str = "rating";

/// Label that an annotator gave in another tool.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenLabel {
    /// Name of the annotator there: an e-mail address, or the id of a user.
    pub annotator: String,
    /// The label, of the answers by their places.
    pub label: Label,
    /// Seconds that it took; 0 if that is not known.
    pub seconds: f64,
}

/// Labels that an item has in another tool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GivenLabels {
    /// Labels, one of each annotator.
    pub labels: Vec<GivenLabel>,
    /// Number of answers to each question that no label here can hold.
    pub left: BTreeMap<String, u64>,
}

/// Answers of one annotator to the questions about an item.
#[derive(Default)]
struct Said {
    verdict: Option<Verdict>,
    ratings: BTreeMap<String, Vec<Option<f64>>>,
    strength: Option<Strength>,
    comment: String,
    seconds: f64,
}

/// Labels of a row whose answers are the fields of these names.
pub(super) fn given(row: &Row, answers: &[String]) -> GivenLabels {
    match (row.columns.get("responses"), row.columns.get("annotations")) {
        (Some(Value::Object(questions)), _) => of_argilla(questions, answers),
        (_, Some(Value::Array(annotations))) => of_label_studio(annotations, answers),
        _ => GivenLabels::default(),
    }
}

fn of_argilla(questions: &serde_json::Map<String, Value>, answers: &[String]) -> GivenLabels {
    let (mut people, mut left) = (BTreeMap::<String, Said>::new(), BTreeMap::new());
    for (question, response) in questions.iter().flat_map(|(question, responses)| {
        responses.as_array().into_iter().flatten().map(move |response| (question, response))
    }) {
        let status = response["status"].as_str().unwrap_or("submitted");
        let said = people.entry(name_of(&response["user_id"])).or_default();
        let value = &response["value"];
        let is_taken = match status {
            "submitted" => said.take(question, value, None, answers),
            "discarded" => {
                said.verdict = Some(Verdict::Skip);
                true
            }
            _ => false,
        };
        if !is_taken {
            *left.entry(question.clone()).or_default() += 1;
        }
    }
    GivenLabels { labels: labels(people, answers.len()), left }
}

fn of_label_studio(annotations: &[Value], answers: &[String]) -> GivenLabels {
    let (mut people, mut left) = (BTreeMap::<String, Said>::new(), BTreeMap::new());
    for annotation in annotations {
        let said = people.entry(name_of(&annotation["completed_by"])).or_default();
        said.seconds = annotation["lead_time"].as_f64().unwrap_or(0.0);
        if annotation["was_cancelled"] == true {
            said.verdict = Some(Verdict::Skip);
            continue;
        }
        for result in annotation["result"].as_array().into_iter().flatten() {
            let text = |name: &str| result[name].as_str().unwrap_or_default();
            let (question, to, kind) = (text("from_name"), text("to_name"), text("type"));
            let value = &result["value"];
            let place = answers.iter().position(|answer| answer == to);
            let is_taken = match kind {
                "choices" => said.take(question, &value["choices"][0], place, answers),
                "rating" => said.take(question, &value["rating"], place, answers),
                "textarea" => said.take(question, &value["text"][0], place, answers),
                "pairwise" => {
                    let chosen = ["left", "right"].iter().position(|side| value["selected"] == *side);
                    let sides: Vec<&str> = to.split(',').collect();
                    let chosen =
                        chosen.and_then(|side| sides.get(side).copied().or(answers.get(side).map(String::as_str)));
                    chosen.is_some_and(|chosen| said.take(question, &chosen.into(), None, answers))
                }
                _ => false,
            };
            if !is_taken {
                *left.entry(question.to_string()).or_default() += 1;
            }
        }
    }
    GivenLabels { labels: labels(people, answers.len()), left }
}

/// Labels of those who said something that a label can hold.
fn labels(people: BTreeMap<String, Said>, answers: usize) -> Vec<GivenLabel> {
    let label = |(annotator, said): (String, Said)| {
        let seconds = said.seconds;
        Some(GivenLabel { annotator, label: said.label(answers)?, seconds })
    };
    people.into_iter().filter_map(label).collect()
}

/// Name of a user, who is an id, or an object with an e-mail address or an id.
fn name_of(user: &Value) -> String {
    let user =
        ["email", "username", "id"].iter().map(|field| &user[*field]).find(|value| !value.is_null()).unwrap_or(user);
    match user {
        Value::Null => "unknown".to_string(),
        Value::String(name) => name.clone(),
        other => other.to_string(),
    }
}

impl Said {
    /// Takes the answer to a question, which may be about one of the item's answers; false if no label can hold it.
    fn take(&mut self, question: &str, value: &Value, place: Option<usize>, answers: &[String]) -> bool {
        match value {
            Value::Number(number) => self.rate(question, number.as_f64().unwrap_or(0.0), place, answers.len()),
            Value::Array(ranked) => self.rank(ranked, answers),
            Value::String(text) => self.choose(question, text, answers),
            _ => false,
        }
    }

    fn choose(&mut self, question: &str, text: &str, answers: &[String]) -> bool {
        let place = |name: &str| answers.iter().position(|answer| answer == name);
        match (question, text) {
            ("comment", _) => self.comment = text.to_string(),
            ("strength", "slightly") => self.strength = Some(Strength::Slightly),
            ("strength", "much") => self.strength = Some(Strength::Much),
            (_, "tie") => self.verdict = Some(Verdict::Tie),
            (_, "all_bad") => self.verdict = Some(Verdict::AllBad),
            ("ranking", names) => {
                let Some(answers) = names.split(", ").map(place).collect() else { return false };
                self.verdict = Some(Verdict::Ranking { answers });
            }
            (_, name) => {
                let Some(answer) = place(name) else { return false };
                // A ranking says more.
                if !matches!(self.verdict, Some(Verdict::Ranking { .. })) {
                    self.verdict = Some(Verdict::Best { answer });
                }
            }
        }
        true
    }

    /// Takes a ranking, in which answers may share a rank.
    fn rank(&mut self, ranked: &[Value], answers: &[String]) -> bool {
        let place = |value: &Value| answers.iter().position(|answer| value == answer.as_str());
        let places: Option<Vec<(i64, usize)>> =
            ranked.iter().map(|one| Some((one["rank"].as_i64()?, place(&one["value"])?))).collect();
        let Some(mut places) = places.filter(|places| places.len() == answers.len()) else { return false };
        places.sort_unstable();
        let is_strict = places.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let is_tie = places.windows(2).all(|pair| pair[0].0 == pair[1].0);
        self.verdict = match (is_strict, is_tie && places.len() > 1) {
            (true, _) => Some(Verdict::Ranking { answers: places.into_iter().map(|(_, place)| place).collect() }),
            (false, true) => Some(Verdict::Tie),
            (false, false) => return false,
        };
        true
    }

    fn rate(&mut self, question: &str, rating: f64, place: Option<usize>, answers: usize) -> bool {
        let numbered = question.rsplit_once('_').and_then(|(name, number)| {
            let number: usize = number.parse().ok()?;
            (1..=answers).contains(&number).then_some((name, number - 1))
        });
        let (name, place) = match (numbered, place) {
            (Some((name, number)), place) => (name, place.unwrap_or(number)),
            (None, Some(place)) => (question, place),
            (None, None) if answers == 1 => (question, 0),
            (None, None) => return false,
        };
        if !(1.0..=f64::from(SCALE)).contains(&rating) {
            return false;
        }
        self.ratings.entry(name.to_string()).or_insert_with(|| vec![None; answers])[place] = Some(rating);
        true
    }

    /// The label, if there is one to be made of what was said.
    fn label(mut self, answers: usize) -> Option<Label> {
        let ratings = self.ratings.remove(OVERALL).unwrap_or_default();
        let verdict = self.verdict.unwrap_or(Verdict::Rated);
        let is_choice = answers == 2 && matches!(verdict, Verdict::Best { .. });
        let strength = self.strength.filter(|_| is_choice);
        let label = Label { verdict, ratings, criteria: self.ratings, strength, comment: self.comment };
        label.check(answers).is_ok().then_some(label)
    }
}
