use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::{
    retro_forward::RetroForward, state::BackwardStates, strategy::BalancedCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::Tensor;

/// Rule for the gradients of what an output was computed from, given the gradient of the output and which inputs are
/// tracked.
pub(crate) type Rule<const N: usize, const D: usize, const R: usize = 2> =
    Box<dyn FnOnce(Tensor<D>, [bool; N]) -> Pulled<N, R> + Send>;

/// Gradients that a rule gives, outside autodiff.
pub(crate) struct Pulled<const N: usize, const R: usize = 2> {
    /// Those of the inputs.
    pub inputs: [Option<Tensor<R>>; N],
    /// Those of parameters that are no inputs: leaves of the graph, each with its gradient.
    pub parameters: Vec<(DispatchTensor, DispatchTensor)>,
}

impl<const N: usize, const R: usize> From<[Option<Tensor<R>>; N]> for Pulled<N, R> {
    fn from(inputs: [Option<Tensor<R>>; N]) -> Self {
        Self { inputs, parameters: Vec::new() }
    }
}

/// Computes an output from the inputs, outside autodiff.
type Compute<const N: usize, const D: usize, const R: usize> = Box<dyn Fn([Tensor<R>; N]) -> Tensor<D> + Send>;

/// Records that `output` was computed from `inputs`, with a rule for the gradients in place of autodiff's own. The output
/// is outside autodiff, and the result is inside. No rule is asked unless one of the inputs is tracked.
pub(crate) fn with_gradient_rule<const N: usize, const D: usize, const R: usize>(
    inputs: [Tensor<R>; N],
    output: Tensor<D>,
    rule: Rule<N, D, R>,
) -> Tensor<D> {
    record_on_device(inputs, output, rule, None)
}

/// As [`with_gradient_rule`], of an output that takes less time to compute than memory to keep. Operations that use it do not keep
/// it for the backward pass: the first that needs it there computes it again from the inputs.
pub(crate) fn recomputed_with_gradient_rule<const N: usize, const D: usize, const R: usize>(
    inputs: [Tensor<R>; N],
    compute: Compute<N, D, R>,
    rule: Rule<N, D, R>,
) -> Tensor<D> {
    let output = compute(inputs.each_ref().map(|input| input.clone().inner()));
    record_on_device(inputs, output, rule, Some(compute))
}

fn record_on_device<const N: usize, const D: usize, const R: usize>(
    inputs: [Tensor<R>; N],
    output: Tensor<D>,
    rule: Rule<N, D, R>,
    again: Option<Compute<N, D, R>>,
) -> Tensor<D> {
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(&output.device()) {
        return record::<super::libtorch::TorchBackend, N, D, R>(inputs, output, rule, again);
    }
    record::<Flex, N, D, R>(inputs, output, rule, again)
}

const ON_DEVICE: &str = "the inputs and the output of an operation are on one device";

fn record<B: Backend, const N: usize, const D: usize, const R: usize>(
    inputs: [Tensor<R>; N],
    output: Tensor<D>,
    rule: Rule<N, D, R>,
    again: Option<Compute<N, D, R>>,
) -> Tensor<D>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let inputs = inputs.map(|input| input.autodiff().try_into_primitive::<Autodiff<B>>().expect(ON_DEVICE));
    let output = output.try_into_primitive::<B>().expect(ON_DEVICE);
    let rule = Shared(Arc::new(Mutex::new(Some(rule))));
    // What is computed from no tracked input belongs to no graph that could compute it again.
    let again = again.filter(|_| inputs.iter().any(|input| input.is_tracked()));
    let step = Step::<D, R>.prepare::<BalancedCheckpointing>(inputs.each_ref().map(|input| input.node()));
    let step = match again {
        None => step.compute_bound(),
        Some(compute) => {
            // Autodiff keeps those that are tracked until they are asked for, and knows nothing of the others.
            let sources = inputs.each_ref().map(|input| match input.is_tracked() {
                true => Input::Tracked(input.id()),
                false => Input::Fixed(input.primitive().clone()),
            });
            let again = Again::<B, N, D, R> { sources, compute };
            step.memory_bound().retro_forward(again).parents(inputs.iter().filter(|input| input.is_tracked()))
        }
    };
    let output: FloatTensor<Autodiff<B>> = match step.stateful() {
        OpsKind::Tracked(step) => step.finish(rule, output),
        OpsKind::UnTracked(step) => step.finish(output),
    };
    Tensor::from_primitive::<Autodiff<B>>(output)
}

/// Input of an operation whose output is computed again.
enum Input<T> {
    Tracked(NodeId),
    Fixed(T),
}

/// An output in the form in which a graph computes it again.
struct Again<B: Backend, const N: usize, const D: usize, const R: usize> {
    sources: [Input<FloatTensor<B>>; N],
    compute: Compute<N, D, R>,
}

impl<B: Backend, const N: usize, const D: usize, const R: usize> fmt::Debug for Again<B, N, D, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("computed again")
    }
}

impl<B: Backend, const N: usize, const D: usize, const R: usize> RetroForward for Again<B, N, D, R>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn forward(&self, states: &mut BackwardStates, output: NodeId) {
        let inputs = self.sources.each_ref().map(|input| {
            Tensor::from_primitive::<B>(match input {
                Input::Tracked(id) => states.get_state::<FloatTensor<B>>(id),
                Input::Fixed(input) => input.clone(),
            })
        });
        let found = (self.compute)(inputs);
        states.save(output, found.try_into_primitive::<B>().expect(ON_DEVICE));
    }
}

/// A rule in the form in which a graph holds it. It is taken by the one backward pass of its graph, so that it may
/// change in place what it owns.
#[derive(Clone)]
struct Shared<const N: usize, const D: usize, const R: usize>(Arc<Mutex<Option<Rule<N, D, R>>>>);

impl<const N: usize, const D: usize, const R: usize> fmt::Debug for Shared<N, D, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rule")
    }
}

#[derive(Debug)]
struct Step<const D: usize, const R: usize>;

impl<B: Backend, const N: usize, const D: usize, const R: usize> Backward<B, N> for Step<D, R>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    type State = Shared<N, D, R>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
        let rule = ops.state.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let rule = rule.expect("burn refuses a second backward pass of a graph");
        let found = rule(gradient, ops.parents.each_ref().map(Option::is_some));
        for (parent, gradient) in ops.parents.into_iter().zip(found.inputs) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                let gradient = gradient.try_into_primitive::<B>().expect("rules compute outside autodiff");
                grads.register::<B>(parent.id, gradient);
            }
        }
        for (parameter, gradient) in found.parameters {
            let parameter = <DispatchTensor as DispatchKindConversion<Autodiff<B>>>::try_into_backend(parameter);
            let gradient = <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(gradient);
            let (parameter, gradient) = parameter.ok().zip(gradient.ok()).expect("parameters are on the device");
            grads.register::<B>(parameter.float().id(), gradient.float());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use palestra_testing::assert_close;

    use super::*;
    use crate::ops::{available_devices, open_device};

    /// `left + 2 right`, and how often it is computed.
    fn sum(left: Tensor<2>, right: Tensor<2>) -> (Tensor<2>, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let compute = move |[left, right]: [Tensor<2>; 2]| {
            counted.fetch_add(1, Ordering::Relaxed);
            left + right.mul_scalar(2.0)
        };
        let rule = |gradient: Tensor<2>, _| [Some(gradient.clone()), Some(gradient.mul_scalar(2.0))].into();
        (recomputed_with_gradient_rule([left, right], Box::new(compute), Box::new(rule)), count)
    }

    /// Two products need the sum for the gradients of their weights, whether or not all of its inputs are trained.
    #[test]
    fn an_output_is_computed_again_once_for_all_that_need_it() {
        for name in available_devices() {
            let device = open_device(name).unwrap();
            let tensor = |numbers: [[f32; 2]; 2]| Tensor::<2>::from_data(numbers, &device).autodiff();
            let left = tensor([[1.0, 2.0], [3.0, 4.0]]).require_grad();
            let numbers = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().try_into_vec().unwrap() };
            for right in [tensor([[0.5, 0.0], [0.0, 1.0]]), tensor([[0.5, 0.0], [0.0, 1.0]]).require_grad()] {
                let weights = [[[1.0, 0.0], [0.0, 1.0]], [[2.0, 1.0], [0.0, 3.0]]].map(|w| tensor(w).require_grad());
                let (output, count) = sum(left.clone(), right.clone());
                let [first, second] = weights.each_ref().map(|weight| output.clone().matmul(weight.clone()));
                assert_eq!(count.load(Ordering::Relaxed), 1);
                let gradients = (first + second).sum().backward();
                assert_eq!(count.load(Ordering::Relaxed), 2, "{name}");
                // The sum is [[2, 2], [3, 6]].
                for weight in weights {
                    assert_close!(numbers(weight.grad(&gradients).unwrap()), [5.0, 5.0, 8.0, 8.0], 1e-6, "{name}");
                }
                assert_close!(numbers(left.grad(&gradients).unwrap()), [4.0, 4.0, 4.0, 4.0], 1e-6, "{name}");
                if let Some(of_right) = right.grad(&gradients) {
                    assert_close!(numbers(of_right), [8.0, 8.0, 8.0, 8.0], 1e-6, "{name}");
                }
            }
        }
    }
}
