//! Items to judge: from files, or from whatever writes answers.

use std::path::Path;

use palestra_datasets::preferences::{Judgement, Row, Rows, Text};

use crate::error::{Error, Result};
use crate::item::{Answer, NewItem};

/// The items of a file of JSON lines or Parquet, row by row.
///
/// A row is `prompt` and `completions` (two or more answers, with `policies`?, who wrote each), or `prompt` and
/// `completion` (one answer to rate, with `policy`?), or any judgement that [`palestra_datasets::preferences`] reads: its
/// answers are judged anew. With `gold`, the item checks who judges: that number of the `completions`, or else the answer
/// that is `chosen`, is known to be best. `all_gold` makes every row such an item.
pub fn items_of_file(
    file: &Path,
    all_gold: bool,
) -> Result<impl Iterator<Item = palestra_datasets::Result<NewItem>> + use<>> {
    Ok(Rows::open(file)?.map(move |row| item_of(row?, all_gold)))
}

/// Writes answers to prompts, such as the policy of a checkpoint.
pub trait Writer {
    /// The name under which its answers are kept.
    fn policy(&self) -> &str;

    /// One more answer; the error is for the person who waits for it.
    fn answer(&mut self, prompt: &Text) -> Result<Text, String>;
}

/// An item for each prompt, with so many answers of each writer. Answers that are equal are kept once, and a prompt to which
/// everybody answers the same makes no item: there is nothing to compare.
pub fn sample(prompts: &[Text], writers: &mut [&mut dyn Writer], answers: usize) -> Result<Vec<NewItem>> {
    let mut items = Vec::new();
    for (number, prompt) in prompts.iter().enumerate() {
        let mut written: Vec<Answer> = Vec::new();
        for writer in &mut *writers {
            for _ in 0..answers {
                let text = writer.answer(prompt).map_err(|reason| Error::Writer {
                    policy: writer.policy().to_string(),
                    prompt: number,
                    reason,
                })?;
                if written.iter().all(|answer| answer.text != text) {
                    written.push(Answer { text, policy: Some(writer.policy().to_string()) });
                }
            }
        }
        if written.len() > 1 || writers.len() * answers == 1 {
            items.push(NewItem { prompt: prompt.clone(), answers: written, gold: None });
        }
    }
    Ok(items)
}

fn item_of(mut row: Row, all_gold: bool) -> palestra_datasets::Result<NewItem> {
    let gold = row.take(&["gold"]).map(|(_, value)| value).filter(|value| value.as_bool() != Some(false));
    let whole = row.clone();
    let (prompt, texts, policies) = if row.has(&["completions"]) {
        let policies = row.take(&["policies"]);
        (row.text("prompt")?, row.texts("completions")?, policies.map(|(_, value)| value))
    } else if row.has(&["completion"]) {
        let policy = row.string(&["policy"])?;
        (row.text("prompt")?, vec![row.text("completion")?], policy.map(|policy| vec![policy].into()))
    } else {
        let policies = row.take(&["chosen_policy"]).zip(row.take(&["rejected_policy"]));
        let record = row.record()?;
        let texts = match record.judgement {
            Judgement::Better { chosen, rejected, .. } => vec![chosen, rejected],
            Judgement::Tie { answers } => answers.into(),
            _ => unreachable!("forms with completions were read above"),
        };
        (record.prompt, texts, policies.map(|((_, chosen), (_, rejected))| vec![chosen, rejected].into()))
    };
    let count = texts.len();
    let policies = match policies {
        None => vec![None; count],
        Some(value) => {
            let names: Option<Vec<_>> =
                value.as_array().map(|names| names.iter().map(|name| name.as_str().map(String::from)).collect());
            let right = format!("a list of {count} names, one for each answer");
            names.filter(|names| names.len() == count).ok_or_else(|| whole.wrong("policies", &value, &right))?
        }
    };
    let gold = match gold {
        None if !all_gold => None,
        // The first is the one that was chosen.
        None if whole.has(&["chosen"]) => Some(0),
        None => return Err(whole.error("gold", "missing; it should be the place of the best completion, from 0")),
        Some(value) if value.as_bool() == Some(true) && whole.has(&["chosen"]) => Some(0),
        Some(value) => {
            let place = value
                .as_u64()
                .ok_or_else(|| whole.wrong("gold", &value, "the place of the best completion, from 0"))?;
            Some(place as usize)
        }
    };
    let answers = texts.into_iter().zip(policies).map(|(text, policy)| Answer { text, policy }).collect();
    let item = NewItem { prompt, answers, gold };
    match item.fault() {
        Some((column, reason)) => Err(whole.error(column, reason)),
        None => Ok(item),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(lines: &str, all_gold: bool) -> Result<Vec<NewItem>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        let items = items_of_file(file.path(), all_gold).map_err(|error| error.to_string())?;
        items.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn texts(item: &NewItem) -> Vec<(&Text, Option<&str>)> {
        item.answers.iter().map(|answer| (&answer.text, answer.policy.as_deref())).collect()
    }

    #[test]
    fn answers_come_with_who_wrote_them_and_which_is_known_to_be_best() {
        let lines = r#"{"prompt": "p", "completions": ["a", "b", "c"], "policies": ["x", "y", null], "gold": 2}
{"prompt": "p", "completion": "a", "policy": "x"}
{"prompt": "p", "chosen": "a", "rejected": "b", "gold": true}
{"prompt": "p", "chosen": "a", "rejected": "b", "gold": false}"#;
        let items = items(lines, false).unwrap();
        let (a, b, c) = (Text::from("a"), Text::from("b"), Text::from("c"));
        assert_eq!(texts(&items[0]), [(&a, Some("x")), (&b, Some("y")), (&c, None)]);
        assert_eq!(texts(&items[1]), [(&a, Some("x"))]);
        assert_eq!(texts(&items[2]), [(&a, None), (&b, None)]);
        assert_eq!(items.iter().map(|item| item.gold).collect::<Vec<_>>(), [Some(2), None, Some(0), None]);
    }

    #[test]
    fn what_cannot_be_judged_is_named() {
        let cases = [
            ("", "is empty"),
            (r#"{"prompt": "p", "completions": []}"#, "line 1, completions: are 0"),
            (r#"{"prompt": "p", "completions": ["a", "a"]}"#, "line 1, completions: answer 1 is there twice"),
            (r#"{"prompt": "p", "completions": ["a", "b"], "gold": 2}"#, "line 1, gold: 2 where a place from 0 to 1"),
            (
                r#"{"prompt": "p", "completions": ["a", "b"], "policies": ["x"]}"#,
                "line 1, policies: [\"x\"] where a list of 2",
            ),
            (r#"{"prompt": "p"}"#, "line 1, the columns: are prompt"),
        ];
        for (lines, expected) in cases {
            let error = items(lines, false).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error = items(r#"{"prompt": "p", "completions": ["a", "b"]}"#, true).unwrap_err();
        assert!(error.contains("line 1, gold: missing"), "{error}");
    }

    struct Counting(&'static str, u32);

    impl Writer for Counting {
        fn policy(&self) -> &str {
            self.0
        }

        fn answer(&mut self, prompt: &Text) -> Result<Text, String> {
            self.1 += 1;
            match (self.1, prompt.is_empty()) {
                (_, true) => Err("nothing was asked".to_string()),
                (count, _) => Ok(format!("{}", count / 2).as_str().into()),
            }
        }
    }

    #[test]
    fn answers_are_written_for_each_prompt_and_equal_ones_kept_once() {
        let (mut old, mut new) = (Counting("old", 0), Counting("new", 4));
        let items = sample(&["p".into()], &mut [&mut old, &mut new], 2).unwrap();
        assert_eq!(
            texts(&items[0]),
            [
                (&"0".into(), Some("old")),
                (&"1".into(), Some("old")),
                (&"2".into(), Some("new")),
                (&"3".into(), Some("new")),
            ]
        );
        let error = sample(&["p".into(), "".into()], &mut [&mut old], 1).unwrap_err().to_string();
        assert_eq!(error, "old, prompt 1: nothing was asked");
    }
}
