//! Records put together to one micro-batch: decoded chunk by chunk as they come, joined when the batch closes.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use crate::decode::CHUNK;
use crate::terms::OffsetRange;

use super::{
    Artefact, Decoded, Decoder, MicroBatch, Offset, Partition, Positions, Ranges, RawRecords, Reject, Stopwatch,
};

/// A chunk is decoded when it holds this many bytes, however few records these are.
const CHUNK_BYTES: usize = 4 << 20;

/// A micro-batch that is filling.
#[derive(Debug)]
pub(super) struct Assembly {
    decoder: Decoder,
    /// Where the next batch starts, for each partition: the end of what was closed last.
    starts: Positions,
    ends: BTreeMap<Partition, Offset>,
    raw: RawRecords,
    chunks: Vec<RecordBatch>,
    rejects: Vec<Reject>,
    artefacts: Vec<Artefact>,
    records: usize,
    bytes: usize,
}

impl Assembly {
    pub(super) fn new(decoder: Decoder, starts: Positions) -> Self {
        Self {
            decoder,
            starts,
            ends: BTreeMap::new(),
            raw: RawRecords::default(),
            chunks: Vec::new(),
            rejects: Vec::new(),
            artefacts: Vec::new(),
            records: 0,
            bytes: 0,
        }
    }

    /// Adds a record; decodes when a chunk is full. Returns whether it was.
    pub(super) fn push(
        &mut self,
        partition: Partition,
        offset: Offset,
        stamp: Option<i64>,
        key: Option<&[u8]>,
        payload: &[u8],
    ) -> bool {
        self.raw.push(partition, offset, stamp, key, payload);
        self.ends.insert(partition, Offset(offset.0 + 1));
        self.records += 1;
        self.bytes += payload.len();
        let full = self.raw.len() >= CHUNK || self.raw.payload_bytes() >= CHUNK_BYTES;
        if full {
            self.decode();
        }
        full
    }

    /// A partition that is new to the topic starts at `start`.
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
        let chunks = std::mem::take(&mut self.chunks);
        let rows = match <[RecordBatch; 1]>::try_from(chunks) {
            Ok([only]) => only,
            Err(chunks) => concat_batches(self.decoder.schema(), &chunks)
                .unwrap_or_else(|error| panic!("chunks of one decoder have one schema: {error}")),
        };
        self.bytes = 0;
        MicroBatch {
            ranges,
            partitions: self.partitions().collect(),
            at_end: at_end.clone(),
            rows,
            rejects: std::mem::take(&mut self.rejects),
            artefacts: std::mem::take(&mut self.artefacts),
            records: std::mem::take(&mut self.records),
            closed,
        }
    }

    fn decode(&mut self) {
        if self.raw.is_empty() {
            return;
        }
        let Decoded { rows, rejects, artefacts } = self.decoder.decode(&self.raw);
        self.raw.clear();
        self.chunks.push(rows);
        self.rejects.extend(rejects);
        self.artefacts.extend(artefacts);
    }
}
