//! The store: MySQL, MariaDB or SQLite. One transaction per micro-batch, or nothing.
//!
//! The only crate that knows databases. What differs between them is behind `database::Database`; what is written and when
//! stands once, in [`Store`]. It does not decide what to retry; it says what an error means ([`StoreError`]).

#![cfg_attr(
    not(all(feature = "mysql", feature = "sqlite")),
    allow(dead_code, unreachable_code, unused_variables, reason = "what only the database that is left out needs")
)]

mod alerting;
mod bad_rows;
mod batch;
mod clip;
mod column;
mod commit;
mod complaint;
mod connection;
mod cost;
mod coverage;
mod database;
mod encounters;
mod error;
mod insert;
mod lease;
mod live;
mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "mysql")]
mod mysql_errors;
mod outbox;
mod outcome;
mod own;
mod pending;
mod quote;
mod read;
mod reference;
mod rejected;
mod replays;
mod report;
mod row;
mod scan;
mod schema;
mod snapshot;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;
mod system;
mod table_rows;
mod topics;
mod users;
mod value;
mod watermarks;

pub use crate::batch::{Commit, Edited, Failed, QueryState};
pub use crate::column::Kind as ColumnKind;
pub use crate::outcome::CommitOutcome;
pub use crate::table_rows::{Incomplete, Pending, TableFault, TableRows, Way};
pub use alerting::{Alerting, EpisodesLike, PatientEpisode};
pub use cost::QueryCost;
pub use coverage::CoverageChanges;
pub use encounters::{AskedEncounter, AttachedLater, EncounterAnswer, EncounterOutcome, EncounterRow, WaitingRow};
pub use lease::LeaseRow;
pub use live::{BatchRow, CostRow, EditRow, LateRow, Timed};
pub use outbox::{Attempt, Outcome, OutletState, Waiting};
pub use own::OwnRow;
pub use read::{BatchSummary, LoggedBatch, Readings, Resume, StalledPartition, Status};
pub use reference::ReferenceChange;
pub use rejected::{AskedReplay, RejectRow, RejectedPlaces, ReplayAnswer, ReplayState};
pub use report::{ReportRun, ReportState};
pub use scan::{StoreTables, TablesToBe};
pub use schema::{TableSpec, TableSpecError};
pub use snapshot::{Snapshot, StoredSnapshot};
pub use system::NAMES as SYSTEM_TABLES;
pub use users::{ADD_USER, ApiToken, AuditEntry, LOG_IN, Registered, Session, User};
pub use value::Value;

pub use connection::Store;
pub use error::StoreError;
