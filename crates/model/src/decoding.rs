//! Decoding pass: the forward pass of generation over a cache, as loops over numbers in the program's memory.
//!
//! [`Transformer::forward`] makes tensors, one for each operation; for a few tokens that takes as long as their products do.
//! Here each step writes into memory that all passes share, weights are read where the model has them, and keys and values go
//! into the cache's own memory. Both compute the same but for rounding. [`DecodingPass::of`] tells the models that it
//! knows; all others, and passes that read many tokens of a long text, take the general way.

mod layer;
mod weights;

use burn::tensor::{Device, Tensor};

use super::cache::{Pass, Reading};
use super::{KvCache, Precision, Transformer};
use crate::ops::loops::Threads;
use crate::ops::memory::{self, Numbers, OwnNumbers};
use layer::{Buffers, DecodingLayer};
use weights::NormNumbers;

/// Tokens of a text that a pass reads here wherever they stand, and position up to which it reads any number of them: each
/// token attends by itself, which for long texts takes longer than a library's attention to many at once.
const FEW_TOKENS: usize = 24;
const NEAR: usize = 512;

/// The weights of a model, where they are in memory, and the memory of its passes.
pub(super) struct DecodingPass {
    /// `[vocab, width]`
    embedding: Numbers,
    /// Learned positions, `[context, width]`.
    positions: Option<Numbers>,
    embedding_scale: Option<f32>,
    layers: Vec<DecodingLayer>,
    norm: NormNumbers,
    /// Cosines and sines of each rotary table, of short and of long texts.
    rotary: Vec<[Rotary; 2]>,
    width: usize,
    device: Device,
    threads: Threads,
    buffers: Buffers,
}

/// Cosines and sines, `[context, dim]`.
struct Rotary {
    tables: [Numbers; 2],
    dim: usize,
}

/// Cosines and sines of the tokens of a pass, `[tokens, dim]`.
#[derive(Default)]
struct Angles {
    tables: [Vec<f32>; 2],
    dim: usize,
}

/// Place of a token: a row of the cache, and its position there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub row: usize,
    pub position: usize,
}

impl DecodingPass {
    /// The decoding pass of a model; `None` for one with experts, with products in 16 bits, or whose weights are not in the
    /// program's memory.
    pub fn of(model: &Transformer) -> Option<Self> {
        let (device, config) = (model.device(), model.config());
        let numbers =
            |tensor: Tensor<2>| (memory::holds(&tensor) && memory::is_dense(&tensor)).then(|| Numbers::of(tensor));
        if device.is_autodiff() || model.precision() != Precision::F32 {
            return None;
        }
        let embedding = numbers(model.embedding.val())?;
        let positions = match &model.positions {
            Some(table) => Some(numbers(table.val())?),
            None => None,
        };
        let rotary = |tables: [Tensor<2>; 2]| {
            let dim = tables[0].dims()[1];
            Rotary { tables: tables.map(Numbers::of), dim }
        };
        Some(Self {
            embedding,
            positions,
            embedding_scale: config.decoder().scaled_embedding.then(|| (config.width as f64).sqrt() as f32),
            layers: model.blocks.iter().map(DecodingLayer::of).collect::<Option<_>>()?,
            norm: NormNumbers::of(&model.norm),
            rotary: model
                .rotary()
                .iter()
                .map(|table| [false, true].map(|is_far| rotary(table.tables(is_far))))
                .collect(),
            width: config.width,
            threads: memory::threads(&device),
            device,
            buffers: Buffers::default(),
        })
    }

    /// True if a pass is computed here: it reads few tokens of each text or short texts, and the cache gets them.
    pub fn takes(&self, pass: &Pass) -> bool {
        let is_short = |reading: &Reading| reading.count <= FEW_TOKENS || reading.start + reading.count <= NEAR;
        pass.is_kept() && pass.readings().iter().all(is_short)
    }

    /// Hidden states after the last norm of the tokens of the pass that a cache has begun, `[tokens, width]`, which are added
    /// to the cache. `is_far` says which angles they have.
    pub fn forward(&mut self, tokens: &[u32], pass: &Pass, is_far: bool, cache: &mut KvCache) -> Tensor<2> {
        let threads = self.threads;
        let places: Vec<Place> = pass.places().map(|(row, position)| Place { row, position }).collect();
        let readers = cache.readers(&places, threads);
        let angles: Vec<Angles> = self.rotary.iter().map(|tables| tables[usize::from(is_far)].at(&places)).collect();
        let mut x = self.embed(tokens, &places);
        for (number, layer) in self.layers.iter().enumerate() {
            let attend = |inputs: [&[f32]; 3], mixed: &mut [f32]| {
                cache.attend_in_memory(number, (&places, &readers), inputs, mixed, threads);
            };
            layer.forward(&mut x, &angles, attend, &mut self.buffers, threads);
        }
        let mut output = OwnNumbers::new(x.len(), &self.device);
        self.norm.apply(&x, &mut output, threads);
        output.tensor([tokens.len(), self.width])
    }

    /// Input of the first layer, `[tokens, width]`.
    fn embed(&self, tokens: &[u32], places: &[Place]) -> Vec<f32> {
        let row = |table: &[f32], at: usize| table[at * self.width..][..self.width].to_vec();
        let mut x: Vec<f32> = tokens.iter().flat_map(|&token| row(&self.embedding, token as usize)).collect();
        if let Some(scale) = self.embedding_scale {
            x.iter_mut().for_each(|x| *x *= scale);
        }
        if let Some(table) = &self.positions {
            let positions = places.iter().flat_map(|place| row(table, place.position));
            x.iter_mut().zip(positions).for_each(|(x, position)| *x += position);
        }
        x
    }
}

impl Rotary {
    fn at(&self, places: &[Place]) -> Angles {
        let dim = self.dim;
        let rows = |table: &Numbers| {
            places.iter().flat_map(|place| &table[place.position * dim..][..dim]).copied().collect::<Vec<f32>>()
        };
        Angles { tables: self.tables.each_ref().map(rows), dim }
    }
}

#[cfg(test)]
mod tests;
