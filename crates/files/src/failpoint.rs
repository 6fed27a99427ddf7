//! Failures of the disk that a test asks for: every write, sync and rename of this crate is counted, and one of them fails.
//!
//! With the feature `failpoints` the variable `PALESTRA_FAIL` says which: `7:ENOSPC`, `7:EIO`, `7:EROFS`, or `7:SHORT`, for a
//! write of half of its bytes before the disk is full. Without the feature nothing of it is there.

/// Counts a step that may fail.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach() -> std::io::Result<()> {
    Ok(())
}

/// Counts a write of so many bytes, and returns how many are written.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach_write(length: usize) -> std::io::Result<usize> {
    Ok(length)
}

#[cfg(feature = "failpoints")]
pub(crate) use counted::{reach, reach_write};

#[cfg(feature = "failpoints")]
mod counted {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The step that fails, and how.
    struct Failure {
        step: u64,
        code: i32,
        is_short: bool,
    }

    static STEPS: AtomicU64 = AtomicU64::new(0);

    pub(crate) fn reach() -> io::Result<()> {
        reach_write(1).map(|_| ())
    }

    pub(crate) fn reach_write(length: usize) -> io::Result<usize> {
        static FAILURE: OnceLock<Option<Failure>> = OnceLock::new();
        let step = STEPS.fetch_add(1, Ordering::SeqCst) + 1;
        match FAILURE.get_or_init(wanted) {
            Some(failure) if failure.is_short && step == failure.step && length > 1 => Ok(length / 2),
            // What follows a short write is the error that says why.
            Some(failure) if step == failure.step + u64::from(failure.is_short) => {
                Err(io::Error::from_raw_os_error(failure.code))
            }
            _ => Ok(length),
        }
    }

    fn wanted() -> Option<Failure> {
        let text = std::env::var("PALESTRA_FAIL").ok()?;
        let (step, kind) = text.split_once(':')?;
        // The numbers of Linux, macOS and the BSDs.
        let code = match kind {
            "EIO" => 5,
            "EROFS" => 30,
            _ => 28,
        };
        Some(Failure { step: step.parse().ok()?, code, is_short: kind == "SHORT" })
    }
}
