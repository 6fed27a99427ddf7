//! Conversion of episodes to Arrow columns.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float32Builder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder, StringDictionaryBuilder,
    TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, SchemaRef};

use super::schema::written;
use crate::{Content, End, Episode, Turn};

/// Rows that are not encoded yet, with one builder per column.
pub(super) struct RowBuilders {
    schema: SchemaRef,
    /// Number of rows.
    pub count: usize,
    /// Bytes of text and ids in the rows; values shared by all rows of an episode count once.
    pub bytes: usize,
    episode_id: StringDictionaryBuilder<Int32Type>,
    step: UInt32Builder,
    env_id: StringDictionaryBuilder<Int32Type>,
    env_version: UInt32Builder,
    env_spec: StringDictionaryBuilder<Int32Type>,
    seed: UInt64Builder,
    split: StringDictionaryBuilder<Int32Type>,
    observation: StringBuilder,
    observation_messages: StringBuilder,
    prompt_ids: ListBuilder<UInt32Builder>,
    action: StringBuilder,
    action_ids: ListBuilder<UInt32Builder>,
    legal_actions: ListBuilder<StringBuilder>,
    final_observation: StringBuilder,
    final_observation_messages: StringBuilder,
    reward: Float32Builder,
    reward_parts: MapBuilder<StringBuilder, Float32Builder>,
    terminated: BooleanBuilder,
    truncated: BooleanBuilder,
    end_reason: StringBuilder,
    invalid_action: BooleanBuilder,
    policy_id: StringDictionaryBuilder<Int32Type>,
    policy_step: UInt64Builder,
    tokenizer_hash: StringDictionaryBuilder<Int32Type>,
    log_probs: ListBuilder<Float32Builder>,
    temperature: Float32Builder,
    top_p: Float32Builder,
    reward_source: StringDictionaryBuilder<Int32Type>,
    rater_id: StringDictionaryBuilder<Int32Type>,
    info: StringBuilder,
    timestamp: TimestampMicrosecondBuilder,
}

impl RowBuilders {
    pub fn new() -> Self {
        let element = |kind| Field::new("element", kind, false);
        let names =
            MapFieldNames { entry: "key_value".to_string(), key: "key".to_string(), value: "value".to_string() };
        let ids = || ListBuilder::new(UInt32Builder::new()).with_field(element(DataType::UInt32));
        Self {
            schema: written(),
            count: 0,
            bytes: 0,
            episode_id: StringDictionaryBuilder::new(),
            step: UInt32Builder::new(),
            env_id: StringDictionaryBuilder::new(),
            env_version: UInt32Builder::new(),
            env_spec: StringDictionaryBuilder::new(),
            seed: UInt64Builder::new(),
            split: StringDictionaryBuilder::new(),
            observation: StringBuilder::new(),
            observation_messages: StringBuilder::new(),
            prompt_ids: ids(),
            action: StringBuilder::new(),
            action_ids: ids(),
            legal_actions: ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8)),
            final_observation: StringBuilder::new(),
            final_observation_messages: StringBuilder::new(),
            reward: Float32Builder::new(),
            reward_parts: MapBuilder::new(Some(names), StringBuilder::new(), Float32Builder::new())
                .with_values_field(Field::new("value", DataType::Float32, false)),
            terminated: BooleanBuilder::new(),
            truncated: BooleanBuilder::new(),
            end_reason: StringBuilder::new(),
            invalid_action: BooleanBuilder::new(),
            policy_id: StringDictionaryBuilder::new(),
            policy_step: UInt64Builder::new(),
            tokenizer_hash: StringDictionaryBuilder::new(),
            log_probs: ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32)),
            temperature: Float32Builder::new(),
            top_p: Float32Builder::new(),
            reward_source: StringDictionaryBuilder::new(),
            rater_id: StringDictionaryBuilder::new(),
            info: StringBuilder::new(),
            timestamp: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
        }
    }

    /// Appends the rows of an episode.
    pub fn append(&mut self, episode: &Episode) {
        let turns = episode.turns.len();
        let env_version = version_of(&episode.env_id);
        repeat(&mut self.episode_id, Some(&episode.id), turns);
        repeat(&mut self.env_id, not_empty(&episode.env_id), turns);
        repeat(&mut self.env_spec, episode.env_spec.as_deref(), turns);
        repeat(&mut self.split, episode.split.as_deref(), turns);
        repeat(&mut self.policy_id, not_empty(&episode.policy_id), turns);
        repeat(&mut self.tokenizer_hash, episode.tokenizer_hash.as_deref(), turns);
        repeat(&mut self.reward_source, episode.reward_source.as_deref(), turns);
        repeat(&mut self.rater_id, episode.rater_id.as_deref(), turns);
        for (step, turn) in episode.turns.iter().enumerate() {
            self.step.append_value(step as u32);
            self.env_version.append_option(env_version);
            self.seed.append_option(episode.seed);
            self.policy_step.append_value(episode.policy_step);
            self.temperature.append_option(episode.temperature);
            self.top_p.append_option(episode.top_p);
            self.append_turn(turn);
            let is_last = step + 1 == turns;
            self.terminated.append_value(is_last && episode.end == Some(End::Terminated));
            self.truncated.append_value(is_last && episode.end == Some(End::Truncated));
            let last = episode.final_observation.as_ref().filter(|_| is_last);
            append_content(&mut self.final_observation, &mut self.final_observation_messages, last);
            let cut = episode.end.is_none().then_some("cut");
            self.end_reason.append_option(episode.end_reason.as_deref().or(cut).filter(|_| is_last));
        }
        self.count += turns;
        self.bytes += bytes_of(episode);
    }

    /// Returns the rows so far and clears them.
    pub fn take(&mut self) -> RecordBatch {
        (self.count, self.bytes) = (0, 0);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.episode_id.finish()),
            Arc::new(self.step.finish()),
            Arc::new(self.env_id.finish()),
            Arc::new(self.env_version.finish()),
            Arc::new(self.env_spec.finish()),
            Arc::new(self.seed.finish()),
            Arc::new(self.split.finish()),
            Arc::new(self.observation.finish()),
            Arc::new(self.observation_messages.finish()),
            Arc::new(self.prompt_ids.finish()),
            Arc::new(self.action.finish()),
            Arc::new(self.action_ids.finish()),
            Arc::new(self.legal_actions.finish()),
            Arc::new(self.final_observation.finish()),
            Arc::new(self.final_observation_messages.finish()),
            Arc::new(self.reward.finish()),
            Arc::new(self.reward_parts.finish()),
            Arc::new(self.terminated.finish()),
            Arc::new(self.truncated.finish()),
            Arc::new(self.end_reason.finish()),
            Arc::new(self.invalid_action.finish()),
            Arc::new(self.policy_id.finish()),
            Arc::new(self.policy_step.finish()),
            Arc::new(self.tokenizer_hash.finish()),
            Arc::new(self.log_probs.finish()),
            Arc::new(self.temperature.finish()),
            Arc::new(self.top_p.finish()),
            Arc::new(self.reward_source.finish()),
            Arc::new(self.rater_id.finish()),
            Arc::new(self.info.finish()),
            Arc::new(self.timestamp.finish()),
        ];
        RecordBatch::try_new(self.schema.clone(), columns).expect("builders match the schema that we write")
    }

    fn append_turn(&mut self, turn: &Turn) {
        append_content(&mut self.observation, &mut self.observation_messages, Some(&turn.observation));
        self.action.append_value(&turn.action);
        self.reward.append_value(turn.reward);
        self.invalid_action.append_value(turn.invalid_action);
        self.info.append_option(turn.info.as_deref());
        self.timestamp.append_option(turn.timestamp);
        for (builder, ids) in [(&mut self.prompt_ids, &turn.prompt_ids), (&mut self.action_ids, &turn.action_ids)] {
            builder.values().append_slice(ids.as_deref().unwrap_or_default());
            builder.append(ids.is_some());
        }
        self.log_probs.values().append_slice(turn.log_probs.as_deref().unwrap_or_default());
        self.log_probs.append(turn.log_probs.is_some());
        for action in turn.legal_actions.iter().flatten() {
            self.legal_actions.values().append_value(action);
        }
        self.legal_actions.append(turn.legal_actions.is_some());
        for (name, part) in &turn.reward_parts {
            self.reward_parts.keys().append_value(name);
            self.reward_parts.values().append_value(*part);
        }
        self.reward_parts.append(!turn.reward_parts.is_empty()).expect("a value for every key");
    }
}

/// Returns the bytes of text and ids in an episode.
pub(crate) fn bytes_of(episode: &Episode) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let last = episode.final_observation.as_ref().map_or(0, Content::bytes);
    let shared = episode.id.len() + text(&episode.env_spec) + last;
    shared + episode.turns.iter().map(bytes_of_turn).sum::<usize>()
}

pub(super) fn bytes_of_turn(turn: &Turn) -> usize {
    let numbers = turn.prompt_ids.as_ref().map_or(0, Vec::len)
        + turn.action_ids.as_ref().map_or(0, Vec::len)
        + turn.log_probs.as_ref().map_or(0, Vec::len);
    let texts = turn.legal_actions.iter().flatten().chain(&turn.info).map(String::len).sum::<usize>();
    turn.observation.bytes() + turn.action.len() + texts + numbers * size_of::<u32>()
}

/// Returns the number at the end of an environment's id: 1 of `snake-6x6-v1`.
pub(super) fn version_of(env_id: &str) -> Option<u32> {
    env_id.rsplit_once("-v")?.1.parse().ok()
}

fn repeat(builder: &mut StringDictionaryBuilder<Int32Type>, value: Option<&str>, rows: usize) {
    match value {
        Some(value) => {
            builder.append_n(value, rows).expect("fewer than 2^31 different values");
        }
        None => builder.append_nulls(rows),
    }
}

/// Appends a text to one column, or messages as JSON to the other; the column of the other kind gets a null.
fn append_content(texts: &mut StringBuilder, messages: &mut StringBuilder, content: Option<&Content>) {
    let json = match content {
        Some(Content::Messages(messages)) => Some(serde_json::to_string(messages).expect("messages are JSON")),
        _ => None,
    };
    messages.append_option(json);
    texts.append_option(content.and_then(|content| match content {
        Content::Text(text) => Some(text),
        Content::Messages(_) => None,
    }));
}

fn not_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
