//! `palestra compare`: runs side by side.

use crate::command::Sandbox;

/// Directory of a run of 20 updates whose metric rises to `last`, and which has made `done` of them.
fn run(sandbox: &Sandbox, name: &str, epochs: usize, seed: u64, last: f64, done: usize) {
    let file = format!("name = \"{name}\"\nseed = {seed}\n[train]\nupdates = 20\n[ppo]\nepochs = {epochs}\n");
    let line = |step: usize| {
        let value = last * step as f64 / done as f64;
        format!("{{\"step\":{step},\"time\":{step}.0,\"episode/return_mean\":{value}}}\n")
    };
    let metrics: String = (1..=done).map(line).collect();
    let folder = sandbox.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("run.toml"), file).unwrap();
    std::fs::write(folder.join("metrics.jsonl"), metrics).unwrap();
}

#[test]
fn runs_are_grouped_by_what_differs_and_the_best_group_is_first() {
    let runs = [("a", 1, 1, 1.0, 20), ("b", 1, 2, 2.0, 20), ("c", 4, 1, 5.0, 20), ("d", 4, 2, 7.0, 10)];
    let sandbox = Sandbox::new();
    for (name, epochs, seed, last, done) in runs {
        run(&sandbox, name, epochs, seed, last, done);
    }
    let told = sandbox.run(&["compare", "?", "--out", "page.html"]).stdout;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "episode/return_mean");
    assert!(lines[2].starts_with("ppo.epochs = 4  2     "), "{told}");
    assert!(lines[3].starts_with("ppo.epochs = 1  2     "), "{told}");
    assert!(lines[3].ends_with("0.00 (0.00 to 0.00)"), "{told}");
    assert_eq!(lines[4..], ["unfinished: d has 10 of 20 updates"]);
    let page = std::fs::read_to_string(sandbox.path().join("page.html")).unwrap();
    assert!(page.contains("d has 10 of 20 updates") && page.contains("ppo.epochs = 4"));

    let groups = sandbox.run(&["compare", "?", "--json"]).json()["groups"].clone();
    // The score is the mean of the last tenth: updates 19 and 20 of 20, update 10 of 10.
    assert_eq!(groups[0]["scores"], serde_json::json!([4.875, 7.0]));
    assert_eq!(groups[0]["mean"]["value"], 5.9375);
}
