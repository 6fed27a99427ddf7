//! Scores of a run's model, which all ranks compute together: of the episodes that it plays, and on held-out data.

use palestra_envs::Registry;
use palestra_model::Policy;

use super::held_out::{HeldOut, HeldOutScore};
use crate::Result;
use crate::agent::{AgentSpec, Evaluation};
use crate::config::TrainConfig;
use palestra_learn::collective::Collective;
use palestra_learn::rollout::RolloutResult;

/// Scores of a model.
pub(super) struct Scores {
    /// Evaluation in the run's environment.
    pub play: Option<Evaluation>,
    /// Episodes of it.
    pub played: Vec<RolloutResult>,
    /// Score on held-out data.
    pub held_out: Option<HeldOutScore>,
}

impl Scores {
    /// Computes the scores of a policy. All ranks call it, and each gets the scores over all.
    ///
    /// # Errors
    /// An environment that fails; a rank that takes no part.
    pub fn of(
        agent: &AgentSpec,
        policy: &Policy,
        registry: &Registry,
        held_out: Option<&HeldOut>,
        collective: &dyn Collective,
    ) -> Result<Self> {
        let (episodes, seed) = (agent.run.evaluation.episodes as u64, agent.run.seed);
        let (play, played) = agent.try_evaluate(policy, registry, episodes, seed, collective)?.unzip();
        let held_out = held_out.map(|held_out| held_out.score(policy, collective)).transpose()?;
        Ok(Self { play, played: played.unwrap_or_default(), held_out })
    }
}

/// Work that follows an update on all ranks.
#[derive(Clone, Copy)]
pub(super) struct Due {
    /// The model is evaluated.
    pub evaluation: bool,
    /// `train.checkpoint_every` asks for a checkpoint.
    pub checkpoint: bool,
    /// A checkpoint is saved, and not yet.
    pub saving: bool,
}

impl Due {
    /// Work after update `done`, which is reported as in [`TrainProgress`](palestra_learn::train::TrainProgress).
    pub fn after(done: u64, is_new: bool, is_last: bool, train: &TrainConfig) -> Self {
        let checkpoint = done.is_multiple_of(train.checkpoint_every);
        let evaluation = is_new && train.evaluate_every.is_some_and(|every| done.is_multiple_of(every));
        Self { evaluation, checkpoint, saving: (is_last || checkpoint) && (is_new || !checkpoint) }
    }
}
