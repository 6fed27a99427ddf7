//! A first custom environment: guess a number. `main` gives it the whole command line of Palestra:
//! `cargo run --example first_env -- play guess`.

use palestra_envs::{End, Env, EnvSpec, Error, Observation, Options, Registry, Result, Step};

struct Guess {
    spec: EnvSpec,
    secret: u64,
    turns_left: u32,
}

fn build(_: &Options) -> Result<Box<dyn Env>> {
    let spec = EnvSpec {
        id: "guess-v1".to_string(),
        max_turns: Some(7),
        reward_range: (0.0, 1.0),
        stochastic: true,
        alphabet: Some(" !.0123456789GHLRWabefghimnorstuw".to_string()), // all that a model from nothing will know
        ..EnvSpec::default()
    };
    Ok(Box::new(Guess { spec, secret: 0, turns_left: 0 }))
}

impl Env for Guess {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        (self.secret, self.turns_left) = (1 + seed % 100, 7);
        Ok(Observation::new("Guess a number from 1 to 100."))
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        if self.turns_left == 0 {
            return Err(Error::NotRunning { env: self.spec.id.clone(), when: "while no episode was running" });
        }
        let guess = action.trim().parse::<u64>().ok().filter(|guess| (1..=100).contains(guess));
        let (text, end) = match guess.map(|guess| guess.cmp(&self.secret)) {
            None => ("Write a number from 1 to 100.", None),
            Some(std::cmp::Ordering::Less) => ("Higher.", None),
            Some(std::cmp::Ordering::Greater) => ("Lower.", None),
            Some(std::cmp::Ordering::Equal) => ("Right!", Some(End::Terminated)),
        };
        let reward = if end.is_some() { 1.0 } else { 0.0 };
        let end = end.or((self.turns_left == 1).then_some(End::Truncated)); // terminated wins
        self.turns_left = if end.is_some() { 0 } else { self.turns_left - 1 };
        Ok(Step { observation: Observation::new(text), reward, end, invalid_action: guess.is_none() })
    }

    fn render(&self) -> String {
        format!("the number is {}, {} turns left", self.secret, self.turns_left)
    }
}

fn main() -> std::process::ExitCode {
    palestra::cli::main(Registry::builtin().with("guess", build))
}
