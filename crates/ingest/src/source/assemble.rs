//! Records put together to one micro-batch: decoded chunk by chunk while they come, joined when the batch closes.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use wardwatch_model::clock::Stopwatch;
use wardwatch_model::terms::{Offset, OffsetRange, Partition, Positions, Ranges};

use super::batch::{MicroBatch, Unread};
use super::decoding::Decoding;
use super::error::SourceError;
use super::order::in_order;
use crate::decode::raw::CHUNK;
use crate::decode::{Decoded, Decoder, RawRecord, RawRecords};

/// A chunk is decoded when it holds this many bytes, however few records these are.
const CHUNK_BYTES: usize = 4 << 20;

/// A micro-batch that is filling.
#[derive(Debug)]
pub(super) struct Assembly {
    schema: SchemaRef,
    event_time: String,
    headers: Vec<String>,
    decoding: Decoding,
    /// Where the next batch starts, for each partition: the end of what was closed last.
    starts: Positions,
    ends: BTreeMap<Partition, Offset>,
    raw: RawRecords,
    records: usize,
    bytes: usize,
}

impl Assembly {
    /// Errors: the operating system has no thread to give.
    pub(super) fn new(decoder: Decoder, starts: Positions) -> Result<Self, SourceError> {
        Ok(Self {
            schema: decoder.schema().clone(),
            event_time: decoder.event_time().to_owned(),
            headers: decoder.headers().to_vec(),
            decoding: Decoding::start(decoder)?,
            starts,
            ends: BTreeMap::new(),
            raw: RawRecords::default(),
            records: 0,
            bytes: 0,
        })
    }

    /// Adds a record; has a chunk decoded when it is full. Returns whether it was.
    pub(super) fn push(&mut self, record: RawRecord<'_>) -> bool {
        self.raw.push(record);
        self.ends.insert(record.partition, Offset(record.offset.0 + 1));
        self.records += 1;
        self.bytes += record.payload.map_or(0, <[u8]>::len);
        let full = self.raw.len() >= CHUNK || self.raw.payload_bytes() >= CHUNK_BYTES;
        if full {
            self.decode();
        }
        full
    }

    /// The headers of records that are wanted, in their order.
    pub(super) fn headers(&self) -> &[String] {
        &self.headers
    }

    /// Leaves out the records before `offset`, of which there are none any more.
    pub(super) fn skip_to(&mut self, partition: Partition, offset: Offset) {
        self.ends.insert(partition, offset);
    }

    /// A partition that is new starts at `start`.
    pub(super) fn add_partition(&mut self, partition: Partition, start: Offset) {
        self.starts.entry(partition).or_insert(start);
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.starts.keys().copied()
    }

    /// The next offset to read of each partition, closed or not.
    pub(super) fn positions(&self) -> Positions {
        let mut positions = self.starts.clone();
        positions.extend(self.ends.iter().map(|(partition, end)| (*partition, *end)));
        positions
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Closes the batch and starts the next one where it ends. Nothing waits to be read of the partitions in `at_end`.
    pub(super) fn close(&mut self, at_end: &BTreeSet<Partition>) -> MicroBatch {
        let closed = Stopwatch::start();
        self.decode();
        let ranges: Ranges = std::mem::take(&mut self.ends)
            .into_iter()
            .map(|(partition, end)| {
                let start = self.starts.insert(partition, end).unwrap_or(Offset(0));
                (partition, OffsetRange { start, end })
            })
            .collect();
        let (mut chunks, mut rejects, mut artefacts, mut encounters, mut ignored) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
        for decoded in self.decoding.finish() {
            let Decoded { rows, rejects: refused, artefacts: found, encounters: said, ignored: left_out } = decoded;
            ignored += left_out;
            chunks.push(rows);
            rejects.extend(refused);
            artefacts.extend(found);
            encounters.extend(said);
        }
        let rows = match <[RecordBatch; 1]>::try_from(chunks) {
            Ok([only]) => only,
            Err(chunks) => concat_batches(&self.schema, &chunks)
                .unwrap_or_else(|error| panic!("chunks of one decoder have one schema: {error}")),
        };
        let rows = in_order(rows, &self.event_time);
        self.bytes = 0;
        MicroBatch {
            ranges,
            partitions: self.partitions().collect(),
            at_end: at_end.clone(),
            keeps_windows: false,
            rows,
            rejects,
            artefacts,
            encounters,
            ignored,
            records: std::mem::take(&mut self.records),
            unread: Unread::default(),
            lost: Ranges::new(),
            closed,
            looked: Some(closed),
        }
    }

    fn decode(&mut self) {
        if !self.raw.is_empty() {
            let chunk = std::mem::take(&mut self.raw);
            self.raw = self.decoding.give(chunk);
        }
    }
}
