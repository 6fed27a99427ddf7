use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::Tensor;

/// Rule for the gradients of inputs, given the gradient of the output and which inputs are tracked. It computes outside
/// autodiff.
pub(super) type Rule<const N: usize> = Box<dyn FnOnce(Tensor<1>, [bool; N]) -> [Option<Tensor<2>>; N] + Send>;

/// Records that `output` was computed from `inputs`, with a rule for the gradients in place of autodiff's own. The output
/// is outside autodiff, and the result is inside.
pub(super) fn with_gradient_rule<const N: usize>(
    inputs: [Tensor<2>; N],
    output: Tensor<1>,
    rule: Rule<N>,
) -> Tensor<1> {
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(&output.device()) {
        return record::<super::libtorch::LibTorch, N>(inputs, output, rule);
    }
    record::<Flex, N>(inputs, output, rule)
}

fn record<B: Backend, const N: usize>(inputs: [Tensor<2>; N], output: Tensor<1>, rule: Rule<N>) -> Tensor<1>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    const ON_DEVICE: &str = "the inputs and the output of an operation are on one device";
    let nodes = inputs.map(|input| {
        let input = input.autodiff().try_into_primitive::<Autodiff<B>>().expect(ON_DEVICE);
        input.into_parts().1
    });
    let output = output.try_into_primitive::<B>().expect(ON_DEVICE);
    let rule = Shared(Arc::new(Mutex::new(Some(rule))));
    let output: FloatTensor<Autodiff<B>> = match Step.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(rule, output),
        OpsKind::UnTracked(step) => step.finish(output),
    };
    Tensor::from_primitive::<Autodiff<B>>(output)
}

/// A rule in the form in which a graph holds it. It is taken by the one backward pass of its graph, so that it may
/// change in place what it owns.
#[derive(Clone)]
struct Shared<const N: usize>(Arc<Mutex<Option<Rule<N>>>>);

impl<const N: usize> fmt::Debug for Shared<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rule")
    }
}

#[derive(Debug)]
struct Step;

impl<B: Backend, const N: usize> Backward<B, N> for Step
where
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = Shared<N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
        let rule = ops.state.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let rule = rule.expect("burn refuses a second backward pass of a graph");
        let found = rule(gradient, ops.parents.each_ref().map(Option::is_some));
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                let gradient = gradient.try_into_primitive::<B>().expect("rules compute outside autodiff");
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}
