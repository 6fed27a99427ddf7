//! Fine-tuning examples: encoded as rows of tokens, counted, and drawn in a new order in each epoch.

mod encoder;
mod mix;
mod order;
mod rows;
#[cfg(test)]
mod tests;

use std::path::Path;

use palestra_text::{ChatTemplate, NamedTemplate, TemplateLimits};

use crate::Result;
pub(super) use encoder::Encoded;
pub use encoder::{Border, ExampleEncoder, TooLong};
pub use mix::{ExampleMix, ExampleSet, MixPlace};
pub use order::{ExampleOrder, ExamplePlace, packed};
pub use rows::{ExampleCounts, ExampleRows};

/// Returns the chat template: the named one if given, otherwise that of a model's directory. Both are read within limits.
///
/// # Errors
/// A file that cannot be read, or is no template.
pub fn template_of(
    named: Option<&NamedTemplate>,
    model: Option<&Path>,
    limits: TemplateLimits,
) -> Result<Option<ChatTemplate>> {
    match (named, model) {
        (Some(named), _) => Ok(Some(ChatTemplate::from_name_within(limits, named, model)?)),
        (None, Some(model)) => Ok(ChatTemplate::from_directory_within(limits, model)?),
        (None, None) => Ok(None),
    }
}
