//! The batch that rules are judged on, and what they gave on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use chrono::{DateTime, TimeDelta, Utc};

use super::rule::SampleColumns;
use super::streams::Arrivals;
use super::streams::id::MOMENT;
use super::streams::samples::Samples;
use super::streams::state::Streams;
use super::track::Track;

/// The batch that rules are judged on.
#[derive(Debug)]
pub struct Moment<'a> {
    /// Its samples.
    pub samples: &'a Samples,
    /// What is known of streams at its end.
    pub streams: &'a Streams,
    /// How far each partition has got, by stamps.
    pub arrivals: &'a Arrivals,
    /// How late a sample may come that is on its way.
    pub lateness: TimeDelta,
    /// Which columns tell samples apart.
    pub columns: &'a SampleColumns,
    /// Its frozen time.
    pub now: DateTime<Utc>,
    /// Its frozen time by the devices' clocks.
    pub event_now: DateTime<Utc>,
    /// When patients left who have come again.
    pub departures: &'a Departures,
}

/// What a rule gave on a batch.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The rows at which it is true.
    pub conditions: Findings<'a>,
    /// Those at which `@clear_when` is true, where the rule has one.
    pub clear: Option<Findings<'a>>,
    /// What is to be said where it gave none.
    pub elsewhere: Elsewhere,
}

/// What is to be said of a condition at which a rule gave no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// It is false.
    False,
    /// Nobody knows: the rule reads what could not be computed.
    Unknown,
}

/// Rows of a rule, and of which samples they are.
#[derive(Debug, Clone, Copy)]
pub struct Findings<'a> {
    /// The rows.
    pub rows: &'a RecordBatch,
    /// For each, of which row of the batch it is, or of which one of [`Composed`](super::Composed). Without, rows are of the
    /// samples with their patient and event time; where they lack the time, too, of every sample of their patient.
    pub samples: Option<&'a Int64Array>,
}

impl Moment<'_> {
    /// What time it is by a track's clock.
    pub(super) fn clock(&self, track: &Track) -> Option<DateTime<Utc>> {
        match &track.stream {
            Some(stream) if *stream != *MOMENT => track.clock(self.arrivals.of(stream.partition.0)?),
            Some(_) => Some(self.event_now),
            None => track.clock(self.arrivals.newest()?),
        }
    }

    /// By what time a track's value may be found to count no longer. Where time may still fire or end the episode, that comes
    /// first, and waits for samples that are on their way.
    pub(crate) fn stale_clock(&self, track: &Track, waits: bool) -> Option<DateTime<Utc>> {
        let now = self.clock(track)?;
        let is_of_moment = track.stream.as_ref() == Some(&*MOMENT);
        if waits && !is_of_moment { now.checked_sub_signed(self.lateness) } else { Some(now) }
    }
}

/// When those left who have come again since: the end of each of their stays but the last, in the order of time.
pub type Departures = BTreeMap<Arc<str>, Vec<DateTime<Utc>>>;
