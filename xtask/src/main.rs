//! `cargo xtask`: tasks that cargo alone cannot do.
//!
//! Brings libtorch, runs the checks and the whole test suite with it, and compares with Python. It knows the repository and its commands, and
//! nothing of what the program does. It has few dependencies, so that it compiles in seconds on a new machine.

mod campaign;
mod guard;
mod libtorch;
mod parity;
mod sbom;
mod wheel;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// Result with an error message for the person at the terminal.
type Result<T> = std::result::Result<T, String>;

const HELP: &str = "\
What cargo alone cannot do for Palestra

Usage: cargo xtask <COMMAND> [-- ARGS]

Commands:
  fetch [--cpu | --cuda]
                 Bring libtorch 2.9.0 (Linux x86_64) and remember where it is in .cargo/libtorch.toml: for the CPU (a 900 MB
                 download, 460 MB kept), or for NVIDIA's GPUs too (CUDA 12.8; 3.5 GB, 5.9 GB kept). Without a word: what
                 was taken last, else the CPU's. After it plain cargo works: `cargo build --release --features libtorch`
  test [-- ARGS] Fetch, then the whole test suite, on every device that is built in
                 (ARGS go to cargo test: `cargo xtask test -- --test it tidy`)
  parity [-- ARGS]
                 The tests that need Python with transformers, PEFT and TRL, which `test` ignores, without libtorch. The
                 first call makes a Python environment (PyPI; 7 GB). ARGS go to cargo test: `-- --features libtorch`
  run -- ARGS    Fetch, then the program with libtorch (ARGS go to it: `cargo xtask run -- --help`)
  campaign NAME [--minutes N | --hours N] [--program PATH]
                 An attack on a promise of docs/reliability.md: kill, disk, load, soak, properties or fuzz; on the program
                 that PATH names (`campaign` alone says what it is for each), else on one that it builds for flex
  sbom           The software bill of materials, CycloneDX 1.5 in JSON, on standard output
  wheel [-- ARGS] The Python wheel of the program and its package, in dist/, tried in an empty environment (PyPI: maturin).
                 For glibc 2.28 or later. ARGS replace the arguments of that: `cargo xtask wheel -- --profile dev`
  wheel --libtorch
                 After it: the wheel of the program on the libtorch of the package torch, tried with the torch of `parity`
  lint           Fetch, then formatting, clippy, documentation and, where cargo-deny is installed, licences
  docs           Write docs/reference/keys.md anew from the code's documentation
  ci             lint, then test: what a change must pass

Environment:
  LIBTORCH       A folder with include/ and lib/libtorch_cpu.so to use instead of fetching
  PALESTRA_CACHE Where libtorch and the Python environment are kept (default: $XDG_CACHE_HOME/palestra, else
                 ~/.cache/palestra)
  PALESTRA_TRANSFORMERS_VENV
                 The Python environment of `parity`, if it is kept elsewhere
  PALESTRA_SMOLLM2
                 A Hugging Face model directory with a chat template for `parity` to compare too

Everything is built with --release, so that the dependencies, which take about ten minutes, are compiled once.
To use no libtorch at all, leave the feature out: `cargo build --release` needs nothing but Rust.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("--help", &[][..]),
    };
    // A `--` between our command and the arguments meant for cargo or the program is optional.
    let rest = if rest.first().is_some_and(|first| first == "--") { &rest[1..] } else { rest };
    let outcome = match command {
        "fetch" => build_of_libtorch(rest)
            .and_then(|build| libtorch::fetch(&root(), build))
            .map(|libtorch| eprintln!("libtorch is in {}; .cargo/libtorch.toml tells cargo", libtorch.display())),
        "test" => libtorch::fetch(&root(), None).and_then(|libtorch| test(&libtorch, rest)),
        "parity" => parity(rest),
        "docs" => nothing_more(command, rest).and_then(|()| docs()),
        "campaign" => campaign::run(rest),
        "sbom" => nothing_more(command, rest).and_then(|()| sbom::print()),
        "wheel" => wheel(rest),
        "run" => libtorch::fetch(&root(), None).and_then(|libtorch| run(&libtorch, rest)),
        "lint" => nothing_more(command, rest).and_then(|()| libtorch::fetch(&root(), None)).and_then(|at| lint(&at)),
        "ci" => nothing_more(command, rest)
            .and_then(|()| libtorch::fetch(&root(), None))
            .and_then(|libtorch| lint(&libtorch).and_then(|()| test(&libtorch, &[]))),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        unknown => Err(format!("no command `{unknown}`; `cargo xtask --help` lists them")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Checks formatting, lints, documentation and licences: everything that a change must pass besides the tests.
fn lint(libtorch: &Path) -> Result<()> {
    let workspace = ["--release", "--workspace", "--features", "libtorch"];
    stage("formatting", cargo(libtorch).args(["fmt", "--all", "--check"]))?;
    stage("clippy", cargo(libtorch).arg("clippy").args(workspace).args(["--all-targets", "--", "--deny", "warnings"]))?;
    let mut doc = cargo(libtorch);
    doc.arg("doc").args(workspace).arg("--no-deps").env("RUSTDOCFLAGS", "--deny warnings");
    stage("documentation", &mut doc)?;
    let deny = cargo(libtorch).args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if deny.is_ok_and(|status| status.success()) {
        let cache = libtorch::cache(|name| env::var_os(name).map(PathBuf::from))?;
        let mut deny = cargo(libtorch);
        deny.args(["deny", "check", "licenses", "bans", "sources"]).env(DENY_HOME, &cache);
        stage("licences", &mut deny)?;
        return advisories(libtorch, &cache);
    }
    title("licences, advisories: skipped, for cargo-deny is not installed (cargo install cargo-deny --locked)");
    Ok(())
}

/// Variable with the folder of the database, for deny.toml.
const DENY_HOME: &str = "CARGO_DENY_HOME";

/// Looks for known vulnerabilities in the database that is there; nothing is fetched here.
fn advisories(libtorch: &Path, cache: &Path) -> Result<()> {
    let database = cache.join("advisory-db");
    let has_any = std::fs::read_dir(&database).is_ok_and(|mut entries| entries.next().is_some());
    if !has_any {
        title(&format!(
            "advisories: skipped, for {} has no database (git clone https://github.com/RustSec/advisory-db into a folder there)",
            database.display()
        ));
        return Ok(());
    }
    let mut deny = cargo(libtorch);
    deny.args(["deny", "--offline", "check", "advisories", "--disable-fetch"]);
    stage("advisories", deny.env(DENY_HOME, cache))
}

/// Runs the whole suite. The tests themselves cover every device that is built in.
fn test(libtorch: &Path, arguments: &[String]) -> Result<()> {
    let suite = ["test", "--release", "--workspace", "--features", "libtorch"];
    stage("tests", cargo(libtorch).args(suite).args(arguments))
}

/// Compares with transformers, PEFT and TRL in Python.
fn parity(arguments: &[String]) -> Result<()> {
    let environment = parity::environment(&root(), || libtorch::cache(|name| env::var_os(name).map(PathBuf::from)))?;
    let mut command = plain_cargo();
    parity::select_tests(&mut command, &environment, arguments);
    stage("parity", &mut command)
}

/// Builds the wheel of the program, or that of the program with libtorch.
fn wheel(arguments: &[String]) -> Result<()> {
    let cache = libtorch::cache(|name| env::var_os(name).map(PathBuf::from))?;
    if arguments.first().is_none_or(|first| first != "--libtorch") {
        return wheel::build(&root(), &cache, arguments);
    }
    nothing_more("wheel --libtorch", &arguments[1..])?;
    let libtorch = libtorch::fetch(&root(), None)?;
    let mut build = cargo(&libtorch);
    build.args(["build", "--release", "--features", "palestra/libtorch", "-p", "palestra", "--bin", "palestra"]);
    stage("program", &mut build)?;
    let torch = parity::environment(&root(), || Ok(cache.clone()))?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    wheel::build_libtorch(&root(), &cache, &target.join("release/palestra"), &torch)
}

/// Writes the reference of keys: the test that compares it with the code writes it if asked to.
fn docs() -> Result<()> {
    let mut command = plain_cargo();
    command.env("UPDATE_REFERENCE", "1");
    command.args(["test", "--release", "--test", "it", "reference::the_reference_of_keys"]);
    stage("docs", &mut command)
}

/// Runs the program in place of this process, so that Ctrl-C and the exit code are its own.
fn run(libtorch: &Path, arguments: &[String]) -> Result<()> {
    let mut command = cargo(libtorch);
    command.args(["run", "--release", "--features", "libtorch", "--manifest-path"]);
    command.arg(root().join("Cargo.toml")).arg("--").args(arguments);
    #[cfg(unix)]
    return Err(format!("cargo does not start: {}", std::os::unix::process::CommandExt::exec(&mut command)));
    #[cfg(not(unix))]
    stage("run", &mut command)
}

/// Runs one step in the repository's root, under a title line, and prints how long it took.
pub fn stage(name: &str, command: &mut Command) -> Result<()> {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    title(&format!("{name}: cargo {}", words.join(" ")));
    let start = Instant::now();
    let status = guard::Guarded::start(command.current_dir(root()))?.output()?.status;
    eprintln!("-- {name}: {:.0} s", start.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(format!("{name}: failed ({status})")) }
}

fn title(line: &str) {
    eprintln!("\n== {line}");
}

/// Command of the cargo that runs this program, with the path of libtorch.
fn cargo(libtorch: &Path) -> Command {
    let mut command = plain_cargo();
    command.env("LIBTORCH", libtorch);
    command
}

/// Command of the cargo that runs this program.
pub fn plain_cargo() -> Command {
    without_package(Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())))
}

/// A command that builds, without the variables that `cargo run` sets for this package: build scripts read them (ring's
/// does), and alternating between xtask and plain cargo would recompile what depends on them each time.
pub fn without_package(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        let about_us = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if about_us.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            command.env_remove(name);
        }
    }
    command
}

/// Root of the repository: the folder above this package.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ is inside the repository").to_path_buf()
}

/// Build of libtorch that the arguments of `fetch` name.
fn build_of_libtorch(arguments: &[String]) -> Result<Option<&'static libtorch::Build>> {
    match arguments {
        [] => Ok(None),
        [one] if one == "--cpu" => Ok(Some(&libtorch::CPU)),
        [one] if one == "--cuda" => Ok(Some(&libtorch::CUDA)),
        _ => Err(format!("fetch takes --cpu, --cuda or nothing, not {}", arguments.join(" "))),
    }
}

fn nothing_more(command: &str, rest: &[String]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(first) => Err(format!("`cargo xtask {command}` takes no arguments, and was given `{first}`")),
    }
}
