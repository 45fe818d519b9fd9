//! A row of one of our own tables, read value by value; and what becomes of one that holds what wardwatch did not write.
//!
//! Our tables lie open: people write to them, and restore them. A row that cannot be read stands for itself alone. It is left out
//! and told, never waited for, and never a reason to leave out another.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use wardwatch_model::record::{Item, Place};
use wardwatch_model::terms::{BatchId, Offset};
use wardwatch_model::topics::Topics;

use super::Value;
use super::error::StoreError;

/// Takes values out of a row of one of our own tables, one after the other.
pub(super) struct Row<'a> {
    table: &'a str,
    /// The names of its columns, as SELECT lists them; empty where nobody needs to know which was wrong.
    columns: &'a str,
    values: std::slice::Iter<'a, Value>,
    taken: usize,
}

impl<'a> Row<'a> {
    pub(super) fn new(table: &'a str, values: &'a [Value]) -> Self {
        Self::of(table, "", values)
    }

    /// The same, with the names of the columns for whoever must mend one.
    pub(super) fn of(table: &'a str, columns: &'a str, values: &'a [Value]) -> Self {
        Self { table, columns, values: values.iter(), taken: 0 }
    }

    fn next(&mut self) -> &'a Value {
        self.taken += 1;
        self.values.next().unwrap_or(&Value::Null)
    }

    fn take<T>(&mut self, convert: impl FnOnce(&'a Value) -> Option<T>) -> Result<T, StoreError> {
        let value = self.next();
        convert(value).ok_or_else(|| self.odd(value))
    }

    /// The column that was taken last, as a fault. Its value is told only where a text of ours should stand: others may be a
    /// patient's.
    fn odd(&self, value: &Value) -> StoreError {
        let column = self.columns.split(',').nth(self.taken - 1).map(str::trim).filter(|name| !name.is_empty());
        let column = column.map_or("a column".to_owned(), |name| format!("column \"{}\"", name.replace('`', "")));
        let found = match value {
            Value::Null => "NULL",
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::Bytes(_) => "bytes",
            Value::Time(_) | Value::Date(_) => "a time",
        };
        StoreError::Refused(format!("table \"{}\": {column} holds {found} that wardwatch did not write", self.table))
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        self.take(|value| value.as_text().map(str::to_owned))
    }

    pub(super) fn int(&mut self) -> Result<i64, StoreError> {
        self.take(Value::as_int)
    }

    /// Topic, partition, offset and item, one after the other; `None` where the topic is none of those that are read.
    pub(super) fn place(&mut self, topics: &Topics) -> Result<Option<Place>, StoreError> {
        let narrow = |value: i64| i32::try_from(value).unwrap_or(-1);
        let topic = self.text()?;
        let partition = topics.partition(&topic, narrow(self.int()?));
        let (offset, item) = (Offset(self.int()?), Item(narrow(self.int()?)));
        Ok(partition.map(|partition| Place { partition, offset, item }))
    }

    pub(super) fn batch(&mut self) -> Result<BatchId, StoreError> {
        self.take(|value| value.as_int().and_then(|batch| u64::try_from(batch).ok()).map(BatchId))
    }

    pub(super) fn time(&mut self) -> Result<DateTime<Utc>, StoreError> {
        self.take(Value::as_time)
    }

    pub(super) fn optional_time(&mut self) -> Option<DateTime<Utc>> {
        self.next().as_time()
    }

    /// One of a closed set of names.
    pub(super) fn named<T>(&mut self, convert: fn(&str) -> Option<T>) -> Result<T, StoreError> {
        let value = self.next();
        let Some(name) = value.as_text() else { return Err(self.odd(value)) };
        convert(name).ok_or_else(|| match self.odd(value) {
            StoreError::Refused(fault) => StoreError::Refused(fault.replace("a text", &format!("\"{name}\""))),
            other => other,
        })
    }

    pub(super) fn count(&mut self) -> Result<u32, StoreError> {
        self.take(|value| value.as_int().and_then(|count| u32::try_from(count).ok()))
    }

    pub(super) fn bool(&mut self) -> Result<bool, StoreError> {
        self.take(|value| value.as_int().map(|value| value != 0))
    }

    /// A count, of which NULL is none.
    pub(super) fn optional_count(&mut self) -> u64 {
        self.next().as_int().and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
    }

    pub(super) fn optional_float(&mut self) -> Option<f64> {
        self.next().as_float()
    }

    /// A text, of which NULL and the empty one are none.
    pub(super) fn optional_text(&mut self) -> Option<String> {
        self.next().as_text().filter(|text| !text.is_empty()).map(str::to_owned)
    }
}

/// The rows that a connection could not read, so that each is told once.
#[derive(Debug, Default)]
pub(super) struct OddRows(BTreeSet<String>);

impl OddRows {
    /// The rows that can be read; the others are told, with what their first column calls them.
    pub(super) fn leave_out<T>(
        &mut self,
        rows: &[Vec<Value>],
        convert: impl Fn(&[Value]) -> Result<T, StoreError>,
    ) -> Vec<T> {
        let (read, odd) = readable(rows, convert);
        for fault in odd {
            self.tell(fault);
        }
        read
    }

    /// Logs a fault, unless it was logged before.
    pub(super) fn tell(&mut self, fault: String) {
        if !self.0.contains(&fault) {
            tracing::error!(fault, "a row is left out");
            self.0.insert(fault);
        }
    }
}

/// The rows that can be read, and what is wrong with the others, each named by its first column.
pub(super) fn readable<T>(
    rows: &[Vec<Value>],
    convert: impl Fn(&[Value]) -> Result<T, StoreError>,
) -> (Vec<T>, Vec<String>) {
    let (mut read, mut odd) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let name = row.first().and_then(Value::as_text).unwrap_or_default();
        match convert(row) {
            Ok(value) => read.push(value),
            Err(fault) => odd.push(format!("{fault}, in the row \"{name}\"")),
        }
    }
    (read, odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_cannot_be_read_is_left_out_and_told_with_its_column_but_not_with_a_patients_values() {
        const COLUMNS: &str = "`id`, `severity`, `text`";
        let row = |id: &str, severity: Value, text: Value| vec![Value::text(id), severity, text];
        let rows = [
            row("a", Value::text("high"), Value::text("HR 130")),
            row("b", Value::text("hihg"), Value::text("HR 130")),
            row("c", Value::Null, Value::text("HR 130")),
            row("d", Value::text("low"), Value::Float(130.0)),
        ];
        let (read, odd) = readable(&rows, |row| {
            let mut row = Row::of("alerts", COLUMNS, row);
            Ok((row.text()?, row.named(wardwatch_model::terms::Severity::from_name)?, row.text()?).0)
        });
        assert_eq!(read, ["a"]);
        assert_eq!(
            odd,
            [
                "table \"alerts\": column \"severity\" holds \"hihg\" that wardwatch did not write, in the row \"b\"",
                "table \"alerts\": column \"severity\" holds NULL that wardwatch did not write, in the row \"c\"",
                "table \"alerts\": column \"text\" holds a number that wardwatch did not write, in the row \"d\"",
            ]
        );
    }
}
