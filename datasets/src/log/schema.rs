//! Columns of the experience log: the types written, and the types accepted from other tools.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// The value of `schema_version` in a file's key-value metadata.
pub(super) const SCHEMA_VERSION: &str = "1";

/// Selection of the columns that a reader takes from the files. Other columns are not read from disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Columns {
    /// Every column.
    #[default]
    All,
    /// The columns for learning: all but `env_spec`, `reward_source`, `rater_id`, `info` and `timestamp`.
    Learning,
    /// The columns `episode_id`, `step`, `split`, `reward`, `terminated` and `truncated`: enough for returns and lengths. Turns
    /// have no text.
    Rewards,
}

/// Type of a column's values in Rust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    U32,
    U64,
    F32,
    Bool,
    /// Microseconds since 1970.
    Time,
    /// A list of texts.
    Texts,
    /// A list of token ids.
    Ids,
    /// A list of numbers.
    Numbers,
    /// Numbers by name.
    Parts,
}

/// Requirement level of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Present in every log, and null in no row.
    Required,
    /// As required, with another column that may stand in its place, in a row or in the whole file.
    Either,
    /// Read for learning if present.
    Learning,
    /// Read by people and by `check`.
    Record,
}

pub(super) struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
    /// True if the value is the same in all rows of an episode; a dictionary stores it once.
    pub of_episode: bool,
}

/// The columns, in the order in which they are written. `rows.rs` fills them in the same order.
pub(super) const COLUMNS: [Column; 31] = [
    of_episode("episode_id", Kind::Text, Need::Required),
    of_turn("step", Kind::U32, Need::Required),
    of_episode("env_id", Kind::Text, Need::Learning),
    of_episode("env_version", Kind::U32, Need::Learning),
    of_episode("env_spec", Kind::Text, Need::Record),
    of_episode("seed", Kind::U64, Need::Learning),
    of_episode("split", Kind::Text, Need::Learning),
    of_turn("observation", Kind::Text, Need::Either),
    of_turn("observation_messages", Kind::Text, Need::Learning),
    of_turn("prompt_ids", Kind::Ids, Need::Learning),
    of_turn("action", Kind::Text, Need::Required),
    of_turn("action_ids", Kind::Ids, Need::Learning),
    of_turn("legal_actions", Kind::Texts, Need::Learning),
    of_turn("final_observation", Kind::Text, Need::Learning),
    of_turn("final_observation_messages", Kind::Text, Need::Learning),
    of_turn("reward", Kind::F32, Need::Required),
    of_turn("reward_parts", Kind::Parts, Need::Learning),
    of_turn("terminated", Kind::Bool, Need::Required),
    of_turn("truncated", Kind::Bool, Need::Required),
    of_turn("end_reason", Kind::Text, Need::Learning),
    of_turn("invalid_action", Kind::Bool, Need::Learning),
    of_episode("policy_id", Kind::Text, Need::Learning),
    of_episode("policy_step", Kind::U64, Need::Learning),
    of_episode("tokenizer_hash", Kind::Text, Need::Learning),
    of_turn("log_probs", Kind::Numbers, Need::Learning),
    of_episode("temperature", Kind::F32, Need::Learning),
    of_episode("top_p", Kind::F32, Need::Learning),
    of_episode("reward_source", Kind::Text, Need::Record),
    of_episode("rater_id", Kind::Text, Need::Record),
    of_turn("info", Kind::Text, Need::Record),
    of_turn("timestamp", Kind::Time, Need::Record),
];

/// Returns the Arrow schema of written logs.
pub(super) fn written() -> SchemaRef {
    let field = |column: &Column| {
        let repeated_text = column.of_episode && column.kind == Kind::Text;
        let kind = if repeated_text {
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
        } else {
            column.kind.written()
        };
        Field::new(column.name, kind, column.need != Need::Required)
    };
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
}

const fn of_episode(name: &'static str, kind: Kind, need: Need) -> Column {
    Column { name, kind, need, of_episode: true }
}

const fn of_turn(name: &'static str, kind: Kind, need: Need) -> Column {
    Column { name, kind, need, of_episode: false }
}

impl Column {
    pub fn is_in(&self, columns: Columns) -> bool {
        match columns {
            Columns::All => true,
            Columns::Learning => self.need != Need::Record,
            Columns::Rewards => {
                ["episode_id", "step", "split", "reward", "terminated", "truncated"].contains(&self.name)
            }
        }
    }

    /// True if a column of this Arrow type can be read as this column.
    pub fn accepts(&self, found: &DataType) -> bool {
        self.kind.accepts(found) || (*found == DataType::Null && self.need != Need::Required)
    }
}

impl Kind {
    fn written(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::U32 => DataType::UInt32,
            Self::U64 => DataType::UInt64,
            Self::F32 => DataType::Float32,
            Self::Bool => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Texts => list_of(DataType::Utf8),
            Self::Ids => list_of(DataType::UInt32),
            Self::Numbers => list_of(DataType::Float32),
            Self::Parts => {
                let key = Field::new("key", DataType::Utf8, false);
                let value = Field::new("value", DataType::Float32, false);
                let entries = DataType::Struct(Fields::from(vec![key, value]));
                DataType::Map(Arc::new(Field::new("key_value", entries, false)), false)
            }
        }
    }

    /// True if an Arrow type is accepted for it: any width of number, text in any representation, flags as 0 and 1.
    fn accepts(self, found: &DataType) -> bool {
        let is_number = |kind: &DataType| kind.is_numeric() || *kind == DataType::Boolean;
        // Some writers store text as unmarked bytes; the reader checks that they are UTF-8.
        let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::Binary);
        match self {
            Self::Text => is_text(found),
            Self::U32 | Self::U64 => found.is_integer(),
            Self::F32 => is_number(found),
            Self::Bool => *found == DataType::Boolean || found.is_integer(),
            Self::Time => matches!(found, DataType::Timestamp(..)) || found.is_integer(),
            Self::Texts => element(found).is_some_and(is_text),
            Self::Ids => element(found).is_some_and(DataType::is_integer),
            Self::Numbers => element(found).is_some_and(is_number),
            Self::Parts => match found {
                DataType::Struct(parts) => parts.iter().all(|part| is_number(part.data_type())),
                DataType::Map(entries, _) | DataType::List(entries) => match entries.data_type() {
                    DataType::Struct(pair) if pair.len() == 2 => {
                        is_text(pair[0].data_type()) && is_number(pair[1].data_type())
                    }
                    _ => false,
                },
                _ => false,
            },
        }
    }

    /// Returns the name of the type for an error message.
    pub fn wanted(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::U32 | Self::U64 => "a whole number",
            Self::F32 => "a number (float32)",
            Self::Bool => "a boolean, or 0 and 1",
            Self::Time => "a timestamp, or microseconds since 1970",
            Self::Texts => "a list of strings",
            Self::Ids => "a list of whole numbers (uint32)",
            Self::Numbers => "a list of numbers (float32)",
            Self::Parts => "a map from string to number, a list of {key, value}, or a struct of numbers",
        }
    }
}

fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", element, false)))
}

fn element(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(field) => Some(field.data_type()),
        _ => None,
    }
}
