//! What is said of single records on their way: where they stand, and what became of those that are no rows, late or nobody's.

use chrono::{DateTime, Utc};

use crate::terms::{Offset, Partition, Watermark};

/// The topic of a row.
pub const TOPIC_COLUMN: &str = "_topic";
/// The partition of a row.
pub const PARTITION_COLUMN: &str = "_partition";
/// The offset of a row.
pub const OFFSET_COLUMN: &str = "_offset";
/// Which of its record's rows a row is.
pub const ITEM_COLUMN: &str = "_item";
/// When Kafka stamped the record of a row; NULL where the topic keeps no stamps.
pub const STAMP_COLUMN: &str = "_stamped_at";

/// Where a row stands: a record, and which of its rows it is. In the order in which rows are read of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The record's partition.
    pub partition: Partition,
    /// The record's offset.
    pub offset: Offset,
    /// Which of the record's rows.
    pub item: Item,
}

/// The number of a row among those of its record, counted from 0; a record that is one row has this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Item(pub i32);

/// A record, or one item of it, that cannot become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Where it was read.
    pub place: Place,
    /// Its key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Those of its headers that the job reads and that are texts.
    pub headers: Vec<(String, String)>,
    /// The record's bytes, all of them; empty where an earlier reject of the same record has them.
    pub raw: Vec<u8>,
    /// Whether nothing of the record became a row.
    pub is_whole: bool,
    /// Why it is no row.
    pub reason: String,
    /// The patient, where the record says whose it is.
    pub patient: Option<String>,
    /// When Kafka stamped it; `None` where the topic keeps no stamps.
    pub stamped_at: Option<DateTime<Utc>>,
    /// Its event time, where that can be read.
    pub event_time: Option<DateTime<Utc>>,
}

/// What is said of an event time that is too far ahead.
pub const AHEAD_OF_STAMP: &str = "ahead of the time at which Kafka stamped the record";

impl Reject {
    /// Whether the record is refused because a clock, or its zone, is wrong.
    #[must_use]
    pub fn is_of_clock(&self) -> bool {
        self.reason.contains(AHEAD_OF_STAMP)
    }
}

/// A value that cannot be read or cannot be true; the frame has NULL in its place. A record has at most one of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Artefact {
    /// Where it was read.
    pub place: Place,
    /// The record's patient.
    pub patient: String,
    /// The record's event time.
    pub event_time: DateTime<Utc>,
    /// The column.
    pub column: String,
    /// The number that was sent, where it was a number and fits a double.
    pub value: Option<f64>,
    /// The value as it was sent, at most its first [`MOST_TEXT_CHARS`] characters.
    pub text: String,
    /// What is wrong with it, to be read behind the text: `is not a valid number`.
    pub reason: String,
}

/// So many characters are kept of the text of a value that cannot be read.
pub const MOST_TEXT_CHARS: usize = 200;

/// A row that came after its partition's watermark had passed its event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateRow {
    /// Its place among the rows that were split.
    pub row: usize,
    /// Where it was read.
    pub place: Place,
    /// When the device measured.
    pub event_time: DateTime<Utc>,
    /// The watermark that it missed.
    pub watermark: Watermark,
}

/// A late row as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateRecord {
    /// Its patient.
    pub patient: String,
    /// Where and when it came, and what it missed.
    pub row: LateRow,
    /// Its columns as a JSON object.
    pub values: String,
}

/// The event times that a batch had of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub oldest: DateTime<Utc>,
    /// The last.
    pub newest: DateTime<Utc>,
}

/// A record that is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unattached {
    /// Where it was read.
    pub place: Place,
    /// The device or, where records name the patient, the patient who had left.
    pub device: String,
    /// When the device measured.
    pub event_time: DateTime<Utc>,
    /// Its columns as a JSON object.
    pub values: String,
}
