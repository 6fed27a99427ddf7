use burn::tensor::activation::log_softmax;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::loops::LogSumExp;
use super::memory::{Numbers, OwnNumbers};
use super::{loops, memory, with_gradient_rule};

/// Log-probability of each row's target: `log_softmax(logits)[row, targets[row]]`.
///
/// `logits` is `[rows, vocab]`, `targets` is `[rows]` with values in `0..vocab`; returns `[rows]`. Differentiable in
/// `logits`. On a CPU the gradient is made in the memory of the logits, and on a GPU in that of the log-softmax, where the
/// composed form holds several `[rows, vocab]` buffers from forward to backward.
///
/// # Panics
/// If the two differ in rows, or a target is none of the vocabulary.
pub fn selected_log_probs(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    assert_eq!([logits.dims()[0]], targets.dims(), "logits and targets differ in rows");
    if memory::holds(&logits) {
        let (softmax, targets) = (Softmax::of(logits.clone().inner()), targets.inner());
        let selected = softmax.selected(&targets);
        if !logits.is_autodiff() {
            return selected;
        }
        let rule = move |gradient: Tensor<1>, _| [Some(softmax.gradient(&targets, gradient))].into();
        return with_gradient_rule([logits], selected, Box::new(rule));
    }
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(&logits.device()) {
        return super::libtorch::selected_log_probs(logits, targets);
    }
    selected_log_probs_composed(logits, targets)
}

/// Softmax of rows of logits, outside autodiff.
pub(super) enum Softmax {
    /// Of logits in memory, with the sum of each row's exponentials: nothing else of their size is made.
    InMemory { logits: Tensor<2>, sums: Vec<LogSumExp> },
    /// Its logarithms, `[rows, vocab]`.
    LogProbs(Tensor<2>),
}

impl Softmax {
    /// That of logits, `[rows, vocab]`.
    pub fn of(logits: Tensor<2>) -> Self {
        if !memory::holds(&logits) {
            return Self::LogProbs(log_softmax(logits, 1));
        }
        let ([_, vocab], threads) = (logits.dims(), memory::threads(&logits.device()));
        let sums = loops::log_sum_exp(&Numbers::of(logits.clone()), vocab, threads);
        Self::InMemory { logits, sums }
    }

    /// Log-probability of each row's target, `[rows]`.
    pub fn selected(&self, targets: &Tensor<1, Int>) -> Tensor<1> {
        match self {
            Self::InMemory { logits, sums } => {
                let ([rows, vocab], device) = (logits.dims(), logits.device());
                let logits = Numbers::of(logits.clone());
                let places = logits.chunks_exact(vocab).zip(sums).zip(indices(targets));
                let selected: Vec<f32> = places.map(|((row, sum), target)| sum.log_prob(row[target])).collect();
                Tensor::from_data(TensorData::new(selected, [rows]), &device)
            }
            Self::LogProbs(log_probs) => log_probs.clone().gather(1, targets.clone().unsqueeze_dim(1)).squeeze_dim(1),
        }
    }

    /// Log-probabilities of all tokens, `[rows, vocab]`.
    pub fn log_probs(&self) -> Tensor<2> {
        match self {
            Self::InMemory { logits, sums } => {
                let column = |part: fn(&LogSumExp) -> f32| {
                    let numbers: Vec<f32> = sums.iter().map(part).collect();
                    Tensor::<1>::from_data(numbers.as_slice(), &logits.device()).unsqueeze_dim(1)
                };
                logits.clone() - column(|sum| sum.largest) - column(|sum| sum.log_sum)
            }
            Self::LogProbs(log_probs) => log_probs.clone(),
        }
    }

    /// Gradient of the logits, `[rows, vocab]`, given that of each target's log-probability, `[rows]`: with p the
    /// probabilities, `gradient ((i == target) - p_i)`. It is made in the memory of the logits, if nobody else has it.
    pub fn gradient(self, targets: &Tensor<1, Int>, gradient: Tensor<1>) -> Tensor<2> {
        match self {
            Self::InMemory { logits, sums } => {
                let (shape, threads) = (logits.dims(), memory::threads(&logits.device()));
                let mut numbers = OwnNumbers::of(logits);
                let (targets, factors) = (indices(targets), Numbers::of(gradient));
                loops::log_probs_gradient(&mut numbers, shape[1], &sums, &targets, &factors, threads);
                numbers.tensor(shape)
            }
            Self::LogProbs(log_probs) => {
                let gradient: Tensor<2> = gradient.unsqueeze_dim(1);
                let spread = log_probs.exp() * gradient.clone().neg();
                spread.scatter(1, targets.clone().unsqueeze_dim(1), gradient, IndexingUpdateOp::Add)
            }
        }
    }
}

fn indices(targets: &Tensor<1, Int>) -> Vec<usize> {
    let targets = targets.clone().into_data();
    targets.iter::<i64>().map(|target| usize::try_from(target).expect("a token is not below 0")).collect()
}

/// [`selected_log_probs`] in its portable form: a log-softmax and a gather.
pub fn selected_log_probs_composed(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _vocab] = logits.dims();
    assert_eq!([rows], targets.dims(), "logits and targets differ in rows");
    log_softmax(logits, 1).gather(1, targets.reshape([rows, 1])).reshape([rows])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{available_devices, open_device};
    use burn::tensor::{Device, TensorData};
    use palestra_testing::assert_close;

    type Form = fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>;
    const FORMS: [Form; 2] = [selected_log_probs, selected_log_probs_composed];

    const LOGITS: [[f64; 4]; 3] = [[1.0, 2.0, -1.0, 0.5], [0.0, 0.0, 0.0, 0.0], [1000.0, -1000.0, 999.0, 0.0]];
    const TARGETS: [usize; 3] = [1, 3, 2];
    /// Weight of each row in the loss.
    const WEIGHTS: [f64; 3] = [1.0, -2.0, 0.5];

    #[test]
    fn values_and_gradients_follow_the_formula() {
        for_every_device(|device, form| {
            let (logits, targets) = inputs(device);
            assert_close!(numbers(form(logits, targets)), expected(), 1e-6);

            let (logits, targets) = inputs(&device.clone().autodiff());
            let logits = logits.require_grad();
            let found = form(logits.clone(), targets);
            assert_close!(numbers(found.clone()), expected(), 1e-6);
            let weights = Tensor::<1>::from_data(WEIGHTS.map(|x| x as f32), device);
            let grads = (found * weights).sum().backward();
            assert_close!(numbers(logits.grad(&grads).unwrap()), expected_grad(), 1e-6);
        });
    }

    #[test]
    fn two_losses_may_share_the_logits() {
        for_every_device(|device, form| {
            let (logits, targets) = inputs(&device.clone().autodiff());
            let logits = logits.require_grad();
            let twice = form(logits.clone(), targets.clone()) + form(logits.clone(), targets);
            let weights = Tensor::<1>::from_data(WEIGHTS.map(|x| x as f32 / 2.0), device);
            let grads = (twice * weights).sum().backward();
            assert_close!(numbers(logits.grad(&grads).unwrap()), expected_grad(), 1e-6);
            assert_close!(numbers(logits), LOGITS.concat(), 1e-6);
        });
    }

    fn for_every_device(test: impl Fn(&Device, Form)) {
        for name in available_devices() {
            let device = open_device(name).unwrap();
            for form in FORMS {
                test(&device, form);
            }
        }
    }

    fn inputs(device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
        let logits: Vec<f32> = LOGITS.concat().iter().map(|x| *x as f32).collect();
        let targets: Vec<i64> = TARGETS.iter().map(|x| *x as i64).collect();
        (
            Tensor::from_data(TensorData::new(logits, [3, 4]), device),
            Tensor::from_data(TensorData::new(targets, [3]), device),
        )
    }

    fn log_softmax_of(row: [f64; 4]) -> [f64; 4] {
        let highest = row.into_iter().fold(f64::MIN, f64::max);
        let total: f64 = row.iter().map(|x| (x - highest).exp()).sum();
        row.map(|x| x - highest - total.ln())
    }

    fn expected() -> Vec<f64> {
        LOGITS.into_iter().zip(TARGETS).map(|(row, target)| log_softmax_of(row)[target]).collect()
    }

    fn expected_grad() -> Vec<f64> {
        let mut grad = Vec::new();
        for ((row, target), weight) in LOGITS.into_iter().zip(TARGETS).zip(WEIGHTS) {
            let p = log_softmax_of(row).map(f64::exp);
            grad.extend((0..4).map(|i| weight * (f64::from(u8::from(i == target)) - p[i])));
        }
        grad
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }
}
