//! How notifications are sent to a kind of receiver, and why one was not taken.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::{DateTime, Utc};

use wardwatch_store::{Store, StoreError};

use super::message::Message;

/// Counts the signs of life of the loop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(pub(crate) Arc<AtomicU64>);

/// One kind of outlet: how it is spoken to.
pub(crate) trait Sink: Send {
    /// How many notifications one message may hold.
    fn max_batch(&self) -> usize;

    /// Brings notifications to the receiver, all or, as far as anybody knows, none.
    fn send(&mut self, messages: &[Message], now: DateTime<Utc>) -> Result<(), Undelivered>;

    /// How often there is something to do beside.
    fn maintain_every(&self) -> Option<Duration> {
        None
    }

    /// Does it.
    fn maintain(&mut self, _store: &mut Store, _now: DateTime<Utc>) -> Result<(), MaintainFault> {
        Ok(())
    }
}

/// Why a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Nobody is there, or the receiver is not well: whatever it is told now would fail.
    #[error("{0}")]
    Later(String),
    /// The receiver does not take this message; another it may take.
    #[error("{0}")]
    Refused(String),
}

/// Why what an outlet does beside was not done.
#[derive(Debug)]
pub(crate) enum MaintainFault {
    Store(StoreError),
    Receiver(String),
}

impl From<StoreError> for MaintainFault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Undelivered> for MaintainFault {
    fn from((Undelivered::Later(reason) | Undelivered::Refused(reason)): Undelivered) -> Self {
        Self::Receiver(reason)
    }
}
