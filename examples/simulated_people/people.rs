//! Simulated people who label by the hidden reward, and sometimes say the opposite of what they mean.

use std::error::Error;
use std::path::Path;

use palestra::envs::episode_seed;
use palestra_labels::{Label, Store, Task, Verdict};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::world::worth;

/// Labels items until none is left in the store: the people take turns, one item each. Returns the number of labels.
pub fn label(file: &Path, people: usize, noise: f64, seed: u64) -> Result<u64, Box<dyn Error>> {
    let mut store = Store::open(file)?;
    let mut annotators = Vec::new();
    for number in 1..=people {
        annotators.push(store.annotator(&format!("person {number}"))?);
    }
    let mut labelled = 0;
    loop {
        let before = labelled;
        for (number, annotator) in annotators.iter().enumerate() {
            let Some(task) = store.next(annotator)? else { continue };
            let mut rng = ChaCha8Rng::seed_from_u64(episode_seed(seed ^ number as u64, task.item as u64));
            let label = Label::of(verdict(&task, rng.random_bool(noise)));
            store.submit(annotator, task.item, &label, 1.0)?;
            labelled += 1;
        }
        if labelled == before {
            return Ok(labelled);
        }
    }
}

/// Answer with the highest hidden reward, or with `errs` the lowest. A single answer is good above 0.
fn verdict(task: &Task, errs: bool) -> Verdict {
    let liked: Vec<f64> = task.answers.iter().map(|answer| worth(&answer.as_text())).collect();
    let (best, worst) =
        (liked.iter().copied().fold(f64::MIN, f64::max), liked.iter().copied().fold(f64::MAX, f64::min));
    if liked.len() == 1 {
        return if (best > 0.0) != errs { Verdict::Best { answer: 0 } } else { Verdict::AllBad };
    }
    if best == worst {
        return Verdict::Tie;
    }
    let chosen = if errs { worst } else { best };
    Verdict::Best { answer: liked.iter().position(|liked| *liked == chosen).expect("it is one of them") }
}
