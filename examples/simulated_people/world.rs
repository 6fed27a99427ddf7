//! Synthetic world with a known reward: reviews, and a hidden rule for what people like to read.
//!
//! A review describes a few things: " The soup was very cold, the bed was warm and the view was lovely." Readers like
//! good news, take exaggeration as stronger, and lose interest after a few things. The model that writes reviews knows
//! none of this. Other texts tell what people felt about single things, so the model knows which words go with which
//! feelings before anybody compares its answers.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

const HOUSES: [&str; 8] = ["inn", "tavern", "bath", "garden", "library", "market", "theatre", "villa"];
const TOWNS: [&str; 12] = [
    "Argos", "Athens", "Corinth", "Delphi", "Ephesus", "Massilia", "Miletus", "Olympia", "Rhodes", "Sparta",
    "Tarentum", "Thebes",
];
const THINGS: [&str; 16] = [
    "bed",
    "bench",
    "bread",
    "cook",
    "courtyard",
    "door",
    "fire",
    "floor",
    "lamp",
    "music",
    "room",
    "servant",
    "soup",
    "stair",
    "view",
    "wine",
];

/// Qualities of things, from the worst to the best. Their rewards are spaced evenly from -1 to 1.
const QUALITIES: [&str; 16] = [
    "foul", "filthy", "rude", "damp", "stale", "cold", "dull", "dark", "plain", "quiet", "neat", "warm", "fresh",
    "friendly", "lovely", "splendid",
];

/// Word before a quality, its probability, and the factor that it applies to the reward.
const DEGREES: [(&str, f64, f64); 2] = [("", 0.75, 1.0), ("very ", 0.25, 1.5)];

/// Feelings about a thing, from the worst to the best.
const FEELINGS: [&str; 4] = ["hated", "disliked", "liked", "loved"];

/// Number of things after which a further one is a penalty.
const ENOUGH: usize = 4;

/// Prompt: the place to review.
pub fn prompt(rng: &mut impl Rng) -> String {
    format!("A review of the {} in {}:", any(&HOUSES, rng), any(&TOWNS, rng))
}

/// Review by a writer who does not know what people like.
pub fn review(rng: &mut impl Rng) -> String {
    let count = *[2, 3, 3, 3, 4].choose(rng).expect("the list is not empty");
    let clauses: Vec<String> = (0..count).map(|_| clause(rng)).collect();
    let (last, first) = clauses.split_last().expect("a review has a clause");
    let text = format!("{} and {last}.", first.join(", "));
    format!(" T{}", &text[1..])
}

/// Question with an answer that tells what somebody felt about one thing there.
pub fn opinion(rng: &mut impl Rng) -> (String, String) {
    let clause = clause(rng);
    let feeling = 2.0 + worth_of_clause(&clause).expect("it is a clause") + rng.random_range(-0.5..0.5); // from 0 to 4
    let felt = FEELINGS[(feeling as usize).min(FEELINGS.len() - 1)];
    (format!("How was the {} in {}?", any(&HOUSES, rng), any(&TOWNS, rng)), format!(" T{}. I {felt} it.", &clause[1..]))
}

fn clause(rng: &mut impl Rng) -> String {
    let mut left = rng.random::<f64>();
    let degree = DEGREES.iter().find(|(_, share, _)| {
        left -= share;
        left < 0.0
    });
    let (degree, ..) = degree.unwrap_or(&DEGREES[0]);
    format!("the {} was {degree}{}", any(&THINGS, rng), any(&QUALITIES, rng))
}

fn any(list: &[&'static str], rng: &mut impl Rng) -> &'static str {
    list.choose(rng).expect("the lists are not empty")
}

/// Hidden reward: how much people like a review.
///
/// Each thing scores the reward of what is said of it. Each thing beyond the fourth, a thing of which nothing is said,
/// and a missing full stop score -1 each.
pub fn worth(review: &str) -> f64 {
    let text = review.trim().to_lowercase();
    let (text, unfinished) = match text.strip_suffix('.') {
        Some(text) => (text, 0.0),
        None => (text.as_str(), -1.0),
    };
    let clauses = text.split(" and ").flat_map(|part| part.split(", "));
    let worth_of = |(number, clause)| match worth_of_clause(clause) {
        Some(worth) if number < ENOUGH => worth,
        _ => -1.0,
    };
    clauses.enumerate().map(worth_of).sum::<f64>() + unfinished
}

/// Reward of what is said of a thing; `None` if the text is not a clause.
fn worth_of_clause(clause: &str) -> Option<f64> {
    let (thing, said) = clause.strip_prefix("the ")?.split_once(" was ")?;
    let (degree, _, times) = DEGREES[1..].iter().find(|(degree, ..)| said.starts_with(degree)).unwrap_or(&DEGREES[0]);
    let quality = QUALITIES.iter().position(|quality| *quality == &said[degree.len()..])?;
    let worth = 2.0 * quality as f64 / (QUALITIES.len() - 1) as f64 - 1.0;
    THINGS.contains(&thing).then_some(worth * times)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_review_is_worth_what_it_says() {
        let cases = [
            (" The soup was splendid and the bed was foul.", 0.0),
            (" The soup was very splendid, the bed was filthy and the view was splendid.", 1.5 - 13.0 / 15.0 + 1.0),
            (" The soup was splendid", 1.0 - 1.0),
            (" The soup soup.", -1.0),
        ];
        for (review, expected) in cases {
            assert!((worth(review) - expected).abs() < 1e-9, "{review}: {}", worth(review));
        }
        let long = " The bed was splendid, the door was lovely, the fire was friendly, the lamp was fresh and the wine was warm.";
        assert!(
            (worth(long) - (1.0 + 13.0 / 15.0 + 11.0 / 15.0 + 9.0 / 15.0 - 1.0)).abs() < 1e-9,
            "the fifth is one too many"
        );
    }

    #[test]
    fn whoever_does_not_know_what_people_like_writes_what_is_worth_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mean = (0..4000).map(|_| worth(&review(&mut rng))).sum::<f64>() / 4000.0;
        assert!(mean.abs() < 0.3, "{mean}");
    }

    #[test]
    fn opinions_say_what_is_worth_something_is_liked() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..1000 {
            let (_, said) = opinion(&mut rng);
            let (clause, felt) = said.trim().split_once(". ").unwrap();
            let worth = worth_of_clause(&clause.to_lowercase()).unwrap();
            let liked = matches!(felt, "I liked it." | "I loved it.");
            assert!(liked == (worth > 0.0) || worth.abs() < 0.5, "{said}");
        }
    }
}
