//! A rank's share of the work: cleaning of files, and writing of shards.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::Ranks;
use super::decide::Decisions;
use super::parts::{Part, PartWriter, for_documents};
use crate::build::{BuildProgress, Options};
use crate::candidate::Candidate;
use crate::error::Result;
use crate::input::InputFile;
use crate::shards::{Shard, ShardWriter};
use crate::stages::Stages;
use crate::tally::Tally;
use crate::work::{Position, parts_of};

/// The run, as its phases see it.
pub(super) struct Run<'a> {
    pub stages: Stages<'a>,
    /// The working folder, which all ranks see.
    pub folder: &'a Path,
}

impl Run<'_> {
    /// Cleans the files of a rank that no earlier run cleaned, in order. `at` is set to the file that was begun last.
    pub fn clean(&self, options: &Options<'_>, ranks: &dyn Ranks, at: &mut usize) -> Result<()> {
        let folder = parts_of(self.folder);
        let files = self.stages.files;
        let own = files_of(files, ranks);
        let bytes = AtomicU64::new(0);
        let total_bytes = own.iter().map(|number| files[*number].bytes).sum();
        let (mut documents, mut kept) = (0, 0);
        for number in own {
            *at = number;
            let file = &files[number];
            if let Some(part) = Part::load(&folder, number, file)? {
                bytes.fetch_add(file.bytes, Ordering::Relaxed);
                documents += part.tally.read.documents;
                kept += part.documents;
                continue;
            }
            let mut part = PartWriter::create(&folder, number)?;
            let mut tally = Tally::default();
            let mut next = None;
            let stages = Stages { files: &files[..=number], ..self.stages };
            let start = Position { file: number, record: 0 };
            let cleaned: Result<()> = stages.run(start, u64::MAX, &bytes, |filtered| {
                for chunk in filtered {
                    for filtered in chunk {
                        next = Some(filtered.position.next());
                        documents += 1;
                        if let Some(candidate) = Candidate::of(&mut tally, filtered)? {
                            part.write(&candidate)?;
                            kept += 1;
                        }
                    }
                    if let Some(on_progress) = options.on_progress {
                        on_progress(BuildProgress {
                            bytes: bytes.load(Ordering::Relaxed),
                            total_bytes,
                            documents,
                            kept,
                        });
                    }
                }
                Ok(())
            });
            cleaned?;
            part.finish(file, tally, next)?;
        }
        Ok(())
    }

    /// Writes a rank's share of the pairs of shards. `counts` has the number of documents of each file. Returns the counts
    /// of what is kept and of what is dropped as a duplicate, and the shards in order.
    pub fn write(&self, ranks: &dyn Ranks, counts: &[u64], decisions: &Decisions) -> Result<(Tally, Vec<Shard>)> {
        let (pairs, pool) = (decisions.pairs.len(), self.stages.pool);
        let (rank, size) = (ranks.rank(), ranks.size());
        let own: Vec<usize> = (pairs * rank / size..pairs * (rank + 1) / size).collect();
        // Each thread reads a range of documents, and so each part once.
        let ranges = own.par_chunks(own.len().div_ceil(pool.current_num_threads()).max(1));
        let written: Vec<Result<(Tally, Vec<Shard>)>> =
            pool.install(|| ranges.map(|pairs| self.write_pairs(pairs, counts, decisions)).collect());
        let (mut tally, mut shards) = (Tally::default(), Vec::new());
        for written in written {
            let (other, names) = written?;
            tally.merge(other);
            shards.extend(names);
        }
        Ok((tally, shards))
    }

    /// Writes pairs of shards that follow each other.
    fn write_pairs(&self, pairs: &[usize], counts: &[u64], decisions: &Decisions) -> Result<(Tally, Vec<Shard>)> {
        let Stages { settings, files, .. } = self.stages;
        let (mut tally, mut shards) = (Tally::default(), Vec::new());
        let (Some(first), Some(last)) = (pairs.first(), pairs.last()) else { return Ok((tally, shards)) };
        let mut writer = ShardWriter::new(self.folder, *first, settings.shards.zstd_level);
        let mut ends = decisions.pairs[*first..=*last].iter().map(|pair| pair.end).peekable();
        let range = decisions.pairs[*first].start..decisions.pairs[*last].end;
        let sources: Vec<Arc<str>> = files.iter().map(|file| file.path.display().to_string().into()).collect();
        for_documents(&parts_of(self.folder), counts, range, |number, file, candidate| {
            while ends.next_if(|end| number >= *end).is_some() {
                shards.extend(writer.seal()?);
            }
            let duplicate = decisions.duplicate(number);
            match candidate.decide(settings, &mut tally, &sources[file], duplicate) {
                Some(row) => writer.write(row),
                None => Ok(()),
            }
        })?;
        for _ in ends {
            shards.extend(writer.seal()?);
        }
        Ok((tally, shards))
    }
}

/// Numbers of the files of a rank, in order: the largest file first to the rank that has the fewest bytes.
fn files_of(files: &[InputFile], ranks: &dyn Ranks) -> Vec<usize> {
    let mut by_size: Vec<usize> = (0..files.len()).collect();
    by_size.sort_by_key(|number| (std::cmp::Reverse(files[*number].bytes), *number));
    let mut loads = vec![0; ranks.size()];
    let mut own = Vec::new();
    for number in by_size {
        let least = (0..loads.len()).min_by_key(|rank| loads[*rank]).unwrap_or_default();
        // Empty files take time too.
        loads[least] += files[number].bytes + 1;
        if least == ranks.rank() {
            own.push(number);
        }
    }
    own.sort_unstable();
    own
}
