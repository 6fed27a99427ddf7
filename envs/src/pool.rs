//! Several instances of one environment, stepped together by a policy that answers in batches.

use crate::{Definition, Env, EnvSpec, Observation, Registry, Result, Step};

/// Instances of one environment in numbered slots, each playing one episode at a time.
///
/// Slots are independent: an episode does not depend on its slot or on the other slots.
///
/// ```
/// use palestra_envs::{Definition, Pool, Registry, episode_seed};
/// let mut pool = Pool::new(&Registry::builtin(), &Definition::named("frozen-lake-4x4"), 2)?;
/// for slot in 0..pool.len() {
///     pool.reset(slot, episode_seed(1, slot as u64))?;
/// }
/// for step in pool.step(&[(0, "right"), (1, "down")]) {
///     assert!(!step?.invalid_action);
/// }
/// # Ok::<(), palestra_envs::Error>(())
/// ```
pub struct Pool {
    envs: Vec<Box<dyn Env>>,
}

impl Pool {
    /// Builds `slots` instances of one definition, at least 1.
    ///
    /// # Errors
    /// As [`Registry::build`].
    pub fn new(registry: &Registry, definition: &Definition, slots: usize) -> Result<Self> {
        let definition = registry.resolve(definition)?;
        let envs = (0..slots.max(1)).map(|_| registry.build(&definition)).collect::<Result<_>>()?;
        Ok(Self { envs })
    }

    /// The number of slots, never 0.
    #[expect(clippy::len_without_is_empty, reason = "a pool is never empty")]
    pub fn len(&self) -> usize {
        self.envs.len()
    }

    /// Spec of each environment.
    pub fn spec(&self) -> &EnvSpec {
        self.envs[0].spec()
    }

    /// Starts a new episode in a slot; the slot's previous episode is abandoned.
    pub fn reset(&mut self, slot: usize, seed: u64) -> Result<Observation> {
        self.envs[slot].reset(seed)
    }

    /// Announces resets, so that environments outside of this process work on all of them at once. A
    /// [`reset`](Self::reset) of each slot follows.
    pub fn begin_resets(&mut self, seeds: impl IntoIterator<Item = (usize, u64)>) {
        seeds.into_iter().for_each(|(slot, seed)| self.envs[slot].begin_reset(seed));
    }

    /// Plays one action in each of the given slots, at once where environments are outside of this process. The results
    /// are in the order of the slots. A failure in one slot leaves the others as they are.
    pub fn step(&mut self, actions: &[(usize, &str)]) -> Vec<Result<Step>> {
        actions.iter().for_each(|&(slot, action)| self.envs[slot].begin_step(action));
        actions.iter().map(|&(slot, action)| self.envs[slot].step(action)).collect()
    }

    /// The environment of a slot, for its rendering and its scripted policy.
    pub fn env(&self, slot: usize) -> &dyn Env {
        &*self.envs[slot]
    }
}
