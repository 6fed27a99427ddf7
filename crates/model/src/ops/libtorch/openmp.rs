//! The threads that libtorch's own operations run on.
//!
//! They are OpenMP's. After an operation they look for the next one for some milliseconds, each on a processor, so that threads of
//! another pool would wait for these processors. Where libtorch has another OpenMP than GCC's, rayon's threads serve; and where other
//! programs compute too: a thread that does not sleep gets its turn last, and the others wait for it.

use std::any::Any;
use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::ops::loops::on_rayon;

/// Calls a function with an address on so many threads, and waits for all; the last number is of no use here.
type Parallel = unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);
type Count = unsafe extern "C" fn() -> c_int;

/// Functions of GCC's OpenMP, libgomp, which compiled programs call.
struct Gomp {
    /// `GOMP_parallel`
    parallel: Parallel,
    /// `omp_get_thread_num`
    thread: Count,
    /// `omp_get_num_threads`
    threads: Count,
}

static GOMP: LazyLock<Option<Gomp>> = LazyLock::new(Gomp::find);

impl Gomp {
    /// That which libtorch has brought into this process.
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "a library is asked for its functions")]
    fn find() -> Option<Self> {
        // SAFETY: the names end with 0, and the functions have had these forms since GCC 4.9.
        unsafe {
            let find = |name: &std::ffi::CStr| {
                let address = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
                (!address.is_null()).then_some(address)
            };
            Some(Self {
                parallel: std::mem::transmute::<*mut c_void, Parallel>(find(c"GOMP_parallel")?),
                thread: std::mem::transmute::<*mut c_void, Count>(find(c"omp_get_thread_num")?),
                threads: std::mem::transmute::<*mut c_void, Count>(find(c"omp_get_num_threads")?),
            })
        }
    }

    #[cfg(not(unix))]
    fn find() -> Option<Self> {
        None
    }
}

/// Longest wait for the other threads, beyond the time of the caller's own share, that shows no other programs.
const PATIENCE: Duration = Duration::from_millis(1);

/// Time for which rayon serves then.
const REST: Duration = Duration::from_millis(100);

thread_local! {
    static RESTS_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Work that the threads share.
struct Region<'a> {
    gomp: &'a Gomp,
    count: usize,
    work: &'a (dyn Fn(usize) + Sync),
    /// Time at which the caller is done with its own share.
    caller_done: OnceLock<Instant>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The pool of OpenMP.
///
/// # Panics
/// If the function does.
#[expect(unsafe_code, reason = "a C library calls back")]
pub(super) fn on_openmp(count: usize, work: &(dyn Fn(usize) + Sync)) {
    let Some(gomp) = &*GOMP else { return on_rayon(count, work) };
    let began = Instant::now();
    if RESTS_UNTIL.get().is_some_and(|until| began < until) {
        return on_rayon(count, work);
    }
    let region = Region { gomp, count, work, caller_done: OnceLock::new(), panic: Mutex::new(None) };
    // SAFETY: the region is shared by the threads alone, which are done when the call returns.
    unsafe { (gomp.parallel)(enter, (&raw const region).cast_mut().cast(), count as c_uint, 0) };
    let all_done = Instant::now();
    let caller_done = region.caller_done.get().copied().unwrap_or(all_done);
    if all_done - caller_done > PATIENCE + (caller_done - began) {
        RESTS_UNTIL.set(Some(all_done + REST));
    }
    if let Some(panic) = region.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(panic);
    }
}

/// One thread's share of a [`Region`].
#[expect(unsafe_code, reason = "a C library calls back")]
unsafe extern "C" fn enter(region: *mut c_void) {
    // SAFETY: `on_openmp` gives the address of a region, which outlives the call; the functions may be called anywhere.
    let (region, first, threads) = unsafe {
        let region = &*region.cast_const().cast::<Region>();
        (region, (region.gomp.thread)() as usize, (region.gomp.threads)() as usize)
    };
    // There may be fewer threads than were asked for.
    let share = || (first..region.count).step_by(threads).for_each(region.work);
    let result = catch_unwind(AssertUnwindSafe(share));
    if first == 0 {
        let _ = region.caller_done.set(Instant::now());
    }
    if let Err(panic) = result {
        *region.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn libtorch_brings_openmp() {
        assert!(GOMP.is_some());
    }

    #[test]
    fn each_number_is_worked_on_once() {
        let counts: [AtomicUsize; 9] = Default::default();
        on_openmp(9, &|number| {
            counts[number].fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(counts.map(AtomicUsize::into_inner), [1; 9]);
    }

    #[test]
    #[should_panic(expected = "the fourth")]
    fn a_panic_is_the_callers() {
        on_openmp(5, &|number| assert!(number != 3, "the fourth"));
    }
}
