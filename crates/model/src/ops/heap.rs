//! The C library's heap for tensors: on huge pages, and kept from step to step.
//!
//! A step makes and frees the same arrays as the one before. By default the C library gives them back to the system at the end of
//! each step, which then clears them anew, in pages of 4 KiB, of which a processor knows too few addresses at once.

/// Sets up the heap of the main thread, once. Where the system has no huge pages, bounds addresses, or has another C library, it
/// stays as it was.
pub(super) fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        static PREPARED: std::sync::Once = std::sync::Once::new();
        PREPARED.call_once(glibc::prepare);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's heap has no safe interface")]
mod glibc {
    /// Addresses that are on huge pages. They take no memory before they are used.
    const HUGE_BYTES: usize = 4 << 30;

    const HUGE_PAGE_BYTES: usize = 2 << 20;

    /// Arrays of so many bytes come from the system one by one, and go back: the heap would get holes of that size.
    const APART_BYTES: i32 = 32 << 20;

    /// Most of these arrays at once: the C library's own number.
    const APART_COUNT: i32 = 65_536;

    pub fn prepare() {
        if !may_reserve() {
            return;
        }
        // SAFETY: `mallopt` sets numbers of the allocator. The block is ours between `malloc` and `free`, and the advice is on whole
        // pages inside it.
        unsafe {
            libc::mallopt(libc::M_TRIM_THRESHOLD, -1); // what is free stays in the heap
            // A block of any length is in the heap now, which grows by it.
            libc::mallopt(libc::M_MMAP_MAX, 0);
            let block = libc::malloc(HUGE_BYTES);
            if !block.is_null() {
                let skipped = block.align_offset(HUGE_PAGE_BYTES);
                libc::madvise(block.byte_add(skipped), HUGE_BYTES - HUGE_PAGE_BYTES, libc::MADV_HUGEPAGE);
            }
            libc::free(block);
            libc::mallopt(libc::M_MMAP_MAX, APART_COUNT);
            libc::mallopt(libc::M_MMAP_THRESHOLD, APART_BYTES);
        }
    }

    /// False if addresses are bounded, or count as memory before they are used.
    fn may_reserve() -> bool {
        let is_unbounded = |resource| {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: `limit` is there to be written.
            unsafe { libc::getrlimit(resource, &mut limit) == 0 && limit.rlim_cur == libc::RLIM_INFINITY }
        };
        let counts_unused =
            std::fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() == "2");
        is_unbounded(libc::RLIMIT_AS) && is_unbounded(libc::RLIMIT_DATA) && !counts_unused
    }
}
