//! Makes again what a stopped job remembered: from the newest snapshots, and from Kafka for the batches since. The same
//! way gives a query that was edited, or is new, its windows while the job runs.
//!
//! Logged batches are read again in their boundaries and repeated without giving anything out, so that windows, history
//! and duplicates stand as they did when the last batch was committed. Kafka is the log of state; where it no longer
//! reaches back far enough, the windows that lack rows are named and never written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arrow::array::RecordBatch;
use chrono::{DateTime, TimeDelta, Utc};
use tracing::{info, warn};

use wardwatch_frame::{Attached, decoded_again};
use wardwatch_ingest::source::{Repeated, repeat};
use wardwatch_kafka::Consumer;
use wardwatch_model::event_time::{EventTime, SourceWatermarks};
use wardwatch_model::terms::{BatchId, Partition, Ranges, Watermark};
use wardwatch_sql::{Engine, Input};
use wardwatch_store::{LoggedBatch, Store, StoredSnapshot};

use super::admit::{AdmittedBatch, in_front};
use super::attaching::Attaching;
use super::error::RunError;
use super::memory::Memory;
use super::needs::{Kept, Needs, UP_TO_DATE, begins_earliest};
use super::options::RunOptions;
use super::plan::{Plan, STREAMS};
use super::replays::without_rejected;
use super::retry::Retry;
use super::state::JobState;

/// Batches being repeated until windows, history and duplicates are as they were.
pub(super) struct Recovery {
    /// What is remembered of rows.
    pub(super) memory: Memory,
    /// Whose rows are, as of the batch that is replayed.
    attaching: Attaching,
    /// Rows of windows that closed but were not given out: they could not be computed, or the query is new and begins with
    /// the earliest record.
    pub(super) given: BTreeMap<String, Vec<RecordBatch>>,
    /// From which batch on windows are replayed.
    windows: BTreeMap<String, BatchId>,
    /// The queries whose windows are given out from the earliest on.
    from_earliest: BTreeSet<String>,
    /// Up to which batch streams are known.
    streams_to: BatchId,
    /// From here on all partitions are replayed.
    next: BatchId,
    /// The partitions that are replayed from an earlier batch on.
    earlier: BTreeMap<Partition, BatchId>,
    lost_to: Option<Lost>,
}

/// The last batch of which records are gone, its event time, and who does not have them any more.
#[derive(Debug, Clone, Copy)]
struct Lost {
    batch: BatchId,
    until: DateTime<Utc>,
    why: &'static str,
}

const DELETED: &str = "Kafka no longer holds";
const LEFT_OUT: &str = "the topics that are read no longer hold";

impl Recovery {
    /// Finds out which batches must be repeated. `end` is event time as it is now, after batch `last`; queries in `snapshots` go
    /// on from there, and the windows of those in `from_earliest` are given out.
    ///
    /// Errors: the store does not answer.
    pub(super) fn plan(
        plan: &mut Plan,
        store: &mut Store,
        mut memory: Memory,
        (end, last): (&EventTime, BatchId),
        snapshots: &BTreeMap<String, BatchId>,
        from_earliest: BTreeSet<String>,
        retry: &Retry<'_>,
    ) -> Result<Self, RunError> {
        let topics = plan.topics.clone();
        let kept = Kept { end, snapshots, from_earliest: &from_earliest };
        let needs = Needs::of(plan, store, &memory, &kept, retry)?;
        // What comes behind the last batch is replayed whole: an edit is made ready while the job goes on.
        let mut next = needs.all_from().min(last.next());
        // A batch that took rows that had waited may have none of its own by which its partitions would find it.
        if let Some(first) = needs.rows.values().min().filter(|first| **first < next) {
            next = retry.until_done(|| store.first_attached_later(*first))?.map_or(next, |batch| batch.min(next));
        }
        let earlier: BTreeMap<Partition, BatchId> = needs
            .rows
            .iter()
            .filter(|(_, first)| **first < next)
            .map(|(partition, first)| (*partition, *first))
            .collect();

        let streams_to = snapshots.get(STREAMS).copied().unwrap_or(BatchId(0));
        let starts = end.watermarks.keys().map(|partition| (*partition, *earlier.get(partition).unwrap_or(&next)));
        let starts = starts.collect();
        memory.event_time.watermarks = retry.until_done(|| store.watermarks_before(&topics, &starts))?;
        let rebuilt: Vec<String> =
            needs.windows.keys().filter(|query| !snapshots.contains_key(*query)).cloned().collect();
        if let Some(first) = rebuilt.first().and_then(|query| needs.windows.get(query)) {
            let (watermark, by_table) = retry.until_done(|| store.watermark_before((*first).min(last.next())))?;
            let before = EventTime { watermark, by_table, ..EventTime::default() }.led_by(&plan.job.source.table);
            for query in &rebuilt {
                let source = plan.engine.kept().find(|kept| kept.name == query).map_or(0, |kept| kept.source);
                let watermark = before.watermark_of(plan.source_with_table(source), &plan.sources());
                plan.engine.start_at(query, watermark);
            }
        }
        if let Some(parted) = retry.until_done(|| store.parted_at(&topics))? {
            // Of a topic that is gone nothing can be read again.
            let lateness = TimeDelta::from_std(plan.job.source.lateness).unwrap_or(TimeDelta::MAX);
            let newest = parted.0.checked_add_signed(lateness).unwrap_or(DateTime::<Utc>::MAX_UTC);
            rebuilt.iter().for_each(|query| plan.engine.mark_incomplete_before(query, newest));
        }
        let Needs { windows, .. } = needs;
        Ok(Self {
            attaching: Attaching::new(plan, Vec::new()),
            memory,
            given: BTreeMap::new(),
            windows,
            from_earliest,
            streams_to,
            next,
            earlier,
            lost_to: None,
        })
    }

    /// Repeats the batches up to `last`.
    ///
    /// Errors: a service stops answering.
    pub(super) fn run(
        &mut self,
        plan: &mut Plan,
        store: &mut Store,
        consumer: &Consumer,
        last: BatchId,
        retry: &Retry<'_>,
        on_repeat: &dyn Fn(usize, usize),
    ) -> Result<(), RunError> {
        let earlier = std::mem::take(&mut self.earlier);
        if self.next > last && earlier.is_empty() {
            return Ok(());
        }
        let (spec, reshaping) = (plan.job.source.clone(), plan.reshaping().cloned());
        let log = retry.until_done(|| store.logged_batches(&plan.topics, &earlier, self.next, last))?;
        self.attaching.know(retry.until_done(|| store.applied_encounters())?);
        let failed = retry.until_done(|| {
            Ok(Failed { uncounted: store.uncounted(self.next)?, unwritten: store.unwritten(self.next)? })
        })?;
        let waited = retry.until_done(|| store.attached_later(&plan.topics, (self.next, last)))?;
        let oldest = log.first().map_or(self.next, |logged| logged.batch);
        let rejected = retry.until_done(|| store.rejected_places(&plan.topics, (oldest, last)))?;
        let others = retry.until_done(|| store.last_of_other_topics(&plan.topics, (oldest, last)))?;
        let ranges: Vec<Ranges> = log.iter().map(|batch| batch.ranges.clone()).collect();
        let records: i64 = ranges.iter().flat_map(Ranges::values).map(|range| range.end.0 - range.start.0).sum();
        if records > 0 {
            let from = earlier.values().copied().min().unwrap_or(self.next);
            info!(%from, to = %last, records, "reading again what windows and history need");
        }
        repeat(
            consumer,
            (&spec, reshaping.as_ref()),
            &ranges,
            retry.stopped,
            &mut |repeated: Repeated| -> Result<(), RunError> {
                let Repeated { index, batch, missing } = &repeated;
                let id = &log[*index].batch;
                let rows = with_waited(waited.get(id), &without_rejected(&batch.rows, rejected.get(id)));
                self.one(plan, &log[*index], &rows, &failed);
                if *missing > 0 {
                    let (batch, until) = (log[*index].batch, log[*index].event_now);
                    self.lost_to = Some(Lost { batch, until, why: DELETED });
                }
                on_repeat(index + 1, log.len());
                Ok(())
            },
        )?;
        if let Some(other) = others.filter(|other| self.lost_to.is_none_or(|lost| lost.batch < *other)) {
            let time = log.iter().rev().find(|logged| logged.batch <= other).map(|logged| logged.event_now);
            self.lost_to = time.map(|until| Lost { batch: other, until, why: LEFT_OUT }).or(self.lost_to);
        }
        self.next = self.next.max(last.next());
        Ok(())
    }

    /// Whether nothing lies between what was repeated and what the loop has at hand.
    pub(super) fn is_reached_by(&self, passed: &Passed, last: BatchId) -> bool {
        self.next > last || passed.0.front().is_some_and(|(first, ..)| first.batch <= self.next)
    }

    /// Repeats the batches behind those that were repeated, as far as the loop has them at hand.
    ///
    /// Errors: the store stops answering.
    pub(super) fn run_passed(
        &mut self,
        plan: &mut Plan,
        store: &mut Store,
        passed: &Passed,
        retry: &Retry<'_>,
    ) -> Result<(), RunError> {
        let failed = retry.until_done(|| {
            Ok(Failed { uncounted: store.uncounted(self.next)?, unwritten: store.unwritten(self.next)? })
        })?;
        self.attaching.know(retry.until_done(|| store.applied_encounters())?);
        for (logged, rows) in &passed.0 {
            if logged.batch >= self.next {
                self.one(plan, logged, rows, &failed);
                self.next = logged.batch.next();
            }
        }
        Ok(())
    }

    fn one(&mut self, plan: &mut Plan, logged: &LoggedBatch, rows: &RecordBatch, failed: &Failed) {
        // Batches may be left out between two of them.
        self.memory.event_time =
            at(&self.memory.event_time, logged.watermark_before, &logged.by_table_before, &plan.job.source.table);
        self.attaching.bring(logged.encounters);
        let Attached { rows, nobody } = self.attaching.attach(plan, rows);
        let rows = self.memory.take(plan, &rows, &nobody, logged.now);
        let leaving = self.attaching.left(&rows.all, &plan.samples.key, logged.event_now);
        self.memory.event_time.watermarks = rows.watermarks;
        self.memory.event_time =
            at(&self.memory.event_time, logged.watermark, &logged.by_table, &plan.job.source.table);
        if logged.batch > self.streams_to {
            self.memory.note_samples(plan, &rows.all, logged.now);
            self.memory.streams.catch_up(&logged.ranges.keys().copied().collect(), logged.now);
        }
        let input = Input {
            batch: logged.batch,
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
            leaving: &leaving,
            now: logged.now,
            event_now: logged.event_now,
            partition_nows: &BTreeMap::new(),
            reached: &plan.sources().progress(&self.memory.event_time, &|_| false),
        };
        let left_out = |query: &str| {
            let is_behind = self.windows.get(query).is_some_and(|first| logged.batch >= *first);
            !is_behind || failed.uncounted.contains(&(query.to_owned(), logged.batch))
        };
        let gives = |query: &str| {
            self.from_earliest.contains(query) || failed.unwritten.contains(&(query.to_owned(), logged.batch))
        };
        for (query, rows) in plan.engine.repeat(&input, &left_out, &gives) {
            self.given.entry(query).or_default().push(rows);
        }
        self.memory.forget_rows(&leaving);
        if logged.batch > self.streams_to {
            self.memory.forget(&leaving);
        }
    }

    /// What is remembered now. Says which windows can no longer be known, and keeps them from being written.
    pub(super) fn finish(&self, plan: &mut Plan) {
        let Some(Lost { batch, until: time, why }) = self.lost_to else { return };
        let affected: Vec<String> = plan
            .engine
            .kept()
            .map(|kept| kept.name.to_owned())
            .filter(|name| self.windows.get(name).is_some_and(|first| *first <= batch))
            .collect();
        for query in &affected {
            warn!(query, until = %time.to_rfc3339(),
                "{why} records of its open windows; those that began before then are not written");
            plan.engine.mark_incomplete_before(query, time);
        }
        if affected.is_empty() {
            info!(until = %time.to_rfc3339(), "{why} all rows of the last while");
        }
    }
}

/// The rows of a batch behind those that it took because they had waited, as the store keeps them.
fn with_waited(waited: Option<&Vec<String>>, rows: &RecordBatch) -> RecordBatch {
    let Some(values) = waited else { return rows.clone() };
    in_front(&decoded_again(&rows.schema(), values).0, rows)
}

/// The batches that the loop has committed last, with their rows, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Passed(VecDeque<(LoggedBatch, RecordBatch)>);

impl Passed {
    /// So many are kept: more than pass between the last that a thread has repeated and the taking over.
    const MOST: usize = 8;

    /// Takes note of a batch, if it was committed: one that had nothing to commit is none.
    pub(super) fn push(&mut self, passing: Passing, state: &JobState) {
        let Some(now) = state.last_now.filter(|_| state.last_batch > passing.behind) else { return };
        let EventTime { now: event_now, watermark, by_table, .. } = &state.memory.event_time;
        let logged = LoggedBatch {
            batch: state.last_batch,
            ranges: Ranges::new(),
            now,
            event_now: event_now.unwrap_or(now),
            watermark: *watermark,
            watermark_before: passing.watermark_before,
            by_table: by_table.clone(),
            by_table_before: passing.by_table_before,
            encounters: state.attaching.encounters().version(),
        };
        self.0.push_back((logged, passing.rows));
        if self.0.len() > Self::MOST {
            self.0.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What is to be known of a batch before it is committed, so that it can be repeated afterwards.
pub(super) struct Passing {
    /// The last batch before it.
    behind: BatchId,
    watermark_before: Option<Watermark>,
    by_table_before: SourceWatermarks,
    rows: RecordBatch,
}

impl Passing {
    pub(super) fn of(admitted: &AdmittedBatch, state: &JobState) -> Self {
        Self {
            behind: state.last_batch,
            watermark_before: state.memory.event_time.watermark,
            by_table_before: state.memory.event_time.by_table.clone(),
            rows: admitted.decoded.clone(),
        }
    }
}

/// Event time with these watermarks of sources, where the first has this table.
fn at(event_time: &EventTime, watermark: Option<Watermark>, by_table: &SourceWatermarks, first: &str) -> EventTime {
    EventTime { watermark, by_table: by_table.clone(), ..event_time.clone() }.led_by(first)
}

/// What did not go well the first time, by query and batch.
struct Failed {
    /// The batch's rows are in no window.
    uncounted: BTreeSet<(String, BatchId)>,
    /// Windows that closed may not have been given out.
    unwritten: BTreeSet<(String, BatchId)>,
}

/// Has windows, history and duplicates stand as they did after the state's last batch.
///
/// Errors: a service stops answering.
pub(super) fn recover(
    plan: &mut Plan,
    store: &mut Store,
    consumer: &Consumer,
    state: &mut JobState,
    options: &RunOptions<'_>,
    retry: &Retry<'_>,
) -> Result<(), RunError> {
    let Snapshots { mut usable, from_earliest } = usable_snapshots(&mut plan.engine, store, retry)?;
    let from_earliest = from_earliest.into_iter().filter(|query| begins_earliest(plan, query)).collect();
    let streams = retry.until_done(|| store.snapshot(STREAMS))?;
    // While the job did not run, people may have set limits and moved patients.
    state.begin(plan.seldom_judged());
    if let Some(snapshot) = &streams {
        state.begin(state.memory.unlike_saved(snapshot));
    }
    let is_back =
        |snapshot: &StoredSnapshot| snapshot.panes.as_ref().is_some_and(|panes| state.memory.restore_streams(panes));
    let restored = streams.filter(is_back);
    let is_restored = restored.is_some();
    usable.extend(restored.map(|snapshot| (STREAMS.to_owned(), snapshot.batch)));
    let end = state.memory.event_time.clone();
    let memory = state.memory.clone();
    let mut recovery = Recovery::plan(plan, store, memory, (&end, state.last_batch), &usable, from_earliest, retry)?;
    // Windows that had to be replayed are saved soon, so that the next start need not do it again.
    let stood_at = recovery.windows.values().filter(|first| **first != UP_TO_DATE).min();
    let saved_to = stood_at.map_or(state.last_batch, |first| BatchId(first.0.saturating_sub(1)));
    // What has none is saved with the next batch: how far back a session reaches, no other one can say.
    let has_none = plan.engine.kept().any(|kept| !usable.contains_key(kept.name));
    state.last_snapshot = if has_none { BatchId(0) } else { saved_to };
    recovery.run(plan, store, consumer, state.last_batch, retry, options.on_repeat)?;
    recovery.finish(plan);
    // What was decided live stands, whatever reading again has made of it.
    recovery.memory.event_time = end;
    (state.memory, state.backfill) = (recovery.memory, recovery.given);
    let (episodes, Memory { streams, composer, .. }) = (&mut state.episodes, &state.memory);
    match is_restored {
        true => episodes.find_streams(&plan.rules, streams, composer),
        false => episodes.find_streams_again(&plan.rules, streams, composer),
    }
    Ok(())
}

/// What the store keeps of windows.
struct Snapshots {
    /// The batch of each snapshot that could be put back.
    usable: BTreeMap<String, BatchId>,
    /// The queries that are still to give out their windows from the earliest record on.
    from_earliest: BTreeSet<String>,
}

/// Puts back what can be put back.
///
/// A query that cannot go on from its snapshot reads what others close, so these must start anew too.
fn usable_snapshots(engine: &mut Engine, store: &mut Store, retry: &Retry<'_>) -> Result<Snapshots, RunError> {
    let kept: Vec<(String, String, String)> = engine
        .kept()
        .map(|kept| (kept.name.to_owned(), kept.stream().to_owned(), kept.fingerprint().to_owned()))
        .collect();
    let mut stored: BTreeMap<String, StoredSnapshot> = BTreeMap::new();
    let mut anew: BTreeSet<String> = BTreeSet::new();
    let mut from_earliest = BTreeSet::new();
    for (query, stream, fingerprint) in kept.iter().rev() {
        match retry.until_done(|| store.snapshot(query))? {
            Some(snapshot) if snapshot.begins_earliest() => {
                info!(query, "its windows are read from the earliest record on");
                from_earliest.insert(query.clone());
            }
            Some(snapshot) if snapshot.fingerprint != *fingerprint => {
                info!(query, "its snapshot is of another query or version; its windows are read again");
            }
            Some(snapshot) if snapshot.panes.is_none() => {
                warn!(query, "its snapshot is damaged; its windows are read again");
            }
            Some(snapshot) if !anew.contains(query) => {
                stored.insert(query.clone(), snapshot);
                continue;
            }
            _ => {}
        }
        anew.insert(query.clone());
        anew.insert(stream.clone());
    }
    let mut usable = BTreeMap::new();
    for (query, snapshot) in stored {
        let panes: Vec<(i64, Vec<u8>)> = snapshot.panes.into_iter().flatten().collect();
        if engine.restore(&query, &panes, snapshot.closed_to, snapshot.incomplete_before) {
            usable.insert(query, snapshot.batch);
        } else {
            warn!(query, "its snapshot cannot be read; its windows are read again");
        }
    }
    Ok(Snapshots { usable, from_earliest })
}
