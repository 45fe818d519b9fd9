//! One value of a row as a test compares it: as the store keeps it, from a pipe table, and as a pipe table shows it.

use std::cmp::Ordering;

use arrow::array::RecordBatch;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};

use wardwatch_store::{ColumnKind, Value};

/// The rows of a batch.
pub(super) fn rows(batch: &RecordBatch) -> Vec<Vec<Value>> {
    let row = |row| batch.columns().iter().map(|column| Value::of(column, row)).collect();
    (0..batch.num_rows()).map(row).collect()
}

/// The order of rows in a table: NULL first, then by value.
pub(super) fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Int(_) => 1,
        Value::UInt(_) => 2,
        Value::Float(_) => 3,
        Value::Text(_) => 4,
        Value::Bytes(_) => 5,
        Value::Time(_) => 6,
        Value::Date(_) => 7,
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::UInt(a), Value::UInt(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// Whether two runs gave the same: floats within 1e-9 of each other, relative, or within `tolerance`.
pub(super) fn is_like(a: &Value, b: &Value, tolerance: f64) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => (a - b).abs() <= (1e-9 * a.abs().max(b.abs())).max(tolerance),
        _ => a == b,
    }
}

/// As a pipe table shows it: NULL is an empty cell, an empty text `""`.
pub(super) fn shown(value: &Value, kind: ColumnKind) -> String {
    match value {
        Value::Null => String::new(),
        Value::Int(value) if kind == ColumnKind::Bool => (*value != 0).to_string(),
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        Value::Float(value) => shown_float(*value),
        Value::Time(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        Value::Date(date) => date.to_string(),
        Value::Text(text) if text.is_empty() => "\"\"".to_owned(),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// As many digits as tell it, but no more than four behind the point unless it is small.
fn shown_float(value: f64) -> String {
    let short = value.to_string();
    let decimals = short.split_once('.').map_or(0, |(_, behind)| behind.len());
    match decimals {
        0..=4 => short,
        _ if value.abs() >= 0.01 => format!("{value:.4}"),
        _ => format!("{value:.8}"),
    }
}

/// What a cell of a pipe table asks of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    value: Value,
    /// How far a number may be away.
    within: f64,
}

impl Wanted {
    /// Reads a cell: empty is NULL, `""` the empty text. A number with a point is meant as far as it is written: 36.67 is
    /// anything that is rounded to it. Otherwise it is meant to 1e-9 of itself.
    ///
    /// # Errors
    /// The text is no value of the kind.
    pub(super) fn parse(text: &str, kind: ColumnKind, tolerance: f64) -> Result<Self, String> {
        let mut within = 0.0;
        let value = match kind {
            _ if text.is_empty() => Some(Value::Null),
            ColumnKind::Text => Some(Value::Text(if text == "\"\"" { String::new() } else { text.to_owned() })),
            ColumnKind::Bytes => Some(Value::Bytes(text.as_bytes().to_vec())),
            ColumnKind::Bool => text.parse().ok().map(|truth: bool| Value::Int(truth.into())),
            ColumnKind::Int | ColumnKind::UInt => {
                text.parse().map(Value::Int).or_else(|_| text.parse().map(Value::UInt)).ok()
            }
            ColumnKind::Float => {
                let decimals = text.split_once('.').map(|(_, behind)| behind.len());
                // A half of the last digit, and a little for what binary fractions make of it.
                let half = |digits| 0.500_000_1 * 10_f64.powi(-i32::try_from(digits).unwrap_or(9));
                text.parse().ok().filter(|value: &f64| value.is_finite()).map(|value| {
                    within = decimals.map_or(0.0, half).max(1e-9 * value.abs()).max(tolerance);
                    Value::Float(value)
                })
            }
            ColumnKind::Time => time(text).map(Value::Time),
            ColumnKind::Date => text.parse::<NaiveDate>().ok().map(Value::Date),
        };
        let value = value.ok_or_else(|| format!("\"{text}\" is no {}", name(kind)))?;
        Ok(Self { value, within })
    }

    /// Whether `found` is what is asked for.
    pub(super) fn is_met_by(&self, found: &Value) -> bool {
        match (&self.value, found) {
            (Value::Float(wanted), Value::Float(found)) => (wanted - found).abs() <= self.within,
            (wanted, found) => wanted == found,
        }
    }
}

fn name(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Bool => "truth value: true or false",
        ColumnKind::Int | ColumnKind::UInt => "whole number",
        ColumnKind::Float => "number",
        ColumnKind::Time => "time such as 2026-01-01T00:00:00Z",
        ColumnKind::Date => "day such as 2026-01-01",
        ColumnKind::Text | ColumnKind::Bytes => "text",
    }
}

/// The time that `text` writes, with its zone.
pub(super) fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_meant_as_far_as_it_is_written() {
        let check = |text: &str, found: f64, met: bool| {
            let wanted = Wanted::parse(text, ColumnKind::Float, 0.0).expect("a number");
            assert_eq!(wanted.is_met_by(&Value::Float(found)), met, "{text} and {found}");
        };
        check("36.67", 36.666_666, true);
        check("36.67", 36.675_1, false);
        check("36", 36.000_01, false);
        check("36", 36.0, true);
        check("0.1", 0.05, true);
    }

    #[test]
    fn what_is_shown_is_read_back_as_the_same() {
        let numbers = [0.0, 1.0, -3.25, 83.666_666_666, 0.000_123_456, 1e12, 36.1];
        let numbers = numbers.into_iter().map(|number| (Value::Float(number), ColumnKind::Float));
        let others = [
            (Value::Text(String::new()), ColumnKind::Text),
            (Value::Int(1), ColumnKind::Bool),
            (Value::Null, ColumnKind::Time),
            (Value::UInt(u64::MAX), ColumnKind::UInt),
            (Value::Date(NaiveDate::default()), ColumnKind::Date),
        ];
        for (value, kind) in numbers.chain(others) {
            let text = shown(&value, kind);
            assert!(Wanted::parse(&text, kind, 0.0).expect("a value").is_met_by(&value), "{text}");
        }
    }
}
