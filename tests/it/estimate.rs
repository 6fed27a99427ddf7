//! Off-policy evaluation: estimates are near the exact value, and refused with the reason if the log does not support
//! them.

use std::path::Path;

use palestra::agent::Agent;
use palestra::config::RunFile;
use palestra::envs::policies::{BaselinePolicy, Random, Scripted, mix};
use palestra::envs::record::record;
use palestra::envs::{Definition, Episode, Registry};
use palestra::estimate::{EstimateConfig, FqeConfig, Method, Outcome, Value, estimate};
use palestra::learn::collective::Alone;
use palestra::model::ops::{available_devices, open_device, set_threads};
use palestra_datasets::log::{LogWriter, WriteOptions};

use crate::command::Sandbox;
use crate::tiny_run::trained;

const LAKE: &str = "
    name = \"lake\"
    seed = 5
    [env]
    kind = \"frozen-lake\"
    options = { map = [\"SFF\", \"FHF\", \"FFG\"], limit = 40, view = \"compact\" }
    [model]
    family = \"gpt2\"
    context = 8
    layers = 1
    width = 16
    heads = 2
";

fn write(path: &Path, episodes: impl IntoIterator<Item = Episode>) {
    let mut writer = LogWriter::create(path, WriteOptions::default()).unwrap();
    episodes.into_iter().for_each(|episode| writer.write(&episode).unwrap());
    writer.finish().unwrap();
}

fn played(env: &Definition, count: u64, policy: &mut dyn BaselinePolicy) -> Vec<Episode> {
    record(&Registry::builtin(), env, 0..count, 9, policy).unwrap().map(Result::unwrap).collect()
}

/// Agent of a run file before training.
fn fresh(text: &str, device: &str) -> Agent {
    set_threads(1);
    let registry = Registry::builtin();
    let run = RunFile::from_toml("run.toml", text, &[format!("device={device}")]).unwrap().resolve(&registry).unwrap();
    Agent::new(run, &registry, None, &open_device(device).unwrap()).unwrap()
}

#[test]
fn estimates_are_near_the_exact_value() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.parquet");
    let registry = Registry::builtin();
    for device in available_devices() {
        let agent = fresh(LAKE, device);
        if !log.exists() {
            write(&log, played(agent.spec.env().unwrap(), 1_500, &mut mix(0.7, Scripted).unwrap()));
        }
        let config = EstimateConfig {
            gamma: 0.9,
            temperature: 0.05, // far from even, though nothing was learned
            epsilon: 0.3,
            resamples: 200,
            fqe: FqeConfig { critics: 3, steps: 150, batch: 64, learning_rate: 1e-2, ..FqeConfig::default() },
            ..EstimateConfig::default()
        };
        let report = estimate(&agent, &registry, &[log.display().to_string()], &config).unwrap();
        let exact = report.exact.expect("the log tells its environment, which is small");
        assert!((report.logged.value - exact).abs() > 0.02, "the two policies are alike:\n{report}");
        assert_eq!((report.episodes, report.cut), (1_500, 0));
        assert_eq!(report.estimates.iter().map(|estimate| estimate.method).collect::<Vec<_>>(), Method::ALL);
        for estimate in &report.estimates {
            let Outcome::Estimated(Value { value, low, high, .. }) = estimate.outcome else { panic!("{report}") };
            assert!((low..=high).contains(&exact) && (value - exact).abs() < 0.03, "{device}\n{report}");
            assert!(low < value && value < high && high - low < 0.2, "{device}\n{report}");
        }
    }
}

#[test]
fn the_exact_value_of_a_sampled_policy_is_what_playing_it_gives() {
    // Actions of several tokens, so that an action's probability is a product.
    let text = LAKE
        .replace(
            "[\"SFF\", \"FHF\", \"FFG\"], limit = 40, view = \"compact\"",
            "[\"SFH\", \"FFG\"], limit = 6, slippery = false",
        )
        .replace("context = 8", "context = 200");
    let agent = fresh(&format!("{text}[evaluation]\ngreedy = false\n[rollout.sampling]\ntemperature = 0.2"), "flex");
    let (evaluation, _) = agent.spec.evaluate(&agent.policy, &Registry::builtin(), 600, 3, &Alone).unwrap();
    let (mean, error) = (evaluation.score.mean_return, evaluation.score.standard_error);
    let exact = evaluation.exact.unwrap().expected_return;
    assert!((mean - exact).abs() < 3.0 * error, "{mean} +- {error} by play, {exact} by calculation");
    let mut even = agent.spec.evaluation_policy(&agent.policy, 0.2, 1.0).unwrap();
    let even = even.exact_value(&Registry::builtin(), agent.spec.env().unwrap(), 1.0).unwrap().unwrap().expected_return;
    assert!((even - exact).abs() > 5.0 * error, "{exact} is not told from the {even} of random play");
}

#[test]
fn what_a_log_does_not_bear_is_refused_with_the_reason() {
    let sandbox = trained();
    let path = |name: &str| sandbox.path().join(name);
    let env = RunFile::from_toml("lake.toml", crate::tiny_run::LAKE, &[] as &[&str]).unwrap().env.unwrap();
    let env = Registry::builtin().resolve(&env).unwrap();
    let episodes = played(&env, 40, &mut Random);
    write(&path("whole.parquet"), episodes.clone());
    let mut silent = episodes.clone();
    silent[1].turns[2].log_probs = None;
    let row = episodes[0].turns.len() + 2;
    write(&path("silent.parquet"), silent);
    let mut cut = episodes.clone();
    cut[0].top_p = Some(0.5);
    write(&path("cut.parquet"), cut);
    let mut unlisted = episodes.clone();
    unlisted.iter_mut().flat_map(|episode| &mut episode.turns).for_each(|turn| turn.action = "ll".into());
    write(&path("unlisted.parquet"), unlisted);

    let estimate = |log: &str, more: &[&str]| {
        let few = ["--bootstrap", "50", "--steps", "20", "--critics", "1", "--temperature", "1", "--quiet"];
        sandbox.run(&[&["estimate", "runs/lake", "--log", log], &few[..], more].concat())
    };
    let refused = |log: &str, more: &[&str], reason: &str| {
        let outcome = estimate(log, more);
        assert!(outcome.code == Some(1) && outcome.stdout.contains(&format!("refused: {reason}")), "{outcome:?}");
    };
    refused(
        "silent.parquet",
        &["--method", "wis", "--method", "pdis"],
        &format!(
            "silent.parquet: row {row}: there are no log_probs, so that nobody knows how likely the recorded policy \
             was to write the action\n"
        ),
    );
    refused(
        "cut.parquet",
        &["--method", "wis"],
        "cut.parquet: row 0: top_p: with 0.5 nobody knows whether log_probs are those before or after the cut",
    );
    refused("whole.parquet", &["--method", "cwpdis", "--min-ess", "41"], "the 40 episodes are worth ");
    refused("unlisted.parquet", &["--method", "wis"], "the policy would have played none of the 40 episodes\n");
    refused(
        "unlisted.parquet",
        &["--method", "fqe", "--epsilon", "0.1"],
        "unlisted.parquet: row 0: the action \"ll\" is none of legal_actions; fitted Q evaluation goes by tokens",
    );

    // Methods that the log supports are reported next to those that are refused.
    let report: serde_json::Value = serde_json::from_str(&estimate("silent.parquet", &["--json"]).success()).unwrap();
    let estimates = report["estimates"].as_array().unwrap();
    assert!(estimates[0]["value"].is_number() && estimates[0]["method"] == "fqe", "{report}");
    assert!(estimates[1]["refused"].as_str().unwrap().contains("log_probs"), "{report}");
    let table = estimate("whole.parquet", &[]).success();
    assert!(table.starts_with("lake (temperature 1, epsilon 0) by 40 logged episodes of "), "{table}");
    assert!(table.contains("95 % interval") && table.contains("exact\nfqe ") && table.contains("\ncwpdis "), "{table}");
    assert_eq!(table, estimate("whole.parquet", &[]).success(), "the seed fixes it");
}

#[test]
fn random_actions_of_several_tokens_are_refused_by_tokens_and_weighed_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.parquet");
    let text = LAKE.replace("view = \"compact\"", "view = \"text\"").replace("context = 8", "context = 200");
    let agent = fresh(&text, "flex");
    write(&log, played(agent.spec.env().unwrap(), 60, &mut Random));
    let estimate = |epsilon: f64| {
        let methods = vec![Method::Wis, Method::Fqe];
        let fqe = FqeConfig { critics: 1, steps: 2, batch: 4, ..FqeConfig::default() };
        let config = EstimateConfig { methods, epsilon, resamples: 20, fqe, ..EstimateConfig::default() };
        estimate(&agent, &Registry::builtin(), &[log.display().to_string()], &config).unwrap()
    };
    let report = estimate(1.0);
    // The log is random play.
    let Outcome::Estimated(wis) = &report.estimates[0].outcome else { panic!("{report}") };
    assert!((wis.effective_sample_size.unwrap() - 60.0).abs() < 1e-3, "{report}");
    assert!((wis.value - report.logged.value).abs() < 1e-6, "{report}");
    let Outcome::Refused { refused } = &report.estimates[1].outcome else { panic!("{report}") };
    assert!(refused.contains(": row 0: the action \"") && refused.contains("has several tokens"), "{refused}");
    assert!(matches!(estimate(0.0).estimates[1].outcome, Outcome::Estimated(_)));
}

#[test]
fn what_cannot_be_asked_is_named() {
    let sandbox = Sandbox::new();
    sandbox.assert_refused(
        &["estimate", "no", "--log", "log.parquet"],
        "no is no directory; give the directory of a run, like runs/<name>",
    );
    let sandbox = trained();
    let answer = |args: &[&str]| {
        let outcome = sandbox.run(&[&["estimate", "runs/lake", "--log", "log.parquet"], args].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
        outcome.stderr
    };
    assert_eq!(answer(&["--gamma", "2"]), "error: gamma: 2 is not between 0 and 1\n");
    assert_eq!(answer(&["--epsilon", "1.5"]), "error: epsilon: 1.5 is not between 0 and 1\n");
    assert_eq!(answer(&["--confidence", "1"]), "error: confidence: 1 is not above 0 and below 1\n");
    assert!(answer(&[]).contains("log.parquet"));
}
