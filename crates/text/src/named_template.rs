//! Chat templates by name: those for training that are kept here, and files. It knows no conversations.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A chat template for training: of a model family whose own template rewrites earlier turns, with every turn kept.
#[derive(Debug, PartialEq, Eq)]
pub struct TrainingTemplate {
    /// Name in run files.
    pub name: &'static str,
    /// Text of the template.
    pub text: &'static str,
}

/// Chat templates for training. For a single turn that keeps its thinking they write what the templates of their families
/// write.
pub static TRAINING_TEMPLATES: [TrainingTemplate; 2] = [
    TrainingTemplate { name: "qwen3-training", text: include_str!("../templates/qwen3-training.jinja") },
    TrainingTemplate { name: "r1-training", text: include_str!("../templates/r1-training.jinja") },
];

/// A chat template as a run file names it: one of [`TRAINING_TEMPLATES`], or a file.
///
/// ```
/// # use palestra_text::NamedTemplate;
/// let name = |text: &str| NamedTemplate::from(text.to_string());
/// assert!(matches!(name("qwen3-training"), NamedTemplate::Training(template) if template.text.contains("<|im_start|>")));
/// assert_eq!(name("own.jinja"), NamedTemplate::File("own.jinja".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum NamedTemplate {
    /// A template for training.
    Training(&'static TrainingTemplate),
    /// A file in Jinja's form.
    File(PathBuf),
}

impl NamedTemplate {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Training(_) => None,
            Self::File(path) => Some(path),
        }
    }

    /// As [`NamedTemplate::file`], to be changed.
    pub fn file_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Training(_) => None,
            Self::File(path) => Some(path),
        }
    }

    /// Text of the template.
    ///
    /// # Errors
    /// A file or address that cannot be read.
    pub fn text(&self) -> Result<String> {
        let path = match self {
            Self::Training(template) => return Ok(template.text.to_string()),
            Self::File(path) => path,
        };
        let file = palestra_datasets::local(path)?;
        if path.extension().is_none() && !file.exists() {
            let names: Vec<&str> = TRAINING_TEMPLATES.iter().map(|template| template.name).collect();
            let shown = path.display();
            return Err(Error::Config(format!(
                "chat_template: {shown} is no file, and no template for training: {}",
                names.join(", ")
            )));
        }
        std::fs::read_to_string(&file).map_err(Error::io(path))
    }
}

impl From<String> for NamedTemplate {
    fn from(name: String) -> Self {
        let training = TRAINING_TEMPLATES.iter().find(|template| template.name == name);
        training.map_or_else(|| Self::File(name.into()), Self::Training)
    }
}

impl From<NamedTemplate> for String {
    fn from(template: NamedTemplate) -> Self {
        template.to_string()
    }
}

impl fmt::Display for NamedTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Training(template) => f.write_str(template.name),
            Self::File(path) => path.display().fmt(f),
        }
    }
}
