//! Properties of every kind of learner, for random data, shapes and moments. `cargo xtask campaign properties` runs more
//! cases.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use palestra_testing::property_cases;
use proptest::prelude::*;

use super::Learner;
use super::check::resumes_exactly;
use super::dpo::{Dpo, DpoConfig};
use super::kto::{Kto, KtoConfig};
use super::offline::tests::{chunks, parts, policy};
use super::offline::{
    Awr, AwrConfig, BehaviourCloning, Cql, CqlConfig, Ilql, IlqlConfig, Iql, IqlConfig, MonteCarlo, MonteCarloConfig,
};
use super::preference::tests as preferences;
use super::preference::{Objective, PreferenceLearner};
use super::supervised::Supervised;
use crate::batch::{Chunk, PreferenceBatch, TextBatch, TextRow, TransitionBatch};
use palestra_model::ops::open_device;
use palestra_model::{CriticShape, Family, Heads, ModelConfig, Policy};

const VOCAB: u32 = 7;

fn device() -> Device {
    open_device("flex").unwrap().autodiff()
}

/// Steps before the stop, and of the whole run.
fn stops() -> impl Strategy<Value = [usize; 2]> {
    (1_usize..5).prop_flat_map(|total| (0..=total).prop_map(move |stop| [stop, total]))
}

/// One to five texts of two to nine tokens.
fn texts() -> impl Strategy<Value = Vec<TextRow>> {
    let text = prop::collection::vec(0..VOCAB, 2..10).prop_map(|tokens| TextRow::whole(tokens, 3));
    prop::collection::vec(text, 1..6)
}

/// A model with one to three blocks of one, two or four heads.
fn shapes() -> impl Strategy<Value = ModelConfig> {
    let families = prop::sample::select(vec![Family::Gpt2, Family::Llama]);
    (families, 1_usize..4, prop::sample::select(vec![1_usize, 2, 4]), 1_usize..4).prop_map(
        |(family, layers, heads, times)| ModelConfig {
            family,
            context: 16,
            layers,
            heads,
            width: 4 * heads * times,
            ..ModelConfig::default()
        },
    )
}

fn offline<L: Learner<Model = Policy, Batch = TransitionBatch>>(
    learner: impl Fn() -> L,
    critic: Option<CriticShape>,
    chunks: &[Chunk],
    stop: [usize; 2],
) {
    let device = device();
    let start = || (learner(), policy(critic, &device.clone().inner()).train());
    resumes_exactly(start, || parts(chunks, 1, &device), stop, &device);
}

proptest! {
    #![proptest_config(property_cases(4))]

    #[test]
    fn a_resumed_run_on_text_is_a_run_through(texts in texts(), shape in shapes(), stop in stops()) {
        let device = device();
        let shape = shape.resolve(VOCAB as usize).unwrap();
        let start = || (Supervised, Policy::new(&shape, Heads::default(), 1, &device.clone().inner()).train());
        resumes_exactly(start, || vec![TextBatch::whole(&texts, &device)], stop, &device);
    }

    #[test]
    fn a_resumed_run_on_a_log_is_a_run_through(
        chunks in prop::sample::subsequence(chunks(), 1..=6),
        learner in 0..6,
        stop in stops(),
    ) {
        let (awr, monte_carlo, cql) = (AwrConfig::default(), MonteCarloConfig::default(), CqlConfig::default());
        let (iql, ilql) = (IqlConfig::default(), IlqlConfig::default());
        match learner {
            0 => offline(|| BehaviourCloning, None, &chunks, stop),
            1 => offline(|| Awr(awr.clone()), Some(awr.critic()), &chunks, stop),
            2 => offline(|| MonteCarlo(monte_carlo.clone()), Some(monte_carlo.critic()), &chunks, stop),
            3 => offline(|| Cql(cql.clone()), Some(cql.critic()), &chunks, stop),
            4 => offline(|| Iql(iql.clone()), Some(iql.critic()), &chunks, stop),
            _ => offline(|| Ilql(ilql.clone()), Some(ilql.critic()), &chunks, stop),
        }
    }

    #[test]
    fn a_resumed_run_on_preferences_is_a_run_through(
        pairs in prop::sample::subsequence(preferences::pairs(), 1..=3),
        is_dpo: bool,
        stop in stops(),
    ) {
        let device = device();
        let objective: Arc<dyn Objective> =
            if is_dpo { Arc::new(Dpo(DpoConfig::default())) } else { Arc::new(Kto(KtoConfig::default())) };
        let start = || {
            let policy = preferences::policy(Family::Llama, Heads::default(), &device.clone().inner());
            (PreferenceLearner { objective: Arc::clone(&objective) }, policy.train())
        };
        let batch = || vec![PreferenceBatch::whole(&pairs.iter().collect::<Vec<_>>(), 0, &device)];
        resumes_exactly(start, batch, stop, &device);
    }
}
