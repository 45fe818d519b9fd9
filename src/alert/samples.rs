//! At which samples of which patients a rule is true.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use chrono::{DateTime, Utc};

use super::SampleColumns;

/// The rows of a rule by patient and, where the rule returns it, event time.
pub(super) struct Truth(HashMap<String, At>);

enum At {
    /// At each of these times, with the first row that says so.
    Times(HashMap<i64, usize>),
    /// At every sample of the batch.
    Always(usize),
}

impl Truth {
    /// Rows without a patient or, where there is the column, without a time name no sample and are left out.
    pub(super) fn of(conditions: &RecordBatch, columns: &SampleColumns) -> Self {
        let times = conditions.column_by_name(&columns.event_time);
        Self::at(conditions, columns, times.map(|times| times.as_primitive::<TimestampMicrosecondType>()))
    }

    /// Rows that are true of a patient now, whatever times they bear.
    pub(super) fn now(conditions: &RecordBatch, columns: &SampleColumns) -> Self {
        Self::at(conditions, columns, None)
    }

    fn at(conditions: &RecordBatch, columns: &SampleColumns, times: Option<&TimestampMicrosecondArray>) -> Self {
        let mut truth: HashMap<String, At> = HashMap::new();
        let Some(patients) = texts(conditions, &columns.key) else { return Self(truth) };
        for (row, patient) in patients.iter().enumerate() {
            let Some(patient) = patient else { continue };
            match times {
                None => {
                    truth.entry(patient.to_owned()).or_insert(At::Always(row));
                }
                Some(times) if times.is_null(row) => {}
                Some(times) => {
                    let at = truth.entry(patient.to_owned()).or_insert_with(|| At::Times(HashMap::new()));
                    if let At::Times(rows) = at {
                        rows.entry(times.value(row)).or_insert(row);
                    }
                }
            }
        }
        Self(truth)
    }

    pub(super) fn patients(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The rule's row for a sample; `None` where the rule is false.
    pub(super) fn row(&self, patient: &str, at: DateTime<Utc>) -> Option<usize> {
        match self.0.get(patient)? {
            At::Times(rows) => rows.get(&at.timestamp_micros()).copied(),
            At::Always(row) => Some(*row),
        }
    }
}

/// The greatest event time of each patient so far.
#[derive(Debug, Clone, Default)]
pub struct NewestSamples(HashMap<String, i64>);

impl NewestSamples {
    /// Takes note of the samples of `frame`.
    pub fn note(&mut self, frame: &RecordBatch, columns: &SampleColumns) {
        let (Some(keys), Some(times)) = (texts(frame, &columns.key), frame.column_by_name(&columns.event_time)) else {
            return;
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        for (row, patient) in keys.iter().enumerate() {
            let Some(patient) = patient else { continue };
            match self.0.get_mut(patient) {
                Some(newest) => *newest = (*newest).max(times.value(row)),
                None => drop(self.0.insert(patient.to_owned(), times.value(row))),
            }
        }
    }
}

/// The event times at which each of `patients` was sampled, in the order in which they came.
///
/// A sample that is older than one that came before it is left out: its time has been judged without it. `newest` is
/// the greatest event time of each patient so far and is brought up to date for all patients of the frame.
pub(super) fn samples_of(
    frame: &RecordBatch,
    patients: &BTreeSet<&str>,
    columns: &SampleColumns,
    newest: &NewestSamples,
) -> BTreeMap<String, Vec<DateTime<Utc>>> {
    let mut samples: BTreeMap<String, Vec<DateTime<Utc>>> = BTreeMap::new();
    let (Some(keys), Some(times)) = (texts(frame, &columns.key), frame.column_by_name(&columns.event_time)) else {
        return samples;
    };
    let times = times.as_primitive::<TimestampMicrosecondType>();
    for (row, patient) in keys.iter().enumerate() {
        let Some(patient) = patient.filter(|patient| patients.contains(patient)) else { continue };
        let Some(at) = DateTime::from_timestamp_micros(times.value(row)) else { continue };
        match samples.get_mut(patient) {
            Some(times) if times.last().is_some_and(|last| at < *last) => {}
            Some(times) => times.push(at),
            None if newest.0.get(patient).is_some_and(|newest| times.value(row) < *newest) => {}
            None => drop(samples.insert(patient.to_owned(), vec![at])),
        }
    }
    samples
}

/// A text column, whichever of Arrow's two forms of text it has.
fn texts(rows: &RecordBatch, name: &str) -> Option<StringViewArray> {
    let column = rows.column_by_name(name)?;
    match column.data_type() {
        DataType::Utf8View => Some(column.as_string_view().clone()),
        _ => arrow::compute::cast(column, &DataType::Utf8View).ok().map(|cast| cast.as_string_view().clone()),
    }
}
