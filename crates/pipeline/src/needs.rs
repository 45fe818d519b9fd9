//! From which batch on everything that a job keeps in memory must be replayed, so that it stands as it did.
//!
//! The one place that knows what depends on which batches. It reads nothing but the batch log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_alert::{Judged, Rule};
use wardwatch_model::event_time::{EventTime, Watermarks};
use wardwatch_model::header::Begin;
use wardwatch_model::terms::{BatchId, Partition, Watermark};
use wardwatch_sql::QueryKind;
use wardwatch_store::Store;

use super::error::RunError;
use super::memory::Memory;
use super::plan::Plan;
use super::retry::Retry;

/// How far back rows are read for what has no window that would say how far: sessions, and the last values of patients.
const LOOK_BACK: TimeDelta = TimeDelta::hours(1);

/// A query that goes on from where it is needs no batch again.
pub(super) const UP_TO_DATE: BatchId = BatchId(u64::MAX);

/// From which batch on everything that is kept must be replayed.
///
/// Windows need all partitions of a batch; rows that are remembered, only their own partition's. So a partition that has been
/// silent for long costs what it had last, not what the others have had since.
#[derive(Debug, Clone, Default)]
pub(super) struct Needs {
    /// Windows, query by query; [`UP_TO_DATE`] where none.
    pub(super) windows: BTreeMap<String, BatchId>,
    /// History, duplicates, features and newest samples, partition by partition; those that need nothing are left out.
    pub(super) rows: BTreeMap<Partition, BatchId>,
}

/// What there is before anything is replayed.
pub(super) struct Kept<'a> {
    /// Event time as it is now.
    pub(super) end: &'a EventTime,
    /// The batch after which each windowed query stands; those that must be rebuilt are left out.
    pub(super) snapshots: &'a BTreeMap<String, BatchId>,
    /// Rebuilt queries whose windows are given out from the earliest record on.
    pub(super) from_earliest: &'a BTreeSet<String>,
}

impl Needs {
    /// Finds out what is needed.
    ///
    /// Errors: the store does not answer.
    pub(super) fn of(
        plan: &Plan,
        store: &mut Store,
        memory: &Memory,
        kept: &Kept<'_>,
        retry: &Retry<'_>,
    ) -> Result<Self, RunError> {
        let topics = &plan.topics;
        let windows = windows(plan, store, kept, retry)?;
        let needs = Self { windows, rows: BTreeMap::new() };
        let mut rows = match remembered(plan, memory) {
            Some(length) => {
                let times = newest_less(&kept.end.watermarks, length);
                retry.until_done(|| store.first_batches_since(topics, &times))?
            }
            None => BTreeMap::new(),
        };

        // What is computed of the first rows that are replayed looks back on rows before them: features as far as they are long,
        // duplicates as far as rows are not late.
        if let Some(length) = looked_back(plan) {
            let all_from = needs.all_from();
            let starts = kept.end.watermarks.keys().map(|partition| {
                let own = rows.get(partition).copied().unwrap_or(UP_TO_DATE);
                (*partition, own.min(all_from))
            });
            let starts: BTreeMap<Partition, BatchId> = starts.filter(|(_, start)| *start != UP_TO_DATE).collect();
            let reached = retry.until_done(|| store.watermarks_before(topics, &starts))?;
            let times = newest_less(&reached, length);
            for (partition, first) in retry.until_done(|| store.first_batches_since(topics, &times))? {
                let known = rows.entry(partition).or_insert(first);
                *known = first.min(*known);
            }
        }
        Ok(Self { rows, ..needs })
    }

    /// The batch from which on all partitions are replayed; [`UP_TO_DATE`] where no window needs one.
    pub(super) fn all_from(&self) -> BatchId {
        self.windows.values().copied().min().unwrap_or(UP_TO_DATE)
    }
}

/// What each windowed query needs.
fn windows(
    plan: &Plan,
    store: &mut Store,
    kept: &Kept<'_>,
    retry: &Retry<'_>,
) -> Result<BTreeMap<String, BatchId>, RunError> {
    let mut needed: BTreeMap<String, BatchId> =
        kept.snapshots.iter().map(|(query, batch)| (query.clone(), after(*batch))).collect();
    let rebuilt = first_times(plan, kept.end);
    let rebuilt: Vec<_> = rebuilt.into_iter().filter(|(query, _)| !kept.snapshots.contains_key(query)).collect();
    if rebuilt.is_empty() {
        return Ok(needed);
    }
    // One reads what the other closes, so they begin together.
    let from_earliest = rebuilt.iter().any(|(query, _)| kept.from_earliest.contains(query));
    let first = match rebuilt.iter().map(|(_, time)| *time).min().flatten() {
        Some(time) if !from_earliest => {
            let times = kept.end.watermarks.keys().map(|partition| (*partition, time)).collect();
            let firsts = retry.until_done(|| store.first_batches_since(&plan.topics, &times))?;
            firsts.into_values().min().unwrap_or(UP_TO_DATE)
        }
        _ => BatchId(0),
    };
    needed.extend(rebuilt.into_iter().map(|(query, _)| (query, first)));
    Ok(needed)
}

fn after(batch: BatchId) -> BatchId {
    if batch == UP_TO_DATE { UP_TO_DATE } else { batch.next() }
}

/// How far behind the watermark of its partition a row is remembered; `None` where none is. Duplicates are a matter of rows that are
/// not late yet, and so is which samples were the newest; whether a vital is known, of those that are not stale.
fn remembered(plan: &Plan, memory: &Memory) -> Option<TimeDelta> {
    let stale_after = |rule: &Rule| if rule.judged == Judged::ByBatch { rule.stale_after } else { Duration::ZERO };
    let rules = plan.rules.iter().map(stale_after);
    let history = memory.history.is_some().then_some(plan.job.source.retain);
    let duplicates = (!plan.job.source.dedupe.is_empty()).then_some(Duration::ZERO);
    let features = plan.job.features.iter().map(|feature| feature.over);
    rules.chain(history).chain(duplicates).chain(features).max().map(delta)
}

/// How far back what is computed of a row looks; `None` where it depends on the row alone.
fn looked_back(plan: &Plan) -> Option<TimeDelta> {
    let features = plan.job.features.iter().map(|feature| feature.over).max();
    let duplicates = (!plan.job.source.dedupe.is_empty()).then_some(Duration::ZERO);
    features.max(duplicates).map(delta)
}

/// The first event time that open windows have rows of, query by query; `None` where nothing has closed so far, so that all is
/// open.
fn first_times(plan: &Plan, end: &EventTime) -> Vec<(String, Option<DateTime<Utc>>)> {
    let mut firsts: BTreeMap<String, Option<DateTime<Utc>>> = BTreeMap::new();
    let mut times = Vec::new();
    for kept in plan.engine.kept() {
        // A windowed query over another's windows closes by how far that one has got, which is where its open windows begin.
        let of_source = || end.watermark_of(plan.source_with_table(kept.source), &plan.sources()).map(|own| own.0);
        let own = firsts.get(kept.stream()).copied().unwrap_or_else(of_source);
        let first = own.map(|own| kept.next_window(Watermark(own)).unwrap_or_else(|| before(own, LOOK_BACK)));
        firsts.insert(kept.name.to_owned(), first);
        times.push((kept.name.to_owned(), first));
    }
    times
}

/// Whether a query that is new begins with the earliest record.
pub(super) fn begins_earliest(plan: &Plan, name: &str) -> bool {
    let query = plan.engine.queries().find(|query| query.file.name == name);
    query.is_some_and(|query| {
        query.windowed && matches!(&query.file.kind, QueryKind::Table(header) if header.start == Begin::Earliest)
    })
}

fn newest_less(watermarks: &Watermarks, length: TimeDelta) -> BTreeMap<Partition, DateTime<Utc>> {
    watermarks.iter().map(|(partition, watermark)| (*partition, before(watermark.0, length))).collect()
}

fn before(time: DateTime<Utc>, length: TimeDelta) -> DateTime<Utc> {
    time.checked_sub_signed(length).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

fn delta(length: Duration) -> TimeDelta {
    TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX)
}
