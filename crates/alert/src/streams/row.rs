//! A record as a sample of its patient.

use chrono::{DateTime, TimeDelta, Utc};

/// So long a sample counts that stands behind every lane: until the next such may come, so that several are one event.
pub(crate) const ALONE: TimeDelta = TimeDelta::seconds(3);

/// A record as a sample of its patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SampleRow {
    /// When it was measured: its event time, and later where that stands still.
    pub(crate) at: DateTime<Utc>,
    /// Its event time.
    pub(crate) recorded_at: DateTime<Utc>,
    /// Its row in the frame.
    pub(crate) row: usize,
    /// Kafka's stamp, in microseconds; see [`Streams`](super::state::Streams).
    pub(crate) stamped: i64,
    /// Which of the patient's streams it is of.
    pub(crate) stream: usize,
    /// The judged columns that have a value.
    pub(crate) columns: u128,
    /// Those that have a doubtful one in place of one.
    pub(crate) doubts: u128,
    /// Whether its time is that of all samples of its stream.
    pub(crate) tells_time: bool,
}
