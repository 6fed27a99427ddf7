//! Exact values of policies, including stochastic ones, compared with known values of the games and with played
//! episodes.

use palestra_envs::exact::{one_hot, uniform};
use palestra_envs::{Definition, Observation, Registry, Result, baseline};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn value(definition: &Definition, policy: &mut dyn FnMut(&Observation) -> Result<Vec<f64>>) -> Result<f64> {
    let value = Registry::builtin().exact_value(definition, &mut |seen| seen.iter().map(&mut *policy).collect())?;
    Ok(value.expect("the game is small enough").expected_return)
}

/// Mixture policy: a random action with probability epsilon, else this one.
fn mixture(epsilon: f64, action: &str, observation: &Observation) -> Result<Vec<f64>> {
    let mixed = one_hot(observation, action)?.into_iter().zip(uniform(observation));
    Ok(mixed.map(|(chosen, random)| epsilon * random + (1.0 - epsilon) * chosen).collect())
}

/// Draws a legal action with these probabilities.
fn drawn(seen: &Observation, probabilities: Vec<f64>, rng: &mut ChaCha8Rng) -> String {
    let mut left: f64 = rng.random();
    let chosen = probabilities.into_iter().position(|probability| {
        left -= probability;
        left < 0.0
    });
    seen.legal_actions.as_ref().unwrap()[chosen.unwrap_or(0)].clone()
}

fn small_lake() -> Definition {
    let toml = "kind = 'frozen-lake'\n[options]\nmap = ['SFF', 'FHF', 'FFG']\nlimit = 12";
    Definition::from_toml("lake", toml).unwrap()
}

#[test]
fn the_random_policy_has_its_known_values() {
    for (name, known) in
        [("frozen-lake-4x4", 0.0139), ("frozen-lake-8x8", 0.0019), ("double-t-maze", -85.1396), ("tic-tac-toe", 0.2968)]
    {
        let value = value(&Definition::named(name), &mut |seen| Ok(uniform(seen))).unwrap();
        assert!((value - known).abs() < 5e-5, "{name}: {value}");
    }
}

#[test]
fn a_mixture_with_random_play_lies_between_the_two() {
    // The first policy walks along the edge of the cliff; the second takes the first of the free cells on the most
    // lines.
    let along_the_edge = |seen: &Observation| match &*seen.content.as_text() {
        "A3" => "u",
        "L2" => "d",
        _ => "r",
    };
    let by_lines = |seen: &Observation| {
        let is_free = |cell: &&str| seen.legal_actions.as_ref().unwrap().iter().any(|listed| listed == cell);
        ["5", "1", "3", "7", "9", "2", "4", "6", "8"].into_iter().find(is_free).unwrap()
    };
    type Choose<'a> = &'a dyn Fn(&Observation) -> &'static str;
    for (name, choose) in [("cliff-walking", &along_the_edge as Choose), ("tic-tac-toe", &by_lines)] {
        let mut definition = Definition::named(name);
        definition.options.set("view", "compact");
        let values = [1.0, 0.75, 0.5, 0.25, 0.0]
            .map(|epsilon| value(&definition, &mut |seen| mixture(epsilon, choose(seen), seen)).unwrap());
        assert!(values.is_sorted() && values[0] < values[4], "{name}: {values:?}");
        assert_eq!(values[0], value(&definition, &mut |seen| Ok(uniform(seen))).unwrap());
        assert_eq!(values[4], value(&definition, &mut |seen| one_hot(seen, choose(seen))).unwrap());
    }
}

#[test]
fn the_value_of_a_stochastic_policy_is_what_playing_it_gives() {
    let lake = small_lake();
    let policy = |seen: &Observation| mixture(0.6, "right", seen);
    let exact = value(&lake, &mut |seen| policy(seen)).unwrap();
    let mut env = Registry::builtin().build(&lake).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let episodes = 20_000;
    let mut total = 0.0;
    for seed in 0..episodes {
        let episode = baseline::play(&mut *env, seed, &mut |seen| drawn(seen, policy(seen).unwrap(), &mut rng));
        total += episode.unwrap().total_reward();
    }
    let mean = total / episodes as f64;
    let error = (exact * (1.0 - exact) / episodes as f64).sqrt();
    assert!((mean - exact).abs() < 3.5 * error, "{mean} is not {exact}");
    assert!(exact > 20.0 * error && exact < 1.0 - 20.0 * error, "{exact} tells something");
}

#[test]
fn a_discounted_value_is_what_playing_gives_with_each_reward_discounted() {
    let gamma = 0.8;
    let policy = |seen: &Observation| mixture(0.6, seen.legal_actions.as_ref().unwrap().last().unwrap(), seen);
    for definition in [small_lake(), Definition::named("tic-tac-toe"), Definition::named("tic-tac-toe-second")] {
        let registry = Registry::builtin();
        let mut ask = |seen: &[Observation]| seen.iter().map(policy).collect();
        let plain = registry.exact_value(&definition, &mut ask).unwrap().unwrap();
        let exact = registry.exact_discounted_value(&definition, gamma, &mut ask).unwrap().unwrap();
        assert_eq!(plain.ends, exact.ends);
        let mut env = registry.build(&definition).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let episodes = 20_000;
        let (mut total, mut squares) = (0.0, 0.0);
        for seed in 0..episodes {
            let episode = baseline::play(&mut *env, seed, &mut |seen| drawn(seen, policy(seen).unwrap(), &mut rng));
            let turns = episode.unwrap().turns;
            let value = turns.iter().rev().fold(0.0, |after, turn| f64::from(turn.reward) + gamma * after);
            (total, squares) = (total + value, squares + value * value);
        }
        let mean = total / episodes as f64;
        let error = ((squares / episodes as f64 - mean * mean) / episodes as f64).sqrt();
        let (exact, plain) = (exact.expected_return, plain.expected_return);
        assert!((mean - exact).abs() < 3.5 * error, "{mean} is not {exact}");
        assert!((exact - plain).abs() > 10.0 * error, "{exact} is not told from {plain}");
    }
}

#[test]
fn an_answer_that_is_no_distribution_is_refused() {
    for (answer, complaint) in [
        (vec![0.5, 0.5], "it gives 2 probabilities; there are 4 legal actions"),
        (vec![0.5, 0.5, 0.5, -0.5], "it gives `up` the probability -0.5; it must be finite and at least 0"),
        (vec![f64::NAN, 0.0, 0.0, 1.0], "it gives `left` the probability NaN"),
        (vec![0.25, 0.25, 0.25, 0.2], "it gives probabilities that sum to 0.95; they must sum to 1"),
    ] {
        let error = value(&small_lake(), &mut |_| Ok(answer.clone())).unwrap_err().to_string();
        assert!(error.starts_with("the policy: to \"You are P") && error.contains(complaint), "{error}");
    }
    let none = Registry::builtin().exact_value(&small_lake(), &mut |_| Ok(Vec::new()));
    assert_eq!(none.unwrap_err().to_string(), "the policy: it gives 0 answers to 7 observations");
    let error = value(&small_lake(), &mut |seen| one_hot(seen, "north")).unwrap_err().to_string();
    assert!(error.contains("it answers \"north\"") && error.ends_with("`left`, `down`, `right`, `up`"), "{error}");
    assert!(value(&small_lake(), &mut |seen| one_hot(seen, " LEFT\n")).is_ok());
}
