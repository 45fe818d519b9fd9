//! What the store says of a micro-batch that it has written.

use std::collections::BTreeMap;

use super::table_rows::Pending;

/// What a commit left, beside what it was given.
#[derive(Debug, Default)]
pub struct CommitOutcome {
    /// What waits for each table of the batch.
    pub pending: BTreeMap<String, Pending>,
    /// How many rows no table takes.
    pub bad_rows: usize,
}
