//! What the loop gets: a micro-batch, and what the source could not read.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;

use wardwatch_config::SourceSpec;
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::record::{Artefact, Reject};
use wardwatch_model::terms::{Partition, Ranges};

use crate::decode::{EncounterRecord, frame_schema};

use super::contact::Standstill;

/// What one trigger closed: every record of its ranges, decoded, in order of arrival. It may be empty: time passes
/// without records too.
#[derive(Debug)]
pub struct MicroBatch {
    /// The offsets it covers, for each partition with a record. A range starts where the one before ended.
    pub ranges: Ranges,
    /// All partitions that are read.
    pub partitions: BTreeSet<Partition>,
    /// The partitions of which nothing waited to be read when it closed.
    pub at_end: BTreeSet<Partition>,
    /// Whether windows wait for more all the same.
    pub keeps_windows: bool,
    /// The rows, one Arrow batch.
    pub rows: RecordBatch,
    /// The records that are no rows.
    pub rejects: Vec<Reject>,
    /// The values that cannot be read or true.
    pub artefacts: Vec<Artefact>,
    /// Who comes, moves and goes, as records say it.
    pub encounters: Vec<EncounterRecord>,
    /// How many records, and items of them, are no rows on purpose.
    pub ignored: usize,
    /// How many records were read.
    pub records: usize,
    /// What the source could not read when it closed.
    pub unread: Unread,
    /// The records that Kafka had deleted before they were read, told once.
    pub lost: Ranges,
    /// When it was closed.
    pub closed: Stopwatch,
    /// When it was known of which partitions nothing waited; `None` where that is so when the batch is taken.
    pub looked: Option<Stopwatch>,
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

impl MicroBatch {
    /// A batch of which nothing is known but that time has passed.
    #[must_use]
    pub fn nothing(spec: &SourceSpec, partitions: BTreeSet<Partition>) -> Self {
        Self {
            ranges: Ranges::new(),
            at_end: partitions.clone(),
            keeps_windows: false,
            partitions,
            rows: RecordBatch::new_empty(frame_schema(&spec.frame)),
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
}
