//! Palestra trains language models and text-playing agents by reinforcement learning.
//!
//! This crate has the runs and the commands. The libraries that they are made of are its modules.

pub mod actor;
pub mod agent;
pub mod cli;
pub mod compare;
pub mod config;
mod error;
pub mod estimate;
pub mod hub;
pub mod language_model;
mod memory;
pub mod model_dir;
pub mod plan;
mod recipes;
pub mod record;
pub mod reference;
pub mod reward;
pub mod reward_model;
pub mod run_dir;
mod signals;
pub mod train_run;

pub use error::{Error, Result};
pub use palestra_corpus as corpus;
pub use palestra_datasets as datasets;
pub use palestra_envs as envs;
pub use palestra_labels as labels;
pub use palestra_learn as learn;
pub use palestra_model as model;
pub use palestra_report as report;
pub use palestra_text as text;
