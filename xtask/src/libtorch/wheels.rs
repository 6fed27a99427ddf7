//! Wheels of a build of libtorch: kept in the cache folder, or downloaded from PyPI by their hashes and unpacked.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use palestra_files::{publish, write_atomically};

use super::INSTEAD;
use super::builds::{Build, VERSION};
use crate::Result;

/// Python script that prints the hash of a folder: of the hashes and names of all its files, in order.
const DIGEST: &str = r#"
import hashlib, os, sys
folder = sys.argv[1]
tree = hashlib.sha256()
for place, folders, files in os.walk(folder):
    folders.sort()
    for name in sorted(files):
        path = os.path.join(place, name)
        content = hashlib.sha256()
        with open(path, "rb") as file:
            while part := file.read(1 << 20):
                content.update(part)
        tree.update(f"{content.hexdigest()}  {os.path.relpath(path, folder)}\n".encode())
print(tree.hexdigest())
"#;

/// Python script that unpacks parts of a wheel: arguments are the wheel, the target folder, and `from=to` for each
/// part.
const UNPACK: &str = r#"
import os, shutil, sys, zipfile
wheel, target, *parts = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    names = [name for name in archive.namelist() if not name.endswith("/")]
    for source, to in (part.split("=") for part in parts):
        found = [name for name in names if name == source or source.endswith("/") and name.startswith(source)]
        if not found:
            sys.exit(f"{wheel} holds no {source}")
        for name in found:
            path = os.path.join(target, to + name[len(source):])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(name) as packed, open(path, "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
"#;

/// Returns libtorch in the cache folder. If two processes run at once, the second waits, and finds what the first
/// brought. Its files must have the hash that `build` tells.
pub fn cached_or_downloaded(cache: &Path, build: &Build) -> Result<PathBuf> {
    let named = |suffix: &str| cache.join(format!("libtorch-{VERSION}-{}{suffix}", build.name));
    let folder = named("");
    if missing(&folder, &parts(build)).is_none() {
        verify(&folder, build.sha256)?;
        return Ok(folder.join(build.home));
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(format!(
            "libtorch is brought for Linux on x86_64 alone, and this is {} on {}: {INSTEAD}",
            env::consts::OS,
            env::consts::ARCH
        ));
    }
    let at = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(cache).map_err(|error| at(cache, error))?;
    let lock_path = named(".lock");
    let lock = File::create(&lock_path).map_err(|error| at(&lock_path, error))?;
    lock.lock().map_err(|error| at(&lock_path, error))?;
    if missing(&folder, &parts(build)).is_some() {
        // The download has a name of its own until it is complete, so a broken one leaves nothing that looks like
        // libtorch. The leftovers of a killed process can be removed here, because this process holds the lock.
        let partial = named(".partial");
        for stale in [&partial, &folder] {
            if stale.exists() {
                fs::remove_dir_all(stale).map_err(|error| at(stale, error))?;
            }
        }
        let brought = download(build, &partial)
            .and_then(|()| publish(&partial.join("libtorch"), &folder).map_err(|error| error.to_string()));
        // The wheels are removed in any case. An error of the download is the better message.
        let cleared = fs::remove_dir_all(&partial);
        brought?;
        cleared.map_err(|error| at(&partial, error))?;
    }
    verify(&folder, build.sha256)?;
    Ok(folder.join(build.home))
}

/// Refuses a libtorch with other files than those of the wheels.
fn verify(libtorch: &Path, kept: &str) -> Result<()> {
    let mut digest = Command::new("python3");
    digest.args(["-c", DIGEST]).arg(libtorch).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output =
        digest.output().map_err(|error| format!("python3 does not start: {error}. Install it, or {INSTEAD}"))?;
    let found = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && found.trim() == kept {
        return Ok(());
    }
    Err(format!(
        "{}: the hash of its files is {:?} and should be {kept}; remove this folder to have libtorch brought again, or \
         {INSTEAD}",
        libtorch.display(),
        found.trim()
    ))
}

/// Downloads the wheels into `partial` and unpacks libtorch into `partial/libtorch`.
fn download(build: &Build, partial: &Path) -> Result<()> {
    let (wheels, libtorch) = (partial.join("wheels"), partial.join("libtorch"));
    eprintln!("Bringing libtorch {VERSION} from PyPI: {}", build.size);
    for wheel in build.wheels {
        let package = wheel.requirement.split("==").next().unwrap_or_default();
        let folder = wheels.join(package);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        // pip takes hashes from a file alone.
        let requirement = wheels.join(format!("{package}.txt"));
        let line = format!("{} --hash=sha256:{}\n", wheel.requirement, wheel.sha256);
        fs::write(&requirement, line).map_err(|error| format!("{}: {error}", requirement.display()))?;
        let mut pip = Command::new("python3");
        // No cache: pip would keep the wheels that are thrown away here.
        pip.args(["-m", "pip", "download", "--no-cache-dir", "--no-deps", "--only-binary=:all:"])
            .args(["--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"])
            .args(["--platform", wheel.platform, "--dest"])
            .arg(&folder)
            .args(["--require-hashes", "--requirement"])
            .arg(&requirement);
        python(&mut pip, &format!("pip cannot download {}", wheel.requirement))?;
        let mut files = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let file = files.next().ok_or_else(|| format!("pip left no wheel in {}", folder.display()))?;
        let mut unpack = Command::new("python3");
        unpack.args(["-c", UNPACK]).arg(&file).arg(&libtorch);
        unpack.args(wheel.take.iter().map(|(from, to)| format!("{from}={to}")));
        python(&mut unpack, &format!("cannot unpack {}", file.display()))?;
    }
    let libtorch = libtorch.join(build.home);
    let write = |name: &str, content: &str| {
        write_atomically(&libtorch.join(name), content.as_bytes()).map_err(|error| error.to_string())
    };
    if let Some(script) = build.libtorch_so {
        write("lib/libtorch.so", script)?;
    }
    write("build-version", VERSION)
}

/// Runs Python with its progress on standard error. The error holds its last messages.
fn python(command: &mut Command, failure: &str) -> Result<()> {
    // Standard output belongs to the program that `run` starts.
    let output = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|child| child.wait_with_output())
        .map_err(|error| {
            format!("{failure}: python3 does not start: {error}. Install python3 with pip, or {INSTEAD}")
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{failure} ({}):\n{}\nOtherwise {INSTEAD}",
        output.status,
        last_lines(&String::from_utf8_lossy(&output.stderr), 8)
    ))
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last: Vec<String> =
        lines[lines.len().saturating_sub(count)..].iter().map(|line| format!("  | {line}")).collect();
    last.join("\n")
}

/// All parts of a folder of this build.
fn parts(build: &Build) -> Vec<&'static str> {
    let script = build.libtorch_so.map(|_| "lib/libtorch.so");
    build.wheels.iter().flat_map(|wheel| wheel.take.iter().map(|(_, to)| *to)).chain(script).collect()
}

/// The first of `parts` that `folder` lacks.
pub fn missing<'a>(folder: &Path, parts: &[&'a str]) -> Option<&'a str> {
    parts.iter().copied().find(|part| !folder.join(part).exists())
}

#[cfg(test)]
mod tests {
    use super::super::builds::CPU;
    use super::super::tests::folder;
    use super::*;

    #[test]
    fn a_cached_libtorch_needs_no_download_and_leaves_no_lock() {
        let cache = folder("cached", &[]);
        for part in parts(&CPU) {
            let file = if part.ends_with('/') { format!("{part}torch.h") } else { part.to_string() };
            folder("cached", &[&format!("libtorch-2.9.0-cpu/{file}")]);
        }
        let libtorch = cache.join("libtorch-2.9.0-cpu");
        let with_hash = |sha256| cached_or_downloaded(&cache, &Build { sha256, ..CPU });
        let told = with_hash("0").unwrap_err();
        let digest: &'static str = told.split('"').nth(1).unwrap().to_string().leak();
        assert!(digest.len() == 64 && told.contains("and should be 0; remove this folder"), "{told}");
        assert_eq!(with_hash(digest).unwrap(), libtorch);
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
        fs::write(libtorch.join("lib/libc10.so"), "another").unwrap();
        assert!(with_hash(digest).is_err());
        fs::remove_dir_all(cache).unwrap();
    }

    #[test]
    fn unpacking_takes_files_and_folders_and_names_what_a_wheel_lacks() {
        let place = folder("unpack", &[]);
        fs::create_dir_all(&place).unwrap();
        let wheel = place.join("a.whl");
        let pack = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'w')\nz.writestr('a/include/x/y.h', 'y')\n\
                    z.writestr('a/lib/l.so', 'l')\nz.writestr('a/lib/m.so', 'm')\nz.close()";
        python(Command::new("python3").args(["-c", pack]).arg(&wheel), "packing").unwrap();
        let unpack = |parts: &[&str]| {
            python(
                Command::new("python3").args(["-c", UNPACK]).arg(&wheel).arg(place.join("out")).args(parts),
                "unpacking",
            )
        };
        unpack(&["a/include/=include/", "a/lib/l.so=lib/l.so"]).unwrap();
        assert_eq!(fs::read_to_string(place.join("out/include/x/y.h")).unwrap(), "y");
        assert_eq!(fs::read_to_string(place.join("out/lib/l.so")).unwrap(), "l");
        assert!(!place.join("out/lib/m.so").exists());
        let message = unpack(&["a/lib/n.so=lib/n.so"]).unwrap_err();
        assert!(message.contains("holds no a/lib/n.so") && message.contains("LIBTORCH="), "{message}");
        fs::remove_dir_all(place).unwrap();
    }
}
