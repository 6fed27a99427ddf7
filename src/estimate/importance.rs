//! Importance sampling: estimates the expected return of a policy from episodes of another policy.
//!
//! The weight of an episode is the ratio of the probabilities of its actions under the evaluated policy pi and under
//! the behaviour policy b.
//! Sources: Precup, Sutton and Singh 2000, *Eligibility Traces for Off-Policy Policy Evaluation*; Thomas 2015, *Safe
//! Reinforcement Learning*, ch. 3; [Efron 1979](https://doi.org/10.1214/aos/1176344552), *Bootstrap Methods*.

use std::borrow::Borrow;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Upper bound of a log-ratio, so that one wrong recorded probability does not outweigh a log. There is no lower bound:
/// an action that pi never takes has the ratio 0.
pub const MAX_LOG_RATIO: f64 = 20.0;

/// Upper bound of the log of a weight that is not normalised; its `exp` is finite.
const MAX_LOG_WEIGHT: f64 = 700.0;

/// Recorded episode for importance sampling: one log-ratio and one reward per decision (a turn of the agent, whatever
/// its number of tokens).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OffPolicyEpisode {
    /// `ln pi(a_t | s_t) - ln b(a_t | s_t)`; minus infinity where pi never takes the action.
    pub log_ratios: Vec<f64>,
    /// Rewards, one per log-ratio.
    pub rewards: Vec<f64>,
}

/// Weighted importance sampling: `sum_i w_i G_i / sum_i w_i`, where `w_i` is the product of an episode's ratios and
/// `G_i` its discounted return. Consistent; biased towards the expected return of b if there are few episodes.
///
/// `None` if there is no episode, or none that is possible under pi.
pub fn weighted_importance_sampling<E: Borrow<OffPolicyEpisode>>(episodes: &[E], gamma: f64) -> Option<f64> {
    let weights = relative_weights(&log_weights(episodes))?;
    let total: f64 = weights.iter().sum();
    let returns = episodes.iter().map(|episode| discounted_return(&episode.borrow().rewards, gamma));
    Some(weights.iter().zip(returns).map(|(weight, value)| weight * value).sum::<f64>() / total)
}

/// `sum_t gamma^t r_t`.
pub fn discounted_return(rewards: &[f64], gamma: f64) -> f64 {
    rewards.iter().rev().fold(0.0, |after, reward| reward + gamma * after)
}

/// Weighted per-decision importance sampling: `sum_t gamma^t (sum_i w_it r_it) / (sum_i w_it)`, where `w_it` is the
/// product of an episode's ratios up to decision t (the consistent form of Thomas 2015): a reward is not weighted by
/// later decisions. After its end, an episode keeps its weight and has rewards 0.
///
/// `None` if there is no episode, or if at some time none of them is possible under pi.
pub fn weighted_per_decision<E: Borrow<OffPolicyEpisode>>(episodes: &[E], gamma: f64) -> Option<f64> {
    if episodes.is_empty() {
        return None;
    }
    let mut cumulative = vec![0.0; episodes.len()];
    let (mut value, mut discount) = (0.0, 1.0);
    for t in 0..longest(episodes) {
        advance(&mut cumulative, episodes, t);
        let weights = relative_weights(&cumulative)?;
        let rewards = episodes.iter().map(|episode| episode.borrow().rewards.get(t).copied().unwrap_or(0.0));
        let weighted: f64 = weights.iter().zip(rewards).map(|(weight, reward)| weight * reward).sum();
        value += discount * weighted / weights.iter().sum::<f64>();
        discount *= gamma;
    }
    Some(value)
}

/// Per-decision importance sampling: `(1/n) sum_i sum_t gamma^t w_it r_it`, with `w_it` as in
/// [`weighted_per_decision`]. Unbiased if b takes every action that pi takes; its variance grows with the length of
/// episodes.
///
/// `None` if there is no episode. A weight is at most `exp(700)`, so that the sum is finite.
pub fn per_decision<E: Borrow<OffPolicyEpisode>>(episodes: &[E], gamma: f64) -> Option<f64> {
    let mut cumulative = vec![0.0; episodes.len()];
    let (mut value, mut discount) = (0.0, 1.0);
    for t in 0..longest(episodes) {
        advance(&mut cumulative, episodes, t);
        for (episode, log_weight) in episodes.iter().zip(&cumulative) {
            let reward = episode.borrow().rewards.get(t).copied().unwrap_or(0.0);
            value += discount * log_weight.min(MAX_LOG_WEIGHT).exp() * reward;
        }
        discount *= gamma;
    }
    (!episodes.is_empty()).then(|| value / episodes.len() as f64)
}

/// Effective sample size: `(sum_i w_i)^2 / sum_i w_i^2` (Kish 1965), with the weights of
/// [`weighted_importance_sampling`]. It equals the number of episodes if pi is b, is near 1 if one episode outweighs
/// the others (no estimate is then reliable), and is 0 if no episode is possible under pi.
pub fn effective_sample_size<E: Borrow<OffPolicyEpisode>>(episodes: &[E]) -> f64 {
    relative_weights(&log_weights(episodes)).map_or(0.0, |weights| {
        let sum: f64 = weights.iter().sum();
        sum * sum / weights.iter().map(|weight| weight * weight).sum::<f64>()
    })
}

/// A confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Number of resamples with an estimate. If it is below the number of drawn resamples, the interval is not
    /// reliable.
    pub resamples: usize,
}

/// Percentile bootstrap over episodes (Efron 1979). Each of `resamples` samples draws as many episodes as there are,
/// with replacement. A fraction `level` (such as 0.95) of their estimates lies in the interval, with as many below as
/// above. Ends between two estimates are interpolated. The seed fixes the draws.
///
/// `None` if no resample has an estimate. If the effective sample size is small, the interval is too narrow: it does
/// not account for weights that were never drawn.
///
/// ```
/// use palestra::estimate::importance::{OffPolicyEpisode, bootstrap, weighted_importance_sampling};
/// let one = |reward| OffPolicyEpisode { log_ratios: vec![0.0], rewards: vec![reward] };
/// let episodes = [one(0.0), one(1.0), one(1.0), one(2.0)];
/// let episodes: Vec<&OffPolicyEpisode> = episodes.iter().collect();
/// let interval = bootstrap(&episodes, 1_000, 0.95, 1, |sample| weighted_importance_sampling(sample, 1.0)).unwrap();
/// assert!(interval.low < 1.0 && interval.high > 1.0 && interval.resamples == 1_000);
/// ```
pub fn bootstrap<E: Copy>(
    episodes: &[E],
    resamples: usize,
    level: f64,
    seed: u64,
    mut estimate: impl FnMut(&[E]) -> Option<f64>,
) -> Option<Interval> {
    if episodes.is_empty() {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut sample = episodes.to_vec();
    let mut estimates: Vec<f64> = (0..resamples)
        .filter_map(|_| {
            sample.fill_with(|| episodes[rng.random_range(0..episodes.len())]);
            estimate(&sample)
        })
        .collect();
    estimates.sort_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    let (low, high) = (quantile(&estimates, tail)?, quantile(&estimates, 1.0 - tail)?);
    Some(Interval { low, high, resamples: estimates.len() })
}

/// Quantile of sorted values, interpolated.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + place.fract() * (above - below))
}

fn longest<E: Borrow<OffPolicyEpisode>>(episodes: &[E]) -> usize {
    episodes.iter().map(|episode| episode.borrow().log_ratios.len()).max().unwrap_or(0)
}

fn log_weights<E: Borrow<OffPolicyEpisode>>(episodes: &[E]) -> Vec<f64> {
    let log_weight = |episode: &E| episode.borrow().log_ratios.iter().map(|&log_ratio| clamped(log_ratio)).sum();
    episodes.iter().map(log_weight).collect()
}

/// Adds the log-ratios of decision t to the cumulative ones; an episode that has ended keeps its own.
fn advance<E: Borrow<OffPolicyEpisode>>(cumulative: &mut [f64], episodes: &[E], t: usize) {
    for (sum, episode) in cumulative.iter_mut().zip(episodes) {
        let OffPolicyEpisode { log_ratios, rewards } = episode.borrow();
        assert_eq!(log_ratios.len(), rewards.len(), "one reward for each decision");
        *sum += log_ratios.get(t).map_or(0.0, |&log_ratio| clamped(log_ratio));
    }
}

fn clamped(log_ratio: f64) -> f64 {
    assert!(!log_ratio.is_nan(), "a log-ratio is no number");
    log_ratio.min(MAX_LOG_RATIO)
}

/// Weights divided by their maximum, so that none overflows and not all vanish; `None` if all are 0.
fn relative_weights(log_weights: &[f64]) -> Option<Vec<f64>> {
    let greatest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let relative = || log_weights.iter().map(|log_weight| (log_weight - greatest).exp()).collect();
    (greatest > f64::NEG_INFINITY).then(relative)
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;

    use super::*;

    type Estimator = fn(&[OffPolicyEpisode], f64) -> Option<f64>;
    const ESTIMATORS: [Estimator; 3] = [weighted_importance_sampling, weighted_per_decision, per_decision];

    fn episode(ratios: &[f64], rewards: &[f64]) -> OffPolicyEpisode {
        let log_ratios = ratios.iter().map(|ratio| ratio.ln()).collect();
        OffPolicyEpisode { log_ratios, rewards: rewards.to_vec() }
    }

    #[test]
    fn estimates_by_hand() {
        // Weights 1 and 0.5, returns 2 and 3; the second episode ends after its first decision.
        let episodes = [episode(&[2.0, 0.5], &[1.0, 2.0]), episode(&[0.5], &[3.0])];
        assert_close!(weighted_importance_sampling(&episodes, 0.5).unwrap(), (2.0 + 1.5) / 1.5, 1e-9);
        assert_close!(weighted_per_decision(&episodes, 0.5).unwrap(), (2.0 + 1.5) / 2.5 + 0.5 * 2.0 / 1.5, 1e-9);
        assert_close!(per_decision(&episodes, 0.5).unwrap(), ((2.0 + 0.5 * 2.0) + 1.5) / 2.0, 1e-9);
        assert_close!(effective_sample_size(&episodes), 1.5f64.powi(2) / 1.25, 1e-9);
    }

    #[test]
    fn a_policy_that_recorded_itself_has_its_mean_return() {
        let episodes = [episode(&[1.0; 3], &[1.0, 0.0, 4.0]), episode(&[1.0], &[2.0]), episode(&[1.0; 2], &[0.0, 3.0])];
        for estimate in ESTIMATORS {
            assert_close!(estimate(&episodes, 0.5).unwrap(), (2.0 + 2.0 + 1.5) / 3.0, 1e-9);
        }
        assert_close!(effective_sample_size(&episodes), 3.0, 1e-9);
    }

    #[test]
    fn an_action_that_the_policy_never_takes_counts_for_nothing() {
        let (never, kept) = (episode(&[1.0, 0.0], &[5.0, 100.0]), episode(&[1.0, 3.0], &[1.0, 2.0]));
        let both = [never.clone(), kept];
        assert_close!(weighted_importance_sampling(&both, 1.0).unwrap(), 3.0, 1e-9);
        // The reward before that action counts.
        assert_close!(weighted_per_decision(&both, 1.0).unwrap(), 3.0 + 2.0, 1e-9);
        assert_close!(effective_sample_size(&both), 1.0, 1e-9);
        let alone = [never];
        assert_eq!(weighted_importance_sampling(&alone, 1.0), None);
        assert_eq!(weighted_per_decision(&alone, 1.0), None);
        assert_eq!((per_decision(&alone, 1.0), effective_sample_size(&alone)), (Some(5.0), 0.0));
        for estimate in ESTIMATORS {
            assert_eq!(estimate(&[], 1.0), None);
        }
    }

    #[test]
    fn long_episodes_neither_vanish_nor_overflow() {
        let long = |log_ratio: f64, reward: f64| OffPolicyEpisode {
            log_ratios: vec![log_ratio; 1_000],
            rewards: (0..1_000).map(|t| if t == 999 { reward } else { 0.0 }).collect(),
        };
        for log_ratio in [-50.0, 15.0] {
            // Weights a factor e^-1000 apart would leave only one of them: these are 2 to 1 apart.
            let episodes = [long(log_ratio, 0.0), long(log_ratio + 2f64.ln() / 1_000.0, 3.0)];
            for estimate in &ESTIMATORS[..2] {
                assert!((estimate(&episodes, 1.0).unwrap() - 2.0).abs() < 1e-6);
            }
            assert!((effective_sample_size(&episodes) - 1.8).abs() < 1e-6);
            assert!(per_decision(&episodes, 1.0).unwrap().is_finite());
        }
        let slip = OffPolicyEpisode { log_ratios: vec![f64::INFINITY], rewards: vec![1.0] };
        assert_close!(per_decision(&[slip], 1.0).unwrap().ln(), MAX_LOG_RATIO, 1e-9);
    }

    /// Probabilities of action 1 in tenths, in each of two states.
    const RECORDED: [u32; 2] = [3, 6];
    const EVALUATED: [u32; 2] = [8, 1];

    /// Every episode of a small game of at most three turns, once for each of the 10^3 ways in which b can reach it.
    /// Action 0 has reward 1 and leads to the other state. Action 1 has reward 5 in state 0 and ends the game; its
    /// reward in state 1 is -2, and it stays there.
    fn all_episodes() -> Vec<OffPolicyEpisode> {
        fn play(state: usize, so_far: OffPolicyEpisode, times: u32, played: &mut Vec<OffPolicyEpisode>) {
            let turn = so_far.rewards.len();
            if turn == 3 {
                played.extend(vec![so_far; times as usize]);
                return;
            }
            for action in 0..2 {
                let of = |ones: [u32; 2]| if action == 1 { ones[state] } else { 10 - ones[state] };
                let mut next = so_far.clone();
                next.log_ratios.push((f64::from(of(EVALUATED)) / f64::from(of(RECORDED))).ln());
                next.rewards.push([[1.0, 5.0], [1.0, -2.0]][state][action]);
                let times = times / 10 * of(RECORDED);
                match (state, action) {
                    (0, 1) => played.extend(vec![next; times as usize]),
                    (_, 0) => play(1 - state, next, times, played),
                    _ => play(state, next, times, played),
                }
            }
        }
        let mut played = Vec::new();
        play(0, OffPolicyEpisode::default(), 1_000, &mut played);
        played
    }

    /// Value of state 0 by dynamic programming.
    fn exact_value(gamma: f64) -> f64 {
        let probability = EVALUATED.map(|ones| f64::from(ones) / 10.0);
        (0..3).fold([0.0; 2], |after: [f64; 2], _| {
            let first = probability[0] * 5.0 + (1.0 - probability[0]) * (1.0 + gamma * after[1]);
            let second = probability[1] * (-2.0 + gamma * after[1]) + (1.0 - probability[1]) * (1.0 + gamma * after[0]);
            [first, second]
        })[0]
    }

    #[test]
    fn every_estimator_is_exact_on_what_infinitely_many_episodes_are() {
        let episodes = all_episodes();
        assert_eq!(episodes.len(), 1_000);
        for gamma in [1.0, 0.9] {
            for estimate in ESTIMATORS {
                assert_close!(estimate(&episodes, gamma).unwrap(), exact_value(gamma), 1e-9);
            }
        }
        // The mean of single episodes' estimates: per-decision sampling alone has no bias.
        let mean = |estimate: Estimator| {
            let single = |episode: &OffPolicyEpisode| estimate(std::slice::from_ref(episode), 0.9).unwrap();
            episodes.iter().map(single).sum::<f64>() / 1_000.0
        };
        assert_close!(mean(per_decision), exact_value(0.9), 1e-9);
        assert!((mean(weighted_importance_sampling) - exact_value(0.9)).abs() > 0.5);
    }

    #[test]
    fn samples_come_to_the_value_and_their_intervals_hold_it() {
        let all = all_episodes();
        let all: Vec<&OffPolicyEpisode> = all.iter().collect();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let exact = exact_value(1.0);
        for estimate in [weighted_importance_sampling, weighted_per_decision, per_decision] {
            let mut held = 0;
            for trial in 0..100 {
                let sample: Vec<_> = (0..200).map(|_| all[rng.random_range(0..all.len())]).collect();
                let interval = bootstrap(&sample, 100, 0.9, trial, |sample| estimate(sample, 1.0)).unwrap();
                held += u32::from((interval.low..=interval.high).contains(&exact));
            }
            assert!((80..=97).contains(&held), "{held} of 100 intervals of 90 % hold the value");
        }
    }

    #[test]
    fn estimates_from_a_log_hold_against_the_exact_value() {
        use palestra_envs::exact::{one_hot, uniform};
        use palestra_envs::policies::{Scripted, mix};
        use palestra_envs::{Definition, Observation, Registry, Turn, record::record};
        // Evaluated policy: the last free cell with probability .3, else a random one. Behaviour policy: the script
        // with .3.
        let policy = |seen: &Observation| -> Vec<f64> {
            let last = seen.legal_actions.as_ref().unwrap().last().unwrap();
            let mixed = one_hot(seen, last).unwrap().into_iter().zip(uniform(seen));
            mixed.map(|(chosen, random)| 0.3 * chosen + 0.7 * random).collect()
        };
        let log_ratio = |turn: &Turn| {
            let legal = turn.legal_actions.clone().unwrap();
            let action = legal.iter().position(|action| *action == turn.action).unwrap();
            let seen = Observation { legal_actions: Some(legal.into()), ..Observation::default() };
            policy(&seen)[action].ln() - f64::from(turn.log_probs.as_ref().unwrap()[0])
        };
        let (registry, game) = (Registry::builtin(), Definition::named("tic-tac-toe"));
        let exact = registry.exact_value(&game, &mut |seen| Ok(seen.iter().map(policy).collect()));
        let exact = exact.unwrap().unwrap().expected_return;
        let mut policy = mix(0.7, Scripted).unwrap();
        let log = record(&registry, &game, 0..3_000, 1, &mut policy).unwrap().map(Result::unwrap);
        let episodes: Vec<OffPolicyEpisode> = log
            .map(|episode| OffPolicyEpisode {
                log_ratios: episode.turns.iter().map(log_ratio).collect(),
                rewards: episode.turns.iter().map(|turn| f64::from(turn.reward)).collect(),
            })
            .collect();
        let mean = episodes.iter().flat_map(|episode| &episode.rewards).sum::<f64>() / 3_000.0;
        assert!(mean - exact > 0.2, "{mean}: what was recorded is another policy than one of {exact}");
        let effective = effective_sample_size(&episodes);
        assert!((100.0..1_000.0).contains(&effective), "{effective}");
        let episodes: Vec<&OffPolicyEpisode> = episodes.iter().collect();
        for estimate in [weighted_importance_sampling, weighted_per_decision, per_decision] {
            let interval = bootstrap(&episodes, 200, 0.95, 3, |sample| estimate(sample, 1.0)).unwrap();
            assert!((interval.low..=interval.high).contains(&exact), "{interval:?} without {exact}");
            assert!(interval.high - interval.low < 0.4, "{interval:?} tells too little");
        }
    }

    #[test]
    fn the_bootstrap_of_a_mean_is_that_of_its_normal_distribution() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let mean = |sample: &[f64]| Some(sample.iter().sum::<f64>() / sample.len() as f64);
        let interval = bootstrap(&values, 4_000, 0.95, 9, mean).unwrap();
        assert!((interval.low - 0.451).abs() < 0.004 && (interval.high - 0.549).abs() < 0.004, "{interval:?}");
        assert_eq!(bootstrap(&values, 4_000, 0.95, 9, mean), Some(interval));
        assert_ne!(bootstrap(&values, 4_000, 0.95, 8, mean), Some(interval));
        let seldom = bootstrap(&values, 100, 0.95, 9, |sample| (sample[0] == 1.0).then_some(1.0)).unwrap();
        assert!((seldom.low, seldom.high) == (1.0, 1.0) && (30..70).contains(&seldom.resamples));
        assert_eq!(bootstrap(&values, 10, 0.95, 9, |_| None), None);
        assert_eq!(bootstrap(&[] as &[f64], 10, 0.95, 9, mean), None);
    }

    #[test]
    fn quantiles_are_interpolated() {
        let sorted = [1.0, 2.0, 4.0];
        assert_eq!(
            [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&sorted, share).unwrap()),
            [1.0, 1.5, 2.0, 3.0, 4.0]
        );
    }
}
