//! One value of a row, and how Arrow's values become it.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::array_value_to_string;
use chrono::{DateTime, NaiveDate, Utc};

/// A value as databases take and give it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A whole number; truth values are 0 and 1.
    Int(i64),
    /// A whole number above `i64::MAX`.
    UInt(u64),
    /// A finite double.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A time, to the microsecond, UTC.
    Time(DateTime<Utc>),
    /// A day.
    Date(NaiveDate),
}

impl Value {
    /// The value of `column` in `row`.
    ///
    /// A number that is not finite, and a time that no database keeps, are NULL: SQL has no such values.
    #[must_use]
    pub fn of(column: &dyn Array, row: usize) -> Self {
        if column.is_null(row) {
            return Self::Null;
        }
        let unsigned = |value: u64| i64::try_from(value).map_or(Self::UInt(value), Self::Int);
        match column.data_type() {
            DataType::Boolean => Self::Int(column.as_boolean().value(row).into()),
            DataType::Int8 => Self::Int(column.as_primitive::<Int8Type>().value(row).into()),
            DataType::Int16 => Self::Int(column.as_primitive::<Int16Type>().value(row).into()),
            DataType::Int32 => Self::Int(column.as_primitive::<Int32Type>().value(row).into()),
            DataType::Int64 => Self::Int(column.as_primitive::<Int64Type>().value(row)),
            DataType::UInt8 => unsigned(column.as_primitive::<UInt8Type>().value(row).into()),
            DataType::UInt16 => unsigned(column.as_primitive::<UInt16Type>().value(row).into()),
            DataType::UInt32 => unsigned(column.as_primitive::<UInt32Type>().value(row).into()),
            DataType::UInt64 => unsigned(column.as_primitive::<UInt64Type>().value(row)),
            DataType::Float32 => Self::finite(column.as_primitive::<Float32Type>().value(row).into()),
            DataType::Float64 => Self::finite(column.as_primitive::<Float64Type>().value(row)),
            DataType::Utf8 => Self::Text(column.as_string::<i32>().value(row).to_owned()),
            DataType::LargeUtf8 => Self::Text(column.as_string::<i64>().value(row).to_owned()),
            DataType::Utf8View => Self::Text(column.as_string_view().value(row).to_owned()),
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => {
                Self::kept_time(column.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            DataType::Date32 => column
                .as_primitive::<Date32Type>()
                .value_as_date(row)
                .filter(|date| (1000..=9999).contains(&chrono::Datelike::year(date)))
                .map_or(Self::Null, Self::Date),
            _ => array_value_to_string(column, row).map_or(Self::Null, Self::Text),
        }
    }

    fn finite(value: f64) -> Self {
        if value.is_finite() { Self::Float(value) } else { Self::Null }
    }

    fn kept_time(micros: i64) -> Self {
        DateTime::from_timestamp_micros(micros)
            .filter(|time| (1000..=9999).contains(&chrono::Datelike::year(time)))
            .map_or(Self::Null, Self::Time)
    }

    /// `Null` for `None`.
    pub(super) fn time(time: Option<DateTime<Utc>>) -> Self {
        time.map_or(Self::Null, Self::Time)
    }

    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A count; more than 2^63 of anything is no count.
    pub(super) fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// About how many bytes it takes in a statement.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len() + 9,
            Self::Bytes(bytes) => bytes.len() + 9,
            _ => 13,
        }
    }

    /// The whole number that it is; truth values are 0 and 1.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::UInt(value) => i64::try_from(*value).ok(),
            #[allow(clippy::cast_possible_truncation, reason = "sums come back as doubles from some servers")]
            Self::Float(value) => Some(*value as i64),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The number that it is.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a double is what was asked for")]
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::UInt(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The text that it is.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes that it is.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The day that it is; SQLite keeps days as text.
    #[must_use]
    pub fn as_date(&self) -> Option<NaiveDate> {
        match self {
            Self::Date(date) => Some(*date),
            Self::Time(time) => Some(time.date_naive()),
            Self::Text(text) => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
            _ => None,
        }
    }

    /// The time that it is; SQLite keeps times as text.
    #[must_use]
    pub fn as_time(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Time(time) => Some(*time),
            Self::Text(text) => text_as_time(text),
            _ => None,
        }
    }
}

/// A time as SQLite keeps it, or as people write it there: with or without the time of day, `T` and a zone.
fn text_as_time(text: &str) -> Option<DateTime<Utc>> {
    let time = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|time| time.and_utc());
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0).map(|time| time.and_utc());
    time.ok().or_else(day).or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()))
}
