//! Checks that every violation of a rule is found and reported with its location.

use palestra_datasets::check::{CheckOptions, CheckReport, Mismatch, Rule, Verdict, Verified, WarningKind, check};
use palestra_datasets::log::{Log, ReadOptions};
use palestra_datasets::{End, Episode, Error};

use crate::made::*;

fn checked(log: &Log) -> CheckReport {
    check(log, CheckOptions::default()).unwrap()
}

fn report_of(episodes: &[Episode]) -> CheckReport {
    let (_folder, path) = place();
    write(&path, episodes);
    checked(&open(&path))
}

/// Returns the only finding: rule, row group, row, column and reason.
fn only(report: &CheckReport) -> (Rule, usize, u64, &str, &str) {
    let [finding] = report.findings.as_slice() else { panic!("{report}") };
    let (row_group, row) = (finding.row_group.unwrap(), finding.row.unwrap());
    (finding.rule, row_group, row, finding.column.unwrap(), &finding.reason)
}

fn warned(report: &CheckReport) -> Vec<WarningKind> {
    report.warnings.iter().map(|warning| warning.kind).collect()
}

#[test]
fn a_good_log_has_no_findings() {
    let report = report_of(&[episode("a", &[0.0, 1.0]), episode("b", &[0.0])]);
    assert!(report.is_good(), "{report}");
    assert_eq!((report.files, report.rows, report.episodes), (1, 3, 2));
    assert_eq!(report.warnings, []);
    assert!(report.to_string().contains("replay (rule 6): not checked"), "{report}");
    assert!(report.to_string().ends_with("no rule is broken\n"), "{report}");
}

#[test]
fn an_id_belongs_to_one_episode_of_all_files() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("1.parquet"), &[episode("a", &[0.0, 0.0]), episode("b", &[0.0])]);
    write(&folder.path().join("2.parquet"), &[episode("c", &[0.0, 0.0]), episode("b", &[0.0])]);
    let log = Log::open(&[folder.path().to_str().unwrap()], ReadOptions::default()).unwrap();
    let report = checked(&log);
    let (rule, row_group, row, column, reason) = only(&report);
    assert_eq!((rule, row_group, row, column), (Rule::Steps, 1, 2, "episode_id"));
    assert!(reason.starts_with("\"b\" is also the episode at row 2 of ") && reason.contains("1.parquet"), "{reason}");
    assert!(report.findings[0].to_string().contains("2.parquet: row 2 (row group 1), column episode_id, rule 1"));
}

#[test]
fn what_the_reader_refuses_is_found_and_the_rest_is_read_on() {
    let (_folder, path) = place();
    let rows = [
        ("a", 0, 0.0, false, false),
        ("a", 2, 0.0, true, false),
        ("b", 0, f32::NAN, true, false),
        ("c", 0, 0.0, true, false),
        ("c", 1, 0.0, false, true),
        ("d", 0, 0.0, true, false),
    ];
    write_foreign(&path, &rows);
    let report = checked(&open(&path));
    let found: Vec<_> = report.findings.iter().map(|one| (one.rule, one.row.unwrap(), one.column.unwrap())).collect();
    assert_eq!(found, [(Rule::Steps, 1, "step"), (Rule::Rewards, 2, "reward"), (Rule::Ends, 4, "terminated")]);
    assert_eq!((report.episodes, report.rows), (1, 1));
    assert!(report.findings[0].reason.starts_with("2 where 1 should be"), "{report}");
}

#[test]
fn with_skip_bad_nothing_is_hidden() {
    let folder = tempfile::tempdir().unwrap();
    write_foreign(&folder.path().join("1.parquet"), &[("a", 0, f32::NAN, true, false), ("b", 0, 0.0, true, false)]);
    std::fs::write(folder.path().join("2.parquet"), "no Parquet").unwrap();
    let options = ReadOptions { skip_bad: true, ..ReadOptions::default() };
    let log = Log::open(&[folder.path().to_str().unwrap()], options).unwrap();
    let report = checked(&log);
    assert_eq!(report.breaches, [(Rule::Readable, 2)].into());
    assert!(!report.is_good());
}

#[test]
fn only_so_many_findings_are_told_and_all_are_counted() {
    let (_folder, path) = place();
    let ids: Vec<String> = (0..8).map(|number| number.to_string()).collect();
    let rows: Vec<_> = ids.iter().map(|id| (id.as_str(), 0, f32::INFINITY, true, false)).collect();
    write_foreign(&path, &rows);
    let report = check(&open(&path), CheckOptions { max_findings: 3, ..CheckOptions::default() }).unwrap();
    assert_eq!((report.findings.len(), report.breaches[&Rule::Rewards]), (3, 8));
    assert!(report.to_string().contains("... and 5 more"), "{report}");
}

#[test]
fn an_end_reason_says_what_the_flags_say() {
    let mut no_flag = episode("a", &[0.0, 0.0]);
    (no_flag.end, no_flag.end_reason) = (None, Some("limit".to_string()));
    let report = report_of(&[episode("0", &[0.0]), no_flag]);
    let (rule, row_group, row, column, reason) = only(&report);
    assert_eq!((rule, row_group, row, column), (Rule::Ends, 1, 2, "end_reason"));
    assert!(reason.starts_with("\"limit\" on the last row"), "{reason}");

    let mut cut = episode("a", &[0.0]);
    cut.end_reason = Some("cut".to_string());
    assert!(only(&report_of(&[cut])).4.contains("terminated is set"));

    let mut said = episode("a", &[0.0]);
    (said.end, said.end_reason) = (None, None);
    assert!(report_of(&[said]).is_good());
}

#[test]
fn parts_of_a_reward_add_up_to_it() {
    let mut off = episode("a", &[1.0, 0.5]);
    off.turns[0].reward_parts = [("x".to_string(), 0.7), ("y".to_string(), 0.3)].into();
    off.turns[1].reward_parts = [("x".to_string(), 0.5), ("y".to_string(), 0.001)].into();
    let report = report_of(&[off]);
    let (rule, _, row, column, reason) = only(&report);
    assert_eq!((rule, row, column), (Rule::Rewards, 1, "reward_parts"));
    assert!(reason.contains("reward is 0.5"), "{reason}");

    let mut large = episode("a", &[1.0]);
    large.turns[0].reward = 1e8 + 0.1 - 1e8;
    large.turns[0].reward_parts = [("x".to_string(), 1e8), ("y".to_string(), -1e8), ("z".to_string(), 0.1)].into();
    assert!(report_of(&[large]).is_good(), "what rounding loses is no error");
}

#[test]
fn a_seed_of_an_environment_stands_in_one_split() {
    let seeded = |id: &str, env: &str, seed, split: &str| Episode {
        env_id: env.to_string(),
        seed: Some(seed),
        split: Some(split.to_string()),
        ..episode(id, &[0.0])
    };
    let good = [
        seeded("a", "maze-v1", 1, "train"),
        seeded("b", "maze-v1", 1, "train"),
        seeded("c", "maze-v1", 2, "test"),
        seeded("d", "snake-v1", 1, "test"),
        seeded("e", "", 1, "test"),
    ];
    assert!(report_of(&good).is_good());
    let mut bad = good.to_vec();
    bad.push(seeded("f", "maze-v1", 1, "test"));
    let report = report_of(&bad);
    let (rule, row_group, row, column, reason) = only(&report);
    assert_eq!((rule, row_group, row, column), (Rule::Splits, 5, 5, "split"));
    assert!(reason.contains("seed 1, is of split \"train\""), "{reason}");
}

#[test]
fn a_check_from_outside_is_asked_of_every_episode() {
    let (_folder, path) = place();
    write(&path, &[episode("a", &[0.0]), episode("b", &[0.0, 0.0]), episode("c", &[0.0])]);
    let mut replay = |episode: &Episode| {
        let mismatch = Mismatch { step: 1, column: "reward", logged: "0".to_string(), right: "1".to_string() };
        Ok(match episode.id.as_str() {
            "a" => Verdict::Right,
            "b" => Verdict::Wrong(mismatch),
            _ => Verdict::Unknown,
        })
    };
    let options = CheckOptions { replay: Some(&mut replay), ..CheckOptions::default() };
    let report = check(&open(&path), options).unwrap();
    assert_eq!(only(&report), (Rule::Replay, 1, 2, "reward", "0 is logged, and 1 would be right"));
    assert_eq!(report.replayed, Some(Verified { right: 1, wrong: 1, unknown: 1 }));
    assert_eq!(report.decoded, None);

    let mut broken = |_: &Episode| Err(Error::NoFiles { pattern: "x".to_string(), reason: "no tokenizer".to_string() });
    let options = CheckOptions { decode: Some(&mut broken), ..CheckOptions::default() };
    assert!(check(&open(&path), options).is_err());
}

#[test]
fn near_expert_play_is_named() {
    let of = |returns: &[f32]| {
        let numbered = returns.iter().enumerate();
        let episodes: Vec<_> = numbered.map(|(number, total)| episode(&number.to_string(), &[*total])).collect();
        warned(&report_of(&episodes))
    };
    let mut expert = vec![1.0; 49];
    expert.push(0.0);
    assert_eq!(of(&expert), [WarningKind::NearExpert]);
    assert_eq!(of(&[1.0, 1.0, 1.0]), [WarningKind::EqualReturns]);
    assert_eq!(of(&[0.0, 1.0, 1.0]), []);
    // One very bad episode does not make all others near-expert.
    let mut mixed: Vec<f32> = (0..50).map(|number| number as f32).collect();
    mixed[0] = -1e6;
    assert_eq!(of(&mixed), []);
}

#[test]
fn what_stands_in_the_way_of_learning_is_told() {
    let plain = || episode("x", &[0.0, 1.0]);
    let named = |id: &str, episode: Episode| Episode { id: id.to_string(), ..episode };
    let mut unread = named("b", plain());
    unread.turns[0].observation = "other".into();
    unread.turns[0].invalid_action = true;
    unread.turns[1].log_probs = None;
    unread.turns[1].reward = 0.0;
    let mut stopped = episode("c", &[0.0]);
    stopped.end = Some(End::Truncated);
    let mut cut = episode("d", &[0.0]);
    cut.end = None;
    let report = report_of(&[named("a", plain()), named("a2", plain()), unread, stopped, cut]);
    let expected = [
        WarningKind::CutEpisodes,
        WarningKind::NoFinalObservation,
        WarningKind::NoLogProbs,
        WarningKind::InvalidActions,
        WarningKind::Duplicates,
    ];
    assert_eq!(warned(&report), expected);
    assert!(report.is_good(), "warnings are no errors");
    let coverage = &report.coverage;
    assert_eq!((coverage.duplicates.count, coverage.duplicates.of), (1, 5));
    assert_eq!((coverage.invalid_actions.count, coverage.invalid_actions.of), (1, 8));
    assert_eq!((coverage.log_probs.count, coverage.log_probs.of), (7, 8));
    assert_eq!(coverage.truncated_without_final_observation.of, 1);
}

#[test]
fn a_file_without_its_end_is_told_of() {
    let (_folder, path) = place();
    write(&path, &[episode("a", &[0.0]), episode("b", &[1.0])]);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let report = checked(&open(&path));
    assert_eq!(warned(&report), [WarningKind::CutFile]);
}
