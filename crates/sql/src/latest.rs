//! The table with the last values of each patient, kept up as a windowed query without an end.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema, SchemaRef, TimestampMicrosecondType};
use chrono::{DateTime, Utc};

use super::aggregates::{last_at, last_value};
use super::batch::{Ages, PatientAges};
use super::own_rows::OwnRows;
use super::slot::Slot;
use super::source::Source;
use super::window::windowed::Windowed;

/// The table with the last values of each patient, kept up as a windowed query without an end.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) name: String,
    /// Of which source, by its place.
    pub(super) source: usize,
    pub(super) windowed: Windowed,
    pub(super) slot: Slot,
    pub(super) columns: LatestColumns,
}

impl Latest {
    /// Fills the slot that queries read.
    pub(super) fn show(&mut self, rows: &RecordBatch, ages: Option<&dyn Ages>) {
        let shown =
            self.slot.schema().fields().iter().filter_map(|field| rows.schema_ref().index_of(field.name()).ok());
        let shown = rows.project(&shown.collect::<Vec<_>>()).unwrap_or_else(|error| panic!("its own columns: {error}"));
        self.slot.fill(&ages.map_or_else(|| shown.clone(), |ages| self.columns.with_ages(&shown, ages)));
    }
}

/// What of the last values is shown: all but the doubtful ones and their ages.
pub(super) fn shown_schema(schema: &Schema, source: &Source<'_>, own: &OwnRows) -> SchemaRef {
    let is_doubtful = |name: &str| {
        let of = |doubtful: &str| name == doubtful || name.strip_suffix("_age_seconds") == Some(doubtful);
        source.doubtful.iter().filter_map(|(doubtful, _)| own.name_of(doubtful)).any(of)
    };
    let fields = schema.fields().iter().filter(|field| !is_doubtful(field.name())).cloned();
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Those of its columns by which ages are told.
#[derive(Debug)]
pub(super) struct LatestColumns {
    /// The column that names the patient.
    key: String,
    /// The column with the newest event time.
    event_time: String,
    /// Which of the batch's columns are its own.
    own: OwnRows,
    /// The source's place.
    source: usize,
    /// How long a value of each column counts, the doubtful ones included.
    valid_for: Vec<(String, Duration)>,
}

impl LatestColumns {
    pub(super) fn of(source: &Source<'_>, number: usize, own: &OwnRows) -> Self {
        let (key, event_time) = (source.key.to_owned(), source.event_time.to_owned());
        Self { key, event_time, own: own.clone(), source: number, valid_for: valid_for(source, own) }
    }
}

/// How long a value of each of a table's columns counts.
fn valid_for(source: &Source<'_>, own: &OwnRows) -> Vec<(String, Duration)> {
    let valid_for = source.valid_for.iter();
    valid_for.filter_map(|(column, valid_for)| Some((own.name_of(column)?.to_owned(), *valid_for))).collect()
}

/// For each patient: the newest event time and its age, whether any value counts, and of every other column the last value that was not
/// NULL and the age of that, in seconds of the devices' time. Doubtful values are kept for rules that begin, and not shown.
pub(super) fn latest_sql(source: &Source<'_>, table: &str, own: &OwnRows) -> String {
    let (key, time) = (source.key, source.event_time);
    let valid_for = valid_for(source, own);
    let names = own.schema().fields().iter().map(|field| field.name().as_str());
    let is_kept = |name: &&str| !name.starts_with('_') && *name != key && *name != time;
    let names: Vec<&str> = names.filter(is_kept).collect();
    let age = |of: &str| format!("date_part('epoch', partition_now(\"partition\")) - date_part('epoch', {of})");
    let columns = names.iter().enumerate().map(|(number, name)| {
        let (value, at) = (last_value(number), last_at(number));
        format!(", \"last\"['{value}'] AS \"{name}\", {} AS \"{name}_age_seconds\"", age(&format!("\"last\"['{at}']")))
    });
    let columns: String = columns.collect();
    let is_valid = names.iter().enumerate().filter_map(|(number, name)| {
        let (_, valid_for) = valid_for.iter().find(|(column, _)| column == name)?;
        let age = age(&format!("\"last\"['{}']", last_at(number)));
        Some(format!("coalesce({age} < {:.6}, false)", valid_for.as_secs_f64()))
    });
    let has_valid = is_valid.chain(["false".to_owned()]).collect::<Vec<_>>().join(" OR ");
    let all: String = names.iter().map(|name| format!(", \"{name}\"")).collect();
    let last = if names.is_empty() { "NULL".to_owned() } else { format!("last_values(\"{time}\", _offset{all})") };
    format!(
        "SELECT \"{key}\", \"newest\" AS \"{time}\", {} AS {AGE}, {has_valid} AS {HAS_VALID}{columns} FROM (\
         SELECT \"{key}\", max(\"{time}\") AS \"newest\", max(_partition) AS \"partition\", {last} AS \"last\" \
         FROM \"{table}\" GROUP BY \"{key}\")",
        age("\"newest\"")
    )
}

/// The column with the age of a patient's last record; that of a column's last value has its name in front.
const AGE: &str = "age_seconds";

/// The column that tells whether any value of a patient counts.
const HAS_VALID: &str = "has_valid_value";

impl LatestColumns {
    /// The rows with ages as `ages` tells them, where it does, and with what follows from them: whether any value counts.
    pub(super) fn with_ages(&self, rows: &RecordBatch, ages: &dyn Ages) -> RecordBatch {
        let schema = rows.schema_ref();
        let of = |name: &str| Some(name.strip_suffix(AGE)?.strip_suffix('_')?.to_owned());
        let aged: Vec<(usize, String)> = (0..schema.fields().len())
            .filter_map(|place| Some((place, of(schema.field(place).name())?)))
            .filter(|(place, _)| *schema.field(*place).data_type() == DataType::Float64)
            .collect();
        let keys = rows.column_by_name(&self.key).and_then(|keys| cast(keys, &DataType::Utf8View).ok());
        let (Some(keys), Ok(whole), Ok(has_valid)) = (keys, schema.index_of(AGE), schema.index_of(HAS_VALID)) else {
            return rows.clone();
        };
        // Doubtful values have no columns of their own here, but they count.
        let is_aged = |column: &&String| aged.iter().any(|(_, name)| name == *column);
        let others = self.valid_for.iter().map(|(column, _)| column).filter(|column| !is_aged(column));
        let names: Vec<&str> = aged.iter().map(|(_, name)| name).chain(others).map(String::as_str).collect();
        let in_batch: Vec<String> = names.iter().map(|name| self.own.in_batch(name)).collect();
        let age_of = ages.of_columns(self.source, &in_batch.iter().map(String::as_str).collect::<Vec<_>>());
        let known: Vec<Option<PatientAges>> = keys.as_string_view().iter().map(|patient| age_of(patient?)).collect();
        let mut columns = rows.columns().to_vec();
        let mut put = |place: usize, age: &dyn Fn(&PatientAges) -> Option<f64>| {
            let before = columns[place].as_primitive::<Float64Type>();
            let better = |row: usize| known[row].as_ref().and_then(age).filter(|_| before.is_valid(row));
            let values = (0..before.len()).map(|row| better(row).or_else(|| number(before, row)));
            columns[place] = Arc::new(values.collect::<Float64Array>()) as ArrayRef;
        };
        put(whole, &|ages| Some(ages.record));
        for (number, (place, _)) in aged.iter().enumerate() {
            put(*place, &|ages| ages.columns[number]);
        }
        // In seconds: how old the last value of each column may be, and what tells how old it is.
        let limits = self.valid_for.iter().filter_map(|(column, valid_for)| {
            let number = names.iter().position(|name| name == column)?;
            let ages = aged.get(number).map(|(place, _)| columns[*place].as_primitive::<Float64Type>());
            Some((valid_for.as_secs_f64(), column, number, ages))
        });
        let limits: Vec<_> = limits.collect();
        let newest = Newest { rows, event_time: &self.event_time, ages: columns[whole].as_primitive() };
        let values = (0..rows.num_rows()).map(|row| {
            let counts = limits.iter().any(|(valid_for, column, place, column_ages)| {
                let age = match (column_ages, &known[row]) {
                    (Some(ages), _) => number(ages, row),
                    (None, Some(known)) => known.columns[*place],
                    (None, None) => newest
                        .age_at(row, || ages.last_value(keys.as_string_view().value(row), &self.own.in_batch(column))),
                };
                age.is_some_and(|age| age < *valid_for)
            });
            Some(counts)
        });
        columns[has_valid] = Arc::new(values.collect::<BooleanArray>());
        RecordBatch::try_new(rows.schema(), columns).unwrap_or_else(|error| panic!("the same columns: {error}"))
    }
}

fn number(numbers: &Float64Array, row: usize) -> Option<f64> {
    numbers.is_valid(row).then(|| numbers.value(row))
}

/// When the newest record of each patient was measured, and how old it is.
struct Newest<'a> {
    rows: &'a RecordBatch,
    event_time: &'a str,
    ages: &'a Float64Array,
}

impl Newest<'_> {
    /// How old, by the devices' time, what was measured at another time is.
    fn age_at(&self, row: usize, at: impl FnOnce() -> Option<DateTime<Utc>>) -> Option<f64> {
        let times = self.rows.column_by_name(self.event_time)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        let (newest, age) = (times.is_valid(row).then(|| times.value(row))?, number(self.ages, row)?);
        #[allow(clippy::cast_precision_loss, reason = "an age, which is far below what a double holds exactly")]
        let older = newest.saturating_sub(at()?.timestamp_micros()) as f64 / 1e6;
        Some(age + older)
    }
}
