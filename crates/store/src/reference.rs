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
use sha2::{Digest, Sha256};

use wardwatch_model::record::Artefact;
use wardwatch_model::topics::Topics;

use super::connection::Store;
use super::database::{BEGIN, Dialect};
use super::error::StoreError;
use super::quote::quoted;
use super::row::Row;
use super::scan::public;
use super::statement::{OnDuplicate, Target, insert};
use super::system::{ARTEFACTS, REFERENCE_CHANGES};
use super::{TableSpec, Value};

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
    /// Whoever is killed meanwhile leaves either no table of that name or one with all rows.
    ///
    /// # Errors
    /// The database does not answer, or has an incompatible table, or one that must be changed and is in use.
    pub fn seed(&mut self, spec: &TableSpec, rows: &RecordBatch) -> Result<(), StoreError> {
        if !self.database.columns(&spec.name)?.is_empty() {
            return self.fit(spec);
        }
        match self.database.dialect() {
            Dialect::Sqlite => self.in_transaction(|store| {
                store.create(spec)?;
                store.fill(spec, rows)
            }),
            // These commit with each statement that makes a table.
            Dialect::MySql | Dialect::MariaDb => self.seed_aside(spec, rows),
        }
    }

    /// The tables of these that the store has not, though people have changed rows in them; and how many such changes it knows.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn lost_references<'s>(
        &mut self,
        tables: impl Iterator<Item = &'s TableSpec>,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = format!("SELECT COUNT(*) FROM {} WHERE `job`=? AND `table_name`=?", quoted(REFERENCE_CHANGES));
        let mut lost = Vec::new();
        for spec in tables {
            if !self.database.columns(&spec.name)?.is_empty() {
                continue;
            }
            let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(&spec.name)])?;
            let changes = rows.first().and_then(|row| row.first()?.as_int()).unwrap_or(0);
            if let Some(changes) = u64::try_from(changes).ok().filter(|changes| *changes > 0) {
                lost.push((spec.name.clone(), changes));
            }
        }
        Ok(lost)
    }

    /// Makes and fills the table under another name, then gives it its own.
    fn seed_aside(&mut self, spec: &TableSpec, rows: &RecordBatch) -> Result<(), StoreError> {
        // No query's table has such a name, and another job that shares the database has another.
        let digest = Sha256::digest(format!("{}\n{}", self.job, spec.name));
        let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let aside = spec.clone().called(&format!("seed~{digits}"));
        if !self.database.columns(&aside.name)?.is_empty() {
            self.drop_table(&aside.name)?; // of one that was killed
        }
        self.create(&aside)?;
        self.in_transaction(|store| store.fill(&aside, rows))?;
        let rename = format!("RENAME TABLE {} TO {}", quoted(&aside.name), quoted(&spec.name));
        let Err(failure) = self.database.define(&spec.name, &rename) else { return Ok(()) };
        if self.database.columns(&spec.name)?.is_empty() {
            return Err(failure.into());
        }
        // Another job was quicker: its rows count.
        self.drop_table(&aside.name)?;
        self.fit(spec)
    }

    fn fill(&mut self, spec: &TableSpec, rows: &RecordBatch) -> Result<(), StoreError> {
        let mut values =
            (0..rows.num_rows()).map(|row| rows.columns().iter().map(|column| Value::of(column, row)).collect());
        let columns = spec.column_names();
        let target = Target { table: &spec.name, columns: &columns, on_duplicate: OnDuplicate::Replace(&spec.key) };
        insert(self.database.as_mut(), target, &mut values)
    }

    fn drop_table(&mut self, table: &str) -> Result<(), StoreError> {
        Ok(self.database.define(table, &format!("DROP TABLE IF EXISTS {}", quoted(table)))?)
    }

    fn in_transaction(&mut self, work: impl FnOnce(&mut Self) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.database.execute(BEGIN, &[])?;
        let done = work(self);
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = self.database.execute(end, &[]);
        done?;
        ended?;
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

    /// All rows of a reference table, in the order of its key. A row with a cell that is none of its column's type is left out:
    /// a limit that cannot be read is not the same as none.
    ///
    /// # Errors
    /// The database does not answer, or has no such table.
    pub fn reference_rows(&mut self, spec: &TableSpec, schema: &SchemaRef) -> Result<RecordBatch, StoreError> {
        Ok(self.read_reference(spec, schema)?.0)
    }

    /// The same, with what is wrong with the rows that are left out.
    ///
    /// # Errors
    /// The database does not answer, or has no such table.
    pub fn read_reference(
        &mut self,
        spec: &TableSpec,
        schema: &SchemaRef,
    ) -> Result<(RecordBatch, Vec<String>), StoreError> {
        let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let sql =
            format!("SELECT {} FROM {} ORDER BY {}", list(&spec.column_names()), quoted(&spec.name), list(&spec.key));
        let mut rows = self.database.query(&sql, &[])?;
        let mut odd = Vec::new();
        rows.retain(|row| {
            let fault = odd_cell(spec, schema, row);
            odd.extend(fault.clone());
            fault.is_none()
        });
        let columns = schema.fields().iter().enumerate().map(|(index, field)| {
            let values = rows.iter().map(|row| row.get(index).unwrap_or(&Value::Null));
            column(field.data_type(), values)
        });
        let rows = RecordBatch::try_new(Arc::clone(schema), columns.collect())
            .map_err(|error| StoreError::Refused(format!("table \"{}\": {error}", spec.name)))?;
        Ok((rows, odd))
    }
}

impl Store {
    /// The values that could not be read or could not be true, whose event times lie at or after the first of `range` and
    /// before the second, in the order of those.
    ///
    /// # Errors
    /// The database does not answer. A row that somebody has made unreadable is left out and told.
    pub fn artefacts(
        &mut self,
        topics: &Topics,
        range: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    ) -> Result<Vec<Artefact>, StoreError> {
        let stored = self.database.columns(ARTEFACTS)?;
        if stored.is_empty() {
            return Ok(Vec::new()); // the job has not run yet
        }
        // A store of the version before lacks these until the job has started.
        let or_null = |name: &str| {
            let is_there = stored.iter().any(|column| column.name == name);
            if is_there { quoted(name) } else { "NULL".to_owned() }
        };
        let sql = format!(
            "SELECT `topic`, `partition`, `offset`, {}, `patient_id`, `event_time`, `column_name`, `value`, {}, {} FROM {} \
             WHERE `job`=? AND `event_time`>=? AND `event_time`<? ORDER BY `event_time`, `topic`, `partition`, `offset`",
            if stored.iter().any(|column| column.name == "item") { "`item`" } else { "0" },
            or_null("text"),
            or_null("reason"),
            quoted(ARTEFACTS)
        );
        let (from, to) = (range.0.unwrap_or(DateTime::UNIX_EPOCH), range.1.unwrap_or(FAR));
        let values = [Value::text(&self.job), Value::Time(from), Value::Time(to)];
        let rows = self.database.query(&sql, &values)?;
        let read = self.odd.leave_out(&rows, |row| {
            let mut row = Row::new(ARTEFACTS, row);
            let Some(place) = row.place(topics)? else { return Ok(None) };
            Ok(Some(Artefact {
                place,
                patient: row.text()?,
                event_time: row.time()?,
                column: row.text()?,
                value: row.optional_float(),
                text: row.optional_text().unwrap_or_default(),
                reason: row.optional_text().unwrap_or_default(),
            }))
        });
        Ok(read.into_iter().flatten().collect())
    }

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
            public(table)?,
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

/// What is wrong with a row of a reference table: SQLite takes any value in any column.
fn odd_cell(spec: &TableSpec, schema: &SchemaRef, row: &[Value]) -> Option<String> {
    let cells = || schema.fields().iter().zip(row);
    let shown = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => format!("\"{text}\""),
        Value::Time(time) => time.to_rfc3339(),
        _ => "bytes".to_owned(),
    };
    let is_odd = |data_type: &DataType, value: &Value| {
        *value != Value::Null && column(data_type, std::iter::once(value)).is_null(0)
    };
    let (field, value) = cells().find(|(field, value)| {
        is_odd(field.data_type(), value) || (**value == Value::Null && spec.key.contains(field.name()))
    })?;
    let key = cells().filter(|(field, _)| spec.key.contains(field.name()));
    let key: Vec<String> = key.map(|(field, value)| format!("{} = {}", field.name(), shown(value))).collect();
    Some(format!(
        "table \"{}\": column \"{}\" holds {}, which is not its type, in the row with {}; the row counts for nothing",
        spec.name,
        field.name(),
        shown(value),
        key.join(", ")
    ))
}

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
