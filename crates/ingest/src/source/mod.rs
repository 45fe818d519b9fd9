//! Where micro-batches come from: Kafka's topics, read and decoded ahead of the loop on threads of their own.
//!
//! Offsets come from the caller (who has them from the store); Kafka's group
//! offsets are written for lag tools and never read back.

mod assemble;
mod batch;
mod contact;
mod decoding;
mod error;
mod fetch;
mod held;
mod merge;
mod order;
mod owned;
mod replay;
mod stall;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use wardwatch_config::{SourceSpec, Trigger};
use wardwatch_kafka::{Bounds, Consumer};
use wardwatch_model::telemetry::join;
use wardwatch_model::terms::{Positions, Ranges};

use crate::decode::Reshaping;

pub use batch::{MicroBatch, Unread};
pub use contact::Standstill;
pub use error::SourceError;
pub use fetch::Until;
pub use replay::{Repeated, repeat};

/// A running source.
#[derive(Debug)]
pub struct Source {
    fetching: Fetching,
    consumer: Arc<Consumer>,
}

/// The thread that fetches, and what it has closed.
#[derive(Debug)]
struct Fetching {
    batches: Receiver<Result<MicroBatch, SourceError>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the loop gets when it asks for a batch.
#[derive(Debug)]
pub enum Next {
    /// A batch.
    Batch(Box<MicroBatch>),
    /// None within the time given.
    Nothing,
    /// There will be none any more.
    End,
}

impl Source {
    /// Starts reading the topics of `consumer` at `positions`, of which each must lie within `bounds` or before it.
    ///
    /// What a partition no longer holds is skipped, with a warning that says how many records are lost.
    ///
    /// # Errors
    /// A position beyond a partition's end.
    pub fn start(
        consumer: Consumer,
        spec: &SourceSpec,
        trigger: Trigger,
        positions: &Positions,
        bounds: &Bounds,
        until: Until,
        reshaping: Option<&Reshaping>,
    ) -> Result<Self, SourceError> {
        let consumer = Arc::new(consumer);
        let fetch = fetch::Fetch::new(Arc::clone(&consumer), spec, (trigger, until), positions, bounds, reshaping)?;
        let fetching = Fetching::start(move |sender, stopped| fetch.run(sender, stopped))?;
        Ok(Self { fetching, consumer })
    }

    /// Waits at most `patience` for the next batch.
    ///
    /// # Errors
    /// What ended the source.
    pub fn next(&mut self, patience: Duration) -> Result<Next, SourceError> {
        self.fetching.next(patience)
    }

    /// Tells Kafka how far the store has got, for lag tools. A failure is logged and changes nothing.
    pub fn show_progress(&self, ranges: &Ranges) {
        self.consumer.commit_group_offsets(ranges);
    }
}

impl Fetching {
    fn start(
        fetch: impl FnOnce(&SyncSender<Result<MicroBatch, SourceError>>, &AtomicBool) + Send + 'static,
    ) -> Result<Self, SourceError> {
        let stop = Arc::new(AtomicBool::new(false));
        // One batch may wait while the loop works on another and the next one fills: three in memory at most.
        let (sender, batches) = sync_channel(1);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("fetch".to_owned())
            .spawn(move || fetch(&sender, &stopped))
            .map_err(SourceError::Thread)?;
        Ok(Self { batches, stop, thread: Some(thread) })
    }

    fn next(&mut self, patience: Duration) -> Result<Next, SourceError> {
        match self.batches.recv_timeout(patience) {
            Ok(batch) => Ok(Next::Batch(Box::new(batch?))),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Nothing),
            // It has come to its end, or to a bad one: then nobody is watched any more.
            Err(RecvTimeoutError::Disconnected) => {
                self.thread.take().map_or(Ok(()), join)?;
                Ok(Next::End)
            }
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        // It may be waiting for room to say why it ends.
        while !thread.is_finished() {
            drop(self.batches.recv_timeout(Duration::from_millis(5)));
        }
        if let Err(panicked) = join(thread) {
            tracing::error!(%panicked, "fetching ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wardwatch_model::clock::Stopwatch;

    use super::*;

    fn no_rows() -> MicroBatch {
        MicroBatch {
            ranges: Ranges::new(),
            partitions: BTreeSet::new(),
            at_end: BTreeSet::new(),
            keeps_windows: false,
            rows: arrow::array::RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())),
            rejects: Vec::new(),
            artefacts: Vec::new(),
            encounters: Vec::new(),
            ignored: 0,
            records: 0,
            unread: Unread::default(),
            lost: Ranges::new(),
            closed: Stopwatch::start(),
            looked: None,
        }
    }

    #[test]
    fn a_thread_that_panics_is_told_behind_the_last_batch_and_is_no_end() {
        let mut fetching = Fetching::start(|batches, _| {
            batches.send(Ok(no_rows())).expect("somebody listens");
            panic!("it is meant to");
        })
        .expect("a thread");
        let patience = Duration::from_secs(10);
        assert!(matches!(fetching.next(patience), Ok(Next::Batch(_))));
        assert!(matches!(fetching.next(patience), Err(SourceError::Panicked(told)) if told.thread == "fetch"));

        let mut fetching = Fetching::start(|_, _| ()).expect("a thread");
        assert!(matches!(fetching.next(patience), Ok(Next::End)));
    }

    #[test]
    fn a_thread_that_waits_for_room_ends_when_nobody_wants_its_batches() {
        let fetching = Fetching::start(|batches, _| {
            for _ in 0..3 {
                batches.send(Ok(no_rows())).expect("somebody listens until the end");
            }
        });
        drop(fetching.expect("a thread"));
    }
}
