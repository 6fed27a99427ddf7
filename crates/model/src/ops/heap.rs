//! The C library's heap for tensors: on huge pages, kept from step to step, and without holes that nothing fits into.
//!
//! A step makes and frees the same arrays as the one before. By default the C library gives them back to the system at the end of
//! each step, which then clears them anew, in pages of 4 KiB, of which a processor knows too few addresses at once.
//!
//! libtorch asks `posix_memalign` for its arrays. The C library's own looks for as many bytes as the array has and the alignment
//! may cost, so that the place of an array that was freed is too small for the next of its size, and the heap grows:
//! fine-tuning SmolLM2-135M took 3.2 GB in place of 2.8. [`glibc::posix_memalign`] stands in its place.

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

    /// Arrays of so many bytes that do not fit there come from the system one by one, and go back: the heap would get holes of that size.
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

    /// Bytes from which an array is looked for by its size first.
    #[cfg(feature = "libtorch")]
    const ARRAY_BYTES: usize = 64 << 10;

    /// Alignment that libtorch asks for. An array takes a multiple of it, so that the place of another has it, unless small
    /// things are in between.
    #[cfg(feature = "libtorch")]
    const ALIGNMENT: usize = 64;

    /// Length of a block, which stands before it.
    #[cfg(feature = "libtorch")]
    const WORD: usize = size_of::<usize>();

    /// The C library's function of this name, for this program and the libraries that it loads.
    ///
    /// # Safety
    /// As POSIX says: `place` can be written, and `free` ends what it gives.
    #[cfg(feature = "libtorch")]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn posix_memalign(
        place: *mut *mut libc::c_void,
        alignment: usize,
        bytes: usize,
    ) -> libc::c_int {
        if !alignment.is_power_of_two() || !alignment.is_multiple_of(WORD) {
            return libc::EINVAL;
        }
        let found = aligned(alignment, bytes);
        if found.is_null() {
            return libc::ENOMEM;
        }
        // SAFETY: the caller vouches for it.
        unsafe { *place = found };
        0
    }

    /// A block of the heap; null if there is no memory.
    #[cfg(feature = "libtorch")]
    fn aligned(alignment: usize, bytes: usize) -> *mut libc::c_void {
        let is_array = alignment <= ALIGNMENT && bytes >= ARRAY_BYTES;
        let whole = bytes.checked_add(WORD).and_then(|bytes| bytes.checked_next_multiple_of(ALIGNMENT));
        let Some(whole) = whole.filter(|_| is_array).map(|whole| whole - WORD) else {
            // SAFETY: any size is right, and the caller checked the alignment.
            return unsafe { libc::memalign(alignment, bytes) };
        };
        // SAFETY: as above; a block that is freed is not used.
        unsafe {
            let found = libc::malloc(whole);
            if found.is_null() || found.addr().is_multiple_of(alignment) {
                return found;
            }
            libc::free(found);
            libc::memalign(alignment, whole)
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

#[cfg(all(test, feature = "libtorch", target_os = "linux", target_env = "gnu"))]
mod tests {
    use burn::tensor::Tensor;

    use crate::ops::memory::Numbers;
    use crate::ops::open_device;

    #[test]
    fn an_array_takes_the_place_of_another_of_its_size() {
        let device = open_device("libtorch").unwrap();
        let array = || Tensor::<1>::zeros([(2 << 20) + 5], &device);
        let address = |tensor: &Tensor<1>| Numbers::of(tensor.clone()).as_ptr().addr();
        let arrays: Vec<Tensor<1>> = (0..9).map(|_| array()).collect();
        let places: Vec<usize> = arrays.iter().map(address).collect();
        assert!(places.iter().all(|place| place % 64 == 0));
        let kept: Vec<Tensor<1>> = arrays.into_iter().step_by(2).collect(); // every other one is free, between two others
        let again: Vec<Tensor<1>> = (0..4).map(|_| array()).collect();
        assert!(again.iter().all(|tensor| places.contains(&address(tensor))), "{places:x?}");
        drop(kept);
    }
}
