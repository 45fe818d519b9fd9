//! Committing until it is done: what passes is tried again, what is one query's fault is left out.

use crate::store::{Commit, Store, StoreError};

use super::retry::Retry;
use super::run::RunError;

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Committed {
    /// It is in the store.
    Done,
    /// It is not: one table does not take its rows.
    TableAtFault {
        /// The table, and so the query.
        table: String,
        /// What the database says.
        reason: String,
    },
}

/// Commits, trying again until it is done or `stopped` says to give up.
///
/// Errors: fenced, or given up; nothing of the batch is in the store then.
pub(super) fn commit(
    store: &mut Store,
    commit: &Commit<'_>,
    stopped: &dyn Fn() -> bool,
) -> Result<Committed, RunError> {
    let is_result = |table: &str| commit.tables.iter().any(|rows| rows.spec.name == table);
    Retry::endless(stopped).until_done(|| match store.commit(commit) {
        Ok(()) => Ok(Committed::Done),
        Err(StoreError::Table { table, reason }) if is_result(&table) => Ok(Committed::TableAtFault { table, reason }),
        Err(error) => Err(error),
    })
}
