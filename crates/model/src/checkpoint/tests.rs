use std::io::Seek;
use std::process::{Command, Output};

use serde_json::json;

use super::*;

fn example(step: u64) -> Checkpoint {
    let numbers = |count: u32| (0..count).map(|i| 0.1 * i as f32 + step as f32).collect();
    let tensors = |names: [&str; 2]| {
        Tensors::from([
            (names[0].to_owned(), NamedTensor::new([2, 3], numbers(6))),
            (names[1].to_owned(), NamedTensor::new([], numbers(1))),
        ])
    };
    Checkpoint {
        step,
        contents: Contents::Model,
        config: json!({"model_type": "llama", "rms_norm_eps": 1e-5}),
        model: tensors(["model.norm.weight", "lm_head.weight"]),
        optimizer: tensors(["model.norm.weight.moment_1", "time"]),
        // A reader of numbers that is only nearly right loses bits of the last two.
        state: json!({"episodes": u64::MAX, "kl": 0.1 + 0.2, "a": 6.220_000_000_000_001e-7, "b": 1.234_567_890_123_456_7e-9}),
        tokenizer_json: "{\"version\": \"1.0\", \"ω\": 1}".to_owned(),
        companions: BTreeMap::new(),
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_saved_is_loaded_bit_for_bit() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(&directory.path().join("checkpoints"), &example(123)).unwrap();
    assert!(path.ends_with("checkpoints/step-00000123"), "{path:?}");
    assert_eq!(load(&path).unwrap(), example(123));
    assert_eq!(names(&path), [CONFIG, MODEL, OPTIMIZER, TOKENIZER, TRAINER_STATE].map(str::to_owned));
    assert_eq!(read_tensors(&path.join(MODEL), &|_| false).unwrap(), example(123).model);
    let theirs = fs::read(path.join(MODEL)).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&theirs).unwrap();
    assert_eq!(theirs.tensor("model.norm.weight").unwrap().shape(), [2, 3], "as others read it");
}

#[test]
fn adapters_have_the_names_of_peft_and_what_belongs_to_the_model_goes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let companions = BTreeMap::from([("chat_template.jinja".to_string(), "{{ messages }}\n".to_string())]);
    let saved = Checkpoint { contents: Contents::Adapters, companions, ..example(4) };
    let path = save(directory.path(), &saved).unwrap();
    assert_eq!(load(&path).unwrap(), saved);
    let files = [ADAPTER_CONFIG, ADAPTERS, "chat_template.jinja", OPTIMIZER, TOKENIZER, TRAINER_STATE];
    assert_eq!(names(&path), files.map(str::to_owned));
    fs::remove_file(path.join("chat_template.jinja")).unwrap();
    assert_eq!(latest(directory.path()).unwrap(), None, "it is not whole any more");
}

#[test]
fn arbitrary_state_keeps_its_bits() {
    let directory = tempfile::tempdir().unwrap();
    // Bit patterns all over the range, from a linear congruential generator.
    let mut bits = 1_u64;
    let mut next = || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from_bits(bits)
    };
    let numbers: Vec<f64> = std::iter::repeat_with(&mut next).filter(|number| number.is_finite()).take(1000).collect();
    let saved = Checkpoint { state: json!(numbers), ..example(1) };
    assert_eq!(load(&save(directory.path(), &saved).unwrap()).unwrap().state, saved.state);
}

#[test]
fn the_same_step_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    save(directory.path(), &example(7)).unwrap();
    let newer = Checkpoint { state: json!("newer"), ..example(7) };
    let path = save(directory.path(), &newer).unwrap();
    assert_eq!(load(&path).unwrap(), newer);
    assert_eq!(names(directory.path()), ["step-00000007"]);
}

/// Changes one byte of a file.
fn put(path: &Path, index: usize, byte: u8) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(io::SeekFrom::Start(index as u64)).unwrap();
    file.write_all(&[byte]).unwrap();
}

#[test]
fn every_damaged_byte_is_found_and_its_file_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(directory.path(), &example(1)).unwrap();
    for name in names(&path) {
        let file = path.join(&name);
        let whole = fs::read(&file).unwrap();
        for (index, &byte) in whole.iter().enumerate() {
            put(&file, index, byte ^ (1 << (index % 8)));
            // White space and the like in trainer_state.json may change without changing its meaning.
            match load(&path) {
                Err(Error::Checkpoint { path, .. }) => assert!(path.ends_with(&name), "{path} for {name}"),
                Ok(loaded) => assert!(name == TRAINER_STATE && loaded == example(1), "{name}, byte {index}"),
                Err(other) => panic!("{other}"),
            }
            put(&file, index, byte);
        }
        for length in [0, 1, 9, whole.len() / 2, whole.len() - 1] {
            fs::write(&file, &whole[..length]).unwrap();
            match load(&path) {
                Err(Error::Checkpoint { path, .. }) => assert!(path.ends_with(&name), "{path} for {name}"),
                Ok(_) => assert!(name == TRAINER_STATE && length == whole.len() - 1, "{name} cut to {length}"),
                Err(other) => panic!("{other}"),
            }
        }
        fs::remove_file(&file).unwrap();
        let missing = load(&path).unwrap_err().to_string();
        assert!(missing.contains(&format!("{name}: missing")), "{missing}");
        fs::write(&file, whole).unwrap();
    }
    assert_eq!(load(&path).unwrap(), example(1));
}

#[test]
fn messages_say_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(directory.path(), &example(1)).unwrap();
    let file = path.join(TOKENIZER);
    fs::write(&file, "{}").unwrap();
    let length = example(1).tokenizer_json.len();
    let reason = format!("{}: 2 bytes long, and {length} were written; use an earlier checkpoint", file.display());
    assert_eq!(load(&path).unwrap_err().to_string(), reason);
    fs::write(path.join(TRAINER_STATE), r#"{"format": 9}"#).unwrap();
    let newer = load(&path).unwrap_err().to_string();
    assert!(newer.ends_with("format 9; this version of palestra reads format 1"), "{newer}");
}

#[test]
fn weights_that_are_no_numbers_are_not_saved() {
    let directory = tempfile::tempdir().unwrap();
    save(directory.path(), &example(1)).unwrap();
    let mut broken = example(2);
    broken.model.get_mut("model.norm.weight").unwrap().data[4] = f32::NAN;
    let refused = save(directory.path(), &broken).unwrap_err().to_string();
    assert!(refused.contains("tensor model.norm.weight holds NaN at 4"), "{refused}");
    assert_eq!(names(directory.path()), ["step-00000001"]);
}

#[test]
fn the_newest_complete_checkpoint_is_found() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(latest(&directory.path().join("absent")).unwrap(), None);
    assert_eq!(latest(directory.path()).unwrap(), None);
    let paths = [9, 10, 100_000_000].map(|step| save(directory.path(), &example(step)).unwrap());
    fs::create_dir(directory.path().join(".tmp-step-200000000")).unwrap();
    fs::create_dir(directory.path().join("step-final")).unwrap();
    assert_eq!(latest(directory.path()).unwrap().as_ref(), Some(&paths[2]), "by number, not by letter");
    fs::remove_file(paths[2].join(OPTIMIZER)).unwrap();
    assert_eq!(latest(directory.path()).unwrap().as_ref(), Some(&paths[1]));
    fs::write(paths[1].join(MODEL), "short").unwrap();
    assert_eq!(latest(directory.path()).unwrap().as_ref(), Some(&paths[0]));
}

#[test]
fn pruning_removes_the_oldest_and_never_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let paths = [1, 2, 3, 4].map(|step| save(directory.path(), &example(step)).unwrap());
    fs::create_dir(directory.path().join(".tmp-step-00000005")).unwrap();
    prune(directory.path(), 2).unwrap();
    assert_eq!(names(directory.path()), ["step-00000003", "step-00000004"]);
    fs::remove_file(paths[3].join(MODEL)).unwrap();
    prune(directory.path(), 0).unwrap();
    assert!(load(&paths[2]).is_ok(), "the newest complete one stays");
    fs::remove_file(paths[2].join(MODEL)).unwrap();
    prune(directory.path(), 1).unwrap();
    assert_eq!(names(directory.path()), ["step-00000003", "step-00000004"], "nothing better is left");
}

/// Runs this test once more in a process that may write files of at most 8 blocks, as on a disk that gets full.
fn save_in_child(test: &str, directory: &Path, trap: &str) -> Output {
    let test = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    Command::new("sh")
        .args(["-c", &format!("{trap} ulimit -c 0; ulimit -f 8; exec \"$0\" --exact --nocapture \"$1\"")])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env("PALESTRA_TEST_SAVE", directory)
        .output()
        .unwrap()
}

/// Saves, in the child process, more than fits.
fn save_if_child() {
    if let Some(directory) = std::env::var_os("PALESTRA_TEST_SAVE") {
        let mut large = example(2);
        large.optimizer.insert("large".to_owned(), NamedTensor::new([1 << 20], vec![1.0; 1 << 20]));
        let error = save(Path::new(&directory), &large).unwrap_err();
        assert!(matches!(error, Error::Io { .. }));
        eprintln!("{error}");
        std::process::exit(1);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_no_checkpoint() {
    save_if_child();
    let directory = tempfile::tempdir().unwrap();
    let old = save(directory.path(), &example(1)).unwrap();
    // With the signal ignored a write past the limit fails as one on a full disk does.
    let output = save_in_child("a_full_disk_costs_no_checkpoint", directory.path(), "trap '' XFSZ;");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("optimizer.safetensors: File too large"), "{told}");
    assert_eq!(names(directory.path()), ["step-00000001"], "nothing half written is left");
    assert_eq!(load(&old).unwrap(), example(1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_kill_while_saving_costs_no_checkpoint() {
    save_if_child();
    let directory = tempfile::tempdir().unwrap();
    let old = save(directory.path(), &example(1)).unwrap();
    // The signal kills the child in the middle of the optimiser's file.
    let output = save_in_child("a_kill_while_saving_costs_no_checkpoint", directory.path(), "");
    assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(directory.path()), [".tmp-step-00000002", "step-00000001"]);
    assert_eq!(latest(directory.path()).unwrap().as_ref(), Some(&old));
    assert_eq!(load(&old).unwrap(), example(1));
    let new = save(directory.path(), &example(2)).unwrap(); // over what was left
    assert_eq!(load(&new).unwrap(), example(2));
    assert_eq!(names(directory.path()), ["step-00000001", "step-00000002"]);
}

#[test]
fn a_run_without_a_whole_checkpoint_is_told_what_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(latest_of_run(directory.path()).unwrap(), None);
    let paths = [1, 2].map(|step| save(directory.path(), &example(step)).unwrap());
    fs::remove_file(paths[1].join(MODEL)).unwrap();
    assert_eq!(latest_of_run(directory.path()).unwrap().as_ref(), Some(&paths[0]));
    fs::write(paths[0].join(OPTIMIZER), "short").unwrap();
    let told = latest_of_run(directory.path()).unwrap_err().to_string();
    for part in
        ["none of the checkpoints is whole", "step-00000001/optimizer.safetensors", "step-00000002/model.safetensors"]
    {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn later_checkpoints_are_set_aside_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let [first, ..] = [1, 2, 3].map(|step| save(directory.path(), &example(step)).unwrap());
    assert_eq!(set_aside_after(directory.path(), 1).unwrap().len(), 2);
    assert_eq!(latest(directory.path()).unwrap(), Some(first));
    save(directory.path(), &example(3)).unwrap();
    set_aside_after(directory.path(), 1).unwrap();
    prune(directory.path(), 1).unwrap();
    let expected = ["set-aside-step-00000002", "set-aside-step-00000003", "set-aside-step-00000003-2", "step-00000001"];
    assert_eq!(names(directory.path()), expected);
}
