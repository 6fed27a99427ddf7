use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use palestra_datasets::log::{EpisodePlace, Located, Log};
use palestra_datasets::{Episode, Turn};

use super::importance::OffPolicyEpisode;
use super::{EstimateConfig, Method};
use crate::agent::EvaluationPolicy;
use crate::{Error, Result};

/// Bytes of text read at once.
const PORTION: usize = 4 << 20;

/// Contents of a log that the methods need. Its texts are not kept.
#[derive(Default)]
pub struct Recorded {
    /// Finished episodes, without log-ratios if [`no_ratios`](Self::no_ratios) is set.
    pub episodes: Vec<OffPolicyEpisode>,
    /// Reason why there is no importance sampling.
    pub no_ratios: Option<String>,
    /// Reason why there is no fitted Q evaluation.
    pub no_values: Option<String>,
    /// Distinct states that episodes begin in.
    pub first_states: Vec<FirstState>,
    /// Place of each episode in the log, with the index of its first state.
    pub begins: Vec<(EpisodePlace, usize)>,
    /// Number of episodes that were cut off while they ran, so that their returns are unknown.
    pub cut: usize,
    /// Id and definition of the environment, if all episodes have the same.
    pub environment: Option<(String, Option<String>)>,
}

/// Tokens that the policy reads before its first action token, and the tokens that it can write.
pub type FirstState = (Vec<u32>, Option<Arc<[u32]>>);

impl Recorded {
    /// Reads a log once.
    pub fn read(log: &Log, policy: &mut EvaluationPolicy, config: &EstimateConfig) -> Result<Self> {
        let wants_ratios = config.methods.iter().any(|method| *method != Method::Fqe);
        let wants_values = config.methods.contains(&Method::Fqe);
        let mut recorded = Self::default();
        let mut states = HashMap::new();
        let mut environments = Vec::new();
        for group in log.groups() {
            let file = &log.files()[group.file];
            let unreadable = |error: Error| Error::Data(format!("{}: {error}", file.display()));
            for portion in log.read_chunks(group, PORTION) {
                let mut episodes = Vec::new();
                for Located { episode, place } in portion? {
                    if episode.end.is_none() {
                        recorded.cut += 1;
                        continue;
                    }
                    let environment = (episode.env_id.clone(), episode.env_spec.clone());
                    if environments.len() < 2 && !environments.contains(&environment) {
                        environments.push(environment);
                    }
                    if wants_values {
                        recorded.begin(&episode, place, file, policy, &mut states).map_err(unreadable)?;
                    }
                    if wants_ratios && recorded.no_ratios.is_none() {
                        recorded.no_ratios = unknown_probability(&episode, place, file);
                    }
                    episodes.push(episode);
                }
                let has_ratios = wants_ratios && recorded.no_ratios.is_none();
                let evaluated = if has_ratios { policy.log_probs(&episodes).map_err(unreadable)? } else { Vec::new() };
                let mut evaluated = evaluated.into_iter();
                recorded.episodes.extend(episodes.iter().map(|episode| {
                    let evaluated = evaluated.next().unwrap_or_default();
                    let of_turn = |(turn, evaluated): (&Turn, f64)| evaluated - log_prob(turn);
                    OffPolicyEpisode {
                        log_ratios: episode.turns.iter().zip(evaluated).map(of_turn).collect(),
                        rewards: episode.turns.iter().map(|turn| turn.reward.into()).collect(),
                    }
                }));
            }
        }
        if recorded.episodes.is_empty() {
            return Err(Error::Data(format!(
                "{}: there is no finished episode to estimate from",
                log.files().iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
            )));
        }
        recorded.environment = environments.pop().filter(|_| environments.is_empty());
        Ok(recorded)
    }

    /// Adds an episode's first state, and checks that fitted Q evaluation can mix random actions into its turns.
    fn begin(
        &mut self,
        episode: &Episode,
        place: EpisodePlace,
        file: &Path,
        policy: &mut EvaluationPolicy,
        states: &mut HashMap<FirstState, usize>,
    ) -> Result<()> {
        let trajectory = policy.encoder.trajectory(episode)?;
        let Some(first) = trajectory.segments.first() else { return Ok(()) };
        let state = (first.tokens[..first.actions[0].at].to_vec(), first.actions[0].allowed.clone());
        let index = match states.entry(state) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.first_states.push(new.key().clone());
                *new.insert(self.first_states.len() - 1)
            }
        };
        self.begins.push((place, index));
        if policy.tokens.epsilon > 0.0 && self.no_values.is_none() {
            let mut last = None;
            let wrong = trajectory
                .actions()
                .find(|action| action.allowed.is_none() || last.replace(action.turn) == Some(action.turn));
            self.no_values = wrong.map(|action| {
                let what = if action.allowed.is_none() { "is none of legal_actions" } else { "has several tokens" };
                format!(
                    "{}: row {}: the action {:?} {what}; fitted Q evaluation goes by tokens, and mixes random actions \
                     in (epsilon) only where each legal action is one token",
                    file.display(),
                    place.row + action.turn as u64,
                    episode.turns[action.turn].action
                )
            });
        }
        Ok(())
    }
}

/// Log-probability of a turn's action under the recorded policy.
fn log_prob(turn: &Turn) -> f64 {
    turn.log_probs.iter().flatten().map(|&log_prob| f64::from(log_prob)).sum()
}

/// Reason why the probability of this episode under the recorded policy is unknown, if it is.
fn unknown_probability(episode: &Episode, place: EpisodePlace, file: &Path) -> Option<String> {
    let at = |turn: usize| format!("{}: row {}", file.display(), place.row + turn as u64);
    if let Some(turn) = episode.turns.iter().position(|turn| turn.log_probs.is_none()) {
        return Some(format!(
            "{}: there are no log_probs, so that nobody knows how likely the recorded policy was to write the action",
            at(turn)
        ));
    }
    let top_p = episode.top_p.filter(|top_p| *top_p < 1.0)?;
    Some(format!(
        "{}: top_p: with {top_p} nobody knows whether log_probs are those before or after the cut, of which only the \
         latter tell how likely the action was",
        at(0)
    ))
}
