use std::collections::HashMap;
use std::path::{Path, PathBuf};

use palestra_datasets::Content;
use palestra_datasets::preferences::{PreferenceRows, Row};
use palestra_labels::{NewItem, Store, gap};

use crate::Result;
use crate::cli::writing::MachineArgs;
use crate::reward_model::RewardModel;

/// Order in which items are given to annotators.
#[derive(clap::Args)]
pub struct OrderArgs {
    /// Order of the items that nobody has labelled: `active` puts those first on which a reward model is least sure, by
    /// their scores [default: as they were added]
    #[arg(long, value_parser = ["active"], value_name = "ORDER")]
    order: Option<String>,
}

impl OrderArgs {
    /// Orders the items of the store, if that is asked for.
    pub fn apply(&self, store: &mut Store) -> Result<()> {
        if self.order.is_some() {
            let scored = store.order_by_uncertainty()?;
            let file = store.file().display();
            if scored == 0 {
                tracing::warn!(
                    "--order active: no item of {file} has scores; add items with `scores`, --scores or --reward-model"
                );
            } else {
                tracing::info!("{file}: {scored} items ordered by the scores of their answers");
            }
        }
        Ok(())
    }
}

/// Scores of answers: of a reward model, or of a file.
#[derive(clap::Args)]
pub struct ScoreArgs {
    /// Reward model that scores the answers, for --order active: the directory of a run, or of a Hugging Face model
    #[arg(long, value_name = "MODEL")]
    reward_model: Option<PathBuf>,
    /// File with scores of the answers, for --order active: JSON lines of {"prompt", "completion", "score"}, as `palestra
    /// score --out` writes them
    #[arg(long, value_name = "FILE", conflicts_with = "reward_model")]
    scores: Option<PathBuf>,
    /// Answers to score at once
    #[arg(long, value_name = "N", default_value_t = 16, requires = "reward_model")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    score_batch: u16,
}

/// Source of the scores of items.
pub enum Scorer {
    /// A reward model, and the number of answers that it scores at once.
    Model(Box<RewardModel>, usize),
    /// Score of each prompt and answer of a file.
    File(PathBuf, HashMap<(String, String), f64>),
}

impl ScoreArgs {
    /// Opens the reward model, or reads the file, if there is one.
    pub fn open(&self, machine: &MachineArgs) -> Result<Option<Scorer>> {
        match (&self.reward_model, &self.scores) {
            (Some(path), _) => {
                let model = RewardModel::open(path, &machine.open()?)?;
                Ok(Some(Scorer::Model(Box::new(model), self.score_batch.into())))
            }
            (None, Some(file)) => Ok(Some(Scorer::File(file.clone(), read_scores(file)?))),
            (None, None) => Ok(None),
        }
    }
}

fn read_scores(file: &Path) -> Result<HashMap<(String, String), f64>> {
    let score = |row: palestra_datasets::Result<Row>| {
        let mut row = row?;
        let (prompt, answer) = (row.text("prompt")?, row.text("completion")?);
        let score = row.number(&["score"])?.ok_or_else(|| row.error("score", "missing; it should be a number"))?;
        Ok((key(&prompt, &answer), score))
    };
    PreferenceRows::open(file)?.map(score).collect()
}

/// Texts of a prompt and an answer; a file of scores has no spaces that a tokenizer adds or takes.
fn key(prompt: &Content, answer: &Content) -> (String, String) {
    let text = |content: &Content| content.as_text().trim().to_string();
    (text(prompt), text(answer))
}

impl Scorer {
    /// Scores the answers of items, in place of scores that they have.
    pub fn score(&self, items: &mut [NewItem]) -> Result<()> {
        let (model, batch) = match self {
            Self::Model(model, batch) => (model, *batch),
            Self::File(file, scores) => {
                let of = |item: &NewItem| {
                    let scores =
                        item.answers.iter().map(|answer| scores.get(&key(&item.prompt, &answer.text)).copied());
                    gap(&scores.collect::<Option<Vec<_>>>()?)
                };
                items.iter_mut().for_each(|item| item.gap = of(item));
                let unscored = items.iter().filter(|item| item.gap.is_none()).count();
                if unscored > 0 {
                    tracing::warn!(
                        "{unscored} of {} items have an answer without a score in {}; with --order active they come last",
                        items.len(),
                        file.display()
                    );
                }
                return Ok(());
            }
        };
        let answers =
            items.iter().flat_map(|item| item.answers.iter().map(|answer| (item.prompt.clone(), answer.text.clone())));
        let scores: Vec<f64> = model.score(&answers.collect::<Vec<_>>(), batch)?.into_iter().map(f64::from).collect();
        let mut rest = scores.as_slice();
        for item in items {
            let (own, others) = rest.split_at(item.answers.len());
            item.gap = gap(own);
            rest = others;
        }
        Ok(())
    }
}
