//! Our models against Hugging Face transformers: the same files must give the same logits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::huggingface::to_hugging_face;
use super::{Placement, Transformer, parameters, read_model};
use crate::checkpoint::{NamedTensor, read_tensors};

/// What `make.py` beside the files wrote.
#[derive(Deserialize)]
struct Expected {
    tokens: Vec<Vec<i32>>,
    logits: Vec<Vec<f32>>,
}

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/huggingface").join(family)
}

#[test]
fn logits_are_those_of_transformers() {
    let device = Device::flex();
    for family in ["llama", "gpt2"] {
        let directory = fixture(family);
        let (config, tensors) = read_model(&directory).unwrap();
        let tensors: BTreeMap<String, TensorData> =
            tensors.into_iter().map(|(name, tensor)| (name, TensorData::new(tensor.data, tensor.shape))).collect();
        let model = Transformer::new(&config, &mut ChaCha8Rng::seed_from_u64(0), &device);
        let model = parameters::replace(model, tensors).unwrap();

        let expected = std::fs::read_to_string(directory.join("logits.json")).unwrap();
        let expected: Expected = serde_json::from_str(&expected).unwrap();
        let shape = [expected.tokens.len(), expected.tokens[0].len()];
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(expected.tokens.concat(), shape), &device);
        let logits = model.logits(model.forward(tokens, &Placement::causal(), None)).into_data();
        for (found, expected) in logits.iter::<f32>().zip(expected.logits.concat()) {
            assert!((found - expected).abs() < 2e-5, "{family}: {found} and transformers has {expected}");
        }

        let parameters = parameters::collect(&model)
            .into_iter()
            .map(|(name, data)| (name, NamedTensor::new(data.shape().to_vec(), data.iter::<f32>().collect())))
            .collect();
        let file = read_tensors(&directory.join("model.safetensors")).unwrap();
        assert_eq!(to_hugging_face(&config, parameters), file, "{family} written again");
    }
}
