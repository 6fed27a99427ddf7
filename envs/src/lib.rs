//! Environments in which an agent acts by writing text.
//!
//! This crate knows no tensors and no models: the author of an environment compiles only this crate.
//!
//! # Playing
//! A [`Registry`] makes environments by name or from a TOML file, and an [`Env`] is played by its text:
//!
//! ```
//! use palestra_envs::{Registry, baseline};
//! let mut env = Registry::builtin().make("cliff-walking")?;
//! let observation = env.reset(7)?;
//! assert!(observation.content.to_string().ends_with("Move left, down, right or up."));
//! assert_eq!(env.step("up")?.reward, -1.0);
//! assert_eq!(baseline::play_scripted(&mut *env, 7)?.total_reward(), -13.0);
//! # Ok::<(), palestra_envs::Error>(())
//! ```
//!
//! [`Pool`] steps many of them together, [`wrappers`] change rewards and ends, and [`episode_seed`] derives the seed of
//! an episode.
//!
//! # Defining an environment
//! Implement [`Env`], register its build function, and test it with [`check`](check::check):
//!
//! ```
//! use palestra_envs::{End, Env, EnvSpec, Error, Observation, Options, Registry, Result, Step, check};
//!
//! /// Shows a word and rewards writing it back.
//! struct Echo {
//!     spec: EnvSpec,
//!     word: Option<&'static str>,
//! }
//!
//! impl Env for Echo {
//!     fn spec(&self) -> &EnvSpec {
//!         &self.spec
//!     }
//!
//!     fn reset(&mut self, seed: u64) -> Result<Observation> {
//!         let word = ["agon", "stadion"][(seed % 2) as usize];
//!         self.word = Some(word);
//!         Ok(Observation::new(word))
//!     }
//!
//!     fn step(&mut self, action: &str) -> Result<Step> {
//!         let not_running = || Error::NotRunning { env: self.spec.id.clone(), when: "while no episode was running" };
//!         let word = self.word.ok_or_else(not_running)?;
//!         self.word = None;
//!         Ok(Step {
//!             observation: Observation::default(),
//!             reward: if action.trim() == word { 1.0 } else { 0.0 },
//!             end: Some(End::Terminated),
//!             invalid_action: false,
//!         })
//!     }
//!
//!     fn render(&self) -> String {
//!         self.word.unwrap_or("no word").to_string()
//!     }
//! }
//!
//! fn build(_options: &Options) -> Result<Box<dyn Env>> {
//!     let spec = EnvSpec {
//!         id: "echo-v1".to_string(),
//!         max_turns: Some(1),
//!         reward_range: (0.0, 1.0),
//!         optimal_return: Some(1.0),
//!         stochastic: true,
//!         ..EnvSpec::default()
//!     };
//!     Ok(Box::new(Echo { spec, word: None }))
//! }
//!
//! let registry = Registry::builtin().with("echo", build);
//! let report = check::check(&|| registry.make("echo"), check::CheckOptions::default());
//! assert!(report.passed(), "{report}");
//! ```
//!
//! Games with a known table of outcomes need less code: [`tabular`] solves them, and [`grid_world`] plays them on a
//! board.

mod builtin;
mod definition;
mod env;
mod error;
pub mod exact;
mod host;
mod openenv;
mod options;
mod phase;
mod pool;
mod registry;
mod seed;
pub mod snake;
pub mod tic_tac_toe;
pub mod wordle;

pub mod baseline;
pub mod check;
pub mod cliff_walking;
pub mod completion;
pub mod double_t_maze;
pub mod frozen_lake;
pub mod grid;
pub mod grid_world;
pub mod policies;
pub mod process;
pub mod record;
pub mod replay;
pub mod reward;
pub mod tabular;
pub mod wrappers;

pub use definition::Definition;
pub use env::{Build, Env, EnvSpec, Info, Observation, Step};
pub use error::{Error, FailureKind, Result};
pub use options::Options;
pub use palestra_datasets::{Content, End, Episode, Message, Turn};
pub use pool::{Answer, Call, Pool, Reply};
pub use registry::{BuildReward, Entry, Registry};
pub use reward::{Reward, RewardDefinition, Rewards};
pub use seed::{FIRST_EVALUATION, episode_seed, reset_seed};
pub use wrappers::Wrappers;
