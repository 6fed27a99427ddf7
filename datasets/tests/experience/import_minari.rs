//! Import of datasets written by Minari itself; `tests/minari/make.py` generates them.

use std::path::{Path, PathBuf};

use palestra_datasets::import::{ImportOptions, import_minari};
use palestra_datasets::{Content, End};

use crate::made::*;

fn dataset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/minari").join(name)
}

#[test]
fn numbers_ends_seeds_and_names_come_along_in_both_formats() {
    for format in ["arrow", "parquet"] {
        let (_folder, to) = place();
        let report = import_minari(&dataset(&format!("lake/{format}-v0")), &to, &ImportOptions::default()).unwrap();
        assert_eq!((report.episodes, report.rows, report.as_json), (2, 9, 18));
        assert_eq!((report.terminated, report.truncated, report.cut), (1, 1, 0));
        let read = episodes(&to);
        let [goal, limit] = read.as_slice() else { panic!("two episodes") };
        assert_eq!(goal.id, format!("lake/{format}-v0/0"));
        assert_eq!((goal.env_id.as_str(), goal.policy_id.as_str(), goal.seed), ("FrozenLake-v1", "by hand", Some(3)));
        let observations: Vec<Content> = goal.turns.iter().map(|turn| turn.observation.clone()).collect();
        assert_eq!(observations, ["0", "1", "2", "6", "10", "14"]);
        let actions: Vec<&str> = goal.turns.iter().map(|turn| turn.action.as_str()).collect();
        assert_eq!(actions, ["2", "2", "1", "1", "1", "2"]);
        assert_eq!(goal.turns.iter().map(|turn| turn.reward).collect::<Vec<_>>(), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!((goal.end, goal.final_observation.clone()), (Some(End::Terminated), Some("15".into())));
        assert_eq!(goal.turns[0].info.as_deref(), Some("{\"prob\":1.0}"));
        assert_eq!((limit.end, limit.final_observation.clone()), (Some(End::Truncated), Some("0".into())));
        assert_eq!((limit.seed, limit.turns.len()), (Some(4), 3));
    }
}

#[test]
fn nested_spaces_become_json_and_texts_stay() {
    for format in ["arrow", "parquet"] {
        let (_folder, to) = place();
        let options = ImportOptions { env_id: Some("door-v1".to_string()), ..ImportOptions::default() };
        let folder = dataset(&format!("door/{format}-v0/data"));
        let report = import_minari(&folder, &to, &options).unwrap();
        assert_eq!(report.as_json, 2, "the observations, not the actions");
        let read = &episodes(&to)[0];
        let expected =
            r#"{"mission":"go to the red door","grid":[[0,1],[2,3]],"position":[0.1,-0.5],"pair":[0,[0,1]]}"#;
        assert_eq!(read.turns[0].observation, expected);
        assert_eq!((read.turns[1].action.as_str(), read.turns[1].reward), ("toggle\n", 1.0));
        let last = r#"{"mission":"open it","grid":[[8,9],[0,0]],"position":[1.0,1.0],"pair":[2,[0,0]]}"#;
        assert_eq!(read.final_observation, Some(last.into()));
        assert_eq!(read.env_id, "door-v1");
    }
}

#[test]
fn a_dataset_without_a_name_has_that_of_its_folder() {
    let (folder, to) = place();
    let episode = folder.path().join("mine/data/0");
    std::fs::create_dir_all(&episode).unwrap();
    std::fs::write(folder.path().join("mine/data/metadata.json"), r#"{"data_format": "arrow"}"#).unwrap();
    std::fs::copy(dataset("lake/arrow-v0/data/1/part-0.arrow"), episode.join("part-0.arrow")).unwrap();
    import_minari(&folder.path().join("mine/data"), &to, &ImportOptions::default()).unwrap();
    let read = &episodes(&to)[0];
    assert_eq!((read.id.as_str(), read.env_id.as_str(), read.seed), ("mine/0", "", None));
}

#[test]
fn pictures_are_refused() {
    let (folder, to) = place();
    let error = import_minari(&dataset("screen/parquet-v0"), &to, &ImportOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("row 0: column observations holds bytes that are no text, as of a picture"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn other_storages_and_other_folders_are_named() {
    let (folder, to) = place();
    let refused = || import_minari(folder.path(), &to, &ImportOptions::default()).unwrap_err().to_string();
    assert!(refused().contains("metadata.json: there is no such file"), "{}", refused());
    std::fs::write(folder.path().join("metadata.json"), r#"{"data_format": "hdf5"}"#).unwrap();
    assert!(refused().contains("data_format is \"hdf5\"; \"arrow\" and \"parquet\" can be read"), "{}", refused());
    std::fs::write(folder.path().join("metadata.json"), r#"{"data_format": "arrow"}"#).unwrap();
    assert!(refused().contains("has no episodes"), "{}", refused());
    std::fs::create_dir(folder.path().join("0")).unwrap();
    assert!(refused().contains("has no row in any *.arrow file"), "{}", refused());
    std::fs::write(folder.path().join("0/part-0.arrow"), "no Arrow").unwrap();
    assert!(refused().contains("part-0.arrow: cannot be read"), "{}", refused());
}
