//! Models of the Hugging Face Hub by their names, such as `HuggingFaceTB/SmolLM2-135M`: found in the local cache, never
//! fetched.

use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Directory of a model in the local cache; `None` if the path is no name of a model, or if the cache lacks it.
///
/// The cache is that of `huggingface_hub`: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in `~/.cache/huggingface`.
pub fn cached(name: &Path) -> Option<PathBuf> {
    in_cache(&cache()?, name)
}

/// Advice for a path that is no directory and might be the name of a model; empty for other paths.
pub fn advice(name: &Path) -> String {
    match parts(name) {
        Some([owner, model]) => format!(
            "; if it is a model of the Hugging Face Hub, fetch it first: `hf download {owner}/{model}` (it is not in the local cache)"
        ),
        None => String::new(),
    }
}

fn cache() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE")
        .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| set("XDG_CACHE_HOME").map(|home| home.join("huggingface/hub")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

fn in_cache(cache: &Path, name: &Path) -> Option<PathBuf> {
    let [owner, model] = parts(name)?;
    let repository = cache.join(format!("models--{owner}--{model}"));
    let revision = fs::read_to_string(repository.join("refs/main")).ok()?;
    Some(repository.join("snapshots").join(revision.trim())).filter(|path| path.is_dir())
}

/// Owner and name of a model, if a path has the form of both.
fn parts(name: &Path) -> Option<[&str; 2]> {
    let mut parts = name.components().map(|part| match part {
        Component::Normal(part) => part.to_str().filter(|part| !part.starts_with('.')),
        _ => None,
    });
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Some(owner)), Some(Some(model)), None) => Some([owner, model]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("models--me--tiny");
        fs::create_dir_all(repository.join("snapshots/abc")).unwrap();
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), "abc\n").unwrap();
        assert_eq!(in_cache(folder.path(), Path::new("me/tiny")), Some(repository.join("snapshots/abc")));
        for other in ["me/other", "tiny", "me/tiny/more", "/me/tiny", "../tiny", "./me/tiny"] {
            assert_eq!(in_cache(folder.path(), Path::new(other)), None, "{other}");
        }
        assert!(advice(Path::new("me/tiny")).contains("hf download me/tiny") && advice(Path::new("tiny")).is_empty());
    }
}
