//! Questions with choices: accuracy of the choice that the model finds likeliest.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::output::Output;
use crate::language_model::LanguageModel;
use crate::{Error, Result};
use palestra_datasets::rows::{RowPlace, Rows};
use palestra_learn::batch::TextRow;
use palestra_learn::likelihood::log_likelihoods;

/// A row of a file of questions; other fields are ignored.
#[derive(Deserialize)]
struct Question {
    prompt: String,
    choices: Vec<String>,
    answer: Value,
}

/// Accuracy of the likeliest choice.
#[derive(Serialize)]
pub struct Report {
    data: PathBuf,
    questions: u64,
    /// By the log-likelihood of the choice.
    accuracy: f64,
    /// By the log-likelihood per byte of the choice.
    accuracy_per_byte: f64,
    /// Expected accuracy of random choices.
    chance: f64,
}

/// True if a file holds questions: JSON, the first row of which has `choices`.
pub fn are_in(data: &str) -> Result<bool> {
    let path = Path::new(data);
    let is_lines = path.extension().is_some_and(|ending| ending == "jsonl" || ending == "ndjson" || ending == "json");
    if !is_lines || !path.is_file() {
        return Ok(false);
    }
    let first = Rows::open(path)?.next();
    Ok(first.is_some_and(|row| row.is_ok_and(|(_, row)| row.contains_key("choices"))))
}

/// Answers all questions of a file by likelihood, and scores the answers.
pub fn evaluate(model: &LanguageModel, path: &Path, batch: usize, output: &Output) -> Result<Report> {
    let mut rows = Rows::open(path)?;
    let progress = output.progress(std::fs::metadata(path).map_err(Error::io(path))?.len(), "bytes");
    let (mut questions, mut right, mut right_per_byte, mut chance) = (0u64, 0u64, 0u64, 0.0);
    while let Some((origin, fields)) = rows.next().transpose()? {
        progress.set_position(rows.bytes());
        let RowPlace::Line(line) = origin.place else { unreachable!("files of questions are JSON") };
        let wrong = |reason: String| Error::Data(format!("{}: line {line}: {reason}", path.display()));
        let question: Question = serde_json::from_value(Value::Object(fields)).map_err(|error| {
            wrong(format!("{error}; a question is {{\"prompt\": text, \"choices\": [text, ...], \"answer\": number}}"))
        })?;
        let answer = answer(&question).map_err(wrong)?;
        let rows = question.choices.iter().map(|choice| row(model, &question.prompt, choice));
        let rows = rows.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let sums = log_likelihoods(&model.policy, &rows, batch);
        let sums: Vec<f64> = sums.iter().map(|row| row.iter().map(|&log_prob| f64::from(log_prob)).sum()).collect();
        let per_byte: Vec<f64> =
            sums.iter().zip(&question.choices).map(|(sum, choice)| sum / choice.len().max(1) as f64).collect();
        questions += 1;
        right += u64::from(likeliest(&sums) == answer);
        right_per_byte += u64::from(likeliest(&per_byte) == answer);
        chance += 1.0 / question.choices.len() as f64;
    }
    progress.finish_and_clear();
    let share = |count: f64| count / questions.max(1) as f64;
    Ok(Report {
        data: path.to_owned(),
        questions,
        accuracy: share(right as f64),
        accuracy_per_byte: share(right_per_byte as f64),
        chance: share(chance),
    })
}

/// Index of the right choice.
fn answer(question: &Question) -> Result<usize, String> {
    let count = question.choices.len();
    let found = match &question.answer {
        Value::Number(number) => number.as_u64().map(|number| number as usize).filter(|&number| number < count),
        Value::String(text) => question.choices.iter().position(|choice| choice == text),
        _ => None,
    };
    found.ok_or_else(|| {
        format!("answer: {} is none of the {count} choices; write its number from 0, or its text", question.answer)
    })
}

/// Row of a prompt with a choice after it, whose tokens count. Spaces at the end of the prompt are read with the
/// choice, as tokenizers put them before words.
fn row(model: &LanguageModel, prompt: &str, choice: &str) -> Result<TextRow, String> {
    let kept = prompt.trim_end();
    let encode = |text: &str| model.tokenizer.encode_beginning(text).map_err(|error| error.to_string());
    let (before, mut tokens) = (encode(kept)?, encode(&format!("{prompt}{choice}"))?);
    if before.is_empty() || before.len() >= tokens.len() {
        return Err(
            "prompt and choice: a prompt needs at least one token for a choice to follow, and so does a choice".into(),
        );
    }
    if !tokens.starts_with(&before) {
        return Err(format!(
            "prompt: its last token goes on into the choice {choice:?}; end the prompt at a word's end"
        ));
    }
    let context = model.policy.transformer.config().context;
    let choice_tokens = tokens.len() - before.len();
    if choice_tokens > context {
        return Err(format!("choices: {choice_tokens} tokens are more than the model's context of {context}"));
    }
    // The end of a long prompt says the most about what follows.
    tokens.drain(..tokens.len().saturating_sub(context + 1));
    let counted = (tokens.len() - choice_tokens..tokens.len()).collect();
    Ok(TextRow { tokens, counted, borders: Vec::new(), bytes: choice.len() })
}

/// Index of the largest number, the first of equal ones.
fn likeliest(numbers: &[f64]) -> usize {
    (1..numbers.len()).fold(0, |best, at| if numbers[at] > numbers[best] { at } else { best })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accuracy {:.4} by likelihood, {:.4} by likelihood per byte (chance {:.4}), over {} questions",
            self.accuracy, self.accuracy_per_byte, self.chance, self.questions
        )
    }
}
