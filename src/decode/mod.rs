//! From records to columns: [`RawRecords`] in, [`Decoded`] out, nothing read or written on the way.
//!
//! Decoding never fails: a record becomes a row or a [`Reject`], and a value that cannot be true becomes NULL and
//! an [`Artefact`]. What becomes of a record depends on the record alone, never on its neighbours, so any split of
//! a stream decodes alike. It does not know where records come from, nor what is late or doubled.

mod cells;
mod json;
mod raw;
mod schema;
mod time;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::compute::filter;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};

use crate::config::SourceSpec;
use crate::terms::{Offset, Partition};

use cells::Faults;
use json::JsonDecoder;
pub use raw::RawRecords;
use schema::{Layout, Reading};
pub use schema::{OFFSET_COLUMN, PARTITION_COLUMN, STAMP_COLUMN, TOPIC_COLUMN, frame_schema};

/// The most records that are decoded at once; batches of this size are decoded fastest.
pub const CHUNK: usize = 8_192;

/// The longest id of a patient; the store keeps it in the keys of tables.
pub const MOST_KEY_CHARS: usize = 128;

/// A record that cannot become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Where it was read.
    pub partition: Partition,
    /// Where it was read.
    pub offset: Offset,
    /// Its key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Its bytes, all of them.
    pub raw: Vec<u8>,
    /// Why it is no row.
    pub reason: String,
}

/// A value that cannot be true; the frame has NULL in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Artefact {
    /// Where the record was read.
    pub partition: Partition,
    /// Where the record was read.
    pub offset: Offset,
    /// The record's patient.
    pub patient: String,
    /// The record's event time.
    pub event_time: DateTime<Utc>,
    /// The column.
    pub column: String,
    /// The value as it was sent; infinite where it does not fit a double.
    pub value: f64,
}

/// What records became. Every record is a row or a reject, in the order in which they came.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The rows; schema: [`frame_schema`].
    pub rows: RecordBatch,
    /// The records that are no rows.
    pub rejects: Vec<Reject>,
    /// The values that cannot be true.
    pub artefacts: Vec<Artefact>,
}

/// Decodes the records of one job's topic.
#[derive(Debug)]
pub struct Decoder {
    spec: SourceSpec,
    layout: Layout,
    schema: SchemaRef,
    json: JsonDecoder,
}

impl Decoder {
    /// A decoder for records as `spec` declares them.
    #[must_use]
    pub fn new(spec: &SourceSpec) -> Self {
        let layout = Layout::of(spec);
        Self { json: JsonDecoder::new(&layout), schema: frame_schema(&spec.columns), spec: spec.clone(), layout }
    }

    /// The schema of the rows.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Decodes at most [`CHUNK`] records.
    ///
    /// All are decoded at once; only when that fails is each tried by itself, to find the ones at fault and to read
    /// what the fast way does not take (`NaN`, `""`, text for a number).
    pub fn decode(&mut self, records: &RawRecords) -> Decoded {
        debug_assert!(records.len() <= CHUNK, "the JSON decoder stops at its chunk size");
        let parsed = self.json.parse(records, self.spec.max_record_bytes);
        let mut faults = Faults::new(parsed.kept.len());
        let columns = self.columns(&parsed.batch, &mut faults);
        self.check_required(&columns, &mut faults);
        self.check_key_length(&columns, &mut faults);
        self.check_skew(&columns, records, &parsed.kept, &mut faults);

        let mut rejects = parsed.rejects;
        rejects.extend(faults.reasons().map(|(row, reason)| records.reject(parsed.kept[row], reason.to_owned())));
        rejects.sort_by_key(|reject| (reject.partition, reject.offset));

        let mut arrays = columns;
        let implausible = cells::blank_implausible(&self.spec.columns, &mut arrays, &faults);
        let artefacts = self.artefacts(&implausible, &arrays, records, &parsed.kept);
        arrays.extend(self.provenance(records, &parsed.kept));
        if let Some(keep) = faults.keep_mask() {
            // Before the batch is built: only now are the required columns without NULL.
            for array in &mut arrays {
                *array =
                    filter(array, &keep).unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"));
            }
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .unwrap_or_else(|error| panic!("the columns are made to the schema: {error}"));
        Decoded { rows, rejects, artefacts }
    }

    /// The declared columns, typed, from what JSON held.
    fn columns(&self, parsed: &RecordBatch, faults: &mut Faults) -> Vec<ArrayRef> {
        let zone = self.spec.time_zone;
        let mut long = self.layout.long().map(|long| cells::LongValues::new(long, parsed, faults));
        self.spec
            .columns
            .all()
            .iter()
            .zip(self.layout.readings())
            .map(|(column, reading)| match (reading, &mut long) {
                (Reading::Paths(paths), _) => {
                    let found = cells::first_not_null(parsed, paths, column.r#type);
                    cells::typed(column, found, zone, faults)
                }
                (Reading::Named(names), Some(long)) => long.column(column, names, faults),
                (Reading::Named(_), None) => panic!("names are read in the long form only"),
            })
            .collect()
    }

    fn check_required(&self, columns: &[ArrayRef], faults: &mut Faults) {
        for (column, array) in self.spec.columns.all().iter().zip(columns) {
            if column.required && array.null_count() > 0 {
                for row in (0..array.len()).filter(|&row| array.is_null(row)) {
                    faults.add(row, || format!("column \"{}\" is required and has no value", column.name));
                }
            }
        }
    }

    /// The store's keys have a length.
    fn check_key_length(&self, columns: &[ArrayRef], faults: &mut Faults) {
        let patients = cells::patients(&self.spec.columns, columns);
        for (row, patient) in patients.iter().enumerate() {
            // Bytes are quickly counted, and as many as characters at least.
            if let Some(patient) = patient.filter(|id| id.len() > MOST_KEY_CHARS && id.chars().count() > MOST_KEY_CHARS)
            {
                let key = &self.spec.columns.key().name;
                faults.add(row, || {
                    format!("column \"{key}\" has {} characters; {MOST_KEY_CHARS} are allowed", patient.chars().count())
                });
            }
        }
    }

    fn check_skew(&self, columns: &[ArrayRef], records: &RawRecords, kept: &[usize], faults: &mut Faults) {
        let Ok(skew) = i64::try_from(self.spec.max_skew.as_micros()) else { return };
        let times = cells::event_times(&self.spec.columns, columns);
        for (row, &record) in kept.iter().enumerate() {
            let Some(stamp) = records.stamp_micros(record).filter(|_| times.is_valid(row)) else { continue };
            let ahead = times.value(row).saturating_sub(stamp);
            if ahead > skew {
                faults.add(row, || {
                    format!(
                        "event time is {} s ahead of the time at which Kafka stamped the record; max_skew allows {} s",
                        ahead / 1_000_000,
                        skew / 1_000_000
                    )
                });
            }
        }
    }

    fn artefacts(
        &self,
        implausible: &[cells::Implausible],
        columns: &[ArrayRef],
        records: &RawRecords,
        kept: &[usize],
    ) -> Vec<Artefact> {
        if implausible.is_empty() {
            return Vec::new();
        }
        let times = cells::event_times(&self.spec.columns, columns);
        let patients = cells::patients(&self.spec.columns, columns);
        let mut artefacts: Vec<Artefact> = implausible
            .iter()
            .map(|found| {
                let record = kept[found.row];
                Artefact {
                    partition: records.partition(record),
                    offset: records.offset(record),
                    patient: patients.value(found.row).to_owned(),
                    event_time: DateTime::from_timestamp_micros(times.value(found.row)).unwrap_or_default(),
                    column: found.column.clone(),
                    value: found.value,
                }
            })
            .collect();
        artefacts.sort_by(|a, b| (a.partition, a.offset, &a.column).cmp(&(b.partition, b.offset, &b.column)));
        artefacts
    }

    /// `_topic`, `_partition`, `_offset`, `_stamped_at`.
    fn provenance(&self, records: &RawRecords, kept: &[usize]) -> [ArrayRef; 4] {
        let topic = StringViewArray::from_iter_values(kept.iter().map(|_| self.spec.topic.as_str()));
        let partitions = Int32Array::from_iter_values(kept.iter().map(|&record| records.partition(record).0));
        let offsets = Int64Array::from_iter_values(kept.iter().map(|&record| records.offset(record).0));
        let stamps: TimestampMicrosecondArray = kept.iter().map(|&record| records.stamp_micros(record)).collect();
        [Arc::new(topic), Arc::new(partitions), Arc::new(offsets), Arc::new(stamps.with_timezone("UTC"))]
    }
}

#[cfg(test)]
mod tests;
