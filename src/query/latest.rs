//! The table with the last values of each patient, kept up as a windowed query without an end.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::aggregates::{last_at, last_value};
use super::batch::{Ages, PatientAges};
use super::engine::Source;
use super::slot::Slot;
use super::window::Windowed;

/// The table with the last values of each patient, kept up as a windowed query without an end.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) name: String,
    pub(super) windowed: Windowed,
    pub(super) slot: Slot,
    /// The column that names the patient.
    pub(super) key: String,
}

/// For each patient: the newest event time and its age, and of every other column but the doubtful ones the last value that was not NULL and
/// the age of that, in seconds of the devices' time.
pub(super) fn latest_sql(source: &Source<'_>) -> String {
    let (table, key, time) = (source.table, source.key, source.event_time);
    let names = source.schema.fields().iter().map(|field| field.name().as_str());
    let is_doubtful = |name: &str| source.doubtful.iter().any(|(doubtful, _)| doubtful == name);
    let is_kept = |name: &&str| !name.starts_with('_') && *name != key && *name != time && !is_doubtful(name);
    let names: Vec<&str> = names.filter(is_kept).collect();
    let age = |of: &str| format!("date_part('epoch', partition_now(\"partition\")) - date_part('epoch', {of})");
    let columns = names.iter().enumerate().map(|(number, name)| {
        let (value, at) = (last_value(number), last_at(number));
        format!(", \"last\"['{value}'] AS \"{name}\", {} AS \"{name}_age_seconds\"", age(&format!("\"last\"['{at}']")))
    });
    let columns: String = columns.collect();
    let all: String = names.iter().map(|name| format!(", \"{name}\"")).collect();
    let last = if names.is_empty() { "NULL".to_owned() } else { format!("last_values(\"{time}\", _offset{all})") };
    format!(
        "SELECT \"{key}\", \"newest\" AS \"{time}\", {} AS age_seconds{columns} FROM (\
         SELECT \"{key}\", max(\"{time}\") AS \"newest\", max(_partition) AS \"partition\", {last} AS \"last\" \
         FROM \"{table}\" GROUP BY \"{key}\")",
        age("\"newest\"")
    )
}

/// The column with the age of a patient's last record; that of a column's last value has its name in front.
const AGE: &str = "age_seconds";

/// The rows with ages as `ages` tells them, where it does.
pub(super) fn with_ages(rows: &RecordBatch, key: &str, ages: &dyn Ages) -> RecordBatch {
    let schema = rows.schema_ref();
    let of = |name: &str| Some(name.strip_suffix(AGE)?.strip_suffix('_')?.to_owned());
    let aged: Vec<(usize, String)> = (0..schema.fields().len())
        .filter_map(|place| Some((place, of(schema.field(place).name())?)))
        .filter(|(place, _)| *schema.field(*place).data_type() == DataType::Float64)
        .collect();
    let keys = rows.column_by_name(key).and_then(|keys| cast(keys, &DataType::Utf8View).ok());
    let (Some(keys), Ok(whole)) = (keys, schema.index_of(AGE)) else { return rows.clone() };
    let names: Vec<&str> = aged.iter().map(|(_, name)| name.as_str()).collect();
    let age_of = ages.of_columns(&names);
    let known: Vec<Option<PatientAges>> = keys.as_string_view().iter().map(|patient| age_of(patient?)).collect();
    let mut columns = rows.columns().to_vec();
    let mut put = |place: usize, age: &dyn Fn(&PatientAges) -> Option<f64>| {
        let before = columns[place].as_primitive::<Float64Type>();
        let better = |row: usize| known[row].as_ref().and_then(age).filter(|_| before.is_valid(row));
        let values =
            (0..before.len()).map(|row| better(row).or_else(|| before.is_valid(row).then(|| before.value(row))));
        columns[place] = Arc::new(values.collect::<Float64Array>()) as ArrayRef;
    };
    put(whole, &|ages| Some(ages.record));
    for (number, (place, _)) in aged.iter().enumerate() {
        put(*place, &|ages| ages.columns[number]);
    }
    RecordBatch::try_new(rows.schema(), columns).unwrap_or_else(|error| panic!("the same columns: {error}"))
}
