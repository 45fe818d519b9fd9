//! Rows that are made of decoded ones by somebody else: by the query of a set's `source.sql`.
//!
//! What it makes is looked at as what is decoded is: what is not plausible becomes NULL, what has no patient or time is no row. It does not
//! know how rows are made.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, UInt64Array};
use arrow::compute::{filter, take};
use arrow::datatypes::{Int32Type, SchemaRef, TimestampMicrosecondType};
use chrono::DateTime;

use wardwatch_config::{Columns, SourceSpec};
use wardwatch_model::record::{
    AHEAD_OF_STAMP, Artefact, ITEM_COLUMN, Item, OFFSET_COLUMN, PARTITION_COLUMN, Place, Reject, STAMP_COLUMN,
    TOPIC_COLUMN,
};
use wardwatch_model::terms::{Offset, Partition};

use super::cells::{self, Faults};
use super::decoded::{Decoded, places};
use super::form::MOST_KEY_CHARS;
use super::parsed::RowOf;
use super::raw::RawRecords;

/// Makes rows of rows.
pub trait Reshape: std::fmt::Debug + Send {
    /// What rows of [`frame_schema`](super::frame_schema) become. Each depends on one of them alone.
    fn reshape(&mut self, rows: &RecordBatch) -> Reshaped;

    /// Whether one may become several.
    fn multiplies(&self) -> bool;
}

/// What rows became.
#[derive(Debug, Clone)]
pub struct Reshaped {
    /// The declared columns, in their order.
    pub columns: Vec<ArrayRef>,
    /// Of which row each is; never descending.
    pub of: Vec<usize>,
    /// The rows of which nothing can be made, with the reasons.
    pub failed: Vec<(usize, String)>,
}

/// How each decoder gets one of its own.
pub type Reshaping = Arc<dyn Fn() -> Box<dyn Reshape> + Send + Sync>;

/// What reshapes the rows of one decoder.
#[derive(Debug)]
pub(super) struct Reshaper {
    reshape: Box<dyn Reshape>,
    schema: SchemaRef,
    columns: Columns,
    max_skew: Duration,
}

impl Reshaper {
    pub(super) fn new(reshape: Box<dyn Reshape>, spec: &SourceSpec, schema: &SchemaRef) -> Self {
        Self { reshape, schema: schema.clone(), columns: spec.columns.clone(), max_skew: spec.max_skew }
    }

    /// Puts what becomes of the rows in their place.
    pub(super) fn reshape(&mut self, records: &RawRecords, decoded: &mut Decoded) {
        let before = &decoded.rows;
        let Reshaped { columns: mut arrays, of, failed } = self.reshape.reshape(before);
        let own = UInt64Array::from_iter_values(of.iter().map(|row| *row as u64));
        let taken = |name: &str| {
            take(&before[name], &own, None).unwrap_or_else(|error| panic!("each row is of one that was there: {error}"))
        };
        let provenance: Vec<ArrayRef> = [TOPIC_COLUMN, PARTITION_COLUMN, OFFSET_COLUMN].map(taken).into();
        let items = if self.reshape.multiplies() { numbered(before, &of) } else { taken(ITEM_COLUMN) };
        let stamps = taken(STAMP_COLUMN);

        let mut faults = Faults::new(of.len());
        self.check(&arrays, &stamps, &mut faults);
        let implausible = cells::blank_implausible(&self.columns, &mut arrays, &faults);
        let doubtful = cells::doubtful(&self.columns, &implausible, of.len());
        let (patients, times) = (cells::patients(&self.columns, &arrays), cells::event_times(&self.columns, &arrays));
        let places = places(before);
        let numbers = items.as_primitive::<Int32Type>();
        let known: HashSet<(Place, String)> =
            decoded.artefacts.iter().map(|artefact| (artefact.place, artefact.column.clone())).collect();
        let found = implausible.iter().filter(|found| !faults.has(found.row)).filter_map(|found| {
            let column = &self.columns.all()[found.column];
            let place = Place { item: Item(numbers.value(found.row)), ..places[of[found.row]] };
            let artefact = Artefact {
                place,
                patient: patients.value(found.row).to_owned(),
                event_time: DateTime::from_timestamp_micros(times.value(found.row))?,
                column: column.name.clone(),
                value: Some(found.value),
                text: found.value.to_string(),
                reason: cells::implausible_reason(column, found.value),
            };
            (!known.contains(&(place, column.name.clone()))).then_some(artefact)
        });
        let found: Vec<Artefact> = found.collect();

        let made: BTreeSet<usize> = of.iter().copied().collect();
        let mut refused: Vec<(usize, String)> = failed;
        let mut told: BTreeSet<usize> = refused.iter().map(|(row, _)| *row).collect();
        let left_out = (0..before.num_rows()).filter(|row| !made.contains(row) && !told.contains(row)).count();
        for (row, reason) in faults.reasons() {
            // One reject for all that a row became.
            if told.insert(of[row]) {
                refused.push((of[row], reason.to_owned()));
            }
        }
        let rejects = self.rejects(before, refused, records, &decoded.rejects);

        arrays.extend(doubtful);
        arrays.extend(provenance);
        arrays.extend([items, stamps]);
        if let Some(keep) = faults.keep_mask() {
            for array in &mut arrays {
                *array =
                    filter(array, &keep).unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"));
            }
        }
        decoded.rows = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .unwrap_or_else(|error| panic!("the columns are made to the schema: {error}"));
        decoded.artefacts.extend(found);
        decoded.rejects.extend(rejects);
        decoded.rejects.sort_by_key(|reject| reject.place);
        decoded.ignored += left_out;
    }

    /// Finds the rows that lack what each needs, or are of a time to come.
    fn check(&self, arrays: &[ArrayRef], stamps: &ArrayRef, faults: &mut Faults) {
        for (column, array) in self.columns.all().iter().zip(arrays) {
            for row in (0..array.len()).filter(|row| column.required && array.is_null(*row)) {
                faults.add(row, || format!("source.sql gives no \"{}\" of it, which every row needs", column.name));
            }
        }
        let patients = cells::patients(&self.columns, arrays);
        for (row, patient) in patients.iter().enumerate() {
            if patient.is_some_and(|patient| patient.chars().count() > MOST_KEY_CHARS) {
                faults.add(row, || format!("source.sql gives a patient of more than {MOST_KEY_CHARS} letters"));
            }
        }
        let Ok(skew) = i64::try_from(self.max_skew.as_micros()) else { return };
        let times = cells::event_times(&self.columns, arrays);
        let stamps = stamps.as_primitive::<TimestampMicrosecondType>();
        for row in (0..times.len()).filter(|row| times.is_valid(*row) && stamps.is_valid(*row)) {
            let ahead = times.value(row).saturating_sub(stamps.value(row));
            if ahead > skew {
                let (ahead, skew) = (ahead / 1_000_000, skew / 1_000_000);
                faults.add(row, || format!("event time is {ahead} s {AHEAD_OF_STAMP}; max_skew allows {skew} s"));
            }
        }
    }

    fn rejects(
        &self,
        rows: &RecordBatch,
        refused: Vec<(usize, String)>,
        records: &RawRecords,
        before: &[Reject],
    ) -> Vec<Reject> {
        if refused.is_empty() {
            return Vec::new();
        }
        let by_place: HashMap<(Partition, Offset), usize> =
            (0..records.len()).map(|record| ((records.partition(record), records.offset(record)), record)).collect();
        let places = places(rows);
        let patients = rows[self.columns.key().name.as_str()].as_string_view();
        let times = rows[self.columns.event_time().name.as_str()].as_primitive::<TimestampMicrosecondType>();
        let mut has_bytes: HashSet<(Partition, Offset)> = before
            .iter()
            .filter(|reject| !reject.raw.is_empty())
            .map(|reject| (reject.place.partition, reject.place.offset))
            .collect();
        let reject = |(row, reason): (usize, String)| {
            let place = places[row];
            let record = (place.partition, place.offset);
            let index = *by_place.get(&record)?;
            let of = RowOf { record: index, item: place.item };
            let reason = if reason.starts_with("source.sql") { reason } else { format!("source.sql: {reason}") };
            let patient = patients.is_valid(row).then(|| patients.value(row).to_owned());
            let mut reject = records.reject(of, patient, Some(times.value(row)), reason);
            if has_bytes.insert(record) {
                reject.raw = records.payload(index).unwrap_or_default().to_vec();
            }
            Some(reject)
        };
        refused.into_iter().filter_map(reject).collect()
    }
}

/// Rows numbered anew within their records.
fn numbered(rows: &RecordBatch, of: &[usize]) -> ArrayRef {
    let places = places(rows);
    let (mut last, mut next) = (None, 0);
    let numbers = of.iter().map(|row| {
        let record = (places[*row].partition, places[*row].offset);
        next = if last == Some(record) { next + 1 } else { 0 };
        last = Some(record);
        next
    });
    Arc::new(numbers.collect::<Int32Array>())
}
