use std::collections::BTreeMap;
use std::path::Path;

use palestra_datasets::log::{Columns, Located, Log, LogWriter, ReadOptions, WriteOptions};
use palestra_datasets::{End, Episode, Turn};

use super::replay::Drawn;
use super::*;
use crate::batch::Next;
use crate::encoder::{Context, Encoder, Encoding};
use crate::learners::TruncatedEpisodes;
use palestra_text::Tokenizer;

fn encoder(context: Context, max_length: usize) -> Encoder {
    let encoding = Encoding { context, max_length, history: None, legal_actions_only: true, return_to_go: None };
    Encoder::new(Tokenizer::from_alphabet("abcdefgh").unwrap(), encoding)
}

/// An episode that observes the letters one after the other, writes `a` and receives the rewards 1, 2, 3, ...
fn episode(id: usize, turns: usize, end: Option<End>) -> Episode {
    let letter = |turn: usize| ["b", "c", "d", "e", "f", "g"][turn % 6].to_string();
    let turn = |turn: usize| Turn {
        observation: letter(turn).into(),
        action: "a".into(),
        reward: (turn + 1) as f32,
        ..Turn::default()
    };
    Episode {
        id: format!("episode {id}"),
        turns: (0..turns).map(turn).collect(),
        final_observation: Some(letter(turns).into()),
        end,
        ..Episode::default()
    }
}

const CUTTING: Chunking =
    Chunking { turns: 2, gamma: 0.5, gamma_token: 1.0, with_next: true, truncated: TruncatedEpisodes::Whole };

#[test]
fn an_episode_is_cut_into_stretches_that_lead_to_each_other() {
    let mut encoder = encoder(Context::Observation, 8);
    let trajectory = encoder.trajectory(&episode(0, 5, Some(End::Truncated))).unwrap();
    let prompts: Vec<Vec<u32>> =
        ["d", "f", "g"].map(|seen| encoder.prompt(&[], &[], &seen.into(), None, 0).unwrap()).into();
    let chunks = CUTTING.cut(trajectory);
    let turns: Vec<usize> = chunks.iter().map(|chunk| chunk.turns()).collect();
    assert_eq!(turns, [2, 2, 1]);
    let next: Vec<&Next> = chunks.iter().map(|chunk| &chunk.next).collect();
    let expected: Vec<Next> = prompts.into_iter().map(|prompt| Next::State(prompt, None)).collect();
    assert_eq!(next, expected.iter().collect::<Vec<_>>());
    // Actions are `a` and the end token. Turns are discounted, tokens inside are not: R = 1 + .5 (2 + .5 (3 + ...)).
    let mut after = 0.0f32;
    let mut returns: Vec<f32> = (1..=5u8)
        .rev()
        .map(|reward| {
            after = f32::from(reward) + 0.5 * after;
            after
        })
        .collect();
    returns.reverse();
    let found: Vec<f32> = chunks.iter().flat_map(|chunk| chunk.returns.clone()).collect();
    assert_eq!(found, returns.iter().flat_map(|&r| [r, r]).collect::<Vec<_>>());
    assert_eq!(chunks[0].discounts, [1.0, 0.5, 1.0, 0.5]);
}

#[test]
fn each_kind_of_end_leads_somewhere_else() {
    let end = |episode: &Episode, chunking: Chunking| {
        let trajectory = encoder(Context::Observation, 8).trajectory(episode).unwrap();
        chunking.cut(trajectory).pop().unwrap().next
    };
    assert_eq!(end(&episode(0, 3, Some(End::Terminated)), CUTTING), Next::Nothing);
    assert!(matches!(end(&episode(0, 3, Some(End::Truncated)), CUTTING), Next::State(..)));
    let without_last = Episode { final_observation: None, ..episode(0, 3, Some(End::Truncated)) };
    assert_eq!(end(&without_last, CUTTING), Next::Unknown);
    assert_eq!(end(&episode(0, 3, None), CUTTING), Next::Unknown, "a log that was cut does not say what followed");
    let alone = Chunking { with_next: false, ..CUTTING };
    assert_eq!(end(&episode(0, 3, Some(End::Terminated)), alone), Next::Nothing);
    assert_eq!(end(&episode(0, 3, Some(End::Truncated)), alone), Next::Unknown);
}

#[test]
fn returns_of_a_truncated_episode_go_on_in_its_final_observation_or_are_left_out() {
    let mut encoder = encoder(Context::Observation, 8);
    let final_prompt = encoder.prompt(&[], &[], &"g".into(), None, 0).unwrap();
    let mut trajectory = |episode: &Episode| encoder.trajectory(episode).unwrap();
    let terminated = episode(0, 5, Some(End::Terminated));
    let truncated = episode(0, 5, Some(End::Truncated));
    let without_last = Episode { final_observation: None, ..truncated.clone() };
    let log_cut_short = episode(0, 5, None);
    let bootstrap = Chunking { with_next: false, truncated: TruncatedEpisodes::Bootstrap, ..CUTTING };
    let leave_out = Chunking { truncated: TruncatedEpisodes::LeaveOut, ..bootstrap };
    let whole = Chunking { truncated: TruncatedEpisodes::Whole, ..bootstrap };
    let episodes = [&terminated, &truncated, &without_last, &log_cut_short];
    for (chunking, used) in
        [(bootstrap, [true, true, false, false]), (leave_out, [true, false, false, false]), (whole, [true; 4])]
    {
        assert_eq!(
            episodes.map(|episode| chunking.has_returns(&trajectory(episode))),
            used,
            "{:?}",
            chunking.truncated
        );
    }
    let chunks = bootstrap.cut(trajectory(&truncated));
    assert!(chunks.iter().all(|chunk| chunk.next == Next::State(final_prompt.clone(), None)), "{chunks:?}");
    // Two tokens a turn, gamma 1/2 a turn: V(g) counts (1/2)^5 in the return of the first turn, and 1/2 in that of the last.
    let discounts: Vec<f32> = chunks.iter().flat_map(|chunk| chunk.return_discounts.clone()).collect();
    assert_eq!(discounts, [5, 4, 3, 2, 1].map(|turns| [0.5f32.powi(turns); 2]).concat());
    let complete = bootstrap.cut(trajectory(&terminated));
    assert!(complete.iter().all(|chunk| chunk.return_discounts.iter().all(|&discount| discount == 0.0)));
    assert_eq!(complete[0].returns, chunks[0].returns, "rewards are the same");
}

#[test]
fn episodes_that_are_left_out_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    let mut writer = LogWriter::create(&path, WriteOptions::default()).unwrap();
    for (id, end) in [End::Terminated, End::Truncated, End::Truncated].into_iter().enumerate() {
        writer.write(&episode(id, 2, Some(end))).unwrap();
    }
    writer.finish().unwrap();
    let source = |truncated: TruncatedEpisodes| {
        let selection = Selection {
            encoder: encoder(Context::Observation, 8),
            chunking: Chunking { truncated, ..CUTTING },
            split: None,
            least_return: None,
            resample: None,
        };
        ReplaySource::new(open(folder.path()), selection, DataConfig::default(), 0, Default::default())
    };
    let counts = |truncated: TruncatedEpisodes| {
        let mut source = source(truncated);
        source.try_out().unwrap();
        let metrics = Source::<crate::learners::offline::OfflineLearner>::end(&mut source);
        (metrics["data/episodes_read"], metrics["data/episodes_left_out"])
    };
    assert_eq!(counts(TruncatedEpisodes::Whole), (3.0, 0.0));
    assert_eq!(counts(TruncatedEpisodes::Bootstrap), (3.0, 0.0));
    assert_eq!(counts(TruncatedEpisodes::LeaveOut), (1.0, 2.0));
}

#[test]
fn what_the_model_reads_in_one_go_is_not_cut() {
    let trajectory = encoder(Context::Transcript, 64).trajectory(&episode(0, 5, Some(End::Terminated))).unwrap();
    assert_eq!(trajectory.segments.len(), 1);
    let chunks = CUTTING.cut(trajectory);
    assert_eq!((chunks.len(), chunks[0].turns()), (1, 5));
}

/// A log of the given number of episodes, in small row groups.
fn log_of(folder: &Path, episodes: usize) -> Log {
    let path = folder.join("log.parquet");
    let options = WriteOptions { row_group_rows: 40, ..WriteOptions::default() };
    let mut writer = LogWriter::create(&path, options).unwrap();
    for id in 0..episodes {
        writer.write(&episode(id, 1 + id % 5, Some(End::Terminated))).unwrap();
    }
    writer.finish().unwrap();
    open(folder)
}

fn open(folder: &Path) -> Log {
    let options = ReadOptions { columns: Columns::Learning, ..ReadOptions::default() };
    Log::open(&[folder.join("log.parquet").display().to_string()], options).unwrap()
}

/// A source whose windows hold one row group each, or all.
fn source(log: Log, window_bytes: u64, seed: u64) -> ReplaySource {
    resampled(log, window_bytes, seed, None)
}

/// Same as [`source`], from a resample of the log.
fn resampled(log: Log, window_bytes: u64, seed: u64, resample: Option<u64>) -> ReplaySource {
    let encoder = encoder(Context::Observation, 8);
    let selection = Selection { encoder, chunking: CUTTING, split: None, least_return: None, resample };
    let config = DataConfig { batch: 7, ..DataConfig::default() };
    ReplaySource::with_window(log, selection, config, window_bytes, seed, Default::default())
}

/// Chunks drawn in each of the given number of steps.
fn drawn(source: &mut ReplaySource, steps: usize) -> Vec<Drawn> {
    (0..steps).map(|_| source.draw().unwrap()).collect()
}

#[test]
fn an_epoch_shows_every_stretch_once_in_an_order_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of(folder.path(), 100);
    let all: usize = (0..100usize).map(|id| (1 + id % 5).div_ceil(2)).sum();
    for window_bytes in [1, 256 * 100, u64::MAX] {
        let mut source = source(open(folder.path()), window_bytes, 3);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut first: Vec<String> = Vec::new();
        while source.epoch() == 0 {
            for chunk in source.draw().unwrap() {
                first.push(format!("{:?}", chunk.returns));
            }
        }
        first.truncate(all);
        first.iter().for_each(|returns| *counts.entry(returns.clone()).or_default() += 1);
        // 100 episodes of 1 to 5 turns, 20 of each.
        assert_eq!(counts.values().sum::<usize>(), all);
        assert!(counts.values().all(|count| count % 20 == 0), "{window_bytes}: {counts:?}");
        assert_ne!(first[..20], first[20..40], "shuffled");
    }
    drop(log);
}

#[test]
fn a_resample_holds_each_episode_a_poisson_number_of_times() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of(folder.path(), 2_000);
    let times = |seed: u64| -> Vec<(usize, usize)> {
        let turns = |located: &Located| located.episode.turns.len();
        let located = log.episodes().map(Result::unwrap);
        located.map(|located| (resampled_times(seed, located.place), turns(&located))).collect()
    };
    let drawn: Vec<f64> = times(1).into_iter().map(|(times, _)| times as f64).collect();
    let mean = drawn.iter().sum::<f64>() / 2_000.0;
    let variance = drawn.iter().map(|times| (times - mean).powi(2)).sum::<f64>() / 2_000.0;
    let absent = drawn.iter().filter(|times| **times == 0.0).count() as f64 / 2_000.0;
    assert!((mean - 1.0).abs() < 0.07 && (variance - 1.0).abs() < 0.12 && (absent - 0.368).abs() < 0.04);
    assert!(times(1) == times(1) && times(1) != times(2));

    let expected: usize = times(7).into_iter().map(|(times, turns)| times * turns.div_ceil(2)).sum();
    let mut source = resampled(open(folder.path()), u64::MAX, 3, Some(7));
    let mut found = 0;
    while source.epoch() == 0 {
        found += source.draw().unwrap().len();
    }
    // The last draw may have begun the next epoch.
    assert!((expected..expected + 7).contains(&found), "{found} instead of {expected}");
}

#[test]
fn a_resumed_source_goes_on_with_the_same_batches() {
    let folder = tempfile::tempdir().unwrap();
    log_of(folder.path(), 60);
    for window_bytes in [1, 256 * 100, u64::MAX] {
        for stop in [0, 1, 5, 17, 40] {
            let mut whole = source(open(folder.path()), window_bytes, 3);
            drawn(&mut whole, stop);
            let state = whole.position();
            let rest = drawn(&mut whole, 20);
            let mut resumed = source(open(folder.path()), window_bytes, 3);
            drawn(&mut resumed, 2); // whatever it did before
            resumed.go_to(&state).unwrap();
            assert_eq!(drawn(&mut resumed, 20), rest, "window {window_bytes}, stopped after {stop}");
        }
    }
    let mut other = source(open(folder.path()), u64::MAX, 4);
    let mut one = source(open(folder.path()), u64::MAX, 3);
    assert_ne!(drawn(&mut other, 5), drawn(&mut one, 5), "the seed decides");
}

#[test]
fn the_best_are_those_of_the_highest_returns_and_all_that_equal_them() {
    let returns = vec![1.0, 5.0, 3.0, 3.0, 2.0, 4.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(least_of_best(returns.clone(), 10.0), 5.0);
    assert_eq!(least_of_best(returns.clone(), 30.0), 3.0);
    assert_eq!(least_of_best(returns.clone(), 100.0), 0.0);
    assert_eq!(least_of_best(returns, 0.001), 5.0, "at least one");
}

#[test]
fn a_log_without_the_wanted_episodes_is_an_error_and_no_endless_search() {
    let folder = tempfile::tempdir().unwrap();
    log_of(folder.path(), 20);
    let selection = Selection {
        encoder: encoder(Context::Observation, 8),
        chunking: CUTTING,
        split: Some("train".into()),
        least_return: None,
        resample: None,
    };
    let mut source = ReplaySource::new(open(folder.path()), selection, DataConfig::default(), 0, Default::default());
    let told = source.draw().unwrap_err().to_string();
    assert_eq!(told, "data.files: there is no episode to learn from (with this data.split)");
}

#[test]
fn an_episode_that_cannot_be_read_is_named_with_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    let mut writer = LogWriter::create(&path, WriteOptions::default()).unwrap();
    writer.write(&episode(0, 3, Some(End::Terminated))).unwrap();
    let mut odd = episode(1, 2, Some(End::Terminated));
    odd.turns[1].observation = "x".into();
    writer.write(&odd).unwrap();
    writer.finish().unwrap();
    let told = source(open(folder.path()), u64::MAX, 0).draw().unwrap_err().to_string();
    assert!(told.starts_with(&format!("{}: row 3: episode episode 1, step 1: ", path.display())), "{told}");
    assert!(told.contains("'x'"), "{told}");
}

#[test]
fn an_alphabet_is_all_that_a_log_writes() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(alphabet(&log_of(folder.path(), 10)).unwrap(), "abcdefg");
}

#[test]
fn episodes_are_counted_once_however_often_a_run_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    log_of(folder.path(), 20);
    let mut first = source(open(folder.path()), u64::MAX, 0);
    first.try_out().unwrap();
    first.draw().unwrap();
    let state = first.saved();
    let mut second = source(open(folder.path()), u64::MAX, 0);
    second.try_out().unwrap();
    second.resume(&state).unwrap();
    second.draw().unwrap();
    assert_eq!(second.saved()["episodes"], state["episodes"]);
}
