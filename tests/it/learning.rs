//! PPO learns games with a known optimum, on every device.

use palestra::config::RunFile;
use palestra::envs::{End, Env, EnvSpec, Observation, Options, Registry, Result, Step};
use palestra::model::ops::available_devices;
use palestra::report::Display;
use palestra::train_run::{TrainOptions, TrainReport, train_run};

/// Environment of two turns that needs memory. The first observation is a letter, and repeating it earns 0.4. The
/// second is only a question mark, and writing the letter again earns 0.6.
struct Recall {
    spec: EnvSpec,
    letter: usize,
    turn: usize,
}

const LETTERS: [&str; 3] = ["a", "b", "c"];

impl Recall {
    fn build(_: &Options) -> Result<Box<dyn Env>> {
        let spec = EnvSpec {
            id: "recall-v1".into(),
            max_turns: Some(2),
            reward_range: (0.0, 1.0),
            optimal_return: Some(1.0),
            solved_return: None,
            stochastic: true,
            reproducible: true,
            tasks: None,
            alphabet: Some("abc?".into()),
        };
        Ok(Box::new(Self { spec, letter: 0, turn: 0 }))
    }

    fn observation(&self) -> Observation {
        let text = if self.turn == 0 { LETTERS[self.letter] } else { "?" };
        let legal: Vec<String> = LETTERS.map(String::from).into();
        Observation { content: text.into(), legal_actions: Some(legal.into()), ..Observation::default() }
    }
}

impl Env for Recall {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        (self.letter, self.turn) = ((seed % 3) as usize, 0);
        Ok(self.observation())
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        let reward = if action == LETTERS[self.letter] { [0.4, 0.6][self.turn] } else { 0.0 };
        self.turn += 1;
        let end = (self.turn == 2).then_some(End::Terminated);
        Ok(Step { observation: self.observation(), reward, end, invalid_action: !LETTERS.contains(&action) })
    }

    fn render(&self) -> String {
        format!("the letter is {}", LETTERS[self.letter])
    }
}

/// Trains on a device, and returns the report.
fn trained(file: &str, device: &str) -> TrainReport {
    let registry = Registry::builtin().with("recall", Recall::build);
    let run = RunFile::from_toml("run.toml", file, &[format!("device={device}")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = Some(folder.path().join("out"));
    train_run(run, &registry, TrainOptions { out, display: Display::Quiet, ..TrainOptions::default() }).unwrap()
}

const TINY: &str = "
    [model]
    family = \"gpt2\"
    context = 16
    layers = 1
    width = 16
    heads = 2
    [optimizer]
    learning_rate = 1e-2
    schedule = \"linear\"
    [evaluation]
    episodes = 30
";

#[test]
fn ppo_finds_the_way_over_the_ice() {
    for device in available_devices() {
        let lake = "
            name = \"lake\"
            [env]
            id = \"frozen-lake-4x4\"
            options = { view = \"compact\", slippery = false, limit = 30 }
            [rollout]
            episodes = 64
            [ppo]
            gamma = 0.95
            batch = 64
            entropy_coefficient = 0.03
            final_entropy_coefficient = 0.0
            [train]
            threads = 1
            updates = 60
        ";
        // At 1e-2 three seeds of ten stay on the shore, at 5e-3 two of ten; at this rate none of eight did.
        let tiny = TINY.replace("learning_rate = 1e-2", "learning_rate = 2.5e-3");
        let report = trained(&format!("{lake}{tiny}"), device);
        assert_eq!(report.evaluation.unwrap().exact.unwrap().expected_return, 1.0, "{device}");
        assert!(report.before.unwrap().mean_return < 0.5, "it was there before it learned");
    }
}

#[test]
fn ppo_learns_to_remember() {
    for device in available_devices() {
        let recall = "
            name = \"recall\"
            seed = 1
            [env]
            id = \"recall\"
            [rollout]
            episodes = 64
            context = \"transcript\"
            [ppo]
            batch = 32
            entropy_coefficient = 0.03
            final_entropy_coefficient = 0.0
            [train]
            threads = 1
            updates = 80
        ";
        let report = trained(&format!("{recall}{TINY}"), device);
        let found = report.evaluation.unwrap().score.mean_return;
        assert!((found - 1.0).abs() < 1e-6, "{device}: {found}");
        assert!(report.before.unwrap().mean_return < 0.7, "it was there before it learned");
    }
}
