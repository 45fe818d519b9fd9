//! A job run on records that are given: the same steps as the loop's, without Kafka, without a store and without a clock.
//!
//! What tries a rule on the past, and tests of queries over time, stand on this.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use chrono::{DateTime, Utc};

use wardwatch_alert::{Change, OpenEpisodes, Rule};
use wardwatch_frame::Attached;
use wardwatch_ingest::decode::{CHUNK, Decoder, RawRecord, RawRecords};
use wardwatch_ingest::source::MicroBatch;
use wardwatch_model::event_time::EventTime;
use wardwatch_model::record::{Artefact, LateRecord, Reject};
use wardwatch_model::terms::{BatchId, Offset, OffsetRange, Partition, Positions};
use wardwatch_sql::{Input, Outcome};
use wardwatch_store::Resume;

use super::admit::AdmittedBatch;
use super::leaving::Leaving;
use super::memory::Memory;
use super::plan::Plan;
use super::state::JobState;

/// The partition that given rows count as.
const PARTITION: Partition = Partition(0);

/// A job whose batches are given.
pub struct OfflineJob {
    plan: Plan,
    state: JobState,
    decoder: Decoder,
    /// Where each partition goes on.
    next: Positions,
    /// The rules as they are, then other forms of them.
    forms: Vec<Form>,
    /// The batches so far, for a job that is to be stopped.
    log: Vec<Logged>,
}

/// Rules with the episodes that they gave.
struct Form {
    rules: Vec<Rule>,
    episodes: OpenEpisodes,
}

/// A batch as the log and Kafka keep it.
struct Logged {
    batch: BatchId,
    rows: RecordBatch,
    now: DateTime<Utc>,
    /// Event time after it.
    event_time: EventTime,
}

/// A record as the topic has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenRecord {
    /// Its partition.
    pub partition: Partition,
    /// Kafka's time stamp, in milliseconds since 1970.
    pub stamp: Option<i64>,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// What a job that starts again has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovering {
    /// What windows held, as the store keeps it.
    FromSnapshots,
    /// Nothing but the records.
    FromRecords,
}

/// What one batch gave.
#[derive(Debug)]
pub struct OfflineBatch {
    /// The batch.
    pub batch: BatchId,
    /// How many records it was made of.
    pub records: usize,
    /// What each query gave.
    pub outcomes: Vec<Outcome>,
    /// What changed of episodes.
    pub changes: Vec<Change>,
    /// The same with each other form of the rules, in the order in which they were added.
    pub others: Vec<Vec<Change>>,
    /// Records that were no rows.
    pub rejects: Vec<Reject>,
    /// Values that could not be read or could not be true.
    pub artefacts: Vec<Artefact>,
    /// How many records, and items of them, are no rows on purpose.
    pub ignored: usize,
    /// Rows that came too late for windows.
    pub late: Vec<LateRecord>,
}

impl OfflineJob {
    /// A job that has seen nothing yet. Its reference tables hold what their seeds hold.
    #[must_use]
    pub fn new(mut plan: Plan) -> Self {
        for reference in plan.references.clone() {
            plan.set_reference(&reference.spec.name, &reference.rows);
        }
        let state = nothing_yet(&plan);
        let forms = vec![Form { rules: plan.rules.clone(), episodes: OpenEpisodes::default() }];
        let decoder = plan.decoder();
        Self { plan, state, decoder, next: Positions::new(), forms, log: Vec::new() }
    }

    /// The plan that runs.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Gives a reference table other rows.
    pub fn set_reference(&mut self, table: &str, rows: &RecordBatch) {
        self.plan.set_reference(table, rows);
    }

    /// Judges the rules in another form beside: with `rule` held for `hold`.
    pub fn add_form(&mut self, rule: &str, hold: Duration) {
        let mut rules = self.plan.rules.clone();
        rules.iter_mut().filter(|known| known.name == rule).for_each(|known| known.header.hold = hold);
        // Other rules than those that suppress it have nothing to do with it.
        rules.retain(|known| known.name == rule || known.is_technical());
        self.forms.push(Form { rules, episodes: OpenEpisodes::default() });
    }

    /// Forgets every batch; reference tables keep their rows.
    pub fn start_over(&mut self) {
        self.plan.engine.start_over();
        self.state = nothing_yet(&self.plan);
        self.next.clear();
        self.log.clear();
        self.forms.iter_mut().for_each(|form| form.episodes = OpenEpisodes::default());
    }

    /// Takes one batch of records. None lets time pass.
    ///
    /// `now` is the batch's frozen time; it should not go backwards.
    pub fn records(&mut self, records: &[GivenRecord], now: DateTime<Utc>) -> OfflineBatch {
        let mut batch = self.nothing();
        let mut rows = vec![RecordBatch::new_empty(self.decoder.schema().clone())];
        for chunk in records.chunks(CHUNK) {
            let mut raw = RawRecords::default();
            for record in chunk {
                let start = *self.next.entry(record.partition).or_insert(Offset(0));
                let range = batch.ranges.entry(record.partition).or_insert(OffsetRange { start, end: start });
                raw.push(RawRecord {
                    partition: record.partition,
                    stamp: record.stamp,
                    ..RawRecord::of_payload(range.end, &record.payload)
                });
                range.end = Offset(range.end.0 + 1);
                self.next.insert(record.partition, range.end);
            }
            let decoded = self.decoder.decode(&raw);
            rows.push(decoded.rows);
            batch.rejects.extend(decoded.rejects);
            batch.artefacts.extend(decoded.artefacts);
            batch.ignored += decoded.ignored;
        }
        batch.partitions = self.partitions();
        batch.at_end = batch.partitions.clone();
        batch.records = records.len();
        batch.rows = concat_batches(self.decoder.schema(), &rows)
            .unwrap_or_else(|error| panic!("a decoder's batches have one schema: {error}"));
        let logged = batch.rows.clone();
        let offline_batch = self.take(batch, now);
        self.log.push(Logged {
            batch: offline_batch.batch,
            rows: logged,
            now: self.state.last_now.unwrap_or(now),
            event_time: self.state.memory.event_time.clone(),
        });
        offline_batch
    }

    /// Takes one batch of rows that were decoded as the job decodes them, in the order in which they came, and of the
    /// values that were none.
    ///
    /// Such batches are not logged: a job that has had one cannot [recover](Self::recover).
    pub fn batch(&mut self, rows: &RecordBatch, artefacts: &[Artefact], now: DateTime<Utc>) -> OfflineBatch {
        let mut batch = self.nothing();
        let start = *self.next.entry(PARTITION).or_insert(Offset(0));
        let end = Offset(start.0 + i64::try_from(rows.num_rows()).unwrap_or(i64::MAX));
        if end > start {
            batch.ranges.insert(PARTITION, OffsetRange { start, end });
        }
        self.next.insert(PARTITION, end);
        batch.partitions = self.partitions();
        batch.at_end = batch.partitions.clone();
        batch.records = rows.num_rows();
        batch.rows = rows.clone();
        batch.artefacts = artefacts.to_vec();
        self.take(batch, now)
    }

    /// Gives the windows that are open as they stand, as a run with `--close-windows` does at its end.
    pub fn close_windows(&mut self, now: DateTime<Utc>) -> OfflineBatch {
        let batch = self.nothing();
        let mut admitted = AdmittedBatch::of(batch, &self.plan, &mut self.state, now);
        admitted.show_open();
        self.finish(admitted)
    }

    /// Is killed and starts again, as the job does: windows, history and duplicates are made again from what the store and
    /// Kafka keep, episodes are read back.
    ///
    /// # Panics
    /// What a windowed query has saved, or what is known of streams, cannot be read back.
    pub fn recover(&mut self, recovering: Recovering) {
        let saved = self.plan.engine.save();
        self.plan.engine.start_over();
        if recovering == Recovering::FromSnapshots {
            for saved in saved.into_iter().flatten() {
                let (closed_to, incomplete) = (saved.closed_to, saved.incomplete_before);
                let is_back = self.plan.engine.restore(&saved.query, &saved.changed, closed_to, incomplete);
                assert!(is_back, "{} cannot read back what it saved", saved.query);
            }
        }
        let end = self.state.memory.event_time.clone();
        let mut memory = Memory::new(&self.plan, Resume::default().event_time);
        for Logged { batch, rows, now, event_time } in &self.log {
            let Attached { rows, nobody } = self.state.attaching.attach(&self.plan, rows);
            let rows = memory.take(&self.plan, &rows, &nobody, *now);
            memory.event_time.watermarks = rows.watermarks;
            memory.event_time.watermark = event_time.watermark;
            memory.event_time.by_table.clone_from(&event_time.by_table);
            memory.note_samples(&self.plan, &rows.all, *now);
            memory.streams.catch_up(&self.partitions(), *now);
            let input = Input {
                batch: *batch,
                rows: &rows.all,
                again: None,
                judged: None,
                periods: &[],
                ages: None,
                on_time: &rows.on_time,
                history: &[],
                open_alerts: None,
                artefacts: None,
                encounters_now: None,
                leaving: &Leaving::new(),
                now: *now,
                event_now: event_time.now.unwrap_or(*now),
                partition_nows: &BTreeMap::new(),
                reached: &self.plan.sources().progress(event_time, &|_| false),
            };
            let left_out = |_: &str| recovering == Recovering::FromSnapshots;
            self.plan.engine.repeat(&input, &left_out, &|_| false);
        }
        memory.event_time = end;
        let saved = self.state.memory.snapshot_of_streams().changed.into_iter().collect();
        match recovering {
            Recovering::FromSnapshots => {
                assert!(memory.restore_streams(&saved), "what is known of streams cannot be read back");
            }
            Recovering::FromRecords => {
                for Form { rules, episodes } in &mut self.forms {
                    episodes.find_streams_again(rules, &memory.streams, &memory.composer);
                }
            }
        }
        self.state.memory = memory;
    }

    fn take(&mut self, batch: MicroBatch, now: DateTime<Utc>) -> OfflineBatch {
        let admitted = AdmittedBatch::of(batch, &self.plan, &mut self.state, now);
        self.finish(admitted)
    }

    fn finish(&mut self, admitted: AdmittedBatch) -> OfflineBatch {
        let outcomes = admitted.run_queries(&mut self.plan, &self.state, &self.forms[0].episodes);
        let mut quarantine = self.state.quarantine.clone();
        admitted.note_failures(&self.plan, &outcomes, &mut quarantine);
        let mut changes = self.forms.iter_mut().map(|form| {
            admitted.judge_rules(
                &self.plan,
                &form.rules,
                (&outcomes, &[]),
                &self.state,
                (&quarantine, &mut form.episodes),
            );
            form.episodes.take_changes()
        });
        let first = changes.next().unwrap_or_default();
        let others = changes.collect();
        self.state.go_on(&admitted);
        let AdmittedBatch { id, batch, rows, .. } = admitted;
        let MicroBatch { records, rejects, artefacts, ignored, .. } = batch;
        OfflineBatch {
            batch: id,
            records,
            outcomes,
            changes: first,
            others,
            rejects,
            artefacts,
            ignored,
            late: rows.late,
        }
    }

    fn nothing(&self) -> MicroBatch {
        MicroBatch::nothing(&self.plan.job.source, self.partitions())
    }

    fn partitions(&self) -> BTreeSet<Partition> {
        self.next.keys().copied().chain([PARTITION]).collect()
    }
}

fn nothing_yet(plan: &Plan) -> JobState {
    JobState::new(Resume::default(), plan, &Positions::from([(PARTITION, Offset(0))]))
}

impl std::fmt::Debug for OfflineJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfflineJob").field("plan", &self.plan).finish_non_exhaustive()
    }
}
