//! Rows that cannot be written: each stands in `bad_rows` with the reason, and the others of its batch in their table.
//!
//! It does not decide which rows these are; [`statement`](super::statement) finds them.

use std::collections::BTreeMap;

use serde_json::json;

use super::Value;
use super::clip::clipped;
use super::database::Failure;

/// So many bad rows of a table stand in `bad_rows` of one batch; the others are counted.
const MOST_BAD: usize = 10_000;

/// The longest value of a bad row, in bytes; it may be what is wrong with the row.
const MOST_VALUE: usize = 4_096;

/// A row that cannot be written.
#[derive(Debug)]
struct BadRow {
    values: Vec<Value>,
    reason: String,
}

/// The rows of one statement or more that cannot be written.
#[derive(Debug, Default)]
pub(super) struct BadRows {
    first: Vec<BadRow>,
    count: usize,
    /// How many rows the table has taken.
    pub(super) written: usize,
    /// What a trigger has raised last, if one has.
    pub(super) raised: Option<Failure>,
}

impl BadRows {
    pub(super) fn add(&mut self, values: &[Value], reason: String) {
        self.count += 1;
        if self.first.len() < MOST_BAD {
            self.first.push(BadRow { values: values.to_vec(), reason });
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Why the first of them cannot be written; `None` where all can.
    pub(super) fn first_reason(&self) -> Option<&str> {
        self.first.first().map(|row| row.reason.as_str())
    }
}

/// The rows that a commit cannot write, table by table, as `bad_rows` keeps them.
#[derive(Debug, Default)]
pub(super) struct BadRowsOfBatch(pub(crate) BTreeMap<String, OfTable>);

#[derive(Debug, Default)]
pub(crate) struct OfTable {
    /// The reason and the values of the first ones.
    pub(crate) first: Vec<(String, String)>,
    pub(crate) count: usize,
    /// How many rows the table has taken.
    written: usize,
    /// What a trigger has raised last.
    raised: Option<Failure>,
}

impl BadRowsOfBatch {
    /// Takes note of what became of rows of a table with these columns.
    pub(super) fn add(&mut self, table: &str, columns: &[String], rows: BadRows) {
        let known = self.0.entry(table.to_owned()).or_default();
        known.count += rows.count;
        known.written += rows.written;
        known.raised = rows.raised.or_else(|| known.raised.take());
        let room = MOST_BAD.saturating_sub(known.first.len());
        let first = rows.first.into_iter().take(room);
        known.first.extend(first.map(|BadRow { values, reason }| (reason, as_json(columns, &values))));
    }

    /// What a trigger has raised where the table has taken no row of the batch: then it is the table that refuses them.
    pub(super) fn raised_by_all(&self, table: &str) -> Option<Failure> {
        let known = self.0.get(table).filter(|known| known.written == 0)?;
        known.raised.clone()
    }

    /// How many there are in all.
    pub(super) fn count(&self) -> usize {
        self.0.values().map(|table| table.count).sum()
    }

    /// How many there are of each table, with the first one's reason.
    pub(super) fn by_table(&self) -> impl Iterator<Item = (&str, usize, &str)> {
        self.0.iter().filter(|(_, rows)| rows.count > 0).map(|(table, rows)| {
            (table.as_str(), rows.count, rows.first.first().map_or("", |(reason, _)| reason.as_str()))
        })
    }
}

/// A row as JSON, its columns by name; texts and bytes are cut where they are long.
fn as_json(columns: &[String], values: &[Value]) -> String {
    let value = |value: &Value| match value {
        Value::Null => json!(null),
        Value::Int(number) => json!(number),
        Value::UInt(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Text(text) => json!(clipped(text, MOST_VALUE)),
        Value::Bytes(bytes) => json!(clipped(&String::from_utf8_lossy(bytes), MOST_VALUE)),
        Value::Time(time) => json!(time.to_rfc3339()),
        Value::Date(date) => json!(date.to_string()),
    };
    let row: serde_json::Map<String, serde_json::Value> =
        columns.iter().cloned().zip(values.iter().map(value)).collect();
    serde_json::Value::Object(row).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_how_long_it_was() {
        assert_eq!(clipped("abc", 3), "abc");
        assert_eq!(clipped("aéb", 2), "a … (the first 1 of 4 bytes)");
    }

    #[test]
    fn the_first_of_many_stand_there_and_all_are_counted() {
        let mut rows = BadRows::default();
        let all = MOST_BAD + 150;
        for number in 0..all {
            rows.add(&[Value::count(number)], "odd".to_owned());
        }
        let mut batch = BadRowsOfBatch::default();
        batch.add("readings", &["n".to_owned()], rows);
        assert_eq!(batch.count(), all);
        assert_eq!(batch.0["readings"].first.len(), MOST_BAD);
        assert_eq!(batch.0["readings"].first[99].1, r#"{"n":99}"#);
    }
}
