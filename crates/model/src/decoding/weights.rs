use burn::tensor::Tensor;

use crate::ops::MatrixNumbers;
use crate::ops::loops::{self, Lines, Product, Threads, multiply};
use crate::{Linear, Norm, Weight};

/// A linear layer with its adapter.
pub(super) struct LinearNumbers {
    weight: MatrixNumbers,
    bias: Option<Vec<f32>>,
    adapter: Option<AdapterNumbers>,
    input: usize,
    output: usize,
}

/// LoRA adapter of a linear layer.
struct AdapterNumbers {
    down: MatrixNumbers,
    up: MatrixNumbers,
    rank: usize,
    scale: f32,
}

impl LinearNumbers {
    /// Those of a layer; `None` if they are not in memory.
    pub fn of(layer: &Linear) -> Option<Self> {
        let weight = match &layer.weight {
            Weight::Dense(weight) => MatrixNumbers::of(&weight.val())?,
            Weight::Frozen(matrix) => matrix.in_memory()?,
        };
        let adapter = match &layer.adapter {
            None => None,
            Some(adapter) => Some(AdapterNumbers {
                down: MatrixNumbers::of(&adapter.down.val())?,
                up: MatrixNumbers::of(&adapter.up.val())?,
                rank: adapter.down.val().dims()[1],
                scale: adapter.scale() as f32,
            }),
        };
        let [input, output] = layer.weight.dims();
        Some(Self { weight, bias: layer.bias.as_ref().map(|bias| host(bias.val())), adapter, input, output })
    }

    fn product<'a>(&'a self, output: &'a mut [f32]) -> Product<'a> {
        Product { matrix: self.weight.matrix(), bias: self.bias.as_deref(), output }
    }
}

/// Memory that products share.
#[derive(Default)]
pub(super) struct ProductBuffers {
    arranged: Lines,
    narrow: Vec<f32>,
    added: Vec<f32>,
}

/// Outputs of layers that have one input, `[rows, input]`. The outputs get their size.
pub(super) fn linear<const N: usize>(
    x: &[f32],
    layers: [&LinearNumbers; N],
    mut outputs: [&mut Vec<f32>; N],
    buffers: &mut ProductBuffers,
    threads: Threads,
) {
    let input = layers[0].input;
    let rows = x.len() / input;
    let mut layer = layers.iter();
    let products = outputs.each_mut().map(|output| {
        let layer = layer.next().expect("as many layers as outputs");
        output.resize(rows * layer.output, 0.0);
        layer.product(output)
    });
    multiply(x, input, products, &mut buffers.arranged, threads);
    for (layer, output) in layers.into_iter().zip(outputs) {
        if let Some(adapter) = &layer.adapter {
            adapter.add(x, input, output, buffers, threads);
        }
    }
}

impl AdapterNumbers {
    /// Adds `(scale * x A) B` to the output.
    fn add(&self, x: &[f32], input: usize, output: &mut [f32], buffers: &mut ProductBuffers, threads: Threads) {
        let ProductBuffers { arranged, narrow, added } = buffers;
        narrow.resize(x.len() / input * self.rank, 0.0);
        added.resize(output.len(), 0.0);
        multiply(x, input, [Product { matrix: self.down.matrix(), bias: None, output: narrow }], arranged, threads);
        narrow.iter_mut().for_each(|number| *number *= self.scale);
        multiply(
            narrow,
            self.rank,
            [Product { matrix: self.up.matrix(), bias: None, output: added }],
            arranged,
            threads,
        );
        add(output, added);
    }
}

/// A norm; with a bias it is a layer norm.
pub(super) struct NormNumbers {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    eps: f32,
}

impl NormNumbers {
    pub fn of(norm: &Norm) -> Self {
        let bias = norm.bias.as_ref().map(|bias| host(bias.val()));
        Self { weight: host(norm.factor()), bias, eps: norm.eps() as f32 }
    }

    /// The norm of rows as wide as its weight.
    pub fn apply(&self, x: &[f32], output: &mut [f32], threads: Threads) {
        match &self.bias {
            Some(bias) => loops::layer_norm(x, [&self.weight, bias], output, self.eps, threads),
            None => loops::rms_norm(x, &self.weight, output, self.eps, threads),
        }
    }
}

/// Adds `b` to `a`.
pub(super) fn add(a: &mut [f32], b: &[f32]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

/// Numbers of a small tensor, copied.
pub(super) fn host(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("the model computes in f32")
}
