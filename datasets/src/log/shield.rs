//! Conversion of panics to errors: on damaged files, the Parquet crate panics in places.

use std::any::Any;
use std::cell::Cell;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_SHIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Lets panics that become errors print nothing. A program calls this once, at its start; other panics are told as before.
pub fn silence_caught_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !IS_SHIELDED.get() {
            tell(panic);
        }
    }));
}

/// Runs code of the Parquet crate, and returns a panic as an error. Values passed to it mutably must not be used after
/// an error.
pub(crate) fn shield<T, E: Display>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    let before = IS_SHIELDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_SHIELDED.set(before);
    match done {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("it is damaged ({})", message(panic.as_ref()))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
