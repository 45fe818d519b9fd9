//! What a micro-batch leaves in the store, and what the store says of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use wardwatch_model::encounter::Version;
use wardwatch_model::event_time::EventTime;
use wardwatch_model::record::{Artefact, LateRecord, Reject, Span, Unattached};
use wardwatch_model::terms::{BatchId, Partition, Ranges};
use wardwatch_model::topics::Topics;

use super::alerting::Alerting;
use super::cost::QueryCost;
use super::coverage::CoverageChanges;
use super::encounters::{AttachedLater, EncounterAnswer};
use super::reference::ReferenceChange;
use super::rejected::ReplayAnswer;
use super::snapshot::Snapshot;
use super::table_rows::{TableFault, TableRows};

/// Everything that a micro-batch leaves in the store.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The batch.
    pub batch: BatchId,
    /// The batch's frozen time.
    pub now: DateTime<Utc>,
    /// The topics.
    pub topics: &'a Topics,
    /// What it covers; empty where only time has passed.
    pub ranges: &'a Ranges,
    /// Event time after it.
    pub event_time: &'a EventTime,
    /// The event times of its rows.
    pub spans: &'a BTreeMap<Partition, Span>,
    /// How many records it had.
    pub records: usize,
    /// How many rows its frame had.
    pub frame_rows: usize,
    /// The records that are no rows.
    pub rejects: &'a [Reject],
    /// The values that cannot be read or true: of its records, and of rejects that were read again.
    pub artefacts: [&'a [Artefact]; 2],
    /// How many records, and items of them, are no rows on purpose.
    pub ignored: usize,
    /// The rows that came too late for windows.
    pub late: &'a [LateRecord],
    /// How many rows had come before.
    pub duplicates: usize,
    /// The rows of table queries.
    pub tables: Vec<TableRows<'a>>,
    /// The tables that take their rows no longer, or do again.
    pub table_faults: &'a [TableFault],
    /// The most bytes that may wait for one table.
    pub most_pending: i64,
    /// Rows that are nobody's.
    pub unattached: &'a [Unattached],
    /// Rows that waited in `unattached` and are somebody's with this batch.
    pub attached_later: &'a [AttachedLater],
    /// Rejects from before this time are let go of.
    pub forget_rejects: Option<DateTime<Utc>>,
    /// What became of rejects that were read again.
    pub replays: &'a [ReplayAnswer],
    /// What became of requests about encounters.
    pub encounters: &'a [EncounterAnswer],
    /// As of which version rows were attached.
    pub encounters_version: Version,
    /// What became of alerts.
    pub alerting: Alerting<'a>,
    /// The queries that gave nothing for this batch, or did not count it.
    pub failures: &'a [Failed],
    /// The queries whose state changed.
    pub queries: &'a [QueryState],
    /// Edits of the set that were looked at since the batch before.
    pub edits: &'a [Edited],
    /// The rows of reference tables that this batch is the first to see.
    pub reference_changes: &'a [ReferenceChange],
    /// What queries have cost, where that is to be told.
    pub costs: &'a [QueryCost],
    /// Which rules do not judge which patients any more, and which do again.
    pub coverage: Option<&'a CoverageChanges>,
    /// What windowed queries keep after it, where that is due.
    pub snapshots: &'a [Snapshot],
    /// From the closing of the batch to the start of the commit.
    pub prepared_ms: f64,
}

/// An edit of the set of queries while the job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// When it was looked at.
    pub at: DateTime<Utc>,
    /// The files that differ from those of before, without their folder.
    pub files: Vec<String>,
    /// Why it was refused; empty where it was taken over.
    pub error: String,
}

/// A query that something went wrong with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The query.
    pub query: String,
    /// What went wrong.
    pub error: String,
    /// Whether its windows count the batch's rows all the same.
    pub counted: bool,
}

/// How a query fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryState {
    /// The query.
    pub query: String,
    /// How often it has failed in a row; 0 is well.
    pub failures: u32,
    /// The batch with which a failing query is tried again.
    pub retry: BatchId,
    /// Its last error; empty is well.
    pub error: String,
    /// Since when it has failed; `None` is well, or a version before did not keep it.
    pub since: Option<DateTime<Utc>>,
    /// When a window of it could last not be computed, since one was; such a query fails until one is, not until a batch goes well.
    pub window_failed_at: Option<DateTime<Utc>>,
}
