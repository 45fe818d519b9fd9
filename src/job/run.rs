//! The loop: one micro-batch after the other, from the source to the store.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use tracing::{debug, info, warn};

use crate::alert::{Change, OpenEpisodes};
use crate::clock::{Clock, Stopwatch};
use crate::frame::watermarks;
use crate::query::{Outcome, QueryFailure};
use crate::source::{MicroBatch, Next, Source, SourceError, Topic, Until};
use crate::store::{Commit, QueryState, Store, StoreError, TableRows};
use crate::terms::{BatchId, OffsetRange, Partition, Positions, Ranges, Watermark};

use super::commit::{Committed, commit, until_done};
use super::plan::Plan;
use super::quarantine::Quarantine;

/// How a run is to be done.
pub struct RunOptions<'a> {
    /// Whether it ends when it has caught up.
    pub until: Until,
    /// How long Kafka and the store may take to answer at the start.
    pub connect_timeout: Duration,
    /// Says when to stop; the batch in hand is finished first.
    pub stopped: &'a dyn Fn() -> bool,
    /// Is told of each batch after its commit.
    pub on_commit: &'a mut dyn FnMut(&Progress<'_>),
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What happened with one batch.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The batch.
    pub batch: BatchId,
    /// What it was made of.
    pub micro_batch: &'a MicroBatch,
    /// What changed of episodes.
    pub alerts: &'a [Change],
    /// From the closing of the batch to the end of its commit.
    pub latency: Duration,
    /// How much of it the queries took.
    pub queries: Duration,
    /// How much of it rules' episodes and the commit took.
    pub commit: Duration,
}

/// What a run did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Batches committed.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Rejects among them.
    pub rejects: u64,
    /// Artefacts in them.
    pub artefacts: u64,
    /// Queries that fail at the end.
    pub failing: usize,
}

/// Why a run ended before it should.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store did not answer at the start.
    #[error("{address} does not answer within {} s: {reason}", .waited.as_secs())]
    StoreUnreachable {
        /// What was tried.
        address: String,
        /// For how long.
        waited: Duration,
        /// What it said last.
        reason: String,
    },
}

/// Runs the job until it is stopped or, if so asked, has caught up.
///
/// A stop finishes the batch in hand; records that were read but not committed are read again by the next run.
///
/// # Errors
/// A service that is not there at the start, a fence, a topic that is not the one that was read before.
pub fn run(plan: &Plan, options: &mut RunOptions<'_>) -> Result<Summary, RunError> {
    let (mut store, source, mut state) = start(plan, options)?;
    let mut summary = Summary::default();
    while !(options.stopped)() {
        let batch = match source.next(Duration::from_millis(50))? {
            Next::Batch(batch) => batch,
            Next::Nothing => continue,
            Next::End => break,
        };
        let now = state.next_now(options.clock.now());
        let id = state.last_batch.next();
        claim_new_partitions(&mut store, plan, &mut state, &batch.ranges, options.stopped)?;
        let watermarks = state.watermarks_after(plan, &batch.rows);

        let querying = Stopwatch::start();
        let outcomes = plan.engine.run(&batch.rows, now, &|query| state.quarantine.leaves_out(query, id));
        let queries = querying.elapsed();

        let committing = Stopwatch::start();
        let prepared = Prepared { id, now, batch: &batch, watermarks, outcomes };
        let alerts = prepared.commit(plan, &mut store, &mut state, options)?;
        let progress = Progress {
            batch: id,
            micro_batch: &batch,
            alerts: &alerts,
            latency: batch.closed.elapsed(),
            queries,
            commit: committing.elapsed(),
        };

        source.show_progress(&batch.ranges);
        summary.add(&batch, state.quarantine.len());
        debug!(batch = %id, records = batch.records, rejects = batch.rejects.len(),
            latency_seconds = progress.latency.as_secs_f64(), "committed");
        (options.on_commit)(&progress);
    }
    info!(batches = summary.batches, records = summary.records, rejects = summary.rejects, "stopped");
    Ok(summary)
}

/// Connects to both services, becomes the writer, and finds out where to go on.
fn start(plan: &Plan, options: &RunOptions<'_>) -> Result<(Store, Source, JobState), RunError> {
    let spec = &plan.job.source;
    let mut store = patiently(plan, options, || Store::connect(&plan.job.store, &plan.job.name))?;
    let topic = Topic::connect(spec, options.connect_timeout, options.stopped)?;
    patiently(plan, options, || store.become_writer())?;
    patiently(plan, options, || store.migrate(&plan.tables))?;
    let bounds = topic.bounds()?;
    let starts = topic.starts(spec.start, &bounds)?;
    let positions = patiently(plan, options, || store.claim(&spec.topic, &starts))?;
    let state = patiently(plan, options, || JobState::resume(&mut store, plan, &positions))?;
    let source = Source::start(topic, spec, plan.job.trigger, &positions, &bounds, options.until)?;
    info!(job = plan.job.name, batch = %state.last_batch, store = store.address(), "running");
    Ok((store, source, state))
}

impl Summary {
    fn add(&mut self, batch: &MicroBatch, failing: usize) {
        self.batches += 1;
        self.records += batch.records as u64;
        self.rejects += batch.rejects.len() as u64;
        self.artefacts += batch.artefacts.len() as u64;
        self.failing = failing;
    }
}

/// Does what the store must do at the start, trying again until the timeout has passed.
fn patiently<T>(
    plan: &Plan,
    options: &RunOptions<'_>,
    mut work: impl FnMut() -> Result<T, StoreError>,
) -> Result<T, RunError> {
    let waiting = Stopwatch::start();
    loop {
        match work() {
            Err(StoreError::Unavailable(reason)) => {
                if waiting.left_of(options.connect_timeout).is_zero() || (options.stopped)() {
                    let address = plan.job.store.address();
                    return Err(RunError::StoreUnreachable { address, waited: options.connect_timeout, reason });
                }
                debug!(reason, "the store does not answer yet");
                std::thread::sleep(Duration::from_millis(100));
            }
            done => return Ok(done?),
        }
    }
}

/// What the loop carries from batch to batch. All of it is in the store too.
struct JobState {
    last_batch: BatchId,
    last_now: Option<DateTime<Utc>>,
    watermarks: std::collections::BTreeMap<Partition, Watermark>,
    episodes: OpenEpisodes,
    quarantine: Quarantine,
    claimed: Positions,
}

impl JobState {
    fn resume(store: &mut Store, plan: &Plan, positions: &Positions) -> Result<Self, StoreError> {
        let resume = store.resume(&plan.job.source.topic)?;
        Ok(Self {
            last_batch: resume.last_batch,
            last_now: resume.last_now,
            watermarks: resume.watermarks,
            episodes: OpenEpisodes::new(resume.episodes),
            quarantine: Quarantine::new(resume.queries),
            claimed: positions.clone(),
        })
    }

    /// A batch's `now` is after that of the batch before, whatever becomes of the machine's clock: tables may be keyed
    /// by it.
    fn next_now(&self, clock: DateTime<Utc>) -> DateTime<Utc> {
        self.last_now.map_or(clock, |last| clock.max(last + chrono::TimeDelta::microseconds(1)))
    }

    fn watermarks_after(&self, plan: &Plan, rows: &RecordBatch) -> std::collections::BTreeMap<Partition, Watermark> {
        watermarks(rows, &plan.samples.event_time, plan.job.source.lateness, &self.watermarks)
    }
}

/// A partition that the topic got while the job runs has no row in the store yet.
fn claim_new_partitions(
    store: &mut Store,
    plan: &Plan,
    state: &mut JobState,
    ranges: &Ranges,
    stopped: &dyn Fn() -> bool,
) -> Result<(), StoreError> {
    let new: Positions = ranges
        .iter()
        .filter(|(partition, _)| !state.claimed.contains_key(partition))
        .map(|(partition, OffsetRange { start, .. })| (*partition, *start))
        .collect();
    if !new.is_empty() {
        state.claimed = until_done(stopped, || store.claim(&plan.job.source.topic, &new))?;
    }
    Ok(())
}

/// A batch whose queries have run.
struct Prepared<'a> {
    id: BatchId,
    now: DateTime<Utc>,
    batch: &'a MicroBatch,
    watermarks: std::collections::BTreeMap<Partition, Watermark>,
    outcomes: Vec<Outcome>,
}

impl Prepared<'_> {
    /// Judges the rules and commits; a table that does not take its rows is left out, and what reads it too.
    fn commit(
        mut self,
        plan: &Plan,
        store: &mut Store,
        state: &mut JobState,
        options: &RunOptions<'_>,
    ) -> Result<Vec<Change>, StoreError> {
        loop {
            let mut quarantine = state.quarantine.clone();
            let mut episodes = state.episodes.clone();
            let alerts = self.judge(plan, &mut episodes);
            let (failures, queries) = self.failures(&mut quarantine);
            let written = self.written(plan, &alerts, &failures, &queries);
            match commit(store, &written, options.stopped)? {
                Committed::Done => {
                    state.quarantine = quarantine;
                    state.episodes = episodes;
                    state.last_batch = self.id;
                    state.last_now = Some(self.now);
                    state.watermarks = self.watermarks;
                    return Ok(alerts);
                }
                Committed::TableAtFault { table, reason } => {
                    drop(written);
                    let failed = self.outcomes.iter_mut().find(|outcome| outcome.query == table);
                    let failed = failed.unwrap_or_else(|| panic!("only tables of this batch are at fault"));
                    failed.rows = Err(QueryFailure(reason));
                }
            }
        }
    }

    fn judge(&self, plan: &Plan, episodes: &mut OpenEpisodes) -> Vec<Change> {
        plan.rules
            .iter()
            .filter_map(|rule| {
                let outcome = self.outcomes.iter().find(|outcome| outcome.query == rule.name)?;
                Some(episodes.judge(rule, outcome.rows.as_ref().ok()?, &self.batch.rows, &plan.samples))
            })
            .flatten()
            .collect()
    }

    /// What failed in this batch, and the queries whose state changed with it.
    fn failures(&self, quarantine: &mut Quarantine) -> (Vec<(String, String)>, Vec<QueryState>) {
        let mut failures = Vec::new();
        let mut changed = Vec::new();
        for Outcome { query, rows } in &self.outcomes {
            match rows {
                Ok(_) => changed.extend(quarantine.succeeded(query, self.id)),
                Err(failure) => {
                    warn!(query, batch = %self.id, error = %failure, "query failed; the others go on");
                    changed.push(quarantine.failed(query, self.id, &failure.0));
                    failures.push((query.clone(), failure.0.clone()));
                }
            }
        }
        (failures, changed)
    }

    fn written<'b>(
        &'b self,
        plan: &'b Plan,
        alerts: &'b [Change],
        failures: &'b [(String, String)],
        queries: &'b [QueryState],
    ) -> Commit<'b> {
        let tables = plan.tables.iter().filter_map(|spec| {
            let outcome = self.outcomes.iter().find(|outcome| outcome.query == spec.name)?;
            Some(TableRows { spec, rows: outcome.rows.as_ref().ok()?.clone() })
        });
        Commit {
            batch: self.id,
            now: self.now,
            topic: &plan.job.source.topic,
            ranges: &self.batch.ranges,
            watermarks: &self.watermarks,
            records: self.batch.records,
            frame_rows: self.batch.rows.num_rows(),
            rejects: &self.batch.rejects,
            artefacts: &self.batch.artefacts,
            tables: tables.collect(),
            alerts,
            failures,
            queries,
            prepared_ms: self.batch.closed.elapsed().as_secs_f64() * 1_000.0,
        }
    }
}
