#![no_main]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libfuzzer_sys::fuzz_target;
use palestra::envs::{Definition, Registry};

// The bytes are what a program answers, whatever it is asked. libFuzzer's own main leaves SIGPIPE as it is, which a program that
// reads nothing causes; Rust's ignores it.
fuzz_target!(init: ignore_broken_pipes(), |bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("answers.jsonl");
    std::fs::write(&file, bytes).expect("a file");
    let command = format!("command = [\"cat\", {:?}]", file.display().to_string());
    let text = format!("kind = \"process\"\n[options]\n{command}\ntimeout = 1\nstart_timeout = 1\n");
    let definition = Definition::from_toml("program.toml", &text).expect("a definition");
    let Ok(mut env) = Registry::builtin().build(&definition) else { return };
    if env.reset(1).is_ok() {
        let _ = env.step("up");
    }
});

fn ignore_broken_pipes() {
    let _ = signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::new(AtomicBool::new(false)));
}
