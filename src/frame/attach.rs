//! Whose a record is, by the encounters: the patient who was attached to its device when the device measured, or nobody.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringViewBuilder};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};

use crate::decode::{Artefact, OFFSET_COLUMN, PARTITION_COLUMN};
use crate::encounter::{Encounters, Presence};
use crate::terms::{Offset, Partition};

use super::lateness::as_json;

/// What the key column of decoded rows names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyed {
    /// The patient. Those of whom no encounter tells are here all the same.
    ByPatient,
    /// A device or bed.
    ByDevice,
}

/// Rows with the patient in the key column.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The rows in their order; those of nobody keep the key that they had.
    pub rows: RecordBatch,
    /// The places of the rows that are nobody's, in their order.
    pub nobody: Vec<usize>,
}

/// A record that is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unattached {
    /// Where it was read.
    pub partition: Partition,
    /// Where it was read.
    pub offset: Offset,
    /// The device or, where records name the patient, the patient who had left.
    pub device: String,
    /// When the device measured.
    pub event_time: DateTime<Utc>,
    /// Its columns as a JSON object.
    pub values: String,
}

/// Finds the patient of each row at the row's own event time.
///
/// So a late row goes to who was attached then, and any batching gives the same. Rows keyed by patient are nobody's where an
/// encounter of the patient has ended by then and none has begun since. Shape: as many rows as before, in their order.
/// Errors: none.
#[must_use]
pub fn attach(rows: &RecordBatch, (key, event_time): (&str, &str), keyed: Keyed, encounters: &Encounters) -> Attached {
    if keyed == Keyed::ByPatient && encounters.is_empty() {
        return Attached { rows: rows.clone(), nobody: Vec::new() };
    }
    let keys = rows[key].as_string_view();
    let times = rows[event_time].as_primitive::<TimestampMicrosecondType>();
    let mut patients = StringViewBuilder::with_capacity(keys.len()).with_deduplicate_strings();
    let mut nobody = Vec::new();
    for (row, (name, micros)) in keys.iter().zip(times.values()).enumerate() {
        let name = name.unwrap_or_default();
        let at = DateTime::from_timestamp_micros(*micros).unwrap_or_default();
        let patient = patient(name, at, keyed, encounters);
        if patient.is_none() {
            nobody.push(row);
        }
        patients.append_value(patient.unwrap_or(name));
    }
    if keyed == Keyed::ByPatient {
        return Attached { rows: rows.clone(), nobody };
    }
    let mut columns = rows.columns().to_vec();
    if let Ok(index) = rows.schema().index_of(key) {
        columns[index] = Arc::new(patients.finish());
    }
    let rows = RecordBatch::try_new(rows.schema(), columns)
        .unwrap_or_else(|error| panic!("the key is a text, as before: {error}"));
    Attached { rows, nobody }
}

/// The same for values that cannot be true; those that are nobody's have no patient.
pub fn attach_artefacts(artefacts: &mut [Artefact], keyed: Keyed, encounters: &Encounters) {
    for artefact in artefacts.iter_mut() {
        let patient = patient(&artefact.patient, artefact.event_time, keyed, encounters);
        artefact.patient = patient.unwrap_or_default().to_owned();
    }
}

fn patient<'a>(name: &'a str, at: DateTime<Utc>, keyed: Keyed, encounters: &'a Encounters) -> Option<&'a str> {
    match keyed {
        Keyed::ByDevice => encounters.patient_of(name, at).map(|patient| &**patient),
        Keyed::ByPatient => (!matches!(encounters.presence(name, at), Presence::Left(_))).then_some(name),
    }
}

/// The rows at `places` as the store keeps those that are nobody's.
///
/// # Panics
/// Never: the columns are those of a frame.
#[must_use]
pub fn unattached(rows: &RecordBatch, places: &[usize], (key, event_time): (&str, &str)) -> Vec<Unattached> {
    let (partitions, offsets) =
        (rows[PARTITION_COLUMN].as_primitive::<Int32Type>(), rows[OFFSET_COLUMN].as_primitive::<Int64Type>());
    let (keys, times) = (rows[key].as_string_view(), rows[event_time].as_primitive::<TimestampMicrosecondType>());
    places
        .iter()
        .map(|&row| Unattached {
            partition: Partition(partitions.value(row)),
            offset: Offset(offsets.value(row)),
            device: keys.value(row).to_owned(),
            event_time: DateTime::from_timestamp_micros(times.value(row)).unwrap_or_default(),
            values: as_json(rows, row),
        })
        .collect()
}
