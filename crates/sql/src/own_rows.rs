//! Which rows and columns of a batch are one source's.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter_record_batch, is_not_null};
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::source::Source;

/// What stands between a source's name and that of its column.
const DOT: char = '.';

/// Which rows and columns of a batch are one source's.
#[derive(Debug, Clone)]
pub(crate) struct OwnRows {
    schema: SchemaRef,
    /// What each of its columns is called in the batch.
    names: Vec<String>,
    /// The column that says which rows are its own; `None` where all are.
    marker: Option<String>,
    /// What stands before its columns' names in the batch.
    prefix: String,
}

impl OwnRows {
    /// Those of the source whose place among all is `number`.
    pub(super) fn of(source: &Source<'_>, number: usize) -> Self {
        let table = source.tables()[number];
        if source.others.is_empty() {
            let names = source.schema.fields().iter().map(|field| field.name().clone()).collect();
            return Self { schema: Arc::clone(&source.schema), names, marker: None, prefix: String::new() };
        }
        let prefix = if number == 0 { String::new() } else { format!("{table}{DOT}") };
        let own = |field: &Field| -> Option<String> {
            let name = field.name();
            match name.split_once(DOT) {
                Some(_) if number == 0 => None,
                Some(_) => name.strip_prefix(&prefix).map(str::to_owned),
                None if number == 0 || name.starts_with('_') => Some(name.clone()),
                None => (name == source.key || name == source.event_time).then(|| name.clone()),
            }
        };
        let fields = source.schema.fields().iter().filter_map(|field| Some((own(field)?, field)));
        let (fields, names): (Vec<Field>, Vec<String>) =
            fields.map(|(name, field)| (field.as_ref().clone().with_name(name), field.name().clone())).unzip();
        Self { schema: Arc::new(Schema::new(fields)), names, marker: Some(format!("_of{DOT}{table}")), prefix }
    }

    /// The schema of its rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What one of its columns is called in the batch.
    pub(super) fn in_batch(&self, own: &str) -> String {
        let place = self.schema.index_of(own).ok();
        place.map_or_else(|| format!("{}{own}", self.prefix), |place| self.names[place].clone())
    }

    /// What a column of the batch is called in its table; `None` where it is another source's.
    pub(super) fn name_of(&self, in_batch: &str) -> Option<&str> {
        let place = self.names.iter().position(|name| name == in_batch)?;
        Some(self.schema.field(place).name())
    }

    /// Its rows of a batch. A hidden column that stands behind those of the batch stays.
    pub(super) fn of_batch(&self, rows: &RecordBatch) -> RecordBatch {
        match &self.marker {
            None => rows.clone(),
            Some(marker) => self.columns_of(&only(rows, marker)),
        }
    }

    /// Its columns of rows, whichever source's they are.
    fn columns_of(&self, rows: &RecordBatch) -> RecordBatch {
        let schema = rows.schema_ref();
        let places = self.names.iter().filter_map(|name| schema.index_of(name).ok());
        let own = places.zip(self.schema.fields()).map(|(place, field)| (rows.column(place).clone(), field.clone()));
        let hidden = schema.fields().last().filter(|field| super::sampled::is_number(field));
        let hidden = hidden.map(|field| (rows.column(rows.num_columns() - 1).clone(), field.clone()));
        let (columns, fields): (Vec<_>, Vec<_>) = own.chain(hidden).unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .unwrap_or_else(|error| panic!("a batch has the columns of each source: {error}"))
    }

    /// Its own of a batch's artefacts, which name their columns as the batch does.
    pub(super) fn artefacts_of(&self, artefacts: &RecordBatch) -> RecordBatch {
        const COLUMN: &str = "column_name";
        let (Some(_), Ok(place)) = (&self.marker, artefacts.schema_ref().index_of(COLUMN)) else {
            return artefacts.clone();
        };
        let names = artefacts.column(place).as_string_view();
        let own = |name: &str| match self.prefix.as_str() {
            "" => (!name.contains(DOT)).then(|| name.to_owned()),
            prefix => name.strip_prefix(prefix).map(str::to_owned),
        };
        let own: Vec<Option<String>> = names.iter().map(|name| own(name?)).collect();
        let is_own: BooleanArray = own.iter().map(|name| Some(name.is_some())).collect();
        let kept = filtered(artefacts, &is_own);
        let mut columns = kept.columns().to_vec();
        columns[place] = Arc::new(own.iter().flatten().map(Some).collect::<arrow::array::StringViewArray>());
        RecordBatch::try_new(kept.schema(), columns).unwrap_or_else(|error| panic!("as they were: {error}"))
    }
}

/// The rows that bear a source's marker.
fn only(rows: &RecordBatch, marker: &str) -> RecordBatch {
    match rows.column_by_name(marker) {
        Some(marked) if marked.null_count() == 0 => rows.clone(),
        Some(marked) => {
            let is_own = is_not_null(marked).unwrap_or_else(|error| panic!("any column has NULLs or none: {error}"));
            filtered(rows, &is_own)
        }
        None => rows.slice(0, 0),
    }
}

fn filtered(rows: &RecordBatch, keep: &BooleanArray) -> RecordBatch {
    filter_record_batch(rows, keep).unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"))
}
