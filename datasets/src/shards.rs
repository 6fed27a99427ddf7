//! Token shards: the token ids of many documents in one file, with random access.
//!
//! A shard is a header of 128 bytes ([`ShardHeader`]), the ids as little-endian u16 or u32, and for each document the
//! number of tokens up to its end as u64. The header identifies the tokenizer of the ids and holds checksums of itself
//! and of all that follows. Shards are read by positioned reads. With these a file that is truncated while it is read
//! causes an error, where a memory map would end the process; the system caches the pages of either alike.
//!
//! [`Windows`] samples windows of a fixed length from shards, shuffled, and mixes several corpora by weight.

mod header;
mod order;
mod reader;
mod windows;
mod writer;

pub use header::{ShardHeader, Vocabulary};
pub use order::Shuffle;
pub use reader::Shard;
pub use windows::{Corpus, Span, Text, WindowPosition, Windows, furthest_behind};
pub use writer::ShardWriter;
