//! Conversion of Arrow columns, of any accepted type, to the types of an episode.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Float32Array, PrimitiveArray, RecordBatch, StringViewArray,
    StructArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::display::array_value_to_string;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::DataType;

use super::rules::Breach;
use super::schema::{COLUMNS, Need};
use crate::cells::utf8;
use crate::{Content, Message};

/// A batch of rows of a file. A column that is absent from the file, or null in all of these rows, is `None`.
pub(super) struct Batch {
    pub rows: usize,
    /// True if observations are read.
    pub has_observations: bool,
    /// The first error of each invalid row, by the row's index in the batch.
    pub faults: BTreeMap<usize, Breach>,
    pub episode_id: Option<StringViewArray>,
    pub step: Option<UInt32Array>,
    pub env_id: Option<StringViewArray>,
    pub env_version: Option<UInt32Array>,
    pub env_spec: Option<StringViewArray>,
    pub seed: Option<UInt64Array>,
    pub split: Option<StringViewArray>,
    pub observation: Option<StringViewArray>,
    pub observation_messages: Option<StringViewArray>,
    pub prompt_ids: Option<Lists<UInt32Array>>,
    pub action: Option<StringViewArray>,
    pub action_ids: Option<Lists<UInt32Array>>,
    pub legal_actions: Option<Lists<StringViewArray>>,
    pub final_observation: Option<StringViewArray>,
    pub final_observation_messages: Option<StringViewArray>,
    pub reward: Option<Float32Array>,
    pub reward_parts: Option<Parts>,
    pub terminated: Option<BooleanArray>,
    pub truncated: Option<BooleanArray>,
    pub end_reason: Option<StringViewArray>,
    pub invalid_action: Option<BooleanArray>,
    pub policy_id: Option<StringViewArray>,
    pub policy_step: Option<UInt64Array>,
    pub tokenizer_hash: Option<StringViewArray>,
    pub log_probs: Option<Lists<Float32Array>>,
    pub temperature: Option<Float32Array>,
    pub top_p: Option<Float32Array>,
    pub reward_source: Option<StringViewArray>,
    pub rater_id: Option<StringViewArray>,
    pub info: Option<StringViewArray>,
    pub timestamp: Option<TimestampMicrosecondArray>,
}

/// One list per row, with all values in one array.
pub(super) struct Lists<A> {
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
    values: A,
}

/// Named numbers of each row.
pub(super) enum Parts {
    /// A map, or a list of pairs.
    Pairs(Box<Lists<StringViewArray>>, Float32Array),
    /// A struct with one column per name.
    Fields(Option<NullBuffer>, Vec<(String, Float32Array)>),
}

impl Batch {
    pub fn new(batch: &RecordBatch) -> Self {
        let mut from = Converter { batch, faults: BTreeMap::new() };
        Self {
            rows: batch.num_rows(),
            has_observations: ["observation", "observation_messages"]
                .iter()
                .any(|name| batch.column_by_name(name).is_some()),
            episode_id: from.text("episode_id"),
            step: from.numbers("step"),
            env_id: from.text("env_id"),
            env_version: from.numbers("env_version"),
            env_spec: from.text("env_spec"),
            seed: from.numbers("seed"),
            split: from.text("split"),
            observation: from.text("observation"),
            observation_messages: from.text("observation_messages"),
            prompt_ids: from.number_lists("prompt_ids"),
            action: from.text("action"),
            action_ids: from.number_lists("action_ids"),
            legal_actions: from.text_lists("legal_actions"),
            final_observation: from.text("final_observation"),
            final_observation_messages: from.text("final_observation_messages"),
            reward: from.numbers("reward"),
            reward_parts: from.parts("reward_parts"),
            terminated: from.flags("terminated"),
            truncated: from.flags("truncated"),
            end_reason: from.text("end_reason"),
            invalid_action: from.flags("invalid_action"),
            policy_id: from.text("policy_id"),
            policy_step: from.numbers("policy_step"),
            tokenizer_hash: from.text("tokenizer_hash"),
            log_probs: from.number_lists("log_probs"),
            temperature: from.numbers("temperature"),
            top_p: from.numbers("top_p"),
            reward_source: from.text("reward_source"),
            rater_id: from.text("rater_id"),
            info: from.text("info"),
            timestamp: from.times("timestamp"),
            faults: from.faults,
        }
    }
}

/// Returns the text of a row, if it has one.
pub(super) fn text(column: &Option<StringViewArray>, row: usize) -> Option<&str> {
    let column = column.as_ref()?;
    column.is_valid(row).then(|| column.value(row))
}

/// Returns the text of a row or the messages of its other column, if it has one. `names` are those of the two columns.
pub(super) fn content(
    texts: &Option<StringViewArray>,
    messages: &Option<StringViewArray>,
    row: usize,
    names: [&'static str; 2],
) -> Result<Option<Content>, Breach> {
    match (text(texts, row), text(messages, row)) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(text.into())),
        (Some(_), Some(_)) => Err((names[1], format!("stands beside {}; a row has one of them", names[0]))),
        (None, Some(json)) => {
            let wrong = |reason: String| (names[1], format!("is no JSON list of messages: {reason}"));
            let messages = serde_json::from_str::<Vec<Message>>(json).map_err(|error| wrong(error.to_string()))?;
            Ok(Some(Content::Messages(messages)))
        }
    }
}

/// Returns the number of a row, if it has one.
pub(super) fn number<T: ArrowPrimitiveType>(column: &Option<PrimitiveArray<T>>, row: usize) -> Option<T::Native> {
    let column = column.as_ref()?;
    column.is_valid(row).then(|| column.value(row))
}

/// True if a flag is set.
pub(super) fn flag(column: &Option<BooleanArray>, row: usize) -> bool {
    column.as_ref().is_some_and(|column| column.is_valid(row) && column.value(row))
}

impl<A> Lists<A> {
    fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        let is_valid = self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        is_valid.then(|| self.offsets[row] as usize..self.offsets[row + 1] as usize)
    }
}

impl<T: ArrowPrimitiveType> Lists<PrimitiveArray<T>> {
    pub fn get(&self, row: usize) -> Option<Vec<T::Native>> {
        Some(self.values.values()[self.range(row)?].to_vec())
    }
}

impl Lists<StringViewArray> {
    pub fn get(&self, row: usize) -> Option<Vec<String>> {
        Some(self.range(row)?.map(|index| self.values.value(index).to_owned()).collect())
    }
}

impl Parts {
    pub fn get(&self, row: usize) -> BTreeMap<String, f32> {
        match self {
            Self::Pairs(names, values) => {
                let range = names.range(row).unwrap_or_default();
                let pairs = range.filter(|index| values.is_valid(*index));
                pairs.map(|index| (names.values.value(index).to_owned(), values.value(index))).collect()
            }
            Self::Fields(nulls, _) if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) => BTreeMap::new(),
            Self::Fields(_, fields) => {
                let present = fields.iter().filter(|(_, values)| values.is_valid(row));
                present.map(|(name, values)| (name.clone(), values.value(row))).collect()
            }
        }
    }
}

struct Converter<'a> {
    batch: &'a RecordBatch,
    faults: BTreeMap<usize, Breach>,
}

impl Converter<'_> {
    fn text(&mut self, name: &'static str) -> Option<StringViewArray> {
        let column = self.column(name)?;
        Some(self.checked(name, &column, None))
    }

    /// Returns bytes as texts. Rows with bytes that are no UTF-8 are recorded as faults, with an empty text in their
    /// place.
    fn checked(
        &mut self,
        name: &'static str,
        bytes: &ArrayRef,
        offsets: Option<&OffsetBuffer<i32>>,
    ) -> StringViewArray {
        let bytes = bytes.as_binary_view();
        if let Ok(texts) = bytes.clone().to_string_view() {
            return texts;
        }
        let texts = bytes.iter().enumerate().map(|(index, bytes)| match utf8(bytes?) {
            Ok(text) => Some(text),
            Err(reason) => {
                self.fault(offsets.map_or(index, |offsets| row_of(offsets, index)), name, reason);
                Some("")
            }
        });
        texts.collect()
    }

    fn numbers<T: ArrowPrimitiveType>(&mut self, name: &'static str) -> Option<PrimitiveArray<T>> {
        let column = self.column(name)?;
        Some(self.cast(name, &column, &T::DATA_TYPE, None)?.as_primitive::<T>().clone())
    }

    fn flags(&mut self, name: &'static str) -> Option<BooleanArray> {
        let column = self.column(name)?;
        if let Some(flags) = column.as_boolean_opt() {
            return Some(flags.clone());
        }
        let numbers: PrimitiveArray<Int64Type> = self.numbers(name)?;
        for (row, number) in numbers.iter().enumerate() {
            if let Some(number) = number.filter(|number| !(0..=1).contains(number)) {
                self.fault(row, name, format!("{number} is not a flag: true, false, 1 or 0"));
            }
        }
        Some(numbers.iter().map(|number| number.map(|number| number == 1)).collect())
    }

    fn times(&mut self, name: &'static str) -> Option<TimestampMicrosecondArray> {
        let column = self.column(name)?;
        let whole =
            if column.data_type().is_integer() { self.cast(name, &column, &DataType::Int64, None)? } else { column };
        let times = self.cast(name, &whole, &TimestampMicrosecondType::DATA_TYPE, None)?;
        Some(times.as_primitive::<TimestampMicrosecondType>().clone())
    }

    fn number_lists<T: ArrowPrimitiveType>(&mut self, name: &'static str) -> Option<Lists<PrimitiveArray<T>>> {
        let (lists, values) = self.lists(name)?;
        let values = self.cast(name, &values, &T::DATA_TYPE, Some(&lists.offsets))?;
        Some(lists.with(values.as_primitive::<T>().clone()))
    }

    fn text_lists(&mut self, name: &'static str) -> Option<Lists<StringViewArray>> {
        let (lists, values) = self.lists(name)?;
        let texts = self.checked(name, &values, Some(&lists.offsets));
        Some(lists.with(texts))
    }

    fn parts(&mut self, name: &'static str) -> Option<Parts> {
        let column = self.column(name)?;
        if let Some(fields) = column.as_struct_opt() {
            let mut parts = Vec::new();
            for (field, values) in fields.fields().iter().zip(fields.columns()) {
                let values = self.cast(name, values, &DataType::Float32, None)?;
                parts.push((field.name().clone(), values.as_primitive::<Float32Type>().clone()));
            }
            return Some(Parts::Fields(fields.nulls().cloned(), parts));
        }
        let (lists, pairs): (_, StructArray) = match column.as_map_opt() {
            Some(map) => {
                let lists = Lists { offsets: map.offsets().clone(), nulls: map.nulls().cloned(), values: () };
                (lists, map.entries().clone())
            }
            None => {
                let (lists, pairs) = self.lists(name)?;
                (lists, pairs.as_struct().clone())
            }
        };
        self.refuse_null_elements(name, pairs.column(0), &lists.offsets);
        let numbers = self.cast(name, pairs.column(1), &DataType::Float32, Some(&lists.offsets))?;
        let names = self.checked(name, pairs.column(0), Some(&lists.offsets));
        Some(Parts::Pairs(Box::new(lists.with(names)), numbers.as_primitive::<Float32Type>().clone()))
    }

    /// Returns the lists of a column without their values, and all their values.
    fn lists(&mut self, name: &'static str) -> Option<(Lists<()>, ArrayRef)> {
        let column = self.column(name)?;
        let lists = column.as_list::<i32>();
        self.refuse_null_elements(name, lists.values(), lists.offsets());
        let without = Lists { offsets: lists.offsets().clone(), nulls: lists.nulls().cloned(), values: () };
        Some((without, lists.values().clone()))
    }

    /// Returns a column of the file, unless all of it is null.
    fn column(&mut self, name: &'static str) -> Option<ArrayRef> {
        let column = self.batch.column_by_name(name)?;
        if column.null_count() > 0 && COLUMNS.iter().any(|known| known.name == name && known.need == Need::Required) {
            for row in (0..column.len()).filter(|row| column.is_null(*row)) {
                self.fault(row, name, "null; every row needs a value".to_string());
            }
        }
        let is_null = column.null_count() == column.len() || *column.data_type() == DataType::Null;
        (!is_null).then(|| column.clone())
    }

    /// Casts values to another type; rows with values that do not fit are recorded as faults. `offsets` map the
    /// elements of a list to rows.
    fn cast(
        &mut self,
        name: &'static str,
        from: &ArrayRef,
        to: &DataType,
        offsets: Option<&OffsetBuffer<i32>>,
    ) -> Option<ArrayRef> {
        if from.data_type() == to {
            return Some(from.clone());
        }
        let cast = match cast_with_options(from, to, &CastOptions { safe: true, ..CastOptions::default() }) {
            Ok(cast) => cast,
            Err(error) => {
                self.fault(0, name, error.to_string());
                return None;
            }
        };
        if cast.null_count() > from.null_count() {
            for index in (0..cast.len()).filter(|index| cast.is_null(*index) && from.is_valid(*index)) {
                let row = offsets.map_or(index, |offsets| row_of(offsets, index));
                let value = array_value_to_string(from, index).unwrap_or_default();
                self.fault(row, name, format!("{value} does not fit into {to}"));
            }
        }
        Some(cast)
    }

    fn refuse_null_elements(&mut self, name: &'static str, values: &ArrayRef, offsets: &OffsetBuffer<i32>) {
        if values.null_count() > 0 {
            for index in (0..values.len()).filter(|index| values.is_null(*index)) {
                self.fault(row_of(offsets, index), name, "null inside a list".to_string());
            }
        }
    }

    fn fault(&mut self, row: usize, column: &'static str, reason: String) {
        if let Entry::Vacant(place) = self.faults.entry(row) {
            place.insert((column, reason));
        }
    }
}

impl Lists<()> {
    fn with<A>(self, values: A) -> Lists<A> {
        Lists { offsets: self.offsets, nulls: self.nulls, values }
    }
}

/// Returns the row whose list holds an element.
fn row_of(offsets: &OffsetBuffer<i32>, element: usize) -> usize {
    offsets.partition_point(|offset| *offset as usize <= element).saturating_sub(1)
}
