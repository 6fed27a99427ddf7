//! Import of Minari datasets (<https://minari.farama.org>) in the Arrow and Parquet storage formats.
//!
//! A dataset is a folder `data` with `metadata.json` and a folder for each episode: its own `metadata.json`, and Arrow
//! IPC or Parquet files with the columns `observations`, `actions`, `rewards`, `terminations`, `truncations` and
//! optionally `infos`. There is one more row than actions, with the last observation and padding in the other columns.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_ipc::reader::FileReader;
use arrow_schema::DataType;
use serde_json::Value;

use super::arrow_text::{Space, text_of_row};
use super::{ImportOptions, ImportReport, Target};
use crate::cells::is_text;
use crate::error::{Error, Result};
use crate::unchecked;
use crate::{End, Episode, Turn};

const ROWS_AT_A_TIME: usize = 1024;

/// Reads a Minari dataset into a new log `to`, from its folder or the folder `data` in it. Observations and actions
/// that are not texts become compact JSON: a Discrete its number, a Box its lists, a Dict its object. The observation
/// after the last action becomes `final_observation`, and `infos` the `info` of their turn. Datasets of images and the
/// HDF5 storage are refused.
pub fn import_minari(folder: &Path, to: &Path, options: &ImportOptions) -> Result<ImportReport> {
    let dataset = Dataset::open(folder)?;
    let mut target = Target::create(to, options)?;
    for number in dataset.episodes()? {
        let (episode, as_json) = dataset.read(number)?;
        target.write(episode)?;
        target.report.as_json += as_json;
    }
    target.finish()
}

struct Dataset {
    folder: PathBuf,
    /// Prefix of the episode ids, before their numbers.
    id: String,
    env_id: String,
    policy_id: String,
    observation_space: Space,
    action_space: Space,
    /// File extension of the episode files.
    format: &'static str,
}

impl Dataset {
    fn open(folder: &Path) -> Result<Self> {
        let data = folder.join("data");
        let named = if folder.ends_with("data") { folder.parent().unwrap_or(folder) } else { folder };
        let folder = if data.join("metadata.json").exists() { data } else { folder.to_owned() };
        let path = folder.join("metadata.json");
        let metadata = read_json(&path)?;
        let text = |name: &str| metadata[name].as_str().unwrap_or_default();
        let format = match text("data_format") {
            "arrow" => "arrow",
            "parquet" => "parquet",
            other => {
                let reason = format!(
                    "data_format is {other:?}; \"arrow\" and \"parquet\" can be read. Minari converts others: \
                     MinariStorage.new(folder, observation_space, action_space, data_format=\"parquet\")\
                     .update_from_storage(dataset.storage)"
                );
                return Err(Error::file(&path, reason));
            }
        };
        // Spaces and the environment are JSON strings inside JSON.
        let inner = |name: &str| serde_json::from_str::<Value>(text(name)).unwrap_or_default();
        let id = match text("dataset_id") {
            // Converted datasets have no id.
            "" => named.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            id => id.to_string(),
        };
        Ok(Self {
            id,
            env_id: inner("env_spec")["id"].as_str().unwrap_or_default().to_string(),
            policy_id: text("algorithm_name").to_string(),
            observation_space: Space::parse(&inner("observation_space")),
            action_space: Space::parse(&inner("action_space")),
            format,
            folder,
        })
    }

    /// Returns the numbers of the episodes, in order.
    fn episodes(&self) -> Result<Vec<u64>> {
        let mut numbers: Vec<u64> =
            names_in(&self.folder)?.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
        if numbers.is_empty() {
            return Err(Error::file(&self.folder, "has no episodes: no folder 0, 1, ... beside metadata.json"));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads an episode, and counts its observations and actions that are not texts.
    fn read(&self, number: u64) -> Result<(Episode, u64)> {
        let folder = self.folder.join(number.to_string());
        let metadata = folder.join("metadata.json");
        let mut episode = Episode {
            id: format!("{}/{number}", self.id),
            env_id: self.env_id.clone(),
            policy_id: self.policy_id.clone(),
            seed: if metadata.exists() { read_json(&metadata)?["seed"].as_u64() } else { None },
            ..Episode::default()
        };
        let mut files: Vec<PathBuf> = names_in(&folder)?.into_iter().map(|name| folder.join(name)).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == self.format));
        files.sort();
        let (mut last_row, mut as_json) = (None, 0);
        for file in &files {
            let mut row = 0;
            for batch in batches(file)? {
                let batch = batch.map_err(|reason| Error::file(file, reason))?;
                let columns = Columns::of(&batch).map_err(|reason| Error::file(file, reason))?;
                for place in 0..batch.num_rows() {
                    let refused = |reason| Error::file(file, format!("row {}: {reason}", row + place));
                    // A following row shows that the previous one is not the padded last row.
                    if let Some(Row { turn, end, no_texts }) = last_row.take() {
                        if episode.end.is_some() {
                            return Err(refused("the episode goes on after its end flag".to_string()));
                        }
                        episode.turns.push(turn);
                        episode.end = end;
                        as_json += no_texts;
                    }
                    last_row = Some(columns.row(place, self).map_err(refused)?);
                }
                row += batch.num_rows();
            }
        }
        let Some(Row { turn, .. }) = last_row else {
            return Err(Error::file(&folder, format!("has no row in any *.{} file", self.format)));
        };
        episode.final_observation = Some(turn.observation);
        Ok((episode, as_json))
    }
}

struct Row {
    turn: Turn,
    end: Option<End>,
    /// Number of non-text values among observation and action (0 to 2).
    no_texts: u64,
}

struct Columns {
    observations: ArrayRef,
    actions: ArrayRef,
    rewards: ArrayRef,
    terminations: ArrayRef,
    truncations: ArrayRef,
    infos: Option<ArrayRef>,
}

impl Columns {
    fn of(batch: &RecordBatch) -> Result<Self, String> {
        let column = |name: &str| {
            let found = batch.column_by_name(name).cloned();
            found.ok_or_else(|| format!("column {name} is missing; every episode of Minari's has it"))
        };
        let as_kind = |name: &str, kind: &DataType| {
            let column = column(name)?;
            cast(&column, kind).map_err(|_| format!("column {name} is of type {}, not {kind}", column.data_type()))
        };
        Ok(Self {
            observations: column("observations")?,
            actions: column("actions")?,
            rewards: as_kind("rewards", &DataType::Float32)?,
            terminations: as_kind("terminations", &DataType::Boolean)?,
            truncations: as_kind("truncations", &DataType::Boolean)?,
            infos: batch.column_by_name("infos").cloned(),
        })
    }

    fn row(&self, row: usize, dataset: &Dataset) -> Result<Row, String> {
        let mut no_texts = 0;
        let mut text = |name: &str, column: &ArrayRef, space: &Space| {
            no_texts += u64::from(!is_text(column.data_type()));
            text_of_row(column, row, space).map_err(|reason| format!("column {name} {reason}"))
        };
        let observation = text("observations", &self.observations, &dataset.observation_space)?;
        let action = text("actions", &self.actions, &dataset.action_space)?;
        let info = match &self.infos {
            Some(infos) => {
                Some(text_of_row(infos, row, &Space::Plain).map_err(|reason| format!("column infos {reason}"))?)
            }
            None => None,
        };
        let flag = |column: &ArrayRef| column.is_valid(row) && column.as_boolean().value(row);
        let end = match (flag(&self.terminations), flag(&self.truncations)) {
            (true, _) => Some(End::Terminated),
            (false, true) => Some(End::Truncated),
            (false, false) => None,
        };
        let reward = self.rewards.as_primitive::<Float32Type>().value(row);
        Ok(Row {
            turn: Turn { observation: observation.into(), action, reward, info, ..Turn::default() },
            end,
            no_texts,
        })
    }
}

/// Reads the rows of a file in batches. An error says what is wrong with the file.
fn batches(path: &Path) -> Result<Box<dyn Iterator<Item = Result<RecordBatch, String>>>> {
    let file = File::open(path).map_err(Error::io(path, "open it"))?;
    let refused = |error: &dyn std::fmt::Display| Error::file(path, format!("cannot be read: {error}"));
    if path.extension().is_some_and(|extension| extension == "arrow") {
        let reader = FileReader::try_new(BufReader::new(file), None).map_err(|error| refused(&error))?;
        return Ok(Box::new(reader.map(|batch| batch.map_err(|error| format!("cannot be read: {error}")))));
    }
    let reader = unchecked::open(file).map_err(|error| refused(&error))?;
    let reader = reader.with_batch_size(ROWS_AT_A_TIME).build().map_err(|error| refused(&error))?;
    Ok(Box::new(reader.map(|batch| batch.map_err(|error| format!("cannot be read: {error}")))))
}

fn read_json(path: &Path) -> Result<Value> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::file(path, "there is no such file, so its folder is no dataset of Minari's"));
        }
        Err(error) => return Err(Error::io(path, "read it")(error)),
    };
    serde_json::from_str(&text).map_err(|error| Error::file(path, format!("is no JSON: {error}")))
}

fn names_in(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder, "list it"))?;
    entries.map(|entry| Ok(entry.map_err(Error::io(folder, "list it"))?.file_name())).collect()
}
