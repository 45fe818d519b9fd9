//! Rejects that people have asked to be read again, by the description that the job has now.
//!
//! A batch takes some, behind its own rows, and writes down with them what became of each, so each becomes rows once. From there on they
//! are rows like others that come late: in tables of records, in windows that are open, in `late_rows` where these have closed. No rule is judged
//! at them, and streams know nothing of them: what they tell is over. The store keeps the rows as they were made, so a replay takes the same.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int32Type, Int64Type};
use tracing::info;

use wardwatch_frame::row_values;
use wardwatch_ingest::decode::{Decoder, RawRecord, RawRecords};
use wardwatch_model::record::{ITEM_COLUMN, Item, OFFSET_COLUMN, PARTITION_COLUMN, Place};
use wardwatch_model::terms::{Offset, Partition};
use wardwatch_store::{AskedReplay, RejectRow, RejectedPlaces, ReplayAnswer, Store, StoreError};

use super::plan::Plan;

/// So many rejects a batch reads again at most.
const MOST_AT_ONCE: usize = 1_000;

/// What one record may become, as the store takes it.
const MOST_BYTES: usize = 8 << 20;

/// What becomes of a reject that is read again.
#[derive(Debug, Clone)]
pub struct ReadAgain {
    /// Its rows, before they are attached to patients.
    pub rows: RecordBatch,
    /// Why it is rejected again; empty where it is not.
    pub reason: String,
}

/// Reads a reject again. Of a record of which other items became rows, only its own item counts.
pub fn read_again(decoder: &mut Decoder, place: Place, reject: &RejectRow) -> ReadAgain {
    let nothing = |decoder: &Decoder, reason: &str| ReadAgain {
        rows: RecordBatch::new_empty(decoder.schema().clone()),
        reason: reason.to_owned(),
    };
    if reject.is_cut() {
        return nothing(decoder, "only the beginning of the record was kept");
    }
    let headers: Vec<Option<&[u8]>> =
        decoder.headers().iter().map(|name| reject.headers.get(name).map(String::as_bytes)).collect();
    let mut records = RawRecords::default();
    records.push(RawRecord {
        partition: place.partition,
        offset: place.offset,
        stamp: reject.stamped_at.map(|at| at.timestamp_millis()),
        key: reject.key.as_deref(),
        headers: &headers,
        payload: Some(&reject.raw),
    });
    let decoded = decoder.decode(&records);
    let is_own = |item: Item| reject.is_whole || item == place.item;
    let items = decoded.rows[ITEM_COLUMN].as_primitive::<Int32Type>();
    let own = items.values().iter().map(|item| Some(is_own(Item(*item)))).collect();
    let rows = filter_record_batch(&decoded.rows, &own)
        .unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"));
    let again = decoded.rejects.iter().find(|again| is_own(again.place.item));
    match again {
        // Of a record, all becomes rows or nothing: who asks again would have the others twice.
        Some(again) => nothing(decoder, &again.reason),
        None if rows.num_rows() == 0 => nothing(decoder, "it is left out now"),
        None => ReadAgain { rows, reason: String::new() },
    }
}

/// What the next batch takes of what people have asked for.
#[derive(Debug)]
pub(super) struct Replays {
    decoder: Option<Decoder>,
    next: Replayed,
}

/// Rejects that became rows, and what became of all that were read again.
#[derive(Debug, Clone, Default)]
pub(super) struct Replayed {
    rows: Vec<RecordBatch>,
    pub(super) answers: Vec<ReplayAnswer>,
}

impl Replays {
    pub(super) fn new() -> Self {
        Self { decoder: None, next: Replayed::default() }
    }

    /// Reads what people have asked for and the next batch takes.
    ///
    /// Errors: the store does not answer; it can be asked again then.
    pub(super) fn read(&mut self, plan: &Plan, store: &mut Store) -> Result<(), StoreError> {
        if self.is_due() {
            return Ok(());
        }
        let asked = store.asked_replays(&plan.topics, MOST_AT_ONCE)?;
        if asked.is_empty() {
            self.decoder = None; // what schemas say may be another tomorrow
            return Ok(());
        }
        let decoder = self.decoder.get_or_insert_with(|| plan.decoder());
        let mut next = Replayed::default();
        for AskedReplay { place, reject } in &asked {
            let ReadAgain { rows, reason } = read_again(decoder, *place, reject);
            let values = row_values(&rows);
            let is_too_much = values.iter().map(String::len).sum::<usize>() > MOST_BYTES;
            let answer = match is_too_much {
                true => ReplayAnswer { place: *place, rows: Vec::new(), reason: "it becomes too many rows".to_owned() },
                false => ReplayAnswer { place: *place, rows: values, reason },
            };
            if !answer.rows.is_empty() {
                next.rows.push(rows);
            }
            next.answers.push(answer);
        }
        let rows: usize = next.rows.iter().map(RecordBatch::num_rows).sum();
        info!(rejects = asked.len(), rows, "rejects are read again");
        self.next = next;
        Ok(())
    }

    /// Whether the next batch has something to write, also when nothing comes.
    pub(super) fn is_due(&self) -> bool {
        !self.next.answers.is_empty()
    }

    /// What the next batch takes.
    pub(super) fn take(&mut self) -> Replayed {
        std::mem::take(&mut self.next)
    }
}

impl Replayed {
    /// `rows` with these behind them.
    pub(super) fn behind(&self, rows: &RecordBatch) -> RecordBatch {
        behind(rows, &self.rows)
    }

    pub(super) fn places(&self) -> BTreeSet<Place> {
        self.rows.iter().flat_map(places).collect()
    }
}

/// Rows with others behind them.
pub(super) fn behind(rows: &RecordBatch, last: &[RecordBatch]) -> RecordBatch {
    if last.iter().all(|last| last.num_rows() == 0) {
        return rows.clone();
    }
    concat_batches(&rows.schema(), std::iter::once(rows).chain(last))
        .unwrap_or_else(|error| panic!("all are of a decoder's schema: {error}"))
}

/// Where each row stands.
pub(super) fn places(rows: &RecordBatch) -> Vec<Place> {
    let partitions = rows[PARTITION_COLUMN].as_primitive::<Int32Type>().values();
    let offsets = rows[OFFSET_COLUMN].as_primitive::<Int64Type>().values();
    let items = rows[ITEM_COLUMN].as_primitive::<Int32Type>().values();
    let place = |row: usize| Place {
        partition: Partition(partitions[row]),
        offset: Offset(offsets[row]),
        item: Item(items[row]),
    };
    (0..rows.num_rows()).map(place).collect()
}

/// The rows of a batch at which rules are judged: all but those behind, which were rejects.
pub(super) fn judged(rows: &RecordBatch, replayed: &BTreeSet<Place>) -> RecordBatch {
    if replayed.is_empty() {
        return rows.clone();
    }
    let behind = places(rows).iter().rev().take_while(|place| replayed.contains(place)).count();
    rows.slice(0, rows.num_rows() - behind)
}

/// The rows of a batch that is read again, without what it had rejected: what a registry, or the job, says of it now does not change what
/// was.
pub(super) fn without_rejected(rows: &RecordBatch, rejected: Option<&RejectedPlaces>) -> RecordBatch {
    let Some(rejected) = rejected else { return rows.clone() };
    let is_rejected =
        |place: &Place| rejected.items.contains(place) || rejected.records.contains(&(place.partition, place.offset));
    let stays = places(rows).iter().map(|place| Some(!is_rejected(place))).collect();
    filter_record_batch(rows, &stays).unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"))
}
