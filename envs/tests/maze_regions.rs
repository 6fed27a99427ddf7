//! The regions of the double-T maze: consistent with the whole maze, and together sufficient for a learner.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use palestra_envs::grid::Direction;
use palestra_envs::grid_world::GridWorld;
use palestra_envs::policies::{BaselinePolicy, Random, Scripted, mix};
use palestra_envs::record::record;
use palestra_envs::replay::{Replay, Replayer};
use palestra_envs::tabular::Outcome;
use palestra_envs::{Definition, End, Env, Episode, Options, Registry, Rewards, baseline, double_t_maze, exact};

const REGIONS: [&str; 3] = ["left", "right", "stem"];

fn region(name: &str) -> GridWorld {
    double_t_maze::world(&Options::new(format!("region = '{name}'").parse().unwrap())).unwrap()
}

fn whole() -> GridWorld {
    double_t_maze::world(&Options::default()).unwrap()
}

/// Every cell that an episode of the region can be in, and every move that stays in it, with its outcome.
fn moves(world: &GridWorld) -> BTreeMap<(usize, usize), Outcome> {
    let cells = world.rules().reachable().into_iter();
    let all = cells.flat_map(|cell| (0..4).map(move |action| (cell, action)));
    all.map(|at| (at, world.rules().outcomes(at.0, at.1)[0])).filter(|(_, it)| it.end != Some(End::Truncated)).collect()
}

#[test]
fn the_regions_hold_every_cell_and_every_move_and_so_every_shortest_path() {
    let known: BTreeMap<_, _> = REGIONS.iter().flat_map(|name| moves(&region(name))).collect();
    let cells: BTreeSet<usize> = known.iter().flat_map(|(at, it)| [at.0, it.next]).collect();
    assert_eq!((cells.len(), known.len()), (26, 25 * 4));
    assert_eq!(known, moves(&whole()));
}

#[test]
fn no_region_alone_shows_the_way_out_of_an_arm() {
    for name in ["left", "right"] {
        assert!(moves(&region(name)).values().all(|it| it.end.is_none()), "the goal is in {name}");
    }
    let stem: BTreeSet<usize> = region("stem").rules().reachable().into_iter().collect();
    let bar = 13 + 3; // where the left bar meets its stem
    assert!(!stem.contains(&bar) && stem.len() == 9 && region("left").rules().reachable().len() == 12);
}

#[test]
fn every_move_leads_where_it_leads_in_the_whole_maze() {
    let whole = whole();
    for name in REGIONS {
        let part = region(name);
        for cell in part.rules().reachable() {
            assert_eq!(part.observation(cell), whole.observation(cell));
            for action in 0..4 {
                let (here, there) = (part.rules().outcomes(cell, action)[0], whole.rules().outcomes(cell, action)[0]);
                assert_eq!((here.next, here.reward), (there.next, there.reward), "{name}, cell {cell}");
                assert!(here.end == there.end || here.end == Some(End::Truncated));
            }
        }
    }
}

#[test]
fn a_move_out_of_the_region_is_not_listed_and_truncates_beyond_the_border() {
    let mut left = region("left");
    let junction = "You are at row 5, column 6.";
    let seed = (0..).find(|&seed| left.reset(seed).unwrap().content.as_text().starts_with(junction)).unwrap();
    let start = left.reset(seed).unwrap();
    assert_eq!(start.legal_actions.as_deref().unwrap(), ["left", "up"]);
    // The policy waits at the wall above.
    assert_eq!(left.scripted_action().as_deref(), Some("up"));
    let stood = left.step("up").unwrap();
    assert_eq!((stood.observation.content, stood.reward, stood.end), (start.content, -1.0, None));
    let gone = left.step("down").unwrap();
    assert_eq!((gone.end, gone.reward, gone.invalid_action), (Some(End::Truncated), -1.0, false));
    assert!(gone.observation.content.as_text().starts_with("You are at row 6, column 6."));
    assert_eq!(gone.observation.legal_actions.map(|legal| legal.len()), Some(Direction::ALL.len()));
    assert_eq!(
        (&gone.observation.info["solved"], &gone.observation.info["outcome"]),
        (&false.into(), &"border".into())
    );
}

fn recorded(name: &str, policy: &mut dyn BaselinePolicy) -> Vec<Episode> {
    let definition = Definition::named(&format!("double-t-maze-{name}"));
    record(&Registry::builtin(), &definition, 0..400, 0, policy).unwrap().map(Result::unwrap).collect()
}

#[test]
fn logs_of_a_region_keep_to_it_and_play_again() {
    let registry = Registry::builtin();
    let mut replayer = Replayer::new(&registry);
    for name in REGIONS {
        let episodes = recorded(name, &mut mix(0.85, Scripted).unwrap());
        let reasons: BTreeSet<&str> = episodes.iter().filter_map(|it| it.end_reason.as_deref()).collect();
        assert_eq!(reasons, if name == "stem" { ["goal", "limit"].into() } else { ["limit"].into() });
        assert_eq!(episodes[0].env_id, format!("double-t-maze-{name}-v1"));
        // The log covers every observation and every action of the region.
        let turns = episodes.iter().flat_map(|it| &it.turns);
        let done: HashSet<_> = turns.map(|turn| (&turn.observation, &turn.action)).collect();
        assert_eq!(done.len(), moves(&region(name)).len(), "{name}");
        for episode in &episodes[..20] {
            assert_eq!(replayer.replay(episode).unwrap(), Replay::Same);
        }
    }
}

#[test]
fn the_card_tells_what_the_data_of_the_regions_returns() {
    let registry = Registry::builtin();
    let card = registry.entry("double-t-maze").and_then(|entry| entry.card).unwrap();
    let mut sum = 0.0;
    for name in REGIONS {
        let mut policy = mix(0.85, Scripted).unwrap();
        let score = baseline::play_many(&mut region(name), 400, 0, &mut policy, &Rewards::default()).unwrap();
        sum += score.mean_return;
        let row = format!("| `{name}` | {:.2} | {:.1} |", score.mean_return, score.mean_turns);
        assert!(card.contains(&row), "the card lacks\n{row}");
    }
    let mean = format!("a mean return of {:.1}", sum / 3.0);
    assert!(card.contains(&mean), "the card lacks {mean}");
}

#[test]
fn exact_values_of_a_region_are_those_of_its_episodes() {
    let registry = Registry::builtin();
    let random = |name: &str| {
        let definition = Definition::named(&format!("double-t-maze-{name}"));
        let value = registry.exact_value(&definition, &mut |seen| Ok(seen.iter().map(exact::uniform).collect()));
        value.unwrap().unwrap().expected_return
    };
    assert!((random("left") - -100.0).abs() < 1e-9 && (random("right") - -100.0).abs() < 1e-9);
    let score = baseline::play_many(&mut region("stem"), 4_000, 1, &mut Random, &Rewards::default()).unwrap();
    assert!((score.mean_return - random("stem")).abs() < 4.0 * score.standard_error, "{score:?}");
    assert_eq!(region("stem").spec().optimal_return, None);
}
