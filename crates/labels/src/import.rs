//! Items to label: from files, or from a generator of answers.

use std::path::Path;

use palestra_datasets::Content;
use palestra_datasets::preferences::{Preference, Row, record_of};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::exchange::{GivenLabels, item_row};
use crate::images::inline;
use crate::item::{Answer, NewItem, gap};
use crate::tables::rows;

/// Reads the items of a file, row by row: JSON lines, Parquet, CSV or TSV with a line of names, plain lines (each is one
/// answer to rate), or the JSON of Argilla or Label Studio.
///
/// A row is `prompt` and `completions` (two or more answers, with `policies`?, the author of each), or `prompt` and
/// `completion` (one answer to rate, with `policy`?), or any record that [`palestra_datasets::preferences`] reads: its
/// answers are labeled anew. `scores`? has a reward model's score of each answer. With `gold`, the item is a gold item,
/// which tests the annotators: its known best answer is the one with that index among the `completions`, or else the
/// `chosen` one. `all_gold` makes every row a gold item. Images among the parts of messages become Markdown.
pub fn items_of_file(
    file: &Path,
    all_gold: bool,
) -> Result<impl Iterator<Item = palestra_datasets::Result<NewItem>> + use<>> {
    Ok(labelled_items_of_file(file, all_gold)?.map(|read| read.map(|(item, _)| item)))
}

/// As [`items_of_file`], with the labels that an item of Argilla or Label Studio has.
pub fn labelled_items_of_file(
    file: &Path,
    all_gold: bool,
) -> Result<impl Iterator<Item = palestra_datasets::Result<(NewItem, GivenLabels)>> + use<>> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    Ok(rows(file, "completion")?.map(move |row| {
        let (mut row, labels) = item_row(row?)?;
        for column in ["prompt", "completions", "completion", "chosen", "rejected"] {
            if let Some(content) = row.columns.get_mut(column) {
                inline(content, &folder).map_err(|reason| row.error(column, reason))?;
            }
        }
        Ok((item_of(row, all_gold)?, labels))
    }))
}

/// Reads the prompts of a file, row by row: the column `prompt` of JSON lines, Parquet, CSV or TSV, a text or messages, or
/// plain lines. Other columns are ignored.
pub fn prompts_of_file(file: &Path) -> Result<impl Iterator<Item = palestra_datasets::Result<Content>> + use<>> {
    Ok(rows(file, "prompt")?.map(|row| row?.text("prompt")))
}

/// Generates answers to prompts, such as the policy of a checkpoint.
pub trait Writer {
    /// Policy name that its answers are stored with.
    fn policy(&self) -> &str;

    /// Generates `count` answers to each prompt; the error is shown to the user.
    fn answers(&mut self, prompts: &[Content], count: usize) -> Result<Vec<Vec<Content>>, String>;
}

/// Creates an item for each prompt, with `count` answers of each writer. Equal answers are kept once. A prompt with
/// only one distinct answer yields no item, since there is nothing to compare, unless only one answer is requested.
pub fn sample(prompts: &[Content], writers: &mut [impl Writer], count: usize) -> Result<Vec<NewItem>> {
    let mut written: Vec<Vec<Answer>> = vec![Vec::new(); prompts.len()];
    for writer in &mut *writers {
        let texts = writer.answers(prompts, count);
        let texts = texts.map_err(|reason| Error::Writer { policy: writer.policy().to_string(), reason })?;
        for (answers, texts) in written.iter_mut().zip(texts) {
            for text in texts {
                if answers.iter().all(|answer| answer.text != text) {
                    answers.push(Answer { text, policy: Some(writer.policy().to_string()) });
                }
            }
        }
    }
    let is_single = writers.len() * count == 1;
    let items = prompts.iter().zip(written).filter(|(_, answers)| answers.len() > 1 || is_single);
    Ok(items.map(|(prompt, answers)| NewItem { prompt: prompt.clone(), answers, gold: None, gap: None }).collect())
}

fn item_of(mut row: Row, all_gold: bool) -> palestra_datasets::Result<NewItem> {
    let gold = row.take(&["gold"]).map(|(_, value)| value).filter(|value| value.as_bool() != Some(false));
    let whole = row.clone();
    let row_scores = row.take(&["scores"]).map(|(_, value)| value);
    let (prompt, texts, policies) = if row.has(&["completions"]) {
        let policies = row.take(&["policies"]);
        (row.text("prompt")?, row.texts("completions")?, policies.map(|(_, value)| value))
    } else if row.has(&["completion"]) {
        let policy = row.string(&["policy"])?;
        (row.text("prompt")?, vec![row.text("completion")?], policy.map(|policy| vec![policy].into()))
    } else {
        let policies = row.take(&["chosen_policy"]).zip(row.take(&["rejected_policy"]));
        let record = record_of(row)?;
        let texts = match record.preference {
            Preference::Better { chosen, rejected, .. } => vec![chosen, rejected],
            Preference::Tie { answers } => answers.into(),
            _ => unreachable!("forms with completions were read above"),
        };
        (record.prompt, texts, policies.map(|((_, chosen), (_, rejected))| vec![chosen, rejected].into()))
    };
    let count = texts.len();
    let gap = match row_scores {
        None => None,
        Some(value) => {
            let scores: Option<Vec<f64>> = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
            let right = format!("a list of {count} numbers, one for each answer");
            let scores = scores.filter(|scores| scores.len() == count);
            gap(&scores.ok_or_else(|| whole.wrong("scores", &value, &right))?)
        }
    };
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
        // The chosen answer is the first one.
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
    let item = NewItem { prompt, answers, gold, gap };
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

    fn texts(item: &NewItem) -> Vec<(&Content, Option<&str>)> {
        item.answers.iter().map(|answer| (&answer.text, answer.policy.as_deref())).collect()
    }

    #[test]
    fn answers_come_with_who_wrote_them_and_which_is_known_to_be_best() {
        let lines = r#"{"prompt": "p", "completions": ["a", "b", "c"], "policies": ["x", "y", null], "gold": 2}
{"prompt": "p", "completion": "a", "policy": "x"}
{"prompt": "p", "chosen": "a", "rejected": "b", "gold": true}
{"prompt": "p", "chosen": "a", "rejected": "b", "gold": false, "scores": [0.5, 2]}"#;
        let items = items(lines, false).unwrap();
        let (a, b, c) = (Content::from("a"), Content::from("b"), Content::from("c"));
        assert_eq!(texts(&items[0]), [(&a, Some("x")), (&b, Some("y")), (&c, None)]);
        assert_eq!(texts(&items[1]), [(&a, Some("x"))]);
        assert_eq!(texts(&items[2]), [(&a, None), (&b, None)]);
        assert_eq!(items.iter().map(|item| item.gold).collect::<Vec<_>>(), [Some(2), None, Some(0), None]);
        assert_eq!(items.iter().map(|item| item.gap).collect::<Vec<_>>(), [None, None, None, Some(1.5)]);
    }

    #[test]
    fn what_cannot_be_labelled_is_named() {
        let cases = [
            ("", "is empty"),
            (r#"{"prompt": "p", "completions": []}"#, "line 1, completions: are 0"),
            (r#"{"prompt": "p", "completions": ["a", "a"]}"#, "line 1, completions: answer 1 is there twice"),
            (r#"{"prompt": "p", "completions": ["a", "b"], "gold": 2}"#, "line 1, gold: 2 where a place from 0 to 1"),
            (
                r#"{"prompt": "p", "completions": ["a", "b"], "policies": ["x"]}"#,
                "line 1, policies: [\"x\"] where a list of 2",
            ),
            (
                r#"{"prompt": "p", "completions": ["a", "b"], "scores": [1]}"#,
                "line 1, scores: [1] where a list of 2 numbers",
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

        fn answers(&mut self, prompts: &[Content], count: usize) -> Result<Vec<Vec<Content>>, String> {
            if prompts.iter().any(Content::is_empty) {
                return Err("nothing was asked".to_string());
            }
            let mut answer = || {
                self.1 += 1;
                format!("{}", self.1 / 2).as_str().into()
            };
            Ok(prompts.iter().map(|_| (0..count).map(|_| answer()).collect()).collect())
        }
    }

    #[test]
    fn answers_are_written_for_each_prompt_and_equal_ones_kept_once() {
        let mut writers = [Counting("old", 0), Counting("new", 4)];
        let items = sample(&["p".into(), "q".into()], &mut writers, 2).unwrap();
        let answers = |of: [&'static str; 4]| of.map(Content::from);
        let policies = |item: &NewItem| item.answers.iter().map(|answer| answer.policy.clone()).collect::<Vec<_>>();
        assert_eq!(
            items[0].answers.iter().map(|answer| answer.text.clone()).collect::<Vec<_>>(),
            answers(["0", "1", "2", "3"])
        );
        assert_eq!(policies(&items[0]), ["old", "old", "new", "new"].map(|name| Some(name.to_string())));
        // The second prompt has the answers 1, 2, 3 and 4.
        assert_eq!(items[1].answers.len(), 4);
        let mut same = [Counting("one", 1), Counting("other", 1)];
        assert_eq!(sample(&["p".into()], &mut same, 1).unwrap(), []);
        assert_eq!(sample(&["p".into()], &mut same[..1], 1).unwrap().len(), 1, "a single answer is rated");
        let error = sample(&["p".into(), "".into()], &mut writers, 1).unwrap_err().to_string();
        assert_eq!(error, "old: nothing was asked");
    }
}
