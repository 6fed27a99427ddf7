//! Location of libtorch: set by the person, cached, or downloaded from PyPI.
//!
//! Many networks reach PyPI and not the site that torch-sys downloads from, and torch's wheel holds all that is needed
//! to compile and link. The wheel is built for CUDA. For the CPU a few of its libraries are enough, with two small ones
//! from NVIDIA's own wheels that `libtorch_cpu.so` needs at load time.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use palestra_files::{publish, write_atomically};

use crate::Result;

/// The one version that tch 0.22 binds.
const VERSION: &str = "2.9.0";

/// Advice for the case that libtorch cannot be brought.
const INSTEAD: &str = "set LIBTORCH=<a folder with include/ and lib/ of libtorch 2.9.0>, or build without the feature \
                         `libtorch`: the device `flex` is always there";

/// Python package, and the parts that are taken out of it.
struct Wheel {
    requirement: &'static str,
    /// Hash of the wheel. pip takes no other file.
    sha256: &'static str,
    /// Platform tag of pip for the oldest system that the wheel runs on. It is given explicitly, with the Python
    /// version, so that the same wheel is found with any Python that runs pip.
    platform: &'static str,
    /// Source (a file, or a folder ending in `/`) and target of each part, below libtorch's folder.
    take: &'static [(&'static str, &'static str)],
}

const WHEELS: [Wheel; 3] = [
    Wheel {
        requirement: "torch==2.9.0",
        sha256: "51de31219c97c51cf4bf2be94d622e3deb5dcc526c6dc00e97c17eaec0fc1d67",
        platform: "manylinux_2_28_x86_64",
        take: &[
            ("torch/include/", "include/"),
            ("torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
            ("torch/lib/libc10.so", "lib/libc10.so"),
            ("torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
        ],
    },
    Wheel {
        requirement: "nvidia-cuda-runtime-cu12==12.8.90",
        sha256: "adade8dcbd0edf427b7204d480d6066d33902cab2a4707dcfc48a2d0fd44ab90",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/cuda_runtime/lib/libcudart.so.12", "lib/libcudart.so.12")],
    },
    Wheel {
        requirement: "nvidia-cuda-cupti-cu12==12.8.90",
        sha256: "ea0cb07ebda26bb9b29ba82cda34849e73c166c18162d3913575b0c9db9a6182",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/cuda_cupti/lib/libcupti.so.12", "lib/libcupti.so.12")],
    },
];

/// Hash of all files that are kept of the wheels, as [`DIGEST`] computes it. It is compared at each use: what lies in the
/// cache for months is linked into the program.
const KEPT: &str = "a909c6cece2e215d506dfeb5cd155fdbc2257e612c11b7a144131b4c15230243";

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

/// What `.cargo/no-libtorch.toml` sets `LIBTORCH` to, so that a build without libtorch fetches nothing.
const NONE: &str = "no libtorch: run cargo xtask fetch";

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

/// Finds or brings libtorch, writes `.cargo/libtorch.toml` for plain cargo, and returns libtorch's folder.
///
/// # Errors
/// Says what to do when `LIBTORCH` is no libtorch, when this system has no wheel, and when pip fails.
pub fn fetch(root: &Path) -> Result<PathBuf> {
    let configuration = root.join(".cargo/libtorch.toml");
    let written = fs::read_to_string(&configuration).unwrap_or_default();
    let variable = env::var_os("LIBTORCH").filter(|value| !value.is_empty()).map(PathBuf::from);
    let libtorch = match chosen(variable, &written)? {
        Some(libtorch) => libtorch,
        None => cached_or_downloaded(&cache(|name| env::var_os(name).map(PathBuf::from))?, KEPT)?,
    };
    let wanted = configuration_text(&libtorch)?;
    // An unchanged file is not rewritten: no build sees a newer file, and a read-only tree works.
    if written != wanted {
        write_atomically(&configuration, wanted.as_bytes()).map_err(|error| error.to_string())?;
    }
    Ok(libtorch)
}

/// Libtorch that a person chose with `LIBTORCH`, now or at an earlier fetch; `None` if there is none.
///
/// cargo also puts the contents of `.cargo/libtorch.toml` into this environment. A value that is also `written` there
/// is therefore only remembered: if its folder is gone, libtorch is brought again instead of failing.
fn chosen(variable: Option<PathBuf>, written: &str) -> Result<Option<PathBuf>> {
    let Some(libtorch) = variable.filter(|libtorch| libtorch != Path::new(NONE)) else { return Ok(None) };
    let remembered = configuration_text(&libtorch).is_ok_and(|text| text == written);
    let library = format!("lib/{}torch_cpu{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    match missing(&libtorch, &["include", &library]) {
        None => Ok(Some(std::path::absolute(&libtorch).map_err(|error| format!("LIBTORCH: {error}"))?)),
        Some(_) if remembered => Ok(None),
        Some(part) => Err(format!(
            "LIBTORCH={} has no {part}; set it to a folder with include/ and {library} of libtorch {VERSION}, or unset it \
             to have libtorch brought from PyPI",
            libtorch.display()
        )),
    }
}

/// Folder that libtorch and the Python environment are kept in, shared by all work trees of this user.
pub fn cache(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.as_os_str().is_empty());
    let folder = set("PALESTRA_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("palestra")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/palestra")))
        .ok_or("neither PALESTRA_CACHE nor HOME is set: set PALESTRA_CACHE=<a folder to keep downloads in>")?;
    std::path::absolute(&folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// Returns libtorch in the cache folder. If two processes run at once, the second waits, and finds what the first
/// brought. Its files must have the hash `kept`.
fn cached_or_downloaded(cache: &Path, kept: &str) -> Result<PathBuf> {
    let named = |suffix: &str| cache.join(format!("libtorch-{VERSION}-cpu{suffix}"));
    let libtorch = named("");
    if missing(&libtorch, &parts()).is_none() {
        verify(&libtorch, kept)?;
        return Ok(libtorch);
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
    if missing(&libtorch, &parts()).is_some() {
        // The download has a name of its own until it is complete, so a broken one leaves nothing that looks like
        // libtorch. The leftovers of a killed process can be removed here, because this process holds the lock.
        let partial = named(".partial");
        for stale in [&partial, &libtorch] {
            if stale.exists() {
                fs::remove_dir_all(stale).map_err(|error| at(stale, error))?;
            }
        }
        let brought = download(&partial)
            .and_then(|()| publish(&partial.join("libtorch"), &libtorch).map_err(|error| error.to_string()));
        // The wheels are removed in any case. An error of the download is the better message.
        let cleared = fs::remove_dir_all(&partial);
        brought?;
        cleared.map_err(|error| at(&partial, error))?;
    }
    verify(&libtorch, kept)?;
    Ok(libtorch)
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
fn download(partial: &Path) -> Result<()> {
    let (wheels, libtorch) = (partial.join("wheels"), partial.join("libtorch"));
    eprintln!("Bringing libtorch {VERSION} from PyPI: a download of about 900 MB, of which 460 MB are kept");
    for wheel in &WHEELS {
        let package = wheel.requirement.split("==").next().unwrap_or_default();
        let folder = wheels.join(package);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        // pip takes hashes from a file alone.
        let requirement = wheels.join(format!("{package}.txt"));
        let line = format!("{} --hash=sha256:{}\n", wheel.requirement, wheel.sha256);
        fs::write(&requirement, line).map_err(|error| format!("{}: {error}", requirement.display()))?;
        let mut pip = Command::new("python3");
        // No cache: pip would keep the 900 MB that are thrown away here.
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
    // tch links with -ltorch. In this version libtorch.so is empty but for its dependency on libtorch_cpu.so, and the
    // wheel's one wants the CUDA libraries too.
    write_atomically(&libtorch.join("lib/libtorch.so"), b"INPUT(libtorch_cpu.so)\n")
        .and_then(|()| write_atomically(&libtorch.join("build-version"), VERSION.as_bytes()))
        .map_err(|error| error.to_string())
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

/// All parts of a folder that this program brought.
fn parts() -> Vec<&'static str> {
    WHEELS.iter().flat_map(|wheel| wheel.take.iter().map(|(_, to)| *to)).chain(["lib/libtorch.so"]).collect()
}

/// The first of `parts` that `folder` lacks.
fn missing<'a>(folder: &Path, parts: &[&'a str]) -> Option<&'a str> {
    parts.iter().copied().find(|part| !folder.join(part).exists())
}

/// Contents of `.cargo/libtorch.toml` if libtorch is in `libtorch`.
fn configuration_text(libtorch: &Path) -> Result<String> {
    let path = libtorch.to_str().ok_or_else(|| format!("{}: not UTF-8, as cargo needs it", libtorch.display()))?;
    if path.contains(['\'', '\n']) {
        return Err(format!("{path}: has a quote or a line break; move libtorch to a folder without"));
    }
    Ok(format!("# Written by `cargo xtask fetch`.\n[env]\nLIBTORCH = '{path}'\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[&str]) -> PathBuf {
        let folder = env::temp_dir().join(format!("palestra-xtask-{}-{name}", std::process::id()));
        for file in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn a_complete_libtorch_in_the_environment_is_used() {
        let libtorch = folder("complete", &["include/torch.h", "lib/libtorch_cpu.so"]);
        assert_eq!(chosen(Some(libtorch.clone()), "").unwrap(), Some(libtorch.clone()));
        assert_eq!(chosen(None, "").unwrap(), None);
        assert_eq!(chosen(Some(NONE.into()), "").unwrap(), None);
        fs::remove_dir_all(libtorch).unwrap();
    }

    #[test]
    fn an_incomplete_one_is_an_error_unless_only_remembered() {
        let libtorch = folder("incomplete", &["include/torch.h"]);
        let message = chosen(Some(libtorch.clone()), "").unwrap_err();
        assert!(message.contains("has no lib/libtorch_cpu.so"), "{message}");
        let remembered = configuration_text(&libtorch).unwrap();
        assert_eq!(chosen(Some(libtorch.clone()), &remembered).unwrap(), None);
        fs::remove_dir_all(libtorch).unwrap();
    }

    #[test]
    fn the_cache_folder_is_the_most_particular_one_that_is_set() {
        let with = |set: &[(&str, &str)]| {
            cache(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value)))
        };
        let home = ("HOME", "/home/ada");
        assert_eq!(with(&[home]).unwrap(), Path::new("/home/ada/.cache/palestra"));
        assert_eq!(with(&[home, ("XDG_CACHE_HOME", "/x")]).unwrap(), Path::new("/x/palestra"));
        assert_eq!(with(&[home, ("XDG_CACHE_HOME", "/x"), ("PALESTRA_CACHE", "/p")]).unwrap(), Path::new("/p"));
        assert_eq!(with(&[home, ("PALESTRA_CACHE", "")]).unwrap(), Path::new("/home/ada/.cache/palestra"));
        assert!(with(&[]).unwrap_err().contains("PALESTRA_CACHE"));
    }

    #[test]
    fn a_cached_libtorch_needs_no_download_and_leaves_no_lock() {
        let cache = folder("cached", &[]);
        for part in parts() {
            let file = if part.ends_with('/') { format!("{part}torch.h") } else { part.to_string() };
            folder("cached", &[&format!("libtorch-2.9.0-cpu/{file}")]);
        }
        let libtorch = cache.join("libtorch-2.9.0-cpu");
        let told = cached_or_downloaded(&cache, "0").unwrap_err();
        let digest = told.split('"').nth(1).unwrap().to_string();
        assert!(digest.len() == 64 && told.contains("and should be 0; remove this folder"), "{told}");
        assert_eq!(cached_or_downloaded(&cache, &digest).unwrap(), libtorch);
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
        fs::write(libtorch.join("lib/libc10.so"), "another").unwrap();
        assert!(cached_or_downloaded(&cache, &digest).is_err());
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

    #[test]
    fn the_configuration_is_one_that_cargo_reads() {
        let text = configuration_text(Path::new("/opt/with space/libtorch")).unwrap();
        assert_eq!(text, "# Written by `cargo xtask fetch`.\n[env]\nLIBTORCH = '/opt/with space/libtorch'\n");
        assert!(configuration_text(Path::new("/it's")).is_err());
    }
}
