//! A corpus that several processes build together, the ranks. Its bytes are those of one process.
//!
//! Each rank cleans files of its own, and keeps their documents in parts beside the output (`parts`). Then all ranks go
//! through the signatures of all documents in the order of the input, and find the duplicates together (`decide`). Last,
//! each writes its share of the shards, and rank 0 the report. A killed run goes on behind the files that are cleaned.
//!
//! All ranks see the input and the output, on one machine or on a shared disk.

mod decide;
mod exchange;
mod parts;
mod share;

use serde::{Deserialize, Serialize};

use crate::build::{Options, build, finish, inputs, load_whole};
use crate::clean::Cleaner;
use crate::error::{Error, Result};
use crate::input::InputFile;
use crate::report::Report;
use crate::settings::Settings;
use crate::shards::Shard;
use crate::stages::{Stages, pool_of};
use crate::tally::Tally;
use crate::work::{Builder, Position, Start, Work, folder_of, hash_of, parts_of};
use decide::decide;
use exchange::{agree, gather, on_first};
use parts::{Part, entries};
use share::Run;

/// Processes that run the same program, as one of them sees it. Every rank calls the same operations in the same order.
pub trait Ranks {
    /// Number of this rank, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Number of ranks on this rank's machine, which share its cores.
    fn local_size(&self) -> usize {
        self.size()
    }

    /// Rank and machine as a message names them.
    fn name(&self, rank: usize) -> String {
        format!("rank {rank}")
    }

    /// Sends bytes to all ranks; returns those of all ranks, in their order.
    ///
    /// # Errors
    /// A rank that has ended.
    fn all_gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, String>;
}

/// State in which rank 0 finds the folder.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum State {
    /// The corpus is whole.
    Done,
    /// All shards are written.
    Written,
    Begun,
}

/// Version, settings and input, which all ranks must have alike.
#[derive(PartialEq, Serialize, Deserialize)]
struct Fingerprint {
    version: String,
    settings: String,
    /// Hash of the names and sizes of the input files.
    files: u64,
}

/// The shards of all ranks.
struct Written {
    tally: Tally,
    shards: Vec<Shard>,
    pairs: usize,
    /// The position behind the last record.
    next: Position,
}

/// Documents that are looked up between two exchanges.
const WINDOW: usize = 1024;

/// Builds a corpus on several ranks, as [`build`] does in one process. Every rank returns the report. An
/// [`Error::Ranks`] is the same on all of them; after any other, the other ranks wait for this one.
///
/// # Errors
/// As [`build`]; ranks with other settings, files or another program; a rank that has ended.
pub fn build_on_ranks(settings: &Settings, options: &Options<'_>, ranks: &dyn Ranks) -> Result<Report> {
    if ranks.size() == 1 {
        return build(settings, options);
    }
    let (files, cleaner) = agreed_input(settings, options, ranks)?;
    let started = on_first(ranks, || Work::start(settings, &files, options.restart, Builder::Ranks))?;
    let state = gather(ranks, &started.as_ref().map(state_of))?.swap_remove(0);
    let written = match state {
        Some(State::Done) => return load_whole(settings, options),
        Some(State::Written) => Ok(None),
        _ => write(settings, options, &files, &cleaner, ranks).map(Some),
    };
    let work = match started {
        Some(Start::Work(work, manifest)) => Some((work, manifest)),
        _ => None,
    };
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            work.map(|(work, _)| work.leave(options)).transpose()?;
            return Err(error);
        }
    };
    let report = on_first(ranks, || {
        let (work, mut manifest) = work.expect("rank 0 has the folder");
        if let Some(Written { tally, shards, pairs, next }) = written {
            (manifest.tally, manifest.shards, manifest.pairs) = (tally, shards, pairs);
            manifest.advance(next, &files);
            manifest.finished = true;
            manifest.save(&work.folder)?;
        }
        finish(settings, &files, work, &manifest)
    })?;
    report.map_or_else(|| Report::load(&settings.out), Ok)
}

fn state_of(start: &Start) -> State {
    match start {
        Start::Done => State::Done,
        Start::Work(_, manifest) if manifest.finished => State::Written,
        Start::Work(..) => State::Begun,
    }
}

/// Finds the files of the input, and reads the settings. All ranks must have the same.
fn agreed_input(settings: &Settings, options: &Options<'_>, ranks: &dyn Ranks) -> Result<(Vec<InputFile>, Cleaner)> {
    let own = || {
        settings.check()?;
        if settings.max_documents > 0 {
            let most = settings.max_documents;
            return Err(Error::Settings(format!(
                "`max_documents` is {most}, and ranks read all documents; leave it out, or try settings out without mpirun"
            )));
        }
        Ok((inputs(settings, options)?, Cleaner::new(settings)?))
    };
    let own = own();
    let fingerprint = own.as_ref().map(|(files, _)| Fingerprint {
        version: env!("CARGO_PKG_VERSION").to_string(),
        settings: Settings { threads: 0, ..settings.clone() }.to_toml(),
        files: hash_of(files, Position { file: files.len(), record: 0 }),
    });
    let all = agree(ranks, 0, fingerprint.map_err(|error| Error::Input(error.to_string())))?;
    for (rank, other) in all.iter().enumerate() {
        let differs = if other.version != all[0].version {
            "another version of palestra"
        } else if other.settings != all[0].settings {
            "other settings"
        } else if other.files != all[0].files {
            "other input files, by names and sizes,"
        } else {
            continue;
        };
        return Err(Error::Ranks(format!(
            "{} has {differs} than {}; all ranks must run the same command and see the same files",
            ranks.name(rank),
            ranks.name(0)
        )));
    }
    own
}

/// Cleans all files, finds the duplicates, and writes the shards; each rank does its share.
fn write(
    settings: &Settings,
    options: &Options<'_>,
    files: &[InputFile],
    cleaner: &Cleaner,
    ranks: &dyn Ranks,
) -> Result<Written> {
    let folder = folder_of(settings);
    let parts_folder = parts_of(&folder);
    let pool = pool_of(settings, ranks.local_size())?;
    let run = Run { stages: Stages { settings, files, cleaner, pool: &pool }, folder: &folder };
    let mut at = 0;
    let cleaned = run.clean(options, ranks, &mut at);
    agree(ranks, at, cleaned)?;
    let mut counts = Vec::with_capacity(files.len());
    let (mut tally, mut next) = (Tally::default(), Position::default());
    for (number, file) in files.iter().enumerate() {
        let Some(part) = Part::load(&parts_folder, number, file)? else {
            let (folder, file) = (parts_folder.display(), file.path.display());
            return Err(Error::Output(format!(
                "{folder} has no part of {file}; all ranks must see the same folder, on a shared disk"
            )));
        };
        counts.push(part.documents);
        tally.merge(part.tally);
        next = part.next.unwrap_or(next);
    }
    let decisions = decide(settings, entries(&parts_folder, files.len()), WINDOW, ranks)?;
    let mut shards = Vec::new();
    for (other, names) in agree(ranks, 0, run.write(ranks, &counts, &decisions))? {
        tally.merge(other);
        shards.extend(names);
    }
    Ok(Written { tally, shards, pairs: decisions.pairs.len(), next })
}
