//! A job in memory: records in, what the job would have committed out.

use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, SecondsFormat, Utc};
use polars::frame::DataFrame;
use serde_json::{Map, Value};

use wardwatch_config::{Column, ColumnType};
use wardwatch_frame::from_polars_frame;
use wardwatch_ingest::decode::frame_schema;
use wardwatch_model::diagnostic::unknown;
use wardwatch_model::terms::Partition;
use wardwatch_pipeline::{GivenRecord, OfflineBatch, OfflineJob, Recovering};

use super::committed::Committed;
use super::error::SessionError;

/// A job in memory, for tests: the steps of the loop without Kafka, a store or a clock.
///
/// Each call is a batch at the time `now`, which the caller says and which should not go back; records are stamped with it, as if they
/// had come at that moment. Reference tables hold what their seeds hold.
///
/// ```
/// use chrono::{DateTime, TimeDelta};
/// use wardwatch_session::{Column, Session};
///
/// # fn main() -> Result<(), wardwatch_session::SessionError> {
/// let mut ward = Session::builder("ward")
///     .column(Column::float("heart_rate").plausible(0.0..=300.0))
///     .rule("tachycardia", "-- @severity: high\nSELECT patient_id, event_time FROM vitals WHERE heart_rate > 130")
///     .build()?
///     .offline();
/// let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
/// let given = ward.json([r#"{"patient_id": "P1", "event_time": "2024-10-04T00:00:00Z", "heart_rate": 140}"#], now);
/// assert_eq!(given.committed().fired().count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Offline {
    job: OfflineJob,
}

/// What one batch gave.
#[derive(Debug)]
pub struct Given(OfflineBatch);

impl Given {
    /// What the job would have committed.
    #[must_use]
    pub fn committed(&self) -> Committed<'_> {
        let Self(batch) = self;
        Committed {
            batch: batch.batch,
            records: batch.records,
            rows: None,
            results: &batch.outcomes,
            alerts: &batch.changes,
            rejects: &batch.rejects,
            artefacts: &batch.artefacts,
            ignored: batch.ignored,
            latency: Duration::ZERO,
        }
    }
}

impl Offline {
    pub(super) fn new(plan: wardwatch_pipeline::Plan) -> Self {
        Self { job: OfflineJob::new(plan) }
    }

    /// Takes records as the topic would have them, of one partition. None lets time pass.
    pub fn json<'r>(&mut self, records: impl IntoIterator<Item = &'r str>, now: DateTime<Utc>) -> Given {
        let records = records.into_iter().map(|record| given(record.as_bytes().to_vec(), now));
        Given(self.job.records(&records.collect::<Vec<_>>(), now))
    }

    /// Takes rows whose columns are some or all of the job's; each is a record that is decoded like any other, so that what cannot be
    /// true is an artefact here, too.
    ///
    /// # Errors
    /// A column that the job has not, or whose values cannot be of its type.
    pub fn rows(&mut self, rows: &RecordBatch, now: DateTime<Utc>) -> Result<Given, SessionError> {
        let records =
            self.records(rows)?.into_iter().map(|record| given(Value::Object(record).to_string().into_bytes(), now));
        Ok(Given(self.job.records(&records.collect::<Vec<_>>(), now)))
    }

    /// The same with a frame of Polars; times without a zone are in UTC.
    ///
    /// # Errors
    /// As for [`rows`](Self::rows); a column that Arrow does not know.
    pub fn frame(&mut self, frame: &DataFrame, now: DateTime<Utc>) -> Result<Given, SessionError> {
        self.rows(&from_polars_frame(frame)?, now)
    }

    /// Lets time pass until `now`: what has fallen silent since is told.
    pub fn pass(&mut self, now: DateTime<Utc>) -> Given {
        Given(self.job.records(&[], now))
    }

    /// Gives out windows that are still open, as `run --once --close-windows` does at its end.
    pub fn close_windows(&mut self, now: DateTime<Utc>) -> Given {
        Given(self.job.close_windows(now))
    }

    /// Gives a reference table, such as limits, other rows.
    pub fn set_reference(&mut self, table: &str, rows: &RecordBatch) {
        self.job.set_reference(table, rows);
    }

    /// Is killed and starts again: windows, history and what is known of streams are made again as the job makes them.
    pub fn restart(&mut self) {
        self.job.recover(Recovering::FromRecords);
    }

    fn records(&self, rows: &RecordBatch) -> Result<Vec<Map<String, Value>>, SessionError> {
        let source = &self.job.plan().job.source;
        let schema = frame_schema(&source.columns);
        let mut records = vec![Map::new(); rows.num_rows()];
        for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            let wrong = |reason: String| SessionError::Column { column: field.name().clone(), reason };
            let known = || source.columns.all().iter().map(|column| column.name.as_str());
            let Some(form) = source.bare_form(0).filter(|form| form.long.is_none()) else {
                return Err(wrong(
                    "this job's records are no bare objects with a field a column; give them as JSON".to_owned(),
                ));
            };
            let Some(column) = form.columns.get(field.name()) else {
                return Err(wrong(unknown("column", field.name(), known())));
            };
            if !column.is_written_plainly() {
                return Err(wrong(
                    "it is not written as it is read (units, parts, keys); give such records as JSON".to_owned(),
                ));
            }
            let Ok(wanted) = schema.field_with_name(&column.name) else { continue };
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let array = cast_with_options(array, wanted.data_type(), &options).map_err(|error| {
                wrong(format!("{} cannot be taken as {}: {error}", array.data_type(), wanted.data_type()))
            })?;
            put(column, &array, &mut records);
        }
        Ok(records)
    }
}

/// Puts the values of a column, which are of its type, into records; what is NULL is left out.
fn put(column: &Column, array: &ArrayRef, records: &mut [Map<String, Value>]) {
    let value = |row: usize| match column.r#type {
        ColumnType::Text => array.as_string_view().value(row).into(),
        ColumnType::Float => array.as_primitive::<Float64Type>().value(row).into(),
        ColumnType::Int => array.as_primitive::<Int64Type>().value(row).into(),
        ColumnType::Bool => array.as_boolean().value(row).into(),
        ColumnType::Time => {
            let time = DateTime::from_timestamp_micros(array.as_primitive::<TimestampMicrosecondType>().value(row));
            time.map_or(Value::Null, |time| time.to_rfc3339_opts(SecondsFormat::Micros, true).into())
        }
    };
    for (row, record) in records.iter_mut().enumerate().filter(|(row, _)| array.is_valid(*row)) {
        if let Some(path) = column.from.first() {
            path.put(record, value(row));
        }
    }
}

fn given(payload: Vec<u8>, now: DateTime<Utc>) -> GivenRecord {
    GivenRecord { partition: Partition(0), stamp: Some(now.timestamp_millis()), payload }
}
