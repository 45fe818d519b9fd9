//! What went wrong with a store, by what can be done about it.

use wardwatch_model::health::Complaint;
use wardwatch_model::topics::ShownPartition;

/// What went wrong with the store, by what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may work when it is tried again: no connection, a deadlock, a full disk, a read-only server.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// A table cannot be changed while others have it in use; it may be when they are done.
    #[error("{0}")]
    Blocked(String),
    /// One table does not take its rows; the others would.
    #[error("table \"{table}\" does not take its rows: {reason}")]
    Table {
        /// The table.
        table: String,
        /// What the database says.
        reason: String,
    },
    /// Writing to one table failed, and the database does not say whether the table is at fault or the database.
    #[error("table \"{table}\" does not take its rows, or the store takes none: {reason}")]
    Unclear {
        /// The table.
        table: String,
        /// What the database says.
        reason: String,
    },
    /// Somebody else writes for this job.
    #[error("fenced: {0}")]
    Fenced(String),
    /// It will not work however often it is tried: a wrong password, no such database, an incompatible table.
    #[error("{0}")]
    Refused(String),
}

impl StoreError {
    /// Whether it may work when it is tried again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Blocked(_))
    }

    /// In which way the store does not do what it must.
    #[must_use]
    pub fn complaint(&self) -> Complaint {
        let (said, otherwise) = match self {
            Self::Blocked(_) => return Complaint::Locked,
            Self::Unavailable(said) => (said, Complaint::Silent),
            Self::Table { reason: said, .. } | Self::Unclear { reason: said, .. } => (said, Complaint::Refuses),
            Self::Fenced(said) | Self::Refused(said) => (said, Complaint::Refuses),
        };
        super::complaint::of_mysql(said).or_else(|| super::complaint::of_sqlite(said)).unwrap_or(otherwise)
    }
}

pub(crate) fn fenced(partition: &ShownPartition) -> StoreError {
    StoreError::Fenced(format!(
        "another process has advanced partition {partition} of this job; it goes on, this one stops"
    ))
}
