//! Effects of wrappers on rewards, ends and specs.

use palestra_envs::wrappers::{EpisodeStatistics, InvalidAction, InvalidRule, RewardScale, TimeLimit};
use palestra_envs::{End, Env, Options, Registry, double_t_maze, frozen_lake};

fn maze() -> Box<dyn Env> {
    double_t_maze::build(&Options::default()).unwrap()
}

/// Ice that is not slippery, with the goal six moves from the start.
fn ice() -> Box<dyn Env> {
    frozen_lake::build(&Options::new(toml::from_str("slippery = false").unwrap())).unwrap()
}

/// Plays the scripted policy to the end and returns the end and the return.
fn scripted(env: &mut dyn Env) -> (End, f32) {
    env.reset(0).unwrap();
    let mut total = 0.0;
    loop {
        let action = env.scripted_action().unwrap();
        let step = env.step(&action).unwrap();
        total += step.reward;
        if let Some(end) = step.end {
            assert!(env.step(&action).is_err(), "the episode is over");
            return (end, total);
        }
    }
}

#[test]
fn a_time_limit_truncates_and_terminated_wins() {
    let mut short = TimeLimit::new(ice(), 5);
    assert_eq!(scripted(&mut short), (End::Truncated, 0.0));
    assert_eq!((short.spec().max_turns, short.spec().optimal_return), (Some(5), None));
    let mut enough = TimeLimit::new(ice(), 6);
    assert_eq!(scripted(&mut enough), (End::Terminated, 1.0));
    let longer = TimeLimit::new(ice(), 500);
    assert_eq!((longer.spec().max_turns, longer.spec().optimal_return), (Some(100), Some(1.0)));
}

#[test]
fn a_reward_scale_scales_what_is_known() {
    let mut scaled = RewardScale::new(ice(), 5.0).unwrap();
    assert_eq!(scripted(&mut scaled), (End::Terminated, 5.0));
    assert_eq!((scaled.spec().reward_range, scaled.spec().optimal_return), ((0.0, 5.0), Some(5.0)));
    let turned = RewardScale::new(maze(), -1.0).unwrap();
    assert_eq!((turned.spec().reward_range, turned.spec().optimal_return), ((-0.0, 4.0), None));
    assert!(RewardScale::new(maze(), f32::NAN).is_err() && RewardScale::new(maze(), 0.0).is_err());
}

#[test]
fn an_invalid_action_costs_what_the_rule_says() {
    let mut wrapped = InvalidAction::new(maze(), InvalidRule { reward: Some(-9.0), end: true }).unwrap();
    assert_eq!(wrapped.spec().reward_range, (-9.0, 0.0));
    assert_eq!(wrapped.spec().optimal_return, None, "ending at -9 beats walking from far away");
    wrapped.reset(0).unwrap();
    assert_eq!(wrapped.step("left").unwrap().reward, -1.0);
    let step = wrapped.step("up up and away").unwrap();
    assert_eq!((step.reward, step.end, step.invalid_action), (-9.0, Some(End::Terminated), true));
    assert!(wrapped.step("left").is_err());

    let kept = InvalidAction::new(ice(), InvalidRule { reward: Some(-1.0), end: true }).unwrap();
    assert_eq!(kept.spec().optimal_return, Some(1.0));
}

#[test]
fn episode_statistics_are_in_the_last_info() {
    let mut counted = EpisodeStatistics::new(Box::new(TimeLimit::new(maze(), 3)));
    for _ in 0..2 {
        counted.reset(0).unwrap();
        assert!(counted.step("left").unwrap().observation.info.is_empty());
        counted.step("nowhere").unwrap();
        let info = counted.step("left").unwrap().observation.info;
        assert_eq!(info["episode"], serde_json::json!({ "return": -6.0, "length": 3, "invalid_actions": 1 }));
    }
}

#[test]
fn a_definition_wraps() {
    let text = "
        id = 'strict-maze'
        kind = 'double-t-maze'
        [wrappers]
        limit = 2
        reward_scale = 0.5
        invalid = { reward = -2, end = true }
        statistics = true";
    let definition = palestra_envs::Definition::from_toml("strict.toml", text).unwrap();
    let mut env = Registry::builtin().build(&definition).unwrap();
    assert_eq!((env.spec().id.as_str(), env.spec().max_turns), ("strict-maze-v1", Some(2)));
    env.reset(0).unwrap();
    let step = env.step("").unwrap();
    assert_eq!((step.reward, step.end), (-1.0, Some(End::Terminated)));
    assert_eq!(step.observation.info["episode"]["return"], -1.0);
}
