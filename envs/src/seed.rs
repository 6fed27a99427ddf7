//! Where an episode's seed comes from: one function, so that a run's randomness depends on nothing else.

/// The seed of one episode of a run: `mix(mix(run_seed) ^ episode)`, with the output function of SplitMix64
/// (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, 2014).
///
/// The mixing is a bijection of `episode`, so that no two episodes of a run share a seed; and since it knows only the
/// episode's number, neither batch size nor the order of play changes what an episode is.
///
/// ```
/// use palestra_envs::episode_seed;
/// assert_eq!(episode_seed(7, 3), episode_seed(7, 3));
/// assert_ne!(episode_seed(7, 3), episode_seed(3, 7));
/// ```
pub const fn episode_seed(run_seed: u64, episode: u64) -> u64 {
    mix(mix(run_seed) ^ episode)
}

const fn mix(state: u64) -> u64 {
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
        // The first output of the reference implementation for the state 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }
}
