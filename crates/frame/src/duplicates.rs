//! Rows that came twice.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use polars::prelude::{Column, DataFrame};

use wardwatch_model::event_time::Watermarks;
use wardwatch_model::record::PARTITION_COLUMN;
use wardwatch_model::terms::Partition;

use super::crossing::{CrossingError, to_polars};
use super::lateness::without;

/// Which of a row's columns have a value, as a column of its key.
const FILLED: &str = "_filled";

/// The keys that may still come again: those that are not late yet.
#[derive(Debug, Clone)]
pub struct SeenKeys {
    columns: Vec<String>,
    event_time: String,
    seen: Option<RecordBatch>,
}

impl SeenKeys {
    /// Rows are the same when they come from one partition, agree in `columns` and in the event time, and have values in the same
    /// columns: with clocks of whole seconds, the pressure of a cuff shares its time with the heart rate of a monitor.
    #[must_use]
    pub fn new(columns: &[String], event_time: &str) -> Self {
        let others = columns.iter().filter(|column| *column != event_time).cloned();
        let columns = others.chain([event_time.to_owned(), PARTITION_COLUMN.to_owned()]).collect();
        Self { columns, event_time: event_time.to_owned(), seen: None }
    }

    /// The places of those rows of `on_time` that were seen before, in `on_time` or in earlier batches.
    ///
    /// A row that is on time can only repeat a key that is not late either, so keys before the watermark are let go,
    /// and what is a duplicate does not depend on batching. NULL equals NULL. `watermarks` are those after the batch.
    ///
    /// # Panics
    /// Never: every type that a column can have crosses to Polars.
    pub fn find(&mut self, on_time: &RecordBatch, watermarks: &Watermarks) -> Vec<usize> {
        if on_time.num_rows() == 0 {
            return Vec::new();
        }
        let keys = self.keys(on_time);
        let known = self.seen.as_ref().map_or(0, RecordBatch::num_rows);
        let all = match &self.seen {
            Some(seen) => concat_batches(&keys.schema(), [seen, &keys]),
            None => Ok(keys),
        };
        let all = all.unwrap_or_else(|error| panic!("keys of one job have one schema: {error}"));
        let first = first_of_each(&all).unwrap_or_else(|error| panic!("keys have types that Polars knows: {error}"));
        let duplicates = (known..all.num_rows()).filter(|row| !first[*row]).map(|row| row - known).collect();
        self.seen = Some(self.still_on_time(&all, &first, watermarks));
        duplicates
    }

    fn keys(&self, rows: &RecordBatch) -> RecordBatch {
        let filled: ArrayRef = Arc::new(filled(rows));
        let columns = self.columns.iter().map(|name| (name.as_str(), ArrayRef::clone(&rows[name.as_str()]), true));
        let columns = columns.chain([(FILLED, filled, true)]);
        RecordBatch::try_from_iter_with_nullable(columns)
            .unwrap_or_else(|error| panic!("columns of one batch are equally long: {error}"))
    }

    fn still_on_time(&self, keys: &RecordBatch, first: &[bool], watermarks: &Watermarks) -> RecordBatch {
        let partitions = keys[PARTITION_COLUMN].as_primitive::<Int32Type>();
        let times = keys[self.event_time.as_str()].as_primitive::<TimestampMicrosecondType>();
        let wanted: BooleanArray = (0..keys.num_rows())
            .map(|row| {
                let watermark = watermarks.get(&Partition(partitions.value(row)));
                let on_time = watermark.is_none_or(|watermark| times.value(row) >= watermark.0.timestamp_micros());
                Some(first[row] && on_time)
            })
            .collect();
        filter_record_batch(keys, &wanted).unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"))
    }
}

/// Which columns have a value in each row, but for where it was read: a bit each, which those beyond the sixty-third share.
fn filled(rows: &RecordBatch) -> Int64Array {
    let mut bits = vec![0_i64; rows.num_rows()];
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns()).filter(|(field, _)| !field.name().starts_with('_'));
    for (index, (_, values)) in columns.enumerate().filter(|(_, (_, values))| values.null_count() < values.len()) {
        let bit = 1 << index.min(62);
        (0..values.len()).filter(|row| values.is_valid(*row)).for_each(|row| bits[row] |= bit);
    }
    bits.into()
}

/// Whether each row is the first of those with its values.
fn first_of_each(rows: &RecordBatch) -> Result<Vec<bool>, CrossingError> {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    let columns: Vec<Column> =
        columns.map(|(field, column)| to_polars(field.name(), column).map(Column::from)).collect::<Result<_, _>>()?;
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let frame = DataFrame::new(rows.num_rows(), columns)?;
    let groups = frame.group_by_stable(names)?;
    let mut first = vec![false; rows.num_rows()];
    groups.get_groups().iter().for_each(|group| first[group.first() as usize] = true);
    Ok(first)
}

/// `rows` without the rows at `places`.
#[must_use]
pub fn without_rows(rows: &RecordBatch, places: &[usize]) -> RecordBatch {
    without(rows, places.iter().copied())
}
