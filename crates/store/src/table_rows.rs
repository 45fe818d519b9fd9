//! Rows on their way to the tables of queries, and what becomes of those that a table does not take.

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

use wardwatch_model::terms::BatchId;

use super::TableSpec;

/// Rows for one table.
#[derive(Debug, Clone)]
pub struct TableRows<'a> {
    /// The table.
    pub spec: &'a TableSpec,
    /// Its rows; a later batch's replace an earlier one's.
    pub rows: Vec<RecordBatch>,
    /// Those in whose place others of the same batch stand.
    pub replaced: Option<RecordBatch>,
    /// What becomes of them.
    pub way: Way,
    /// What waits for the table before this batch.
    pub pending: Pending,
}

/// What becomes of a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The table takes them.
    Write,
    /// Rows wait: the oldest are written, then these where none waits any more. Else they wait too.
    CatchUp,
    /// They wait; the table has not taken its rows since then.
    Wait {
        /// The frozen time of the first batch that it did not take.
        since: DateTime<Utc>,
    },
}

/// What waits for a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// So many batches.
    pub batches: i64,
    /// So many rows.
    pub rows: i64,
    /// So many bytes, as the store keeps them.
    pub bytes: i64,
}

/// A table that does not take its rows, or has rows that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFault {
    /// The table.
    pub table: String,
    /// Since when it takes none; `None` where it does again.
    pub since: Option<DateTime<Utc>>,
    /// What the database says; empty where it takes them.
    pub reason: String,
    /// What waits for it.
    pub pending: Pending,
}

/// Rows of a table that were given up: more would have waited than may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// The table.
    pub table: String,
    /// The first batch whose rows it lacks.
    pub from: BatchId,
    /// The last one.
    pub until: BatchId,
    /// How many batches with rows.
    pub batches: i64,
    /// How many rows.
    pub rows: i64,
    /// Why.
    pub reason: String,
    /// When the first of them was given up, where that is known.
    pub since: Option<DateTime<Utc>>,
}
