//! Memory of a run.

use std::io::Write;

use crate::tiny_run::{lake, wait_for_updates};

/// True if huge pages are asked for somewhere in the heap of a process.
fn heap_is_on_huge_pages(id: u32) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{id}/smaps")).unwrap();
    let mut is_heap = false;
    maps.lines().any(|line| match line.strip_prefix("VmFlags:") {
        Some(flags) => is_heap && flags.split_whitespace().any(|flag| flag == "hg"),
        None => {
            // The first line of a part tells its addresses and name; the others begin with a capital letter.
            if !line.starts_with(|first: char| first.is_ascii_uppercase()) {
                is_heap = line.ends_with("[heap]");
            }
            false
        }
    })
}

#[test]
fn tensors_of_a_run_are_on_huge_pages() {
    if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        // Written directly, since what a test prints is shown only if it fails.
        return writeln!(std::io::stderr(), "skipped: this system has no huge pages").unwrap();
    }
    let sandbox = lake();
    let mut child = sandbox.command(&["train", "lake.toml", "--quiet", "--out", "out", "--set=train.updates=100000"]);
    let mut child = child.spawn().unwrap();
    wait_for_updates(&mut child, &sandbox.path().join("out"), 1);
    let is_huge = heap_is_on_huge_pages(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_huge, "no huge pages in the heap");
}
