//! Reading of the tree: its files, and the few things that the checks look for in them.
//!
//! These functions read Rust and Markdown line by line and word by word. That is enough for code that rustfmt has laid
//! out, and simpler to read than a parser.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Paths from the repository's root with `/`, each with its text (empty for files that people do not write).
pub type Tree = BTreeMap<String, String>;

pub fn read_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if path.is_dir() {
                // Build outputs and the files that runs write are not checked; `.git` and the like are not part of the
                // tree.
                if !name.starts_with('.') && !["target", "runs", "logs", "data"].contains(&name.as_str()) {
                    folders.push(path);
                }
                continue;
            }
            let written = [".rs", ".md", ".toml"].iter().any(|ending| name.ends_with(ending));
            let text = if written { fs::read_to_string(&path).unwrap() } else { String::new() };
            let parts: Vec<_> = path.strip_prefix(root).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
            tree.insert(parts.join("/"), text);
        }
    }
    tree
}

pub fn rust(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    tree.iter().filter(|(path, _)| path.ends_with(".rs"))
}

pub fn manifests(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    tree.iter().filter(|(path, _)| path.ends_with("Cargo.toml"))
}

/// True for the checks and their wrong trees, which contain the words that they forbid.
pub fn is_a_check(path: &str) -> bool {
    path.starts_with("tests/it/tidy")
}

/// Names of all dependencies of a manifest, of any kind.
pub fn dependencies(manifest: &str) -> BTreeSet<String> {
    fn collect(table: &toml::Table, names: &mut BTreeSet<String>) {
        for (key, value) in table.iter().filter_map(|(key, value)| Some((key, value.as_table()?))) {
            match key.as_str() {
                "dependencies" | "dev-dependencies" | "build-dependencies" => names.extend(value.keys().cloned()),
                _ => collect(value, names),
            }
        }
    }
    let mut names = BTreeSet::new();
    collect(&manifest.parse().unwrap(), &mut names);
    names
}

/// Returns a complaint for every line of code, without comments, that contains one of `words`.
pub fn find<'a>(files: impl Iterator<Item = (&'a String, &'a String)>, words: &[&str], complaint: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in files {
        for (line, content) in numbered(text) {
            if let Some(word) = words.iter().find(|word| has_word(without_comment(content), word)) {
                complaints.push(format!("{path}:{line}: `{word}` {complaint}"));
            }
        }
    }
    complaints
}

pub fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

pub fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

pub fn has_word(text: &str, word: &str) -> bool {
    let part_of_name = |rest: &str| rest.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(start, _)| !within_word(text, start) && !part_of_name(&text[start + word.len()..]))
}

/// True if the name that starts at `start` continues to the left.
pub fn within_word(text: &str, start: usize) -> bool {
    text[..start].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// True if a code span is a path of the repository rather than code.
pub fn is_path(span: &str) -> bool {
    let roots = ["src/", "crates/", "envs/", "datasets/", "examples/", "tests/", "xtask/", "docs/", ".cargo/", ".ci/"];
    roots.iter().any(|root| span.starts_with(root)) && !span.contains([' ', '<', '{'])
}

pub fn join(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}
