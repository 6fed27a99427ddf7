//! Reading of logs written by other tools (`../foreign/make.py`), and refusal of files that are not logs.

use std::path::{Path, PathBuf};

use palestra_datasets::log::{Log, ReadOptions};
use palestra_datasets::{End, Episode, Turn};

use crate::made::{episodes, located, open};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name)
}

/// Returns the contents of every fixture.
fn expected() -> Vec<Episode> {
    let turn = |(observation, action, reward): &(&str, &str, f32)| Turn {
        observation: (*observation).into(),
        action: action.to_string(),
        reward: *reward,
        ..Turn::default()
    };
    let episode = |id: &str, end: Option<End>, turns: &[(&str, &str, f32)]| Episode {
        id: id.to_string(),
        turns: turns.iter().map(turn).collect(),
        end,
        end_reason: end.is_none().then(|| "cut".to_string()),
        ..Episode::default()
    };
    let first = ("left or right?", "left", -1.0);
    vec![
        episode("a", Some(End::Terminated), &[first, ("left or right? ü 蛇", "right", 0.5)]),
        episode("b", Some(End::Truncated), &[("", "up", 0.0)]),
        episode("c", None, &[first, ("a line\nand another", "", 2.25)]),
    ]
}

#[test]
fn logs_with_only_the_required_columns_are_read() {
    for name in ["pyarrow_plain", "pyarrow_wide", "polars_default", "duckdb_default"] {
        let log = open(&fixture(&format!("{name}.parquet")));
        assert_eq!(episodes(&log), expected(), "{name}");
        assert_eq!(
            log.outcomes().unwrap().iter().map(|outcome| outcome.total_reward).collect::<Vec<_>>(),
            [-0.5, 0.0, 1.25],
            "{name}"
        );
        assert_eq!(log.info(0).columns.len(), 7, "{name}");
        assert!(!log.info(0).has_checksums && !log.info(0).is_cut, "{name}");
    }
}

#[test]
fn nullable_columns_of_pyarrow_are_read() {
    let mut expected = expected();
    expected[0].env_id = "maze-v1".to_string();
    expected[0].seed = Some(7);
    expected[0].policy_step = 3;
    expected[0].temperature = Some(0.5);
    expected[0].final_observation = Some("home".into());
    expected[0].end_reason = Some("goal".to_string());
    let turns = &mut expected[0].turns;
    (turns[0].prompt_ids, turns[1].prompt_ids) = (Some(vec![1, 2]), Some(vec![]));
    (turns[0].action_ids, turns[1].action_ids) = (Some(vec![5]), Some(vec![6, 7]));
    (turns[0].log_probs, turns[1].log_probs) = (Some(vec![-0.5]), Some(vec![-0.25, 0.0]));
    turns[0].legal_actions = Some(vec!["left".to_string(), "right".to_string()]);
    turns[0].reward_parts = [("rules".to_string(), -1.0)].into();
    turns[0].info = Some("{}".to_string());
    (turns[0].timestamp, turns[1].timestamp) = (Some(1_000_000), Some(2_000_000));
    expected[1].env_id = "maze-v2".to_string();
    expected[1].temperature = Some(1.0);
    expected[1].final_observation = Some("lost".into());
    expected[1].turns[0].invalid_action = true;
    expected[1].turns[0].legal_actions = Some(vec![]);
    expected[1].turns[0].log_probs = Some(vec![-1.0]);
    expected[2].turns[1].prompt_ids = Some(vec![70_000]);
    expected[2].turns[1].legal_actions = Some(vec![String::new()]);
    expected[2].turns[1].reward_parts = [("a".to_string(), 2.0), ("b".to_string(), 0.25)].into();
    assert_eq!(episodes(&open(&fixture("pyarrow_extras.parquet"))), expected);
}

#[test]
fn structs_and_categories_of_polars_are_read() {
    let mut expected = expected();
    expected[0].split = Some("train".to_string());
    let turns = &mut expected[0].turns;
    turns[0].reward_parts = [("rules".to_string(), -1.0)].into();
    turns[1].reward_parts = [("rules".to_string(), 0.5), ("length".to_string(), 0.0)].into();
    turns[0].legal_actions = Some(vec!["left".to_string(), "right".to_string()]);
    (turns[0].prompt_ids, turns[1].prompt_ids) = (Some(vec![1, 2]), Some(vec![]));
    expected[1].turns[0].legal_actions = Some(vec![]);
    assert_eq!(episodes(&open(&fixture("polars_extras.parquet"))), expected);
}

#[test]
fn decimals_maps_and_json_of_duckdb_are_read() {
    let mut expected = expected();
    for turn in expected.iter_mut().flat_map(|episode| &mut episode.turns) {
        (turn.prompt_ids, turn.info) = (Some(vec![1, 2]), Some("{}".to_string()));
    }
    expected[0].turns[0].reward_parts = [("rules".to_string(), -1.0)].into();
    expected[2].turns[1].reward_parts = [("a".to_string(), 2.0), ("b".to_string(), 0.25)].into();
    assert_eq!(episodes(&open(&fixture("duckdb_extras.parquet"))), expected);
}

#[test]
fn an_episode_that_straddles_row_groups_belongs_to_the_first() {
    let log = open(&fixture("pyarrow_wide.parquet"));
    assert_eq!(log.groups().iter().map(|group| group.rows).collect::<Vec<_>>(), [2, 2, 1]);
    let places: Vec<_> = located(&log).iter().map(|located| (located.place.row_group, located.place.row)).collect();
    assert_eq!(places, [(0, 0), (1, 2), (1, 3)]);
    assert_eq!(log.read(&log.groups()[2]).unwrap(), []);
}

#[test]
fn several_files_are_one_log() {
    let all = fixture("*_default.parquet").display().to_string();
    let log = Log::open(&[all], ReadOptions::default()).unwrap();
    assert_eq!(episodes(&log).len(), 6);
    assert_eq!(log.files().len(), 2);
}
