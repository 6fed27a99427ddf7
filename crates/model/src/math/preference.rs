//! Losses on preference data: each is its equation, on vectors with one entry per comparison or answer.
//!
//! A loss takes numbers of answers: scores `r` of a reward model, or sums of log-probabilities over an answer's tokens.
//! A difference is that of the chosen answer minus that of the rejected one.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Bool, Tensor};

/// Lower bound of `1 - p` for the probability p of a whole answer, which keeps its odds finite.
const LEAST_DOUBT: f32 = 1e-6;

/// `-p log s(d) - (1 - p) log s(-d)`: negative log-likelihood of the first of two answers being preferred with
/// probability `p`, if `d` is its advantage in logits. All `[comparisons]`.
///
/// With `p = 1` and `d = r_chosen - r_rejected - margin` it is the Bradley-Terry loss
/// ([Ouyang et al. 2022](https://arxiv.org/abs/2203.02155), eq. 1; the margin:
/// [Touvron et al. 2023](https://arxiv.org/abs/2307.09288), eq. 2); a tie has `p = 1/2` and no margin. With
/// `d = beta D` of [`implicit_difference`] it is DPO ([Rafailov et al. 2023](https://arxiv.org/abs/2305.18290), eq. 7),
/// and with `p = 1 - epsilon` conservative DPO, for labels of which a fraction `epsilon` is wrong
/// ([Mitchell 2023](https://ericmitchell.ai/cdpo.pdf)).
pub fn preference_nll(logits: Tensor<1>, probabilities: Tensor<1>) -> Tensor<1> {
    let second = log_sigmoid(logits.clone().neg()) * probabilities.clone().neg().add_scalar(1.0);
    (log_sigmoid(logits) * probabilities + second).neg()
}

/// `(r_first + r_second)^2`, which keeps the mean of scores near 0, since differences do not determine it
/// ([Eisenstein et al. 2023](https://arxiv.org/abs/2312.09244), eq. 8). All `[comparisons]`.
pub fn centring(first: Tensor<1>, second: Tensor<1>) -> Tensor<1> {
    (first + second).square()
}

/// `-log softmax(r)[best]`: negative log-likelihood of choosing the best of several answers. `scores` is
/// `[choices, answers]` with the best in column 0; entries that are not `present` are no answers and may hold any
/// value. Returns `[choices]`.
///
/// This is one stage of the Plackett-Luce model: a full ranking is the choice of its best, then of the best of the
/// rest. [Ziegler et al. 2019](https://arxiv.org/abs/1909.08593), eq. 1, use it over four answers.
pub fn best_of_nll(scores: Tensor<2>, present: Tensor<2, Bool>) -> Tensor<1> {
    let [choices, _] = scores.dims();
    let scores = scores.mask_fill(present.bool_not(), -1e9);
    log_softmax(scores, 1).slice([0..choices, 0..1]).squeeze_dim::<1>(1).neg()
}

/// `(r - rating)^2`: squared error of a score against a human rating. All `[answers]`.
pub fn rating_error(scores: Tensor<1>, ratings: Tensor<1>) -> Tensor<1> {
    (scores - ratings).square()
}

/// `D = (pi_chosen - ref_chosen) - (pi_rejected - ref_rejected)` of log-probabilities, all `[comparisons]`: the
/// policy's preference for the chosen answer, relative to the reference.
pub fn implicit_difference(
    chosen: Tensor<1>,
    rejected: Tensor<1>,
    chosen_reference: Tensor<1>,
    rejected_reference: Tensor<1>,
) -> Tensor<1> {
    (chosen - chosen_reference) - (rejected - rejected_reference)
}

/// `(D - 1 / (2 beta))^2`: IPO ([Azar et al. 2023](https://arxiv.org/abs/2310.12036), eq. 17), whose minimum is at a
/// finite difference. `[comparisons]`.
pub fn ipo(difference: Tensor<1>, beta: f32) -> Tensor<1> {
    difference.sub_scalar(0.5 / beta).square()
}

/// `max(0, 1 - beta D)`: SLiC's hinge on DPO's difference ([Zhao et al. 2023](https://arxiv.org/abs/2305.10425); as
/// [Liu et al. 2023](https://arxiv.org/abs/2309.06657), eq. 11). `[comparisons]`.
pub fn hinge(difference: Tensor<1>, beta: f32) -> Tensor<1> {
    difference.mul_scalar(-beta).add_scalar(1.0).clamp_min(0.0)
}

/// `-log s(beta (mean_chosen - mean_rejected) - gamma)`: SimPO, which needs no reference
/// ([Meng et al. 2024](https://arxiv.org/abs/2405.14734), eq. 6). The means are those of an answer's log-probabilities
/// over its tokens, `[comparisons]`.
pub fn simpo(mean_chosen: Tensor<1>, mean_rejected: Tensor<1>, beta: f32, gamma: f32) -> Tensor<1> {
    log_sigmoid((mean_chosen - mean_rejected).mul_scalar(beta).sub_scalar(gamma)).neg()
}

/// `-mean_chosen - beta log s(log odds_chosen - log odds_rejected)`, `odds = p / (1 - p)` with `log p` the mean of an
/// answer's log-probabilities over its tokens: ORPO, which needs no reference
/// ([Hong et al. 2024](https://arxiv.org/abs/2403.07691), eq. 6). `[comparisons]`.
pub fn orpo(mean_chosen: Tensor<1>, mean_rejected: Tensor<1>, beta: f32) -> Tensor<1> {
    let ratio = log_sigmoid(log_odds(mean_chosen.clone()) - log_odds(mean_rejected));
    mean_chosen.neg() - ratio.mul_scalar(beta)
}

/// `log p - log(1 - p)` of `log p`.
fn log_odds(log_probs: Tensor<1>) -> Tensor<1> {
    let rest = log_probs.clone().exp().neg().add_scalar(1.0).clamp_min(LEAST_DOUBT);
    log_probs - rest.log()
}

/// `1 - s(beta (x - kl))` of a desirable answer and `1 - s(beta (kl - x))` of an undesirable one, where `x` is the
/// log-ratio of policy and reference: KTO ([Ethayarajh et al. 2024](https://arxiv.org/abs/2402.01306), eq. 8).
/// `desirable` is 1 or 0; `kl` is `[1]`, of [`mismatched_kl`]; the others are `[answers]`.
pub fn kto(log_ratios: Tensor<1>, desirable: Tensor<1>, kl: Tensor<1>, beta: f32) -> Tensor<1> {
    let sign = desirable.mul_scalar(2.0).sub_scalar(1.0);
    let gain = (log_ratios - kl).mul_scalar(beta) * sign;
    // 1 - s(x) = s(-x), which keeps precision if s(x) is near 1.
    log_sigmoid(gain.neg()).exp()
}

/// KTO's estimate of KL(policy, reference): the mean log-ratio of answers to other prompts, `[answers]` to `[1]`; at
/// least 0, and without a gradient.
pub fn mismatched_kl(log_ratios: Tensor<1>) -> Tensor<1> {
    log_ratios.detach().mean().clamp_min(0.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use palestra_testing::assert_close;

    use super::*;
    use crate::ops::{available_devices, open_device};

    const LN_2: f32 = std::f32::consts::LN_2;

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

    /// pi = (-10, -12), reference = (-11, -11.5): D = 1.5.
    fn difference(device: &Device) -> Tensor<1> {
        let one = |value: f32| tensor([value], device);
        implicit_difference(one(-10.0), one(-12.0), one(-11.0), one(-11.5))
    }

    #[test]
    fn dpo_golden_values() {
        each_device(|device| {
            let one = |value: f32| tensor([value], device);
            assert_values(difference(device), &[1.5]);
            let logits = || difference(device).mul_scalar(0.1);
            assert_values(preference_nll(logits(), one(1.0)), &[0.620957]);
            assert_values(preference_nll(logits(), one(0.9)), &[0.635957]);
            assert_values(ipo(difference(device), 0.1), &[12.25]);
            assert_values(hinge(difference(device), 0.1), &[0.85]);
            // Means over 4 and 5 tokens.
            let means = implicit_difference(one(-10.0 / 4.0), one(-12.0 / 5.0), one(-11.0 / 4.0), one(-11.5 / 5.0));
            assert_values(ipo(means, 0.1), &[21.6225]);
        });
    }

    #[test]
    fn where_nothing_is_preferred_yet() {
        each_device(|device| {
            let zero = || tensor([0.0], device);
            assert_values(preference_nll(zero(), tensor([1.0], device)), &[LN_2]);
            assert_values(preference_nll(zero(), tensor([0.5], device)), &[LN_2]);
            assert_values(kto(zero(), tensor([1.0], device), zero(), 0.1), &[0.5]);
            assert_values(kto(zero(), tensor([0.0], device), zero(), 0.1), &[0.5]);
            assert_values(ipo(zero(), 0.1), &[25.0]);
            assert_values(simpo(zero(), zero(), 2.0, 0.0), &[LN_2]);
        });
    }

    #[test]
    fn far_away_every_loss_is_finite_and_right() {
        each_device(|device| {
            let far = || tensor([1e4, -1e4], device);
            assert_values(preference_nll(far(), tensor([1.0, 1.0], device)), &[0.0, 1e4]);
            assert_values(preference_nll(far(), tensor([0.5, 0.5], device)), &[5e3, 5e3]);
            assert_values(kto(far(), tensor([1.0, 1.0], device), tensor([0.0], device), 0.1), &[0.0, 1.0]);
            // exp(-0) leaves probability 0 for the other answer: the odds stop at 1e6.
            let certain = orpo(tensor([0.0], device), tensor([-1e4], device), 0.1);
            assert_values(certain, &[0.0]);
        });
    }

    #[test]
    fn margins_ties_and_centring_by_hand() {
        each_device(|device| {
            let (chosen, rejected) = (tensor([1.0, 2.0], device), tensor([0.0, 2.0], device));
            let logits = chosen.clone() - rejected.clone() - tensor([0.5, 0.0], device);
            // log(1 + exp(-0.5)) and ln 2.
            assert_values(preference_nll(logits, tensor([1.0, 0.5], device)), &[0.474077, LN_2]);
            assert_values(centring(chosen, rejected), &[1.0, 16.0]);
            // The loss of a tie is smallest at equal scores: 0.5 (log(1 + e) + log(1 + 1/e)).
            assert_values(preference_nll(tensor([1.0], device), tensor([0.5], device)), &[0.813262]);
        });
    }

    #[test]
    fn the_best_of_several_by_hand() {
        each_device(|device| {
            let scores = Tensor::<2>::from_data([[1.0, 0.0, 2.0], [1.0, 0.0, f32::NAN]], device);
            let present = Tensor::<2, Bool>::from_data([[true, true, true], [true, true, false]], device);
            // log(1 + e^-1 + e), and of two answers the pairwise loss log(1 + e^-1).
            assert_values(best_of_nll(scores, present), &[1.407606, 0.313262]);
            assert_values(rating_error(tensor([1.0, 3.0], device), tensor([2.0, 1.0], device)), &[1.0, 4.0]);
        });
    }

    #[test]
    fn what_is_no_answer_changes_no_gradient() {
        each_device(|device| {
            let device = device.clone().autodiff();
            let scores = Tensor::<2>::from_data([[1.0, 0.0, f32::NAN]], &device).require_grad();
            let present = Tensor::<2, Bool>::from_data([[true, true, false]], &device);
            let gradients = best_of_nll(scores.clone(), present).sum().backward();
            let found: Vec<f32> = scores.grad(&gradients).unwrap().into_data().try_into_vec().unwrap();
            let loser = 1.0 / (1.0 + 1f32.exp());
            assert_close!(found, [-loser, loser, 0.0], 1e-5);
        });
    }

    #[test]
    fn losses_without_a_reference_by_hand() {
        each_device(|device| {
            // -log s(2 * 0.5 - 0.5)
            assert_values(simpo(tensor([-1.0], device), tensor([-1.5], device), 2.0, 0.5), &[0.474077]);
            // p = e^-1 and e^-2: log odds -0.541325 and -1.854587.
            assert_values(orpo(tensor([-1.0], device), tensor([-2.0], device), 0.1), &[1.023818]);
        });
    }

    #[test]
    fn kto_by_hand() {
        each_device(|device| {
            let (ratios, labels) = (tensor([2.0, 2.0], device), tensor([1.0, 0.0], device));
            // 1 - s(0.5 (2 - 1)) and 1 - s(0.5 (1 - 2))
            assert_values(kto(ratios, labels, tensor([1.0], device), 0.5), &[0.377541, 0.622459]);
            assert_values(mismatched_kl(tensor([1.0, -0.5], device)), &[0.25]);
            assert_values(mismatched_kl(tensor([1.0, -2.5], device)), &[0.0]);
        });
    }
}
