//! Streams for rules that begin: what stands is noted as if it came now, apart from what came.

use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

use wardwatch_model::terms::Partition;

use super::samples::Samples;
use super::state::Streams;
use super::stream::LastValue;
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
}

impl Streams {
    /// Of whom a patient's last value of a column is, which was measured at `at`, in microseconds. Of a column that no rule was
    /// judged by so far it is the stream that had the newest record, and the stamp follows from its clock.
    #[must_use]
    pub fn origin(&self, patient: &str, column: &str, at: i64) -> Option<Origin> {
        let streams = &self.patients.get(patient)?.streams;
        let place = self.shape.columns.iter().position(|known| known == column);
        let told = streams.iter().filter_map(|stream| {
            let last = stream.columns[place?];
            (last.at == at).then_some((stream, last.stamped))
        });
        let (stream, stamped) = match told.max_by_key(|(_, stamped)| *stamped) {
            Some(told) => told,
            None => {
                let stream = streams.iter().max_by_key(|stream| stream.stamped)?;
                let delay = stream.sets.first().and_then(|of_any| of_any.first).map_or(0, |lane| lane.delay);
                (stream, at.saturating_add(delay).min(stream.stamped))
            }
        };
        Some(Origin { partition: Partition(stream.partition), device: Arc::clone(&stream.device), stamped })
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
                    |stream: &&mut super::Stream| stream.partition == begun.partition && stream.device == begun.device;
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
