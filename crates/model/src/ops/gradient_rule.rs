use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
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

/// Records that `output` was computed from `inputs`, with a rule for the gradients in place of autodiff's own. The output
/// is outside autodiff, and the result is inside. No rule is asked unless one of the inputs is tracked.
pub(crate) fn with_gradient_rule<const N: usize, const D: usize, const R: usize>(
    inputs: [Tensor<R>; N],
    output: Tensor<D>,
    rule: Rule<N, D, R>,
) -> Tensor<D> {
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(&output.device()) {
        return record::<super::libtorch::TorchBackend, N, D, R>(inputs, output, rule);
    }
    record::<Flex, N, D, R>(inputs, output, rule)
}

fn record<B: Backend, const N: usize, const D: usize, const R: usize>(
    inputs: [Tensor<R>; N],
    output: Tensor<D>,
    rule: Rule<N, D, R>,
) -> Tensor<D>
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
    let output: FloatTensor<Autodiff<B>> =
        match Step::<D, R>.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(rule, output),
            OpsKind::UnTracked(step) => step.finish(output),
        };
    Tensor::from_primitive::<Autodiff<B>>(output)
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
