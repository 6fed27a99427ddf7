//! Recording policies, and replaying the recordings.

use std::collections::BTreeMap;

use palestra_envs::policies::{BaselinePolicy, Choice, Random, Scripted, mix};
use palestra_envs::record::record;
use palestra_envs::replay::{Replay, Replayer};
use palestra_envs::{Definition, End, Env, Episode, Observation, Registry, Result, episode_seed};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn recorded(name: &str, numbers: std::ops::Range<u64>, policy: &mut dyn BaselinePolicy) -> Vec<Episode> {
    let episodes = record(&Registry::builtin(), &Definition::named(name), numbers, 7, policy);
    episodes.unwrap().collect::<Result<_>>().unwrap()
}

/// Frequencies of the logged log-probabilities, rounded to 1e-4.
fn shares(episodes: &[Episode]) -> BTreeMap<i64, f64> {
    let turns: Vec<_> = episodes.iter().flat_map(|episode| &episode.turns).collect();
    let mut shares = BTreeMap::new();
    for turn in &turns {
        let [log_prob] = turn.log_probs.as_deref().unwrap() else { panic!("one number for the action") };
        *shares.entry((log_prob * 1e4).round() as i64).or_default() += 1.0 / turns.len() as f64;
    }
    shares
}

fn log(probability: f64) -> i64 {
    (probability.ln() * 1e4).round() as i64
}

#[test]
fn every_policy_logs_how_likely_it_was() {
    assert_eq!(shares(&recorded("double-t-maze", 0..3, &mut Random)).into_keys().collect::<Vec<_>>(), [log(0.25)]);
    assert_eq!(shares(&recorded("wordle", 0..3, &mut Scripted)).into_keys().collect::<Vec<_>>(), [0]);

    // The scripted move can come from either branch; each of the three other moves only from the random one.
    let (own, other) = (0.15 + 0.85 / 4.0, 0.85 / 4.0);
    let mixed = shares(&recorded("double-t-maze", 0..200, &mut mix(0.85, Scripted).unwrap()));
    assert_eq!(mixed.keys().copied().collect::<Vec<_>>(), [log(other), log(own)]);
    assert!((mixed[&log(own)] - own).abs() < 0.02, "{mixed:?}"); // four standard errors of 10,000 turns

    // A mixture of a mixture is a mixture whose weight for the scripted policy is the product of both weights.
    let mut twice = mix(0.5, mix(0.7, Scripted).unwrap()).unwrap();
    assert_eq!(twice.name(), "scripted+0.7 random+0.5 random");
    let twice = shares(&recorded("double-t-maze", 0..200, &mut twice)); // 1 - 0.5 * 0.3 = 0.85
    assert_eq!(twice.keys().collect::<Vec<_>>(), mixed.keys().collect::<Vec<_>>());
    assert!((twice[&log(own)] - own).abs() < 0.02, "{twice:?}");
}

/// Always writes the last legal action, and does not know its probability.
struct Last;

impl BaselinePolicy for Last {
    fn name(&self) -> String {
        "last".to_string()
    }

    fn act(&mut self, _env: &dyn Env, seen: &Observation, _rng: &mut dyn Rng) -> Result<Choice> {
        Ok(Choice { action: seen.legal_actions.as_ref().unwrap().last().unwrap().clone(), log_prob: None })
    }

    fn log_prob(&mut self, _env: &dyn Env, _seen: &Observation, _action: &str) -> Result<Option<f64>> {
        Ok(None)
    }
}

#[test]
fn a_policy_of_unknown_probability_leaves_it_out_mixed_too() {
    let boxed: Box<dyn BaselinePolicy> = Box::new(Last);
    let episodes = recorded("cliff-walking", 0..2, &mut mix(0.5, boxed).unwrap());
    assert_eq!(episodes[0].policy_id, "last+0.5 random");
    assert!(episodes.iter().flat_map(|episode| &episode.turns).all(|turn| turn.log_probs.is_none()));
    assert!(episodes[0].turns.iter().any(|turn| turn.action == "up"));
}

#[test]
fn an_episode_is_fixed_by_the_seed_and_its_number() {
    let mut policy = mix(0.5, Scripted).unwrap();
    let all = recorded("frozen-lake-4x4", 0..6, &mut policy);
    assert_eq!(all[4..], recorded("frozen-lake-4x4", 4..6, &mut policy));
    assert_ne!(all[0].turns, all[1].turns);
    let ids: Vec<&str> = all.iter().map(|episode| episode.id.as_str()).collect();
    assert_eq!(ids[4], "frozen-lake-4x4-v1/scripted+0.5 random/7/4");
    assert_eq!(all[4].seed, Some(episode_seed(7, 4)));
}

#[test]
fn an_episode_tells_why_it_ended_and_what_it_was_played_in() {
    let goal = &recorded("tic-tac-toe", 0..1, &mut Scripted)[0];
    assert_eq!((goal.end, goal.end_reason.as_deref()), (Some(End::Terminated), Some("win")));
    assert_eq!(goal.turns.last().unwrap().info.as_deref(), Some(r#"{"outcome":"win"}"#));
    assert_eq!((goal.turns[0].info.as_ref(), goal.reward_source.as_deref()), (None, Some("rules")));
    let told: Definition = serde_json::from_str(goal.env_spec.as_ref().unwrap()).unwrap();
    assert_eq!((told.id.as_deref(), told.kind.as_deref()), (Some("tic-tac-toe"), Some("tic-tac-toe")));

    let limit = &recorded("double-t-maze", 0..40, &mut Random).into_iter().find(|it| it.turns.len() == 100).unwrap();
    assert_eq!((limit.end, limit.end_reason.as_deref()), (Some(End::Truncated), Some("limit")));
}

#[test]
fn a_policy_that_cannot_play_says_so() {
    let registry = Registry::builtin();
    let mut odd = Definition::named("snake-6x6");
    odd.options.set("size", 5);
    let mut scripted = Scripted;
    let mut episodes = record(&registry, &odd, 0..1, 7, &mut scripted).unwrap();
    let error = episodes.next().unwrap().err().unwrap().to_string();
    assert_eq!(error, "snake-6x6-v1: there is no scripted policy");
    let (env, mut rng) = (registry.make("wordle").unwrap(), ChaCha8Rng::seed_from_u64(1));
    let error = Random.act(&*env, &Observation::default(), &mut rng).unwrap_err().to_string();
    assert_eq!(error, "wordle-v1: lists no legal actions, so there is no random policy");
    let error = mix(1.5, Random).unwrap_err().to_string();
    assert_eq!(error, "the policy: epsilon = 1.5; a probability from 0 to 1 would be right");
}

#[test]
fn what_was_recorded_plays_again_in_every_environment() {
    let registry = Registry::builtin();
    let mut replayer = Replayer::new(&registry);
    for entry in registry.entries() {
        let has_list = recorded_or_none(entry.name, &mut Random);
        let has_script = recorded_or_none(entry.name, &mut Scripted);
        let episodes: Vec<Episode> = has_list.into_iter().chain(has_script).flatten().collect();
        // Prompts without answers have neither legal actions nor a scripted policy.
        assert!(!episodes.is_empty() || entry.kind == "completion", "{}", entry.name);
        for episode in episodes {
            let told = Episode { env_spec: None, ..episode.clone() };
            assert_eq!(replayer.replay(&episode).unwrap(), Replay::Same, "{}", episode.id);
            assert_eq!(replayer.replay(&told).unwrap(), Replay::Same, "{} by its id", episode.id);
        }
    }
}

fn recorded_or_none(name: &str, policy: &mut dyn BaselinePolicy) -> Option<Vec<Episode>> {
    record(&Registry::builtin(), &Definition::named(name), 0..2, 7, policy).unwrap().collect::<Result<_>>().ok()
}

#[test]
fn a_changed_episode_is_told_by_its_first_difference() {
    let registry = Registry::builtin();
    let mut definition = Definition::named("frozen-lake-4x4");
    definition.options.set("slippery", false);
    let mut policy = Scripted;
    let episode = record(&registry, &definition, 0..1, 7, &mut policy).unwrap().next().unwrap().unwrap();
    assert_eq!(episode.turns.len(), 6);
    let mut replayer = Replayer::new(&registry);
    assert_eq!(replayer.replay(&episode).unwrap(), Replay::Same);

    type Change = fn(&mut Episode);
    let changes: [(Change, usize, &str); 8] = [
        (|it| it.turns[2].observation = "Elsewhere.".into(), 2, "observation"),
        (|it| it.turns[2].action = "left".to_string(), 3, "observation"),
        (|it| it.turns[4].reward = 0.5, 4, "reward"),
        (|it| it.turns[3].legal_actions = Some(vec!["left".to_string()]), 3, "legal_actions"),
        (|it| it.turns.truncate(5), 4, "end"),
        (|it| it.end = Some(End::Truncated), 5, "end"),
        (|it| it.turns.push(it.turns[5].clone()), 5, "end"),
        (|it| it.final_observation = Some("Lost.".into()), 5, "final_observation"),
    ];
    for (change, turn, field) in changes {
        let mut changed = episode.clone();
        change(&mut changed);
        match replayer.replay(&changed).unwrap() {
            Replay::Differs(found) => assert_eq!((found.turn, found.field), (turn, field), "{found}"),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn what_cannot_be_checked_is_told_apart() {
    let registry = Registry::builtin();
    let episode = recorded("cliff-walking", 0..1, &mut Scripted).remove(0);
    let mut replayer = Replayer::new(&registry);
    let mut because = |change: &dyn Fn(&mut Episode)| {
        let mut changed = episode.clone();
        change(&mut changed);
        match replayer.replay(&changed).unwrap() {
            Replay::NotCheckable(reason) => reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(because(&|it| it.seed = None), "it has no seed");
    let unknown = |it: &mut Episode| (it.env_spec, it.env_id) = (None, "chess-v1".to_string());
    assert!(because(&unknown).starts_with("no environment `chess`"));
    assert_eq!(because(&|it| (it.env_spec, it.env_id) = (None, String::new())), "it does not tell its environment");
    let old = because(&|it| it.env_id = "cliff-walking-v0".to_string());
    assert_eq!(old, "it was recorded in `cliff-walking-v0`, and its definition now gives `cliff-walking-v1`");
    assert!(because(&|it| it.env_spec = Some("{".to_string())).starts_with("env_spec is no definition"));

    // Rewards of a model, and reward parts other than the rules', cannot be reproduced by the environment.
    let mut other = episode.clone();
    other.turns[0].reward = 3.0;
    other.turns[0].reward_parts = [("rules".to_string(), -1.0), ("style".to_string(), 4.0)].into();
    assert_eq!(replayer.replay(&other).unwrap(), Replay::Same);
    other.turns[0].reward_parts.clear();
    assert!(matches!(replayer.replay(&other).unwrap(), Replay::Differs(_)));
    other.reward_source = Some("model".to_string());
    assert_eq!(replayer.replay(&other).unwrap(), Replay::Same);
    // A truncated recording is compared up to its end.
    let cut = Episode { end: None, end_reason: Some("cut".to_string()), final_observation: None, ..episode };
    let cut = Episode { turns: cut.turns[..5].to_vec(), ..cut };
    assert_eq!(replayer.replay(&cut).unwrap(), Replay::Same);
}
