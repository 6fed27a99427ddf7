//! Properties of generation, for random prompts and passes. `cargo xtask campaign properties` runs more cases.

use palestra_testing::{assert_close, property_cases};
use proptest::prelude::*;
use rand::SeedableRng;

use super::engine::Sizes;
use super::tests::{VOCAB, full_pass, policy, shapes, trickled};
use super::*;
use crate::ModelConfig;
use crate::ops::open_device;

/// One to six prompts of one to twelve tokens; every second one begins as the first does.
fn prompts() -> impl Strategy<Value = Vec<Vec<u32>>> {
    let prompts = prop::collection::vec(prop::collection::vec(0..VOCAB as u32, 1..13), 1..7);
    prompts.prop_map(|mut prompts| {
        let first = prompts[0].clone();
        for prompt in prompts.iter_mut().skip(1).step_by(2) {
            let common = first.len().min(prompt.len() - 1);
            prompt[..common].copy_from_slice(&first[..common]);
        }
        prompts
    })
}

proptest! {
    #![proptest_config(property_cases(8))]

    #[test]
    fn what_is_written_with_a_cache_is_what_a_pass_without_one_scores(
        shape in prop::sample::select(shapes()),
        prompts in prompts(),
        seed: u64,
        rows in 1_usize..6,
        chunk in 1_usize..9,
        pass in 1_usize..17,
        worth_sharing in 1_usize..9,
    ) {
        let shape = ModelConfig { context: 32, width: 16, heads: 4, ..shape }.resolve(VOCAB).unwrap();
        let policy = policy(&shape, &open_device("flex").unwrap());
        let request = |(row, prompt): (usize, &Vec<u32>)| Request {
            prompt: prompt.clone(),
            choices: None,
            rng: ChaCha8Rng::seed_from_u64(seed ^ row as u64),
            forced: None,
        };
        let requests: Vec<Request> = prompts.iter().enumerate().map(request).collect();
        let (written, _) = trickled(&policy, requests, rows, Sizes { chunk, pass, worth_sharing });
        for (prompt, text) in prompts.iter().zip(written) {
            let full = full_pass(&policy, [prompt.as_slice(), &text.tokens].concat(), text.allowed, 1.0);
            assert_close!(text.log_probs, full.log_probs, 1e-4);
            assert_close!(text.values, full.values.unwrap(), 1e-4);
        }
    }
}
