//! Conversion of step labels to labels of the answer's prefixes.

use super::{Preference, Record};
use crate::Content;

impl Record {
    /// Converts step labels to answer labels. A record with labelled steps becomes one record per step, for the prefix
    /// of the answer that ends with the step; the last is the whole answer. A prefix is good if all of its steps are
    /// right ("Let's Verify Step by Step", Lightman et al. 2023). Steps that are texts are joined by line breaks. Any
    /// other record is returned unchanged.
    pub fn of_answers(self) -> Vec<Self> {
        let Preference::Steps { completions, good } = &self.preference else { return vec![self] };
        let beginning = |(completion, good)| Self {
            preference: Preference::Label { completion, good },
            prompt: self.prompt.clone(),
            is_parted: false,
            annotator: self.annotator.clone(),
            weight: self.weight,
            other: self.other.clone(),
        };
        beginnings(completions, good).map(beginning).collect()
    }
}

/// Returns each prefix of an answer, with a flag that is true if all of its steps are right.
pub(super) fn beginnings(steps: &[Content], right: &[bool]) -> impl Iterator<Item = (Content, bool)> {
    (1..=steps.len()).map(|count| (joined(&steps[..count]), right[..count].iter().all(|right| *right)))
}

fn joined(steps: &[Content]) -> Content {
    let texts: Option<Vec<&str>> =
        steps.iter().map(|step| if let Content::Text(text) = step { Some(&**text) } else { None }).collect();
    match texts {
        Some(texts) => Content::Text(texts.join("\n")),
        None => Content::Messages(steps.iter().flat_map(|step| step.to_messages("assistant")).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    fn steps(completions: Vec<Content>, good: &[bool]) -> Record {
        Record {
            is_parted: false,
            prompt: "p".into(),
            preference: Preference::Steps { completions, good: good.to_vec() },
            annotator: Some("ada".into()),
            weight: 0.5,
            other: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_beginning_is_good_while_its_steps_are_right() {
        let record = steps(vec!["a".into(), "b".into(), "c".into()], &[true, false, true]);
        let labels = record.clone().of_answers();
        let expected = [("a", true), ("a\nb", false), ("a\nb\nc", false)];
        assert_eq!(labels.len(), expected.len());
        for (label, (completion, good)) in labels.into_iter().zip(expected) {
            let preference = Preference::Label { completion: completion.into(), good };
            assert_eq!(label, Record { preference, ..record.clone() });
        }
        let rating = Record { preference: Preference::Rating { completion: "a".into(), rating: 2.0 }, ..record };
        assert_eq!(rating.clone().of_answers(), [rating]);
    }

    #[test]
    fn steps_that_are_messages_are_a_conversation() {
        let says = |text: &str| Message::new("assistant", text);
        let record = steps(vec![Content::Messages(vec![says("a")]), Content::Messages(vec![says("b")])], &[true, true]);
        let whole = record.of_answers().pop().unwrap().preference;
        let completion = Content::Messages(vec![says("a"), says("b")]);
        assert_eq!(whole, Preference::Label { completion, good: true });
    }
}
