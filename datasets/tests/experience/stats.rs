//! Statistics of small logs, counted by hand.

use palestra_datasets::stats::{Distinct, Named, Stats, StatsOptions, stats};
use palestra_datasets::{End, Episode};

use crate::made::*;

fn stats_of(episodes: &[Episode], options: &StatsOptions) -> Stats {
    let (_folder, path) = place();
    write(&path, episodes);
    stats(&open(&path), options).unwrap()
}

/// Returns three episodes in a corridor of two cells.
fn corridor() -> Vec<Episode> {
    let legal = |actions: &[&str]| Some(actions.iter().map(ToString::to_string).collect());
    let mut one = Episode { env_id: "corridor-v1".to_string(), ..episode("1", &[-1.0, -1.0, 2.0]) };
    for (turn, (observation, action, legal_actions)) in one.turns.iter_mut().zip([
        ("left end", "stay\n", legal(&["stay", "right"])),
        ("left end", "right", legal(&["stay", "right"])),
        ("right end", "jump", legal(&["left", "exit", "stay"])),
    ]) {
        (turn.observation, turn.action, turn.legal_actions) = (observation.into(), action.to_string(), legal_actions);
    }
    one.turns[2].invalid_action = true;
    (one.policy_id, one.split, one.end_reason) =
        ("random".to_string(), Some("train".to_string()), Some("goal".to_string()));
    let mut two = Episode { id: "2".to_string(), end: Some(End::Truncated), ..one.clone() };
    two.turns.truncate(1);
    two.turns[0].log_probs = None;
    let three = Episode { id: "3".to_string(), end: None, end_reason: None, ..two.clone() };
    vec![one, two, three]
}

#[test]
fn everything_is_counted() {
    let stats = stats_of(&corridor(), &StatsOptions::default());
    assert_eq!((stats.files, stats.cut_files, stats.row_groups), (1, 0, 3));
    assert_eq!((stats.rows, stats.episodes, stats.skipped), (5, 3, 0));
    assert_eq!(stats.columns.len(), 31);
    let returns = stats.returns.as_ref().unwrap();
    assert_eq!((returns.mean, returns.min, returns.max), (-2.0 / 3.0, -1.0, 0.0));
    assert_eq!(returns.histogram.counts, [2, 1]);
    assert_eq!(stats.lengths.as_ref().unwrap().max, 3.0);
    let rewards = stats.rewards.as_ref().unwrap();
    assert!((rewards.mean + 0.4).abs() < 1e-12 && (rewards.std - 1.2).abs() < 1e-12, "{rewards:?}");
    assert_eq!(rewards.values.top[0], Named { name: "-1".to_string(), count: 4 });
    let ends = &stats.ends;
    assert_eq!((ends.terminated, ends.truncated, ends.cut), (1, 1, 1));
    assert_eq!(ends.truncated_without_final_observation, 1);
    let reasons: Vec<_> = ends.reasons.top.iter().map(|named| (named.name.as_str(), named.count)).collect();
    assert_eq!(reasons, [("goal", 2), ("cut", 1)]);
    assert_eq!((stats.invalid_actions.count, stats.invalid_actions.of), (1, 5));
    assert_eq!((stats.log_probs.count, stats.action_ids.count), (3, 0));
    assert_eq!(stats.actions.top[0], Named { name: "stay\n".to_string(), count: 3 });
    assert_eq!(stats.policies.top, [Named { name: "random".to_string(), count: 3 }]);
    assert_eq!(stats.envs.top[0].name, "corridor-v1");
    assert_eq!(stats.splits.top[0].name, "train");
}

#[test]
fn coverage_counts_states_and_what_was_tried_in_them() {
    let coverage = stats_of(&corridor(), &StatsOptions::default()).coverage;
    assert_eq!(coverage.observations, Distinct { count: 2, more: false });
    assert_eq!(coverage.pairs, Distinct { count: 3, more: false });
    // At the left end, both of stay and right were tried; at the right end, none of three: jump is not legal there.
    let tried = coverage.legal_actions_tried.unwrap();
    assert_eq!((tried.count, tried.of, tried.share), (2, 5, 0.4));
    assert_eq!(stats_of(&[episode("a", &[0.0])], &StatsOptions::default()).coverage.legal_actions_tried, None);
}

#[test]
fn the_same_text_in_another_environment_is_another_state() {
    let mut other = corridor();
    other[1].env_id = "other-v1".to_string();
    let coverage = stats_of(&other, &StatsOptions::default()).coverage;
    assert_eq!((coverage.observations.count, coverage.pairs.count), (3, 4));
}

#[test]
fn counting_stops_where_memory_would_not() {
    let many: Vec<_> = (0..9).map(|number| episode(&number.to_string(), &[number as f32])).collect();
    let stats = stats_of(&many, &StatsOptions { top: 2, max_distinct: 4 });
    assert_eq!(stats.coverage.observations, Distinct { count: 4, more: true });
    let values = &stats.rewards.as_ref().unwrap().values;
    assert_eq!((values.top.len(), values.others, values.total()), (2, 7, 9));
    assert!(stats.to_string().contains("more than 4 different"), "{stats}");
}

#[test]
fn an_empty_log_has_nothing() {
    let stats = stats_of(&[], &StatsOptions::default());
    assert_eq!((stats.rows, stats.returns.is_none(), stats.rewards.is_none()), (0, true, true));
    assert!(stats.to_string().contains("Episodes        0"), "{stats}");
}

#[test]
fn it_is_laid_out_for_people_and_for_programs() {
    let (_folder, path) = place();
    write(&path, &corridor());
    let stats = stats(&open(&path), &StatsOptions::default()).unwrap();
    let json = serde_json::to_value(&stats).unwrap();
    assert_eq!(json["ends"]["truncated"], 1);
    assert_eq!(json["returns"]["histogram"]["counts"], serde_json::json!([2, 1]));
    let text = stats.to_string();
    let from_returns: String = text
        .lines()
        .skip_while(|line| !line.starts_with("Returns"))
        .fold(String::new(), |all, line| all + line.trim_end() + "\n");
    assert_eq!(from_returns, EXPECTED, "{text}");
}

const EXPECTED: &str = "\
Returns         mean -0.6667, std 0.4714, min -1, quartiles -1 -1 -0.5, max 0
                  -1 | ######################################## 2
                   0 | ####################                     1
Lengths         mean 1.667, std 0.9428, min 1, quartiles 1 1 2, max 3
                  1 | ######################################## 2
                  2 |                                          0
                  3 | ####################                     1
Rewards         mean -0.4, std 1.2, min -1, max 2
                2 different in 5 turns
                  -1  4    80 %
                  2   1    20 %

Ends            1 terminated, 1 truncated, 1 cut
                1 truncated without a final observation
End reasons     2 different in 3 episodes
                  goal  2  66.7 %
                  cut   1  33.3 %

Actions         3 different in 5 turns
                  stay\\n  3    60 %
                  jump    1    20 %
                  right   1    20 %
Invalid actions in 1 of 5 (20 %) turns
Log-probs       in 3 of 5 (60 %) turns
Action ids      in 0 of 5 (0 %) turns
Observations    2 different
                3 different pairs of observation and action
Legal actions   2 of 5 (40 %) tried, of the observations that list them

Environments    corridor-v1 in all 3 episodes
Policies        random in all 3 episodes
Splits          train in all 3 episodes
";
