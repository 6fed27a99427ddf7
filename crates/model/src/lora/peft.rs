//! Adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! PEFT's matrices are transposed, and GPT-2's query, key and value share one layer. Our adapters on such parts are
//! written as one of the summed rank, with each part's B in its own rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::Tensor;
use serde_json::{Value, json};

use super::freeze_base;
use crate::checkpoint::{NamedTensor, NumberType, Tensors, read_tensors, write_tensors};
use crate::huggingface::{JoinedLinear, linears, transpose};
use crate::layers::Adapter;
use crate::parameters::data_of;
use crate::pretrained::{read_json, write_json};
use crate::{Error, Result};
use crate::{Family, Transformer};

const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
const DOWN: &str = ".lora_A.weight";
const UP: &str = ".lora_B.weight";

/// Settings that change the output of an adapter, with the values that are supported.
const PLAIN: [(&str, &[Value]); 8] = [
    ("peft_type", &[]),
    ("bias", &[]),
    ("use_dora", &[Value::Bool(false)]),
    ("lora_bias", &[Value::Bool(false)]),
    ("modules_to_save", &[]),
    ("target_parameters", &[]),
    ("trainable_token_indices", &[]),
    ("layer_replication", &[]),
];

/// Matrices of one adapted layer in PEFT's layout: A `[rank, input]`, B `[output, rank]`.
struct Matrices {
    down: NamedTensor,
    up: NamedTensor,
    scale: f64,
}

/// Loads the adapters of a PEFT directory into a model and freezes all other parameters.
///
/// # Errors
/// A file that is missing or damaged, a variant of LoRA that is not supported, or tensors that do not fit the model.
pub fn read_adapters(mut model: Transformer, directory: &Path) -> Result<Transformer> {
    let (config_path, path) = (directory.join(CONFIG), directory.join(MODEL));
    let config = read_json(&config_path)?;
    let scales = Scales::read(&config).map_err(|reason| Error::checkpoint(&config_path, reason))?;
    let mut tensors = read_tensors(&path, &|_| false)?;
    let device = model.device();
    let places = linears(model.config());
    let mut adapters = BTreeMap::new();
    for place in places {
        let key = |part: &str| format!("{PREFIX}{}{part}", place.theirs);
        let (down, up) = match (tensors.remove(&key(DOWN)), tensors.remove(&key(UP))) {
            (None, None) => continue,
            (Some(down), Some(up)) => (down, up),
            (None, _) => return Err(Error::checkpoint(&path, format!("{} is missing, and {UP} is there", key(DOWN)))),
            (_, None) => return Err(Error::checkpoint(&path, format!("{} is missing, and {DOWN} is there", key(UP)))),
        };
        let rank = down.shape.first().copied().unwrap_or_default();
        for (part, tensor, shape) in [(DOWN, &down, [rank, place.input]), (UP, &up, [place.output, rank])] {
            if tensor.shape != shape || rank == 0 {
                let reason = format!("{} is {:?}, and the model makes it {shape:?}", key(part), tensor.shape);
                return Err(Error::checkpoint(&path, reason));
            }
        }
        let scale = scales.of(&place.theirs, rank);
        adapters.extend(split(&place, Matrices { down, up, scale }));
    }
    if let Some(unknown) = tensors.keys().next() {
        let more = if tensors.len() > 1 { format!(" and {} more", tensors.len() - 1) } else { String::new() };
        return Err(Error::checkpoint(
            &path,
            format!("unexpected: {unknown}{more}; the model has no such linear layer"),
        ));
    }
    if adapters.is_empty() {
        return Err(Error::checkpoint(&path, "holds no adapters"));
    }
    for (name, layer) in model.linears_mut() {
        layer.adapter = adapters.remove(&name).map(|(down, up, scale)| {
            let [down, up] = [down, up].map(|tensor| {
                let data = data_of(Tensors::from([(String::new(), tensor)])).pop_first().expect("there is one").1;
                Param::from_tensor(Tensor::from_data(data, &device))
            });
            Adapter::new(down, up, scale)
        });
    }
    Ok(freeze_base(model))
}

/// Splits PEFT's adapter of one layer into ours: name, A `[input, rank]`, B `[rank, output]`, scale.
fn split(place: &JoinedLinear, matrices: Matrices) -> Vec<(String, (NamedTensor, NamedTensor, f64))> {
    let Matrices { down, up, scale } = matrices;
    let rank = down.shape[0];
    let rows = up.shape[0] / place.ours.len();
    let parts = place.ours.iter().zip(up.data.chunks(rows * rank));
    parts
        .filter(|(_, up)| up.iter().any(|&number| number != 0.0) || place.ours.len() == 1)
        .map(|(name, up)| {
            let up = NamedTensor::new([rows, rank], up.to_vec());
            (name.clone(), (transpose(&down), transpose(&up), scale))
        })
        .collect()
}

/// Factors of the adapters' outputs.
struct Scales {
    alpha: f64,
    /// Alpha by the suffix of layers' names.
    alphas: BTreeMap<String, f64>,
    /// True if alpha is divided by the root of the rank ([Kalajdzievski 2023](https://arxiv.org/abs/2312.03732)).
    by_root: bool,
}

impl Scales {
    fn read(config: &Value) -> Result<Self, String> {
        for (field, plain) in PLAIN {
            let value = &config[field];
            let is_plain = match field {
                "peft_type" => value == "LORA",
                "bias" => value.is_null() || value == "none",
                _ => value.is_null() || plain.contains(value),
            };
            if !is_plain {
                return Err(format!("{field} is {value}; only plain LoRA without biases can be read"));
            }
        }
        let alpha = |value: &Value| {
            value
                .as_f64()
                .filter(|alpha| alpha.is_finite())
                .ok_or(format!("lora_alpha is {value}; it must be a number"))
        };
        let mut alphas = BTreeMap::new();
        for (pattern, value) in config["alpha_pattern"].as_object().into_iter().flatten() {
            let is_name = pattern.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
            if !is_name {
                return Err(format!("alpha_pattern has {pattern:?}; only the ends of names can be read"));
            }
            alphas.insert(pattern.clone(), alpha(value)?);
        }
        Ok(Self { alpha: alpha(&config["lora_alpha"])?, alphas, by_root: config["use_rslora"] == true })
    }

    fn of(&self, layer: &str, rank: usize) -> f64 {
        let ends = |name: &str| layer == name || layer.strip_suffix(name).is_some_and(|start| start.ends_with('.'));
        let own = self.alphas.iter().find(|(name, _)| ends(name)).map(|(_, alpha)| *alpha);
        let rank = rank as f64;
        own.unwrap_or(self.alpha) / if self.by_root { rank.sqrt() } else { rank }
    }
}

/// Writes a model's adapters as a PEFT directory, which is created if missing. `base` is the name or directory of the
/// model that they belong to.
///
/// # Errors
/// A model without adapters, or a file that cannot be written.
pub fn write_adapters(model: &Transformer, directory: &Path, base: &str) -> Result<()> {
    let Some((config, tensors)) = adapter_files(model, base) else {
        return Err(Error::Config(format!("{}: the model has no adapters to write", directory.display())));
    };
    fs::create_dir_all(directory).map_err(Error::io(directory))?;
    write_tensors(&directory.join(MODEL), &tensors, NumberType::F32)?;
    write_json(&directory.join(CONFIG), &config)
}

/// A model's adapters in PEFT's format: the configuration and the tensors; `None` if it has none.
pub fn adapter_files(model: &Transformer, base: &str) -> Option<(Value, Tensors)> {
    let mut model = model.clone();
    let mut ours = BTreeMap::new();
    for (name, layer) in model.linears_mut() {
        if let Some(adapter) = &layer.adapter {
            let host = |param: &Param<Tensor<2>>| {
                let tensor = param.val();
                let shape = tensor.dims();
                NamedTensor::new(shape, tensor.into_data().try_into_vec().expect("the model computes in f32"))
            };
            ours.insert(name, (host(&adapter.down), host(&adapter.up), adapter.scale()));
        }
    }
    let places = linears(model.config());
    let layers: Vec<(String, Matrices)> =
        places.iter().filter_map(|place| Some((place.theirs.clone(), join(place, &ours)?))).collect();
    let (rank, alpha) = layers.first().map(|(_, matrices)| (matrices.rank(), matrices.alpha()))?;
    let other = layers.iter().filter(|(_, matrices)| (matrices.rank(), matrices.alpha()) != (rank, alpha));
    let (ranks, alphas): (BTreeMap<&str, usize>, BTreeMap<&str, f64>) =
        other.map(|(name, found)| ((name.as_str(), found.rank()), (name.as_str(), found.alpha()))).unzip();
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "target_modules": targets(&places, &layers),
        "fan_in_fan_out": model.config().family == Family::Gpt2,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": true,
    });
    let mut tensors = Tensors::new();
    for (name, Matrices { down, up, .. }) in layers {
        tensors.insert(format!("{PREFIX}{name}{DOWN}"), down);
        tensors.insert(format!("{PREFIX}{name}{UP}"), up);
    }
    Some((config, tensors))
}

/// The directory of the base model that the adapters of a PEFT directory belong to; `None` if it is no PEFT directory.
///
/// # Errors
/// A configuration that cannot be read, or that names no directory.
pub fn base_of_adapters(directory: &Path) -> Result<Option<PathBuf>> {
    let path = directory.join(CONFIG);
    if !path.is_file() {
        return Ok(None);
    }
    let config = read_json(&path)?;
    let base = config["base_model_name_or_path"].as_str().unwrap_or_default();
    match Path::new(base).is_dir() {
        true => Ok(Some(base.into())),
        false => Err(Error::checkpoint(
            &path,
            format!("base_model_name_or_path is {base:?}, which is no directory here; write where the model is"),
        )),
    }
}

/// Joins our adapters of one PEFT layer into one; `None` if it has none.
fn join(place: &JoinedLinear, ours: &BTreeMap<String, (NamedTensor, NamedTensor, f64)>) -> Option<Matrices> {
    let found: Vec<(usize, &(NamedTensor, NamedTensor, f64))> =
        place.ours.iter().enumerate().filter_map(|(part, name)| Some((part, ours.get(name)?))).collect();
    let (_, (first, _, scale)) = *found.first()?;
    // One A for all parts, as PEFT trains them, and as they are after reading.
    let shared = found.iter().all(|(_, (down, _, other))| (down, other) == (first, scale));
    let rank = if shared { first.shape[1] } else { found.iter().map(|(_, (down, ..))| down.shape[1]).sum() };
    let rows = place.output / place.ours.len();
    let mut down = Vec::new(); // [rank, input]
    let mut up = vec![0.0; place.output * rank]; // [output, rank]
    let mut from = 0; // the first column of a part
    for (at, (part, (their_down, their_up, their_scale))) in found.iter().enumerate() {
        if at == 0 || !shared {
            down.extend(transpose(their_down).data);
        }
        let own_rank = their_down.shape[1];
        let change = (their_scale / scale) as f32;
        for (row, numbers) in transpose(their_up).data.chunks(own_rank).enumerate() {
            let cells = &mut up[(part * rows + row) * rank + from..][..own_rank];
            cells.iter_mut().zip(numbers).for_each(|(cell, number)| *cell = number * change);
        }
        from += if shared { 0 } else { own_rank };
    }
    let down = NamedTensor::new([rank, place.input], down);
    Some(Matrices { down, up: NamedTensor::new([place.output, rank], up), scale: *scale })
}

/// The last parts of names if all layers with that suffix are adapted, otherwise whole names.
fn targets(places: &[JoinedLinear], layers: &[(String, Matrices)]) -> BTreeSet<String> {
    let adapted: BTreeSet<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_string();
    let is_everywhere = |end: &str| {
        places.iter().filter(|place| last(&place.theirs) == end).all(|p| adapted.contains(p.theirs.as_str()))
    };
    let named = |name: &&str| if is_everywhere(&last(name)) { last(name) } else { (*name).to_string() };
    adapted.iter().map(named).collect()
}

impl Matrices {
    fn rank(&self) -> usize {
        self.down.shape[0]
    }

    fn alpha(&self) -> f64 {
        self.scale * self.rank() as f64
    }
}
