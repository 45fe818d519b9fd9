//! Whose a record is, by the encounters: the patient who was attached to its device when the device measured, or nobody.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringViewBuilder};
use arrow::compute::concat_batches;
use arrow::datatypes::{Fields, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use chrono::{DateTime, Utc};

use wardwatch_model::encounter::{Encounters, Presence};
use wardwatch_model::record::{Artefact, ITEM_COLUMN, Item, OFFSET_COLUMN, PARTITION_COLUMN, Place, Unattached};
use wardwatch_model::terms::{Offset, Partition};

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

/// Finds the patient of each row at the row's own event time.
///
/// So a late row goes to who was attached then, and any batching gives the same. Rows keyed by patient are nobody's where an
/// encounter of the patient has ended by then and none has begun since. `marker` is the column that only rows have which `keyed` is
/// said of; `None` where it is said of all. Shape: as many rows as before, in their order.
/// Errors: none.
#[must_use]
pub fn attach(
    rows: &RecordBatch,
    (key, event_time): (&str, &str),
    (keyed, marker): (Keyed, Option<&str>),
    encounters: &Encounters,
) -> Attached {
    if keyed == Keyed::ByPatient && encounters.is_empty() {
        return Attached { rows: rows.clone(), nobody: Vec::new() };
    }
    let keys = rows[key].as_string_view();
    let times = rows[event_time].as_primitive::<TimestampMicrosecondType>();
    let mut patients = StringViewBuilder::with_capacity(keys.len()).with_deduplicate_strings();
    let mut nobody = Vec::new();
    let of_first = marker.and_then(|marker| rows.column_by_name(marker));
    for (row, (name, micros)) in keys.iter().zip(times.values()).enumerate() {
        // Records of other sources name the patient.
        let is_of_other = of_first.is_some_and(|of_first| of_first.is_null(row));
        let keyed = if is_of_other { Keyed::ByPatient } else { keyed };
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
        // Columns of other sources have their table in front.
        let keyed = if artefact.column.contains('.') { Keyed::ByPatient } else { keyed };
        let patient = patient(&artefact.patient, artefact.event_time, keyed, encounters);
        artefact.patient = patient.unwrap_or_default().to_owned();
    }
}

/// Whose a record of this key and event time is.
#[must_use]
pub fn patient<'a>(name: &'a str, at: DateTime<Utc>, keyed: Keyed, encounters: &'a Encounters) -> Option<&'a str> {
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
    let items = rows[ITEM_COLUMN].as_primitive::<Int32Type>();
    let (keys, times) = (rows[key].as_string_view(), rows[event_time].as_primitive::<TimestampMicrosecondType>());
    places
        .iter()
        .map(|&row| Unattached {
            place: Place {
                partition: Partition(partitions.value(row)),
                offset: Offset(offsets.value(row)),
                item: Item(items.value(row)),
            },
            device: keys.value(row).to_owned(),
            event_time: DateTime::from_timestamp_micros(times.value(row)).unwrap_or_default(),
            values: as_json(rows, row),
        })
        .collect()
}

/// Rows that [`unattached`] has put into words, as they were decoded: the inverse of what it does to values.
///
/// Shape: a row for each of `values` that is still one, in their order, with the places of the others. A column that the
/// words lack is NULL. Errors: none; what is no row of `schema` any more, because the job has other columns now or somebody
/// has written into the table, is told by its place.
///
/// # Panics
/// Never: batches of one schema can be put together.
#[must_use]
pub fn decoded_again(schema: &SchemaRef, values: &[String]) -> (RecordBatch, Vec<usize>) {
    let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
    match read_rows(schema, values) {
        Ok(all) => rows.push(all),
        Err(_) => {
            for (place, value) in values.iter().enumerate() {
                match read_rows(schema, std::slice::from_ref(value)) {
                    Ok(row) => rows.push(row),
                    Err(_) => unreadable.push(place),
                }
            }
        }
    }
    let rows = concat_batches(schema, &rows).unwrap_or_else(|error| panic!("rows of one schema: {error}"));
    (rows, unreadable)
}

/// As many rows as there are texts, or an error.
fn read_rows(schema: &SchemaRef, values: &[String]) -> Result<RecordBatch, ArrowError> {
    // Rows of before 0.3 do not say which of their record's rows they are: each was the only one.
    let read = schema.fields().iter().map(|field| match field.name() == ITEM_COLUMN {
        true => Arc::new(field.as_ref().clone().with_nullable(true)),
        false => Arc::clone(field),
    });
    let read = Arc::new(Schema::new(read.collect::<Fields>()));
    let mut decoder = ReaderBuilder::new(Arc::clone(&read)).with_batch_size(values.len().max(1)).build_decoder()?;
    for value in values {
        decoder.decode(value.as_bytes())?;
        decoder.decode(b"\n")?;
    }
    let rows = decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(read));
    if rows.num_rows() == values.len() {
        let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| -> ArrayRef {
            match column.as_primitive_opt::<Int32Type>().filter(|_| field.name() == ITEM_COLUMN) {
                Some(items) => Arc::new(items.iter().map(|item| Some(item.unwrap_or(0))).collect::<Int32Array>()),
                None => Arc::clone(column),
            }
        });
        RecordBatch::try_new(Arc::clone(schema), columns.collect())
    } else {
        Err(ArrowError::JsonError(format!("{} rows in {} texts", rows.num_rows(), values.len())))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, Float64Array, Int32Array, Int64Array, StringViewArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Schema;

    use super::*;
    use wardwatch_model::record::{STAMP_COLUMN, TOPIC_COLUMN};

    fn rows() -> RecordBatch {
        let times = |micros: [Option<i64>; 3]| {
            Arc::new(micros.into_iter().collect::<TimestampMicrosecondArray>().with_timezone("UTC")) as _
        };
        let text = |texts: [Option<&str>; 3]| Arc::new(StringViewArray::from_iter(texts)) as _;
        RecordBatch::try_from_iter_with_nullable([
            ("device_id", text([Some("D1"), Some("Gerät \"2\"\n"), Some("")]), false),
            ("event_time", times([Some(1_767_261_600_123_456), Some(0), Some(-1)]), false),
            ("heart_rate", Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), None, Some(-0.0)])) as _, true),
            ("count", Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(i64::MIN), None])) as _, true),
            ("oxygen", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])) as _, true),
            (TOPIC_COLUMN, text([Some("vitals"); 3]), false),
            (PARTITION_COLUMN, Arc::new(Int32Array::from(vec![0, 1, 2])) as _, false),
            (OFFSET_COLUMN, Arc::new(Int64Array::from(vec![7, 8, 9])) as _, false),
            (ITEM_COLUMN, Arc::new(Int32Array::from(vec![0, 0, 1])) as _, false),
            (STAMP_COLUMN, times([Some(1_767_261_600_200_000), None, Some(1)]), true),
        ])
        .expect("rows")
    }

    fn words(rows: &RecordBatch) -> Vec<String> {
        let waiting = unattached(rows, &[0, 1, 2], ("device_id", "event_time"));
        waiting.into_iter().map(|row| row.values).collect()
    }

    #[test]
    fn rows_that_wait_come_back_as_they_were() {
        let rows = rows();
        assert_eq!(decoded_again(&rows.schema(), &words(&rows)), (rows, Vec::new()));
    }

    #[test]
    fn a_text_that_is_no_row_any_more_costs_itself_and_a_new_column_is_empty() {
        let rows = rows();
        let mut words = words(&rows);
        words[1] = "{\"device_id\":".to_owned();
        let fields = rows.schema().fields().iter().cloned().collect::<Vec<_>>();
        let new = Arc::new(arrow::datatypes::Field::new("spo2", arrow::datatypes::DataType::Float64, true));
        let schema = Arc::new(Schema::new([fields, vec![new]].concat()));
        let (again, unreadable) = decoded_again(&schema, &words);
        assert_eq!(unreadable, [1]);
        assert_eq!(again[OFFSET_COLUMN].as_primitive::<Int64Type>().values(), &[7, 9]);
        assert_eq!(again["spo2"].null_count(), 2);
    }
}
