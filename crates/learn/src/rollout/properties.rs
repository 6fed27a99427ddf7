//! Properties of rollouts, for random numbers of environments and orders of work. `cargo xtask campaign properties` runs more
//! cases.

use palestra_testing::{assert_close, property_cases};
use proptest::prelude::*;

use super::tests::{assert_same_tokens, each_rollout};
use super::*;

fn contexts() -> impl Strategy<Value = Context> {
    prop::sample::select(vec![Context::Observation, Context::Transcript])
}

proptest! {
    #![proptest_config(property_cases(2))]

    #[test]
    fn any_order_of_environments_gives_the_same_episodes(
        context in contexts(),
        seed: u64,
        first in 0_u64..1000,
        count in 1_u64..14,
        cut in 0_u64..14,
        environments in 1_usize..8,
        rows in prop::option::of(1_usize..8),
        schedule in prop::sample::select(vec![Schedule::Fixed, Schedule::Ready]),
    ) {
        let episodes = first..first + count;
        let middle = first + cut.min(count);
        each_rollout(context, 1, |mut alone, policy| {
            let (expected, _) = alone.play(policy, seed, episodes.clone(), &Sampling::default()).unwrap();
            each_rollout(context, environments, |mut rollout, other| {
                if other.transformer.device() != policy.transformer.device() {
                    return;
                }
                (rollout.config.rows, rollout.config.schedule) = (rows, Some(schedule));
                // In two rollouts rather than in one, and the later episodes first.
                let (late, _) = rollout.play(policy, seed, middle..episodes.end, &Sampling::default()).unwrap();
                let (early, _) = rollout.play(policy, seed, episodes.start..middle, &Sampling::default()).unwrap();
                assert_eq!(early.len() + late.len(), expected.len());
                for (found, expected) in early.iter().chain(&late).zip(&expected) {
                    assert_eq!(found.episode.id, expected.episode.id);
                    assert_same_tokens(&found.trajectory, &expected.trajectory);
                    let numbers = |it: &RolloutResult| {
                        it.trajectory.actions().flat_map(|action| [action.log_prob, action.value]).collect::<Vec<_>>()
                    };
                    assert_close!(numbers(found), numbers(expected), 1e-4);
                }
            });
        });
    }
}
