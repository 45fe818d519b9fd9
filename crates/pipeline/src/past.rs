//! Records of the past as the job would have decoded them: from a file of records, from the topic, or from a table with a row
//! per record.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch, UInt64Array};
use arrow::compute::{cast, concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, Utc};

use wardwatch_config::Job;
use wardwatch_ingest::decode::{CHUNK, RawRecords, frame_schema, in_frame};
use wardwatch_ingest::source::{SourceError, repeat};
use wardwatch_kafka::{Consumer, KafkaError};
use wardwatch_model::record::{Artefact, Reject};
use wardwatch_model::terms::{Offset, OffsetRange, Ranges};
use wardwatch_store::{Store, StoreError};

use super::plan::Plan;

use super::file_records::records_of_file;

/// Why there are no records.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// A file cannot be read.
    #[error("\"{}\" cannot be read", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No record of a file is one of the job's.
    #[error("\"{}\": none of {records} records is one of the job's; the first: {reason}", .file.display())]
    Rejects {
        /// The file.
        file: PathBuf,
        /// How many records it has.
        records: usize,
        /// Why the first is none.
        reason: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Kafka.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl From<KafkaError> for PastError {
    fn from(error: KafkaError) -> Self {
        Self::Source(error.into())
    }
}

impl PastError {
    /// Whether it may work when it is tried again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Source(error) => error.is_transient(),
            Self::File { .. } | Self::Rejects { .. } => false,
        }
    }
}

/// Rows of the past, in the order of their event times, with how many records were no rows.
#[derive(Debug)]
pub struct Past {
    /// The rows; schema: [`frame_schema`].
    pub rows: RecordBatch,
    /// How many records could not become one.
    pub rejects: usize,
    /// Why the first of these could not.
    pub first_reject: Option<String>,
    /// The values that could not be read or could not be true.
    pub artefacts: Vec<Artefact>,
    /// How many records, and items of them, are no rows on purpose.
    pub ignored: usize,
}

impl Past {
    /// Reads a file of records, in the form that the job's topic has ([`records_of_file`]). Rows at or after `from` and before
    /// `to` are kept.
    ///
    /// # Errors
    /// The file cannot be read, or holds no record of the job's.
    pub fn of_file(
        plan: &Plan,
        file: &Path,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
    ) -> Result<Self, PastError> {
        let job = &plan.job;
        let given =
            records_of_file(job, file, 0).map_err(|source| PastError::File { file: file.to_owned(), source })?;
        let mut decoder = plan.decoder();
        let (mut batches, mut rejects, mut artefacts) = (Vec::new(), Vec::new(), Vec::new());
        let mut ignored = 0;
        let headers = decoder.headers().to_vec();
        for chunk in given.chunks(CHUNK) {
            let mut records = RawRecords::default();
            for record in chunk {
                // Its line is where people find it.
                record.push(
                    &mut records,
                    Offset(i64::try_from(record.line).unwrap_or(i64::MAX)),
                    &headers,
                    &plan.topics,
                );
            }
            let decoded = decoder.decode(&records);
            batches.push(decoded.rows);
            rejects.extend(decoded.rejects);
            artefacts.extend(decoded.artefacts);
            ignored += decoded.ignored;
        }
        let has_rows = batches.iter().any(|batch| batch.num_rows() > 0);
        if let Some(first) = rejects.first().filter(|_| !has_rows && ignored == 0) {
            let reason = of_line(first);
            return Err(PastError::Rejects { file: file.to_owned(), records: given.len(), reason });
        }
        let rows = concat_batches(decoder.schema(), &batches)
            .unwrap_or_else(|error| panic!("a decoder's batches have one schema: {error}"));
        let first_reject = rejects.first().map(of_line);
        artefacts.retain(|artefact| is_within(artefact.event_time, from, to));
        let rows = within(&in_order(&rows, job), job, from, to);
        Ok(Self { rows, rejects: rejects.len(), first_reject, artefacts, ignored })
    }

    /// Reads the table with a row per record that the job's charts are drawn from, and the values that the job has put aside.
    /// Columns that the table lacks are NULL, but for doubtful values: these are among those that were put aside.
    ///
    /// # Errors
    /// The database does not answer, or has no such table.
    pub fn of_store(
        job: &Job,
        store: &mut Store,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
    ) -> Result<Self, PastError> {
        let schema = frame_schema(&job.source.columns);
        let topics = store.topics(&job.source.topics)?;
        let (key, event_time) = (&job.source.columns.key().name, &job.source.columns.event_time().name);
        let rows = store.stored_rows(&job.reports.table, &schema, key, event_time, (from, to))?;
        let artefacts = store.artefacts(&topics, (from, to))?;
        let rows = in_frame(&job.source, &with_doubtful(&in_order(&rows, job), job, &artefacts));
        Ok(Self { rows, rejects: 0, first_reject: None, artefacts, ignored: 0 })
    }

    /// Reads the newest `count` records of the job's topics.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn of_topic(plan: &Plan, count: usize, patience: Duration) -> Result<Self, PastError> {
        let job = &plan.job;
        let consumer = Consumer::connect(&job.source, patience, &|| false)?;
        let wanted = i64::try_from(count).unwrap_or(i64::MAX);
        let ranges: Ranges = consumer
            .bounds()?
            .into_iter()
            .map(|(partition, (low, end))| {
                (partition, OffsetRange { start: Offset(low.0.max(end.0.saturating_sub(wanted))), end })
            })
            .collect();
        let mut read = Vec::new();
        repeat::<PastError>(&consumer, (&job.source, plan.reshaping()), &[ranges], &|| false, &mut |repeated| {
            read.push(repeated.batch);
            Ok(())
        })?;
        let rows = concat_batches(&frame_schema(&job.source.frame), read.iter().map(|batch| &batch.rows))
            .unwrap_or_else(|error| panic!("a decoder's batches have one schema: {error}"));
        let rejects: Vec<&Reject> = read.iter().flat_map(|batch| &batch.rejects).collect();
        let first_reject = rejects.first().map(|first| {
            format!(
                "partition {}, offset {}: {}",
                consumer.topics().show(first.place.partition),
                first.place.offset,
                first.reason
            )
        });
        // As many were read of each partition; the newest of all are wanted.
        let rows = in_order(&rows, job);
        let kept = count.min(rows.num_rows());
        let artefacts = read.iter().flat_map(|batch| &batch.artefacts).cloned().collect();
        let rows = rows.slice(rows.num_rows() - kept, kept);
        let ignored = read.iter().map(|batch| batch.ignored).sum();
        Ok(Self { rows, rejects: rejects.len(), first_reject, artefacts, ignored })
    }

    /// The newest event time; 1970 where there are no rows.
    pub(super) fn newest(&self, job: &Job) -> DateTime<Utc> {
        let newest = times(&self.rows, job).values().last().copied();
        newest.and_then(DateTime::from_timestamp_micros).unwrap_or_default()
    }
}

fn times(rows: &RecordBatch, job: &Job) -> arrow::array::TimestampMicrosecondArray {
    let name = &job.source.columns.event_time().name;
    let column = rows.column_by_name(name).unwrap_or_else(|| panic!("a frame has the column \"{name}\""));
    column.as_primitive::<TimestampMicrosecondType>().clone()
}

fn in_order(rows: &RecordBatch, job: &Job) -> RecordBatch {
    let times: Arc<dyn Array> = Arc::new(times(rows, job));
    let sorted = sort_to_indices(&times, None, None).and_then(|order| take_record_batch(rows, &order));
    sorted.unwrap_or_else(|error| panic!("times can be sorted: {error}"))
}

/// The rows with their doubtful values, where a table of readings has none: a patient's row of that time that lacks the value.
/// Where in a file a reject stands, and why it is one.
fn of_line(reject: &Reject) -> String {
    let item = reject.place.item.0;
    let of_item = if item > 0 { format!(", item {item}") } else { String::new() };
    format!("line {}{of_item}: {}", reject.place.offset.0, reject.reason)
}

fn with_doubtful(rows: &RecordBatch, job: &Job, artefacts: &[Artefact]) -> RecordBatch {
    let schema = rows.schema();
    let times = times(rows, job);
    let keys = rows[job.source.columns.key().name.as_str()].as_string_view().clone();
    let mut columns = rows.columns().to_vec();
    for column in job.source.columns.all() {
        let is_doubtful = |artefact: &&Artefact| {
            artefact.column == column.name && artefact.value.is_some_and(|value| column.is_doubtful(value))
        };
        let doubtful: HashMap<(&str, i64), f64> = artefacts
            .iter()
            .filter(is_doubtful)
            .filter_map(|artefact| {
                Some(((artefact.patient.as_str(), artefact.event_time.timestamp_micros()), artefact.value?))
            })
            .collect();
        let twin = column.doubtful_name().and_then(|name| schema.index_of(&name).ok());
        let Some(twin) = twin.filter(|twin| !doubtful.is_empty() && columns[*twin].null_count() == rows.num_rows())
        else {
            continue; // there are none, or the table has them
        };
        let measured = &rows[column.name.as_str()];
        let value = |row: usize| doubtful.get(&(keys.value(row), times.value(row))).copied();
        let values: Float64Array =
            (0..rows.num_rows()).map(|row| value(row).filter(|_| measured.is_null(row))).collect();
        columns[twin] = cast(&values, schema.field(twin).data_type())
            .unwrap_or_else(|error| panic!("a doubtful value is a number, as its column's are: {error}"));
    }
    RecordBatch::try_new(schema, columns).unwrap_or_else(|error| panic!("the columns are as they were: {error}"))
}

fn within(rows: &RecordBatch, job: &Job, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> RecordBatch {
    let times = times(rows, job);
    let is_kept = |time: i64| DateTime::from_timestamp_micros(time).is_some_and(|time| is_within(time, from, to));
    let kept = times.values().iter().enumerate().filter(|(_, time)| is_kept(**time));
    let kept: UInt64Array = kept.map(|(row, _)| row as u64).collect();
    take_record_batch(rows, &kept).unwrap_or_else(|error| panic!("the rows are there: {error}"))
}

fn is_within(time: DateTime<Utc>, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> bool {
    from.is_none_or(|from| time >= from) && to.is_none_or(|to| time < to)
}
