//! Rows that waited in `unattached` and are somebody's now, because people have said so since.
//!
//! The batch that applies a request, and those behind it, take such rows in front of their own, some at once. From there on they
//! are rows like others that come late: in tables of records, judged, in `late_rows` where windows have closed. The store
//! keeps which batch took which, so that a replay takes the same.

use std::collections::{BTreeSet, HashSet, VecDeque};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use tracing::{error, info};

use wardwatch_frame::decoded_again;
use wardwatch_model::record::Place;
use wardwatch_model::topics::Topics;
use wardwatch_store::{Store, StoreError, WaitingRow};

/// So many rows a batch takes at most.
const MOST_AT_ONCE: usize = 20_000;

/// What waits, as far as it is somebody's.
#[derive(Debug)]
pub(super) struct Waiting {
    schema: SchemaRef,
    topics: Topics,
    look_for: LookFor,
    /// The rows that batches to come take.
    due: VecDeque<WaitingRow>,
    /// Those that the next one takes.
    next: WaitedRows,
}

/// Of which devices it is not known whether rows wait that are somebody's.
#[derive(Debug)]
enum LookFor {
    All,
    Devices(BTreeSet<String>),
}

/// Rows that waited.
#[derive(Debug, Clone)]
pub(super) struct WaitedRows {
    /// The rows as they were decoded.
    pub(super) rows: RecordBatch,
    /// Where each of them was read.
    pub(super) places: Vec<WaitingRow>,
}

impl WaitedRows {
    pub(super) fn none(schema: &SchemaRef) -> Self {
        Self { rows: RecordBatch::new_empty(schema.clone()), places: Vec::new() }
    }
}

impl Waiting {
    /// A job that starts looks at all that waits: it may have been stopped before it had taken everything.
    pub(super) fn new(schema: SchemaRef, topics: &Topics) -> Self {
        let next = WaitedRows::none(&schema);
        Self { schema, topics: topics.clone(), look_for: LookFor::All, due: VecDeque::new(), next }
    }

    /// Something was said of a device or, where records name patients, of a patient.
    pub(super) fn look_for(&mut self, device: &str) {
        if let LookFor::Devices(devices) = &mut self.look_for
            && !device.is_empty()
        {
            devices.insert(device.to_owned());
        }
    }

    /// Whether the next batch has rows to take.
    pub(super) fn is_due(&self) -> bool {
        !self.next.places.is_empty()
    }

    /// The rows that the next batch takes.
    pub(super) fn take(&mut self) -> WaitedRows {
        let nothing = WaitedRows::none(&self.schema);
        std::mem::replace(&mut self.next, nothing)
    }

    /// Reads the rows that the next batch takes. Returns those that were found to be somebody's and were not before.
    ///
    /// Errors: the store does not answer; it can be asked again then.
    pub(super) fn read(
        &mut self,
        store: &mut Store,
        is_spoken_of: &dyn Fn(&str) -> bool,
        is_somebodys: &dyn Fn(&str, DateTime<Utc>) -> bool,
    ) -> Result<Vec<WaitingRow>, StoreError> {
        let devices = match &self.look_for {
            // What waits of a device that nobody speaks of may be much, and is nobody's.
            LookFor::All => {
                store.waiting_devices(&self.topics)?.into_iter().filter(|device| is_spoken_of(device)).collect()
            }
            LookFor::Devices(devices) => devices.clone(),
        };
        // What was read and is not taken yet is looked at again: somebody may have said something else since.
        let read = self.take().places;
        read.into_iter().rev().for_each(|row| self.due.push_front(row));
        let mut found = Vec::new();
        if !devices.is_empty() {
            found = store.waiting_rows(&self.topics, &devices)?;
            let due: HashSet<Place> = self.due.iter().map(|row| row.place).collect();
            let is_new = |row: &WaitingRow| !due.contains(&row.place);
            found.retain(|row| is_somebodys(&row.device, row.event_time) && is_new(row));
            self.due.extend(found.iter().cloned());
        }
        self.look_for = LookFor::Devices(BTreeSet::new());
        // What somebody has said since may have taken a row away again.
        self.due.retain(|row| is_somebodys(&row.device, row.event_time));
        if self.due.is_empty() {
            return Ok(found);
        }
        let some: Vec<WaitingRow> = self.due.iter().take(MOST_AT_ONCE).cloned().collect();
        let read = store.waiting_values(&self.topics, &some)?;
        self.due.drain(..some.len());
        let (mut places, values): (Vec<WaitingRow>, Vec<String>) = read.into_iter().unzip();
        let (rows, unreadable) = decoded_again(&self.schema, &values);
        for place in unreadable.into_iter().rev() {
            let row = places.remove(place);
            error!(partition = %row.place.partition, offset = %row.place.offset, item = row.place.item.0, "a row of unattached is no record of the job's any more");
        }
        info!(rows = places.len(), left = self.due.len(), "rows that waited in unattached are somebody's now");
        self.next = WaitedRows { rows, places };
        Ok(found)
    }
}
