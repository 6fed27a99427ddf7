//! Checks the numbers in the cards of the grid games against played episodes and dynamic programming.

use palestra_envs::grid_world::GridWorld;
use palestra_envs::{Env, Options, Registry, Result, baseline, cliff_walking, double_t_maze, frozen_lake};

const EPISODES: u64 = 1_000;

#[track_caller]
fn assert_told(name: &str, world: fn(&Options) -> Result<GridWorld>) {
    let registry = Registry::builtin();
    let card = registry.entry(name).and_then(|entry| entry.card).expect("a card");
    let mut world = world(&registry.definition(name).unwrap().options).unwrap();
    let exact = [world.rules().random_return(), world.spec().optimal_return.unwrap()];
    let played = [baseline::random(&mut world, EPISODES, 0), baseline::scripted(&mut world, EPISODES, 0)];
    for (exact, played) in exact.into_iter().zip(played.map(Result::unwrap)) {
        let row = format!(
            "| `{name}` | {} | {exact:.4} | {:.4} ± {:.4} | {:.1} |",
            played.policy, played.mean_return, played.standard_error, played.mean_turns
        );
        assert!(card.contains(&row), "the card lacks\n{row}");
    }
}

#[test]
fn frozen_lake_4x4_card_tells_what_is_measured() {
    assert_told("frozen-lake-4x4", frozen_lake::world);
}

#[test]
fn frozen_lake_8x8_card_tells_what_is_measured() {
    assert_told("frozen-lake-8x8", frozen_lake::world);
}

#[test]
fn double_t_maze_card_tells_what_is_measured() {
    assert_told("double-t-maze", double_t_maze::world);
}

#[test]
fn cliff_walking_card_tells_what_is_measured() {
    assert_told("cliff-walking", cliff_walking::world);
}
