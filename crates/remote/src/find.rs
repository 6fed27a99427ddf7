//! Objects that an address stands for: an object, a folder, or a pattern.

use glob::{MatchOptions, Pattern};
use palestra_files::Address;

use crate::error::{Error, Result};
use crate::manifest::{MANIFEST, Manifest};
use crate::store::{Object, Store};

/// Characters that make a key a pattern, as those of files.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Finds the objects of an address, by their keys: of a folder all that is below it and not hidden; of a folder that
/// [`put_folder`](crate::put_folder) wrote, what its manifest names.
///
/// # Errors
/// An address that stands for no object, a folder that is not whole, a store that does not answer or that refuses it.
pub fn find(address: &Address) -> Result<Vec<Object>> {
    let store = Store::open(address)?;
    let none = |what: &str| Err(Error::new(address, what));
    if !address.scheme.is_web() && address.key.contains(WILDCARDS) {
        let found = matches(&store, address)?;
        return if found.is_empty() { none("no object matches this pattern") } else { Ok(found) };
    }
    if !address.is_folder() {
        if let Some(object) = store.look_up(address)? {
            return Ok(vec![object]);
        }
        if address.scheme.is_web() {
            return none("cannot look it up: 404, there is no such file");
        }
    }
    let found = below(&store, &address.folder())?;
    match found.is_empty() {
        true if address.is_folder() => none("a folder without any object below it"),
        true => none("404, there is no such object or folder"),
        false => Ok(found),
    }
}

/// Finds the folders right below one that [`put_folder`](crate::put_folder) wrote, by their names, and tells which are whole.
///
/// # Errors
/// A store that does not answer, or that refuses it.
pub fn folders(address: &Address) -> Result<Vec<(String, bool)>> {
    let store = Store::open(address)?;
    let folder = address.folder();
    let mut found = Vec::new();
    for object in store.list(&folder)? {
        let inside = object.address.key[folder.key.len()..].split_once('/');
        if let Some((name, _)) = inside.filter(|(_, rest)| *rest == MANIFEST) {
            found.push((name.to_string(), Manifest::read(&store, &object)?.complete));
        }
    }
    Ok(found)
}

fn matches(store: &Store, address: &Address) -> Result<Vec<Object>> {
    let pattern =
        Pattern::new(&address.key).map_err(|error| Error::new(address, format_args!("is no pattern: {error}")))?;
    let literal = &address.key[..address.key.find(WILDCARDS).unwrap_or_default()];
    let folder = &literal[..literal.rfind('/').map_or(0, |at| at + 1)];
    // A slash is matched by `**` alone, as in paths.
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    let mut found = below(store, &address.with_key(folder))?;
    found.retain(|object| pattern.matches_with(&object.address.key, options));
    Ok(found)
}

/// Finds what is below a folder and not hidden.
fn below(store: &Store, folder: &Address) -> Result<Vec<Object>> {
    let all = store.list(folder)?;
    let mut hidden: Vec<String> = Vec::new();
    for object in all.iter().filter(|object| object.address.name() == MANIFEST) {
        let inside = object.address.with_key(&object.address.key[..object.address.key.len() - MANIFEST.len()]);
        let manifest = Manifest::read(store, object)?;
        if !manifest.complete {
            return Err(Error::new(
                &inside,
                "is not whole: it is being written, or its writer was killed; wait, or write it again",
            ));
        }
        for (name, sum) in &manifest.files {
            let address = inside.join(name);
            let found = named(&all, &address).map(|object| object.bytes);
            if found != Some(sum.bytes) {
                let found = found.map_or("is missing".to_string(), |bytes| format!("has {bytes} bytes"));
                return Err(Error::new(
                    &address,
                    format_args!(
                        "{found}, and the manifest of its folder has it with {}; write the folder again",
                        sum.bytes
                    ),
                ));
            }
        }
        let is_left_out = |object: &&Object| {
            object.address.key.strip_prefix(&inside.key).is_some_and(|name| !manifest.files.contains_key(name))
        };
        hidden.extend(all.iter().filter(is_left_out).map(|object| object.address.key.clone()));
    }
    hidden.sort();
    let is_shown = |object: &Object| {
        let below = &object.address.key[folder.key.len()..];
        !below.split('/').any(|part| part.starts_with('.')) && hidden.binary_search(&object.address.key).is_err()
    };
    Ok(all.into_iter().filter(is_shown).collect())
}

/// The object of an address, among objects by their addresses.
pub(crate) fn named<'a>(objects: &'a [Object], address: &Address) -> Option<&'a Object> {
    objects.binary_search_by(|object| object.address.cmp(address)).ok().map(|at| &objects[at])
}
