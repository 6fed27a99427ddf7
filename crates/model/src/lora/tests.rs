use std::path::Path;

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use palestra_testing::{Tolerance, assert_close};
use rand::SeedableRng;

use super::*;
use crate::ops::{available_devices, open_device};
use crate::{Family, ModelConfig, Placement};

fn model(family: Family, device: &Device) -> Transformer {
    let shape = ModelConfig { family, width: 8, heads: 2, context: 8, ..ModelConfig::default() };
    Transformer::new(&shape.resolve(11).unwrap(), &mut Init::Random(&mut ChaCha8Rng::seed_from_u64(1)), device)
}

fn each_model(test: impl Fn(Transformer)) {
    for device in available_devices() {
        for family in [Family::Gpt2, Family::Llama, Family::Phi3] {
            test(model(family, &open_device(device).unwrap()));
        }
    }
}

fn config(targets: &[&str]) -> LoraConfig {
    let targets = targets.iter().map(|target| (*target).to_string()).collect();
    LoraConfig { rank: 3, alpha: 6.0, targets, ..LoraConfig::default() }
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

/// A model with adapters that change its outputs.
fn adapted(model: Transformer, targets: &[&str]) -> Transformer {
    let mut model = attach(model, &config(targets), &mut rng()).unwrap();
    let device = model.device();
    for (_, layer) in model.linears_mut() {
        if let Some(adapter) = &mut layer.adapter {
            let shape = adapter.up.val().dims();
            adapter.up = normal(shape, 0.5, &mut Init::Random(&mut rng()), &device);
        }
    }
    model
}

fn logits(model: &Transformer) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(vec![1i64, 5, 9, 2], [1, 4]), &model.device());
    model.logits(model.forward(tokens, &Placement::causal(), None)).into_data().try_into_vec().unwrap()
}

#[test]
fn a_fresh_adapter_changes_nothing_and_one_taken_off_leaves_the_base_bit_for_bit() {
    each_model(|base| {
        let before = logits(&base);
        assert_close!(logits(&attach(base.clone(), &LoraConfig::default(), &mut rng()).unwrap()), before, 1e-5);
        let adapted = adapted(base, &["*.attention.query", "*.feed_forward.*"]);
        assert_eq!(logits(&adapted).len(), before.len());
        assert!(logits(&adapted).iter().zip(&before).any(|(a, b)| (a - b).abs() > 1e-3));
        assert_eq!(logits(&without_adapters(adapted)), before);
    });
}

#[test]
fn a_merged_model_computes_what_the_adapted_one_did() {
    each_model(|base| {
        let adapted = adapted(base, &["blocks.?.attention.*", "*.down"]);
        let merged = merged(adapted.clone());
        assert!(parameters::names(&merged).iter().all(|name| !name.contains("adapter")));
        assert_close!(logits(&merged), logits(&adapted), 1e-5);
    });
}

#[test]
fn only_adapters_have_gradients() {
    each_model(|base| {
        let names = parameters::names(&base);
        let trained = adapted(base, &["*.value", "*.up"]).train();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(vec![1i64, 5, 9], [1, 3]), &trained.device());
        let loss = trained.logits(trained.forward(tokens, &Placement::causal(), None)).square().sum();
        let mut sum = crate::optim::GradientSum::default();
        sum.add(&trained, &mut loss.backward());
        let with_gradient: Vec<String> = sum.by_name().into_keys().collect();
        let expected: Vec<String> = parameters::names(&trained).difference(&names).cloned().collect();
        assert_eq!(with_gradient, expected);
        assert_eq!(with_gradient.len(), 2 * 2 * 2, "A and B of two layers in two blocks");
        let all = merged(trained.valid()).train();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(vec![1i64], [1, 1]), &all.device());
        let mut sum = crate::optim::GradientSum::default();
        sum.add(&all, &mut all.logits(all.forward(tokens, &Placement::causal(), None)).square().sum().backward());
        assert_eq!(
            sum.by_name().into_keys().collect::<std::collections::BTreeSet<_>>(),
            names,
            "merged, all is trained"
        );
    });
}

#[test]
fn what_is_written_is_read() {
    each_model(|base| {
        for targets in
            [&["*.attention.query", "*.value"][..], &["blocks.0.*"], &["*.output", "*.up", "blocks.1.attention.key"]]
        {
            let directory = tempfile::tempdir().unwrap();
            let adapted = adapted(base.clone(), targets);
            write_adapters(&adapted, directory.path(), "base").unwrap();
            let read = read_adapters(base.clone(), directory.path()).unwrap();
            assert_close!(logits(&read), logits(&adapted), 1e-5);
            let again = tempfile::tempdir().unwrap();
            write_adapters(&read, again.path(), "base").unwrap();
            let config = |path: &Path| std::fs::read_to_string(path.join("adapter_config.json")).unwrap();
            assert_eq!(config(directory.path()), config(again.path()), "{targets:?}");
        }
    });
}

#[test]
fn targets_are_named_as_peft_names_them() {
    let directory = tempfile::tempdir().unwrap();
    let base = model(Family::Llama, &Device::flex());
    write_adapters(&adapted(base, &["*.query", "blocks.1.feed_forward.up"]), directory.path(), "base").unwrap();
    let config = std::fs::read_to_string(directory.path().join("adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["target_modules"], serde_json::json!(["model.layers.1.mlp.up_proj", "q_proj"]));
    assert_eq!((&config["r"], &config["lora_alpha"]), (&3.into(), &6.0.into()));
}

#[test]
fn what_cannot_be_adapted_is_refused() {
    let base = || model(Family::Llama, &Device::flex());
    let refused = |config: LoraConfig| attach(base(), &config, &mut rng()).unwrap_err().to_string();
    let message = refused(config(&["*.querry"]));
    assert!(message.starts_with("lora.targets: \"*.querry\" matches no layer"), "{message}");
    let message = refused(config(&["q_proj"]));
    assert!(message.ends_with("; that is \"*.attention.query\" here"), "{message}");
    assert!(refused(LoraConfig { rank: 0, ..LoraConfig::default() }).starts_with("lora.rank: 0"));
    assert!(refused(LoraConfig { alpha: 0.0, ..LoraConfig::default() }).starts_with("lora.alpha: 0"));
    assert!(refused(config(&[])).starts_with("lora.targets: none"));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert!(write_adapters(&base(), path, "base").unwrap_err().to_string().contains("has no adapters"));
    write_adapters(&adapted(base(), &["*.query"]), path, "base").unwrap();
    let message = read_adapters(model(Family::Gpt2, &Device::flex()), path).unwrap_err().to_string();
    let unknown = "unexpected: base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight and 3 more";
    assert!(message.contains(unknown), "{message}");
    let config = path.join("adapter_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"bias\": \"none\"", "\"bias\": \"none\", \"use_dora\": true")).unwrap();
    let message = read_adapters(base(), path).unwrap_err().to_string();
    assert!(message.ends_with("use_dora is true: DoRA; only plain LoRA can be read"), "{message}");
}

/// A directory of adapters of `*.query`, with further tensors and another configuration.
fn peft_directory(
    base: &Transformer,
    change: impl FnOnce(&mut serde_json::Value, &mut crate::checkpoint::Tensors),
) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, mut tensors) = adapter_files(&adapted(base.clone(), &["*.query"]), "base").unwrap();
    change(&mut config, &mut tensors);
    crate::write_json(&directory.path().join("adapter_config.json"), &config).unwrap();
    let path = directory.path().join("adapter_model.safetensors");
    crate::checkpoint::write_tensors(&path, &tensors, crate::checkpoint::NumberType::F32).unwrap();
    directory
}

fn tensor(shape: [usize; 2], number: f32) -> crate::checkpoint::NamedTensor {
    let data = (0..shape[0] * shape[1]).map(|index| number + (index % 7) as f32 / 8.0).collect();
    crate::checkpoint::NamedTensor::new(shape, data)
}

#[test]
fn whole_layers_beside_adapters_take_the_place_of_the_models() {
    let shape = ModelConfig { width: 8, heads: 2, context: 8, tie_embeddings: false, ..ModelConfig::default() };
    let shape = shape.resolve(11).unwrap();
    let device = Device::flex();
    let base = Transformer::new(&shape, &mut Init::Random(&mut rng()), &device);
    let norm = || crate::checkpoint::NamedTensor::new([8], vec![0.5; 8]);
    let directory = peft_directory(&base, |config, tensors| {
        config["modules_to_save"] = serde_json::json!(["lm_head", "norm"]);
        tensors.insert("base_model.model.model.embed_tokens.weight".into(), tensor([11, 8], 0.25));
        tensors.insert("base_model.model.lm_head.base_layer.weight".into(), tensor([11, 8], -0.5));
        tensors.insert("base_model.model.model.norm.weight".into(), norm());
        tensors.insert("base_model.model.lm_head.lora_A.weight".into(), tensor([3, 8], 0.5));
        tensors.insert("base_model.model.lm_head.lora_B.weight".into(), tensor([11, 3], 1.0));
    });
    let read = read_adapters(base.clone(), directory.path()).unwrap();
    let host = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().try_into_vec().unwrap() };
    assert_eq!(host(read.embedding.val()), tensor([11, 8], 0.25).data);
    let norm_found: Vec<f32> = read.norm.weight.val().into_data().try_into_vec().unwrap();
    assert_eq!(norm_found, norm().data);
    // W + 2 B A, transposed, where alpha / rank = 2.
    let (down, up, whole) = (tensor([3, 8], 0.5).data, tensor([11, 3], 1.0).data, tensor([11, 8], -0.5).data);
    let expected = |row: usize, column: usize| {
        whole[row * 8 + column] + 2.0 * (0..3).map(|k| up[row * 3 + k] * down[k * 8 + column]).sum::<f32>()
    };
    let expected: Vec<f32> =
        (0..8).flat_map(|column| (0..11).map(move |row| (row, column))).map(|(r, c)| expected(r, c)).collect();
    assert_close!(host(read.head.as_ref().unwrap().weight.dense()), expected, 1e-5);
    assert_eq!(parameters::count_trained(&read.train()), 2 * 2 * 8 * 3, "the adapters alone");

    let refused = |change: &dyn Fn(&mut serde_json::Value, &mut crate::checkpoint::Tensors)| {
        let directory = peft_directory(&base, change);
        read_adapters(base.clone(), directory.path()).unwrap_err().to_string()
    };
    let message = refused(&|config, _| config["modules_to_save"] = serde_json::json!(["lm_head"]));
    assert!(
        message.ends_with("has no tensor of \"lm_head\", which modules_to_save of adapter_config.json names"),
        "{message}"
    );
    let message = refused(&|_, tensors| {
        tensors.insert("base_model.model.model.embed_tokens.weight".into(), tensor([13, 8], 0.0));
    });
    let expected =
        "base_model.model.model.embed_tokens.weight is [13, 8], and config.json of the model makes it [11, 8]";
    assert!(message.ends_with(expected), "{message}");
    let message = refused(&|_, tensors| {
        tensors.insert("base_model.model.score.weight".into(), tensor([1, 8], 0.0));
    });
    assert!(message.ends_with("unexpected: base_model.model.score.weight; the model has no such tensor"), "{message}");
}

#[test]
fn the_head_of_a_classifier_is_read_apart_from_its_adapters() {
    let base = model(Family::Llama, &Device::flex());
    let with_head = |rows: usize| {
        peft_directory(&base, |config, tensors| {
            config["task_type"] = "SEQ_CLS".into();
            config["modules_to_save"] = serde_json::json!(["classifier", "score"]); // as PEFT lists them for any classifier
            tensors.insert("base_model.model.score.weight".into(), tensor([rows, 8], 0.5));
        })
    };
    let directory = with_head(1);
    assert!(read_adapters(base.clone(), directory.path()).is_ok());
    let head = read_score_head(directory.path()).unwrap().unwrap();
    let settings = read_score_settings(directory.path()).unwrap().unwrap();
    assert_eq!(
        (head["value_head.weight"].shape.as_slice(), head["value_head.bias"].data.as_slice()),
        (&[8, 1][..], &[0.0][..])
    );
    assert_eq!(settings.scale, 1.0);
    let message = read_score_head(with_head(2).path()).unwrap_err().to_string();
    assert!(message.ends_with("score.weight is [2, 8]; a reward model has one label, [1, width]"), "{message}");
    assert!(read_score_head(peft_directory(&base, |_, _| ()).path()).unwrap().is_none());
}

#[test]
fn a_saved_embedding_of_a_tied_model_is_its_output_layer_too_or_is_refused() {
    let base = model(Family::Gpt2, &Device::flex());
    let (input, output) = ("base_model.model.transformer.wte.weight", "base_model.model.lm_head.weight");
    let read = |modules: &[&str], tying: bool, saved: &[(&str, f32)]| {
        let directory = peft_directory(&base, |config, tensors| {
            config["modules_to_save"] = serde_json::json!(modules);
            config["ensure_weight_tying"] = tying.into();
            tensors.extend(saved.iter().map(|&(name, number)| (name.to_string(), tensor([11, 8], number))));
        });
        read_adapters(base.clone(), directory.path()).map(|model| {
            let data: Vec<f32> = model.embedding.val().into_data().try_into_vec().unwrap();
            data[0]
        })
    };
    assert_eq!(read(&[], false, &[(input, 0.5)]).unwrap(), 0.5);
    assert_eq!(read(&[], false, &[(output, 0.5)]).unwrap(), 0.5);
    assert_eq!(read(&["wte", "lm_head"], false, &[(input, 0.5), (output, 0.5)]).unwrap(), 0.5);
    assert_eq!(read(&["wte"], true, &[(input, 0.5)]).unwrap(), 0.5);
    for (modules, saved) in
        [(&["wte"][..], &[(input, 0.5)][..]), (&["lm_head"], &[(output, 0.5)]), (&[], &[(input, 0.5), (output, 0.25)])]
    {
        let message = read(modules, false, saved).unwrap_err().to_string();
        assert!(message.contains("of the base model are one tensor (tie_word_embeddings)"), "{message}");
    }
}

/// Experts are named one by one, as in transformers 4 and in the files of models.
#[test]
fn adapters_of_experts_are_written_and_read() {
    let experts = crate::ExpertsConfig { count: 3, ..crate::ExpertsConfig::default() };
    let shape = ModelConfig { family: Family::Mixtral, width: 8, heads: 2, context: 8, ..ModelConfig::default() };
    let shape = ModelConfig { experts: Some(experts), ..shape }.resolve(11).unwrap();
    let base = Transformer::new(&shape, &mut Init::Random(&mut rng()), &Device::flex());
    let adapted = adapted(base.clone(), &["*.experts.1.*", "*.router"]);
    let (config, tensors) = adapter_files(&adapted, "base").unwrap();
    assert!(tensors.contains_key("base_model.model.model.layers.1.block_sparse_moe.experts.1.w3.lora_A.weight"));
    let targets = config["target_modules"].as_array().unwrap();
    assert!(targets.contains(&"gate".into()) && targets.len() == 1 + 2 * 3, "{targets:?}");
    let directory = tempfile::tempdir().unwrap();
    write_adapters(&adapted, directory.path(), "base").unwrap();
    let read = read_adapters(base.clone(), directory.path()).unwrap();
    assert_close!(logits(&read), logits(&adapted), 1e-5);
    assert_close!(logits(&merged(read)), logits(&adapted), 1e-5);
}

const FORMS: [Quantization; 3] = [Quantization::Bf16, Quantization::Int8, Quantization::Nf4];

/// `base` in this form, with the adapters of [`adapted`].
fn adapted_in(base: &Transformer, form: Quantization) -> Transformer {
    adapted(base.clone().quantized(form), &["blocks.?.attention.*", "*.down"])
}

#[test]
fn a_quantised_model_computes_nearly_what_the_model_does_and_merged_the_same() {
    each_model(|base| {
        let exact = logits(&adapted(base.clone(), &["blocks.?.attention.*", "*.down"]));
        let largest = exact.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
        for (form, [least, most]) in FORMS.into_iter().zip([[1e-6, 0.01], [1e-5, 0.01], [1e-3, 0.15]]) {
            let adapted = adapted_in(&base, form);
            let found = logits(&adapted);
            let error = found.iter().zip(&exact).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / largest;
            assert!(error > least && error < most, "{form:?}: {error}");
            let merged = merged(adapted.clone());
            assert_close!(logits(&merged), found, 1e-5);
            assert!(merged.frozen_matrices().is_empty());
            assert_eq!(parameters::names(&merged), parameters::names(&base));
            assert_eq!(adapted.frozen_matrices().len(), adapted.clone().linears_mut().count());
        }
    });
}

#[test]
fn gradients_beside_a_quantised_model_are_those_beside_the_numbers_that_it_stands_for() {
    const NEAR: Tolerance = Tolerance { absolute: 1e-6, relative: 1e-4 };
    each_model(|base| {
        for form in FORMS {
            let adapted = adapted_in(&base, form);
            let mut dense = adapted.clone();
            for (_, layer) in dense.linears_mut() {
                layer.weight = layer.weight.clone().map(|weight| weight);
            }
            let gradients = |model: Transformer, recomputes: bool| {
                let trained = freeze_base(model.train()).with_gradient_checkpointing(recomputes);
                let tokens = Tensor::<2, Int>::from_data(TensorData::new(vec![1i64, 5, 9], [1, 3]), &trained.device());
                let loss = trained.logits(trained.forward(tokens, &Placement::causal(), None)).square().sum();
                let mut sum = crate::optim::GradientSum::default();
                sum.add(&trained, &mut loss.backward());
                sum.over(1.0);
                sum.by_name()
            };
            let expected = gradients(dense, false);
            assert_eq!(expected.len(), 2 * 5 * 2, "A and B of five layers in two blocks");
            for recomputes in [false, true] {
                let found = gradients(adapted.clone(), recomputes);
                assert!(found.keys().eq(expected.keys()));
                for (name, gradient) in found {
                    let numbers = |data: &TensorData| data.iter::<f32>().collect::<Vec<f32>>();
                    assert_close!(numbers(&gradient), numbers(&expected[&name]), NEAR, "{name}");
                    assert!(numbers(&gradient).iter().any(|number| *number != 0.0), "{name}");
                }
            }
        }
    });
}

#[test]
fn adapters_of_a_quantised_model_say_so_and_it_is_quantised_again() {
    let base = model(Family::Llama, &Device::flex());
    for form in FORMS {
        let directory = tempfile::tempdir().unwrap();
        let adapted = adapted_in(&base, form);
        write_adapters(&adapted, directory.path(), "base").unwrap();
        let read = read_adapters(base.clone(), directory.path()).unwrap();
        assert_close!(logits(&read), logits(&adapted), 1e-5);
        let bytes =
            |model: &Transformer| model.frozen_matrices().into_iter().map(|(name, matrix)| (name, matrix.to_bytes()));
        assert!(bytes(&read).eq(bytes(&adapted)));

        let config = directory.path().join("adapter_config.json");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace(&format!("\"{}\"", form.name()), "\"fp4\"")).unwrap();
        let message = read_adapters(base.clone(), directory.path()).unwrap_err().to_string();
        let expected = "base_quantization is \"fp4\"; it must be one of none, bf16, int8, nf4";
        assert!(message.ends_with(expected), "{message}");
    }
}
