//! Playing many episodes: pools, seeds, and the baselines stated in the cards.

use std::collections::HashSet;

use palestra_envs::{Call, Definition, End, Options, Pool, Registry, baseline, episode_seed, frozen_lake};

#[test]
fn an_episode_is_the_same_in_any_slot_beside_any_others() {
    let (registry, lake) = (Registry::builtin(), Definition::named("frozen-lake-8x8"));
    let actions = ["right", "down", "right", "down", "up", "down"];
    let mut alone = Pool::new(&registry, &lake, 1).unwrap();
    let mut pool = Pool::new(&registry, &lake, 3).unwrap();
    assert_eq!(pool.len(), 3);
    alone.reset(0, episode_seed(1, 5)).unwrap();
    for slot in 0..3 {
        pool.reset(slot, episode_seed(1, 3 + slot as u64)).unwrap();
    }
    for action in actions {
        let expected = alone.step(&[(0, action)]).remove(0).unwrap();
        let step = pool.step(&[(2, action), (0, "left")]).remove(0).unwrap();
        assert_eq!(step, expected);
    }
    assert_eq!(pool.env(2).render(), alone.env(0).render());
}

#[test]
fn a_step_of_a_slot_without_an_episode_is_an_error() {
    let mut pool = Pool::new(&Registry::builtin(), &Definition::named("cliff-walking"), 2).unwrap();
    pool.reset(0, 1).unwrap();
    let mut steps = pool.step(&[(0, "up"), (1, "up")]);
    let error = steps.remove(1).unwrap_err().to_string();
    assert_eq!(steps.remove(0).unwrap().reward, -1.0, "the other slot goes on");
    assert_eq!(error, "cliff-walking-v1: step() was called before reset(); call reset(seed) first");
}

#[test]
fn seeds_of_neighbouring_runs_and_episodes_differ() {
    let seeds: HashSet<u64> =
        (0..100).flat_map(|run| (0..100).map(move |episode| episode_seed(run, episode))).collect();
    assert_eq!(seeds.len(), 10_000);
}

#[test]
fn a_played_episode_holds_all_that_was_seen_and_done() {
    let mut env = Registry::builtin().make("cliff-walking").unwrap();
    let episode = baseline::play_scripted(&mut *env, 7).unwrap();
    assert_eq!((episode.env_id.as_str(), episode.seed, episode.turns.len()), ("cliff-walking-v1", Some(7), 13));
    assert_eq!((episode.total_reward(), episode.end), (-13.0, Some(End::Terminated)));
    assert_eq!((episode.policy_id.as_str(), episode.turns[0].action.as_str()), ("scripted", "up"));
    assert!(episode.turns[0].observation.as_text().starts_with("You are P."));
    assert_eq!(episode.turns[0].legal_actions.as_ref().unwrap().len(), 4);
    assert!(episode.final_observation.unwrap().as_text().starts_with("You reached the goal."));

    let invalid = baseline::play(&mut *env, 7, &mut |_| "fly".to_string()).unwrap();
    assert_eq!((invalid.turns.len(), invalid.end), (200, Some(End::Truncated)));
    assert!(invalid.turns.iter().all(|turn| turn.invalid_action));
}

#[test]
fn the_mean_of_random_play_is_its_exact_value() {
    let mut world = frozen_lake::world(&Options::default()).unwrap();
    let exact = world.rules().random_return();
    let measured = baseline::random(&mut world, 5_000, 1).unwrap();
    assert!((measured.mean_return - exact).abs() < 4.0 * measured.standard_error, "{measured:?}, {exact}");
    assert_eq!(measured, baseline::random(&mut world, 5_000, 1).unwrap());
    assert_ne!(measured.mean_turns, baseline::random(&mut world, 5_000, 2).unwrap().mean_turns);
}

#[test]
fn a_pool_on_threads_answers_as_one_without() {
    let new = || Pool::new(&Registry::builtin(), &Definition::named("frozen-lake-4x4"), 3).unwrap();
    let mut pools = [new(), new().on_threads()];
    let replies = pools.each_mut().map(|pool| {
        let mut replies = Vec::new();
        for turn in 0..4 {
            for slot in 0..3 {
                let call = if turn == 0 { Call::Reset(slot as u64) } else { Call::Step("right".into()) };
                pool.call(slot, call);
            }
            assert!(pool.is_busy());
            let answers = pool.answers(false, true);
            assert_eq!(answers.iter().map(|answer| answer.slot).collect::<Vec<_>>(), [0, 1, 2]);
            replies.extend(answers.into_iter().map(|answer| answer.reply.map_err(|error| error.to_string())));
            assert!(!pool.is_busy() && pool.answers(true, true).is_empty());
        }
        replies
    });
    assert_eq!(replies[0], replies[1]);
    assert!(replies[0][..6].iter().all(Result::is_ok), "an episode has more than one turn");
    assert_eq!(pools[0].env(2).render(), pools[1].env(2).render());
}
