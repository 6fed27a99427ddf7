//! Token shards: round trip, refusal of damaged files, and the order of windows, which a position determines.

mod damage;
mod windows;

use std::path::Path;
use std::sync::Arc;

use palestra_datasets::shards::{Shard, ShardWriter, Vocabulary};

pub(crate) fn vocabulary(size: u32) -> Vocabulary {
    Vocabulary { size, fingerprint: "0123456789abcdef".repeat(2), separator: Some(0) }
}

/// Writes a shard of these documents.
pub(crate) fn write(path: &Path, documents: &[Vec<u32>], size: u32) {
    let mut writer = ShardWriter::create(path, vocabulary(size)).unwrap();
    for document in documents {
        writer.add(document, 3 * document.len() as u64).unwrap();
    }
    writer.finish().unwrap();
}

/// Returns documents of 1, 2, ... tokens, which count up from 1.
pub(crate) fn documents(count: u32) -> Vec<Vec<u32>> {
    let mut next = 0;
    let mut token = || {
        next += 1;
        next
    };
    (1..=count).map(|length| (0..length).map(|_| token()).collect()).collect()
}

#[test]
fn what_is_written_is_read_in_both_widths() {
    let folder = tempfile::tempdir().unwrap();
    for size in [1000, 100_000] {
        let path = folder.path().join(format!("{size}.tokens"));
        let documents = documents(9);
        write(&path, &documents, size);
        let shard = Shard::open(&path).unwrap();
        shard.verify().unwrap();
        let header = shard.header();
        assert_eq!((header.tokens, header.documents, header.text_bytes), (45 + 9, 9, 135));
        assert_eq!(header.vocabulary, vocabulary(size));
        let expected: Vec<u32> = documents.iter().flat_map(|document| document.iter().copied().chain([0])).collect();
        assert_eq!(shard.read(0..54).unwrap(), expected);
        assert_eq!(shard.read(3..8).unwrap(), expected[3..8]);
        // Documents end after 2, 5, 9, 14, ... tokens.
        let documents_at = [0, 1, 2, 4, 5, 53].map(|token| shard.document_at(token).unwrap());
        assert_eq!(documents_at, [0..2, 0..2, 2..5, 2..5, 5..9, 44..54]);
        assert_eq!(shard.ends_in(2..14).unwrap(), [5, 9, 14]);
        assert_eq!(shard.ends_in(10..13).unwrap(), [] as [u64; 0]);

        let memory = Shard::in_memory(&path, &documents, vocabulary(size), 135);
        assert_eq!(memory.read(3..8).unwrap(), expected[3..8]);
        assert_eq!(memory.ends_in(2..14).unwrap(), [5, 9, 14]);
        assert_eq!((memory.header().tokens, memory.header().documents), (54, 9));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn a_shard_that_is_not_finished_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tokens");
    let mut writer = ShardWriter::create(&path, vocabulary(10)).unwrap();
    writer.add(&[1, 2], 2).unwrap();
    assert!(!path.exists());
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let empty = ShardWriter::create(&path, vocabulary(10)).unwrap().finish().unwrap_err().to_string();
    assert!(empty.contains("there is no text to write"), "{empty}");
    write(&path, &[vec![1]], 10);
    let taken = ShardWriter::create(&path, vocabulary(10)).err().unwrap().to_string();
    assert!(taken.contains("there is a file already"), "{taken}");
}

pub(crate) fn shard(documents: &[Vec<u32>]) -> Arc<Shard> {
    Arc::new(Shard::in_memory(Path::new("made"), documents, vocabulary(100_000), 1))
}
