//! Rotary positions in the half-split form of Hugging Face's Llama
//! ([Su et al. 2021](https://arxiv.org/abs/2104.09864), `rotate_half`).

use std::f64::consts::PI;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::RopeScaling;
use super::layer_plan::Rope;
use crate::ops::rotate;

/// The cosines and sines of every position.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    near: Angles,
    /// Angles of a forward pass that reaches beyond this many positions (LongRoPE).
    far: Option<(usize, Angles)>,
}

/// Cosines and sines, `[context, rotary_dim]`, times the factor of attention.
#[derive(Debug, Clone)]
struct Angles {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

/// The cosines and sines of the positions of one forward pass, shared by all its layers.
/// `[1 or batch, 1, time, rotary_dim]`
pub struct Rotation {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl RotaryTable {
    /// Angles `position * frequency`, each in both halves of a head. They are rounded as in transformers, so that far
    /// positions are those that published models were trained with.
    pub fn new(rope: &Rope, device: &Device) -> Self {
        let (near, far) = frequencies(rope);
        let factor = attention_factor(rope) as f32;
        let angles = |frequencies: Vec<f32>| {
            let (context, dim) = (rope.context, 2 * frequencies.len());
            let table = |f: fn(f64) -> f64| {
                let row = |position| {
                    frequencies.iter().map(move |frequency| f(f64::from(position as f32 * frequency)) as f32 * factor)
                };
                let values: Vec<f32> = (0..context).flat_map(|position| row(position).chain(row(position))).collect();
                Tensor::from_data(TensorData::new(values, [context, dim]), device)
            };
            Angles { cos: table(f64::cos), sin: table(f64::sin) }
        };
        Self { near: angles(near), far: far.map(|(beyond, frequencies)| (beyond, angles(frequencies))) }
    }

    /// The rotation of positions `start..start + time`, the same in every row.
    pub fn range(&self, start: usize, time: usize) -> Rotation {
        let angles = self.angles(|| start + time);
        let rows = |table: &Tensor<2>| table.clone().slice(start..start + time).unsqueeze::<4>();
        Rotation { cos: rows(&angles.cos), sin: rows(&angles.sin) }
    }

    /// The rotation of each row's own positions, `[batch, time]`. `is_far` says which angles, if the positions do not.
    pub fn at(&self, positions: Tensor<2, Int>, is_far: Option<bool>) -> Rotation {
        let [batch, time] = positions.dims();
        let positions = positions.inner().reshape([batch * time]);
        let angles = self.angles(|| match is_far {
            Some(is_far) => {
                if is_far {
                    usize::MAX
                } else {
                    0
                }
            }
            None => positions.clone().into_data().iter::<i64>().max().map_or(0, |last| last as usize + 1),
        });
        let rows = |table: &Tensor<2>| {
            let [_, dim] = table.dims();
            table.clone().select(0, positions.clone()).reshape([batch, 1, time, dim])
        };
        Rotation { cos: rows(&angles.cos), sin: rows(&angles.sin) }
    }

    /// Cosines and sines of all positions, `[context, rotary_dim]`, of short or of long texts.
    pub fn tables(&self, is_far: bool) -> [Tensor<2>; 2] {
        let Angles { cos, sin } = self.angles(|| if is_far { usize::MAX } else { 0 });
        [cos.clone(), sin.clone()]
    }

    /// Maximum length of a forward pass with the angles of short ones; `None` if all have them.
    pub fn near_length(&self) -> Option<usize> {
        self.far.as_ref().map(|(beyond, _)| *beyond)
    }

    /// The angles of a forward pass up to this many positions, as transformers chooses them: for all its rows at once.
    fn angles(&self, length: impl FnOnce() -> usize) -> &Angles {
        match &self.far {
            Some((beyond, far)) if length() > *beyond => far,
            _ => &self.near,
        }
    }
}

/// The angle between neighbouring positions for each pair of a head, `theta^(-2i / dim)`, scaled by
/// [`RopeScaling`]; and those of passes beyond a length, with that length.
fn frequencies(rope: &Rope) -> (Vec<f32>, Option<(usize, Vec<f32>)>) {
    let &Rope { theta, dim, .. } = rope;
    let plain = (0..dim / 2).map(|i| theta.powf(-2.0 * i as f64 / dim as f64) as f32 as f64);
    let scaled = |scale: &dyn Fn(usize, f64) -> f64| -> Vec<f32> {
        plain.clone().enumerate().map(|(pair, frequency)| scale(pair, frequency) as f32).collect()
    };
    match &rope.scaling {
        None | Some(RopeScaling::Dynamic { .. }) => (scaled(&|_, frequency| frequency), None),
        Some(RopeScaling::Linear { factor }) => (scaled(&|_, frequency| frequency / factor), None),
        Some(RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. }) => {
            let pairs = (0..dim / 2).map(|pair| pair as f64);
            // The pair whose frequency makes so many rotations in the original context.
            let pair_of = |rotations: f64| {
                let wavelength = *original_context as f64 / (rotations * 2.0 * PI);
                dim as f64 * wavelength.ln() / (2.0 * theta.ln())
            };
            let (low, high) = (pair_of(*beta_fast), pair_of(*beta_slow));
            let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
            let (low, mut high) = (low.max(0.0), high.min(dim as f64 - 1.0));
            if low == high {
                high += 0.001; // as transformers does, so that the ramp has a width
            }
            let divided: Vec<f64> = pairs.map(|pair| ((pair - low) / (high - low)).clamp(0.0, 1.0)).collect();
            let blend =
                |pair: usize, frequency: f64| divided[pair] * frequency / factor + (1.0 - divided[pair]) * frequency;
            (scaled(&blend), None)
        }
        Some(RopeScaling::LongRope { short_factor, long_factor, original_context, .. }) => {
            let divided = |factors: &[f64]| scaled(&|pair, frequency| frequency / factors[pair]);
            (divided(short_factor), Some((*original_context, divided(long_factor))))
        }
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
            let blend = |_, frequency: f64| {
                let turns = frequency * *original_context as f64 / (2.0 * PI);
                let high = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                (1.0 - high) * frequency / factor + high * frequency
            };
            (scaled(&blend), None)
        }
    }
}

/// Numbers that scaling divides the frequency of each pair by; those of short passes, where the length matters.
pub(super) fn frequency_divisors(rope: &Rope) -> Vec<f32> {
    let (plain, _) = frequencies(&Rope { scaling: None, ..rope.clone() });
    let (scaled, _) = frequencies(rope);
    plain.iter().zip(scaled).map(|(plain, scaled)| plain / scaled).collect()
}

/// Factor of rotated queries and keys.
fn attention_factor(rope: &Rope) -> f64 {
    match &rope.scaling {
        Some(RopeScaling::Yarn { attention_factor: Some(factor), .. }) => *factor,
        Some(RopeScaling::Yarn { factor, .. }) => yarn_attention_factor(*factor, 1.0),
        Some(RopeScaling::LongRope { attention_factor: Some(factor), .. }) => *factor,
        Some(RopeScaling::LongRope { original_context, .. }) => {
            long_rope_attention_factor(rope.context as f64 / *original_context as f64, *original_context)
        }
        _ => 1.0,
    }
}

/// Attention factor of YaRN: `0.1 weight ln(factor) + 1`.
pub(super) fn yarn_attention_factor(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
}

/// Attention factor of LongRoPE: `sqrt(1 + ln(factor) / ln(original_context))`.
pub(super) fn long_rope_attention_factor(factor: f64, original_context: usize) -> f64 {
    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original_context as f64).ln()).sqrt() }
}

impl Rotation {
    /// Moves the table into the autodiff context of `tensor`.
    pub fn like(self, tensor: &Tensor<2>) -> Self {
        match tensor.is_autodiff() {
            true => Self { cos: self.cos.autodiff(), sin: self.sin.autodiff() },
            false => self,
        }
    }

    /// The table outside autodiff.
    pub fn inner(&self) -> Self {
        Self { cos: self.cos.clone().inner(), sin: self.sin.clone().inner() }
    }

    /// Rotates the first numbers of each head, `[batch, heads, time, head_dim]`.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        rotate(x, self.cos.clone(), self.sin.clone())
    }
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;

    use super::*;

    /// A head of 16 numbers, 128 positions and a base of 500.
    fn config(scaling: RopeScaling) -> Rope {
        Rope { theta: 500.0, dim: 16, scaling: Some(scaling), context: 128 }
    }

    fn yarn(attention_factor: Option<f64>, beta_fast: f64, beta_slow: f64, truncate: bool) -> RopeScaling {
        RopeScaling::Yarn { factor: 4.0, original_context: 32, attention_factor, beta_fast, beta_slow, truncate }
    }

    fn long_rope(attention_factor: Option<f64>) -> RopeScaling {
        RopeScaling::LongRope {
            short_factor: (0..8).map(|pair| 1.0 + f64::from(pair) / 8.0).collect(),
            long_factor: (0..8).map(|pair| 2.0 + f64::from(pair)).collect(),
            original_context: 32,
            attention_factor,
        }
    }

    /// The numbers are those of `ROPE_INIT_FUNCTIONS` of transformers 5.24.
    #[test]
    fn frequencies_are_those_of_transformers() {
        const PLAIN: [f64; 8] =
            [1.0, 0.459863275, 0.21147424, 0.0972492471, 0.0447213612, 0.0205657128, 0.0094574159, 0.00434911856];
        const YARN: [f64; 8] =
            [1.0, 0.344897449, 0.10573712, 0.0243123118, 0.0111803403, 0.00514142821, 0.00236435398, 0.00108727964];
        const YARN_BETAS: [f64; 8] =
            [1.0, 0.173223749, 0.05286856, 0.0243123118, 0.0111803403, 0.00514142821, 0.00236435398, 0.00108727964];
        const NEAR: [f64; 8] =
            [1.0, 0.408767372, 0.169179395, 0.0707267225, 0.0298142396, 0.0126558226, 0.00540423766, 0.00231952989];
        const LLAMA3: [f64; 8] =
            [1.0, 0.459863275, 0.0976166278, 0.0121561559, 0.00559017016, 0.0025707141, 0.00118217699, 0.000543639821];
        const FAR: [f64; 8] =
            [0.5, 0.153287768, 0.05286856, 0.0194498487, 0.0074535599, 0.00293795904, 0.00118217699, 0.000483235344];
        let llama3 =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 64 };
        let cases = [
            (RopeScaling::Linear { factor: 4.0 }, PLAIN.map(|frequency| frequency / 4.0), 1.0),
            (RopeScaling::Dynamic { factor: 4.0 }, PLAIN, 1.0),
            (yarn(None, 32.0, 1.0, true), YARN, 1.138629436111989),
            (yarn(Some(0.75), 32.0, 1.0, true), YARN, 0.75),
            (yarn(None, 8.0, 2.0, false), YARN_BETAS, 1.138629436111989),
            (long_rope(None), NEAR, 1.1832159566199232),
            (long_rope(Some(0.5)), NEAR, 0.5),
            (llama3, LLAMA3, 1.0),
        ];
        for (scaling, expected, factor) in cases {
            let config = config(scaling);
            let (near, far) = frequencies(&config);
            // Relative: low frequencies are small.
            let ratios: Vec<f64> =
                near.iter().zip(expected).map(|(&found, expected)| f64::from(found) / expected).collect();
            assert_close!(ratios, [1.0; 8], 1e-6, "{:?}", config.scaling);
            assert_close!([attention_factor(&config)], [factor], 1e-12, "{:?}", config.scaling);
            if let Some((beyond, far)) = far {
                let ratios: Vec<f64> =
                    far.iter().zip(FAR).map(|(&found, expected)| f64::from(found) / expected).collect();
                assert_eq!(beyond, 32);
                assert_close!(ratios, [1.0; 8], 1e-6);
            }
        }
    }

    #[test]
    fn the_length_of_a_pass_selects_the_frequencies_of_long_rope() {
        let table = RotaryTable::new(&config(long_rope(Some(0.5))), &Device::flex());
        let first = |rotation: Rotation| -> f32 {
            let [_, _, time, _] = rotation.sin.dims();
            rotation.sin.slice([0..1, 0..1, time - 1..time, 0..1]).into_scalar::<f32>()
        };
        let at = |positions: Vec<i64>| {
            let time = positions.len();
            first(table.at(Tensor::from_data(TensorData::new(positions, [1, time]), &Device::flex()), None))
        };
        let sin = |position: f64, frequency: f64| 0.5 * (position * frequency).sin() as f32;
        assert_close!(first(table.range(0, 32)), sin(31.0, 1.0), 1e-5);
        assert_close!(first(table.range(0, 33)), sin(32.0, 0.5), 1e-5);
        assert_close!(first(table.range(32, 1)), sin(32.0, 0.5), 1e-5);
        assert_close!(at(vec![31, 3]), sin(3.0, 1.0), 1e-5);
        assert_close!(at(vec![32, 3]), sin(3.0, 0.5), 1e-5);
    }
}
