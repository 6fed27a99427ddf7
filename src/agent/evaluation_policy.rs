use std::collections::HashMap;
use std::sync::Arc;

use palestra_datasets::{Episode, Turn};
use palestra_envs::exact::ExactValue;
use palestra_envs::policies::{mixture_log_prob, random_log_prob};
use palestra_envs::{Definition, Observation, Registry};
use palestra_model::Module;
use palestra_model::TensorData;
use palestra_settings::{Range, check_ranges};

use super::AgentSpec;
use crate::{Error, Result};
use palestra_learn::batch::{Chunk, Next, TransitionBatch};
use palestra_learn::encoder::{Context, Encoder};
use palestra_learn::learners::offline::TokenPolicy;
use palestra_learn::{Segment, Trajectory};
use palestra_model::Policy;

/// Rows per forward pass.
const ROWS: usize = 256;

/// Policy as it is evaluated: a model at a temperature, mixed with random legal actions, and the log-probabilities of
/// what it writes.
#[derive(Debug, Clone)]
pub struct EvaluationPolicy {
    /// Model with its temperature and the probability of a random legal action instead.
    pub tokens: TokenPolicy,
    /// Encoder of the model's input.
    pub encoder: Encoder,
}

/// Inputs that determine the log-probabilities of a segment's action tokens: its tokens, and each action's position and
/// allowed tokens.
type Written = (Vec<u32>, Vec<(usize, Option<Arc<[u32]>>)>);

impl AgentSpec {
    /// Returns this agent's policy for evaluation, with weights that may be of another update, at a temperature (0 is
    /// greedy) and with a random legal action with probability epsilon.
    ///
    /// # Errors
    /// A temperature or an epsilon that is out of range; a policy that is conditioned on a target return, which logs do
    /// not have.
    pub fn evaluation_policy(&self, policy: &Policy, temperature: f32, epsilon: f64) -> Result<EvaluationPolicy> {
        check_ranges("", &[("temperature", &temperature, Range::AT_LEAST_ZERO), ("epsilon", &epsilon, Range::UNIT)])?;
        if self.run.learner.config.return_to_go().is_some() {
            return Err(Error::Config(format!(
                "{}: [{}] plays by the return that it is asked for, and a log does not tell what it would have been \
                 asked; evaluate it by playing",
                self.run.name, self.run.learner.name
            )));
        }
        let tokens = TokenPolicy { policy: policy.valid(), temperature, epsilon };
        Ok(EvaluationPolicy { tokens, encoder: self.encoder()? })
    }
}

impl EvaluationPolicy {
    /// Log-probability of each turn's action under this policy; minus infinity for an action that it never writes. For
    /// an action that is neither listed nor given in this tokenizer's ids, it is the log-probability of the encoded
    /// text.
    ///
    /// # Errors
    /// An episode that the model cannot read; with epsilon above 0, a turn without legal actions.
    pub fn log_probs(&mut self, episodes: &[Episode]) -> Result<Vec<Vec<f64>>> {
        let (mut seen, mut distinct) = (HashMap::<Written, usize>::new(), Vec::new());
        let mut kinds: Vec<(Trajectory, Vec<usize>)> = Vec::with_capacity(episodes.len());
        for episode in episodes {
            let trajectory = self.encoder.trajectory(episode)?;
            let index = |segment: &Segment| {
                let actions = segment.actions.iter().map(|action| (action.at, action.allowed.clone()));
                *seen.entry((segment.tokens.clone(), actions.collect())).or_insert_with(|| {
                    distinct.push(segment.clone());
                    distinct.len() - 1
                })
            };
            let indices = trajectory.segments.iter().map(index).collect();
            kinds.push((trajectory, indices));
        }
        let known = self.score(&distinct);
        let of_episode = |(episode, (trajectory, segments)): (&Episode, (Trajectory, Vec<usize>))| {
            let mut own = vec![0.0; episode.turns.len()];
            for (segment, index) in trajectory.segments.iter().zip(segments) {
                for (action, log_prob) in segment.actions.iter().zip(&known[index]) {
                    let is_listed = action.allowed.is_some();
                    let has_list = episode.turns[action.turn].legal_actions.is_some();
                    let never = has_list && !is_listed && self.encoder.encoding().legal_actions_only;
                    own[action.turn] += if never { f64::NEG_INFINITY } else { *log_prob };
                }
            }
            let mixed = |(number, (turn, own)): (usize, (&Turn, f64))| {
                self.mixed(turn, own)
                    .ok_or_else(|| Error::Data(format!("episode {}, step {number}: {NO_LIST}", episode.id)))
            };
            episode.turns.iter().zip(own).enumerate().map(mixed).collect()
        };
        episodes.iter().zip(kinds).map(of_episode).collect()
    }

    /// Probabilities of each observation's legal actions, in their order, for a policy that reads each observation
    /// alone.
    ///
    /// # Errors
    /// An observation that the model cannot read, or that lists no actions; a policy that reads whole transcripts or
    /// writes what is not listed.
    pub fn action_probabilities(&mut self, observations: &[Observation]) -> Result<Vec<Vec<f64>>> {
        if !self.reads_turns_alone() {
            return Err(Error::Config(
                "rollout.context: only a policy of single observations and listed actions can be asked".into(),
            ));
        }
        // One turn per action. Turns are read alone, so they can share one episode.
        let every_action = |observation: &Observation| {
            let legal = observation.legal_actions.as_deref().unwrap_or_default();
            let turn = |action: &String| Turn {
                observation: observation.content.clone(),
                action: action.clone(),
                legal_actions: Some(legal.to_vec()),
                ..Turn::default()
            };
            Episode { turns: legal.iter().map(turn).collect(), ..Episode::default() }
        };
        let episodes: Vec<Episode> = observations.iter().map(every_action).collect();
        let mut probabilities = self.log_probs(&episodes)?;
        for of_one in &mut probabilities {
            of_one.iter_mut().for_each(|log_prob| *log_prob = log_prob.exp());
            let sum: f64 = of_one.iter().sum(); // 1, but for the rounding of the model's f32
            of_one.iter_mut().for_each(|probability| *probability /= sum);
        }
        Ok(probabilities)
    }

    /// Exact value of this policy, with rewards discounted per turn. `None` unless the game is small enough, and the
    /// policy reads turns alone and writes only listed actions.
    ///
    /// # Errors
    /// An unknown environment, or one whose observations the model cannot read.
    pub fn exact_value(
        &mut self,
        registry: &Registry,
        definition: &Definition,
        gamma: f64,
    ) -> Result<Option<ExactValue>> {
        if !self.reads_turns_alone() {
            return Ok(None);
        }
        let mut failed = None;
        let value = registry.exact_discounted_value(definition, gamma, &mut |observations| {
            self.action_probabilities(observations).map_err(|error| {
                let reason = error.to_string();
                failed = Some(error);
                palestra_envs::Error::Policy(reason)
            })
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(value?),
        }
    }

    fn reads_turns_alone(&self) -> bool {
        let encoding = self.encoder.encoding();
        encoding.context == Context::Observation && encoding.legal_actions_only
    }

    /// Log-probabilities of each segment's action tokens under the model alone.
    fn score(&self, segments: &[Segment]) -> Vec<Vec<f64>> {
        let mut scored = Vec::with_capacity(segments.len());
        let device = self.tokens.policy.transformer.device();
        for segments in segments.chunks(ROWS) {
            let (discounts, returns) = (Vec::new(), Vec::new());
            let return_discounts = vec![0.0; discounts.len()];
            let rows = Chunk { segments: segments.to_vec(), discounts, returns, return_discounts, next: Next::Unknown };
            let batch = TransitionBatch::new(&[rows], &device);
            let all = self.tokens.log_probs(&batch); // [tokens, vocab]
            let chosen: TensorData = all.gather(1, batch.targets.unsqueeze_dim(1)).into_data();
            let mut chosen = chosen
                .iter::<f32>()
                .map(|log_prob| if log_prob < IMPOSSIBLE { f64::NEG_INFINITY } else { log_prob.into() });
            scored.extend(segments.iter().map(|segment| chosen.by_ref().take(segment.actions.len()).collect()));
        }
        scored
    }

    /// Log-probability of a turn's action, random actions included; `None` if the turn does not list its legal actions.
    fn mixed(&self, turn: &Turn, own: f64) -> Option<f64> {
        if self.tokens.epsilon == 0.0 {
            return Some(own);
        }
        let legal = turn.legal_actions.as_deref().filter(|legal| !legal.is_empty())?;
        Some(mixture_log_prob(self.tokens.epsilon, random_log_prob(legal, &turn.action), own))
    }
}

/// Threshold: a token with a log-probability below this one is forbidden.
const IMPOSSIBLE: f32 = -1e8;

const NO_LIST: &str = "legal_actions: there are none, and a random action (epsilon) is one of them";
