use super::*;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Builds the kind from TOML options.
fn snake(options: &str) -> Result<Box<dyn Env>> {
    build(&Options::new(options.parse().unwrap()))
}

/// Result of one episode.
struct Played {
    score: u64,
    turns: u32,
    total_reward: f32,
    end: End,
    outcome: String,
}

/// Plays one episode; the policy gets the environment and the observation.
fn play(env: &mut dyn Env, seed: u64, mut policy: impl FnMut(&dyn Env, &Observation) -> String) -> Played {
    let mut observation = env.reset(seed).unwrap();
    let alphabet = env.spec().alphabet.clone().unwrap();
    let (mut turns, mut total_reward) = (0, 0.0);
    loop {
        let unknown = observation.content.as_text().chars().find(|&c| !alphabet.contains(c));
        assert_eq!(unknown, None, "in {:?}", observation.content);
        let step = env.step(&policy(env, &observation)).unwrap();
        turns += 1;
        total_reward += step.reward;
        observation = step.observation;
        if let Some(end) = step.end {
            return Played {
                score: observation.info["score"].as_u64().unwrap(),
                turns,
                total_reward,
                end,
                outcome: observation.info["outcome"].as_str().unwrap().to_string(),
            };
        }
    }
}

fn scripted(env: &dyn Env, _: &Observation) -> String {
    env.scripted_action().unwrap()
}

/// A memoryless policy that reads the compact view alone. Of the moves that leave the most free space, it takes the one
/// nearest to the food.
fn reads_compact(_: &dyn Env, observation: &Observation) -> String {
    let text = observation.content.as_text();
    let characters = text.as_bytes();
    let worth = |index: usize| {
        let room = match characters[3 * index + 1] {
            b't' => 3,
            b's' => 2,
            b'n' => 1,
            _ => 0,
        };
        let to_food = match characters[3 * index + 2] {
            digit @ b'0'..=b'9' => digit - b'0',
            _ => 10,
        };
        (room, 10 - to_food)
    };
    let best = (0..3).rev().max_by_key(|&index| worth(index)).unwrap();
    ["f", "l", "r"][best].to_string()
}

fn mean<T: Into<f64>>(values: impl Iterator<Item = T>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value.into(), count + 1));
    sum / f64::from(count)
}

#[test]
fn the_cycle_fills_every_even_board_in_every_view() {
    for (size, view) in [(4, "text"), (6, "board"), (8, "window"), (6, "compact"), (10, "compact")] {
        let mut env = snake(&format!("size = {size}\nview = '{view}'")).unwrap();
        for seed in 0..3 {
            let played = play(&mut *env, seed, scripted);
            assert_eq!(Some(played.score as f64), env.spec().optimal_return);
            assert_eq!(played.total_reward as u64, played.score);
            assert_eq!((played.end, &*played.outcome), (End::Terminated, "filled"));
        }
    }
}

#[test]
fn a_policy_that_reads_the_compact_view_nearly_fills_the_board() {
    let mut env = snake("view = 'compact'").unwrap();
    let score = mean((0..100).map(|seed| play(&mut *env, seed, reads_compact).score as f64));
    assert!(score > 28.0, "mean score {score}");
}

#[test]
fn an_action_that_is_none_costs_a_turn_and_changes_nothing() {
    for (view, turn_back) in [("text", "left"), ("board", "l"), ("compact", "b")] {
        let mut env = snake(&format!("view = '{view}'")).unwrap();
        let before = env.reset(3).unwrap();
        let long = "f".repeat(1 << 20);
        for action in [turn_back, "", "\0", "🐍", "f f", &long] {
            let step = env.step(action).unwrap();
            assert!(step.invalid_action, "{view}: {action:.10}");
            assert_eq!((step.reward, step.end), (INVALID_REWARD, None));
            assert_eq!(step.observation, before);
        }
    }
}

#[test]
fn actions_are_trimmed_and_any_case() {
    let mut env = snake("").unwrap();
    env.reset(0).unwrap();
    assert!(!env.step(" UP\n").unwrap().invalid_action);
    // Absolute actions: all except the one that turns back.
    let legal = env.step("").unwrap().observation.legal_actions.unwrap();
    assert_eq!(*legal, ["up", "right", "left"]);
}

#[test]
fn an_episode_without_food_is_truncated() {
    let mut env = snake("size = 4\nstarve = 8\nview = 'compact'").unwrap();
    // Seed 4 puts the food outside the ring of four cells that the snake moves in.
    env.reset(4).unwrap();
    let ends: Vec<_> = (0..8).map(|_| env.step("l").unwrap().end).collect();
    assert_eq!(ends[..7], [None; 7]);
    assert_eq!(ends[7], Some(End::Truncated));
    let error = env.step("l").unwrap_err().to_string();
    assert!(error.contains("after the episode's end"), "{error}");
}

#[test]
fn the_turn_limit_truncates_and_death_terminates() {
    let mut env = snake("limit = 2\nstep_cost = 0.5").unwrap();
    env.reset(0).unwrap();
    assert_eq!(env.step("up").unwrap().reward, -0.5);
    assert_eq!(env.step("up").unwrap().end, Some(End::Truncated));
    // A snake that dies on the last turn terminates the episode.
    let mut env = snake("size = 4\nlimit = 2").unwrap();
    env.reset(0).unwrap();
    env.step("up").unwrap();
    let step = env.step("up").unwrap();
    assert_eq!((step.reward, step.end), (-1.0, Some(End::Terminated)));
    assert_eq!(step.observation.info["outcome"], "wall");
}

#[test]
fn the_same_seed_gives_the_same_episode() {
    let transcript = |seed| {
        let mut env = snake("view = 'board'").unwrap();
        let mut transcript = vec![env.reset(seed).unwrap().content];
        for _ in 0..60 {
            let action = env.scripted_action().unwrap();
            transcript.push(env.step(&action).unwrap().observation.content);
        }
        transcript
    };
    assert_eq!(transcript(1), transcript(1));
    assert_ne!(transcript(1), transcript(2));
}

#[test]
fn impossible_options_are_named() {
    for (options, part) in [
        ("size = 2", "size = 2: a board has 3 to 10 cells a side"),
        ("limit = 0", "limit = 0: an episode needs at least 1 turn"),
        ("starve = 0", "starve = 0: an episode needs at least 1 turn"),
        ("step_cost = nan", "step_cost = NaN: a turn costs 0 to 1"),
        ("view = 'tiles'", "tiles"),
        ("side = 4", "side"),
    ] {
        let error = snake(options).err().unwrap().to_string();
        assert!(error.contains(part), "{options}: {error}");
    }
    assert!(snake("").unwrap().step("up").is_err());
}

#[test]
fn named_definitions_build() {
    for text in DEFINITIONS {
        let definition: crate::Definition = toml::from_str(text).unwrap();
        let env = build(&definition.options).unwrap();
        assert_eq!(env.spec().id, format!("{}-v1", definition.id.unwrap()));
        assert_eq!(definition.kind.as_deref(), Some("snake"));
    }
}

/// Prints the numbers of `CARD.md`: `cargo test --release -p palestra-envs snake_baselines -- --nocapture`.
#[test]
fn snake_baselines() {
    let episodes = if cfg!(debug_assertions) { 10 } else { 1_000 };
    for size in [4, 6, 8] {
        let mut env = snake(&format!("size = {size}\nview = 'compact'")).unwrap();
        let mut report = |name: &str, policy: &mut dyn FnMut(&dyn Env, &Observation) -> String| {
            let start = std::time::Instant::now();
            let played: Vec<_> = (0..episodes).map(|seed| play(&mut *env, seed, &mut *policy)).collect();
            let steps: u32 = played.iter().map(|played| played.turns).sum();
            println!(
                "{size}x{size} {name}: score {:.2}, return {:.2}, turns {:.1}, filled {:.3}, {:.0} steps/s",
                mean(played.iter().map(|played| played.score as f64)),
                mean(played.iter().map(|played| played.total_reward)),
                mean(played.iter().map(|played| played.turns)),
                mean(played.iter().map(|played| u8::from(played.outcome == "filled"))),
                f64::from(steps) / start.elapsed().as_secs_f64(),
            );
            mean(played.iter().map(|played| played.score as f64))
        };
        let mut stream = ChaCha8Rng::seed_from_u64(1);
        let mut random = |_: &dyn Env, observation: &Observation| {
            let legal = observation.legal_actions.as_ref().unwrap();
            legal[stream.random_range(0..legal.len())].clone()
        };
        let random_score = report("random", &mut random);
        let compact_score = report("reads compact", &mut reads_compact);
        let cycle_score = report("cycle", &mut scripted);
        assert!(random_score < compact_score && compact_score < cycle_score);
    }
}
