//! Seeds of episodes and of their environments, so that a run's randomness depends on nothing else.

use palestra_datasets::shards::Shuffle;
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

/// Number of the first episode of an evaluation, so that none of them is one of training.
pub const FIRST_EVALUATION: u64 = 1 << 62;

/// The seed of the environment in episode `number` of a run, or in the group of that number.
///
/// It is [`episode_seed`], but for an environment that has a known number of tasks ([`EnvSpec::tasks`](crate::EnvSpec)):
/// the seed then chooses the task, so that a run goes through all tasks in an order of its seed before it meets one
/// again, and then through all of them in another order. An evaluation begins with the first task of its order.
///
/// ```
/// use palestra_envs::reset_seed;
/// let mut met: Vec<u64> = (0..10).map(|number| reset_seed(7, number, Some(10)) % 10).collect();
/// assert_ne!(met, Vec::from_iter(0..10));
/// met.sort();
/// assert_eq!(met, Vec::from_iter(0..10));
/// ```
pub fn reset_seed(run_seed: u64, number: u64, tasks: Option<u64>) -> u64 {
    let seed = episode_seed(run_seed, number);
    let Some(tasks) = tasks.filter(|&tasks| tasks > 0) else { return seed };
    let place = number % FIRST_EVALUATION;
    let order = Shuffle::new(tasks, !episode_seed(run_seed, place / tasks));
    // The last multiples of `tasks` are left out, as the sum could be too large.
    (seed / tasks).min((u64::MAX / tasks).saturating_sub(1)) * tasks + order.at(place % tasks)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pass_meets_every_task_once_in_an_order_of_its_own() {
        let pass = |run_seed: u64, first: u64| -> Vec<u64> {
            (first..first + 7).map(|number| reset_seed(run_seed, number, Some(7)) % 7).collect()
        };
        let passes = [pass(1, 0), pass(1, 7), pass(2, 0)];
        for pass in &passes {
            assert_eq!(pass.iter().collect::<BTreeSet<_>>().len(), 7, "{pass:?}");
        }
        assert!(passes[0] != passes[1] && passes[0] != passes[2], "{passes:?}");
        assert_eq!(pass(1, FIRST_EVALUATION), passes[0], "an evaluation begins at the beginning");
    }

    #[test]
    fn episodes_of_one_task_have_seeds_of_their_own() {
        let seeds: BTreeSet<u64> = (0..100).map(|number| reset_seed(3, number, Some(1))).collect();
        assert_eq!(seeds.len(), 100);
        assert_eq!(reset_seed(3, 5, None), episode_seed(3, 5));
        for tasks in [1, 2, u64::MAX / 2, u64::MAX] {
            assert!(reset_seed(3, 5, Some(tasks)) % tasks < tasks);
        }
    }
}
