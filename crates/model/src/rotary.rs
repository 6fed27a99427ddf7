//! Rotary positions in the half-split form of Hugging Face's Llama
//! ([Su et al. 2021](https://arxiv.org/abs/2104.09864), `rotate_half`).

use std::f64::consts::PI;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{ModelConfig, RopeScaling};

/// The cosines and sines of every position, `[context, head_dim]`.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

/// The cosines and sines of the positions of one forward pass, shared by all its layers.
/// `[1 or batch, 1, time, head_dim]`
pub struct Rotation {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl RotaryTable {
    /// Angles `position * frequency`, each in both halves of a head. They are rounded as in transformers, so that far
    /// positions are those that published models were trained with.
    pub fn new(config: &ModelConfig, device: &Device) -> Self {
        let frequencies = frequencies(config);
        let (context, head_dim) = (config.context, 2 * frequencies.len());
        let table = |f: fn(f64) -> f64| {
            let row =
                |position| frequencies.iter().map(move |frequency| f(f64::from(position as f32 * frequency)) as f32);
            let values: Vec<f32> = (0..context).flat_map(|position| row(position).chain(row(position))).collect();
            Tensor::from_data(TensorData::new(values, [context, head_dim]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// The rotation of positions `start..start + time`, the same in every row.
    pub fn range(&self, start: usize, time: usize) -> Rotation {
        let rows = |table: &Tensor<2>| table.clone().slice(start..start + time).unsqueeze::<4>();
        Rotation { cos: rows(&self.cos), sin: rows(&self.sin) }
    }

    /// The rotation of each row's own positions, `[batch, time]`.
    pub fn at(&self, positions: Tensor<2, Int>) -> Rotation {
        let [batch, time] = positions.dims();
        let positions = positions.inner().reshape([batch * time]);
        let rows = |table: &Tensor<2>| {
            let [_, head_dim] = table.dims();
            table.clone().select(0, positions.clone()).reshape([batch, 1, time, head_dim])
        };
        Rotation { cos: rows(&self.cos), sin: rows(&self.sin) }
    }
}

/// The angle between neighbouring positions for each pair of a head: `theta^(-2i / head_dim)`, scaled by
/// [`RopeScaling`].
fn frequencies(config: &ModelConfig) -> Vec<f32> {
    let head_dim = config.head_dim();
    let plain = (0..head_dim / 2).map(|i| config.rope_theta.powf(-2.0 * i as f64 / head_dim as f64) as f32 as f64);
    let stretched = |frequency: f64| match config.rope_scaling {
        None => frequency,
        Some(RopeScaling::Linear { factor }) => frequency / factor,
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
            let turns = frequency * original_context as f64 / (2.0 * PI);
            let high = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
            (1.0 - high) * frequency / factor + high * frequency
        }
    };
    plain.map(|frequency| stretched(frequency) as f32).collect()
}

impl Rotation {
    /// Moves the table into the autodiff context of `tensor`.
    pub fn like(self, tensor: &Tensor<2>) -> Self {
        match tensor.is_autodiff() {
            true => Self { cos: self.cos.autodiff(), sin: self.sin.autodiff() },
            false => self,
        }
    }

    /// Rotates `[batch, heads, time, head_dim]`: `x cos + rotate_half(x) sin`, `rotate_half(x1, x2) = (-x2, x1)`.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, _, head_dim] = x.dims();
        let first = x.clone().narrow(3, 0, head_dim / 2);
        let second = x.clone().narrow(3, head_dim / 2, head_dim / 2);
        let rotated = Tensor::cat(vec![second.neg(), first], 3);
        x * self.cos.clone() + rotated * self.sin.clone()
    }
}
