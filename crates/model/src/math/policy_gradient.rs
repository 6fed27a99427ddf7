//! The terms of PPO's loss ([Schulman et al. 2017](https://arxiv.org/abs/1707.06347)), per action token.

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

/// Largest log-ratio that is used in an exponent.
const MAX_LOG_RATIO: f32 = 20.0;

/// `max(-A rho, -A clip(rho, 1 - low, 1 + high))` (eq. 7, negated so that it is minimised), and the ratio
/// `rho = exp(new - old)`. All `[tokens]`. PPO has one number for `low` and `high`; DAPO lets the second be greater
/// ([Yu et al. 2025](https://arxiv.org/abs/2503.14476), eq. 10).
///
/// With `dual_clip` c > 1 the loss of a negative advantage is bounded by `-A c`
/// ([Ye et al. 2020](https://arxiv.org/abs/1912.09729), eq. 5), since rho is unbounded there.
pub fn clipped_policy_loss(
    new_log_probs: Tensor<1>,
    old_log_probs: Tensor<1>,
    advantages: Tensor<1>,
    [low, high]: [f32; 2],
    dual_clip: Option<f32>,
) -> (Tensor<1>, Tensor<1>) {
    let ratio = (new_log_probs - old_log_probs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp();
    let plain = ratio.clone() * advantages.clone().neg();
    let clipped = ratio.clone().clamp(1.0 - low, 1.0 + high) * advantages.clone().neg();
    let mut loss = plain.max_pair(clipped);
    if let Some(c) = dual_clip {
        let bound = loss.clone().min_pair(advantages.clone().mul_scalar(-c));
        loss = loss.mask_where(advantages.lower_scalar(0.0), bound);
    }
    (loss, ratio)
}

/// CISPO's loss `-sg(min(rho, 1 + high)) A log pi`: the importance weight is clipped and carries no gradient, so that no token
/// is dropped from the gradient ([MiniMax-M1 2025](https://arxiv.org/abs/2506.13585), eq. 4 and 5). All `[tokens]`.
pub fn cispo_loss(new_log_probs: Tensor<1>, old_log_probs: Tensor<1>, advantages: Tensor<1>, high: f32) -> Tensor<1> {
    let log_ratio = (new_log_probs.clone() - old_log_probs).detach();
    let weight = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().clamp_max(1.0 + high);
    weight * advantages.neg() * new_log_probs
}

/// Mean of a quantity over the tokens of each sequence, given to all of its tokens: `[tokens]` to `[tokens]`. `rows` is the
/// sequence of each token. GSPO's ratio of a sequence is `exp` of the mean log-ratio of its tokens
/// ([Zheng et al. 2025](https://arxiv.org/abs/2507.18071), eq. 7).
pub fn sequence_means(of_tokens: Tensor<1>, rows: Tensor<1, Int>, row_count: usize) -> Tensor<1> {
    let zeros = Tensor::<1>::zeros([row_count], &of_tokens.device());
    let add = |values: Tensor<1>| zeros.clone().select_assign(0, rows.clone(), values, IndexingUpdateOp::Add);
    let counts = add(of_tokens.ones_like().detach());
    (add(of_tokens) / counts.clamp_min(1.0)).select(0, rows.clone())
}

/// `max((V - R)^2, (clip(V, V_old - epsilon, V_old + epsilon) - R)^2) / 2`; without `epsilon`, `(V - R)^2 / 2`.
/// All `[tokens]`.
pub fn clipped_value_loss(
    values: Tensor<1>,
    old_values: Tensor<1>,
    returns: Tensor<1>,
    epsilon: Option<f32>,
) -> Tensor<1> {
    let plain = (values.clone() - returns.clone()).square();
    let loss = match epsilon {
        None => plain,
        Some(epsilon) => {
            let clipped = old_values.clone() + (values - old_values).clamp(-epsilon, epsilon);
            plain.max_pair((clipped - returns).square())
        }
    };
    loss.mul_scalar(0.5)
}

/// Entropy `-sum p log p` of each row of log-probabilities, `[tokens, vocab]` to `[tokens]`. Forbidden tokens have
/// large negative log-probabilities and add nothing.
pub fn entropy(log_probs: Tensor<2>) -> Tensor<1> {
    (log_probs.clone().exp() * log_probs).sum_dim(1).squeeze_dim::<1>(1).neg()
}

/// The estimator `x` of KL(policy, reference) from samples of the policy, `x = log policy - log reference`
/// ([Schulman 2020](http://joschu.net/blog/kl-approx.html)): unbiased, and can be negative.
pub fn kl_k1(log_ratio: f32) -> f32 {
    log_ratio
}

/// The estimator `x^2 / 2`: biased, never negative, of low variance.
pub fn kl_k2(log_ratio: f32) -> f32 {
    0.5 * log_ratio * log_ratio
}

/// The estimator `exp(-x) - 1 + x`: unbiased and never negative.
pub fn kl_k3(log_ratio: f32) -> f32 {
    (-log_ratio).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() - 1.0 + log_ratio
}

/// [`kl_k3`] of each token, `[tokens]`: differentiable, so that it can stand in a loss.
pub fn kl_k3_tokens(log_ratio: Tensor<1>) -> Tensor<1> {
    log_ratio.clone().neg().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().sub_scalar(1.0) + log_ratio
}

/// Adaptive KL controller, which keeps the KL to the reference near a target
/// ([Ziegler et al. 2019](https://arxiv.org/abs/1909.08593), section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AdaptiveKl {
    /// The coefficient of the KL penalty.
    pub beta: f64,
    /// Target KL of a sequence, in nats.
    pub target: f64,
    /// Number of episodes over which beta would double or halve, at most 0.2 of it at once.
    pub horizon: f64,
}

impl AdaptiveKl {
    /// `beta *= 1 + clip(kl / target - 1, -0.2, 0.2) n / horizon`.
    pub fn update(&mut self, kl: f64, episodes: usize) {
        let error = (kl / self.target - 1.0).clamp(-0.2, 0.2);
        self.beta *= 1.0 + error * episodes as f64 / self.horizon;
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use burn::tensor::activation::log_softmax;
    use palestra_testing::assert_close;

    use super::*;
    use crate::ops::{available_devices, open_device};

    fn each_device(test: impl Fn(&Device)) {
        for name in available_devices() {
            test(&open_device(name).unwrap());
        }
    }

    fn tensor<const N: usize>(values: [f32; N], device: &Device) -> Tensor<1> {
        Tensor::from_data(values, device)
    }

    #[track_caller]
    fn assert_values(found: Tensor<1>, expected: &[f32]) {
        assert_close!(found.into_data().iter::<f64>().collect::<Vec<_>>(), expected, 1e-5);
    }

    #[test]
    fn policy_loss_by_hand() {
        each_device(|device| {
            // ratios 1.5, 0.5, 1.5, 1 against advantages 1, 1, -1, 2
            let new = tensor([1.5f32.ln(), 0.5f32.ln(), 1.5f32.ln(), 0.0], device);
            let old = tensor([0.0; 4], device);
            let advantages = tensor([1.0, 1.0, -1.0, 2.0], device);
            let (loss, ratio) = clipped_policy_loss(new.clone(), old.clone(), advantages.clone(), [0.2; 2], None);
            assert_values(loss, &[-1.2, -0.5, 1.5, -2.0]);
            assert_values(ratio, &[1.5, 0.5, 1.5, 1.0]);
            let (higher, _) = clipped_policy_loss(new, old, advantages, [0.2, 0.28], None);
            assert_values(higher, &[-1.28, -0.5, 1.5, -2.0]);
        });
    }

    #[test]
    fn dual_clip_bounds_only_negative_advantages() {
        each_device(|device| {
            let new = tensor([10f32.ln(), 10f32.ln()], device);
            let (loss, _) =
                clipped_policy_loss(new, tensor([0.0; 2], device), tensor([-1.0, 1.0], device), [0.2; 2], Some(3.0));
            assert_values(loss, &[3.0, -1.2]);
        });
    }

    #[test]
    fn value_loss_by_hand() {
        each_device(|device| {
            let values = || tensor([1.0, 0.1], device);
            let old = || tensor([0.0, 0.0], device);
            let returns = || tensor([2.0, 0.0], device);
            assert_values(clipped_value_loss(values(), old(), returns(), Some(0.2)), &[1.62, 0.005]);
            assert_values(clipped_value_loss(values(), old(), returns(), None), &[0.5, 0.005]);
        });
    }

    #[test]
    fn entropy_by_hand() {
        each_device(|device| {
            let logits = Tensor::<2>::from_data([[0.0, 0.0, -1e9], [0.0, 3f32.ln(), -1e9]], device);
            assert_values(entropy(log_softmax(logits, 1)), &[2f32.ln(), 0.562_335]);
        });
    }

    #[test]
    fn kl_golden_values() {
        let x = -1.0 - -1.5;
        assert_close!(kl_k1(x), 0.5, 1e-5);
        assert_close!(kl_k2(x), 0.125, 1e-5);
        assert_close!(kl_k3(x), 0.106531, 1e-5);
        each_device(|device| assert_values(kl_k3_tokens(tensor([x, 0.0], device)), &[0.106531, 0.0]));
        let mut controller = AdaptiveKl { beta: 0.2, target: 6.0, horizon: 10_000.0 };
        controller.update(8.0, 256);
        assert_close!(controller.beta, 0.201024, 1e-6);
    }
}
