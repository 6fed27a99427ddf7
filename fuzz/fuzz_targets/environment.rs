#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::envs::{Definition, Registry};

fuzz_target!(|text: &str| {
    // A definition may name a program to run; what it does is not of interest here.
    let definition = Definition::from_toml("fuzz.toml", text).ok().filter(|it| it.kind.as_deref() != Some("process"));
    let Some(mut env) = definition.and_then(|definition| Registry::builtin().build(&definition).ok()) else { return };
    if env.reset(1).is_ok() {
        let _ = env.step("up");
    }
});
