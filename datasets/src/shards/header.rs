use std::path::Path;

use crate::error::{Error, Result};

/// Number of bytes before the first token.
pub(super) const HEADER_BYTES: usize = 128;
const MAGIC: [u8; 8] = *b"PALTOKEN";
const VERSION: u32 = 1;
const NO_TOKEN: u32 = u32::MAX;
/// Number of bytes that the header's own checksum covers; the checksum follows them.
const CHECKED: usize = 96;

/// The tokenizer's vocabulary that the ids of a shard belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// Vocabulary size: one more than the greatest id.
    pub size: u32,
    /// Fingerprint of the tokenizer: 32 hexadecimal digits.
    pub fingerprint: String,
    /// The token that ends each document, if there is one.
    pub separator: Option<u32>,
}

/// Header of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardHeader {
    /// The vocabulary of the ids.
    pub vocabulary: Vocabulary,
    /// Number of tokens, separators included.
    pub tokens: u64,
    /// Number of documents.
    pub documents: u64,
    /// Bytes of the documents' text in UTF-8.
    pub text_bytes: u64,
    /// CRC-32 of the ids, and of the document ends.
    pub checksums: [u32; 2],
}

impl Vocabulary {
    /// Returns the number of bytes of an id.
    pub(super) fn width(&self) -> usize {
        if self.size <= 1 << 16 { 2 } else { 4 }
    }
}

impl ShardHeader {
    /// Returns the offset of the document ends.
    pub(super) fn ends_at(&self) -> u64 {
        HEADER_BYTES as u64 + self.tokens * self.vocabulary.width() as u64
    }

    /// Returns the length of the whole file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.ends_at() + self.documents * 8
    }

    pub(super) fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.vocabulary.width() as u32).to_le_bytes());
        for number in [self.tokens, self.documents, self.text_bytes] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.vocabulary.size.to_le_bytes());
        bytes.extend(self.vocabulary.separator.unwrap_or(NO_TOKEN).to_le_bytes());
        bytes.extend(self.vocabulary.fingerprint.as_bytes());
        self.checksums.iter().for_each(|checksum| bytes.extend(checksum.to_le_bytes()));
        bytes.resize(CHECKED, 0);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.try_into().expect("resized to its length")
    }

    pub(super) fn from_bytes(bytes: &[u8; HEADER_BYTES], file: &Path) -> Result<Self> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if bytes[..8] != MAGIC {
            return Err(Error::file(file, "no token shard; `palestra tokenizer encode` makes them"));
        }
        if u32_at(8) != VERSION {
            let reason = format!("a token shard of version {}; this program reads version {VERSION}", u32_at(8));
            return Err(Error::file(file, reason));
        }
        let damaged = |what: &str| Error::file(file, format!("its header is damaged: {what}; encode the texts again"));
        if crc32fast::hash(&bytes[..CHECKED]) != u32_at(CHECKED) {
            return Err(damaged("the checksum is wrong"));
        }
        let fingerprint =
            String::from_utf8(bytes[48..80].to_vec()).map_err(|_| damaged("the fingerprint is no text"))?;
        let separator = u32_at(44);
        let vocabulary =
            Vocabulary { size: u32_at(40), fingerprint, separator: (separator != NO_TOKEN).then_some(separator) };
        if u32_at(12) as usize != vocabulary.width() {
            return Err(damaged("the width of ids does not fit the vocabulary"));
        }
        Ok(Self {
            vocabulary,
            tokens: u64_at(16),
            documents: u64_at(24),
            text_bytes: u64_at(32),
            checksums: [u32_at(80), u32_at(84)],
        })
    }
}
