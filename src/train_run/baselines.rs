//! Scores that an agent is compared with: of itself before training, of other policies, and of its log.

use palestra_envs::baseline::{self, Baseline};
use palestra_envs::policies::{BaselinePolicy, Random, Scripted};
use palestra_envs::{Env, EnvSpec, Registry};
use palestra_report::Reference;

use super::report::LogSummary;
use crate::Result;
use crate::agent::AgentSpec;
use crate::config::RunFile;

/// Scores that the agent is compared with.
pub(super) struct Baselines {
    /// Log that it learned from.
    pub logged: Option<LogSummary>,
    /// The agent before training.
    pub before: Option<Baseline>,
    /// A random policy, if the environment lists legal actions.
    pub random: Option<Baseline>,
    /// The environment's scripted policy, if it has one.
    pub scripted: Option<Baseline>,
    /// Spec of the environment, if the run has one.
    pub spec: Option<EnvSpec>,
}

impl Baselines {
    /// Plays the environment of the run, if it has one, as a random and as a scripted policy.
    pub fn measure(
        agent: &AgentSpec,
        registry: &Registry,
        before: Option<Baseline>,
        logged: Option<LogSummary>,
    ) -> Result<Self> {
        let run = &agent.run;
        let (Some(trained_in), Some(evaluated_in)) = (&run.env, run.evaluation_env()) else {
            return Ok(Self { logged, before, random: None, scripted: None, spec: None });
        };
        let mut env = registry.build(&evaluated_in)?;
        let spec = match *trained_in == evaluated_in {
            true => env.spec().clone(),
            false => registry.build(trained_in)?.spec().clone(),
        };
        // A program that fails this once is compared with no simple policy; the run itself tells its failures.
        let first = match env.reset(0) {
            Err(error) if error.episode_failure().is_some() => None,
            first => Some(first?),
        };
        let lists_actions = first.is_some_and(|first| first.legal_actions.is_some());
        let has_script = env.scripted_action().is_some();
        Ok(Self {
            logged,
            before,
            random: lists_actions.then(|| played_by(&mut *env, &mut Random, agent)).transpose()?,
            scripted: has_script.then(|| played_by(&mut *env, &mut Scripted, agent)).transpose()?,
            spec: Some(spec),
        })
    }

    /// Lines of comparison in the plot of returns.
    pub fn references(&self) -> Vec<Reference> {
        let reference = |name: &str, value: f64| Reference { name: name.to_string(), value };
        let references = [
            self.random.as_ref().map(|random| reference("random", random.mean_return)),
            self.logged.as_ref().map(|logged| reference("log", logged.mean_return)),
            self.spec.as_ref().and_then(|spec| spec.optimal_return).map(|optimum| reference("optimum", optimum)),
        ];
        references.into_iter().flatten().collect()
    }
}

/// Score of a policy, evaluated as the agent is.
fn played_by(env: &mut dyn Env, policy: &mut dyn BaselinePolicy, agent: &AgentSpec) -> Result<Baseline> {
    let RunFile { evaluation, seed, .. } = &agent.run;
    Ok(baseline::play_many(env, evaluation.episodes as u64, *seed, policy, &agent.rewards)?)
}
