use palestra_datasets::shards::Shard;

use crate::{documents, write};

#[test]
fn every_flipped_byte_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tokens");
    write(&path, &documents(5), 100);
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).filter(|at| !(100..128).contains(at)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let error = Shard::open(&path).and_then(|shard| shard.verify()).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()), "byte {at}: {error}");
    }
}

#[test]
fn a_file_that_is_cut_or_no_shard_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tokens");
    write(&path, &documents(5), 100);
    let whole = std::fs::read(&path).unwrap();
    for len in [0, 50, 128, whole.len() - 1] {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(Shard::open(&path).is_err(), "{len} bytes");
    }
    std::fs::write(&path, "text ".repeat(100)).unwrap();
    assert!(Shard::open(&path).unwrap_err().to_string().contains("no token shard"));
}

#[test]
fn an_id_beyond_the_vocabulary_is_refused_where_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tokens");
    write(&path, &documents(5), 100);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[128 + 2 * 7 + 1] = 1;
    std::fs::write(&path, bytes).unwrap();
    let shard = Shard::open(&path).unwrap();
    shard.read(0..7).unwrap();
    let error = shard.read(5..9).unwrap_err().to_string();
    assert!(error.contains("token 7 is 262, beyond the vocabulary of 100"), "{error}");
}
