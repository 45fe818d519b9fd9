//! Rejects that people have asked to be read again, by the description that the job has now.
//!
//! A batch takes some, beside its own rows, and writes down with them what became of each, so each becomes rows once. They are late rows:
//! they stand in tables of records and in `late_rows`, and change no window, no last value and no alert. What they tell is over.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Int32Type;
use chrono::{DateTime, Utc};
use tracing::info;

use wardwatch_frame::{Attached, attach_artefacts, late_of_all, late_records, unattached};
use wardwatch_ingest::decode::{Decoder, EncounterRecord, RawRecord, RawRecords, places};
use wardwatch_model::record::{Artefact, ITEM_COLUMN, Item, LateRecord, Place, Unattached};
use wardwatch_store::{AskedReplay, RejectRow, RejectedPlaces, ReplayAnswer, Store, StoreError};

use super::attaching::Attaching;
use super::memory::Memory;
use super::plan::Plan;

/// So many rejects a batch reads again at most.
const MOST_AT_ONCE: usize = 1_000;

/// What becomes of a reject that is read again.
#[derive(Debug, Clone)]
pub struct ReadAgain {
    /// Its rows, before they are attached to patients.
    pub rows: RecordBatch,
    /// The values that cannot be read or cannot be true.
    pub artefacts: Vec<Artefact>,
    /// Who comes, moves and goes, where that is what it says.
    pub encounters: Vec<EncounterRecord>,
    /// Why it is rejected again; empty where it is not.
    pub reason: String,
}

/// Reads a reject again. Of a record of which other items became rows, only its own item counts.
pub fn read_again(decoder: &mut Decoder, place: Place, reject: &RejectRow) -> ReadAgain {
    let nothing = |decoder: &Decoder, reason: &str| ReadAgain {
        rows: RecordBatch::new_empty(decoder.schema().clone()),
        artefacts: Vec::new(),
        encounters: Vec::new(),
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
        None => {
            let artefacts = decoded.artefacts.into_iter().filter(|artefact| is_own(artefact.place.item)).collect();
            let encounters = decoded.encounters.into_iter().filter(|said| is_own(said.place.item));
            let encounters: Vec<EncounterRecord> = encounters.collect();
            if rows.num_rows() == 0 && encounters.is_empty() {
                return nothing(decoder, "it is left out now");
            }
            ReadAgain { rows, artefacts, encounters, reason: String::new() }
        }
    }
}

/// What the next batch takes of what people have asked for.
#[derive(Debug)]
pub(super) struct Replays {
    decoder: Option<Decoder>,
    next: Replayed,
}

/// Rejects that became rows, and what became of all that were read again.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    rows: Vec<RecordBatch>,
    /// Of these rows.
    artefacts: Vec<Artefact>,
    /// Rejects that say who comes, moves and goes.
    encounters: Vec<EncounterRecord>,
    answers: Vec<ReplayAnswer>,
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
            let ReadAgain { rows, artefacts, encounters, reason } = read_again(decoder, *place, reject);
            let answer = ReplayAnswer { place: *place, rows: rows.num_rows() + encounters.len(), reason };
            if rows.num_rows() > 0 {
                next.rows.push(rows);
                next.artefacts.extend(artefacts);
            }
            next.encounters.extend(encounters);
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

    /// Of what the next batch takes, who comes, moves and goes: that is applied first.
    pub(super) fn take_encounters(&mut self) -> Vec<EncounterRecord> {
        std::mem::take(&mut self.next.encounters)
    }

    /// What the next batch takes.
    pub(super) fn take(&mut self) -> Replayed {
        std::mem::take(&mut self.next)
    }
}

/// Rejects that became rows, as a batch takes them: late, whenever they were measured, and seen by tables of records alone. What windows, last
/// values, histories and rules go by does not change with them, so recovery has no need of them.
pub(super) struct Again {
    pub(super) rows: Option<RecordBatch>,
    pub(super) late: Vec<LateRecord>,
    pub(super) nobodys: Vec<Unattached>,
    pub(super) artefacts: Vec<Artefact>,
    pub(super) answers: Vec<ReplayAnswer>,
}

impl Again {
    pub(super) fn of(
        plan: &Plan,
        replayed: Replayed,
        (memory, attaching): (&Memory, &Attaching),
        now: DateTime<Utc>,
    ) -> Self {
        let Replayed { rows, mut artefacts, answers, .. } = replayed;
        let nothing =
            |answers| Self { rows: None, late: Vec::new(), nobodys: Vec::new(), artefacts: Vec::new(), answers };
        let Some(first) = rows.first() else { return nothing(answers) };
        let decoded = concat_batches(&first.schema(), &rows)
            .unwrap_or_else(|error| panic!("all are of a decoder's schema: {error}"));
        attach_artefacts(&mut artefacts, attaching.keyed(), attaching.encounters());
        let Attached { rows: attached, nobody } = attaching.attach(plan, &decoded);
        let nobodys = unattached(&decoded, &nobody, (&plan.samples.key, &plan.samples.event_time));
        // A memory of its own: the job's is not to remember them.
        let taken = memory.clone().take(plan, &attached, &nobody, now);
        let late = late_of_all(&taken.all, &plan.samples.event_time, &memory.event_time.watermarks);
        let late = late_records(&taken.all, &late, &plan.samples.key);
        Self { rows: Some(taken.all), late, nobodys, artefacts, answers }
    }
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
