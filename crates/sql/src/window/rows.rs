//! State rows, and what is done to them before and after a plan runs: where things stand in one, which session and which
//! pane it is of, and what it may share with the batch that it came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::physical_plan::PhysicalExpr;

use super::super::execute::QueryFailure;
use super::call::instant;
use super::sessions::whole_sessions;

/// The session of a row, while it is aggregated.
pub(super) const SESSION: &str = "__session";

/// Where things stand in a state row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) keys: usize,
    /// Which key is the window's; only all of time has none.
    pub(super) window_key: Option<usize>,
    pub(super) has_partition: bool,
}

pub(super) fn broken(error: &arrow::error::ArrowError) -> QueryFailure {
    QueryFailure(error.to_string())
}

impl Layout {
    /// The columns of a state row that say whose it is; those of the session but for its start.
    pub(super) fn session_keys(self, rows: &RecordBatch, partitions: Partitions) -> Vec<ArrayRef> {
        let last = match partitions {
            Partitions::Apart => self.keys + 1,
            Partitions::Together => self.keys,
        };
        (0..last).filter(|index| Some(*index) != self.window_key).map(|index| rows.column(index).clone()).collect()
    }

    /// State rows without their partition, as pieces of the window that starts at `start`.
    pub(super) fn group(self, rows: &RecordBatch, start: Option<i64>) -> Vec<ArrayRef> {
        let mut columns = rows.columns().to_vec();
        if let (Some(key), Some(start)) = (self.window_key, start) {
            columns[key] = instants(vec![start; rows.num_rows()]);
        }
        columns.remove(self.keys);
        columns
    }

    pub(super) fn with_starts(self, rows: &RecordBatch, starts: Vec<i64>) -> RecordBatch {
        let mut columns = rows.columns().to_vec();
        if let Some(key) = self.window_key {
            columns[key] = instants(starts);
        }
        RecordBatch::try_new(rows.schema(), columns)
            .unwrap_or_else(|error| panic!("the starts have the type that they had: {error}"))
    }
}

pub(super) fn instants(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partitions {
    Apart,
    Together,
}

/// The start and the end of the whole session of each state row.
pub(super) fn whole(
    rows: &RecordBatch,
    layout: Layout,
    gap: i64,
    partitions: Partitions,
) -> Result<(Vec<i64>, Vec<i64>), QueryFailure> {
    let Some(key) = layout.window_key else { panic!("a session has a start") };
    let first = rows.column(key).as_primitive::<TimestampMicrosecondType>().values();
    let last = rows.column(rows.num_columns() - 2).as_primitive::<TimestampMicrosecondType>().values();
    whole_sessions(&layout.session_keys(rows, partitions), first, last, gap).map_err(|error| broken(&error))
}

/// State rows of sessions laid together, each with the start of the session that they now are.
pub(super) fn joined(rows: &[RecordBatch], layout: Layout, gap: i64) -> Result<RecordBatch, QueryFailure> {
    let schema = rows.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let rows = concat_batches(&schema, rows).map_err(|error| broken(&error))?;
    let (starts, _) = whole(&rows, layout, gap, Partitions::Apart)?;
    Ok(layout.with_starts(&rows, starts))
}

/// The batch's rows with the start of the session that each is in, as far as the batch tells.
pub(super) fn with_session(
    rows: &RecordBatch,
    keys: &[Arc<dyn PhysicalExpr>],
    layout: Layout,
    gap: i64,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let count = rows.num_rows();
    let evaluate = |key: &Arc<dyn PhysicalExpr>| -> Result<ArrayRef, arrow::error::ArrowError> {
        let value = key.evaluate(rows).and_then(|value| value.into_array(count));
        value.map_err(|error| arrow::error::ArrowError::ComputeError(error.to_string()))
    };
    let mut group = keys.iter().map(evaluate).collect::<Result<Vec<_>, _>>()?;
    let Some(key) = layout.window_key else { panic!("a session has a start") };
    let times = group.remove(key);
    let times = times.as_primitive::<TimestampMicrosecondType>().values();
    let (starts, _) = whole_sessions(&group, times, times, gap)?;
    let mut columns = rows.columns().to_vec();
    columns.push(instants(starts));
    RecordBatch::try_new(with_session_field(&rows.schema()), columns)
}

pub(super) fn with_session_field(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().cloned().chain([Arc::new(Field::new(SESSION, instant(), true))]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// State rows apart by pane.
pub(super) fn by_pane(rows: &RecordBatch, layout: Layout) -> Result<Vec<(i64, RecordBatch)>, QueryFailure> {
    let Some(key) = layout.window_key else { return Ok(vec![(0, rows.clone())]) };
    let starts = rows.column(key).as_primitive::<TimestampMicrosecondType>();
    let mut apart: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (row, start) in (0_u32..).zip(starts.values()) {
        apart.entry(*start).or_default().push(row);
    }
    if let (1, Some((start, _))) = (apart.len(), apart.first_key_value()) {
        return Ok(vec![(*start, rows.clone())]);
    }
    apart
        .into_iter()
        .map(|(start, rows_of)| {
            let taken = take_record_batch(rows, &UInt32Array::from(rows_of)).map_err(|error| broken(&error))?;
            Ok((start, taken))
        })
        .collect()
}

/// The same rows without what they share with the batches that they came from: a view of a text keeps the whole
/// buffer that it points into.
pub(super) fn compact(rows: &RecordBatch) -> RecordBatch {
    let columns = rows.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()) as ArrayRef,
        _ => Arc::clone(column),
    });
    RecordBatch::try_new(rows.schema(), columns.collect())
        .unwrap_or_else(|error| panic!("the columns keep their types: {error}"))
}
