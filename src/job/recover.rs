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

use crate::alert::Judged;
use crate::frame::EventTime;
use crate::query::{Begin, Engine, Input, QueryKind};
use crate::source::{Repeated, Topic, repeat};
use crate::store::{LoggedBatch, Store, StoredSnapshot};
use crate::terms::{BatchId, Ranges, Watermark};

use super::memory::{Memory, STREAMS};
use super::plan::Plan;
use super::retry::Retry;
use super::run::{RunError, RunOptions};
use super::state::JobState;

/// How far back rows are read for what has no window that would say how far: sessions, and the last values of patients.
const LOOK_BACK: TimeDelta = TimeDelta::hours(1);

/// A query that goes on from where it is needs no batch again.
pub(super) const UP_TO_DATE: BatchId = BatchId(u64::MAX);

/// Batches being repeated until windows, history and duplicates are as they were.
pub(super) struct Recovery {
    /// What is remembered of rows.
    pub(super) memory: Memory,
    /// Rows of windows that closed but were not given out: they could not be computed, or the query is new and begins with
    /// the earliest record.
    pub(super) given: BTreeMap<String, Vec<RecordBatch>>,
    /// The batch of each snapshot that was put back.
    snapshots: BTreeMap<String, BatchId>,
    /// The queries whose windows are given out from the earliest on.
    from_earliest: BTreeSet<String>,
    /// Up to which batch streams are known.
    streams_to: BatchId,
    next: BatchId,
    /// The last batch of which records are gone, and its event time.
    lost_to: Option<(BatchId, DateTime<Utc>)>,
}

impl Recovery {
    /// Finds out which batches must be repeated. `end` is event time as it is now; queries in `snapshots` go on from
    /// there, those in `new` have never run.
    ///
    /// Errors: the store does not answer.
    pub(super) fn plan(
        plan: &mut Plan,
        store: &mut Store,
        memory: Memory,
        end: &EventTime,
        snapshots: BTreeMap<String, BatchId>,
        new: &BTreeSet<String>,
        retry: &Retry<'_>,
    ) -> Result<Option<Self>, RunError> {
        let Some(reached) = end.watermarks.values().map(|watermark| watermark.0).min() else {
            return Ok(None); // no row has come so far
        };
        let topic = plan.job.source.topic.clone();
        let rebuilt: Vec<String> =
            plan.engine.kept().map(|kept| kept.name.to_owned()).filter(|name| !snapshots.contains_key(name)).collect();
        let from_earliest: BTreeSet<String> =
            rebuilt.iter().filter(|name| new.contains(*name) && begins_earliest(plan, name)).cloned().collect();
        let mut needed: Vec<DateTime<Utc>> = first_times(plan, end.watermark, reached)
            .into_iter()
            .filter(|(name, _)| rebuilt.contains(name))
            .map(|(_, time)| time)
            .collect();
        if memory.history.is_some() {
            needed.push(before(reached, TimeDelta::from_std(plan.job.source.retain).unwrap_or(TimeDelta::MAX)));
        }
        if !from_earliest.is_empty() {
            needed.push(DateTime::<Utc>::MIN_UTC);
        }
        // Duplicates, and which samples were the newest, are a matter of rows that are not late yet; whether a vital is
        // known, of those that are not stale.
        let stale_after = plan.rules.iter().filter(|rule| rule.judged == Judged::ByBatch).map(|rule| rule.stale_after);
        let stale_after = TimeDelta::from_std(stale_after.max().unwrap_or_default()).unwrap_or(TimeDelta::MAX);
        needed.push(before(reached, stale_after));
        let mut first = snapshots.values().filter(|batch| **batch != UP_TO_DATE).map(|batch| batch.next()).min();
        if let Some(since) = needed.into_iter().min() {
            let since = retry.until_done(|| store.first_batch_since(&topic, since))?;
            first = first.into_iter().chain(since).min();
        }
        let Some(mut next) = first else { return Ok(None) };
        // Features of the first row look back on rows before it.
        let look_back = plan.job.features.iter().map(|feature| feature.over).max();
        if let Some(over) = look_back.and_then(|over| TimeDelta::from_std(over).ok()) {
            let (watermarks, _) = retry.until_done(|| store.watermarks_before(&topic, next))?;
            let from = watermarks.values().map(|watermark| before(watermark.0, over)).min();
            let from = from.unwrap_or(DateTime::<Utc>::MIN_UTC);
            let first = retry.until_done(|| store.first_batch_since(&topic, from))?;
            next = first.map_or(next, |first| first.min(next));
        }

        let streams_to = snapshots.get(STREAMS).copied().unwrap_or(BatchId(0));
        let mut memory = memory;
        (memory.event_time.watermarks, memory.event_time.watermark) =
            retry.until_done(|| store.watermarks_before(&topic, next))?;
        for query in &rebuilt {
            plan.engine.start_at(query, memory.event_time.watermark);
        }
        Ok(Some(Self { memory, given: BTreeMap::new(), snapshots, from_earliest, streams_to, next, lost_to: None }))
    }

    /// Repeats the batches up to `last`.
    ///
    /// Errors: a service stops answering.
    pub(super) fn run(
        &mut self,
        plan: &mut Plan,
        store: &mut Store,
        topic: &Topic,
        last: BatchId,
        retry: &Retry<'_>,
        on_repeat: &dyn Fn(usize, usize),
    ) -> Result<(), RunError> {
        if self.next > last {
            return Ok(());
        }
        let mut log = retry.until_done(|| store.logged_batches(&plan.job.source.topic, self.next))?;
        log.retain(|logged| logged.batch <= last);
        let failed = retry.until_done(|| {
            Ok(Failed { uncounted: store.uncounted(self.next)?, unwritten: store.unwritten(self.next)? })
        })?;
        let ranges: Vec<Ranges> = log.iter().map(|batch| batch.ranges.clone()).collect();
        let records: i64 = ranges.iter().flat_map(Ranges::values).map(|range| range.end.0 - range.start.0).sum();
        info!(from = %self.next, to = %last, records, "reading again what windows and history need");
        let spec = plan.job.source.clone();
        repeat(topic, &spec, &ranges, retry.stopped, &mut |repeated: Repeated| -> Result<(), RunError> {
            let Repeated { index, batch, missing } = &repeated;
            self.one(plan, &log[*index], &batch.rows, &failed);
            if *missing > 0 {
                self.lost_to = Some((log[*index].batch, log[*index].event_now));
            }
            on_repeat(index + 1, log.len());
            Ok(())
        })?;
        self.next = last.next();
        Ok(())
    }

    /// Whether nothing lies between what was repeated and what the loop has at hand.
    pub(super) fn is_reached_by(&self, passed: &Passed, last: BatchId) -> bool {
        self.next > last || passed.0.front().is_some_and(|(first, _)| first.batch <= self.next)
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
        for (logged, rows) in &passed.0 {
            if logged.batch >= self.next {
                self.one(plan, logged, rows, &failed);
                self.next = logged.batch.next();
            }
        }
        Ok(())
    }

    fn one(&mut self, plan: &mut Plan, logged: &LoggedBatch, rows: &RecordBatch, failed: &Failed) {
        let rows = self.memory.take(plan, rows, logged.now);
        self.memory.event_time.watermarks = rows.watermarks;
        self.memory.event_time.watermark = logged.watermark;
        if logged.batch > self.streams_to {
            self.memory.note_samples(plan, &rows.all, logged.now);
        }
        let input = Input {
            batch: logged.batch,
            rows: &rows.all,
            on_time: &rows.on_time,
            history: &[],
            open_alerts: None,
            artefacts: None,
            now: logged.now,
            event_now: logged.event_now,
            partition_nows: &BTreeMap::new(),
            watermark: logged.watermark,
            show_open: false,
        };
        let left_out = |query: &str| {
            let in_snapshot = self.snapshots.get(query).is_some_and(|snapshot| logged.batch <= *snapshot);
            in_snapshot || failed.uncounted.contains(&(query.to_owned(), logged.batch))
        };
        let gives = |query: &str| {
            self.from_earliest.contains(query) || failed.unwritten.contains(&(query.to_owned(), logged.batch))
        };
        for (query, rows) in plan.engine.repeat(&input, &left_out, &gives) {
            self.given.entry(query).or_default().push(rows);
        }
    }

    /// What is remembered now. Says which windows can no longer be known, and keeps them from being written.
    pub(super) fn finish(&self, plan: &mut Plan) {
        let Some((batch, time)) = self.lost_to else { return };
        let affected: Vec<String> = plan
            .engine
            .kept()
            .map(|kept| kept.name.to_owned())
            .filter(|name| self.snapshots.get(name).is_none_or(|snapshot| *snapshot < batch))
            .collect();
        for query in &affected {
            warn!(query, until = %time.to_rfc3339(),
                "Kafka no longer holds records of its open windows; those that began before then are not written");
            plan.engine.poorer_before(query, time);
        }
        if affected.is_empty() {
            info!(until = %time.to_rfc3339(), "Kafka no longer holds all rows of the last while");
        }
    }
}

/// The batches that the loop has committed last, with their rows, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Passed(VecDeque<(LoggedBatch, RecordBatch)>);

impl Passed {
    /// So many are kept: more than pass between the last that a thread has repeated and the taking over.
    const MOST: usize = 8;

    /// Takes note of a batch that the loop stands behind now.
    pub(super) fn push(&mut self, state: &JobState, rows: RecordBatch) {
        let Some(now) = state.last_now else { return };
        let EventTime { now: event_now, watermark, .. } = &state.memory.event_time;
        let logged = LoggedBatch {
            batch: state.last_batch,
            ranges: Ranges::new(),
            now,
            event_now: event_now.unwrap_or(now),
            watermark: *watermark,
        };
        self.0.push_back((logged, rows));
        if self.0.len() > Self::MOST {
            self.0.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What did not go well the first time, by query and batch.
struct Failed {
    /// The batch's rows are in no window.
    uncounted: BTreeSet<(String, BatchId)>,
    /// Windows that closed may not have been given out.
    unwritten: BTreeSet<(String, BatchId)>,
}

/// Whether a query that is new begins with the earliest record.
fn begins_earliest(plan: &Plan, name: &str) -> bool {
    let query = plan.engine.queries().find(|query| query.file.name == name);
    query.is_some_and(|query| matches!(&query.file.kind, QueryKind::Table(header) if header.start == Begin::Earliest))
}

/// Has windows, history and duplicates stand as they did after the state's last batch.
///
/// Errors: a service stops answering.
pub(super) fn recover(
    plan: &mut Plan,
    store: &mut Store,
    topic: &Topic,
    state: &mut JobState,
    new: &BTreeSet<String>,
    options: &RunOptions<'_>,
    retry: &Retry<'_>,
) -> Result<(), RunError> {
    let mut snapshots = usable_snapshots(&mut plan.engine, store, retry)?;
    let streams = retry.until_done(|| store.snapshot(STREAMS))?;
    match streams.filter(|snapshot| state.memory.restore_streams(snapshot)) {
        Some(snapshot) => drop(snapshots.insert(STREAMS.to_owned(), snapshot.batch)),
        None => state.episodes.forget_streams(),
    }
    let end = state.memory.event_time.clone();
    let Some(mut recovery) = Recovery::plan(plan, store, state.memory.clone(), &end, snapshots, new, retry)? else {
        return Ok(());
    };
    recovery.run(plan, store, topic, state.last_batch, retry, options.on_repeat)?;
    recovery.finish(plan);
    // What was decided live stands, whatever reading again has made of it.
    recovery.memory.event_time = end;
    (state.memory, state.backfill) = (recovery.memory, recovery.given);
    Ok(())
}

/// The batch of each snapshot that could be put back.
///
/// A query that cannot go on from its snapshot reads what others close, so these must start anew too.
fn usable_snapshots(
    engine: &mut Engine,
    store: &mut Store,
    retry: &Retry<'_>,
) -> Result<BTreeMap<String, BatchId>, RunError> {
    let kept: Vec<(String, String, String)> = engine
        .kept()
        .map(|kept| (kept.name.to_owned(), kept.stream().to_owned(), kept.fingerprint().to_owned()))
        .collect();
    let mut stored: BTreeMap<String, StoredSnapshot> = BTreeMap::new();
    let mut anew: BTreeSet<String> = BTreeSet::new();
    for (query, stream, fingerprint) in kept.iter().rev() {
        match retry.until_done(|| store.snapshot(query))? {
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
        if engine.restore(&query, &panes, snapshot.closed_to) {
            usable.insert(query, snapshot.batch);
        } else {
            warn!(query, "its snapshot cannot be read; its windows are read again");
        }
    }
    Ok(usable)
}

/// The first event time that open windows have rows of, query by query.
fn first_times(plan: &Plan, watermark: Option<Watermark>, reached: DateTime<Utc>) -> Vec<(String, DateTime<Utc>)> {
    let mut complete_to: BTreeMap<&str, Option<DateTime<Utc>>> = BTreeMap::new();
    let mut times = Vec::new();
    for kept in plan.engine.kept() {
        // A windowed query over another's windows closes by how far that one has got.
        let own = match complete_to.get(kept.stream()) {
            Some(above) => *above,
            None => watermark.map(|watermark| watermark.0),
        };
        let next = own.and_then(|own| kept.next_window(Watermark(own)));
        let time = match own {
            // Nothing has closed so far, so all of it is open.
            None => DateTime::<Utc>::MIN_UTC,
            Some(own) => next.unwrap_or_else(|| before(own.min(reached), LOOK_BACK)),
        };
        complete_to.insert(kept.name, next);
        times.push((kept.name.to_owned(), time));
    }
    times
}

fn before(time: DateTime<Utc>, length: TimeDelta) -> DateTime<Utc> {
    time.checked_sub_signed(length).unwrap_or(DateTime::<Utc>::MIN_UTC)
}
