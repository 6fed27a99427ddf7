use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Ranks;
use crate::error::{Error, Result};

/// Returns the values of all ranks, in their order.
pub(super) fn gather<T: Serialize + DeserializeOwned>(ranks: &dyn Ranks, own: &T) -> Result<Vec<T>> {
    let json = serde_json::to_vec(own).expect("what ranks send has text keys and finite numbers");
    let parse = |(rank, bytes): (usize, Vec<u8>)| {
        serde_json::from_slice(&bytes).map_err(|error| {
            let name = ranks.name(rank);
            Error::Communication(format!(
                "{name} sent something else than expected: {error}; run one program on all ranks"
            ))
        })
    };
    ranks.all_gather(&json).map_err(Error::Communication)?.into_iter().enumerate().map(parse).collect()
}

/// Returns the values of all ranks; if some have errors, that with the smallest `order`, on all ranks.
pub(super) fn agree<T: Serialize + DeserializeOwned>(
    ranks: &dyn Ranks,
    order: usize,
    own: Result<T>,
) -> Result<Vec<T>> {
    let own = match own {
        // The others are not told of it, and cannot be: this rank waits for them no more.
        Err(error @ Error::Communication(_)) => return Err(error),
        own => own.map_err(|error| {
            let is_of_machine = matches!(error, Error::Io { .. });
            let name = if is_of_machine { format!("{}: ", ranks.name(ranks.rank())) } else { String::new() };
            (order, format!("{name}{error}"))
        }),
    };
    let all: Vec<Result<T, (usize, String)>> = gather(ranks, &own)?;
    let mut errors: Vec<&(usize, String)> = all.iter().filter_map(|own| own.as_ref().err()).collect();
    errors.sort_by_key(|(order, _)| *order);
    match errors.first() {
        Some((_, reason)) => Err(Error::Ranks(reason.clone())),
        None => Ok(all.into_iter().filter_map(Result::ok).collect()),
    }
}

/// Does work on rank 0 while the others wait; returns its result there, and its error everywhere.
pub(super) fn on_first<T>(ranks: &dyn Ranks, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    let (value, told) = match (ranks.rank() == 0).then(work).transpose() {
        Ok(value) => (value, Ok(())),
        Err(error) => (None, Err(error)),
    };
    agree(ranks, 0, told)?;
    Ok(value)
}
