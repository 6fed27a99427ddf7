use palestra_gguf::{Value, write};
use palestra_testing::assert_close;

use super::*;
use crate::huggingface::from_hugging_face;
use crate::huggingface::tests::file_of;
use crate::{Family, RopeScaling, config_json as json_of_config};

fn base() -> ModelConfig {
    ModelConfig { width: 16, heads: 4, kv_heads: 2, layers: 2, feed_forward: 24, context: 32, ..ModelConfig::default() }
}

fn parameters(config: &ModelConfig) -> Tensors {
    let mut file = file_of(config);
    for tensor in file.values_mut() {
        tensor.data.iter_mut().for_each(|number| *number /= 8192.0); // in the range of 16 bits
    }
    from_hugging_face(config, file, std::path::Path::new("m")).unwrap()
}

/// The file of a model, after a change of its settings and tensors.
fn written(
    config: &ModelConfig,
    change: impl FnOnce(&mut Vec<(String, Value)>, &mut Vec<Tensor>),
) -> tempfile::TempDir {
    let mut settings = settings(config, NumberFormat::F32).unwrap();
    let mut tensors = tensors(config, parameters(config), NumberFormat::F32).unwrap();
    change(&mut settings, &mut tensors);
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("m.gguf"), &settings, &tensors).unwrap();
    folder
}

fn read(folder: &tempfile::TempDir) -> Result<(ModelConfig, Tensors)> {
    crate::read_model(&folder.path().join("m.gguf"))
}

fn refused(change: impl FnOnce(&mut Vec<(String, Value)>, &mut Vec<Tensor>)) -> String {
    let folder = written(&base().resolve(10).unwrap(), change);
    let message = read(&folder).unwrap_err().to_string();
    message.split_once("m.gguf: ").unwrap().1.to_string()
}

#[test]
fn a_model_is_read_as_it_was_written() {
    let linear = Some(RopeScaling::Linear { factor: 2.0 });
    let shapes = [
        base(),
        ModelConfig { tie_embeddings: false, norm_eps: 1e-6, rope_theta: 5e5, rope_scaling: linear, ..base() },
        ModelConfig { qkv_bias: true, output_bias: true, mlp_bias: true, ..base() },
        ModelConfig { family: Family::Qwen2, ..base() },
        ModelConfig { family: Family::Qwen3, head_dim: 6, ..base() },
    ];
    for shape in shapes {
        let config = shape.resolve(10).unwrap();
        let (found, tensors) = read(&written(&config, |_, _| ())).unwrap();
        assert_eq!(json_of_config::write(&found), json_of_config::write(&config));
        assert_eq!(tensors, parameters(&config));
    }
}

#[test]
fn a_mistral_without_a_window_is_a_llama() {
    let config = ModelConfig { family: Family::Mistral, ..base() }.resolve(10).unwrap();
    let (found, tensors) = read(&written(&config, |_, _| ())).unwrap();
    assert_eq!((found.family, tensors), (Family::Llama, parameters(&config)));
}

#[test]
fn rotated_pairs_stand_side_by_side_in_a_llama_alone() {
    let rows = |heads| {
        let tensor = NamedTensor::new([8], (0..8).map(|row| row as f32).collect());
        with_pairs(tensor, heads, Pairs::Side)
    };
    assert_close!(rows(2).data, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0], 0.0);
    assert_close!(rows(1).data, [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0], 0.0);
    assert_close!(with_pairs(rows(1), 1, Pairs::Halves).data, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 0.0);

    let query = |family| {
        let config = ModelConfig { family, ..base() }.resolve(10).unwrap();
        let theirs =
            to_hugging_face(&config, parameters(&config))["model.layers.0.self_attn.q_proj.weight"].data.clone();
        let written = tensors(&config, parameters(&config), NumberFormat::F32).unwrap();
        (theirs, written.into_iter().find(|tensor| tensor.name == "blk.0.attn_q.weight").unwrap().data)
    };
    let (theirs, ours) = query(Family::Llama);
    assert_close!(&ours[16..32], &theirs[32..48], 0.0); // row 1 is row 2 of heads that are 4 wide
    let (theirs, ours) = query(Family::Qwen3);
    assert_close!(ours, theirs, 0.0);
}

/// The divisors by the formula of Llama 3.1: whole below, 1 above, and 1 / ((1 - s) / factor + s) between.
#[test]
fn llama_3_divides_its_frequencies_by_a_tensor() {
    let scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 32 };
    let config =
        ModelConfig { width: 32, rope_scaling: Some(scaling), rope_theta: 100.0, ..base() }.resolve(10).unwrap();
    let folder = written(&config, |_, tensors| {
        assert_eq!(tensors[0].name, FREQUENCY_DIVISORS);
        let turns = |pair: i32| 32.0 * 100_f32.powf(-2.0 * pair as f32 / 8.0) / std::f32::consts::TAU;
        let middle = (turns(1) - 1.0) / 3.0; // 1.61 turns
        assert_close!(tensors[0].data, [1.0, 1.0 / ((1.0 - middle) / 8.0 + middle), 8.0, 8.0], 1e-5);
    });
    let (found, tensors) = read(&folder).unwrap();
    let Some(RopeScaling::LongRope { short_factor, attention_factor, .. }) = &found.rope_scaling else { panic!() };
    assert_eq!((short_factor[3], *attention_factor), (8.0, Some(1.0)));
    assert_eq!(tensors, parameters(&config));
    // What was read is written again.
    assert_eq!(frequency_divisors_of(&found), frequency_divisors_of(&config));
}

fn frequency_divisors_of(config: &ModelConfig) -> Vec<f32> {
    settings::frequency_divisors(config).unwrap().unwrap()
}

#[test]
fn vectors_and_rows_that_blocks_do_not_divide_have_other_formats() {
    let config = ModelConfig { width: 32, feed_forward: 24, ..base() }.resolve(10).unwrap();
    let written = tensors(&config, parameters(&config), NumberFormat::Q8_0).unwrap();
    let format = |name: &str| written.iter().find(|tensor| tensor.name == name).unwrap().format;
    assert_eq!(format("output_norm.weight"), NumberFormat::F32);
    assert_eq!(format("blk.0.ffn_up.weight"), NumberFormat::Q8_0);
    assert_eq!(format("blk.0.ffn_down.weight"), NumberFormat::F16, "its rows have 24 numbers");
}

#[test]
fn models_that_llama_cpp_does_not_have_are_refused_by_name() {
    let refused = |config: ModelConfig| {
        let config = config.resolve(10).unwrap();
        let result = settings(&config, NumberFormat::F32).map(|_| ());
        result
            .and_then(|()| tensors(&config, parameters(&config), NumberFormat::F32).map(|_| ()))
            .unwrap_err()
            .to_string()
    };
    assert!(refused(ModelConfig { family: Family::Gpt2, kv_heads: 0, ..base() }).contains("the family \"gpt2\""));
    assert!(refused(ModelConfig { sliding_window: 9, ..base() }).contains("a sliding window of 9 tokens"));
    let biased = ModelConfig { family: Family::Qwen3, qkv_bias: true, output_bias: true, ..base() };
    assert!(refused(biased).contains("biases of attention"));
    let dynamic = Some(RopeScaling::Dynamic { factor: 2.0 });
    assert!(refused(ModelConfig { rope_scaling: dynamic, ..base() }).contains("rope_scaling of the type \"dynamic\""));
}

#[test]
fn settings_and_tensors_that_do_not_fit_are_refused_by_name() {
    let set = |name: &'static str, value: Value| {
        refused(move |settings, _| {
            settings.retain(|(known, _)| known != name);
            settings.push((name.into(), value));
        })
    };
    let message = set("general.architecture", Value::Text("gemma".into()));
    assert_eq!(message, "general.architecture is \"gemma\"; \"llama\", \"qwen2\" and \"qwen3\" can be read");
    assert_eq!(
        set("llama.expert_count", Value::Integer(8)),
        "llama.expert_count is 8; only models without it can be read"
    );
    assert!(set("llama.rope.scaling.type", Value::Text("yarn".into())).contains("llama.rope.scaling.type is \"yarn\""));
    assert!(set("llama.rope.dimension_count", Value::Integer(2)).contains("only heads that are 4 wide"));
    assert_eq!(
        set("llama.block_count", Value::Integer(1 << 30)),
        "llama.block_count is 1073741824, and the file has 20 tensors"
    );
    assert!(
        set("llama.context_length", Value::Integer(4_000_000_000))
            .contains("max_position_embeddings is 4000000000; at most 1000000000 is read")
    );
    assert!(set("llama.attention.head_count", Value::Integer(0)).contains("num_attention_heads is 0"));
    assert!(set("llama.attention.head_count", Value::Text("4".into())).contains("llama.attention.head_count is \"4\""));
    let message = refused(|settings, _| settings.retain(|(name, _)| name != "llama.embedding_length"));
    assert_eq!(message, "the setting llama.embedding_length is missing");
    let message = refused(|_, tensors| {
        tensors.retain(|tensor| tensor.name != "blk.1.ffn_up.weight");
        tensors.iter_mut().find(|tensor| tensor.name == "output_norm.weight").unwrap().name = "norm.weight".into();
        let norm = tensors.iter_mut().find(|tensor| tensor.name == "blk.0.attn_norm.weight").unwrap();
        (norm.shape, norm.data) = (vec![1], vec![1.0]);
    });
    assert!(message.starts_with("does not fit its own settings: "), "{message}");
    for fault in [
        "blk.1.ffn_up.weight is missing",
        "output_norm.weight is missing",
        "norm.weight is unexpected",
        "blk.0.attn_norm.weight is [1], and the settings make it [16]",
    ] {
        assert!(message.contains(fault), "{message}");
    }
}

#[test]
fn the_special_tokens_are_those_of_the_file() {
    let folder = written(&base().resolve(10).unwrap(), |settings, _| {
        for (role, id) in [("bos", 1), ("eos", 2), ("eot", 3), ("eom", 2), ("padding", 4)] {
            settings.push((format!("tokenizer.ggml.{role}_token_id"), Value::Integer(id)));
        }
    });
    let found = crate::read_generation_config(&folder.path().join("m.gguf")).unwrap();
    assert_eq!((found.bos, found.eos, found.pad), (Some(1), vec![2, 3], Some(4)));
}
