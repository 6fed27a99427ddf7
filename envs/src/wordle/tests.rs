use super::*;

/// Builds the kind from TOML options.
fn wordle(options: &str) -> Result<Box<dyn Env>> {
    build(&Options::new(options.parse().unwrap()))
}

/// Plays one episode; returns its return, its number of turns, and true if the word was found.
fn play(env: &mut dyn Env, seed: u64, mut policy: impl FnMut(&dyn Env, &Observation) -> String) -> (f32, u32, bool) {
    let mut observation = env.reset(seed).unwrap();
    let alphabet = env.spec().alphabet.clone().unwrap();
    let mut total_reward = 0.0;
    for turn in 1.. {
        let unknown = observation.content.as_text().chars().find(|&c| !alphabet.contains(c));
        assert_eq!(unknown, None, "in {:?}", observation.content);
        let step = env.step(&policy(env, &observation)).unwrap();
        total_reward += step.reward;
        observation = step.observation;
        if step.end.is_some() {
            let solved = observation.info["solved"].as_bool().unwrap();
            return (total_reward, turn, solved);
        }
    }
    unreachable!("every game ends")
}

fn scripted(env: &dyn Env, _: &Observation) -> String {
    env.scripted_action().unwrap()
}

/// The answer, from the info that the agent does not see.
fn answer(observation: &Observation) -> String {
    observation.info["answer"].as_str().unwrap().to_string()
}

#[test]
fn the_right_word_ends_the_game_without_cost() {
    let mut env = wordle("").unwrap();
    let answer = answer(&env.reset(0).unwrap());
    let other = if answer == "about" { "above" } else { "about" };
    let step = env.step(other).unwrap();
    assert_eq!((step.reward, step.end, step.invalid_action), (-1.0, None, false));
    let step = env.step(&format!(" {}\n", answer.to_uppercase())).unwrap();
    assert_eq!((step.reward, step.end), (0.0, Some(End::Terminated)));
    assert_eq!(step.observation.info["solved"], true);
    let error = env.step(&answer).unwrap_err().to_string();
    assert!(error.contains("after the episode's end"), "{error}");
}

#[test]
fn text_that_is_no_word_of_the_list_costs_a_guess() {
    let mut env = wordle("view = 'compact'\nlimit = 7").unwrap();
    assert_eq!(env.reset(0).unwrap().content, "7");
    let long = "crane".repeat(1 << 18);
    for (left, action) in (1..7).rev().zip(["", "zzzzz", "\0\0\0\0\0", "éab", "🦀a", &long]) {
        let step = env.step(action).unwrap();
        assert!(step.invalid_action, "{action:.10}");
        assert_eq!((step.reward, step.end), (-1.0, None));
        assert_eq!(step.observation.content, left.to_string());
    }
    // Out of guesses.
    assert_eq!(env.step("").unwrap().end, Some(End::Terminated));
}

#[test]
fn observations_show_guesses_and_marks() {
    let seed = |env: &mut dyn Env| {
        let is_label = |&seed: &u64| answer(&env.reset(seed).unwrap()) == "label";
        (0..10_000).find(is_label).unwrap()
    };
    let mut env = wordle("").unwrap();
    let label = seed(&mut *env);
    env.reset(label).unwrap();
    assert_eq!(
        env.step("allow").unwrap().observation.content,
        "Find the word of five letters. G: right place, Y: other place, B: not in the word.\n\
         allow YYYBB\nGuesses left: 5. Your guess:"
    );
    let mut env = wordle("view = 'compact'").unwrap();
    env.reset(label).unwrap();
    assert_eq!(env.step("allow").unwrap().observation.content, "5aYlYlYoBwB");
}

#[test]
fn a_file_of_words_can_be_given() {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("palestra-words-{}.txt", std::process::id()));
    std::fs::write(&path, "crane\nslate\n").unwrap();
    let mut env = wordle(&format!("words = '{}'", path.display())).unwrap();
    let legal = env.reset(0).unwrap().legal_actions.unwrap();
    assert_eq!(*legal, ["crane", "slate"]);
    std::fs::write(&path, "crane\nslates\n").unwrap();
    let bad = wordle(&format!("words = '{}'", path.display())).err().unwrap();
    assert!(bad.to_string().ends_with("line 2: `slates` is not 5 letters a to z"), "{bad}");
    std::fs::remove_file(&path).unwrap();
    let missing = wordle(&format!("words = '{}'", path.display())).err().unwrap();
    assert!(missing.to_string().contains("palestra-words"), "{missing}");
}

#[test]
fn impossible_options_are_named() {
    for (options, part) in [
        ("limit = 0", "limit = 0: a game of Wordle has 1 to 1000 guesses"),
        ("view = 'tiles'", "tiles"),
        ("list = 'words.txt'", "list"),
    ] {
        let error = wordle(options).err().unwrap().to_string();
        assert!(error.contains(part), "{options}: {error}");
    }
    assert!(wordle("").unwrap().step("crane").is_err());
}

#[test]
fn the_same_seed_gives_the_same_episode() {
    let mut env = wordle("").unwrap();
    let mut answers =
        |seeds: std::ops::Range<u64>| -> Vec<String> { seeds.map(|seed| answer(&env.reset(seed).unwrap())).collect() };
    assert_eq!(answers(0..50), answers(0..50));
    assert_ne!(answers(0..50), answers(50..100));
}

#[test]
fn named_definitions_build() {
    for text in DEFINITIONS {
        let definition: crate::Definition = toml::from_str(text).unwrap();
        let env = build(&definition.options).unwrap();
        assert_eq!(env.spec().id, format!("{}-v1", definition.id.unwrap()));
        assert_eq!(definition.kind.as_deref(), Some("wordle"));
    }
}

/// Prints the numbers of `CARD.md`: `cargo test --release -p palestra-envs wordle_baselines -- --nocapture`.
#[test]
fn wordle_baselines() {
    let episodes: u32 = if cfg!(debug_assertions) { 20 } else { 10_000 };
    for view in ["text", "compact"] {
        let mut env = wordle(&format!("view = '{view}'")).unwrap();
        let mut report = |name: &str, policy: &mut dyn FnMut(&dyn Env, &Observation) -> String| {
            let start = std::time::Instant::now();
            let played: Vec<_> = (0..u64::from(episodes)).map(|seed| play(&mut *env, seed, &mut *policy)).collect();
            let turns: u32 = played.iter().map(|(_, turns, _)| turns).sum();
            let total: f64 = played.iter().map(|&(total, ..)| f64::from(total)).sum();
            let solved = played.iter().filter(|(.., solved)| *solved).count();
            let count = f64::from(episodes);
            println!(
                "{view} {name}: return {:.3}, solved {:.4}, turns {:.3}, {:.0} steps/s",
                total / count,
                solved as f64 / count,
                f64::from(turns) / count,
                f64::from(turns) / start.elapsed().as_secs_f64(),
            );
            total / count
        };
        let mut stream = ChaCha8Rng::seed_from_u64(1);
        let mut random = |_: &dyn Env, observation: &Observation| {
            let legal = observation.legal_actions.as_ref().unwrap();
            legal[stream.random_range(0..legal.len())].clone()
        };
        let random_return = report("random", &mut random);
        let scripted_return = report("scripted", &mut scripted);
        assert!(random_return < -5.0 && scripted_return > -3.0);
    }
}
