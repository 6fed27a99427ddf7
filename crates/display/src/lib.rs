//! Numbers, durations, sizes and pages as people read them: one form of each for the terminal, plots and reports.

mod number;
mod page;

pub use number::{bytes, decimals4, duration, grouped, percent, significant, tick};
pub use page::{Page, escape};
