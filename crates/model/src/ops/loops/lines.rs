/// Numbers in a line of the processor's cache.
const NUMBERS: usize = 16;

/// Memory whose first number begins a line of the processor's cache, so that no vector stands in two.
#[derive(Default)]
pub(crate) struct Lines(Vec<f32>);

impl Lines {
    /// So many numbers, of any value.
    pub(super) fn numbers(&mut self, count: usize) -> &mut [f32] {
        if self.0.len() < count + NUMBERS {
            self.0.resize(count + NUMBERS, 0.0);
        }
        let start = self.0.as_ptr().align_offset(NUMBERS * size_of::<f32>()).min(NUMBERS);
        &mut self.0[start..][..count]
    }
}

/// Asks for the bytes at an address to be brought into the nearest cache, where Rust has the processor's instruction for it.
#[inline(always)]
pub(super) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the instruction takes an address")]
    // SAFETY: it is a hint, and harmless whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
