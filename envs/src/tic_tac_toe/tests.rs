use super::*;
use crate::exact::{one_hot, uniform};

/// Builds the kind from TOML options.
fn tic_tac_toe(options: &str) -> Result<Box<dyn Env>> {
    build(&parse(options))
}

fn parse(options: &str) -> Options {
    Options::new(options.parse().unwrap())
}

/// Plays one episode; returns its return, its outcome and its number of turns.
fn play(env: &mut dyn Env, seed: u64, mut player: impl FnMut(&dyn Env, &Observation) -> String) -> (f32, String, u32) {
    let mut observation = env.reset(seed).unwrap();
    let alphabet = env.spec().alphabet.clone().unwrap();
    for turn in 1.. {
        let unknown = observation.content.as_text().chars().find(|&c| !alphabet.contains(c));
        assert_eq!(unknown, None, "in {:?}", observation.content);
        let step = env.step(&player(env, &observation)).unwrap();
        observation = step.observation;
        if step.end.is_some() {
            let outcome = observation.info["outcome"].as_str().unwrap();
            return (step.reward, outcome.to_string(), turn);
        }
    }
    unreachable!("every game ends")
}

fn scripted(env: &dyn Env, _: &Observation) -> String {
    env.scripted_action().unwrap()
}

/// The scripted policy, computed from the observations.
fn best(observations: &[Observation]) -> Result<Vec<Vec<f64>>> {
    let read = |observation: &Observation| {
        let set = |wanted| {
            let board = observation.content.as_text();
            let marks = board.chars().enumerate();
            marks.fold(0, |set, (cell, mark)| set | u16::from(mark == wanted) << cell)
        };
        let board = Board { agent: set('x'), opponent: set('o') };
        let cell = Opponent::Random.best_cell(board).unwrap();
        one_hot(observation, &(cell + 1).to_string())
    };
    observations.iter().map(read).collect()
}

#[test]
fn the_exact_evaluation_gives_the_known_results() {
    let first = evaluate_exactly(&parse("view = 'compact'"), &mut best).unwrap();
    assert!((first.expected_return - 0.9948).abs() < 5e-5, "{first:?}");
    assert!(!first.can_lose && first.loss == 0.0);

    let second = evaluate_exactly(&parse("view = 'compact'\nfirst = 'opponent'"), &mut best).unwrap();
    assert!((second.expected_return - 0.9249).abs() < 5e-5, "{second:?}");
    assert!(second.can_lose && second.loss > 0.0, "{second:?}");

    let either = evaluate_exactly(&parse("view = 'compact'\nfirst = 'random'"), &mut best).unwrap();
    let mean = (first.expected_return + second.expected_return) / 2.0;
    assert!((either.expected_return - mean).abs() < 1e-12, "{either:?}");
    let random = evaluate_exactly(&parse(""), &mut |seen| Ok(seen.iter().map(uniform).collect())).unwrap();
    assert!((random.expected_return - 0.2968).abs() < 5e-5, "{random:?}");
    for exact in [first, second, either, random] {
        assert!((exact.win + exact.draw + exact.loss - 1.0).abs() < 1e-12);
    }
}

#[test]
fn the_optimal_return_of_the_spec_is_that_of_the_script() {
    for (options, optimal) in [
        ("", 0.9948),
        ("first = 'opponent'", 0.9249),
        ("first = 'random'", 0.95985),
        ("opponent = 'perfect'", 0.0),
        ("opponent = 'perfect'\nfirst = 'opponent'", 0.0),
    ] {
        let stated = tic_tac_toe(options).unwrap().spec().optimal_return.unwrap();
        assert!((stated - optimal).abs() < 6e-5, "{options}: {stated}");
    }
}

#[test]
fn observations_show_the_board() {
    let mut env = tic_tac_toe("").unwrap();
    let start = env.reset(0).unwrap();
    assert_eq!(start.content, "Tic-tac-toe. You are x, free cells have a number.\n1 2 3\n4 5 6\n7 8 9\nYour cell:");
    let mut env = tic_tac_toe("view = 'compact'").unwrap();
    assert_eq!(env.reset(0).unwrap().content, ".........");
    let text = env.step(" 5\n").unwrap().observation.content.to_string();
    assert_eq!((text.len(), &text[4..5], text.matches('o').count()), (9, "x", 1));
    assert_eq!(env.render().matches('o').count(), 1);
}

#[test]
fn both_views_keep_to_their_alphabet() {
    for view in ["text", "compact"] {
        let mut env = tic_tac_toe(&format!("first = 'random'\nview = '{view}'")).unwrap();
        for seed in 0..20 {
            play(&mut *env, seed, scripted);
        }
    }
}

#[test]
fn an_action_that_is_none_costs_a_turn_and_changes_nothing() {
    let mut env = tic_tac_toe("").unwrap();
    env.reset(0).unwrap();
    let before = env.step("5").unwrap().observation;
    let long = "5".repeat(1 << 20);
    for action in ["5", "", "0", "10", "\0", "٣", "🎲", &long] {
        let step = env.step(action).unwrap();
        assert!(step.invalid_action, "{action:.10}");
        assert_eq!((step.reward, step.end), (INVALID_REWARD, None));
        assert_eq!(step.observation, before);
    }
    assert_eq!(env.step("").unwrap().end, Some(End::Truncated));
    let error = env.step("1").unwrap_err().to_string();
    assert!(error.contains("after the episode's end"), "{error}");
}

#[test]
fn impossible_options_are_named() {
    for (options, part) in [
        ("limit = 4", "limit = 4: a game of tic-tac-toe takes up to 5 turns"),
        ("first = 'me'", "me"),
        ("foe = 'random'", "foe"),
    ] {
        let error = tic_tac_toe(options).err().unwrap().to_string();
        assert!(error.contains(part), "{options}: {error}");
    }
    assert!(tic_tac_toe("").unwrap().step("1").is_err());
}

#[test]
fn the_same_seed_gives_the_same_episode() {
    let mut env = tic_tac_toe("first = 'random'\nview = 'compact'").unwrap();
    let mut starts: Vec<_> = (0..200).map(|seed| env.reset(seed).unwrap().content.to_string()).collect();
    let again: Vec<_> = (0..200).map(|seed| env.reset(seed).unwrap().content.to_string()).collect();
    assert_eq!(starts, again);
    // The empty board, and the opponent's mark on each of the nine cells.
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), 10);
}

#[test]
fn named_definitions_build() {
    for text in DEFINITIONS {
        let definition: crate::Definition = toml::from_str(text).unwrap();
        let env = build(&definition.options).unwrap();
        assert_eq!(env.spec().id, format!("{}-v1", definition.id.unwrap()));
        assert_eq!(definition.kind.as_deref(), Some("tic-tac-toe"));
    }
}

/// Prints the numbers of `CARD.md`: `cargo test --release -p palestra-envs tic_tac_toe_baselines -- --nocapture`.
#[test]
fn tic_tac_toe_baselines() {
    let episodes: u32 = if cfg!(debug_assertions) { 100 } else { 10_000 };
    for options in ["", "first = 'opponent'", "opponent = 'perfect'", "first = 'opponent'\nopponent = 'perfect'"] {
        let mut env = tic_tac_toe(&format!("view = 'compact'\n{options}")).unwrap();
        let mut report = |name: &str, player: &mut dyn FnMut(&dyn Env, &Observation) -> String| {
            let start = std::time::Instant::now();
            let played: Vec<_> = (0..u64::from(episodes)).map(|seed| play(&mut *env, seed, &mut *player)).collect();
            let turns: u32 = played.iter().map(|(_, _, turns)| turns).sum();
            let mean = played.iter().map(|&(reward, ..)| f64::from(reward)).sum::<f64>() / f64::from(episodes);
            let share = |wanted| {
                let count = played.iter().filter(|(_, outcome, _)| outcome == wanted).count();
                count as f64 / f64::from(episodes)
            };
            println!(
                "{options:?} {name}: return {mean:.4}, win {:.4}, draw {:.4}, loss {:.4}, {:.0} steps/s",
                share("win"),
                share("draw"),
                share("loss"),
                f64::from(turns) / start.elapsed().as_secs_f64(),
            );
            mean
        };
        let mut stream = ChaCha8Rng::seed_from_u64(1);
        let mut random = |_: &dyn Env, observation: &Observation| {
            let legal = observation.legal_actions.as_ref().unwrap();
            legal[stream.random_range(0..legal.len())].clone()
        };
        let random_return = report("random", &mut random);
        let scripted_return = report("scripted", &mut scripted);
        assert!(random_return < scripted_return);
    }
}
