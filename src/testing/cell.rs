//! One value of a row as a test compares it: from Arrow, from a pipe table, and as a pipe table shows it.

use std::cmp::Ordering;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use chrono::{DateTime, SecondsFormat, Utc};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Time(DateTime<Utc>),
    Text(String),
}

/// What a column's cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellKind {
    Bool,
    Int,
    Float,
    Time,
    Text,
}

impl CellKind {
    pub(super) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Timestamp(_, _) => Self::Time,
            whole if whole.is_integer() => Self::Int,
            _ => Self::Text,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bool => "truth value: true or false",
            Self::Int => "whole number",
            Self::Float => "number",
            Self::Time => "time such as 2026-01-01T00:00:00Z",
            Self::Text => "text",
        }
    }
}

impl Cell {
    /// The cells of a column.
    pub(super) fn of_column(column: &dyn Array) -> Vec<Self> {
        let kind = CellKind::of(column.data_type());
        let wanted = match kind {
            CellKind::Int => DataType::Int64,
            CellKind::Float => DataType::Float64,
            CellKind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            CellKind::Bool | CellKind::Text => column.data_type().clone(),
        };
        let column = cast(column, &wanted).unwrap_or_else(|error| panic!("numbers and times widen: {error}"));
        let cell = |row: usize| match kind {
            _ if column.is_null(row) => Self::Null,
            CellKind::Bool => Self::Bool(column.as_boolean().value(row)),
            CellKind::Int => Self::Int(column.as_primitive::<Int64Type>().value(row)),
            // As the store keeps it: a number that is not finite is NULL.
            CellKind::Float => Some(column.as_primitive::<Float64Type>().value(row))
                .filter(|value| value.is_finite())
                .map_or(Self::Null, Self::Float),
            CellKind::Time => column
                .as_primitive::<TimestampMicrosecondType>()
                .value_as_datetime(row)
                .map_or(Self::Null, |time| Self::Time(time.and_utc())),
            CellKind::Text => array_value_to_string(&column, row).map_or(Self::Null, Self::Text),
        };
        (0..column.len()).map(cell).collect()
    }

    /// The order of rows in a table: NULL first, then by value.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) => 2,
            Self::Float(_) => 3,
            Self::Time(_) => 4,
            Self::Text(_) => 5,
        }
    }

    /// Whether two runs gave the same: floats within 1e-9 of each other, relative, or within `tolerance`.
    pub(super) fn is_like(&self, other: &Self, tolerance: f64) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => (a - b).abs() <= (1e-9 * a.abs().max(b.abs())).max(tolerance),
            _ => self == other,
        }
    }

    /// As a pipe table shows it: NULL is an empty cell, an empty text `""`.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => shown_float(*value),
            Self::Time(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            Self::Text(text) if text.is_empty() => "\"\"".to_owned(),
            Self::Text(text) => text.clone(),
        }
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
    cell: Cell,
    /// How far a number may be away.
    within: f64,
}

impl Wanted {
    /// Reads a cell: empty is NULL, `""` the empty text. A number with a point is meant as far as it is written: 36.67 is anything
    /// that is rounded to it. Otherwise it is meant to 1e-9 of itself.
    ///
    /// # Errors
    /// The text is no value of the kind.
    pub(super) fn parse(text: &str, kind: CellKind, tolerance: f64) -> Result<Self, String> {
        let none = || format!("\"{text}\" is no {}", kind.name());
        let mut within = 0.0;
        let cell = match (kind, text) {
            (_, "") => Cell::Null,
            (CellKind::Text, "\"\"") => Cell::Text(String::new()),
            (CellKind::Text, text) => Cell::Text(text.to_owned()),
            (CellKind::Bool, text) => Cell::Bool(text.parse().map_err(|_| none())?),
            (CellKind::Int, text) => Cell::Int(text.parse().map_err(|_| none())?),
            (CellKind::Float, text) => {
                let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(none)?;
                let decimals = text.split_once('.').map(|(_, behind)| behind.len());
                // A half of the last digit, and a little for what binary fractions make of it.
                let written =
                    decimals.map_or(0.0, |digits| 0.500_000_1 * 10_f64.powi(-i32::try_from(digits).unwrap_or(9)));
                within = written.max(1e-9 * value.abs()).max(tolerance);
                Cell::Float(value)
            }
            (CellKind::Time, text) => Cell::Time(time(text).ok_or_else(none)?),
        };
        Ok(Self { cell, within })
    }

    /// Whether `found` is what is asked for.
    pub(super) fn is_met_by(&self, found: &Cell) -> bool {
        match (&self.cell, found) {
            (Cell::Float(wanted), Cell::Float(found)) => (wanted - found).abs() <= self.within,
            (wanted, found) => wanted == found,
        }
    }

    /// The value itself.
    pub(super) fn cell(&self) -> &Cell {
        &self.cell
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
            let wanted = Wanted::parse(text, CellKind::Float, 0.0).expect("a number");
            assert_eq!(wanted.is_met_by(&Cell::Float(found)), met, "{text} and {found}");
        };
        check("36.67", 36.666_666, true);
        check("36.67", 36.675_1, false);
        check("36", 36.000_01, false);
        check("36", 36.0, true);
        check("0.1", 0.05, true);
    }

    #[test]
    fn what_is_shown_is_read_back_as_the_same() {
        for value in [0.0, 1.0, -3.25, 83.666_666_666, 0.000_123_456, 1e12, 36.1] {
            let shown = Cell::Float(value).shown();
            assert!(
                Wanted::parse(&shown, CellKind::Float, 0.0).expect("a number").is_met_by(&Cell::Float(value)),
                "{shown}"
            );
        }
        let empty = Cell::Text(String::new());
        assert!(Wanted::parse(&empty.shown(), CellKind::Text, 0.0).expect("a text").is_met_by(&empty));
    }
}
