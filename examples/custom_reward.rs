//! A first custom reward: how much of an answer is a palindrome. `main` gives it the whole command line of Palestra:
//! `cargo run --example custom_reward -- train my.toml`, where `my.toml` has
//!
//! ```toml
//! [env]
//! kind = "completion"
//! options = { prompts = ["Write a palindrome:"], alphabet = "abc" }
//! [[reward]]
//! kind = "palindrome"
//! options = { shortest = 3 }
//! ```

use palestra_envs::{Episode, Options, Registry, Result, Reward, reward::answer};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Palindrome {
    /// Least number of characters. A shorter answer has no score, and is not learned from.
    shortest: usize,
}

impl Default for Palindrome {
    fn default() -> Self {
        Self { shortest: 1 }
    }
}

fn build(options: &Options) -> Result<Box<dyn Reward>> {
    let palindrome: Palindrome = options.parse()?;
    match palindrome.shortest {
        0 => Err(options.wrong("shortest", "nothing cannot be read; it must be at least 1")),
        _ => Ok(Box::new(palindrome)),
    }
}

impl Reward for Palindrome {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let score = |episode: &Episode| {
            let characters: Vec<char> = answer(episode).chars().collect();
            let same = characters.iter().zip(characters.iter().rev()).filter(|(one, other)| one == other).count();
            (characters.len() >= self.shortest).then(|| same as f32 / characters.len() as f32)
        };
        Ok(episodes.iter().map(score).collect())
    }
}

fn main() -> std::process::ExitCode {
    palestra::cli::main(Registry::builtin().with_reward("palindrome", build))
}
