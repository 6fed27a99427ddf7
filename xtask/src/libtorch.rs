//! Location of libtorch: set by the person, cached, or downloaded from PyPI.

mod builds;
mod wheels;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use palestra_files::write_atomically;

pub use self::builds::{Build, CPU, CUDA};
use crate::Result;

/// Advice for the case that libtorch cannot be brought.
const INSTEAD: &str = "set LIBTORCH=<a folder with include/ and lib/ of libtorch 2.9.0>, or build without the feature \
                         `libtorch`: the device `flex` is always there";

/// Value of `LIBTORCH` in `.cargo/no-libtorch.toml`, so that a build without libtorch fetches nothing.
const NONE: &str = "no libtorch: run cargo xtask fetch";

/// Finds or brings libtorch, writes `.cargo/libtorch.toml` for plain cargo, and returns libtorch's folder.
///
/// A `build` that is asked for is taken from the cache or brought. Without one it is the libtorch that was taken last, and
/// the one for the CPU on a new machine.
///
/// # Errors
/// Says what to do when `LIBTORCH` is no libtorch, when this system has no wheel, and when pip fails.
pub fn fetch(root: &Path, build: Option<&Build>) -> Result<PathBuf> {
    let configuration = root.join(".cargo/libtorch.toml");
    let written = fs::read_to_string(&configuration).unwrap_or_default();
    let variable = env::var_os("LIBTORCH").filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || cache(|name| env::var_os(name).map(PathBuf::from));
    let libtorch = match (chosen(variable, &written)?, build) {
        (Some((libtorch, Origin::Variable)), Some(build)) => {
            return Err(format!("LIBTORCH={} is set: unset it, or leave --{} out", libtorch.display(), build.name));
        }
        (Some((libtorch, _)), None) => libtorch,
        (_, build) => wheels::cached_or_downloaded(&cache()?, build.unwrap_or(&CPU))?,
    };
    let wanted = configuration_text(&libtorch)?;
    // An unchanged file is not rewritten: no build sees a newer file, and a read-only tree works.
    if written != wanted {
        write_atomically(&configuration, wanted.as_bytes()).map_err(|error| error.to_string())?;
    }
    Ok(libtorch)
}

/// Origin of a libtorch that is there already.
#[derive(Debug, PartialEq)]
enum Origin {
    /// A person set `LIBTORCH` for this command.
    Variable,
    /// `.cargo/libtorch.toml` has it from an earlier fetch.
    Configuration,
}

/// Libtorch that a person chose with `LIBTORCH`, now or at an earlier fetch; `None` if there is none.
///
/// cargo also puts the contents of `.cargo/libtorch.toml` into this environment. A value that is also `written` there
/// is therefore only remembered: if its folder is gone, libtorch is brought again instead of failing.
fn chosen(variable: Option<PathBuf>, written: &str) -> Result<Option<(PathBuf, Origin)>> {
    let Some(libtorch) = variable.filter(|libtorch| libtorch != Path::new(NONE)) else { return Ok(None) };
    let remembered = configuration_text(&libtorch).is_ok_and(|text| text == written);
    let library = format!("lib/{}torch_cpu{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    match wheels::missing(&libtorch, &["include", &library]) {
        None => {
            let libtorch = std::path::absolute(&libtorch).map_err(|error| format!("LIBTORCH: {error}"))?;
            Ok(Some((libtorch, if remembered { Origin::Configuration } else { Origin::Variable })))
        }
        Some(_) if remembered => Ok(None),
        Some(part) => Err(format!(
            "LIBTORCH={} has no {part}; set it to a folder with include/ and {library} of libtorch {}, or unset it \
             to have libtorch brought from PyPI",
            libtorch.display(),
            builds::VERSION
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

    /// A folder of temporary files, with empty files in it.
    pub fn folder(name: &str, files: &[&str]) -> PathBuf {
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
        assert_eq!(chosen(Some(libtorch.clone()), "").unwrap(), Some((libtorch.clone(), Origin::Variable)));
        let written = configuration_text(&libtorch).unwrap();
        assert_eq!(chosen(Some(libtorch.clone()), &written).unwrap(), Some((libtorch.clone(), Origin::Configuration)));
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
    fn the_configuration_is_one_that_cargo_reads() {
        let text = configuration_text(Path::new("/opt/with space/libtorch")).unwrap();
        assert_eq!(text, "# Written by `cargo xtask fetch`.\n[env]\nLIBTORCH = '/opt/with space/libtorch'\n");
        assert!(configuration_text(Path::new("/it's")).is_err());
    }
}
