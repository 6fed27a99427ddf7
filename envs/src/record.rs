//! Plays episodes with any policy and records them in the format of the experience log.

use std::ops::Range;

pub use palestra_datasets::RULES;
use palestra_datasets::{End, Episode, Turn};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::policies::BaselinePolicy;
use crate::{Definition, Env, Info, Observation, Registry, Result, episode_seed, reset_seed};

/// Plays the episodes of these numbers of a run, one for each item of the iterator, with all columns of the experience
/// log except times, splits and tokens.
///
/// An episode is determined by the definition, the policy, the run's seed and its number.
///
/// ```
/// use palestra_envs::policies::{Scripted, mix};
/// use palestra_envs::{Definition, Registry, record::record};
/// let (registry, mut policy) = (Registry::builtin(), mix(0.85, Scripted)?);
/// for episode in record(&registry, &Definition::named("double-t-maze"), 0..3, 7, &mut policy)? {
///     let episode = episode?;
///     assert_eq!((episode.policy_id.as_str(), episode.seed.is_some()), ("scripted+0.85 random", true));
///     assert_eq!(episode.turns[0].log_probs.as_ref().map(Vec::len), Some(1));
/// }
/// # Ok::<(), palestra_envs::Error>(())
/// ```
///
/// # Errors
/// An environment that cannot be built; an item is an error if the policy or the environment fails.
pub fn record<'a>(
    registry: &Registry,
    definition: &Definition,
    numbers: Range<u64>,
    run_seed: u64,
    policy: &'a mut dyn BaselinePolicy,
) -> Result<impl Iterator<Item = Result<Episode>> + 'a> {
    let definition = registry.resolve(definition)?;
    let mut env = registry.build(&definition)?;
    let env_spec = serde_json::to_string(&definition).expect("a definition has no maps with keys that are no text");
    Ok(numbers.map(move |number| {
        let (episode, _) = play_number(&mut *env, run_seed, number, policy)?;
        let Episode { env_id, policy_id, .. } = &episode;
        let id = format!("{env_id}/{policy_id}/{run_seed}/{number}");
        Ok(Episode { id, env_spec: Some(env_spec.clone()), reward_source: Some(RULES.to_string()), ..episode })
    }))
}

/// Plays one episode of a run. The policy's random stream is independent of the environment's.
pub(crate) fn play_number(
    env: &mut dyn Env,
    run_seed: u64,
    number: u64,
    policy: &mut dyn BaselinePolicy,
) -> Result<(Episode, Info)> {
    let mut rng = ChaCha8Rng::seed_from_u64(episode_seed(!run_seed, number));
    let seed = reset_seed(run_seed, number, env.spec().tasks);
    play(env, seed, policy, &mut rng)
}

/// Plays the episode of a seed; returns it with the info of its last state.
///
/// # Errors
/// Any error of the policy or the environment.
pub fn play(
    env: &mut dyn Env,
    seed: u64,
    policy: &mut dyn BaselinePolicy,
    rng: &mut dyn Rng,
) -> Result<(Episode, Info)> {
    let env_id = env.spec().id.clone();
    let mut episode = Episode {
        id: format!("{env_id}/{seed}"),
        env_id,
        seed: Some(seed),
        policy_id: policy.name(),
        ..Episode::default()
    };
    let mut observation = env.reset(seed)?;
    while episode.end.is_none() {
        let choice = policy.act(env, &observation, rng)?;
        let step = env.step(&choice.action)?;
        episode.turns.push(Turn {
            observation: observation.content,
            action: choice.action,
            reward: step.reward,
            legal_actions: observation.legal_actions.map(|legal| legal.to_vec()),
            invalid_action: step.invalid_action,
            log_probs: choice.log_prob.map(|log_prob| vec![log_prob as f32]),
            info: info_json(&step.observation.info),
            ..Turn::default()
        });
        episode.end = step.end;
        observation = step.observation;
    }
    episode.end_reason = Some(end_reason(&episode, &observation, env.spec().max_turns));
    episode.final_observation = Some(observation.content);
    Ok((episode, observation.info))
}

/// Reason for the end of an episode: the environment's `outcome`, if it reports one.
pub fn end_reason(episode: &Episode, last: &Observation, limit: Option<u32>) -> String {
    let told = last.info.get("outcome").and_then(|outcome| outcome.as_str());
    let reason = told.unwrap_or(match episode.end {
        Some(End::Terminated) => "terminated",
        _ if limit.is_some_and(|limit| episode.turns.len() >= limit as usize) => "limit",
        _ => "truncated",
    });
    reason.to_string()
}

/// Info as a JSON object for the log; `None` if it is empty.
pub fn info_json(info: &Info) -> Option<String> {
    (!info.is_empty()).then(|| serde_json::to_string(info).expect("it is JSON"))
}
