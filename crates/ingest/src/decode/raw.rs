//! Records as they came, side by side in few buffers, so that a fetch costs no allocation per record.

use chrono::DateTime;

use wardwatch_model::record::Reject;
use wardwatch_model::terms::{Offset, Partition};

/// Records in the order in which they were read.
#[derive(Debug, Default)]
pub struct RawRecords {
    partitions: Vec<Partition>,
    offsets: Vec<Offset>,
    stamps: Vec<Option<i64>>,
    keys: Slices,
    payloads: Slices,
}

impl RawRecords {
    /// Adds a record; `stamp` is Kafka's timestamp in milliseconds since 1970.
    pub fn push(
        &mut self,
        partition: Partition,
        offset: Offset,
        stamp: Option<i64>,
        key: Option<&[u8]>,
        payload: &[u8],
    ) {
        self.partitions.push(partition);
        self.offsets.push(offset);
        self.stamps.push(stamp);
        self.keys.push(key);
        self.payloads.push(Some(payload));
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The bytes of all payloads.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payloads.bytes.len()
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.partitions.clear();
        self.offsets.clear();
        self.stamps.clear();
        self.keys.clear();
        self.payloads.clear();
    }

    pub(super) fn partition(&self, record: usize) -> Partition {
        self.partitions[record]
    }

    pub(super) fn offset(&self, record: usize) -> Offset {
        self.offsets[record]
    }

    pub(super) fn stamp_micros(&self, record: usize) -> Option<i64> {
        self.stamps[record].map(|millis| millis.saturating_mul(1_000))
    }

    pub(super) fn payload(&self, record: usize) -> &[u8] {
        self.payloads.get(record).unwrap_or_default()
    }

    pub(super) fn reject(
        &self,
        record: usize,
        patient: Option<String>,
        event_time: Option<i64>,
        reason: String,
    ) -> Reject {
        Reject {
            partition: self.partition(record),
            offset: self.offset(record),
            key: self.keys.get(record).map(<[u8]>::to_vec),
            raw: self.payload(record).to_vec(),
            reason,
            patient,
            event_time: event_time.and_then(DateTime::from_timestamp_micros),
            stamped_at: self.stamp_micros(record).and_then(DateTime::from_timestamp_micros),
        }
    }
}

/// Byte strings, some of them absent, in one buffer.
#[derive(Debug, Default)]
struct Slices {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    present: Vec<bool>,
}

impl Slices {
    fn push(&mut self, slice: Option<&[u8]>) {
        self.bytes.extend_from_slice(slice.unwrap_or_default());
        self.ends.push(self.bytes.len());
        self.present.push(slice.is_some());
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.present[index].then(|| &self.bytes[start..self.ends[index]])
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.present.clear();
    }
}

/// The most records that are decoded at once; batches of this size are decoded fastest.
pub const CHUNK: usize = 8_192;
