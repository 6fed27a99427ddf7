//! Environments by name, and the error messages for wrong definitions.

use std::path::PathBuf;

use palestra_envs::{Definition, Env, Options, Registry, Result, frozen_lake};

/// Builds an environment from a file with this text.
fn make_file(name: &str, text: &str) -> Result<Box<dyn Env>> {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    Registry::builtin().make(path.to_str().unwrap())
}

#[track_caller]
fn assert_refused(text: &str, expected: &str) {
    let message = make_file("my.toml", text).err().expect("refused").to_string();
    assert!(message.contains(expected), "{message:?} lacks {expected:?}");
}

#[test]
fn every_built_in_is_made_by_its_name_with_and_without_version() {
    let registry = Registry::builtin();
    assert!(registry.entries().count() >= 4);
    for entry in registry.entries() {
        let env = registry.make(entry.name).unwrap();
        let id = env.spec().id.clone();
        let version = id.strip_prefix(entry.name).and_then(|rest| rest.strip_prefix("-v")).unwrap_or_default();
        assert!(version.parse::<u32>().is_ok_and(|version| version >= 1), "{id}");
        assert_eq!(registry.make(&id).unwrap().spec(), env.spec());
        assert!(!entry.summary.is_empty() && entry.card.is_some_and(|card| card.starts_with("# ")), "{}", entry.name);
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    let registry = Registry::builtin();
    let message = |name: &str| registry.make(name).err().unwrap().to_string();
    assert_eq!(
        message("frozn-lake-4x4"),
        "no environment `frozn-lake-4x4`; did you mean `frozen-lake-4x4`, `frozen-lake-8x8`?"
    );
    assert!(message("frozen-lake").contains("did you mean `frozen-lake-4x4`"));
    assert!(message("zzzzzz").contains("there are `cliff-walking`, "));
    assert_eq!(
        message("frozen-lake-4x4-v7"),
        "no environment `frozen-lake-4x4-v7`: the present version is `frozen-lake-4x4-v1`"
    );
}

#[test]
fn a_file_defines_an_environment() {
    let text = "id = 'pond'\nkind = 'frozen-lake'\n[options]\nmap = ['SF', 'HG']\nslippery = false\n[wrappers]\nreward_scale = 10";
    let mut env = make_file("pond.toml", text).unwrap();
    assert_eq!(env.spec().id, "pond-v1");
    assert_eq!(env.spec().optimal_return, Some(10.0));
    env.reset(0).unwrap();
    env.step("right").unwrap();
    assert_eq!(env.step("down").unwrap().reward, 10.0);
}

#[test]
fn a_wrong_file_is_told_with_line_field_and_what_is_right() {
    let head = "id = 'my'\nkind = 'frozen-lake'\n[options]\n";
    assert_refused(&format!("{head}slipery = true"), "my.toml:4: unknown key `slipery` in [options]");
    assert_refused(&format!("{head}slipery = true"), "did you mean `slippery`?");
    assert_refused(
        &format!("{head}limit = 5\nslippery = 'yes'"),
        "my.toml:5: options.slippery: found string \"yes\", expected true or false",
    );
    assert_refused(
        &format!("{head}limit = 0"),
        "my.toml:4: options.limit: found integer `0`, expected a whole number, at least 1",
    );
    assert_refused(&format!("{head}view = 'texts'"), "did you mean `text`?");
    assert_refused(
        &format!("{head}map = ['SF', 'HGG']"),
        "my.toml:4: options.map: row 2 has 3 cells where row 1 has 2",
    );
    assert_refused(&format!("{head}map = 4"), "my.toml:4: options.map: a map is \"4x4\", \"8x8\" or a list of rows");
    assert_refused("id = 'my'\nkinds = 'frozen-lake'", "my.toml:2: unknown key `kinds`");
    assert_refused("id = 'my'\nkinds = 'frozen-lake'", "did you mean `kind`?");
    assert_refused(
        "id = 'my'\nkind = 'frozen-lak'",
        "my.toml:2: kind: no kind of environment `frozen-lak`; did you mean `frozen-lake`?",
    );
    assert_refused("kind = 'frozen-lake'\n[wrappers]\nlimits = 3", "my.toml:3: unknown key `limits` in [wrappers]");
    assert_refused(
        "kind = 'frozen-lake'\n[wrappers.invalid]\nreward = 'low'",
        "my.toml:3: wrappers.invalid.reward: found string \"low\", expected a number",
    );
    assert_refused("id = 'my'\nkind = ", "my.toml:2: ");
    assert_refused("[options]\nlimit = 3", "an environment needs an `id`, a `kind` or a `file`");
    let missing = Registry::builtin().make("missing.toml").err().unwrap().to_string();
    assert!(missing.starts_with("missing.toml: No such file"), "{missing}");
}

#[test]
fn a_run_file_lays_options_over_a_named_definition() {
    #[derive(serde::Deserialize)]
    struct Run {
        env: Definition,
    }
    let registry = Registry::builtin();
    let text = "[env]\nid = 'frozen-lake-8x8-v1'\noptions = { view = 'compact' }\nwrappers.limit = 9";
    let run: Run = toml::from_str(text).unwrap();
    let spec = registry.build(&run.env).unwrap().spec().clone();
    assert_eq!((spec.id.as_str(), spec.max_turns), ("frozen-lake-8x8-v1", Some(9)));
    assert_eq!(spec.alphabet.as_deref(), Some("01234567ABCDEFGHdlru"));
    let again: Definition = toml::from_str(&toml::to_string(&registry.resolve(&run.env).unwrap()).unwrap()).unwrap();
    assert_eq!(registry.build(&again).unwrap().spec(), &spec, "the resolved definition stands alone");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pond.toml");
    std::fs::write(&file, "id = 'pond'\nkind = 'frozen-lake'\nwrappers.limit = 7\noptions.slippery = false").unwrap();
    let overlaid = Definition { file: Some(file.clone()), ..run.env.clone() };
    assert!(registry.build(&overlaid).err().unwrap().to_string().contains("remove `id`"));
    let spec = registry.build(&Definition { id: None, ..overlaid }).unwrap().spec().clone();
    assert_eq!((spec.id.as_str(), spec.max_turns, spec.stochastic), ("pond-v1", Some(9), false));
    std::fs::write(&file, "file = 'other.toml'").unwrap();
    let error = registry.make(file.to_str().unwrap()).err().unwrap().to_string();
    assert!(error.ends_with("pond.toml: file: a definition names no other file"), "{error}");

    let text = "seed = 1\n\n[env]\nid = 'frozen-lake-4x4'\n\n[env.options]\nlimit = 'ten'";
    #[derive(serde::Deserialize)]
    struct Seeded {
        env: Definition,
    }
    let run: Seeded = toml::from_str(text).unwrap();
    let error = registry.build(&run.env.written_in("run.toml", text, "env")).err().unwrap().to_string();
    assert!(error.starts_with("run.toml:7: env.options.limit: found string \"ten\""), "{error}");
}

#[test]
fn options_without_a_file_are_still_explained() {
    let options = Options::new(toml::from_str("slipery = true").unwrap());
    let error = frozen_lake::build(&options).err().unwrap().to_string();
    assert!(error.starts_with("options: unknown key `slipery`; did you mean `slippery`? known keys: map"), "{error}");
}

#[test]
fn a_user_adds_a_kind() {
    let registry = Registry::builtin().with("mine", frozen_lake::build);
    assert_eq!(registry.make("mine").unwrap().spec().id, "mine-v1");
    let entry = registry.entry("mine-v1").unwrap();
    assert_eq!((entry.kind, entry.summary, entry.card), ("mine", "", None));
}
