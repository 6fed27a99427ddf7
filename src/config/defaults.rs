//! Defaults of runs that start from a trained model: those of the field, by learner. A run from random weights has the
//! defaults of its sections alone.

use palestra_settings::assign;

use super::RunFile;

/// Defaults of a learner that trains a pretrained model.
struct FineTuning {
    /// Name of the learner's section.
    learner: &'static str,
    /// Learning rate of all weights, and of adapters.
    learning_rates: [f64; 2],
    /// Further keys.
    others: &'static [&'static str],
}

/// Those of all learners below: AdamW's usual `eps`, and a linear schedule after a short warm-up.
const SHARED: [&str; 3] = ["optimizer.eps=1e-8", "optimizer.schedule=linear", "optimizer.warmup=0.03"];

/// Learning rates and lengths as in TRL's trainers and their examples. Learners of a log have none: their values begin
/// anew on any model.
const FINE_TUNING: [FineTuning; 6] = [
    FineTuning { learner: "supervised", learning_rates: [2e-5, 2e-4], others: &["train.epochs=3.0"] },
    FineTuning { learner: "dpo", learning_rates: [1e-6, 1e-5], others: &["train.epochs=1.0"] },
    FineTuning { learner: "kto", learning_rates: [1e-6, 1e-5], others: &["train.epochs=1.0"] },
    FineTuning { learner: "reward_model", learning_rates: [1e-5, 1e-5], others: &["train.epochs=1.0"] },
    FineTuning {
        learner: "grpo",
        learning_rates: [1e-6, 1e-5],
        others: &["rollout.group=8", "rollout.max_new_tokens=256"],
    },
    FineTuning { learner: "ppo", learning_rates: [1e-6, 1e-5], others: &[] },
];

/// Gives a run file that was parsed as `run` the defaults of its learner for the keys that it lacks. Returns true if it
/// set any.
pub(super) fn fill(table: &mut toml::Table, run: &RunFile) -> bool {
    let found = FINE_TUNING.iter().find(|of| of.learner == run.learner.name);
    let Some(FineTuning { learning_rates, others, .. }) = found.filter(|_| run.start_from.is_some()) else {
        return false;
    };
    let learning_rate = format!("optimizer.learning_rate={:e}", learning_rates[usize::from(run.lora.is_some())]);
    let all = SHARED.into_iter().chain(others.iter().copied()).chain([learning_rate.as_str()]);
    let mut is_changed = false;
    for assignment in all {
        let (path, _) = assignment.split_once('=').expect("the defaults above are assignments");
        // The length of a run is told in epochs or in updates.
        let has_length = path == "train.epochs" && has(table, "train.updates");
        if !has(table, path) && !has_length {
            assign(table, assignment).expect("the sections are tables: the file was parsed");
            is_changed = true;
        }
    }
    is_changed
}

/// True if a table has a value at a dotted path.
fn has(table: &toml::Table, path: &str) -> bool {
    let mut keys = path.split('.');
    let first = keys.next().and_then(|key| table.get(key));
    keys.try_fold(first, |value, key| value.map(|value| value.get(key))).flatten().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use palestra_learn::learners::LearnerKind;
    use palestra_model::optim::Schedule;

    fn run(text: &str, overrides: &[&str]) -> RunFile {
        RunFile::from_toml("run.toml", text, overrides).unwrap()
    }

    const DPO: &str = "name = 'x'\nstart_from = 'm'\n[preferences]\nfiles = ['a.jsonl']\n[dpo]\n";

    #[test]
    fn a_pretrained_model_is_trained_with_small_steps() {
        let dpo = run(DPO, &[]);
        let optimizer = &dpo.optimizer;
        assert_eq!((optimizer.learning_rate, optimizer.eps, optimizer.warmup), (1e-6, 1e-8, 0.03));
        assert_eq!((optimizer.schedule, dpo.train.epochs), (Schedule::Linear, Some(1.0)));
        let adapters = run(&format!("{DPO}[lora]\n"), &[]);
        assert_eq!(adapters.optimizer.learning_rate, 1e-5);
        let supervised = "name = 'x'\nstart_from = 'm'\n[text]\nfiles = ['a.jsonl']\n";
        assert_eq!(run(supervised, &[]).train.epochs, Some(3.0));
        let completion = "name = 'x'\nstart_from = 'm'\n[env]\nid = 'completion'\n[grpo]\n";
        let rollout = run(completion, &[]).rollout;
        assert_eq!((rollout.group, rollout.max_new_tokens), (8, 256));
    }

    #[test]
    fn what_a_person_sets_stays() {
        let set = run(&format!("{DPO}[optimizer]\nlearning_rate = 5e-4\n"), &["optimizer.eps=1e-6"]);
        assert_eq!((set.optimizer.learning_rate, set.optimizer.eps, set.optimizer.warmup), (5e-4, 1e-6, 0.03));
        let updates = run(&format!("{DPO}[train]\nupdates = 7\n"), &[]);
        assert_eq!((updates.train.updates, updates.train.epochs), (7, None));
        // The saved run has every value.
        let again = run(&updates.to_toml().unwrap(), &[]);
        assert_eq!(again.to_toml().unwrap(), updates.to_toml().unwrap());
    }

    #[test]
    fn a_run_from_nothing_keeps_the_defaults_of_its_sections() {
        let game = run("name = 'x'\n[env]\nid = 'snake-6x6'\n", &[]);
        assert_eq!((game.optimizer, game.train.epochs, game.rollout.group), (Default::default(), None, 1));
    }

    #[test]
    fn the_defaults_are_of_learners_that_there_are() {
        assert!(FINE_TUNING.iter().all(|of| LearnerKind::find(of.learner).is_some()));
    }
}
