//! Token shards: the token ids of many texts in one file, read at random places.
//!
//! A shard is a header of 128 bytes ([`ShardHeader`]), the ids as little-endian u16 or u32, and for each document the
//! number of tokens up to its end as u64. The header says which tokenizer the ids are of and holds checksums of itself and
//! of all that follows. Shards are read by positioned reads: a file that is cut while it is read is an error, where a
//! memory map would end the process; the system caches the pages of either alike.
//!
//! [`Windows`] goes through shards in windows of one length, shuffled, and over several corpora by weight.

mod header;
mod order;
mod reader;
mod windows;
mod writer;

pub use header::{ShardHeader, Vocabulary};
pub use order::Shuffle;
pub use reader::Shard;
pub use windows::{Corpus, Place, Span, Text, Windows};
pub use writer::ShardWriter;
