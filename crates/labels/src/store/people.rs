//! The annotators and their access tokens.

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::{Change, Failure, Store, find, told};
use crate::error::{Error, Result};

/// A person who labels items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotator {
    pub(super) id: i64,
    /// Name in exports.
    pub name: String,
    /// True if the annotator may see counts and export.
    pub is_admin: bool,
}

impl Store {
    /// Returns the annotator of this name, and creates it if it does not exist.
    pub fn annotator(&mut self, name: &str) -> Result<Annotator> {
        self.write(|change| annotator_named(change, name))
    }

    /// Creates a new token for this annotator, who is created if missing; a previous token becomes invalid. The store
    /// keeps only the token's hash, so it can only be read from this return value.
    pub fn invite(&mut self, name: &str, is_admin: bool) -> Result<String> {
        Ok(self.invite_all(&[(name, is_admin)])?.remove(0))
    }

    /// Invites several annotators, each with its name and whether it is an admin: all of them, or none. Returns their
    /// tokens, as [`invite`](Self::invite) does.
    pub fn invite_all(&mut self, people: &[(&str, bool)]) -> Result<Vec<String>> {
        let names: Vec<&str> = people.iter().map(|(name, _)| checked(name)).collect::<Result<_>>()?;
        let tokens: Vec<String> = people.iter().map(|_| new_token()).collect();
        self.write(|change| {
            for ((name, (_, is_admin)), token) in names.iter().zip(people).zip(&tokens) {
                let annotator = annotator(change, name)?;
                let sql = "UPDATE annotator SET token_hash = ?1, is_admin = ?2 WHERE id = ?3";
                change.execute(sql, (hash(token), is_admin, annotator.id))?;
            }
            Ok(())
        })?;
        Ok(tokens)
    }

    /// The annotator who holds a token.
    pub fn holder(&self, token: &str) -> Result<Option<Annotator>> {
        let sql = "SELECT id, name, is_admin FROM annotator WHERE token_hash = ?1";
        find(&self.connection, sql, [hash(token)], annotator_of).map_err(told(&self.file))
    }

    /// True if any annotator has a token.
    pub fn has_holders(&self) -> Result<bool> {
        let sql = "SELECT 1 FROM annotator WHERE token_hash IS NOT NULL LIMIT 1";
        Ok(find(&self.connection, sql, [], |_| Ok(())).map_err(told(&self.file))?.is_some())
    }
}

/// The annotator of this name, created if missing, in a change.
pub(super) fn annotator_named(change: &Change, name: &str) -> Result<Annotator, Failure> {
    Ok(annotator(change, checked(name)?)?)
}

/// Trims a name, and refuses one that cannot be shown.
fn checked(name: &str) -> Result<&str> {
    let name = name.trim();
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        let reason = "should be 1 to 100 bytes without control characters".to_string();
        return Err(Error::Annotator { name: name.to_string(), reason });
    }
    Ok(name)
}

fn annotator(connection: &Connection, name: &str) -> rusqlite::Result<Annotator> {
    connection.execute("INSERT INTO annotator (name) VALUES (?1) ON CONFLICT DO NOTHING", [name])?;
    connection.query_row("SELECT id, name, is_admin FROM annotator WHERE name = ?1", [name], annotator_of)
}

pub(super) fn annotator_of(row: &rusqlite::Row) -> rusqlite::Result<Annotator> {
    Ok(Annotator { id: row.get(0)?, name: row.get(1)?, is_admin: row.get(2)? })
}

/// 128 random bits of the operating system, which cannot be guessed.
pub(crate) fn new_token() -> String {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hash of a token. Tokens are random, so one round of a fast hash is sufficient: dictionary attacks are not possible.
fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}
