//! Why a session could not be built or run.

use wardwatch_frame::CrossingError;
use wardwatch_model::diagnostic::Diagnostics;
use wardwatch_pipeline::RunError;

/// Why a session could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Faults of the job or of its queries, each with its place.
    #[error(transparent)]
    Faults(#[from] Diagnostics),
    /// The run ended before it should.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The live page cannot be served, or was served no longer.
    #[cfg(feature = "web")]
    #[error("[dashboard]")]
    Page(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A session that is built in code names no broker and topic, or no store; without these it can only be tried
    /// [offline](crate::Session::offline).
    #[error("the session has no {what}: {remedy}")]
    Missing {
        /// What it has not.
        what: &'static str,
        /// How it gets it.
        remedy: &'static str,
    },
    /// A frame whose columns are not the job's, or of other types.
    #[error("column \"{column}\": {reason}")]
    Column {
        /// The column.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A frame could not cross between Arrow and Polars.
    #[error(transparent)]
    Crossing(#[from] CrossingError),
}

impl SessionError {
    /// Whether to try again may do better: a service was away.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Run(error) if error.is_transient())
    }
}
