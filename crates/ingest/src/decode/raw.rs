//! Records as they came, side by side in few buffers, so that a fetch costs no allocation per record.

use std::collections::HashMap;

use chrono::DateTime;

use wardwatch_model::record::{Place, Reject};
use wardwatch_model::terms::{Offset, Partition};

use super::parsed::RowOf;

/// A record as it was read.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// Where it stands.
    pub partition: Partition,
    /// Where it stands.
    pub offset: Offset,
    /// Kafka's stamp, in milliseconds since 1970.
    pub stamp: Option<i64>,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The headers that columns are read from, in the order of their names; `None` where it lacks one. It may be empty where none has any.
    pub headers: &'a [Option<&'a [u8]>],
    /// Its value; `None` where that is null.
    pub payload: Option<&'a [u8]>,
}

impl<'a> RawRecord<'a> {
    /// One of which nothing is known but its value, in partition 0.
    #[must_use]
    pub fn of_payload(offset: Offset, payload: &'a [u8]) -> Self {
        Self { partition: Partition(0), offset, stamp: None, key: None, headers: &[], payload: Some(payload) }
    }
}

/// Records in the order in which they were read.
#[derive(Debug, Default)]
pub struct RawRecords {
    partitions: Vec<Partition>,
    offsets: Vec<Offset>,
    stamps: Vec<Option<i64>>,
    keys: Slices,
    /// One after the other, as many of each record.
    headers: Slices,
    payloads: Slices,
    /// Which parts of the record at an index count, where not all do.
    parts: HashMap<usize, Vec<bool>>,
}

impl RawRecords {
    /// Adds a record. All of them have as many headers.
    pub fn push(&mut self, record: RawRecord<'_>) {
        self.partitions.push(record.partition);
        self.offsets.push(record.offset);
        self.stamps.push(record.stamp);
        self.keys.push(record.key);
        record.headers.iter().for_each(|header| self.headers.push(*header));
        self.payloads.push(record.payload);
    }

    /// Adds the record of `other` at `index`, which has as many `headers`.
    pub(super) fn push_from(&mut self, other: &Self, index: usize, headers: usize) {
        let headers: Vec<Option<&[u8]>> = (0..headers).map(|header| other.header(index, header, headers)).collect();
        self.push(RawRecord {
            partition: other.partition(index),
            offset: other.offset(index),
            stamp: other.stamps[index],
            key: other.key(index),
            headers: &headers,
            payload: other.payload(index),
        });
    }

    /// Has only these parts of the last record count.
    pub(super) fn take_parts(&mut self, parts: Option<Vec<bool>>) {
        if let Some((parts, last)) = parts.zip(self.len().checked_sub(1)) {
            self.parts.insert(last, parts);
        }
    }

    /// Which parts of a record count; `None` where all do.
    pub(super) fn parts(&self, record: usize) -> Option<&[bool]> {
        self.parts.get(&record).map(Vec::as_slice)
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
        self.headers.clear();
        self.payloads.clear();
        self.parts.clear();
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

    pub(super) fn key(&self, record: usize) -> Option<&[u8]> {
        self.keys.get(record)
    }

    /// The header at `index` among `of` that each record has; `None` where nobody has read any.
    pub(super) fn header(&self, record: usize, index: usize, of: usize) -> Option<&[u8]> {
        let place = record * of + index;
        (place < self.headers.ends.len()).then(|| self.headers.get(place)).flatten()
    }

    /// `None` where it is null.
    pub(super) fn payload(&self, record: usize) -> Option<&[u8]> {
        self.payloads.get(record)
    }

    /// Where a row stands.
    pub(super) fn place(&self, of: RowOf) -> Place {
        Place { partition: self.partition(of.record), offset: self.offset(of.record), item: of.item }
    }

    pub(super) fn reject(&self, of: RowOf, patient: Option<String>, event_time: Option<i64>, reason: String) -> Reject {
        let record = of.record;
        Reject {
            place: self.place(of),
            key: self.keys.get(record).map(<[u8]>::to_vec),
            headers: Vec::new(),
            raw: Vec::new(),
            is_whole: false,
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
