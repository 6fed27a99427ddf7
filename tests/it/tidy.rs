//! Invariants of ARCHITECTURE.md that a program can check by reading the tree.
//!
//! Each check is a function from a [`Tree`] to complaints. A complaint starts with the file and, in most checks, the
//! line. `broken.rs` gives every check a wrong tree, so that none passes because it checks nothing.

mod broken;
mod read;

use std::path::Path;

use read::*;

/// Maximum length of a file. A longer file has more than one topic. Style asks to review files above 400 lines; the
/// range up to here is for the few that have one topic all the same, such as a table of cases or an environment's
/// rules.
const MAX_LINES: usize = 600;

/// Maximum length of ARCHITECTURE.md, which is read first, in one sitting.
const MAX_LINES_OF_ARCHITECTURE: usize = 150;

/// File names that do not describe the contents.
const EMPTY_NAMES: [&str; 9] =
    ["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "miscellaneous"];

/// Marks of unfinished work. Finish it, or file an issue.
const UNFINISHED: [&str; 7] = ["TODO", "FIXME", "XXX", "todo!", "unimplemented!", "dbg!", "#[ignore"];

/// Words of praise. Say what the program does, with a number.
const PRAISE: [&str; 11] = [
    "blazing",
    "cutting-edge",
    "effortless",
    "game-changing",
    "lightning-fast",
    "next-generation",
    "powerful",
    "revolutionary",
    "seamless",
    "supercharge",
    "world-class",
];

/// Words that a doc comment does not open with. Open with a noun phrase, or with a verb in the third person.
const QUESTIONS: [&str; 5] = ["What", "Whether", "How", "Why", "Which"];

/// Forms of unsafe code, as rustfmt lays them out. Web pages have an `unsafe-inline` of their own.
const UNSAFE: [&str; 7] =
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern", "unsafe(", "unsafe_code"];

type Check = fn(&Tree) -> Vec<String>;

const CHECKS: [Check; 15] = [
    tensors_stay_in_two_crates,
    modules_have_one_style,
    libtorch_is_named_in_ops_alone,
    unsafe_is_in_ops_alone,
    modules_say_what_they_are,
    files_are_named_for_what_they_hold,
    files_are_short,
    folders_are_shallow,
    nothing_is_unfinished,
    nothing_is_praised,
    comments_open_with_what_a_thing_is,
    architecture_is_short,
    named_paths_exist,
    dependencies_are_explained,
    recipes_are_documented,
];

#[test]
fn the_tree_is_tidy() {
    let tree = read_tree(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.contains_key("src/lib.rs") && tree.len() > 20, "the tree was not found: {:?}", tree.keys());
    let complaints: Vec<String> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The folders whose crates may depend on burn or on libtorch's bindings. Cargo keeps the crates apart; this keeps a
/// dependency from being added to a crate that has none.
const WITH_TENSORS: [&str; 2] = ["crates/model/", "crates/learn/"];

/// Environments, labels, text and reports compile without tensors.
fn tensors_stay_in_two_crates(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (manifest, text) in manifests(tree).filter(|(path, _)| path.contains('/')) {
        for name in dependencies(text) {
            let tensors = name.starts_with("burn") || name == "tch";
            if tensors && !WITH_TENSORS.iter().any(|folder| manifest.starts_with(folder)) {
                complaints.push(format!("{manifest}: depends on `{name}`"));
            }
        }
    }
    complaints
}

/// A module with files of its own is `name.rs` beside `name/`.
fn modules_have_one_style(tree: &Tree) -> Vec<String> {
    let old = rust(tree).filter(|(path, _)| path.ends_with("/mod.rs"));
    old.map(|(path, _)| format!("{path}: name it {}.rs", path.trim_end_matches("/mod.rs"))).collect()
}

fn libtorch_is_named_in_ops_alone(tree: &Tree) -> Vec<String> {
    let code = rust(tree).filter(|(path, _)| !path.starts_with("crates/model/src/ops/libtorch") && !is_a_check(path));
    find(code, &["tch", "burn_tch", "torch_sys", "backend::libtorch"], "belongs in crates/model/src/ops/libtorch*")
}

fn unsafe_is_in_ops_alone(tree: &Tree) -> Vec<String> {
    let code = rust(tree).filter(|(path, _)| !path.starts_with("crates/model/src/ops/") && !is_a_check(path));
    find(code, &UNSAFE, "belongs in crates/model/src/ops")
}

fn modules_say_what_they_are(tree: &Tree) -> Vec<String> {
    let top = |path: &str| {
        let parts: Vec<_> = path.split('/').collect();
        matches!(parts[..], ["src", _] | ["crates", _, "src", _] | [_, "src", "lib.rs" | "main.rs"])
    };
    let silent = rust(tree).filter(|(path, text)| top(path) && !text.starts_with("//! "));
    silent.map(|(path, _)| format!("{path}:1: open with `//!`: what this is and what it must not know")).collect()
}

fn files_are_named_for_what_they_hold(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, _) in rust(tree) {
        if let Some(name) = path.split(['/', '_', '-', '.']).find(|part| EMPTY_NAMES.contains(part)) {
            complaints.push(format!("{path}: `{name}` names nothing of the domain"));
        }
    }
    complaints
}

fn files_are_short(tree: &Tree) -> Vec<String> {
    let long = rust(tree).filter(|(_, text)| text.lines().count() > MAX_LINES);
    long.map(|(path, text)| format!("{path}: {} lines, of at most {MAX_LINES}", text.lines().count())).collect()
}

fn folders_are_shallow(tree: &Tree) -> Vec<String> {
    let deep = |path: &str| path.split_once("src/").is_some_and(|(_, inside)| inside.matches('/').count() > 2);
    let deep = rust(tree).filter(|(path, _)| deep(path));
    deep.map(|(path, _)| format!("{path}: more than two folders deep under src/")).collect()
}

fn nothing_is_unfinished(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| !is_a_check(path)) {
        for (line, content) in numbered(text).filter(|(_, content)| !may_be_ignored(content)) {
            if let Some(word) = UNFINISHED.iter().find(|word| has_word(content, word)) {
                complaints.push(format!("{path}:{line}: `{word}`: finish it, or file an issue"));
            }
        }
    }
    complaints
}

/// True for the attribute of a test that needs a tool which not every machine has, with the command that runs it; and of one
/// that other tests run, in a process of its own.
fn may_be_ignored(line: &str) -> bool {
    let has_command = ["cargo xtask parity\"]", "-- --ignored\"]"].iter().any(|end| line.ends_with(end));
    line.contains("#[ignore = \"needs ") && has_command
        || line.ends_with("#[ignore = \"child process of the tests beside it\"]")
}

fn nothing_is_praised(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| !is_a_check(path)) {
        for (line, content) in numbered(text) {
            let content = content.to_lowercase();
            if let Some(word) = PRAISE.iter().find(|word| content.contains(**word)) {
                complaints.push(format!("{path}:{line}: `{word}`: say what it does, with a number"));
            }
        }
    }
    complaints
}

fn comments_open_with_what_a_thing_is(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in rust(tree).filter(|(path, _)| !is_a_check(path)) {
        let mut goes_on = false;
        for (line, content) in numbered(text) {
            let content = content.trim_start();
            let opens = !goes_on && (content.starts_with("/// ") || content.starts_with("//! "));
            let word = content.split(' ').nth(1).filter(|word| opens && QUESTIONS.contains(word));
            complaints.extend(word.map(|word| format!("{path}:{line}: opens with `{word}`: name the thing")));
            goes_on = content.starts_with("//");
        }
    }
    complaints
}

fn architecture_is_short(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.get("ARCHITECTURE.md") else { return vec!["ARCHITECTURE.md: is missing".into()] };
    let lines = text.lines().count();
    if lines <= MAX_LINES_OF_ARCHITECTURE {
        return Vec::new();
    }
    vec![format!("ARCHITECTURE.md: {lines} lines, of at most {MAX_LINES_OF_ARCHITECTURE}")]
}

/// Checks that the paths in ARCHITECTURE.md's code spans (`src/...` and the like) and the links of Markdown files
/// exist.
fn named_paths_exist(tree: &Tree) -> Vec<String> {
    let exists = |path: &str| {
        let any_ending = path.ends_with('*');
        let stem = path.trim_end_matches(['/', '*']);
        let ends_well = |rest: &str| any_ending || rest.is_empty() || rest.starts_with('/');
        tree.keys().any(|file| file.strip_prefix(stem).is_some_and(ends_well))
    };
    let mut complaints = Vec::new();
    for (file, text) in tree.iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (line, content) in numbered(text) {
            let links = content.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
            let links = links.filter(|link| !link.is_empty() && !link.contains(':')).map(|link| join(folder, link));
            let spans = content.split('`').skip(1).step_by(2).filter(|_| file == "ARCHITECTURE.md");
            let spans = spans.filter(|span| is_path(span)).map(String::from);
            for path in links.chain(spans).filter(|path| !exists(path)) {
                complaints.push(format!("{file}:{line}: `{path}` does not exist"));
            }
        }
    }
    complaints
}

/// Checks that every dependency has a reason in ARCHITECTURE.md.
fn dependencies_are_explained(tree: &Tree) -> Vec<String> {
    let explained = tree.get("ARCHITECTURE.md").map_or("", String::as_str);
    let mut complaints = Vec::new();
    for (manifest, text) in manifests(tree) {
        for name in dependencies(text).into_iter().filter(|name| !name.starts_with("palestra")) {
            if !explained.contains(&format!("`{name}`")) {
                complaints.push(format!("{manifest}: ARCHITECTURE.md does not say what `{name}` is for"));
            }
        }
    }
    complaints
}

fn recipes_are_documented(tree: &Tree) -> Vec<String> {
    let guides: Vec<&String> = tree.iter().filter(|(path, _)| path.ends_with(".md")).map(|(_, text)| text).collect();
    let recipes = tree.keys().filter(|path| path.starts_with("examples/recipes/") && path.ends_with(".toml"));
    recipes
        .filter(|path| !guides.iter().any(|text| text.contains(&path["examples/recipes/".len()..])))
        .map(|path| format!("{path}: no Markdown file names this recipe"))
        .collect()
}
