//! Evaluation of an agent: episodes that training never saw, and the exact value of small games.

use palestra_envs::baseline::{Baseline, score};
use palestra_envs::exact::ExactValue;
use palestra_envs::{Env, FIRST_EVALUATION, Registry};
use serde::Serialize;

use super::AgentSpec;
use crate::Result;
use palestra_learn::collective::Collective;
use palestra_learn::rollout::{RolloutConfig, RolloutEvent, RolloutResult, gather_rollouts, reward_means};
use palestra_model::math::Sampling;
use palestra_model::{Module, Policy};

/// Result of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The environment's id.
    pub env_id: String,
    /// Scores of the policy; `policy` is its name.
    #[serde(flatten)]
    pub score: Baseline,
    /// Exact value of the policy, if the game is small enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<ExactValue>,
    /// Mean return of the best policy, if known.
    pub optimal_return: Option<f64>,
}

impl AgentSpec {
    /// Plays episodes that training never saw, and scores them; each rank plays its share. The results of each reward are among the numbers of
    /// `info`. Episodes that lack a reward count in none of the others.
    ///
    /// # Errors
    /// Errors of [`Rollout::play`](palestra_learn::rollout::Rollout::play), of any rank.
    pub fn evaluate(
        &self,
        policy: &Policy,
        registry: &Registry,
        episodes: u64,
        seed: u64,
        collective: &dyn Collective,
    ) -> Result<(Evaluation, Vec<RolloutResult>)> {
        let policy = policy.valid();
        let config = self.evaluation_rollout();
        let env = self.evaluation_env()?;
        let share = collective.share(episodes as usize);
        let mut rollout = self.rollout_in(&env, config, registry, share.len().clamp(1, 256))?;
        let numbers = FIRST_EVALUATION + share.start as u64..FIRST_EVALUATION + share.end as u64;
        let own = rollout.play(&policy, seed, numbers, &self.sampling());
        let (played, timings) = gather_rollouts(own, collective)?;
        let scored = played.iter().filter(|played| played.is_scored());
        let mut score = score(&self.run.name, scored.map(|played| (&played.episode, &played.info)));
        score.info.extend(reward_means(&played));
        let dropped = timings.dropped.iter().map(|(kind, count)| (format!("dropped_{kind}"), *count as f64));
        score.info.extend(dropped);
        let spec = registry.build(&env)?.spec().clone();
        let exact = if collective.rank() == 0 { self.exact_value(&policy, registry)? } else { None };
        Ok((Evaluation { env_id: spec.id, score, exact, optimal_return: spec.optimal_return }, played))
    }

    /// Evaluates the policy as [`AgentSpec::evaluate`] does, if the run names an environment.
    ///
    /// # Errors
    /// As [`AgentSpec::evaluate`].
    pub fn try_evaluate(
        &self,
        policy: &Policy,
        registry: &Registry,
        episodes: u64,
        seed: u64,
        collective: &dyn Collective,
    ) -> Result<Option<(Evaluation, Vec<RolloutResult>)>> {
        self.run.env.as_ref().map(|_| self.evaluate(policy, registry, episodes, seed, collective)).transpose()
    }

    /// Plays further episodes of a policy one after the other, and shows each turn.
    ///
    /// # Errors
    /// Errors of [`Rollout::play`](palestra_learn::rollout::Rollout::play) or of the watcher.
    pub fn watch(
        &self,
        policy: &Policy,
        registry: &Registry,
        seed: u64,
        episodes: u64,
        watch: &mut dyn FnMut(u64, RolloutEvent, &dyn Env) -> Result<()>,
    ) -> Result<Vec<RolloutResult>> {
        let config = self.evaluation_rollout();
        let mut rollout = self.rollout_in(&self.evaluation_env()?, config, registry, 1)?;
        let numbers = FIRST_EVALUATION..FIRST_EVALUATION + episodes;
        Ok(rollout.play_watched(policy, seed, numbers, &self.sampling(), watch)?.0)
    }

    /// Settings of rollouts in an evaluation: each episode begins in a state of its own, and the reward is that of the
    /// environment and the reward functions.
    fn evaluation_rollout(&self) -> RolloutConfig {
        RolloutConfig { group: 1, missing_end_penalty: 0.0, ..self.run.rollout.clone() }
    }

    /// Sampling of an evaluation.
    pub fn sampling(&self) -> Sampling {
        if self.run.evaluation.greedy { Sampling::GREEDY } else { self.run.rollout.sampling }
    }

    /// Exact value of the policy as [`AgentSpec::evaluate`] plays it, if the game is small enough and the policy reads
    /// turns alone and writes only listed actions.
    fn exact_value(&self, policy: &Policy, registry: &Registry) -> Result<Option<ExactValue>> {
        if self.run.learner.config.return_to_go().is_some() {
            return Ok(None);
        }
        self.evaluation_policy(policy, self.sampling().temperature, 0.0)?.exact_value(
            registry,
            &self.evaluation_env()?,
            1.0,
        )
    }
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Baseline { policy, episodes, mean_return, standard_error, mean_turns, invalid_action_rate, info } =
            &self.score;
        write!(f, "{}: {policy} has a mean return of {mean_return:.4} +- {standard_error:.4}", self.env_id)?;
        if let Some(optimum) = self.optimal_return {
            write!(f, " (optimum {optimum:.4})")?;
        }
        write!(f, " over {episodes} episodes; {mean_turns:.1} turns each, ")?;
        write!(f, "{:.1} % invalid actions", 100.0 * invalid_action_rate)?;
        for (name, mean) in info.iter().filter(|(name, _)| *name != "turns") {
            write!(f, ", {name} {mean:.3}")?;
        }
        if let Some(exact) = &self.exact {
            write!(f, "\nby calculation, the policy's expected return is {:.4}", exact.expected_return)?;
            for (name, probability) in &exact.ends {
                write!(f, ", {name} {:.2} %", 100.0 * probability)?;
            }
        }
        Ok(())
    }
}
