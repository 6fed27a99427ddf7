//! The best update of a run by a metric, whose checkpoint is kept.

use std::path::Path;

use palestra_report::{Metrics, lower_is_better, read_metrics};

use crate::{Error, Result};

/// Best value so far of the metric of `train.keep_best`.
pub(super) struct Best {
    metric: String,
    lower_is_better: bool,
    value: Option<f64>,
}

impl Best {
    /// Best value among the updates of a run that are done, from its metrics.
    ///
    /// # Errors
    /// Metrics that cannot be read.
    pub fn so_far(metric: &str, metrics: &Path, done: u64) -> Result<Self> {
        let mut best = Self { metric: metric.to_string(), lower_is_better: lower_is_better(metric), value: None };
        if done > 0 {
            for record in read_metrics(metrics).map_err(Error::io(metrics))? {
                if record.step <= done {
                    best.takes(&record.metrics);
                }
            }
        }
        Ok(best)
    }

    /// True if these metrics have a better value than all before, which is then the best.
    pub fn takes(&mut self, metrics: &Metrics) -> bool {
        let Some(&value) = metrics.get(&self.metric).filter(|value| value.is_finite()) else { return false };
        let is_better = match self.value {
            None => true,
            Some(best) if self.lower_is_better => value < best,
            Some(best) => value > best,
        };
        if is_better {
            self.value = Some(value);
        }
        is_better
    }

    /// Fault of a run that has ended and never had the metric.
    pub fn fault(&self) -> Option<String> {
        let reason = "no update had this metric; `palestra metrics` lists them, and those of an evaluation need train.evaluate_every";
        self.value.is_none().then(|| format!("train.keep_best: {}: {reason}", self.metric))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_best_where_it_is_lowest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("metrics.jsonl");
        let line =
            |step: u64, value: f64| format!("{{\"step\":{step},\"time\":1.0,\"validation/mean_nll\":{value}}}\n");
        std::fs::write(&file, [line(1, 2.0), line(2, 1.5), line(3, 1.0)].concat()).unwrap();
        let mut best = Best::so_far("validation/mean_nll", &file, 2).unwrap();
        let nll = |value: f64| Metrics::from([("validation/mean_nll".to_string(), value)]);
        assert!(
            !best.takes(&nll(1.6)) && !best.takes(&nll(f64::NAN)) && best.takes(&nll(1.4)) && !best.takes(&nll(1.4))
        );
        let mut returns = Best::so_far("episode/return_mean", &file, 0).unwrap();
        assert!(returns.fault().unwrap().contains("no update had this metric"));
        assert!(
            returns.takes(&Metrics::from([("episode/return_mean".to_string(), -3.0)])) && returns.fault().is_none()
        );
    }
}
