//! People's judgements of generated answers: kept in one file, collected in a web page or a terminal, exported.
//!
//! A [`Store`] holds items (a prompt and the answers to it), the people who judge them and every [`Label`] that they gave.
//! [`server`] is the page on which they judge, [`terminal`] the same for one person without a browser, [`export`] writes what
//! was judged in the forms of [`palestra_datasets::preferences`], [`summary`] says how much there is and how far people agree,
//! and through [`queue`] a program asks people as it goes on.
//!
//! This crate knows no tensors and no models: answers come from files, or from whatever implements [`Writer`].

pub mod agreement;
mod error;
pub mod export;
mod import;
mod item;
mod label;
mod order;
pub mod queue;
pub mod server;
mod store;
pub mod summary;
pub mod terminal;

pub use error::{Error, Result};
pub use import::{Writer, items_of_file, prompts_of_file, sample};
pub use item::{Answer, NewItem};
pub use label::{Label, SCALE, Verdict};
pub use store::{Added, Annotator, ItemId, Judged, Progress, Settings, Store, Task};
