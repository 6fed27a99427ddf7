//! Returns and advantages over a chain of action tokens.

/// Generalised advantage estimation ([Schulman et al. 2016](https://arxiv.org/abs/1506.02438)), eq. 16.
///
/// `delta_t = r_t + discount_t V_{t+1} - V_t` and `A_t = delta_t + discount_t lambda A_{t+1}`. The chain holds only
/// action tokens, in the order of writing. Tokens between two of them (observations, padding) have no reward, no value
/// and no step of their own. `discounts[t]` is the discount after token t: gamma between turns, gamma_token inside a
/// turn. `last_value` is V of the state after the last token: 0 if the episode terminated, V(final observation) if it
/// was truncated.
///
/// Returns advantages and returns (`advantage + value`), before any whitening.
///
/// ```
/// let (advantages, _) = palestra_model::math::gae(&[0.0, 1.0], &[0.0, 0.0], &[1.0, 1.0], 0.0, 0.95);
/// assert!((advantages[0] - 0.95).abs() < 1e-6 && (advantages[1] - 1.0).abs() < 1e-6);
/// ```
pub fn gae(rewards: &[f32], values: &[f32], discounts: &[f32], last_value: f32, lambda: f32) -> (Vec<f32>, Vec<f32>) {
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next_advantage) = (last_value, 0.0);
    for t in (0..rewards.len()).rev() {
        let delta = rewards[t] + discounts[t] * next_value - values[t];
        advantages[t] = delta + discounts[t] * lambda * next_advantage;
        (next_value, next_advantage) = (values[t], advantages[t]);
    }
    let returns = advantages.iter().zip(values).map(|(advantage, value)| advantage + value).collect();
    (advantages, returns)
}

/// Shifts to mean 0 and scales to variance 1: `(x - mean) / sqrt(var + 1e-8)`, with the population variance.
pub fn whiten(values: &mut [f32]) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (variance + 1e-8).sqrt();
    for x in values {
        *x = ((f64::from(*x) - mean) * scale) as f32;
    }
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;

    use super::*;

    /// GAE of the action tokens of a masked sequence, with constant discount.
    fn masked(rewards: &[f32], values: &[f32], mask: &[u8], gamma: f32, lambda: f32) -> Vec<f32> {
        let keep = |x: &[f32]| -> Vec<f32> { x.iter().zip(mask).filter(|(_, m)| **m == 1).map(|(x, _)| *x).collect() };
        let (rewards, values) = (keep(rewards), keep(values));
        gae(&rewards, &values, &vec![gamma; rewards.len()], 0.0, lambda).0
    }

    #[test]
    fn golden_values() {
        assert_close!(masked(&[0., 1., 0.], &[0., 0., 100.], &[1, 1, 0], 1.0, 0.95), [0.95, 1.0], 1e-5);
        let (rewards, values) = ([0., 0., 0., 0., 0., 0., 1.], [0.5, 0.6, 9., 9., 9., 0.7, 0.8]);
        let mask = [1, 1, 0, 0, 0, 1, 1];
        assert_close!(masked(&rewards, &values, &mask, 1.0, 0.95), [0.456725, 0.3755, 0.29, 0.2], 1e-5);
        assert_close!(masked(&rewards, &values, &mask, 1.0, 1.0), [0.5, 0.4, 0.3, 0.2], 1e-5);
        let rewards = [0., 0., 0.1, 0.1, 0.1, 0., 0., 0.1, 1., 0., 0.];
        let values = [3., 0.5, 4., 5., 6., -7., 0.2, 7., 9., 0., 0.];
        let mask = [0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0];
        assert_close!(masked(&rewards, &values, &mask, 1.0, 0.95), [-1.577813, -2.81875, -4.125, -5.5, -8.0], 1e-5);
    }

    #[test]
    fn a_truncated_end_bootstraps_and_a_terminated_one_does_not() {
        let chain = |last_value| gae(&[0.0, 1.0], &[0.0, 0.0], &[1.0, 0.5], last_value, 1.0).1;
        assert_close!(chain(0.0), [1.0, 1.0], 1e-5);
        assert_close!(chain(4.0), [3.0, 3.0], 1e-5);
    }

    #[test]
    fn whitened_values_have_mean_0_and_variance_1() {
        let mut values = [1.0, 2.0, 3.0, 6.0];
        whiten(&mut values);
        assert_close!(values, [-1.069045, -0.534522, 0.0, 1.603567], 1e-5);
        let mut constant = [2.0; 3];
        whiten(&mut constant);
        assert_close!(constant, [0.0; 3], 1e-5);
    }
}
