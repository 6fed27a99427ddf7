use super::*;
use crate::{ExpertsConfig, Family};

fn config(family: Family, tie_embeddings: bool) -> ModelConfig {
    let kv_heads = if family == Family::Gpt2 { 2 } else { 1 };
    let config = ModelConfig {
        family,
        tie_embeddings,
        kv_heads,
        vocab_size: 7,
        context: 5,
        width: 4,
        heads: 2,
        feed_forward: 6,
        ..ModelConfig::default()
    };
    config.resolve(7).unwrap()
}

/// A tensor of numbers that all differ.
fn numbered(shape: &[usize], start: usize) -> NamedTensor {
    let count = shape.iter().product::<usize>();
    NamedTensor::new(shape, (start..start + count).map(|number| number as f32).collect())
}

/// The tensors of a file of a model of this shape.
pub fn file_of(config: &ModelConfig) -> Tensors {
    let mut start = 0;
    let mut number = |place: TensorMapping| {
        start += 1000;
        (place.theirs, numbered(&place.shape, start))
    };
    places(config).into_iter().map(&mut number).collect()
}

fn refused(config: &ModelConfig, tensors: Tensors) -> String {
    from_hugging_face(config, tensors, Path::new("m.safetensors")).unwrap_err().to_string()
}

#[test]
fn there_and_back_is_the_same() {
    let features = [
        ModelConfig { qkv_bias: true, ..config(Family::Llama, true) },
        ModelConfig { qkv_bias: true, output_bias: true, mlp_bias: true, ..config(Family::Llama, true) },
        ModelConfig { qk_norm: true, head_dim: 6, ..config(Family::Llama, true) },
        config(Family::Llama, true),
        config(Family::Gpt2, true),
        config(Family::Gemma3, true),
        config(Family::Phi3, true),
        config(Family::SmolLm3, true),
        config(Family::Olmo2, true),
        config(Family::Mixtral, true),
        ModelConfig {
            experts: Some(ExpertsConfig {
                count: 3,
                feed_forward: 5,
                dense_layers: vec![0],
                ..ExpertsConfig::default()
            }),
            ..config(Family::Qwen3Moe, true)
        },
    ];
    for config in features {
        for tied in [true, false] {
            let config = ModelConfig { tie_embeddings: tied, ..config.clone() };
            let mut file = file_of(&config);
            file.insert("value_head.weight".to_owned(), numbered(&[4, 1], 0));
            let ours = from_hugging_face(&config, file.clone(), Path::new("m")).unwrap();
            assert_eq!(ours.contains_key("head.weight"), !tied);
            assert_eq!(to_hugging_face(&config, ours), file);
        }
    }
}

#[test]
fn llama_is_transposed() {
    let config = config(Family::Llama, false);
    let file = file_of(&config);
    let ours = from_hugging_face(&config, file.clone(), Path::new("m")).unwrap();
    let (theirs, key) = (&file["model.layers.1.self_attn.k_proj.weight"], &ours["blocks.1.attention.key.weight"]);
    assert_eq!((theirs.shape.as_slice(), key.shape.as_slice()), ([2, 4].as_slice(), [4, 2].as_slice()));
    let first = theirs.data[0];
    assert_eq!(key.data, [0., 4., 1., 5., 2., 6., 3., 7.].map(|step| first + step));
    assert_eq!(ours["blocks.0.feed_forward.down.weight"].shape, [6, 4]);
    assert_eq!(ours["head.weight"].shape, [4, 7]);
    assert_eq!(ours["embedding"], file["model.embed_tokens.weight"]);
}

#[test]
fn gpt2_joins_query_key_and_value() {
    let config = config(Family::Gpt2, true);
    let file = file_of(&config);
    let ours = from_hugging_face(&config, file.clone(), Path::new("m")).unwrap();
    let first = file["transformer.h.0.attn.c_attn.weight"].data[0];
    let rows = |start: f32| -> Vec<f32> {
        (0..4).flat_map(|row| (0..4).map(move |column| start + (12 * row + column) as f32)).collect()
    };
    for (index, name) in ["query", "key", "value"].into_iter().enumerate() {
        assert_eq!(ours[&format!("blocks.0.attention.{name}.weight")].data, rows(first + 4. * index as f32));
        assert_eq!(ours[&format!("blocks.0.attention.{name}.bias")].shape, [4]);
    }
    assert_eq!(ours["blocks.0.feed_forward.up.weight"], file["transformer.h.0.mlp.c_fc.weight"]);
}

#[test]
fn phi3_joins_layers_of_different_widths() {
    let config = config(Family::Phi3, true);
    let file = file_of(&config);
    let ours = from_hugging_face(&config, file.clone(), Path::new("m")).unwrap();
    let theirs = &file["model.layers.0.self_attn.qkv_proj.weight"]; // 4 rows of queries, 2 of keys, 2 of values
    assert_eq!(theirs.shape, [8, 4]);
    let first = theirs.data[0];
    for (name, start) in [("query", 0.0), ("key", 16.0), ("value", 24.0)] {
        let part = &ours[&format!("blocks.0.attention.{name}.weight")];
        assert_eq!(transpose(part).data[0], first + start, "{name}");
    }
    assert_eq!(ours["blocks.0.attention.key.weight"].shape, [4, 2]);
    assert_eq!(file["model.layers.1.mlp.gate_up_proj.weight"].shape, [12, 4]);
}

#[test]
fn files_without_prefix_or_with_buffers_are_read() {
    for family in [Family::Llama, Family::Gpt2] {
        let config = config(family, true);
        let file = file_of(&config);
        let ours = from_hugging_face(&config, file.clone(), Path::new("m")).unwrap();
        let bare = |name: String| name.strip_prefix(names(&config).prefix).unwrap().to_owned();
        let mut bare: Tensors = file.into_iter().map(|(name, tensor)| (bare(name), tensor)).collect();
        bare.insert("h.0.attn.bias".to_owned(), numbered(&[1, 1, 5, 5], 0));
        bare.insert("layers.0.self_attn.rotary_emb.inv_freq".to_owned(), numbered(&[1], 0));
        assert_eq!(from_hugging_face(&config, bare, Path::new("m")).unwrap(), ours);
    }
}

#[test]
fn tied_layers_have_one_tensor_under_either_name_or_under_both() {
    for family in [Family::Llama, Family::Gpt2] {
        let config = config(family, true);
        let (mut file, name) = (file_of(&config), embedding(&config));
        let ours = from_hugging_face(&config, file.clone(), Path::new("m")).unwrap();
        file.insert(OUTPUT.to_owned(), file[&name].clone());
        assert_eq!(from_hugging_face(&config, file.clone(), Path::new("m")).unwrap(), ours);
        let mut output_alone = file.clone();
        output_alone.remove(&name);
        assert_eq!(from_hugging_face(&config, output_alone.clone(), Path::new("m")).unwrap(), ours);
        output_alone.remove(OUTPUT);
        assert!(refused(&config, output_alone).ends_with(&format!("missing: {name}")));
        file.get_mut(OUTPUT).unwrap().data[0] = -1.0;
        let message = refused(&config, file.clone());
        let start = format!("m.safetensors: lm_head.weight and {name} differ, and config.json says");
        assert!(message.starts_with(&start), "{message}");
        let untied = ModelConfig { tie_embeddings: false, ..config };
        let message = refused(&untied, file_of(&ModelConfig { tie_embeddings: true, ..untied.clone() }));
        assert!(message.ends_with("lm_head.weight (config.json says tie_word_embeddings = false)"), "{message}");
        let ours = from_hugging_face(&untied, file.clone(), Path::new("m")).unwrap();
        assert_eq!((ours["embedding"].data[0], ours["head.weight"].data[0]), (file[&name].data[0], -1.0));
    }
}

#[test]
fn names_within_wrappers_are_read() {
    let file = file_of(&config(Family::Llama, true));
    for rename in [
        |name: &str| format!("_orig_mod.{name}"),
        |name: &str| format!("module.{name}"),
        |name: &str| format!("module._orig_mod.{name}"),
        |name: &str| name.replace("layers.1.", "layers.1._orig_mod."),
    ] {
        let wrapped = file.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect();
        assert_eq!(without_wrappers(wrapped, Path::new("m")).unwrap(), file);
    }
    let mut twice = file.clone();
    twice.insert("module.model.norm.weight".to_owned(), numbered(&[4], 0));
    let message = without_wrappers(twice, Path::new("m")).unwrap_err().to_string();
    assert_eq!(message, "m: model.norm.weight is there twice, once as module.model.norm.weight");
}

#[test]
fn what_does_not_fit_is_listed() {
    let config = config(Family::Llama, true);
    let mut file = file_of(&config);
    file.remove("model.norm.weight");
    file.insert("model.layers.2.mlp.up_proj.weight".to_owned(), numbered(&[6, 4], 0));
    file.insert("model.layers.0.mlp.up_proj.weight".to_owned(), numbered(&[4, 6], 0));
    assert_eq!(
        refused(&config, file),
        "m.safetensors: does not fit the llama model of config.json; missing: model.norm.weight; \
         unexpected: layers.2.mlp.up_proj.weight; \
         of another shape: model.layers.0.mlp.up_proj.weight is [4, 6] and config.json makes it [6, 4]"
    );
    assert!(refused(&config, Tensors::new()).ends_with("and 15 more"));
}
