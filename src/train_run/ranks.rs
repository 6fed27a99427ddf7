//! Comparisons and messages of the ranks of a run before they train.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::data_files;
use super::directory::Directory;
use crate::config::RunFile;
use crate::run_dir::RunDir;
use crate::{Error, Result};
use palestra_learn::collective::{Collective, gather};
use palestra_model::checkpoint;

/// Properties of a run that must be the same on all ranks.
#[derive(Serialize, Deserialize)]
struct Fingerprint {
    version: String,
    /// The resolved run file.
    run: String,
    /// Path and hash of each file of data.
    files: Vec<(String, String)>,
}

/// Checks that all ranks have the same program, run file and data. Every rank returns the same error.
///
/// # Errors
/// Names a rank, and what differs from rank 0.
pub(super) fn check_same(run: &RunFile, collective: &dyn Collective) -> Result<()> {
    if collective.size() == 1 {
        return Ok(());
    }
    let own = fingerprint(run).map_err(|error| error.to_string());
    let mut first: Option<Fingerprint> = None;
    for (rank, found) in gather(collective, &own)?.into_iter().enumerate() {
        let name = collective.name(rank);
        let found = found.map_err(|reason| Error::Data(format!("{name}: {reason}")))?;
        match &first {
            None => first = Some(found),
            Some(first) => first.check(&found, &name, &collective.name(0))?,
        }
    }
    Ok(())
}

fn fingerprint(run: &RunFile) -> Result<Fingerprint> {
    Ok(Fingerprint {
        version: env!("CARGO_PKG_VERSION").to_string(),
        run: run.to_toml()?,
        files: data_files::hashes(run)?,
    })
}

impl Fingerprint {
    /// Compares the fingerprint of rank 0 with that of another.
    fn check(&self, other: &Self, name: &str, first: &str) -> Result<()> {
        let refused = |what: String| {
            Err(Error::Config(format!("{name}: {what}; all ranks must run the same program on the same files")))
        };
        if other.version != self.version {
            return refused(format!("runs palestra {}, and {first} runs {}", other.version, self.version));
        }
        let (ours, theirs): (Vec<&str>, Vec<&str>) = (self.run.lines().collect(), other.run.lines().collect());
        if ours != theirs {
            let at = ours.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
            let line = |lines: &[&str]| lines.get(at).map_or("nothing".to_string(), |line| format!("`{line}`"));
            return refused(format!("has {} in its run file, and {first} has {}", line(&theirs), line(&ours)));
        }
        for (path, hash) in &self.files {
            match other.files.iter().find(|(found, _)| found == path) {
                None => return refused(format!("has no data file {path}, and {first} has one")),
                Some((_, found)) if found != hash => {
                    return refused(format!("has another data file {path} than {first}"));
                }
                Some(_) => {}
            }
        }
        match other.files.iter().find(|(path, _)| !self.files.iter().any(|(known, _)| known == path)) {
            Some((path, _)) => refused(format!("has a data file {path}, and {first} has none")),
            None => Ok(()),
        }
    }
}

/// Directory and checkpoint of the run of rank 0.
#[derive(Serialize, Deserialize)]
struct Place {
    directory: PathBuf,
    /// Checkpoint to resume from.
    checkpoint: Option<PathBuf>,
}

impl Directory {
    /// Tells the other ranks where rank 0 trains.
    ///
    /// # Errors
    /// A rank that takes no part.
    pub fn tell(&self, collective: &dyn Collective) -> Result<()> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io(path));
        let checkpoint = self.saved.as_ref().map(|(path, _)| absolute(path)).transpose()?;
        let place = Place { directory: absolute(self.dir.path())?, checkpoint };
        let json = serde_json::to_vec(&place).map_err(|error| Error::Training(error.to_string()))?;
        Ok(collective.broadcast(0, &json).map(drop)?)
    }

    /// Opens the directory that rank 0 trains in, for a rank that writes nothing into it but its log.
    ///
    /// # Errors
    /// A directory that this rank does not see, or a checkpoint that it cannot read.
    pub fn follow(collective: &dyn Collective) -> Result<Self> {
        let json = collective.broadcast(0, &[])?;
        let Place { directory, checkpoint } =
            serde_json::from_slice(&json).map_err(|error| collective.wrong(0, &error.to_string()))?;
        let dir = RunDir::open(&directory).map_err(|error| {
            Error::Config(format!("{error}: rank 0 trains in it, and all ranks must see it; put it on a shared disk"))
        })?;
        let load = |path: PathBuf| checkpoint::load(&path).map(|saved| (path, saved));
        Ok(Self { dir, mirror: None, saved: checkpoint.map(load).transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_with_another_program_run_file_or_data_is_named() {
        let of = |version: &str, run: &str, files: &[(&str, &str)]| Fingerprint {
            version: version.into(),
            run: run.into(),
            files: files.iter().map(|(path, hash)| (path.to_string(), hash.to_string())).collect(),
        };
        let first = of("1.0", "name = 1\nseed = 2\n", &[("/a", "x")]);
        let told = |other: Fingerprint| {
            first.check(&other, "rank 1 on b", "rank 0 on a").map_err(|error| error.to_string()).unwrap_err()
        };
        assert!(first.check(&of("1.0", "name = 1\nseed = 2\n", &[("/a", "x")]), "", "").is_ok());
        let end = "; all ranks must run the same program on the same files";
        let cases = [
            (of("1.1", "", &[]), "rank 1 on b: runs palestra 1.1, and rank 0 on a runs 1.0"),
            (
                of("1.0", "name = 1\nseed = 3\n", &[]),
                "rank 1 on b: has `seed = 3` in its run file, and rank 0 on a has `seed = 2`",
            ),
            (of("1.0", "name = 1\n", &[]), "rank 1 on b: has nothing in its run file, and rank 0 on a has `seed = 2`"),
            (of("1.0", &first.run, &[]), "rank 1 on b: has no data file /a, and rank 0 on a has one"),
            (of("1.0", &first.run, &[("/a", "y")]), "rank 1 on b: has another data file /a than rank 0 on a"),
            (
                of("1.0", &first.run, &[("/a", "x"), ("/b", "z")]),
                "rank 1 on b: has a data file /b, and rank 0 on a has none",
            ),
        ];
        for (other, expected) in cases {
            assert_eq!(told(other), format!("{expected}{end}"));
        }
    }
}
