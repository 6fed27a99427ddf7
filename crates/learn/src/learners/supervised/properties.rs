//! Properties of learning from text, for rows of random shapes. `cargo xtask campaign properties` runs more cases.

use burn::tensor::Device;
use palestra_testing::property_cases;
use proptest::prelude::*;

use super::tests::{packed, parts};
use super::*;
use crate::batch::TextRow;
use crate::learners::check::{assert_same, measure};
use palestra_model::ops::open_device;
use palestra_model::{Family, Heads, ModelConfig};

const VOCAB: u32 = 7;

fn device() -> Device {
    open_device("flex").unwrap().autodiff()
}

fn model(is_gpt2: bool, device: &Device) -> Policy {
    let family = if is_gpt2 { Family::Gpt2 } else { Family::Llama };
    let config = ModelConfig { family, context: 64, layers: 2, width: 16, heads: 2, ..ModelConfig::default() };
    Policy::new(&config.resolve(VOCAB as usize).unwrap(), Heads::default(), 1, device)
}

/// Two to six texts of two to nine tokens.
fn texts() -> impl Strategy<Value = Vec<TextRow>> {
    let text = prop::collection::vec(0..VOCAB, 2..10).prop_map(|tokens| TextRow::whole(tokens, 3));
    prop::collection::vec(text, 2..7)
}

proptest! {
    #![proptest_config(property_cases(4))]

    #[test]
    fn a_batch_is_the_sum_of_its_parts(texts in texts(), count in 2_usize..6, is_gpt2: bool) {
        let device = device();
        let model = model(is_gpt2, &device);
        let whole = measure(&Supervised, &model, parts(&texts, 1, &device));
        let apart = measure(&Supervised, &model, parts(&texts, count.min(texts.len()), &device));
        assert_same(&apart, &whole, "parts");
    }

    #[test]
    fn texts_in_one_row_are_as_texts_apart(texts in texts(), of_row in 1_usize..7, is_gpt2: bool) {
        let device = device();
        let model = model(is_gpt2, &device);
        let apart = measure(&Supervised, &model, parts(&texts, 1, &device));
        let together = measure(&Supervised, &model, parts(&texts.chunks(of_row).map(packed).collect::<Vec<_>>(), 1, &device));
        assert_same(&together, &apart, "packed");
    }
}
