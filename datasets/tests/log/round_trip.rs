//! Checks that episodes are read as they were written.

use palestra_datasets::log::{Columns, Log, LogWriter, ReadOptions, WriteOptions};
use palestra_datasets::{End, Episode, Turn};

use crate::made::*;

#[test]
fn every_field_comes_back() {
    let (_folder, path) = place();
    let written: Vec<Episode> = (0..9).map(full).chain((0..5).map(bare)).collect();
    let rows = write(&path, &written, 4);
    assert_eq!(rows, written.iter().map(|episode| episode.turns.len() as u64).sum::<u64>());
    let log = open(&path);
    assert_eq!(episodes(&log), written);
    assert_eq!(log.groups().len(), 4);
    assert_eq!(log.groups().iter().map(|group| group.rows).sum::<u64>(), rows);
    let info = log.info(0);
    assert_eq!((info.rows, info.row_groups, info.is_cut, info.has_checksums), (rows, 4, false, true));
    assert_eq!(info.columns.len(), 31);
}

#[test]
fn an_empty_log_is_a_log() {
    let (_folder, path) = place();
    assert_eq!(LogWriter::create(&path, WriteOptions::default()).unwrap().finish().unwrap(), 0);
    assert_eq!(episodes(&open(&path)), []);
}

#[test]
fn places_count_rows_through_the_file() {
    let (_folder, path) = place();
    let written: Vec<Episode> = (0..8).map(full).collect();
    write(&path, &written, 3);
    let read = located(&open(&path));
    assert_eq!(read.iter().map(|located| located.episode.clone()).collect::<Vec<_>>(), written);
    assert_eq!(read.iter().map(|located| located.place.row).collect::<Vec<_>>(), [0, 1, 3, 6, 10, 11, 13, 16]);
    assert_eq!(read.iter().map(|located| located.place.row_group).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1, 2, 2]);
}

#[test]
fn row_groups_end_after_the_episode_that_reaches_the_limit() {
    let (_folder, path) = place();
    let options = WriteOptions { row_group_rows: 5, ..WriteOptions::default() };
    let mut writer = LogWriter::create(&path, options).unwrap();
    (0..8).map(full).for_each(|episode| writer.write(&episode).unwrap());
    writer.finish().unwrap();
    assert_eq!(open(&path).groups().iter().map(|group| group.rows).collect::<Vec<_>>(), [6, 5, 5, 4]);

    let (_folder, path) = place();
    let options = WriteOptions { row_group_bytes: 1, ..WriteOptions::default() };
    let mut writer = LogWriter::create(&path, options).unwrap();
    (0..3).map(full).for_each(|episode| writer.write(&episode).unwrap());
    writer.finish().unwrap();
    assert_eq!(open(&path).groups().iter().map(|group| group.rows).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn learners_get_all_but_the_record() {
    let (_folder, path) = place();
    write(&path, &[full(3)], 1);
    let log = try_open(&path, ReadOptions { columns: Columns::Learning, ..ReadOptions::default() }).unwrap();
    let mut expected = full(3);
    (expected.env_spec, expected.reward_source, expected.rater_id) = (None, None, None);
    for turn in &mut expected.turns {
        (turn.info, turn.timestamp) = (None, None);
    }
    assert_eq!(episodes(&log), [expected]);
    assert!(log.groups()[0].bytes < open(&path).groups()[0].bytes);
}

#[test]
fn returns_are_sums_of_rewards() {
    let (_folder, path) = place();
    write(&path, &[full(0), full(3), bare(1)], 2);
    assert_eq!(
        open(&path).outcomes().unwrap().iter().map(|outcome| outcome.total_reward).collect::<Vec<_>>(),
        [-1.0, -2.5, -2.0]
    );
    let rewards = try_open(&path, ReadOptions { columns: Columns::Rewards, ..ReadOptions::default() }).unwrap();
    let lengths: Vec<usize> = episodes(&rewards).iter().map(|episode| episode.turns.len()).collect();
    assert_eq!(lengths, [1, 4, 2]);
}

#[test]
fn an_episode_without_an_end_was_cut() {
    let (_folder, path) = place();
    let cut = |reason: Option<&str>| Episode { end: None, end_reason: reason.map(str::to_owned), ..bare(1) };
    write(&path, &[cut(None), Episode { id: "b".into(), ..cut(Some("killed")) }], 1);
    let read = episodes(&open(&path));
    assert_eq!(read.iter().map(|episode| episode.end).collect::<Vec<_>>(), [None, None]);
    assert_eq!(read[0].end_reason.as_deref(), Some("cut"));
    assert_eq!(read[1].end_reason.as_deref(), Some("killed"));
}

#[test]
fn portions_hold_whole_episodes() {
    let (_folder, path) = place();
    let written: Vec<Episode> = (0..20).map(full).collect();
    write(&path, &written, 100);
    let log = open(&path);
    let portions: Vec<Vec<_>> = log.read_chunks(&log.groups()[0], 200).map(Result::unwrap).collect();
    assert!(portions.len() > 5, "{} portions", portions.len());
    let read: Vec<Episode> = portions.into_iter().flatten().map(|located| located.episode).collect();
    assert_eq!(read, written);
}

#[test]
fn many_threads_read_one_log() {
    let (_folder, path) = place();
    let written: Vec<Episode> = (0..40).map(full).collect();
    write(&path, &written, 3);
    let log = open(&path);
    let read = std::thread::scope(|scope| {
        let read = |group| {
            scope.spawn({
                let log = &log;
                move || log.read(group).unwrap()
            })
        };
        let threads: Vec<_> = log.groups().iter().map(read).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).map(|located| located.episode).collect::<Vec<_>>()
    });
    assert_eq!(read, written);
}

#[test]
fn a_log_is_never_written_over() {
    let (_folder, path) = place();
    write(&path, &[bare(0)], 1);
    let error = LogWriter::create(&path, WriteOptions::default()).err().unwrap().to_string();
    assert!(error.contains("log.parquet: there is a file already"), "{error}");
}

#[test]
fn an_episode_that_breaks_the_rules_is_refused_whole() {
    let (_folder, path) = place();
    let mut writer = LogWriter::create(&path, WriteOptions::default()).unwrap();
    let with = |change: fn(&mut Turn)| {
        let mut episode = full(3);
        change(&mut episode.turns[2]);
        episode
    };
    let refused = [
        (Episode { id: String::new(), ..full(1) }, "episode \"\", step 0, episode_id: is empty"),
        (Episode { turns: Vec::new(), ..full(1) }, "step: the episode has no turns"),
        (Episode { top_p: Some(f32::NAN), ..full(1) }, "top_p: NaN is not a finite number"),
        (with(|turn| turn.reward = f32::NAN), "step 2, reward: NaN is not a finite number"),
        (with(|turn| turn.reward_parts = [("a".to_string(), f32::INFINITY)].into()), "reward_parts: a is inf"),
        (with(|turn| turn.log_probs = Some(vec![-1.0])), "log_probs: 1 numbers where 3 should be"),
        (with(|turn| turn.log_probs = Some(vec![-1.0, 0.5, -1.0])), "log_probs: 0.5 is not a log-probability"),
        (with(|turn| turn.action_ids = None), "log_probs: 3 numbers where 1 should be"),
    ];
    writer.write(&full(0)).unwrap();
    for (episode, expected) in refused {
        let error = writer.write(&episode).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    writer.write(&bare(2)).unwrap();
    writer.finish().unwrap();
    assert_eq!(episodes(&open(&path)), [full(0), bare(2)]);
}

#[test]
fn one_log_probability_stands_for_an_action_without_ids() {
    let (_folder, path) = place();
    let mut episode = bare(0);
    episode.turns[0].log_probs = Some(vec![-0.5]);
    write(&path, std::slice::from_ref(&episode), 1);
    assert_eq!(episodes(&open(&path)), [episode]);
}

#[test]
fn files_folders_and_patterns_are_found_and_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("b/deep [1]")).unwrap();
    for (name, number) in [("c.parquet", 3), ("b/x.parquet", 1), ("b/deep [1]/y.parquet", 2), ("a.parquet", 0)] {
        write(&path(name), &[Episode { end: Some(End::Truncated), ..full(number) }], 1);
    }
    std::fs::write(path("b/notes.txt"), "no log").unwrap();
    let ids = |patterns: &[&str]| {
        let patterns: Vec<String> = patterns.iter().map(|pattern| path(pattern).display().to_string()).collect();
        let log = Log::open(&patterns, ReadOptions::default()).map_err(|error| error.to_string())?;
        Ok::<_, String>(
            episodes(&log).iter().map(|episode| episode.seed.unwrap().wrapping_neg() - 1).collect::<Vec<_>>(),
        )
    };
    assert_eq!(ids(&[""]), Ok(vec![0, 2, 1, 3]));
    assert_eq!(ids(&["b/deep [1]"]), Ok(vec![2]));
    assert_eq!(ids(&["b/deep [1]/y.parquet"]), Ok(vec![2]));
    assert_eq!(ids(&["c.parquet", "*.parquet"]), Ok(vec![0, 3]));
    let error = |pattern: &str| ids(&["a.parquet", pattern]).unwrap_err();
    assert!(error("d/*.parquet").contains("d/*.parquet: no file matches this pattern"));
    assert!(error("d.parquet").contains("d.parquet: no such file or folder"));
    std::fs::create_dir(path("empty")).unwrap();
    assert!(error("empty").contains("empty: a folder without any *.parquet file"));
    let none: [&str; 0] = [];
    assert!(Log::open(&none, ReadOptions::default()).err().unwrap().to_string().contains("no file was named"));
}
