//! Settings that people write: TOML files, overrides on the command line, ranges of values. Knows TOML, serde and
//! numbers; must not know any setting.
//!
//! - [`parse_toml`] and [`parse_toml_table`] report errors with file, line, field and the nearest known key,
//! - [`assign`] applies a `key=value` of the command line,
//! - [`check_ranges`] compares the values of a section with ranges that are data.

mod assign;
mod error;
mod range;
mod toml_file;

pub use assign::assign;
pub use error::{Error, Result};
pub use range::{Number, Range, Setting, Value, check_ranges};
pub use toml_file::{Origin, nearest, parse_toml, parse_toml_table};
