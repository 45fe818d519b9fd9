//! A record that outlives what librdkafka gave.

use wardwatch_kafka::Received;
use wardwatch_model::terms::{Offset, Partition};

use crate::decode::RawRecord;

/// A record as it was read.
#[derive(Debug)]
pub(super) struct OwnedRecord {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) stamp: Option<i64>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Vec<Option<Vec<u8>>>,
    pub(super) payload: Option<Vec<u8>>,
}

impl OwnedRecord {
    /// A copy of a record, with these of its headers.
    pub(super) fn of(record: &Received<'_>, headers: &[String]) -> Self {
        let (partition, offset) = record.place();
        Self {
            partition,
            offset,
            stamp: record.stamp(),
            key: record.key().map(<[u8]>::to_vec),
            headers: headers.iter().map(|name| record.header(name).map(<[u8]>::to_vec)).collect(),
            payload: record.payload().map(<[u8]>::to_vec),
        }
    }

    /// Lends it to `take`.
    pub(super) fn lend<T>(&self, take: impl FnOnce(RawRecord<'_>) -> T) -> T {
        let headers: Vec<Option<&[u8]>> = self.headers.iter().map(Option::as_deref).collect();
        take(RawRecord {
            partition: self.partition,
            offset: self.offset,
            stamp: self.stamp,
            key: self.key.as_deref(),
            headers: &headers,
            payload: self.payload.as_deref(),
        })
    }

    /// How many bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().flatten().map(Vec::len).sum();
        self.payload.as_ref().map_or(0, Vec::len) + self.key.as_ref().map_or(0, Vec::len) + headers
    }
}
