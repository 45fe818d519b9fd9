//! Why a run ended before it should.

use std::time::Duration;

use wardwatch_ingest::source::SourceError;
use wardwatch_kafka::KafkaError;
use wardwatch_model::telemetry::Panicked;
use wardwatch_store::StoreError;

/// Why a run ended before it should.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system has no thread to give.
    #[error("no thread can be started")]
    Thread(#[source] std::io::Error),
    /// A thread of the job has panicked. What was committed stands; a restart goes on behind it.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The store did not answer at the start.
    #[error("{address} does not answer within {} s: {reason}", .waited.as_secs())]
    StoreUnreachable {
        /// What was tried.
        address: String,
        /// For how long.
        waited: Duration,
        /// What it said last.
        reason: String,
    },
}

impl From<KafkaError> for RunError {
    fn from(error: KafkaError) -> Self {
        Self::Source(error.into())
    }
}

impl RunError {
    /// Whether a restart may do better.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Source(error) => error.is_transient(),
            Self::Store(error) => error.is_transient(),
            Self::StoreUnreachable { .. } => true,
            Self::Thread(_) | Self::Panicked(_) => false,
        }
    }

    /// Whether it ended because another process writes for the job.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Store(StoreError::Fenced(_)))
    }
}
