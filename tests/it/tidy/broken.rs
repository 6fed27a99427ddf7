//! Trees for every check: a wrong one that it must complain of, and a right one that it must pass.

use super::*;

/// Checks that `check` passes the right files and complains of the wrong ones. Files are given as path and text.
fn assert_tells_apart(check: Check, right: &[(&str, &str)], wrong: &[(&str, &str)], complaint: &str) {
    let tree = |files: &[(&str, &str)]| files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    assert_eq!(check(&tree(right)), Vec::<String>::new(), "the right tree");
    assert_eq!(check(&tree(wrong)), [complaint], "the wrong tree");
}

#[test]
fn tensors() {
    let right = [
        ("envs/Cargo.toml", "[dependencies]\nrand = \"1\"\n"),
        ("crates/model/Cargo.toml", "[dependencies]\nburn = \"1\""),
    ];
    for (path, text, complaint) in [
        ("envs/Cargo.toml", "[dependencies]\nburn = \"1\"", "envs/Cargo.toml: depends on `burn`"),
        ("envs/Cargo.toml", "[target.x.dev-dependencies.tch]\nversion = \"1\"", "envs/Cargo.toml: depends on `tch`"),
        ("crates/text/Cargo.toml", "[dependencies]\nburn = \"1\"", "crates/text/Cargo.toml: depends on `burn`"),
    ] {
        assert_tells_apart(tensors_stay_in_two_crates, &right, &[(path, text)], complaint);
    }
}

#[test]
fn words_in_code() {
    let right = [
        ("crates/model/src/ops/libtorch/adamw.rs", "use tch::Tensor; unsafe {}"),
        ("src/a.rs", "// tch:: is unsafe\nlet batch = Batch::new();"),
    ];
    let wrong = "src/a.rs:2: `tch` belongs in crates/model/src/ops/libtorch*";
    assert_tells_apart(libtorch_is_named_in_ops_alone, &right, &[("src/a.rs", "\nuse tch::Tensor;")], wrong);
    let wrong = "src/a.rs:1: `backend::libtorch` belongs in crates/model/src/ops/libtorch*";
    assert_tells_apart(
        libtorch_is_named_in_ops_alone,
        &right,
        &[("src/a.rs", "use burn::backend::libtorch::X;")],
        wrong,
    );
    let wrong = "envs/src/a.rs:2: `unsafe {` belongs in crates/model/src/ops";
    assert_tells_apart(unsafe_is_in_ops_alone, &right, &[("envs/src/a.rs", "\n    unsafe { f() }")], wrong);
    let wrong = "src/lib.rs:1: `unsafe_code` belongs in crates/model/src/ops";
    assert_tells_apart(unsafe_is_in_ops_alone, &right, &[("src/lib.rs", "#![allow(unsafe_code)]")], wrong);
}

#[test]
fn openings_of_comments() {
    let right =
        [("src/a.rs", "//! Names.\n\n/// Length, in bytes.\n/// What it is not.\nfn f() {}\n// What is meant: 2.\n")];
    let wrong = "src/a.rs:3: opens with `Whether`: name the thing";
    let text = "//! Names.\n\n    /// Whether it is there.\n";
    assert_tells_apart(comments_open_with_what_a_thing_is, &right, &[("src/a.rs", text)], wrong);
}

#[test]
fn words_anywhere() {
    let right = [
        ("README.md", "A method is not todone."),
        ("src/a.rs", "// A powerfully"),
        ("src/b.rs", "#[ignore = \"needs Python with TRL: cargo xtask parity\"]"),
    ];
    let wrong = "README.md:2: `TODO`: finish it, or file an issue";
    assert_tells_apart(nothing_is_unfinished, &right, &[("README.md", "\nTODO: more")], wrong);
    let wrong = "src/a.rs:1: `#[ignore`: finish it, or file an issue";
    for reason in ["slow", "slow: cargo test -- --ignored", "needs Python"] {
        let text = format!("#[ignore = \"{reason}\"]");
        assert_tells_apart(nothing_is_unfinished, &right, &[("src/a.rs", &text)], wrong);
    }
    let wrong = "README.md:1: `blazing`: say what it does, with a number";
    assert_tells_apart(nothing_is_praised, &right[..1], &[("README.md", "Blazing fast")], wrong);
}

#[test]
fn files() {
    let long = "x\n".repeat(MAX_LINES + 1);
    let right = [("crates/model/src/lora.rs", "//! The model.\n"), ("src/a/b/c.rs", ""), ("tests/it/main.rs", "")];
    let wrong = "crates/model/src/lora.rs:1: open with `//!`: what this is and what it must not know";
    assert_tells_apart(modules_say_what_they_are, &right, &[("crates/model/src/lora.rs", "use a;\n//! x")], wrong);
    let wrong = "envs/src/text_utils.rs: `utils` names nothing of the domain";
    assert_tells_apart(files_are_named_for_what_they_hold, &right, &[("envs/src/text_utils.rs", "")], wrong);
    let wrong = "src/a.rs: 601 lines, of at most 600";
    assert_tells_apart(files_are_short, &right, &[("src/a.rs", &long)], wrong);
    let wrong = "src/a/b/c/d.rs: more than two folders deep under src/";
    assert_tells_apart(folders_are_shallow, &right, &[("src/a/b/c/d.rs", "")], wrong);
    let wrong = "envs/src/snake/mod.rs: name it envs/src/snake.rs";
    assert_tells_apart(modules_have_one_style, &right, &[("envs/src/snake/mod.rs", "")], wrong);
}

#[test]
fn architecture() {
    let right = [
        ("ARCHITECTURE.md", "`src/lib.rs`, `src/model/`, `src/mo*`, `a/b` of [this](docs/a.md#b)\n`rand`: chance"),
        ("docs/a.md", "[up](../src/lib.rs) [out](https://example.org)"),
        ("src/lib.rs", ""),
        ("src/model/mod.rs", ""),
        ("envs/Cargo.toml", "[dependencies]\nrand = \"1\"\npalestra-datasets = \"1\""),
    ];
    let long = "x\n".repeat(MAX_LINES_OF_ARCHITECTURE + 1);
    let wrong = "ARCHITECTURE.md: 151 lines, of at most 150";
    assert_tells_apart(architecture_is_short, &right, &[("ARCHITECTURE.md", &long)], wrong);
    assert_tells_apart(architecture_is_short, &right, &[], "ARCHITECTURE.md: is missing");
    let wrong = "ARCHITECTURE.md:1: `src/lost.rs` does not exist";
    assert_tells_apart(named_paths_exist, &right, &[("ARCHITECTURE.md", "`src/lost.rs`")], wrong);
    let wrong = "docs/a.md:2: `docs/lost.md` does not exist";
    assert_tells_apart(named_paths_exist, &right, &[("docs/a.md", "\n[x](./lost.md)")], wrong);
    let wrong = "envs/Cargo.toml: ARCHITECTURE.md does not say what `serde` is for";
    let manifest = ("envs/Cargo.toml", "[dependencies]\nserde = \"1\"");
    assert_tells_apart(dependencies_are_explained, &right, &[right[0], manifest], wrong);
}

#[test]
fn recipes() {
    let right = [("README.md", "Run `examples/recipes/ppo.toml`."), ("examples/recipes/ppo.toml", "")];
    let wrong = [right[0], ("examples/recipes/dpo.toml", "")];
    let complaint = "examples/recipes/dpo.toml: no Markdown file names this recipe";
    assert_tells_apart(recipes_are_documented, &right, &wrong, complaint);
}
