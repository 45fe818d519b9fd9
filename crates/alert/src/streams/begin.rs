//! Streams for rules that begin: what stands is noted as if it came now, apart from what came.

use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

use wardwatch_model::terms::Partition;

use super::lane::CLOCK_TOLERANCE;
use super::samples::Samples;
use super::state::Streams;
use super::stream::{LastValue, Stream};
use crate::rule::SampleColumns;

/// Of whom a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The partition.
    pub partition: Partition,
    /// The device; empty where the job names none.
    pub device: Arc<str>,
    /// The stamp of its record, in microseconds.
    pub stamped: i64,
    /// For how long it had been kept when it came, by its stream's clock; in microseconds.
    pub kept_for: i64,
}

/// How far a stream's clock lies behind stamps, in microseconds.
fn clock_of(stream: &Stream) -> i64 {
    stream.sets.first().and_then(|of_any| of_any.first).map_or(0, |lane| lane.delay)
}

impl Streams {
    /// Of whom a patient's last value of a column is, which was measured at `at`, in microseconds. Of a column that no rule was
    /// judged by so far it is the stream that had the newest record, and the stamp follows from its clock. `None` where another device
    /// has told since, and the time is of a clock that is ahead: it is not what was told last.
    #[must_use]
    pub fn origin(&self, patient: &str, column: &str, at: i64) -> Option<Origin> {
        let streams = &self.patients.get(patient)?.streams;
        let place = self.shape.columns.iter().position(|known| known == column);
        let last = |stream: &Stream| place.map(|place| stream.columns[place]).filter(|last| last.stamped > i64::MIN);
        let told =
            streams.iter().filter_map(|stream| Some((stream, last(stream).filter(|last| last.at == at)?.stamped)));
        let in_lane = || {
            let of = |stream: &'_ Stream| {
                let lanes = stream.sets.iter().flat_map(|lanes| lanes.first.iter().chain(&lanes.others));
                lanes.filter(|lane| lane.newest == at).map(|lane| lane.stamped).min()
            };
            streams.iter().find_map(|stream| Some((stream, of(stream)?)))
        };
        let by_clock = || {
            let stream = streams.iter().max_by_key(|stream| stream.stamped)?;
            Some((stream, at.saturating_add(clock_of(stream)).min(stream.stamped)))
        };
        let (stream, stamped) = told.max_by_key(|(_, stamped)| *stamped).or_else(in_lane).or_else(by_clock)?;
        let is_told_since = streams.iter().filter_map(last).any(|last| last.stamped > stamped);
        let is_ahead = at.saturating_sub(stamped) > CLOCK_TOLERANCE;
        let kept_for = stamped.saturating_sub(at).saturating_sub(clock_of(stream));
        (!(is_ahead && is_told_since)).then(|| Origin {
            partition: Partition(stream.partition),
            device: Arc::clone(&stream.device),
            stamped,
            kept_for,
        })
    }

    /// Takes note of records with the last values of patients, as [`Streams::note`] does, but apart: returns their samples and the
    /// streams of these. Of sets and columns of which nothing was known so far, that is known now.
    pub fn begin(&mut self, frame: &RecordBatch, columns: &SampleColumns, now: DateTime<Utc>) -> (Samples, Self) {
        let mut apart = Self::new(self.shape.as_ref().clone());
        let samples = apart.note(frame, columns, now);
        for (patient, begun) in &apart.patients {
            let Some(known) = self.patients.get_mut(patient) else { continue };
            for begun in &begun.streams {
                let is_same =
                    |stream: &&mut Stream| stream.partition == begun.partition && stream.device == begun.device;
                let Some(known) = known.streams.iter_mut().find(is_same) else { continue };
                let sets = known.sets.iter_mut().zip(&begun.sets);
                for (lanes, begun) in sets.filter(|(lanes, _)| lanes.first.is_none()) {
                    // Which of the stream's records it was, nobody knows any more.
                    lanes.clone_from(&super::lanes::Lanes { sampled: None, is_in_each: false, ..begun.clone() });
                }
                let columns = known.columns.iter_mut().zip(&begun.columns);
                columns.filter(|(known, _)| **known == LastValue::NEVER).for_each(|(known, begun)| *known = *begun);
            }
        }
        (samples, apart)
    }
}
