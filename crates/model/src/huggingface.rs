//! Weights under the names and in the layouts of Hugging Face's GPT-2 and Llama, and Llama's relatives.
//!
//! Our linear layers are `[input, output]`. Llama's files hold them transposed. GPT-2's do not, but join query, key and
//! value side by side.

use std::path::Path;

use super::{Family, ModelConfig};
use crate::checkpoint::{NamedTensor, Tensors};
use crate::{Error, Result};

/// Prefixes of parameters that Hugging Face's models do not have. They keep their names, and other readers ignore them.
const OWN: [&str; 2] = ["value_head.", "critic."];

/// Part of the names of an adapter's parameters, which Hugging Face's models do not have either.
const ADAPTER: &str = ".adapter.";

/// Suffixes of buffers in older files: masks and rotary frequencies, which follow from the shape.
const BUFFERS: [&str; 3] = [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"];

/// Prefixes that wrappers of PyTorch put before the names of a model.
const WRAPPERS: [&str; 1] = ["module."];

/// Parts of names that wrappers of PyTorch put before those of any part of a model: `torch.compile`, FSDP, activation
/// checkpoints.
const INNER_WRAPPERS: [&str; 3] = ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."];

/// The output layer in files.
const OUTPUT: &str = "lm_head.weight";

/// One tensor of a Hugging Face file, and the parameters of ours that it holds.
struct TensorMapping {
    theirs: String,
    /// Shape in the file, `[output, input]` for a Llama's linear layer.
    shape: Vec<usize>,
    /// Names of our parameters; several are joined along the last axis.
    ours: Vec<String>,
    transposed: bool,
}

/// Converts a model's parameters to Hugging Face's names and layouts. `config` must be resolved.
///
/// # Panics
/// If the parameters are not those of a model of this shape.
pub fn to_hugging_face(config: &ModelConfig, mut parameters: Tensors) -> Tensors {
    let mut tensors = Tensors::new();
    for TensorMapping { theirs, shape, ours, transposed } in places(config) {
        let parts: Vec<NamedTensor> = ours
            .iter()
            .map(|name| parameters.remove(name).unwrap_or_else(|| panic!("the model has no parameter {name}")))
            .collect();
        let joined = join_columns(parts);
        let tensor = if transposed { transpose(&joined) } else { joined };
        assert_eq!(tensor.shape, shape, "shape of {theirs}");
        tensors.insert(theirs, tensor);
    }
    for (name, tensor) in parameters {
        assert!(is_own(&name), "the model has an unknown parameter {name}");
        tensors.insert(name, tensor);
    }
    tensors
}

/// Converts the tensors of a Hugging Face file to our names and layouts, with or without the prefix (`model.`,
/// `transformer.`) of a model that has an output layer. `config` must be resolved; `origin` is for messages.
///
/// With tied embeddings a file may have the one tensor under the name of the output layer, or under both names.
///
/// # Errors
/// Lists the tensors that are missing, unexpected or of another shape than `config` says. Tied layers that differ.
pub fn from_hugging_face(config: &ModelConfig, tensors: Tensors, origin: &Path) -> Result<Tensors> {
    let prefix = prefix(config.family);
    let mut parameters = Tensors::new();
    let mut found = Tensors::new();
    for (name, tensor) in tensors {
        if is_own(&name) {
            parameters.insert(name, tensor);
        } else if !is_buffer(&name) {
            found.insert(name.strip_prefix(prefix).map(str::to_owned).unwrap_or(name), tensor);
        }
    }
    if config.tie_embeddings {
        untie(&mut found, config.family, origin)?;
    }
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    for TensorMapping { theirs, shape, ours, transposed } in places(config) {
        let bare = theirs.strip_prefix(prefix).unwrap_or(&theirs);
        let Some(tensor) = found.remove(bare) else {
            let hint = if theirs == OUTPUT { " (config.json says tie_word_embeddings = false)" } else { "" };
            missing.push(theirs + hint);
            continue;
        };
        if tensor.shape != shape {
            misshapen.push(format!("{theirs} is {:?} and config.json makes it {shape:?}", tensor.shape));
            continue;
        }
        let tensor = if transposed { transpose(&tensor) } else { tensor };
        let parts = split_columns(tensor, ours.len());
        parameters.extend(ours.into_iter().zip(parts));
    }
    let unexpected: Vec<String> = found.into_keys().collect();
    let faults: Vec<String> = [("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(fault, names)| format!("{fault}: {}", first_few(&names)))
        .collect();
    if faults.is_empty() {
        Ok(parameters)
    } else {
        let family = config.model_type().unwrap_or("unknown");
        Err(Error::Checkpoint {
            path: origin.display().to_string(),
            reason: format!("does not fit the {family} model of config.json; {}", faults.join("; ")),
        })
    }
}

/// Leaves the one tensor of tied layers under the embedding's name.
fn untie(found: &mut Tensors, family: Family, origin: &Path) -> Result<()> {
    let prefix = prefix(family);
    let embedding = embedding(family);
    let bare = embedding.strip_prefix(prefix).unwrap_or(embedding);
    match (found.remove(OUTPUT), found.get(bare)) {
        (Some(output), None) => {
            found.insert(bare.to_owned(), output);
            Ok(())
        }
        (Some(output), Some(tensor)) if output != *tensor => Err(Error::checkpoint(
            origin,
            format!(
                "{OUTPUT} and {embedding} differ, and config.json says tie_word_embeddings = true (or leaves it to the \
                 family): remove {OUTPUT} to use the embedding as the output layer too, or set tie_word_embeddings to \
                 false to use each"
            ),
        )),
        _ => Ok(()),
    }
}

/// Tensors under the names that they have without wrappers of PyTorch (`module.`, `_orig_mod.`).
///
/// # Errors
/// Two tensors that have the same name then.
pub fn without_wrappers(tensors: Tensors, origin: &Path) -> Result<Tensors> {
    let bare = |name: &str| {
        let name = INNER_WRAPPERS.iter().fold(name.to_owned(), |name, wrapper| name.replace(wrapper, ""));
        let start = WRAPPERS.iter().fold(name.as_str(), |name, wrapper| name.trim_start_matches(wrapper));
        start.to_owned()
    };
    let mut found = Tensors::new();
    for (name, tensor) in tensors {
        let bare = bare(&name);
        if found.insert(bare.clone(), tensor).is_some() {
            return Err(Error::checkpoint(origin, format!("{bare} is there twice, once as {name}")));
        }
    }
    Ok(found)
}

/// Our parameters in one tensor of a Hugging Face model of this shape; `None` if there is no such tensor.
///
/// # Errors
/// A tensor of another shape than `config` says.
pub fn parameters_in(config: &ModelConfig, theirs: &str, tensor: NamedTensor) -> Result<Option<Tensors>, String> {
    let Some(place) = places(config).into_iter().find(|place| place.theirs == theirs) else { return Ok(None) };
    if tensor.shape != place.shape {
        return Err(format!("is {:?}, and config.json of the model makes it {:?}", tensor.shape, place.shape));
    }
    let tensor = if place.transposed { transpose(&tensor) } else { tensor };
    let parts = split_columns(tensor, place.ours.len());
    Ok(Some(place.ours.into_iter().zip(parts).collect()))
}

/// Name of the embedding in files.
pub fn embedding(family: Family) -> &'static str {
    match family {
        Family::Gpt2 => "transformer.wte.weight",
        Family::Llama => "model.embed_tokens.weight",
    }
}

/// True if a parameter is one that Hugging Face's models do not have.
pub fn is_own(name: &str) -> bool {
    OWN.iter().any(|start| name.starts_with(start)) || name.contains(ADAPTER)
}

/// True if a tensor of a file is no parameter but a buffer, which follows from the shape.
pub fn is_buffer(name: &str) -> bool {
    BUFFERS.iter().any(|buffer| name.ends_with(buffer))
}

/// A linear layer in Hugging Face's layout, and the layers of ours that it joins.
pub struct JoinedLinear {
    /// Hugging Face's name, such as `model.layers.0.self_attn.q_proj`.
    pub theirs: String,
    /// Our names, such as `blocks.0.attention.query`.
    pub ours: Vec<String>,
    /// Width of its input.
    pub input: usize,
    /// Width of its output.
    pub output: usize,
}

/// Every linear layer of the blocks.
pub fn linears(config: &ModelConfig) -> Vec<JoinedLinear> {
    let weights = places(config).into_iter().filter_map(|place| {
        let theirs = place.theirs.strip_suffix(".weight")?.to_string();
        let ours = place.ours.iter().map(|name| name.strip_suffix(".weight").map(String::from));
        let ours: Vec<String> = ours.collect::<Option<_>>()?;
        let &[rows, columns] = place.shape.as_slice() else { return None };
        let [input, output] = if place.transposed { [columns, rows] } else { [rows, columns] };
        ours[0].starts_with("blocks.").then_some(JoinedLinear { theirs, ours, input, output })
    });
    weights.collect()
}

/// Our name and the shape of every parameter of a model of this shape. `config` must be resolved.
pub fn parameter_shapes(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let parts = places(config).into_iter().flat_map(|TensorMapping { mut shape, ours, transposed, .. }| {
        if transposed {
            shape.reverse();
        }
        *shape.last_mut().expect("no parameter is a single number") /= ours.len();
        ours.into_iter().map(move |name| (name, shape.clone()))
    });
    parts.collect()
}

/// Every tensor of a Hugging Face file of this shape.
fn places(config: &ModelConfig) -> Vec<TensorMapping> {
    let mut places = match config.family {
        Family::Gpt2 => gpt2(config),
        Family::Llama => llama(config),
    };
    if !config.tie_embeddings {
        let shape = vec![config.vocab_size, config.width];
        places.push(TensorMapping { transposed: true, ..TensorMapping::same(OUTPUT, shape, "head.weight") });
    }
    places
}

fn llama(config: &ModelConfig) -> Vec<TensorMapping> {
    let &ModelConfig { vocab_size, layers, width, feed_forward, qkv_bias, output_bias, mlp_bias, .. } = config;
    let (head_width, kv_width) = (config.heads * config.head_dim(), config.kv_heads * config.head_dim());
    let mut norms =
        vec![("input_layernorm", "attention_norm", width), ("post_attention_layernorm", "feed_forward_norm", width)];
    if config.qk_norm {
        norms.push(("self_attn.q_norm", "attention.query_norm", config.head_dim()));
        norms.push(("self_attn.k_norm", "attention.key_norm", config.head_dim()));
    }
    let linears = [
        ("self_attn.q_proj", "attention.query", width, head_width, qkv_bias),
        ("self_attn.k_proj", "attention.key", width, kv_width, qkv_bias),
        ("self_attn.v_proj", "attention.value", width, kv_width, qkv_bias),
        ("self_attn.o_proj", "attention.output", head_width, width, output_bias),
        ("mlp.gate_proj", "feed_forward.gate", width, feed_forward, mlp_bias),
        ("mlp.up_proj", "feed_forward.up", width, feed_forward, mlp_bias),
        ("mlp.down_proj", "feed_forward.down", feed_forward, width, mlp_bias),
    ];
    let mut places = vec![
        TensorMapping::same(embedding(Family::Llama), vec![vocab_size, width], "embedding"),
        TensorMapping::same("model.norm.weight", vec![width], "norm.weight"),
    ];
    for i in 0..layers {
        let name = |theirs: &str, ours: &str| (format!("model.layers.{i}.{theirs}"), format!("blocks.{i}.{ours}"));
        for &(theirs, ours, length) in &norms {
            let (theirs, ours) = name(theirs, ours);
            places.push(TensorMapping::same(theirs + ".weight", vec![length], ours + ".weight"));
        }
        for (theirs, ours, input, output, has_bias) in linears {
            let (theirs, ours) = name(theirs, ours);
            let weight = TensorMapping::same(format!("{theirs}.weight"), vec![output, input], format!("{ours}.weight"));
            places.push(TensorMapping { transposed: true, ..weight });
            if has_bias {
                places.push(TensorMapping::same(theirs + ".bias", vec![output], ours + ".bias"));
            }
        }
    }
    places
}

fn gpt2(config: &ModelConfig) -> Vec<TensorMapping> {
    let &ModelConfig { vocab_size, context, layers, width, feed_forward, .. } = config;
    let norms = [("ln_1", "attention_norm"), ("ln_2", "feed_forward_norm")];
    let linears: [(_, &[&str], _, _); 4] = [
        ("attn.c_attn", &["attention.query", "attention.key", "attention.value"], width, 3 * width),
        ("attn.c_proj", &["attention.output"], width, width),
        ("mlp.c_fc", &["feed_forward.up"], width, feed_forward),
        ("mlp.c_proj", &["feed_forward.down"], feed_forward, width),
    ];
    let mut places = vec![
        TensorMapping::same(embedding(Family::Gpt2), vec![vocab_size, width], "embedding"),
        TensorMapping::same("transformer.wpe.weight", vec![context, width], "positions"),
        TensorMapping::same("transformer.ln_f.weight", vec![width], "norm.weight"),
        TensorMapping::same("transformer.ln_f.bias", vec![width], "norm.bias"),
    ];
    for i in 0..layers {
        for part in ["weight", "bias"] {
            let theirs = |name: &str| format!("transformer.h.{i}.{name}.{part}");
            let ours = |name: &str| format!("blocks.{i}.{name}.{part}");
            for (their_norm, our_norm) in norms {
                places.push(TensorMapping::same(theirs(their_norm), vec![width], ours(our_norm)));
            }
            for (their_linear, our_linears, input, output) in linears {
                let shape = if part == "weight" { vec![input, output] } else { vec![output] };
                let ours = our_linears.iter().map(|linear| ours(linear)).collect();
                places.push(TensorMapping { theirs: theirs(their_linear), shape, ours, transposed: false });
            }
        }
    }
    places
}

impl TensorMapping {
    fn same(theirs: impl Into<String>, shape: Vec<usize>, ours: impl Into<String>) -> Self {
        Self { theirs: theirs.into(), shape, ours: vec![ours.into()], transposed: false }
    }
}

/// Prefix of every name but that of the output layer.
fn prefix(family: Family) -> &'static str {
    match family {
        Family::Gpt2 => "transformer.",
        Family::Llama => "model.",
    }
}

/// `[rows, columns]` to `[columns, rows]`.
pub(super) fn transpose(tensor: &NamedTensor) -> NamedTensor {
    const TILE: usize = 32; // a square of this side, read and written, stays in the nearest cache
    let &[rows, columns] = tensor.shape.as_slice() else { panic!("a matrix, not {:?}", tensor.shape) };
    let mut data = vec![0.0; tensor.data.len()];
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for row in top..rows.min(top + TILE) {
                for column in left..columns.min(left + TILE) {
                    data[column * rows + row] = tensor.data[row * columns + column];
                }
            }
        }
    }
    NamedTensor::new([columns, rows], data)
}

/// Puts tensors of one shape side by side along the last axis.
fn join_columns(mut parts: Vec<NamedTensor>) -> NamedTensor {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let mut shape = parts[0].shape.clone();
    let columns = shape.pop().expect("an axis to join along");
    let rows = shape.iter().product();
    shape.push(columns * parts.len());
    let data = (0..rows)
        .flat_map(|row| parts.iter().map(move |part| &part.data[row * columns..][..columns]))
        .collect::<Vec<_>>()
        .concat();
    NamedTensor::new(shape, data)
}

/// Splits a tensor that [`join_columns`] joined.
fn split_columns(tensor: NamedTensor, parts: usize) -> Vec<NamedTensor> {
    if parts == 1 {
        return vec![tensor];
    }
    let mut shape = tensor.shape;
    let columns = shape.pop().expect("an axis to split along") / parts;
    shape.push(columns);
    let part = |index| tensor.data.chunks(columns).skip(index).step_by(parts).collect::<Vec<_>>().concat();
    (0..parts).map(|index| NamedTensor::new(shape.clone(), part(index))).collect()
}

fn first_few(names: &[String]) -> String {
    const FEW: usize = 5;
    let shown = names[..names.len().min(FEW)].join(", ");
    if names.len() > FEW { format!("{shown} and {} more", names.len() - FEW) } else { shown }
}

#[cfg(test)]
pub(super) mod tests;
