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
/// let steps = pool.step(&[(0, "right"), (1, "down")])?;
/// assert_eq!(steps.len(), 2);
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

    /// Plays one action in each of the given slots, in their order.
    ///
    /// # Errors
    /// A slot in which no episode is running. The actions before it have been played.
    pub fn step(&mut self, actions: &[(usize, &str)]) -> Result<Vec<Step>> {
        actions.iter().map(|&(slot, action)| self.envs[slot].step(action)).collect()
    }

    /// The environment of a slot, for its rendering and its scripted policy.
    pub fn env(&self, slot: usize) -> &dyn Env {
        &*self.envs[slot]
    }
}
