//! At which samples of which patients a rule is true.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
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
        let mut truth: HashMap<String, At> = HashMap::new();
        let Some(patients) = texts(conditions, &columns.key) else { return Self(truth) };
        let times = conditions
            .column_by_name(&columns.event_time)
            .map(|times| times.as_primitive::<TimestampMicrosecondType>());
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

/// The event times at which each of `patients` was sampled, in order.
pub(super) fn samples_of(
    frame: &RecordBatch,
    patients: &BTreeSet<&str>,
    columns: &SampleColumns,
) -> BTreeMap<String, Vec<DateTime<Utc>>> {
    let mut samples: BTreeMap<String, Vec<DateTime<Utc>>> = BTreeMap::new();
    let (Some(keys), Some(times)) = (texts(frame, &columns.key), frame.column_by_name(&columns.event_time)) else {
        return samples;
    };
    let times = times.as_primitive::<TimestampMicrosecondType>();
    for (row, patient) in keys.iter().enumerate() {
        let Some(patient) = patient.filter(|patient| patients.contains(patient)) else { continue };
        if let Some(at) = DateTime::from_timestamp_micros(times.value(row)) {
            match samples.get_mut(patient) {
                Some(times) => times.push(at),
                None => drop(samples.insert(patient.to_owned(), vec![at])),
            }
        }
    }
    samples.values_mut().for_each(|times| times.sort());
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
