//! One micro-batch on its way: sorted out, run through the queries, judged, committed.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_alert::{self, Arrivals, Samples};
use wardwatch_frame::{Attached, attach_artefacts, unattached};
use wardwatch_ingest::source::MicroBatch;
use wardwatch_model::event_time::{EventTime, Seen};
use wardwatch_model::record::{Artefact, Unattached};
use wardwatch_model::terms::{BatchId, Partition};
use wardwatch_sql::Progress;
use wardwatch_store::{AttachedLater, ReplayAnswer};

use super::attaching::attached_later;
use super::leaving::Leaving;
use super::memory::Rows;
use super::plan::Plan;
use super::replays::Again;
use super::state::JobState;

/// A partition whose newest record has been stamped within so long is read up to now.
const READ_UP_TO_NOW: TimeDelta = TimeDelta::seconds(30);

/// A batch whose rows are sorted out.
pub(super) struct AdmittedBatch {
    pub(super) id: BatchId,
    pub(super) now: DateTime<Utc>,
    pub(super) batch: MicroBatch,
    /// Its rows as they were decoded, before they were attached to patients.
    pub(super) decoded: RecordBatch,
    pub(super) rows: Rows,
    /// Event time after it.
    pub(super) event_time: EventTime,
    pub(crate) partition_nows: BTreeMap<Partition, DateTime<Utc>>,
    /// The rows that are nobody's.
    pub(crate) unattached: Vec<Unattached>,
    /// The first of its rows, which waited for somebody to say whose they are.
    pub(crate) attached_later: Vec<AttachedLater>,
    /// What became of the rejects that were read again with it.
    pub(crate) replays: Vec<ReplayAnswer>,
    /// Those that became rows, which only tables of records see.
    pub(super) again: Option<RecordBatch>,
    /// What is no value in these rows.
    pub(super) artefacts_again: Vec<Artefact>,
    /// The patients who are let go of with it.
    pub(super) leaving: Leaving,
    /// At what its rules are judged.
    pub(super) samples: Samples,
    /// How far each partition has got, by Kafka's stamps.
    pub(super) arrivals: Arrivals,
    /// How far each source with a table has got, and whether its windows that are open are to be given out.
    pub(super) reached: Vec<Progress>,
    /// Whether it is committed though it leaves nothing behind, so that others see that the job runs.
    pub(super) shows_life: bool,
}

impl AdmittedBatch {
    pub(super) fn of(mut batch: MicroBatch, plan: &Plan, state: &mut JobState, now: DateTime<Utc>) -> Self {
        let now = state.after_last(now);
        let attaching = &mut state.attaching;
        // What records of the batch say of who comes and goes counts for all of them: each goes by its own event time.
        attaching.apply_records(&batch.encounters);
        attaching.apply_records(&state.replays.take_encounters());
        let waited = attaching.take_waited();
        batch.rows = in_front(&waited.rows, &batch.rows);
        let Attached { rows: attached, nobody } = attaching.attach(plan, &batch.rows);
        let attached_later = attached_later(waited.places, &attached, &plan.samples.key);
        let mut unattached = unattached(&batch.rows, &nobody, (&plan.samples.key, &plan.samples.event_time));
        attach_artefacts(&mut batch.artefacts, attaching.keyed(), attaching.encounters());
        let decoded = std::mem::replace(&mut batch.rows, attached);
        let mut rows = state.memory.take(plan, &batch.rows, &nobody, now);
        let samples = state.memory.note_samples(plan, &rows.all, now);
        let of_others = plan.sources().of_others(rows.watermarks.keys().chain(&batch.partitions).copied());
        state.memory.streams.set_others(of_others);
        for (reject, stamped) in batch.rejects.iter().filter_map(|reject| Some((reject, reject.stamped_at?))) {
            state.memory.streams.reach(reject.place.partition, stamped.min(now));
        }
        // While the batch waited to be taken, more may have come.
        let since_look = batch.looked.and_then(|looked| TimeDelta::from_std(looked.elapsed()).ok()).unwrap_or_default();
        state.memory.streams.catch_up(&batch.at_end, now - since_look);
        state.coverage.restore(plan, now);
        state.coverage.note(&batch.artefacts, now);
        state.coverage.note_doubtful(plan, &batch.artefacts, now);
        state.coverage.note_rejects(&batch.rejects, &rows.all, (&state.memory.streams, &plan.samples), now);
        let active: BTreeSet<Partition> = batch.ranges.keys().copied().collect();
        let seen = Seen {
            watermarks: &rows.watermarks,
            active: &active,
            with_rows: &rows.spans.keys().copied().collect(),
            at_end: &batch.at_end,
            keeps_windows: batch.keeps_windows,
            partitions: &batch.partitions,
            waiting_since: state.waiting_since,
            now,
        };
        let sources = plan.sources();
        let event_time = state.memory.event_time.after(&seen, &sources);
        let Again { rows: again, late, nobodys, artefacts: artefacts_again, answers } =
            Again::of(plan, state.replays.take(), (&state.memory, &state.attaching), now);
        rows.late.extend(late);
        unattached.extend(nobodys);
        let id = state.last_batch.next();
        let slowest = event_time.slowest(&sources).filter(|(partition, _)| {
            batch.at_end.contains(partition) || state.memory.streams.has_reached(*partition, now - READ_UP_TO_NOW)
        });
        state.coverage.note_late(plan, &rows, slowest, now);
        let mut silences = event_time.silences(&seen);
        silences.values_mut().for_each(|silence| *silence = (*silence - since_look).max(TimeDelta::zero()));
        let arrivals = state.memory.streams.arrivals(&silences);
        let event_now = event_time.now.unwrap_or(now);
        state.attaching.note_nobody(&unattached, event_now);
        if state.coverage.is_due(now) {
            state.coverage.note_absent(&state.memory.streams, &state.attaching, (now, event_now));
        }
        let mut leaving = state.attaching.idle(plan, &state.memory, &state.episodes, (id, event_now), &arrivals);
        leaving.extend(state.attaching.left(&rows.all, &plan.samples.key, event_now));
        Self {
            id,
            now,
            reached: sources.progress(&event_time, &|source| event_time.is_silent(source, &seen, &sources)),
            shows_life: false,
            partition_nows: event_time.partition_nows(&seen, &sources),
            arrivals,
            event_time,
            decoded,
            unattached,
            attached_later,
            replays: answers,
            again,
            artefacts_again,
            leaving,
            samples,
            rows,
            batch,
        }
    }

    /// Has windows that are open be given out, whatever may come.
    pub(super) fn show_open(&mut self) {
        self.reached.iter_mut().for_each(|reached| reached.show_open = true);
    }

    pub(crate) fn event_now(&self) -> DateTime<Utc> {
        self.event_time.now.unwrap_or(self.now)
    }
}

/// Rows with others in front of them.
pub(super) fn in_front(first: &RecordBatch, rows: &RecordBatch) -> RecordBatch {
    if first.num_rows() == 0 {
        return rows.clone();
    }
    concat_batches(&rows.schema(), [first, rows])
        .unwrap_or_else(|error| panic!("both are of a decoder's schema: {error}"))
}
