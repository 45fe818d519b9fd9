//! How a run is to be done, and what it tells.

use std::sync::Arc;
use std::time::Duration;

use wardwatch_alert::Change;
use wardwatch_ingest::source::{MicroBatch, Until};
use wardwatch_model::clock::Clock;
use wardwatch_model::health::Health;
use wardwatch_model::terms::BatchId;
use wardwatch_sql::Outcome;

use super::admit::AdmittedBatch;
use super::retry::Retry;

/// How a run is to be done.
pub struct RunOptions<'a> {
    /// Whether it ends when it has caught up.
    pub until: Until,
    /// What to do then.
    pub at_end: AtEnd,
    /// What to do where another process writes for the job.
    pub standby: Standby,
    /// What to do where the topic was deleted and made again.
    pub new_topic: ReplacedTopic,
    /// How long Kafka and the store may take to answer at the start.
    pub connect_timeout: Duration,
    /// Says when to stop; the batch in hand is finished first.
    pub stopped: &'a dyn Fn() -> bool,
    /// Is told that this process writes for the job now.
    pub on_start: &'a mut dyn FnMut(),
    /// Is told how many batches of how many have been read again for what a stopped job remembered.
    pub on_repeat: &'a dyn Fn(usize, usize),
    /// Is told of each batch after its commit.
    pub on_commit: &'a mut dyn FnMut(&Progress<'_>),
    /// Is told whether the store and Kafka answer.
    pub health: &'a Health,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl<'a> RunOptions<'a> {
    /// How the loop asks the store.
    pub(super) fn retry(&self) -> Retry<'a> {
        Retry::endless(self.stopped, self.health)
    }
}

/// What a run that has caught up does with windows that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// It leaves them open; the next run goes on with them.
    LeaveWindows,
    /// It gives them out as they stand; the next run goes on with them all the same.
    CloseWindows,
}

/// What a run does where another process writes for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standby {
    /// It ends, and tells who that is.
    Stop,
    /// It waits until that one has ended, stands still or is out of reach, and goes on in its place.
    Wait,
}

/// What a run does where the topic was deleted and made again since the job has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplacedTopic {
    /// It ends and tells so: the offsets that it goes on from are those of other records.
    Refuse,
    /// It goes on with the new topic as with one that it does not know.
    GoOn,
}

/// What happened with one batch.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The batch.
    pub batch: BatchId,
    /// What it was made of.
    pub micro_batch: &'a MicroBatch,
    /// What each query gave; a table has just these rows from the batch, but for those that wait for it.
    pub results: &'a [Outcome],
    /// What changed of episodes.
    pub alerts: &'a [Change],
    /// From the closing of the batch to the end of its commit.
    pub latency: Duration,
    /// How much of it the queries took.
    pub queries: Duration,
    /// How much of it rules' episodes and the commit took.
    pub commit: Duration,
}

/// What a run did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Batches committed.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Rejects among them.
    pub rejects: u64,
    /// Artefacts in them.
    pub artefacts: u64,
    /// Records, and items of them, that are no rows on purpose.
    pub ignored: u64,
    /// Rows that came too late for windows.
    pub late: u64,
    /// Rows that had come before.
    pub duplicates: u64,
    /// Queries that fail at the end.
    pub failing: usize,
    /// Tables that do not take their rows at the end.
    pub tables_at_fault: usize,
}

impl Summary {
    pub(crate) fn add(&mut self, taken: &AdmittedBatch) {
        self.batches += 1;
        self.records += taken.batch.records as u64;
        self.rejects += taken.batch.rejects.len() as u64;
        self.artefacts += taken.batch.artefacts.len() as u64;
        self.ignored += taken.batch.ignored as u64;
        self.late += taken.rows.late.len() as u64;
        self.duplicates += taken.rows.duplicates as u64;
    }
}
