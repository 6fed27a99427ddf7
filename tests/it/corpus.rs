//! `palestra corpus`: its output, its files and its errors. The processing of documents is tested in its crate.

use crate::command::Sandbox;

const ROWS: &str = "\
{\"text\": \"The captain wrote to the harbour that he would be there with the ship by noon. They waited. It came.\"}
{\"text\": \"The captain wrote to the harbour that he would be there with the ship by noon. They waited. It came.\"}
{\"text\": \"Buy now\"}
";
const CORPUS: &str =
    "inputs = ['rows.jsonl']\nout = 'corpora/rows'\n[gopher]\nwords = [10, 100]\n[split]\nvalidation = 0.0\n";

fn sandbox() -> Sandbox {
    Sandbox::new().with("rows.jsonl", ROWS).with("corpus.toml", CORPUS)
}

#[test]
fn a_corpus_is_made_and_told_of() {
    let sandbox = sandbox();
    let made = sandbox.run(&["corpus", "--config", "corpus.toml", "--json"]).json();
    assert_eq!((&made["documents"], &made["train"]["documents"]), (&3.into(), &1.into()));
    let rules: Vec<_> = made["dropped"].as_array().unwrap().iter().map(|by| by["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["c4.sentences", "duplicates.exact"]);
    for file in ["train-00000.parquet", "report.html", "report.json", "corpus.toml"] {
        assert!(sandbox.path().join("corpora/rows").join(file).is_file(), "{file}");
    }
    assert!(!sandbox.path().join("corpora/rows.partial").exists());
    let flags = [
        "corpus",
        "rows.jsonl",
        "--out",
        "all",
        "--no-filters",
        "--validation",
        "0",
        "--set",
        "duplicates.exact=false",
    ];
    let told = sandbox.run(&flags).success();
    assert!(told.contains("3 documents in 1 files") && told.contains("dropped by duplicates.near"), "{told}");
}

#[test]
fn pages_are_fetched_into_an_archive() {
    // A port on which nobody answers: its robots.txt cannot be read, so that the page is not asked for.
    let sandbox = Sandbox::new().with("urls.txt", "http://127.0.0.1:9/page\n").with("none.txt", "\n");
    let fetch = |file, out| ["corpus", "fetch", file, "--pause", "0", "--out", out];
    sandbox.assert_refused(&fetch("none.txt", "x.warc.gz"), "none.txt has no address; write one on a line");
    sandbox.assert_refused(
        &fetch("urls.txt", "x.warc"),
        "x.warc is packed page by page; a name that ends in .warc.gz is right",
    );
    let told = sandbox.run(&[&fetch("urls.txt", "pages.warc.gz")[..], &["--json"]].concat()).json();
    assert_eq!((&told["fetched"], &told["failed"][0]["url"]), (&0.into(), &"http://127.0.0.1:9/page".into()));
    assert!(sandbox.path().join("pages.warc.gz").is_file());
    let again = sandbox.run(&fetch("urls.txt", "pages.warc.gz"));
    assert!(again.code == Some(1) && again.stderr.contains("there is a file already"), "{again:?}");
}

#[test]
fn mistakes_are_named() {
    sandbox()
        .assert_refused(&["corpus"], "`inputs` is empty; name files, folders or patterns such as 'books/*.txt.gz'");
    sandbox().assert_refused(&["corpus", "rows.jsonl"], "`out` is empty; name the folder to write");
    sandbox().assert_refused(&["corpus", "no.txt", "--out", "x"], "no.txt: no such file or folder");
    sandbox().assert_refused(
        &["corpus", "rows.jsonl", "--out", "x", "--text-column", "body"],
        "rows.jsonl:1: it has no column `body`, but text; name the column of the text with --text-column text",
    );
    sandbox().assert_refused(
        &["corpus", "rows.jsonl", "--out", "x", "--set", "split.validaton=0"],
        "--set split.validaton=0: unknown key `validaton` in [split]; did you mean `validation`? known keys: validation",
    );
}
