//! A row of one of our own tables, read value by value.

use chrono::{DateTime, Utc};

use crate::terms::BatchId;

use super::{StoreError, Value};

/// Takes values out of a row of one of our own tables, one after the other.
pub(super) struct Row<'a> {
    table: &'a str,
    values: std::slice::Iter<'a, Value>,
}

impl<'a> Row<'a> {
    pub(super) fn new(table: &'a str, values: &'a [Value]) -> Self {
        Self { table, values: values.iter() }
    }

    fn take<T>(&mut self, convert: impl FnOnce(&'a Value) -> Option<T>) -> Result<T, StoreError> {
        let value = self.values.next().unwrap_or(&Value::Null);
        convert(value).ok_or_else(|| {
            StoreError::Refused(format!(
                "table \"{}\" holds a value that wardwatch did not write: {value:?}",
                self.table
            ))
        })
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        self.take(|value| value.as_text().map(str::to_owned))
    }

    pub(super) fn int(&mut self) -> Result<i64, StoreError> {
        self.take(Value::as_int)
    }

    pub(super) fn batch(&mut self) -> Result<BatchId, StoreError> {
        self.take(|value| value.as_int().and_then(|batch| u64::try_from(batch).ok()).map(BatchId))
    }

    pub(super) fn time(&mut self) -> Result<DateTime<Utc>, StoreError> {
        self.take(Value::as_time)
    }

    pub(super) fn optional_time(&mut self) -> Option<DateTime<Utc>> {
        self.values.next().and_then(Value::as_time)
    }

    pub(super) fn named<T>(&mut self, convert: fn(&str) -> Option<T>) -> Result<T, StoreError> {
        self.take(|value| value.as_text().and_then(convert))
    }

    pub(super) fn count(&mut self) -> Result<u32, StoreError> {
        self.take(|value| value.as_int().and_then(|count| u32::try_from(count).ok()))
    }

    pub(super) fn bool(&mut self) -> Result<bool, StoreError> {
        self.take(|value| value.as_int().map(|value| value != 0))
    }

    pub(super) fn optional_float(&mut self) -> Option<f64> {
        self.values.next().and_then(Value::as_float)
    }

    /// A text, of which NULL and the empty one are none.
    pub(super) fn optional_text(&mut self) -> Option<String> {
        self.values.next().and_then(Value::as_text).filter(|text| !text.is_empty()).map(str::to_owned)
    }
}
