//! Preference labels for generated answers: stored in one file, collected in a web page or a terminal, exported.
//!
//! A [`Store`] holds items (a prompt and the answers to it), the annotators and every [`Label`] that they gave.
//! [`server`] is the web page for annotators, [`terminal`] the same for one annotator without a browser, [`export`]
//! writes labels in the formats of [`palestra_datasets::preferences`], [`summary`] reports counts and agreement, and
//! with [`queue`] a program requests labels while it runs.
//!
//! This crate knows no tensors and no models: answers come from files or from an implementation of [`Writer`].

pub mod agreement;
mod error;
pub mod exchange;
pub mod export;
mod images;
mod import;
mod item;
mod label;
mod order;
pub mod policies;
pub mod queue;
mod render;
pub mod server;
mod store;
pub mod summary;
mod tables;
pub mod terminal;

pub use error::{Error, Result};
pub use import::{Writer, items_of_file, labelled_items_of_file, prompts_of_file, sample};
pub use item::{Answer, NewItem, gap};
pub use label::{CRITERION, Label, MAX_CRITERIA, SCALE, Strength, Verdict, is_criterion};
pub use render::html;
pub use store::{Added, Annotator, ItemId, LabelProgress, LabelledItem, OwnLabel, Settings, Store, Task};
