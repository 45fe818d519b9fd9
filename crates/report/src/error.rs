//! Why reports are not made.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use wardwatch_sql::StoredFailure;
use wardwatch_store::StoreError;

use super::canvas::ChartError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A SELECT of a spec.
    #[error(transparent)]
    Select(#[from] StoredFailure),
    /// There is no table to draw from.
    #[error("{address} has no table \"{table}\" yet; run the job first, or name another one in [reports] table")]
    NoTable {
        /// The table of `[reports]`.
        table: String,
        /// The store.
        address: String,
    },
    /// The table lacks a column that every chart needs.
    #[error("table \"{table}\" has no column \"{column}\"; charts need a row per record with the job's columns")]
    NoColumn {
        /// The table of `[reports]`.
        table: String,
        /// The column.
        column: String,
    },
    /// Nothing is known of the patient.
    #[error("there is no reading of patient \"{patient}\"{}", hint(.near))]
    NoPatient {
        /// The patient.
        patient: String,
        /// A patient with a similar id.
        near: Option<String>,
    },
    /// The patient has readings, but not in this time.
    #[error("patient \"{patient}\" has no reading between {from} and {until}; the newest is of {newest}")]
    NoReadings {
        /// The patient.
        patient: String,
        /// The left edge.
        from: DateTime<Utc>,
        /// The right edge.
        until: DateTime<Utc>,
        /// The newest reading.
        newest: DateTime<Utc>,
    },
    /// A report is of others.
    #[error("report \"{report}\" has no \"{subject}\"{}", hint(.near))]
    NoSubject {
        /// The spec.
        report: String,
        /// Whom it was wanted of.
        subject: String,
        /// One with a similar name.
        near: Option<String>,
    },
    /// Drawing.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// Rows that are no CSV.
    #[error("the data behind it cannot be written: {0}")]
    Data(String),
    /// Writing the file.
    #[error("\"{}\" cannot be written", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ReportError {
    /// Whether it may work when it is tried again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Select(failure) => failure.is_transient(),
            _ => false,
        }
    }
}

pub(crate) fn hint(near: &Option<String>) -> String {
    near.as_ref().map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
}
