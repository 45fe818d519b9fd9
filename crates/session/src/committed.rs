//! What one batch left, for whoever is told of it.

use std::time::Duration;

use arrow::array::RecordBatch;
use polars::frame::DataFrame;

use wardwatch_alert::{Change, Episode, EventKind};
use wardwatch_frame::{CrossingError, to_polars_frame};
use wardwatch_model::record::{Artefact, Reject};
use wardwatch_model::terms::BatchId;
use wardwatch_sql::Outcome;

/// What one batch left: with [`Session::on_commit`](crate::Session::on_commit), after it was committed.
#[derive(Debug)]
pub struct Committed<'a> {
    pub(super) batch: BatchId,
    pub(super) records: usize,
    pub(super) rows: Option<&'a RecordBatch>,
    pub(super) results: &'a [Outcome],
    pub(super) alerts: &'a [Change],
    pub(super) rejects: &'a [Reject],
    pub(super) artefacts: &'a [Artefact],
    pub(super) ignored: usize,
    pub(super) latency: Duration,
}

impl Committed<'_> {
    /// The batch; they count from 1 and leave none out.
    #[must_use]
    pub fn batch(&self) -> BatchId {
        self.batch
    }

    /// How many records it was made of.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// The records as rows, in the order in which they were read: the job's columns, then `_topic`, `_partition`, `_offset`
    /// and `_stamped_at`. `None` offline, where whoever asks has them.
    #[must_use]
    pub fn rows(&self) -> Option<&RecordBatch> {
        self.rows
    }

    /// The rows that a table query gave with this batch, in the order of its key: windows that have closed, say. `None` where
    /// there is no query of this name, or it failed.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&RecordBatch> {
        self.results.iter().find(|result| result.query == name)?.rows.as_ref().ok()
    }

    /// The same as a frame of Polars; its times are in UTC.
    ///
    /// # Errors
    /// A column has a type that Polars does not know.
    pub fn frame(&self, name: &str) -> Result<Option<DataFrame>, CrossingError> {
        self.table(name).map(to_polars_frame).transpose()
    }

    /// The queries that failed on it, or whose windows lack it, each with why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.results.iter().filter_map(|result| {
            let failure = result.rows.as_ref().err().or(result.trouble.as_ref())?;
            Some((result.query.as_str(), failure.0.as_str()))
        })
    }

    /// What became of alerts: each that a sample or a person has told anything of, with its events.
    #[must_use]
    pub fn alerts(&self) -> &[Change] {
        self.alerts
    }

    /// The alerts that fire since this batch.
    pub fn fired(&self) -> impl Iterator<Item = &Episode> {
        let has_fired = |change: &&Change| change.events.iter().any(|event| event.kind == EventKind::Firing);
        self.alerts.iter().filter(has_fired).map(|change| &*change.episode)
    }

    /// Records that could not become rows.
    #[must_use]
    pub fn rejects(&self) -> &[Reject] {
        self.rejects
    }

    /// Values that could not be read, or could not be true.
    #[must_use]
    pub fn artefacts(&self) -> &[Artefact] {
        self.artefacts
    }

    /// How many records, and items of them, are no rows on purpose: vitals that no column is named after, tombstones.
    #[must_use]
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// From the closing of the batch to the end of its commit; zero offline.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.latency
    }
}
