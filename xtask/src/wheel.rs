//! The wheel of the program and the Python package: built by maturin, then installed and tried in an empty environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// Requirement of the builder, as in `python/pyproject.toml`.
const BUILDER: &str = "maturin>=1.7,<2";

/// Maximum size of a wheel, in MB of 10^6 bytes. That of another profile than release is not bounded.
const MAX_MB: u64 = 25;

/// Arguments of a build for users.
const RELEASE: [&str; 1] = ["--release"];

/// Run that the installed program trains, small enough for a test.
const RUN: [&str; 8] =
    ["train", "snake-ppo", "--quiet", "--set", "train.updates=2", "--set", "evaluation.episodes=2", "--out"];

/// Builds the wheel into `dist/`, and tries it. `arguments` replace those of a build for users.
///
/// # Errors
/// Python does not start, the build fails, or the wheel does not do what it should.
pub fn build(root: &Path, cache: &Path, arguments: &[String]) -> Result<()> {
    let builder = environment(&cache.join("wheel-venv"))?;
    run(Command::new(builder.join("pip")).args(["install", "--quiet", BUILDER]))?;
    let (dist, made) = (root.join("dist"), root.join("target/wheel-new"));
    remove(&made)?;
    let mut maturin = Command::new(builder.join("maturin"));
    maturin.arg("build").arg("--out").arg(&made);
    let is_for_users = arguments.is_empty();
    match is_for_users {
        true => maturin.args(RELEASE),
        false => maturin.args(arguments),
    };
    run(maturin.current_dir(root.join("python")))?;
    let wheel = only_file(&made)?;
    let bytes = fs::metadata(&wheel).map_err(|error| format!("{}: {error}", wheel.display()))?.len();
    if is_for_users && bytes > MAX_MB * 1_000_000 {
        return Err(format!("{}: {bytes} bytes, more than {MAX_MB} MB", wheel.display()));
    }
    try_out(&wheel, &root.join("target/wheel-trial"))?;
    let name = wheel.file_name().ok_or("the wheel has no name")?;
    fs::create_dir_all(&dist).map_err(|error| format!("{}: {error}", dist.display()))?;
    fs::copy(&wheel, dist.join(name)).map_err(|error| format!("{}: {error}", dist.display()))?;
    eprintln!(
        "\n{}: {:.1} MB; it trains snake-ppo in an empty environment",
        dist.join(name).display(),
        bytes as f64 / 1e6
    );
    Ok(())
}

/// Installs a wheel alone in an empty environment, trains with its program, and imports its package.
fn try_out(wheel: &Path, folder: &Path) -> Result<()> {
    remove(folder)?;
    let programs = environment(folder)?;
    run(Command::new(programs.join("pip")).args(["install", "--quiet", "--no-index"]).arg(wheel))?;
    run(Command::new(programs.join("palestra")).args(RUN).arg(folder.join("run")).current_dir(folder))?;
    let import = "import palestra; assert palestra.PROTOCOL == 1";
    run(Command::new(programs.join("python")).args(["-c", import]).current_dir(folder))
}

/// Makes a Python environment if it is missing, and returns the folder of its programs.
fn environment(folder: &Path) -> Result<PathBuf> {
    if !folder.join("bin/python").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    }
    Ok(folder.join("bin"))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: failed ({status})")),
        Err(error) => Err(format!("{program} does not start: {error}")),
    }
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let files = fs::read_dir(folder).map_err(wrong)?.map(|entry| entry.map(|entry| entry.path()));
    let files: Vec<PathBuf> = files.collect::<std::io::Result<_>>().map_err(wrong)?;
    match files.as_slice() {
        [file] => Ok(file.clone()),
        _ => Err(format!("{}: {} files, where one wheel should be", folder.display(), files.len())),
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", folder.display())),
        _ => Ok(()),
    }
}
