//! Rejects as they are read back, and what becomes of those that are read again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use wardwatch_model::record::{Item, Place};
use wardwatch_model::terms::{BatchId, Offset, Partition};
use wardwatch_model::topics::Topics;

/// Why a record that was too long for the database cannot be read again: rejects says so of it.
const CUT: &str = "fit max_allowed_packet)";

/// A record that became no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectRow {
    /// Its topic.
    pub topic: String,
    /// Its partition, by its number in the topic.
    pub partition: i64,
    /// Its offset.
    pub offset: i64,
    /// Which of the record's rows it would have been.
    pub item: i64,
    /// The record's bytes; empty where an earlier item has them.
    pub raw: Vec<u8>,
    /// The record's key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Those of its headers that the job read.
    pub headers: BTreeMap<String, String>,
    /// Whether nothing of the record became a row.
    pub is_whole: bool,
    /// When Kafka stamped it.
    pub stamped_at: Option<DateTime<Utc>>,
    /// Why.
    pub reason: String,
    /// The batch that it came with.
    pub batch: BatchId,
}

impl RejectRow {
    /// Whether the store has only the beginning of the record.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.reason.ends_with(CUT)
    }

    /// Where it stands; `None` where its topic is not read.
    #[must_use]
    pub fn place(&self, topics: &Topics) -> Option<Place> {
        let number = |value: i64| i32::try_from(value).ok();
        let partition = topics.partition(&self.topic, number(self.partition)?)?;
        Some(Place { partition, offset: Offset(self.offset), item: Item(number(self.item)?) })
    }
}

/// A reject that is to be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedReplay {
    /// Where it stands.
    pub place: Place,
    /// The reject, with its record's bytes.
    pub reject: RejectRow,
}

/// What became of a reject that was read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayAnswer {
    /// Where it stands.
    pub place: Place,
    /// How many rows it became.
    pub rows: usize,
    /// Why it was rejected again; empty where it was not.
    pub reason: String,
}

/// What is known of a reject that people have asked to be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayState {
    /// The job has not done so yet.
    Asked,
    /// It became so many rows with this batch.
    Rows(BatchId, i64),
    /// It was rejected again with this batch, for this reason.
    Again(BatchId, String),
}

/// The places that a batch had rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectedPlaces {
    /// Records of which nothing became a row.
    pub records: BTreeSet<(Partition, Offset)>,
    /// Items of records.
    pub items: BTreeSet<Place>,
}
