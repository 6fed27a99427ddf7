//! Files that commands write: what exists is kept, and what is read is never written.

use crate::command::Sandbox;

#[test]
fn outputs_never_write_over_what_is_there_nor_over_what_they_read() {
    let sandbox = Sandbox::new().with("here.svg", "mine");
    let record = ["rollout", "frozen-lake-4x4", "--policy", "random", "--episodes", "3", "--out", "log.parquet"];
    sandbox.run(&record).success();
    let read = |name: &str| std::fs::read(sandbox.path().join(name)).unwrap();
    let log = read("log.parquet");
    let stats =
        |out: &str, more: &[&str]| sandbox.run(&[&["log", "stats", "log.parquet", "--histogram", out], more].concat());
    let refused = stats("here.svg", &[]);
    assert!(refused.stderr.contains("here.svg: there is a file already"), "{}", refused.stderr);
    assert_eq!(read("here.svg"), b"mine");
    let refused = stats("log.parquet", &["--overwrite"]);
    assert!(refused.stderr.contains("this command reads it"), "{}", refused.stderr);
    assert!(read("log.parquet") == log);
    stats("here.svg", &["--overwrite"]).success();
    assert!(read("here.svg").starts_with(b"<svg"));

    assert_eq!(sandbox.run(&record).code, Some(1));
    sandbox.run(&[&record[..], &["--seed", "1", "--overwrite"]].concat()).success();
    assert!(read("log.parquet") != log);
    let import = ["log", "import", "log.parquet", "--out", "log.parquet", "--overwrite"];
    assert!(sandbox.run(&import).stderr.contains("this command reads it"));
}

#[test]
fn a_killed_recording_leaves_no_file_with_the_name_of_a_log() {
    let sandbox = Sandbox::new();
    let record =
        ["rollout", "frozen-lake-4x4", "--policy", "random", "--episodes", "100000000", "--out", "log.parquet"];
    let mut child = sandbox.command(&record).spawn().unwrap();
    let partial = sandbox.path().join("log.parquet.partial");
    while !partial.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!sandbox.path().join("log.parquet").exists());
    let again = ["rollout", "frozen-lake-4x4", "--policy", "random", "--episodes", "3", "--out", "log.parquet"];
    let refused = sandbox.run(&again).stderr;
    assert!(refused.contains("go on with --resume, or discard it with --overwrite"), "{refused}");
    sandbox.run(&[&again[..], &["--overwrite"]].concat()).success();
    assert!(!partial.exists());
}

#[test]
fn of_two_that_encode_at_once_one_writes_the_file() {
    let sandbox = Sandbox::new().with("tale.txt", &"On that day the fox met the hen; all was well.\n".repeat(5_000));
    sandbox.run(&["tokenizer", "train", "tale.txt", "--vocab-size", "300", "--out", "bpe", "--quiet"]).success();
    let encode = |out: &str, more: &[&str]| {
        let encode = ["tokenizer", "encode", "tale.txt", "--tokenizer", "bpe", "--quiet", "--out", out];
        sandbox.command(&[&encode[..], more].concat())
    };
    assert!(encode("alone.tokens", &[]).status().unwrap().success());
    let alone = std::fs::read(sandbox.path().join("alone.tokens")).unwrap();
    for more in [&[][..], &["--overwrite"]] {
        let children = [0, 1].map(|_| encode("both.tokens", more).spawn().unwrap());
        let outcomes = children.map(|child| child.wait_with_output().unwrap());
        let told: Vec<_> = outcomes.iter().map(|outcome| String::from_utf8_lossy(&outcome.stderr)).collect();
        let written = outcomes.iter().filter(|outcome| outcome.status.success()).count();
        // The second is refused while the first writes, and with --overwrite may follow it.
        assert!(written == 1 || written == 2 && !more.is_empty(), "{told:?}");
        let refused = outcomes.iter().zip(&told).filter(|(outcome, _)| !outcome.status.success());
        refused.for_each(|(_, told)| assert!(told.contains("both.tokens"), "{told}"));
        assert!(std::fs::read(sandbox.path().join("both.tokens")).unwrap() == alone, "{told:?}");
    }
    let left = std::fs::read_dir(sandbox.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(left.len(), 4, "{left:?}");
}
