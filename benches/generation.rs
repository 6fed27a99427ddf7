//! Speed of generation and of what keeps the model busy, for `benches/generation.py`, which compares it with transformers.
//!
//! `generation MODEL DEVICE THREADS BATCHES.json` continues each batch of prompts of token ids with a Hugging Face model, and
//! prints the seconds of each as JSON. `generation turns MODEL DEVICE THREADS` plays conversations with and without what was
//! read before, and `generation environments` environments that wait, one after the other and at once. The environment variable
//! `BENCH_QUANTIZE` names a form of the weights, such as int8. Without arguments it does nothing, so that `cargo bench` passes
//! over it.

use std::path::Path;
use std::time::{Duration, Instant};

use palestra::envs::{End, Env, EnvSpec, Observation, Options, Pool, Registry, Step};
use palestra::language_model::LanguageModel;
use palestra::learn::encoder::Encoder;
use palestra::learn::rollout::{Rollout, RolloutConfig, Schedule};
use palestra::model::generate::{Engine, Limits, Request};
use palestra::model::math::Sampling;
use palestra::model::ops::{open_device, set_threads};
use palestra::model::quantize::Quantization;
use palestra::model::{Heads, ModelConfig, Policy};
use palestra::text::Tokenizer;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::json;

/// Prompts that are continued together by a number of new tokens.
#[derive(Deserialize)]
struct Batch {
    prompts: Vec<Vec<u32>>,
    new: usize,
}

/// Number of timed repeats: the environment variable `BENCH_REPEATS`, or 5.
fn repeats() -> usize {
    std::env::var("BENCH_REPEATS").map_or(5, |count| count.parse().expect("BENCH_REPEATS is a number"))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        ["turns", model, device, threads] => turns(&open(model, device, threads)),
        ["environments"] => environments(),
        [model, device, threads, batches] => generation(&open(model, device, threads), batches),
        _ => panic!(
            "generation MODEL DEVICE THREADS BATCHES.json, generation turns MODEL DEVICE THREADS, generation environments"
        ),
    }
}

fn open(model: &str, device: &str, threads: &str) -> Policy {
    set_threads(threads.parse().expect("a number of threads"));
    let device = open_device(device).expect("a device");
    let form = match std::env::var("BENCH_QUANTIZE") {
        Ok(name) => Quantization::ALL.into_iter().find(|form| form.name() == name).expect("a form of weights"),
        Err(_) => Quantization::None,
    };
    LanguageModel::open_quantized(Path::new(model), form, &device).expect("a model directory").policy
}

/// Median of the seconds that `work` takes, after a warm-up.
fn median(work: impl Fn()) -> f64 {
    work();
    let mut seconds: Vec<f64> = (0..repeats())
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn limits(max_new_tokens: usize) -> Limits<'static> {
    Limits { end: &[], max_new_tokens, stopped: None }
}

fn request(prompt: &[u32]) -> Request {
    Request { prompt: prompt.to_vec(), choices: None, rng: ChaCha8Rng::seed_from_u64(0), forced: None }
}

fn generation(policy: &Policy, batches: &str) {
    let batches = std::fs::read_to_string(batches).expect("a file of batches");
    let batches: Vec<Batch> = serde_json::from_str(&batches).expect("batches of prompts and new");
    for Batch { prompts, new } in batches {
        let seconds = median(|| {
            let mut engine = Engine::new(policy, limits(new), Sampling::GREEDY, prompts.len());
            prompts.iter().enumerate().for_each(|(key, prompt)| engine.submit(key, request(prompt)));
            while !engine.is_idle() {
                engine.step();
            }
        });
        println!("{}", json!({ "batch": prompts.len(), "new": new, "seconds": seconds }));
    }
}

/// 32 conversations of 10 turns: 20 tokens are read and 20 written in each.
fn turns(policy: &Policy) {
    let play = |keeps: bool| {
        let new = || Engine::new(policy, limits(20), Sampling::GREEDY, 32);
        let mut engine = new().keeping_texts();
        let mut contexts: Vec<Vec<u32>> = (0..32).map(|key| (0..20).map(|i| 7 * key + i).collect()).collect();
        for _ in 0..10 {
            // Every engine finds the beginning of a text that one of its rows has read: without, each turn has a new one.
            engine = if keeps { engine } else { new() };
            contexts.iter().enumerate().for_each(|(key, context)| engine.submit(key, request(context)));
            while !engine.is_idle() {
                for finished in engine.step() {
                    let context = &mut contexts[finished.key];
                    context.extend(finished.continuation.tokens);
                    context.extend(100..120);
                }
            }
        }
    };
    let [kept, fresh] = [true, false].map(|keeps| median(|| play(keeps)));
    println!("{}", json!({ "kept": kept, "fresh": fresh, "ratio": fresh / kept }));
}

/// An environment of 5 turns of 100 ms.
struct Slow {
    spec: EnvSpec,
    turn: u32,
    waits: bool,
}

impl Env for Slow {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }
    fn reset(&mut self, _: u64) -> palestra::envs::Result<Observation> {
        self.turn = 0;
        Ok(Observation::new("abab"))
    }
    fn step(&mut self, _: &str) -> palestra::envs::Result<Step> {
        std::thread::sleep(Duration::from_millis(100));
        self.turn += 1;
        let end = (self.turn == 5).then_some(End::Truncated);
        Ok(Step { observation: Observation::new("abab"), reward: 0.0, end, invalid_action: false })
    }
    fn waits(&self) -> bool {
        self.waits
    }
    fn render(&self) -> String {
        String::new()
    }
}

/// 32 of these environments, beside a model step of about 20 ms.
fn environments() {
    let seconds = [false, true].map(|waits| {
        let build = move |_: &Options| {
            let spec = EnvSpec { id: "slow-v1".into(), max_turns: Some(5), ..EnvSpec::default() };
            Ok(Box::new(Slow { spec, turn: 0, waits }) as Box<dyn Env>)
        };
        let registry = Registry::builtin().with("slow", build);
        let pool = Pool::new(&registry, &registry.definition("slow").expect("registered"), 32).expect("environments");
        let tokenizer = Tokenizer::from_alphabet("ab").expect("an alphabet");
        let shape = ModelConfig { layers: 4, width: 256, heads: 4, context: 64, ..ModelConfig::default() };
        let device = open_device("flex").expect("flex is always there");
        let shape = shape.resolve(tokenizer.vocab_size()).expect("a shape");
        let policy = Policy::new(&shape, Heads::default(), 0, &device);
        let schedule = if waits { Schedule::Ready } else { Schedule::Fixed };
        let config = RolloutConfig {
            episodes: 32,
            environments: 32,
            max_new_tokens: 4,
            schedule: Some(schedule),
            ..RolloutConfig::default()
        };
        let mut rollout = Rollout::new(pool, Encoder::new(tokenizer, config.encoding(64)), config, None);
        let began = Instant::now();
        rollout.play(&policy, 0, 0..32, &Sampling::default()).expect("a rollout");
        began.elapsed().as_secs_f64()
    });
    let [one_by_one, at_once] = seconds;
    println!("{}", json!({ "one_by_one": one_by_one, "at_once": at_once, "ratio": one_by_one / at_once }));
}
