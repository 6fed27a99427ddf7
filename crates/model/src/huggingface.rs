//! Weights under the names and in the layouts of Hugging Face's files, which the table of families has.
//!
//! Our linear layers are `[input, output]`. Most families' files hold them transposed, and some join several side by side.

use std::collections::BTreeMap;
use std::path::Path;

use super::families::Names;
use super::{ModelConfig, parameter_shapes};
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
    /// Names of our parameters and their lengths along the last axis, along which several are joined.
    ours: Vec<(String, usize)>,
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
            .map(|(name, _)| parameters.remove(name).unwrap_or_else(|| panic!("the model has no parameter {name}")))
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
    from_hugging_face_without(&|_| false, config, tensors, origin)
}

/// As [`from_hugging_face`], of tensors without those of our parameters that were taken out of them.
pub(super) fn from_hugging_face_without(
    is_taken: &dyn Fn(&str) -> bool,
    config: &ModelConfig,
    tensors: Tensors,
    origin: &Path,
) -> Result<Tensors> {
    let prefix = names(config).prefix;
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
        untie(&mut found, config, origin)?;
    }
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    for TensorMapping { theirs, shape, ours, transposed } in places(config) {
        if ours.iter().all(|(name, _)| is_taken(name)) {
            continue;
        }
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
        parameters.extend(split(tensor, ours, transposed));
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
fn untie(found: &mut Tensors, config: &ModelConfig, origin: &Path) -> Result<()> {
    let embedding = embedding(config);
    let bare = format!("{}.weight", names(config).embedding);
    match (found.remove(OUTPUT), found.get(&bare)) {
        (Some(output), None) => {
            found.insert(bare, output);
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
    let mut found = Tensors::new();
    for (name, tensor) in tensors {
        let bare = without_wrapper(&name);
        if found.insert(bare.clone(), tensor).is_some() {
            return Err(Error::checkpoint(origin, format!("{bare} is there twice, once as {name}")));
        }
    }
    Ok(found)
}

fn without_wrapper(name: &str) -> String {
    let name = INNER_WRAPPERS.iter().fold(name.to_owned(), |name, wrapper| name.replace(wrapper, ""));
    let start = WRAPPERS.iter().fold(name.as_str(), |name, wrapper| name.trim_start_matches(wrapper));
    start.to_owned()
}

/// Name of a tensor without wrappers of PyTorch, with the prefix of a model that has an output layer.
pub(super) fn full_name(config: &ModelConfig, name: &str) -> String {
    let (bare, prefix) = (without_wrapper(name), names(config).prefix);
    if bare.starts_with(prefix) { bare } else { format!("{prefix}{bare}") }
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
    Ok(Some(split(tensor, place.ours, place.transposed).collect()))
}

/// Name of the embedding in files.
pub fn embedding(config: &ModelConfig) -> String {
    let Names { prefix, embedding, .. } = names(config);
    format!("{prefix}{embedding}.weight")
}

/// True if linear layers are `[output, input]` in files.
pub fn is_transposed(config: &ModelConfig) -> bool {
    names(config).transposed
}

fn names(config: &ModelConfig) -> &'static Names {
    &config.family.rules().names
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
    /// Our names, such as `blocks.0.attention.query`, and the widths of their outputs.
    pub ours: Vec<(String, usize)>,
    /// Width of its input.
    pub input: usize,
    /// Width of its output.
    pub output: usize,
}

/// Every linear layer of the blocks.
pub fn linears(config: &ModelConfig) -> Vec<JoinedLinear> {
    let weights = places(config).into_iter().filter_map(|place| {
        let theirs = place.theirs.strip_suffix(".weight")?.to_string();
        let ours = place.ours.iter().map(|(name, width)| Some((name.strip_suffix(".weight")?.to_string(), *width)));
        let ours: Vec<(String, usize)> = ours.collect::<Option<_>>()?;
        let &[rows, columns] = place.shape.as_slice() else { return None };
        let [input, output] = if place.transposed { [columns, rows] } else { [rows, columns] };
        ours[0].0.starts_with("blocks.").then_some(JoinedLinear { theirs, ours, input, output })
    });
    weights.collect()
}

/// Name and shape of every tensor of a Hugging Face file of this shape.
pub fn shapes(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    places(config).into_iter().map(|place| (place.theirs, place.shape)).collect()
}

/// Every tensor of a Hugging Face file of this shape.
fn places(config: &ModelConfig) -> Vec<TensorMapping> {
    let Names { prefix, embedding, positions, norm, blocks, parts, transposed } = names(config);
    let mut shapes: BTreeMap<String, Vec<usize>> = parameter_shapes(config).into_iter().collect();
    let mut places = Vec::new();
    let mut place = |theirs: String, ours: Vec<String>, transposed: bool| {
        let Some(found) = ours.iter().map(|name| shapes.remove(name)).collect::<Option<Vec<Vec<usize>>>>() else {
            return;
        };
        let widths: Vec<usize> = found.iter().map(|shape| shape[shape.len() - 1]).collect();
        let mut shape = found[0].clone();
        shape[found[0].len() - 1] = widths.iter().sum();
        let transposed = transposed && shape.len() == 2;
        if transposed {
            shape.reverse();
        }
        places.push(TensorMapping { theirs, shape, ours: ours.into_iter().zip(widths).collect(), transposed });
    };
    place(format!("{prefix}{embedding}.weight"), vec!["embedding".into()], false);
    place(format!("{prefix}{positions}.weight"), vec!["positions".into()], false);
    for kind in ["weight", "bias"] {
        place(format!("{prefix}{norm}.{kind}"), vec![format!("norm.{kind}")], false);
    }
    place(OUTPUT.into(), vec!["head.weight".into()], true);
    for layer in 0..config.layers {
        let experts = config.experts_of(layer).map_or(0, |experts| experts.count);
        for (theirs, ours) in parts.iter().copied().flatten() {
            for expert in 0..if theirs.contains('*') { experts } else { 1 } {
                let numbered = |name: &str| name.replace('*', &expert.to_string());
                for kind in ["weight", "bias"] {
                    let ours = ours.iter().map(|ours| format!("blocks.{layer}.{}.{kind}", numbered(ours))).collect();
                    place(format!("{prefix}{blocks}.{layer}.{}.{kind}", numbered(theirs)), ours, *transposed);
                }
            }
        }
    }
    debug_assert!(shapes.is_empty(), "parameters without a name in files: {shapes:?}");
    places
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

/// Puts tensors side by side along the last axis.
fn join_columns(mut parts: Vec<NamedTensor>) -> NamedTensor {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let mut shape = parts[0].shape.clone();
    let rows = shape[..shape.len() - 1].iter().product();
    let columns = |part: &NamedTensor| part.shape[part.shape.len() - 1];
    *shape.last_mut().expect("an axis to join along") = parts.iter().map(columns).sum();
    let data = (0..rows)
        .flat_map(|row| parts.iter().map(move |part| &part.data[row * columns(part)..][..columns(part)]))
        .collect::<Vec<_>>()
        .concat();
    NamedTensor::new(shape, data)
}

/// Our parameters in a tensor of a file, which [`join_columns`] joined.
fn split(
    tensor: NamedTensor,
    ours: Vec<(String, usize)>,
    transposed: bool,
) -> impl Iterator<Item = (String, NamedTensor)> {
    let tensor = if transposed { transpose(&tensor) } else { tensor };
    let (names, widths): (Vec<String>, Vec<usize>) = ours.into_iter().unzip();
    names.into_iter().zip(split_columns(tensor, &widths))
}

/// Splits a tensor into parts of these lengths along the last axis.
fn split_columns(tensor: NamedTensor, widths: &[usize]) -> Vec<NamedTensor> {
    if widths.len() == 1 {
        return vec![tensor];
    }
    let mut shape = tensor.shape;
    let columns = shape.pop().expect("an axis to split along");
    let mut start = 0;
    let mut parts = Vec::new();
    for &width in widths {
        let data = tensor.data.chunks(columns).flat_map(|row| &row[start..start + width]).copied().collect();
        parts.push(NamedTensor::new([shape.as_slice(), &[width]].concat(), data));
        start += width;
    }
    parts
}

fn first_few(names: &[String]) -> String {
    const FEW: usize = 5;
    let shown = names[..names.len().min(FEW)].join(", ");
    if names.len() > FEW { format!("{shown} and {} more", names.len() - FEW) } else { shown }
}

#[cfg(test)]
pub(super) mod tests;
