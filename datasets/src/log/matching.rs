//! Matching of a file's columns to the columns of the log, with checks of their types.

use std::path::Path;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};

use super::schema::{COLUMNS, Column, Columns, Need};
use super::shield::shield;
use crate::error::{Error, Result};
use crate::unchecked::{with_views, without_marks};

/// The selected columns of a file, as a schema of its own.
pub(super) struct Selection {
    /// The columns, in the file's order.
    pub columns: Vec<&'static Column>,
    pub schema: SchemaDescPtr,
    /// The types to request: the file's own, with text as bytes that are yet to be checked.
    pub arrow: SchemaRef,
    /// One flag per leaf column of the file: true if it is read.
    pub is_read: Vec<bool>,
}

impl Selection {
    /// Selects the columns. Fails if a required column is missing, or if a column has another type.
    pub fn new(path: &Path, of_file: &SchemaDescriptor, columns: Columns) -> Result<Self> {
        let found = find_columns(path, of_file, columns)?;
        let roots = of_file.root_schema().get_fields();
        let fields = found.iter().map(|(root, _)| roots[*root].clone()).collect();
        let select = || {
            let root = Type::group_type_builder("schema").with_fields(fields).build()?;
            let schema = without_marks(&root)?;
            let own = parquet_to_arrow_schema(&SchemaDescriptor::new(Arc::new(root)), None)?;
            let arrow = with_views(&parquet_to_arrow_schema(&schema, None)?);
            Ok::<_, parquet::errors::ParquetError>((own, arrow, schema))
        };
        let (own, arrow, schema) =
            shield(select).map_err(|reason| Error::file(path, format!("its schema cannot be read: {reason}")))?;
        let is_read = (0..of_file.num_columns())
            .map(|leaf| found.iter().any(|(root, _)| *root == of_file.get_column_root_idx(leaf)))
            .collect();
        let columns: Vec<_> = found.into_iter().map(|(_, column)| column).collect();
        check_types(path, &own, &columns)?;
        Ok(Self { columns, schema, arrow, is_read })
    }
}

/// Returns the columns to read, each with its index in the file, in the file's order.
fn find_columns(path: &Path, schema: &SchemaDescriptor, columns: Columns) -> Result<Vec<(usize, &'static Column)>> {
    let names: Vec<&str> = schema.root_schema().get_fields().iter().map(|field| field.name()).collect();
    let mut found = Vec::new();
    for column in COLUMNS.iter().filter(|column| column.is_in(columns)) {
        let refused = |reason| Error::Column { file: path.to_owned(), column: column.name, reason };
        let mut places = (0..names.len()).filter(|place| names[*place] == column.name);
        match (places.next(), places.next()) {
            (Some(place), None) => found.push((place, column)),
            (Some(_), Some(_)) => return Err(refused("there are two of that name".to_string())),
            (None, _) if is_missed(column, &names) => {
                let hint = match nearest(column.name, &names) {
                    Some(near) => format!("; rename {near}, if it is that"),
                    None => String::new(),
                };
                return Err(refused(format!("missing; every log needs it, {}{hint}", column.kind.wanted())));
            }
            (None, _) => {}
        }
    }
    found.sort_by_key(|(place, _)| *place);
    Ok(found)
}

/// True if a file needs a column that is not among its columns.
fn is_missed(column: &Column, names: &[&str]) -> bool {
    match column.need {
        Need::Required => true,
        Need::Either => !names.contains(&"observation_messages"),
        Need::Learning | Need::Record => false,
    }
}

/// Returns the name in the file that may stand for a missing column: misspelled, abbreviated, or with an affix.
fn nearest<'a>(column: &str, names: &[&'a str]) -> Option<&'a str> {
    let is_known = |name: &str| COLUMNS.iter().any(|column| column.name == name);
    names
        .iter()
        .filter(|name| !is_known(name))
        .map(|name| (strsim::damerau_levenshtein(column, &name.to_lowercase()), *name))
        .filter(|(distance, name)| {
            let name = name.to_lowercase();
            *distance <= (column.len() / 3).max(2)
                || name.len() > 2 && (column.contains(&name) || name.contains(column))
        })
        .min()
        .map(|(_, name)| name)
}

fn check_types(path: &Path, own: &Schema, columns: &[&'static Column]) -> Result<()> {
    for (field, column) in own.fields().iter().zip(columns) {
        let found = field.data_type();
        if !column.accepts(found) {
            let reason = format!("is of type {found}; it should be {}", column.kind.wanted());
            return Err(Error::Column { file: path.to_owned(), column: column.name, reason });
        }
    }
    Ok(())
}
