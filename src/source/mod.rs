//! Where micro-batches come from: a Kafka topic, read and decoded ahead of the loop on threads of their own.
//!
//! The only room that knows rdkafka. Offsets come from the caller (who has them from the store); Kafka's group
//! offsets are written for lag tools and never read back.

mod assemble;
mod contact;
mod decoding;
mod embedded;
mod fetch;
mod kafka;
mod produce;
mod replay;
mod stall;
mod topic_id;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::config::{SourceSpec, Trigger};
use crate::decode::{Artefact, Decoded, Decoder, RawRecords, Reject};
use crate::telemetry::{Panicked, join};
use crate::terms::{Offset, Partition, Positions, Ranges};

use assemble::Assembly;
pub use contact::Standstill;
pub use embedded::EmbeddedBroker;
pub use kafka::{Bounds, Topic};
pub use produce::{ProduceError, Producer};
pub use replay::{Repeated, repeat};

/// What one trigger closed: every record of its ranges, decoded, in order of arrival. It may be empty: time passes
/// without records too.
#[derive(Debug)]
pub struct MicroBatch {
    /// The offsets it covers, for each partition with a record. A range starts where the one before ended.
    pub ranges: Ranges,
    /// All partitions of the topic.
    pub partitions: BTreeSet<Partition>,
    /// The partitions of which nothing waited to be read when it closed.
    pub at_end: BTreeSet<Partition>,
    /// Whether windows wait for more all the same.
    pub keeps_windows: bool,
    /// The rows, one Arrow batch.
    pub rows: arrow::array::RecordBatch,
    /// The records that are no rows.
    pub rejects: Vec<Reject>,
    /// The values that cannot be read or true.
    pub artefacts: Vec<Artefact>,
    /// How many records were read.
    pub records: usize,
    /// What the source could not read when it closed.
    pub unread: Unread,
    /// When it was closed.
    pub closed: Stopwatch,
}

/// What a source cannot read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// No broker answers, or with nothing but the reason; `None` while one does.
    pub kafka_away: Option<Standstill>,
    /// The partitions of which records wait, or that nobody leads, and none is read.
    pub stalled: BTreeMap<Partition, Standstill>,
}

impl Unread {
    /// Whether everything is read that comes.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.kafka_away.is_none() && self.stalled.is_empty()
    }
}

/// Whether the source ends when it has read what was there when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It goes on until it is stopped.
    Stopped,
    /// It ends at the offsets that were the last when it started.
    CaughtUp,
}

/// Why the source cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A broken or refused connection.
    #[error("no Kafka broker answers at \"{brokers}\" within {} s{}", .waited.as_secs(), reason_suffix(.reason))]
    Unreachable {
        /// What was tried.
        brokers: String,
        /// For how long.
        waited: Duration,
        /// What librdkafka said last.
        reason: Option<String>,
    },
    /// The topic does not exist.
    #[error("topic \"{topic}\" does not exist at \"{brokers}\"{}", suggestion(.near))]
    NoTopic {
        /// The job's topic.
        topic: String,
        /// Where it was looked for.
        brokers: String,
        /// An existing topic with a similar name.
        near: Option<String>,
    },
    /// librdkafka refuses a property.
    #[error("[source.properties]: {0}")]
    Property(String),
    /// The topic has another id than the one that the store has read.
    #[error(
        "topic \"{topic}\" was deleted and made anew: its id was {was} and is {is}, so its offsets are those of other records; \
         `wardwatch run JOB --new-topic` goes on with the new one from where `start` says"
    )]
    Replaced {
        /// The job's topic.
        topic: String,
        /// The id of the one that was read.
        was: String,
        /// The id that it has.
        is: String,
    },
    /// The store has read further than the topic reaches, so this is not the topic it read.
    #[error(
        "partition {partition} of topic \"{topic}\" ends at offset {end}, but the store has read to {stored}: the topic \
         was deleted and made anew; `wardwatch run JOB --new-topic` goes on with the new one from where `start` says"
    )]
    Recreated {
        /// The job's topic.
        topic: String,
        /// The partition at fault.
        partition: Partition,
        /// The partition's next offset in Kafka.
        end: Offset,
        /// The next offset in the store.
        stored: Offset,
    },
    /// Kafka answers, but not with what was asked.
    #[error("Kafka refuses: {0}")]
    Refused(String),
    /// The thread that fetches has panicked, or with it the one that decodes.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The operating system has no thread to give.
    #[error("no thread can be started to fetch or decode")]
    Thread(#[source] std::io::Error),
}

fn reason_suffix(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn suggestion(near: &Option<String>) -> String {
    near.as_ref().map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
}

/// A running source.
#[derive(Debug)]
pub struct Source {
    fetching: Fetching,
    topic: Arc<Topic>,
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

impl MicroBatch {
    /// A batch of which nothing is known but that time has passed.
    #[must_use]
    pub fn nothing(spec: &SourceSpec, partitions: BTreeSet<Partition>) -> Self {
        Self {
            ranges: Ranges::new(),
            at_end: partitions.clone(),
            keeps_windows: false,
            partitions,
            rows: arrow::array::RecordBatch::new_empty(crate::decode::frame_schema(&spec.columns)),
            rejects: Vec::new(),
            artefacts: Vec::new(),
            records: 0,
            unread: Unread::default(),
            closed: Stopwatch::start(),
        }
    }
}

impl Source {
    /// Starts reading `topic` at `positions`, of which each must lie within `bounds` or before it.
    ///
    /// What a partition no longer holds is skipped, with a warning that says how many records are lost.
    ///
    /// # Errors
    /// A position beyond a partition's end.
    pub fn start(
        topic: Topic,
        spec: &SourceSpec,
        trigger: Trigger,
        positions: &Positions,
        bounds: &Bounds,
        until: Until,
    ) -> Result<Self, SourceError> {
        let topic = Arc::new(topic);
        let fetch = fetch::Fetch::new(Arc::clone(&topic), spec, trigger, positions, bounds, until)?;
        let fetching = Fetching::start(move |sender, stopped| fetch.run(sender, stopped))?;
        Ok(Self { fetching, topic })
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
        self.topic.commit_group_offsets(ranges);
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
            records: 0,
            unread: Unread::default(),
            closed: Stopwatch::start(),
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
