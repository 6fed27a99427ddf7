//! Plan of each block of a decoder: its mask, its rotation, its feed-forward layer.

use super::families::{Activation, NormKind, NormPlacement};
use super::{ExpertsConfig, ModelConfig, RopeScaling};

/// Rotary positions of a layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Numbers of a head that are rotated, the first ones.
    pub dim: usize,
    pub scaling: Option<RopeScaling>,
    /// Number of positions.
    pub context: usize,
}

/// Parts of a block that its neighbours may lack.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerPlan {
    /// Maximum number of tokens that a token attends to; 0 means all.
    pub window: usize,
    /// Rotation of queries and keys.
    pub rope: Option<Rope>,
    /// The mixture of experts in place of one feed-forward layer.
    pub experts: Option<ExpertsConfig>,
}

impl ModelConfig {
    /// Plans of the blocks, first to last.
    pub(crate) fn layer_plans(&self) -> Vec<LayerPlan> {
        (0..self.layers).map(|layer| self.layer_plan(layer)).collect()
    }

    fn layer_plan(&self, layer: usize) -> LayerPlan {
        let window = self.window_of(layer);
        let has_rope = !self.decoder().learned_positions && !self.no_rope_layers.contains(&layer);
        let is_local = window > 0 && self.local_rope_theta > 0.0;
        let rope = || Rope {
            theta: if is_local { self.local_rope_theta } else { self.rope_theta },
            dim: self.rotary_dim(),
            scaling: self.rope_scaling.clone().filter(|_| !is_local),
            context: self.context,
        };
        LayerPlan { window, rope: has_rope.then(rope), experts: self.experts_of(layer).cloned() }
    }

    /// Maximum number of tokens that a token attends to in a layer; 0 means all.
    pub fn window_of(&self, layer: usize) -> usize {
        if self.full_attention_layers.contains(&layer) { 0 } else { self.sliding_window }
    }

    /// The experts of a layer; `None` if it has a feed-forward layer.
    pub fn experts_of(&self, layer: usize) -> Option<&ExpertsConfig> {
        self.experts.as_ref().filter(|experts| !experts.dense_layers.contains(&layer))
    }

    /// Number of arrays of the feed-forward layer's inner width that are kept for the backward pass: what GELU reads and gives;
    /// gate and up, with what SwiGLU gives unless it is computed again; and all four of a GELU with a gate.
    pub fn kept_inner_arrays(&self, recomputes: bool) -> usize {
        match self.decoder().activation {
            Activation::Gelu => 2,
            Activation::SwiGlu => {
                if recomputes {
                    2
                } else {
                    3
                }
            }
            Activation::GeGlu => 4,
        }
    }

    /// True if a model of 32 bits computes again in the backward pass what its norms give.
    pub fn recomputes_norms(&self) -> bool {
        self.decoder().norm != NormKind::Layer
    }

    /// Number of norms before and behind the sublayers of a block.
    pub fn norms_of_block(&self) -> [usize; 2] {
        match self.decoder().norm_placement {
            NormPlacement::Before => [2, 0],
            NormPlacement::Around => [2, 2],
            NormPlacement::Behind => [0, 2],
        }
    }

    /// The number by whose root attention's scores are divided.
    pub(crate) fn score_divisor(&self) -> usize {
        if self.query_pre_attn_scalar > 0 { self.query_pre_attn_scalar } else { self.head_dim() }
    }

    /// Numbers of a head that are rotated.
    pub(super) fn rotary_dim(&self) -> usize {
        (self.head_dim() as f64 * self.partial_rotary_factor) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family;

    #[test]
    fn layers_differ_as_the_shape_says() {
        let config = ModelConfig {
            family: Family::Gemma3,
            layers: 3,
            sliding_window: 9,
            full_attention_layers: vec![2],
            local_rope_theta: 100.0,
            rope_scaling: Some(RopeScaling::Linear { factor: 8.0 }),
            ..ModelConfig::default()
        };
        let plans = config.clone().resolve(20).unwrap().layer_plans();
        let rope = |plan: &LayerPlan| plan.rope.clone().map(|rope| (rope.theta, rope.scaling.is_some()));
        assert_eq!(plans.iter().map(|plan| plan.window).collect::<Vec<_>>(), [9, 9, 0]);
        assert_eq!([rope(&plans[0]), rope(&plans[2])], [Some((100.0, false)), Some((10_000.0, true))]);
        let equal = ModelConfig { local_rope_theta: 0.0, ..config.clone() }.resolve(20).unwrap().layer_plans();
        assert_eq!([rope(&equal[0]), rope(&equal[2])], [Some((10_000.0, false)), Some((10_000.0, true))]);
        let config = ModelConfig { family: Family::SmolLm3, no_rope_layers: vec![0], ..ModelConfig::default() };
        let plans = config.resolve(20).unwrap().layer_plans();
        assert_eq!([rope(&plans[0]), rope(&plans[1])], [None, Some((10_000.0, false))]);
    }
}
