//! The people who judge, and the tokens by which they are known.

use sha2::{Digest, Sha256};

use super::{Store, find, told};
use crate::error::{Error, Result};

/// Somebody who judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotator {
    pub(super) id: i64,
    /// The name, as exports have it.
    pub name: String,
    /// Whether the person may see counts and export.
    pub is_admin: bool,
}

impl Store {
    /// The person of this name, who is made where there is none.
    pub fn annotator(&mut self, name: &str) -> Result<Annotator> {
        let name = name.trim();
        if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            let reason = "should be 1 to 100 bytes without control characters".to_string();
            return Err(Error::Annotator { name: name.to_string(), reason });
        }
        self.write(|transaction, _| {
            transaction.execute("INSERT INTO annotator (name) VALUES (?1) ON CONFLICT DO NOTHING", [name])?;
            let sql = "SELECT id, name, is_admin FROM annotator WHERE name = ?1";
            Ok(transaction.query_row(sql, [name], annotator_of)?)
        })
    }

    /// A new token for this person, who is made where there is none; one that was there before opens nothing any more.
    /// The store keeps its hash alone, so this is the only time that anybody can read it.
    pub fn invite(&mut self, name: &str, is_admin: bool) -> Result<String> {
        let annotator = self.annotator(name)?;
        let token = new_token();
        self.write(|transaction, _| {
            let sql = "UPDATE annotator SET token_hash = ?1, is_admin = ?2 WHERE id = ?3";
            transaction.execute(sql, (hash(&token), is_admin, annotator.id))?;
            Ok(())
        })?;
        Ok(token)
    }

    /// Whose token it is.
    pub fn holder(&self, token: &str) -> Result<Option<Annotator>> {
        let sql = "SELECT id, name, is_admin FROM annotator WHERE token_hash = ?1";
        find(&self.connection, sql, [hash(token)], annotator_of).map_err(told(&self.file))
    }

    /// Whether anybody has a token.
    pub fn has_holders(&self) -> Result<bool> {
        let sql = "SELECT 1 FROM annotator WHERE token_hash IS NOT NULL LIMIT 1";
        Ok(find(&self.connection, sql, [], |_| Ok(())).map_err(told(&self.file))?.is_some())
    }
}

pub(super) fn annotator_of(row: &rusqlite::Row) -> rusqlite::Result<Annotator> {
    Ok(Annotator { id: row.get(0)?, name: row.get(1)?, is_admin: row.get(2)? })
}

/// 128 bits of the operating system's randomness, which nobody guesses.
pub(crate) fn new_token() -> String {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tokens are random, so that one round of a fast hash is enough: there is no dictionary to try.
fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}
