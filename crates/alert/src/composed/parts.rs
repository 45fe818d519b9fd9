//! What the values of several streams are put together to.

use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, TimeDelta, Utc};

use crate::map::HashMap;
use crate::rule::Rule;
use crate::streams::id::StreamId;
use crate::streams::row::SampleRow;

/// The vitals that the condition of a rule depends on, and how long a value of each counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Composition {
    /// The columns, as the rule names them.
    pub(crate) columns: Vec<String>,
    /// How long a value of each counts, in microseconds.
    pub(crate) valid_for: Vec<i64>,
}

impl Composition {
    /// What `rule` is judged on, where that is composed.
    pub(crate) fn of(rule: &Rule) -> Option<Self> {
        let valid_for = rule.composed.as_ref()?;
        let micros = |length: &std::time::Duration| i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        Some(Self { columns: rule.depends_on().to_vec(), valid_for: valid_for.iter().map(micros).collect() })
    }

    pub(crate) fn valid_for(&self, column: &str) -> i64 {
        let place = self.columns.iter().position(|name| name == column);
        place.and_then(|place| self.valid_for.get(place)).copied().unwrap_or(i64::MAX)
    }
}

/// What a rule is judged on in one batch.
#[derive(Debug, Clone)]
pub struct Composed {
    pub(crate) rows: RecordBatch,
    /// Of which rows of the batch those are that come behind it.
    pub(crate) again: Vec<usize>,
    pub(crate) patients: HashMap<Arc<str>, Vec<Entry>>,
}

/// A record as a composed rule takes it.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// It has none of the rule's vitals. `is_gap`: and says so.
    Other {
        /// The record.
        record: SampleRow,
        /// Whether each record before it had one.
        is_gap: bool,
    },
    /// Something is to be judged.
    Sample(ComposedSample),
}

/// A sample of one combination.
#[derive(Debug, Clone)]
pub(crate) struct ComposedSample {
    /// The record by which it is judged.
    pub(crate) record: SampleRow,
    /// The combination as a stream.
    pub(crate) stream: StreamId,
    /// When, by that stream's clock.
    pub(crate) at: DateTime<Utc>,
    /// How long what it says counts.
    pub(crate) valid_for: TimeDelta,
    /// Its row among [`Composed::rows`]; without one, nothing is known.
    pub(crate) row: Option<i64>,
    /// Whether every vital has a value.
    pub(crate) is_complete: bool,
    /// Whether it stands behind every lane, and nothing more is known of its clock.
    pub(crate) is_alone: bool,
    /// Whether the clock of the record's device was set.
    pub(crate) leads: bool,
}

impl Composed {
    /// The rows: first those of the batch, in their order, then what else is to be judged.
    #[must_use]
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// Of which row of the batch each of [`Composed::rows`] is.
    pub fn rows_of_batch(&self) -> impl Iterator<Item = usize> {
        (0..self.rows.num_rows() - self.again.len()).chain(self.again.iter().copied())
    }

    pub(crate) fn of_patient(&self, patient: &str) -> &[Entry] {
        self.patients.get(patient).map(Vec::as_slice).unwrap_or_default()
    }
}

impl ComposedSample {
    /// A sample of which nothing is known.
    pub(crate) fn unknown(record: SampleRow, stream: StreamId, at: DateTime<Utc>) -> Self {
        let valid_for = TimeDelta::zero();
        Self { record, stream, at, valid_for, row: None, is_complete: false, is_alone: false, leads: false }
    }
}
