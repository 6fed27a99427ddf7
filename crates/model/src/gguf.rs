//! Models in GGUF files: the shape of a model as llama.cpp's settings, its weights under llama.cpp's names.
//!
//! Knows nothing of the tokenizer that the same file holds.

mod settings;
#[cfg(test)]
mod tests;

use palestra_gguf::{Gguf, NumberFormat, Tensor};

use crate::checkpoint::{NamedTensor, Take, Tensors};
use crate::huggingface::{shapes, to_hugging_face};
use crate::{Error, ModelConfig, Result};
use settings::architecture_of;
pub use settings::{config_json, settings};

/// Divisors of the rotary frequencies, one for each pair of a head (Llama 3.1).
const FREQUENCY_DIVISORS: &str = "rope_freqs.weight";

/// Names of tensors that a model has once: Hugging Face's, llama.cpp's.
const SINGLE: [(&str, &str); 3] =
    [("model.embed_tokens", EMBEDDING), ("model.norm", "output_norm"), ("lm_head", "output")];

const EMBEDDING: &str = "token_embd";

/// Names of tensors that each block has: Hugging Face's, llama.cpp's.
const OF_BLOCKS: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", QUERY),
    ("self_attn.k_proj", KEY),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

const QUERY: &str = "attn_q";
const KEY: &str = "attn_k";

/// Tensors of a GGUF file of a model, in this number format; vectors are 32-bit floats, as llama.cpp expects them.
/// Matrices whose rows the format cannot divide into blocks are 16-bit floats. `parameters` have our own names.
///
/// # Errors
/// A model that llama.cpp computes in another way, or not at all.
pub fn tensors(config: &ModelConfig, parameters: Tensors, format: NumberFormat) -> Result<Vec<Tensor>> {
    let interleaves = architecture_of(config)?.interleaves;
    let mut tensors = Vec::new();
    if let Some(divisors) = settings::frequency_divisors(config)? {
        tensors.push(Tensor {
            name: FREQUENCY_DIVISORS.into(),
            shape: vec![divisors.len()],
            format: NumberFormat::F32,
            data: divisors,
        });
    }
    for (theirs, tensor) in to_hugging_face(config, parameters) {
        let Some(name) = name_in_gguf(&theirs) else { continue }; // a head of a learner, which no other program reads
        let NamedTensor { shape, data } = match rotated_heads(config, &name).filter(|_| interleaves) {
            Some(heads) => with_pairs(tensor, heads, Pairs::Side),
            None => tensor,
        };
        let format = match shape.as_slice() {
            [_] => NumberFormat::F32,
            [.., row] if !format.divides(*row) => NumberFormat::F16,
            _ => format,
        };
        tensors.push(Tensor { name, shape, format, data });
    }
    Ok(tensors)
}

/// Weights of a model of this shape in a GGUF file, under Hugging Face's names, each of which goes through `take`.
///
/// # Errors
/// Lists the tensors that are missing, unexpected or of another shape than the settings say; a number that is not finite.
pub fn weights(file: &Gguf, config: &ModelConfig, take: &mut Take) -> Result<Tensors> {
    let interleaves = architecture_of(config)?.interleaves;
    let expected: Vec<(String, String, Vec<usize>)> = shapes(config)
        .into_iter()
        .filter_map(|(theirs, shape)| Some((name_in_gguf(&theirs)?, theirs, shape)))
        .collect();
    let mut faults = Vec::new();
    for (name, _, shape) in &expected {
        match file.tensors().get(name) {
            None => faults.push(format!("{name} is missing")),
            Some(found) if found.shape != *shape => {
                faults.push(format!("{name} is {:?}, and the settings make it {shape:?}", found.shape));
            }
            Some(_) => {}
        }
    }
    let is_known = |name: &String| name == FREQUENCY_DIVISORS || expected.iter().any(|(known, ..)| known == name);
    faults.extend(file.tensors().keys().filter(|name| !is_known(name)).map(|name| format!("{name} is unexpected")));
    if !faults.is_empty() {
        let more = faults.len().saturating_sub(5);
        faults.truncate(5);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        return Err(file.fault(format!("does not fit its own settings: {}{rest}", faults.join("; "))).into());
    }
    let mut tensors = Tensors::new();
    for (name, theirs, shape) in expected {
        let tensor = NamedTensor::new(shape, file.read(&name)?);
        let heads = rotated_heads(config, &name).filter(|_| interleaves);
        let tensor = match heads {
            Some(heads) => with_pairs(tensor, heads, Pairs::Halves),
            None => tensor,
        };
        if let Some(kept) = take(&theirs, tensor).map_err(|reason| file.fault(reason))? {
            tensors.insert(theirs, kept);
        }
    }
    Ok(tensors)
}

/// llama.cpp's name of a tensor; `None` for one that it does not know.
fn name_in_gguf(theirs: &str) -> Option<String> {
    let (name, kind) = theirs.rsplit_once('.')?; // weight or bias
    if let Some((_, ours)) = SINGLE.iter().find(|(single, _)| *single == name) {
        return Some(format!("{ours}.{kind}"));
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, ours) = OF_BLOCKS.iter().find(|(known, _)| *known == part)?;
    Some(format!("blk.{layer}.{ours}.{kind}"))
}

/// Number of heads in a tensor whose rows are those of rotated heads: queries and keys.
fn rotated_heads(config: &ModelConfig, name: &str) -> Option<usize> {
    match name.split('.').nth(2)? {
        QUERY => Some(config.heads),
        KEY => Some(config.kv_heads),
        _ => None,
    }
}

/// Places of the two numbers of a pair that is rotated, among the rows of a head.
#[derive(Clone, Copy)]
enum Pairs {
    /// Side by side: llama.cpp's `llama`.
    Side,
    /// One in each half of the head: Hugging Face's models, and here.
    Halves,
}

/// The same rows with pairs in these places, from the other ones.
fn with_pairs(tensor: NamedTensor, heads: usize, pairs: Pairs) -> NamedTensor {
    let rows = tensor.shape[0];
    let (width, half) = (tensor.data.len() / rows, rows / heads / 2);
    let mut data = Vec::with_capacity(tensor.data.len());
    for head in tensor.data.chunks_exact(2 * half * width) {
        for at in 0..2 * half {
            let from = match pairs {
                Pairs::Side => at % 2 * half + at / 2,
                Pairs::Halves => at % half * 2 + at / half,
            };
            data.extend_from_slice(&head[from * width..][..width]);
        }
    }
    NamedTensor::new(tensor.shape, data)
}

impl From<palestra_gguf::Error> for Error {
    fn from(error: palestra_gguf::Error) -> Self {
        Self::Checkpoint { path: error.path.display().to_string(), reason: error.reason }
    }
}
