//! Conversion of raw text to clean Parquet shards for training.
//!
//! [`build`] reads text, Markdown, HTML, JSON lines, Parquet and web archives, repairs and filters each document, drops duplicates,
//! and writes training and validation shards with a report on what was dropped and why. This crate has no tensors, no
//! tokenizers and no command line.
//!
//! ```
//! use palestra_corpus::{Options, Settings, build};
//! let folder = tempfile::tempdir()?;
//! let essay = "It is a truth that is known to all of us. We have read it in many books! What does it mean? ";
//! let mut text = String::new();
//! for year in 1800..1840 {
//!     text += &format!("In the year {year} a book that I have with me said so of page {}. {essay}\n", year * 7);
//! }
//! std::fs::write(folder.path().join("essay.txt"), &text)?;
//! let settings = Settings::parse("[gopher]\nwords = [10, 1000]\n[read]\ntext_unit = 'line'", "example", &[])?;
//! let settings = Settings {
//!     inputs: vec![folder.path().join("essay.txt").display().to_string()],
//!     out: folder.path().join("corpus").display().to_string(),
//!     ..settings
//! };
//! let report = build(&settings, &Options::default())?;
//! assert_eq!(report.documents, 40);
//! assert!(folder.path().join("corpus/train-00000.parquet").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod build;
mod candidate;
mod clean;
mod defaults;
mod duplicates;
mod error;
mod fetch;
mod filtered;
mod input;
mod page;
mod provenance;
mod ranks;
mod report;
mod rule;
pub mod settings;
mod settings_file;
mod shards;
mod stages;
mod tally;
mod work;

pub use build::{BuildProgress, Options, build};
pub use duplicates::probability_of_meeting;
pub use error::{Error, Result};
pub use fetch::{FetchFailure, FetchOptions, FetchReport, fetch};
pub use input::{InputFile, Kind, find_inputs};
pub use ranks::{Ranks, build_on_ranks};
pub use report::{DroppedBy, FunnelStep, Report};
pub use rule::{Failed, Rule, Step};
pub use settings::{Limit, Settings};
pub use shards::Shard;
pub use tally::{Changed, Count, Original, Sample};
