use serde_json::json;

use super::*;
use crate::checkpoint::{self, Checkpoint, NamedTensor};
use crate::huggingface::from_hugging_face;
use crate::huggingface::tests::file_of;
use crate::{ExpertsConfig, Family, Heads, Policy, Transformer};

fn tiny() -> ModelConfig {
    ModelConfig { layers: 1, width: 2, heads: 1, ..ModelConfig::default() }.resolve(3).unwrap()
}

/// The parameters of a model under our own names, with numbers that 16 bits represent exactly.
fn parameters() -> Tensors {
    from_hugging_face(&tiny(), file_of(&tiny()), Path::new("m")).unwrap()
}

fn saved(change: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut file = file_of(&tiny());
    change(&mut file);
    // Writes the file without checks, as another program might.
    let views = file.iter().map(|(name, tensor)| {
        let bytes = bytemuck::cast_slice(&tensor.data);
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &directory.path().join(MODEL)).unwrap();
    write_json(&directory.path().join(CONFIG), &config_json::write(&tiny())).unwrap();
    directory
}

fn refused(change: impl FnOnce(&mut Tensors)) -> String {
    let directory = saved(change);
    let message = read_model(directory.path()).unwrap_err().to_string();
    message.strip_prefix(&directory.path().join(MODEL).display().to_string()).unwrap().to_string()
}

#[test]
fn what_was_written_is_read_in_every_layout() {
    let generation = GenerationConfig { eos: vec![2, 1], pad: Some(0), ..GenerationConfig::default() };
    for numbers in [NumberType::F32, NumberType::F16, NumberType::BF16] {
        for shard_bytes in [60, usize::MAX] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("model");
            let layout = FileLayout { numbers, shard_bytes };
            let parameters: Tensors = parameters()
                .into_iter()
                .map(|(name, t)| (name, NamedTensor::new(t.shape, t.data.iter().map(|x| (x % 64.0) / 32.0).collect())))
                .collect();
            write_model(&path, &tiny(), parameters.clone(), &generation, &layout).unwrap();
            assert_eq!(read_model(&path).unwrap(), (tiny(), parameters.clone()));
            assert_eq!(read_generation_config(&path).unwrap(), generation);
            assert_eq!(path.join(MODEL).exists(), shard_bytes == usize::MAX);
            let config = read_json(&path.join(CONFIG)).unwrap();
            assert_eq!(config["torch_dtype"], numbers.torch_name());
            assert_eq!((&config["eos_token_id"], &config["pad_token_id"]), (&json!([2, 1]), &json!(0)));
            let again = write_model(&path, &tiny(), parameters, &generation, &layout).unwrap_err().to_string();
            assert!(again.ends_with("model: holds config.json already; choose another directory"), "{again}");
        }
    }
}

#[test]
fn shards_hold_no_more_than_they_may() {
    let layout = FileLayout { numbers: NumberType::F16, shard_bytes: 60 };
    let groups = shards(file_of(&tiny()), &layout);
    assert!(groups.len() > 2);
    assert!(groups.iter().all(|group| group.len() == 1 || bytes_of(group, layout.numbers) <= 60));
    assert_eq!(groups.into_iter().flatten().collect::<Tensors>(), file_of(&tiny()));
}

#[test]
fn numbers_that_are_none_and_tensors_that_do_not_fit_are_refused_by_name() {
    let name = "model.layers.0.mlp.down_proj.weight";
    for number in [f32::NAN, f32::INFINITY] {
        let message = refused(|file| file.get_mut(name).unwrap().data[3] = number);
        assert_eq!(message, format!(": tensor {name} holds {number} at 3; each must be a finite number"));
    }
    let message = refused(|file| {
        let tensor = file.remove(name).unwrap();
        file.insert("model.layers.0.mlp.dwon_proj.weight".into(), tensor);
        let norm = file.get_mut("model.norm.weight").unwrap();
        *norm = NamedTensor::new([1], vec![1.0]);
    });
    assert_eq!(
        message,
        format!(
            ": does not fit the llama model of config.json; missing: {name}; unexpected: \
             layers.0.mlp.dwon_proj.weight; of another shape: model.norm.weight is [1] and config.json makes it [2]"
        )
    );
    let directory = tempfile::tempdir().unwrap();
    let mut large = parameters();
    large.get_mut("norm.weight").unwrap().data[1] = 1e6;
    let layout = FileLayout { numbers: NumberType::F16, ..FileLayout::default() };
    let message =
        write_model(directory.path(), &tiny(), large, &GenerationConfig::default(), &layout).unwrap_err().to_string();
    assert!(
        message.ends_with("tensor model.norm.weight holds 1000000, too large for 16-bit floats; write bf16 or f32")
    );
}

#[test]
fn files_that_are_not_there_are_told() {
    let directory = saved(|_| ());
    fs::remove_file(directory.path().join(MODEL)).unwrap();
    let message = read_model(directory.path()).unwrap_err().to_string();
    assert!(message.contains("model.safetensors: there is no such file"), "{message}");
    let index = directory.path().join(INDEX);
    fs::write(&index, r#"{"weight_map": {"a": "../a.safetensors"}}"#).unwrap();
    let message = read_model(directory.path()).unwrap_err().to_string();
    assert!(message.ends_with(r#"names "../a.safetensors", which is no file of its own directory"#), "{message}");
}

#[test]
fn buffers_of_any_type_are_passed_over() {
    let directory = saved(|_| ());
    let path = directory.path().join(MODEL);
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mask = safetensors::tensor::TensorView::new(safetensors::Dtype::BOOL, vec![3], &[1, 0, 1]).unwrap();
    let all = file.tensors().into_iter().chain([("model.layers.0.self_attn.rotary_emb.inv_freq".into(), mask)]);
    safetensors::serialize_to_file(all, None, &path).unwrap();
    assert_eq!(read_model(directory.path()).unwrap().1, parameters());
}

#[test]
fn a_checkpoint_is_a_model_directory_also_in_shards() {
    let directory = tempfile::tempdir().unwrap();
    let config = tiny();
    let model = file_of(&config);
    let saved = Checkpoint {
        step: 1,
        contents: checkpoint::Contents::Model,
        config: config_json::write(&config),
        model: model.clone(),
        optimizer: Tensors::new(),
        state: json!(null),
        tokenizer_json: String::new(),
        companions: BTreeMap::new(),
    };
    let path = checkpoint::save(directory.path(), &saved).unwrap();
    let whole = read_model(&path).unwrap();
    assert_eq!(whole, (config.clone(), from_hugging_face(&config, model.clone(), Path::new("m")).unwrap()));

    // The same weights in two files, the second of which comes from another checkpoint.
    let (first, second): (Tensors, Tensors) = model.into_iter().partition(|(name, _)| name.contains("layers.0"));
    let map = |tensors: &Tensors, file: &str| -> serde_json::Map<String, Value> {
        tensors.keys().map(|name| (name.clone(), json!(file))).collect()
    };
    let mut weight_map = map(&first, "1.safetensors");
    weight_map.extend(map(&second, "2.safetensors"));
    for (step, model) in [(2, first), (3, second)] {
        let part = checkpoint::save(directory.path(), &Checkpoint { step, model, ..saved.clone() }).unwrap();
        let shard = path.join(format!("{}.safetensors", step - 1));
        fs::rename(part.join("model.safetensors"), shard).unwrap();
    }
    fs::remove_file(path.join("model.safetensors")).unwrap();
    let index = json!({ "weight_map": weight_map }).to_string();
    fs::write(path.join("model.safetensors.index.json"), index).unwrap();
    assert_eq!(read_model(&path).unwrap(), whole);
}

/// Names and bytes of the frozen matrices of a model.
fn bytes_of_matrices(model: &Transformer) -> BTreeMap<String, Vec<u8>> {
    model.frozen_matrices().into_iter().map(|(name, matrix)| (name, matrix.to_bytes())).collect()
}

#[test]
fn matrices_that_are_frozen_as_they_are_read_are_those_of_the_whole_model() {
    let device = Device::flex();
    let read = |family: Family, file: &Tensors, quantization| {
        let shape = ModelConfig { family, layers: 2, width: 8, heads: 2, ..ModelConfig::default() };
        let (config, directory) = (shape.resolve(11).unwrap(), tempfile::tempdir().unwrap());
        write_tensors(&directory.path().join(MODEL), file, NumberType::F32).unwrap();
        write_json(&directory.path().join(CONFIG), &config_json::write(&config)).unwrap();
        read_frozen(directory.path(), quantization, &device)
    };
    for family in [Family::Gpt2, Family::Llama, Family::Phi3, Family::Mixtral] {
        let experts = (family == Family::Mixtral).then(ExpertsConfig::default);
        let shape = ModelConfig { family, layers: 2, width: 8, heads: 2, experts, ..ModelConfig::default() };
        let config = shape.resolve(11).unwrap();
        let file = file_of(&config);
        // Names without the prefix, and with that of a wrapper, as other programs write them.
        let bare = |name: &String| name.trim_start_matches("model.").trim_start_matches("transformer.").to_owned();
        let renamed = [
            file.clone(),
            file.iter().map(|(name, tensor)| (bare(name), tensor.clone())).collect(),
            file.iter().map(|(name, tensor)| (format!("module.{name}"), tensor.clone())).collect(),
        ];
        for file in &renamed {
            for quantization in [Quantization::Bf16, Quantization::Int8, Quantization::Nf4] {
                let directory = tempfile::tempdir().unwrap();
                write_tensors(&directory.path().join(MODEL), file, NumberType::F32).unwrap();
                write_json(&directory.path().join(CONFIG), &config_json::write(&config)).unwrap();
                let (config, whole) = read_model(directory.path()).unwrap();
                let (_, tensors, frozen) = read_frozen(directory.path(), quantization, &device).unwrap();
                assert!(tensors.iter().all(|(name, tensor)| whole[name] == *tensor));
                assert_eq!(tensors.len() + frozen.len(), whole.len(), "{family:?}");
                let policy = |tensors, frozen| {
                    Policy::starting_from(&config, Heads::default(), tensors, frozen, 0, &device).unwrap().transformer
                };
                let expected = policy(whole, FrozenMatrices::new()).quantized(quantization);
                assert_eq!(bytes_of_matrices(&policy(tensors, frozen)), bytes_of_matrices(&expected), "{family:?}");
            }
        }
    }
    let mut file =
        file_of(&ModelConfig { layers: 2, width: 8, heads: 2, ..ModelConfig::default() }.resolve(11).unwrap());
    let name = "model.layers.1.mlp.down_proj.weight";
    file.insert(name.into(), NamedTensor::new([1, 1], vec![1.0]));
    let message = read(Family::Llama, &file, Quantization::Int8).unwrap_err().to_string();
    assert!(message.contains(&format!("of another shape: {name} is [1, 1]")), "{message}");
    file.remove(name);
    let message = read(Family::Llama, &file, Quantization::Int8).unwrap_err().to_string();
    assert!(message.contains(&format!("missing: {name}")), "{message}");
}
