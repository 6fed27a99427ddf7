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
use super::peft_config::{BASE_QUANTIZATION, CLASSIFICATION, CLASSIFIER_HEADS, PeftConfig, TASK};
use crate::checkpoint::{NamedTensor, NumberType, Tensors, read_tensors, write_tensors};
use crate::classifier::{self, ScoreSettings};
use crate::huggingface::{JoinedLinear, embedding, is_transposed, linears, parameters_in, transpose, without_wrappers};
use crate::layers::Adapter;
use crate::parameters::{data_of, replace_some};
use crate::pretrained::{read_json, write_json};
use crate::{Error, Result};
use crate::{ModelConfig, Transformer};

const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
const DOWN: &str = ".lora_A.weight";
const UP: &str = ".lora_B.weight";
/// The output layer.
const OUTPUT: &str = "lm_head";
/// The score head of a sequence classifier.
const SCORE: &str = "base_model.model.score.weight";

/// Matrices of one adapted layer in PEFT's layout: A `[rank, input]`, B `[output, rank]`.
struct Matrices {
    down: NamedTensor,
    up: NamedTensor,
    scale: f64,
}

/// Loads the adapters of a PEFT directory into a model and freezes all other parameters.
///
/// A model that was quantised when the adapters were trained is quantised again.
///
/// Whole layers that are saved beside the adapters, such as the embedding, take the place of the model's. An adapter of
/// the output layer is merged into it. The score head of a classifier is left out: [`read_score_head`] has it.
///
/// # Errors
/// A file that is missing or damaged, a variant of LoRA that is not supported, or tensors that do not fit the model.
pub fn read_adapters(mut model: Transformer, directory: &Path) -> Result<Transformer> {
    let (config_path, path) = (directory.join(CONFIG), directory.join(MODEL));
    let config = PeftConfig::read(&read_json(&config_path)?);
    let config = config.map_err(|reason| Error::checkpoint(&config_path, reason))?;
    let wrong = |reason: String| Error::checkpoint(&path, reason);
    let mut tensors = without_wrappers(read_tensors(&path, &|_| false)?, &path)?;
    tensors.retain(|name, _| !(config.is_classifier && name == SCORE));
    let device = model.device();
    let places = linears(model.config());
    let mut adapters = BTreeMap::new();
    for place in places {
        let found = take(&mut tensors, &config, &place.theirs, [place.input, place.output]).map_err(wrong)?;
        adapters.extend(found.into_iter().flat_map(|matrices| split(&place, matrices)));
    }
    let (width, vocab_size) = (model.config().width, model.config().vocab_size);
    let of_output = take(&mut tensors, &config, OUTPUT, [width, vocab_size]).map_err(wrong)?;
    if let Some(unknown) = tensors.keys().find(|name| name.contains(".lora_")) {
        let others = tensors.keys().filter(|name| name.contains(".lora_")).count() - 1;
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        return Err(wrong(format!("unexpected: {unknown}{more}; the model has no such linear layer")));
    }
    if adapters.is_empty() && of_output.is_none() {
        return Err(wrong("holds no adapters".into()));
    }
    let saved = saved_layers(model.config(), &config, tensors).map_err(wrong)?;
    model = replace_some(model, data_of(saved)).map_err(|faults| wrong(faults.join("; ")))?;
    model = model.quantized(config.base_quantization);
    let parameter = |tensor: NamedTensor| {
        let data = data_of(Tensors::from([(String::new(), tensor)])).pop_first().expect("there is one").1;
        Param::from_tensor(Tensor::from_data(data, &device))
    };
    for (name, layer) in model.linears_mut() {
        layer.adapter =
            adapters.remove(&name).map(|(down, up, scale)| Adapter::new(parameter(down), parameter(up), scale));
    }
    if let Some(Matrices { down, up, scale }) = of_output {
        let Some(head) = &mut model.head else {
            return Err(wrong(format!(
                "it adapts {OUTPUT}, which is the embedding of this model too (tie_word_embeddings); merge it with PEFT"
            )));
        };
        let adapter = Adapter::new(parameter(transpose(&down)), parameter(transpose(&up)), scale);
        head.weight = head.weight.clone().map(|weight| weight.detach() + adapter.difference().detach());
    }
    Ok(freeze_base(model))
}

/// Takes the matrices of one layer of this input and output width from a file; `None` if it is not adapted.
fn take(
    tensors: &mut Tensors,
    config: &PeftConfig,
    layer: &str,
    [input, output]: [usize; 2],
) -> Result<Option<Matrices>, String> {
    let key = |part: &str| format!("{PREFIX}{layer}{part}");
    let (down, up) = match (tensors.remove(&key(DOWN)), tensors.remove(&key(UP))) {
        (None, None) => return Ok(None),
        (Some(down), Some(up)) => (down, up),
        (None, _) => return Err(format!("{} is missing, and {UP} is there", key(DOWN))),
        (_, None) => return Err(format!("{} is missing, and {DOWN} is there", key(UP))),
    };
    let rank = down.shape.first().copied().unwrap_or_default();
    for (part, tensor, shape) in [(DOWN, &down, [rank, input]), (UP, &up, [output, rank])] {
        if tensor.shape != shape || rank == 0 {
            return Err(format!("{} is {:?}, and the model makes it {shape:?}", key(part), tensor.shape));
        }
    }
    let scale = config.scale(layer, rank)?;
    Ok(Some(Matrices { down, up, scale }))
}

/// Our parameters in whole layers beside the adapters: those of `modules_to_save`, and a resized embedding.
fn saved_layers(shape: &ModelConfig, config: &PeftConfig, tensors: Tensors) -> Result<Tensors, String> {
    let bare = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).replace(".base_layer.", ".");
    let mut saved: BTreeMap<String, (String, NamedTensor)> =
        tensors.into_iter().map(|(name, tensor)| (bare(&name), (name, tensor))).collect();
    let of_module = |name: &String, module: &str| {
        name.rsplit_once('.').is_some_and(|(layer, _)| layer == module || layer.ends_with(&format!(".{module}")))
    };
    for module in &config.modules_to_save {
        if !saved.keys().any(|name| of_module(name, module)) {
            return Err(format!("has no tensor of {module:?}, which modules_to_save of {CONFIG} names"));
        }
    }
    if shape.tie_embeddings {
        let (input, output) = (embedding(shape), format!("{OUTPUT}.weight"));
        let is_trained = |name| config.modules_to_save.iter().any(|module| of_module(name, module));
        let is_equal = match (saved.get(&input), saved.get(&output)) {
            (Some((_, input)), Some((_, output))) => input == output,
            // PEFT trains a copy of the one, and the other remains that of the base.
            _ => config.ensure_weight_tying || !(is_trained(&input) || is_trained(&output)),
        };
        if !is_equal {
            return Err(format!(
                "{input} and {OUTPUT} of the base model are one tensor (tie_word_embeddings), and this adapter has another \
                 for one of them; merge it with PEFT"
            ));
        }
        if let Some(output) = saved.remove(&output) {
            saved.entry(input).or_insert(output);
        }
    }
    let mut parameters = Tensors::new();
    for (bare, (name, tensor)) in saved {
        match parameters_in(shape, &bare, tensor) {
            Ok(Some(found)) => parameters.extend(found),
            Ok(None) => return Err(format!("unexpected: {name}; the model has no such tensor")),
            Err(fault) => return Err(format!("{name} {fault}")),
        }
    }
    Ok(parameters)
}

/// Splits PEFT's adapter of one layer into ours: name, A `[input, rank]`, B `[rank, output]`, scale.
fn split(place: &JoinedLinear, matrices: Matrices) -> Vec<(String, (NamedTensor, NamedTensor, f64))> {
    let Matrices { down, up, scale } = matrices;
    let rank = down.shape[0];
    let mut rest = up.data.as_slice();
    let parts = place.ours.iter().map(|(name, rows)| {
        let (part, others) = rest.split_at(rows * rank);
        rest = others;
        (name, *rows, part)
    });
    parts
        .filter(|(_, _, up)| up.iter().any(|&number| number != 0.0) || place.ours.len() == 1)
        .map(|(name, rows, up)| {
            let up = NamedTensor::new([rows, rank], up.to_vec());
            (name.clone(), (transpose(&down), transpose(&up), scale))
        })
        .collect()
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
    let mut config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "target_modules": targets(&places, &layers),
        "fan_in_fan_out": !is_transposed(model.config()),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": true,
    });
    // Not among PEFT's fields, which has no name for it: PEFT reads it with a warning.
    if let Some((_, matrix)) = model.frozen_matrices().first() {
        config[BASE_QUANTIZATION] = matrix.quantization().name().into();
    }
    let mut tensors = Tensors::new();
    for (name, Matrices { down, up, .. }) in layers {
        tensors.insert(format!("{PREFIX}{name}{DOWN}"), down);
        tensors.insert(format!("{PREFIX}{name}{UP}"), up);
    }
    Some((config, tensors))
}

/// Turns the adapters of a language model with a value head into those of a sequence classifier. `head` has the value
/// head under the project's own names.
///
/// # Panics
/// If there is no value head.
pub fn to_classifier_adapters(config: &mut Value, tensors: &mut Tensors, mut head: Tensors, settings: &ScoreSettings) {
    classifier::write_head(config, &mut head, settings);
    config[TASK] = CLASSIFICATION.into();
    config["modules_to_save"] = json!(CLASSIFIER_HEADS);
    tensors.extend(head.remove(classifier::WEIGHT).map(|weight| (SCORE.to_string(), weight)));
}

/// Score settings of a PEFT directory for sequence classification; `None` if its task is another.
///
/// # Errors
/// A configuration that cannot be read.
pub fn read_score_settings(directory: &Path) -> Result<Option<ScoreSettings>> {
    let config = read_json(&directory.join(CONFIG))?;
    Ok((config[TASK] == CLASSIFICATION).then(|| classifier::score_settings(&config)))
}

/// The score head of a PEFT directory for sequence classification with one label, under the project's own names; `None` if
/// its task is another.
///
/// # Errors
/// A file that is missing or damaged, or a head of more than one label.
pub fn read_score_head(directory: &Path) -> Result<Option<Tensors>> {
    let (config, path) = (read_json(&directory.join(CONFIG))?, directory.join(MODEL));
    if config[TASK] != CLASSIFICATION {
        return Ok(None);
    }
    let mut saved = without_wrappers(read_tensors(&path, &|name| name.contains(".lora_"))?, &path)?;
    let mut head: Tensors =
        saved.remove(SCORE).map(|weight| (classifier::WEIGHT.to_string(), weight)).into_iter().collect();
    classifier::from_classifier(&config, &mut head, &path)?;
    Ok(Some(head))
}

/// The directory or GGUF file of the base model that the adapters of a PEFT directory belong to; `None` if it is no PEFT directory.
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
    match Path::new(base).is_dir() || palestra_gguf::is_gguf(Path::new(base)) {
        true => Ok(Some(base.into())),
        false => Err(Error::checkpoint(
            &path,
            format!(
                "base_model_name_or_path is {base:?}, which is no directory and no GGUF file here; write where the model is"
            ),
        )),
    }
}

/// Joins our adapters of one PEFT layer into one; `None` if it has none.
fn join(place: &JoinedLinear, ours: &BTreeMap<String, (NamedTensor, NamedTensor, f64)>) -> Option<Matrices> {
    let mut end = 0;
    let parts = place.ours.iter().map(|(name, rows)| {
        end += rows;
        (end - rows, ours.get(name))
    });
    // With the first row of each among those of the layer.
    let found: Vec<(usize, &(NamedTensor, NamedTensor, f64))> =
        parts.filter_map(|(first, adapter)| Some((first, adapter?))).collect();
    let (_, (first, _, scale)) = *found.first()?;
    // One A for all parts, as PEFT trains them, and as they are after reading.
    let shared = found.iter().all(|(_, (down, _, other))| (down, other) == (first, scale));
    let rank = if shared { first.shape[1] } else { found.iter().map(|(_, (down, ..))| down.shape[1]).sum() };
    let mut down = Vec::new(); // [rank, input]
    let mut up = vec![0.0; place.output * rank]; // [output, rank]
    let mut from = 0; // the first column of a part
    for (at, (first_row, (their_down, their_up, their_scale))) in found.iter().enumerate() {
        if at == 0 || !shared {
            down.extend(transpose(their_down).data);
        }
        let own_rank = their_down.shape[1];
        let change = (their_scale / scale) as f32;
        for (row, numbers) in transpose(their_up).data.chunks(own_rank).enumerate() {
            let cells = &mut up[(first_row + row) * rank + from..][..own_rank];
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
