//! Seeds of episodes: one function, so that a run's randomness depends on nothing else.

use palestra_datasets::split_mix::mix;

/// The seed of one episode of a run: `mix(mix(run_seed) ^ episode)`, with the output function of SplitMix64 (Steele,
/// Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, 2014).
///
/// The mixing is a bijection of `episode`, so that no two episodes of a run share a seed. It depends only on the
/// episode's number, so neither batch size nor the order of episodes changes an episode.
///
/// ```
/// use palestra_envs::episode_seed;
/// assert_eq!(episode_seed(7, 3), episode_seed(7, 3));
/// assert_ne!(episode_seed(7, 3), episode_seed(3, 7));
/// ```
pub const fn episode_seed(run_seed: u64, episode: u64) -> u64 {
    mix(mix(run_seed) ^ episode)
}
