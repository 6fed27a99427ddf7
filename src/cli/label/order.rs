use std::path::PathBuf;

use palestra_labels::{NewItem, Store, gap};

use crate::Result;
use crate::cli::writing::MachineArgs;
use crate::reward_model::RewardModel;

/// Order in which items are given to annotators.
#[derive(clap::Args)]
pub struct OrderArgs {
    /// Order of the items that nobody has labelled: `active` puts those first on which a reward model is least sure, by
    /// their scores; else they stay as they were added
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
                    "--order active: no item of {file} has scores; add items with `scores`, or --reward-model"
                );
            } else {
                tracing::info!("{file}: {scored} items ordered by the scores of their answers");
            }
        }
        Ok(())
    }
}

/// Reward model that scores answers.
#[derive(clap::Args)]
pub struct ScoreArgs {
    /// Reward model that scores the answers, for --order active: the directory of a run, or of a Hugging Face model
    #[arg(long, value_name = "MODEL")]
    reward_model: Option<PathBuf>,
    /// Answers to score at once
    #[arg(long, value_name = "N", default_value_t = 16, requires = "reward_model")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    score_batch: u16,
}

/// A reward model, opened to score items.
pub struct Scorer {
    model: RewardModel,
    batch: usize,
}

impl ScoreArgs {
    /// Opens the reward model, if there is one.
    pub fn open(&self, machine: &MachineArgs) -> Result<Option<Scorer>> {
        let open = |path: &PathBuf| {
            let model = RewardModel::open(path, &machine.open()?)?;
            Ok(Scorer { model, batch: self.score_batch.into() })
        };
        self.reward_model.as_ref().map(open).transpose()
    }
}

impl Scorer {
    /// Scores the answers of items, in place of scores that they have.
    pub fn score(&self, items: &mut [NewItem]) -> Result<()> {
        let answers =
            items.iter().flat_map(|item| item.answers.iter().map(|answer| (item.prompt.clone(), answer.text.clone())));
        let scores: Vec<f64> =
            self.model.score(&answers.collect::<Vec<_>>(), self.batch)?.into_iter().map(f64::from).collect();
        let mut rest = scores.as_slice();
        for item in items {
            let (own, others) = rest.split_at(item.answers.len());
            item.gap = gap(own);
            rest = others;
        }
        Ok(())
    }
}
