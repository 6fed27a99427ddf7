//! Mixing function for seeds and hashes.

/// The output function of SplitMix64 (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, 2014,
/// [doi](https://doi.org/10.1145/2714064.2660195)): a bijection in which every bit of the state affects every bit of
/// the output.
pub const fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_as_splitmix64_does() {
        // The first output of the reference implementation for state 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }
}
