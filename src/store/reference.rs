//! Reference tables: seeded once, read again and again, added to by people.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::array_value_to_string;
use chrono::{DateTime, Utc};

use super::row::Row;
use super::statement::{OnDuplicate, Target, insert, quoted};
use super::system::REFERENCE_CHANGES;
use super::{Store, StoreError, TableSpec, Value};

/// A row of a reference table that is another than before. Rows are texts in JSON, without what is NULL; one that is not
/// there is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceChange {
    /// The table.
    pub table: String,
    /// The row as it was.
    pub before: String,
    /// The row as it is.
    pub after: String,
}

impl ReferenceChange {
    /// What changed in the table of `spec` from `before` to `after`, in the order of its key.
    #[must_use]
    pub fn between(spec: &TableSpec, before: &RecordBatch, after: &RecordBatch) -> Vec<Self> {
        let (before, mut after) = (rows_by_key(spec, before), rows_by_key(spec, after));
        let mut changes: BTreeMap<Vec<String>, Self> = BTreeMap::new();
        for (key, before) in before {
            let after = after.remove(&key).unwrap_or_default();
            if before != after {
                changes.insert(key, Self { table: spec.name.clone(), before, after });
            }
        }
        let new = after
            .into_iter()
            .map(|(key, after)| (key, Self { table: spec.name.clone(), before: String::new(), after }));
        changes.extend(new);
        changes.into_values().collect()
    }
}

fn rows_by_key(spec: &TableSpec, rows: &RecordBatch) -> BTreeMap<Vec<String>, String> {
    let schema = rows.schema();
    let cell = |column: usize, row: usize| {
        let values = rows.column(column);
        if values.is_null(row) { None } else { array_value_to_string(values, row).ok() }
    };
    let names = || schema.fields().iter().enumerate();
    let keyed = (0..rows.num_rows()).map(|row| {
        let key = names().filter(|(_, field)| spec.key.contains(field.name()));
        let key = key.map(|(column, _)| cell(column, row).unwrap_or_default()).collect();
        let cells = names().filter_map(|(column, field)| Some((field.name().as_str(), cell(column, row)?)));
        let cells: serde_json::Map<String, serde_json::Value> =
            cells.map(|(name, value)| (name.to_owned(), value.into())).collect();
        (key, serde_json::Value::Object(cells).to_string())
    });
    keyed.collect()
}

impl Store {
    /// Creates the table with these rows if the store has none of its name; else adds what columns are missing.
    ///
    /// # Errors
    /// The database does not answer, or has an incompatible table.
    pub fn seed(&mut self, spec: &TableSpec, rows: &RecordBatch) -> Result<(), StoreError> {
        let is_new = self.database.columns(&spec.name)?.is_empty();
        self.migrate(std::slice::from_ref(spec))?;
        if is_new {
            let mut values =
                (0..rows.num_rows()).map(|row| rows.columns().iter().map(|column| Value::of(column, row)).collect());
            let on_duplicate = OnDuplicate::Replace(&spec.key);
            let columns = spec.column_names();
            let target = Target { table: &spec.name, columns: &columns, on_duplicate };
            insert(self.database.as_mut(), target, &mut values)?;
        }
        Ok(())
    }

    /// Adds rows to a reference table, whole or not at all.
    ///
    /// # Errors
    /// The database does not answer, has no such table, or has a row of the same key.
    pub fn add_to_reference(&mut self, spec: &TableSpec, rows: &RecordBatch) -> Result<(), StoreError> {
        let mut values =
            (0..rows.num_rows()).map(|row| rows.columns().iter().map(|column| Value::of(column, row)).collect());
        let columns = spec.column_names();
        let target = Target { table: &spec.name, columns: &columns, on_duplicate: OnDuplicate::Fail };
        insert(self.database.as_mut(), target, &mut values)
    }

    /// The rows of reference tables that people have changed, the newest first, with the times at which the job saw it.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn reference_changes(&mut self, table: &str) -> Result<Vec<(DateTime<Utc>, ReferenceChange)>, StoreError> {
        let sql = format!(
            "SELECT `seen_at`, `before_row`, `after_row` FROM {} WHERE `job`=? AND `table_name`=? \
             ORDER BY `batch` DESC, `number`",
            quoted(REFERENCE_CHANGES)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(table)])?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(REFERENCE_CHANGES, row);
                let at = row.time()?;
                Ok((at, ReferenceChange { table: table.to_owned(), before: row.text()?, after: row.text()? }))
            })
            .collect()
    }

    /// All rows of a reference table, in the order of its key.
    ///
    /// # Errors
    /// The database does not answer, or has no such table.
    pub fn reference_rows(&mut self, spec: &TableSpec, schema: &SchemaRef) -> Result<RecordBatch, StoreError> {
        let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let sql =
            format!("SELECT {} FROM {} ORDER BY {}", list(&spec.column_names()), quoted(&spec.name), list(&spec.key));
        let rows = self.database.query(&sql, &[])?;
        let columns = schema.fields().iter().enumerate().map(|(index, field)| {
            let values = rows.iter().map(|row| row.get(index).unwrap_or(&Value::Null));
            column(field.data_type(), values)
        });
        RecordBatch::try_new(Arc::clone(schema), columns.collect())
            .map_err(|error| StoreError::Refused(format!("table \"{}\": {error}", spec.name)))
    }
}

impl Store {
    /// The rows of a table that a query fills, as rows of `schema`, whose times lie at or after the first of `range` and
    /// before the second. Columns that the table lacks are NULL or, where that cannot be, zero or empty.
    ///
    /// # Errors
    /// The database does not answer, or has no such table, or a table without `key` and `event_time`.
    pub fn stored_rows(
        &mut self,
        table: &str,
        schema: &SchemaRef,
        key: &str,
        event_time: &str,
        range: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    ) -> Result<RecordBatch, StoreError> {
        let stored: Vec<String> = self.database.columns(table)?.into_iter().map(|column| column.name).collect();
        if let Some(missing) = [key, event_time].into_iter().find(|name| !stored.iter().any(|column| column == name)) {
            let what =
                if stored.is_empty() { "is not there".to_owned() } else { format!("has no column \"{missing}\"") };
            return Err(StoreError::Refused(format!(
                "table \"{table}\" {what}; [reports] table names the one with a row per record"
            )));
        }
        let read: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|name| stored.iter().any(|column| column == name))
            .collect();
        let names: Vec<String> = read.iter().map(|name| quoted(name)).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {time}>=? AND {time}<? ORDER BY {time}",
            names.join(", "),
            quoted(table),
            time = quoted(event_time)
        );
        let (from, to) = (range.0.unwrap_or(DateTime::UNIX_EPOCH), range.1.unwrap_or(FAR));
        let rows = self.database.query(&sql, &[Value::Time(from), Value::Time(to)])?;
        let columns = schema.fields().iter().map(|field| {
            let index = read.iter().position(|name| *name == field.name());
            let missing = if field.is_nullable() { Value::Null } else { zero(field.data_type()) };
            let values = rows.iter().map(|row| index.and_then(|index| row.get(index)).unwrap_or(&missing));
            cast(&column(field.data_type(), values), field.data_type())
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>();
        let rows = columns.and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns));
        rows.map_err(|error| StoreError::Refused(format!("table \"{table}\": {error}")))
    }
}

/// The last time that databases keep.
const FAR: DateTime<Utc> = match chrono::NaiveDate::from_ymd_opt(9999, 12, 31) {
    Some(day) => match day.and_hms_opt(23, 59, 59) {
        Some(time) => time.and_utc(),
        None => DateTime::<Utc>::MAX_UTC,
    },
    None => DateTime::<Utc>::MAX_UTC,
};

fn zero(data_type: &DataType) -> Value {
    match data_type {
        DataType::Utf8View => Value::text(""),
        DataType::Timestamp(_, _) => Value::Time(DateTime::UNIX_EPOCH),
        _ => Value::Int(0),
    }
}

fn column<'a>(data_type: &DataType, values: impl Iterator<Item = &'a Value>) -> ArrayRef {
    match data_type {
        DataType::Float64 => Arc::new(values.map(Value::as_float).collect::<Float64Array>()),
        DataType::Int32 | DataType::Int64 => Arc::new(values.map(Value::as_int).collect::<Int64Array>()),
        DataType::Boolean => Arc::new(values.map(|value| value.as_int().map(|int| int != 0)).collect::<BooleanArray>()),
        DataType::Timestamp(_, _) => {
            let micros = values.map(|value| value.as_time().map(|time| time.timestamp_micros()));
            Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        _ => Arc::new(values.map(Value::as_text).collect::<StringViewArray>()),
    }
}
