//! The store: MySQL, MariaDB or SQLite. One transaction per micro-batch, or nothing.
//!
//! The only crate that knows databases. What differs between them is behind `database::Database`; what is written and when
//! stands once, in [`Store`]. It does not decide what to retry; it says what an error means ([`StoreError`]).

mod alerting;
mod bad_rows;
mod commit;
mod cost;
mod coverage;
mod database;
mod encounters;
mod lease;
mod live;
mod mysql;
mod mysql_errors;
mod outbox;
mod own;
mod pending;
mod read;
mod reference;
mod report;
mod row;
mod scan;
mod schema;
mod snapshot;
mod sqlite;
mod statement;
mod system;
mod users;
mod value;

use std::time::Duration;

use wardwatch_config::StoreUrl;
use wardwatch_model::health::Complaint;
use wardwatch_model::terms::Partition;

pub use alerting::{Alerting, EpisodesLike, PatientEpisode};
pub use commit::{Commit, CommitOutcome, Edited, Failed, QueryState};
pub use cost::QueryCost;
pub use coverage::CoverageChanges;
pub use encounters::{AskedEncounter, AttachedLater, EncounterAnswer, EncounterOutcome, EncounterRow, WaitingRow};
pub use lease::LeaseRow;
pub use live::{BatchRow, CostRow, EditRow, LateRow, RejectRow, Timed};
pub use outbox::{Attempt, Outcome, OutletState, Waiting};
pub use own::OwnRow;
pub use pending::{Incomplete, Pending, TableFault, TableRows, Way};
pub use read::{BatchSummary, LoggedBatch, Readings, Resume, StalledPartition, Status};
pub use reference::ReferenceChange;
pub use report::{ReportRun, ReportState};
pub use scan::{StoreTables, TablesToBe};
pub use schema::{Kind as ColumnKind, TableSpec, TableSpecError};
pub use snapshot::{Snapshot, StoredSnapshot};
pub use system::NAMES as SYSTEM_TABLES;
pub use users::{ADD_USER, ApiToken, AuditEntry, LOG_IN, Registered, Session, User};
pub use value::Value;

use database::Database;

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
        mysql_errors::complaint(said).or_else(|| sqlite::complaint(said)).unwrap_or(otherwise)
    }
}

/// A connection to the store of one job.
#[derive(Debug)]
pub struct Store {
    database: Box<dyn Database>,
    job: String,
    odd: row::OddRows,
    /// Who holds the job's lease by this connection; empty where this one does not write for the job.
    writer: String,
}

impl Store {
    /// Connects for the job called `job`.
    ///
    /// # Errors
    /// The database does not answer, or refuses.
    pub fn connect(url: &StoreUrl, job: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, job, mysql::REPLY_PATIENCE)
    }

    /// The same, with so much patience for each reply of a server.
    ///
    /// # Errors
    /// The database does not answer, or refuses.
    pub fn connect_with(url: &StoreUrl, job: &str, patience: Duration) -> Result<Self, StoreError> {
        let database: Box<dyn Database> = match url {
            StoreUrl::MySql(url) => Box::new(mysql::MySql::connect(url, patience)?),
            StoreUrl::Sqlite(path) => Box::new(sqlite::Sqlite::open(path)?),
        };
        Ok(Self { database, job: job.to_owned(), odd: row::OddRows::default(), writer: String::new() })
    }

    /// Which database it is and where, without user and password.
    #[must_use]
    pub fn address(&self) -> String {
        self.database.address()
    }
}

fn fenced(partition: Partition) -> StoreError {
    StoreError::Fenced(format!(
        "another process has advanced partition {partition} of this job; it goes on, this one stops"
    ))
}
