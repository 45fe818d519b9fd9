//! The loop: one micro-batch after the other, from the source to the store.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::{debug, info, warn};

use wardwatch_ingest::source::{MicroBatch, Next};
use wardwatch_kafka::Consumer;
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::health::{Complaint, Outage};
use wardwatch_model::telemetry::{Panicked, caught};
use wardwatch_model::terms::{BatchId, OffsetRange, Positions, Ranges};
use wardwatch_model::topics::Topics;
use wardwatch_notify::Notifier;
use wardwatch_store::{Snapshot, Store};

use super::admit::AdmittedBatch;
use super::commit::CommittedBatch;
use super::error::RunError;
use super::evaluate::snapshots;
use super::options::{AtEnd, Progress, RunOptions, Summary};
use super::plan::Plan;
use super::recover::Passing;
use super::reload::{Reloader, take_edit};
use super::retry::Retry;
use super::start::{Admission, Started, be_admitted, start};
use super::state::JobState;

/// A job that has nothing to commit commits an empty batch this often. So whoever looks into the store tells one that has nothing to
/// do from one that stands still, and pages need not wonder for more than a moment.
const SHOWS_LIFE_EVERY: Duration = Duration::from_secs(2);

/// Runs the job until it is stopped or, if so asked, has caught up.
///
/// A stop finishes the batch in hand; records that were read but not committed are read again by the next run.
///
/// # Errors
/// A service that is not there at the start, a fence, a topic that is not the one that was read before; a panic, of a thread or
/// of the loop itself: whoever restarts the process goes on behind the last commit.
pub fn run(plan: &mut Plan, options: &mut RunOptions<'_>) -> Result<Summary, RunError> {
    caught(|| watch(plan, options)).unwrap_or_else(|_| Err(Panicked::of("loop").into()))
}

fn watch(plan: &mut Plan, options: &mut RunOptions<'_>) -> Result<Summary, RunError> {
    // Whoever saves while the job starts or stands by is heard once it runs.
    let reloader = Reloader::start(&plan.job)?;
    let Some(admission) = be_admitted(plan, options)? else {
        return Ok(Summary::default()); // it was stopped while it stood by
    };
    let reloader = reloader.follow_edits(plan)?;
    run_admitted(plan, admission, reloader, options)
}

/// Holds the lease while it runs the loop, and gives it back.
fn run_admitted(
    plan: &mut Plan,
    Admission { mut store, consumer, lease }: Admission,
    reloader: Reloader,
    options: &mut RunOptions<'_>,
) -> Result<Summary, RunError> {
    // Whatever takes long asks now and then whether to stop, which shows that it is alive.
    let stopped = || {
        lease.note_alive();
        lease.ended().is_some() || (options.stopped)()
    };
    let mut options = RunOptions {
        stopped: &stopped,
        on_start: &mut *options.on_start,
        on_commit: &mut *options.on_commit,
        clock: Arc::clone(&options.clock),
        ..*options
    };
    (options.on_start)();
    // A panic gives no lease back by a connection on which it may have left a transaction half done. It closes that one, which
    // undoes what was begun, and by which others know at once that the holder is gone.
    let done = run_as_holder(plan, &mut store, consumer, reloader, &mut options);
    match lease.ended() {
        Some(ended) => Err(ended),
        None => {
            lease.release(&mut store);
            done
        }
    }
}

/// The loop, while this process holds the lease.
fn run_as_holder(
    plan: &mut Plan,
    store: &mut Store,
    consumer: Consumer,
    mut reloader: Reloader,
    options: &mut RunOptions<'_>,
) -> Result<Summary, RunError> {
    let Started { mut source, mut state, mut clock, mut references, notifier } = start(plan, store, consumer, options)?;
    let mut summary = Summary::default();
    while !(options.stopped)() {
        match source.next(Duration::from_millis(50))? {
            Next::Batch(batch) => {
                let now = clock.now();
                state.clock_behind = clock.behind();
                references.take_over(plan, state.last_batch.next(), state.after_last(now), &mut state.edits)?;
                let changed = state.edits.references.iter().map(|change| change.table.as_str()).collect();
                state.begin(plan.seldom_judged_by(&changed));
                state.reference_fault = references.unread().map(str::to_owned);
                if let Some(edit) = reloader.poll(plan, state.last_batch)? {
                    take_edit(edit, plan, store, &mut state, &mut references, (now, &options.retry()))?;
                }
                take_requests(plan, store, &mut state, now, &options.retry())?;
                let mut admitted = AdmittedBatch::of(*batch, plan, &mut state, now);
                admitted.shows_life = state.committed.left_of(SHOWS_LIFE_EVERY).is_zero();
                options.health.note_kafka(kafka_outage(&admitted, &plan.topics));
                let is_read = admitted.batch.records > 0 || admitted.batch.unread.is_nothing();
                let passing = reloader.is_building().then(|| Passing::of(&admitted, &state));
                step(admitted, plan, store, &mut state, &notifier, options, &mut summary)?;
                if let Some(passing) = passing {
                    reloader.note_passed(passing, &state);
                }
                source.show_progress(&state.shown);
                // A batch that needed no commit has asked the store for people's actions all the same. Where nothing comes
                // because nothing can be read, silence is the message.
                if is_read {
                    notifier.beat();
                }
            }
            Next::Nothing => {}
            Next::End => {
                // Time has passed since the last record, which an alert may wait for; and where nothing has come, whoever looks into
                // the store is to know that somebody has looked.
                let mut admitted = nothing(plan, &mut state, clock.now(), options.at_end);
                if options.at_end == AtEnd::CloseWindows {
                    admitted.show_open();
                }
                admitted.shows_life = summary.batches == 0;
                step(admitted, plan, store, &mut state, &notifier, options, &mut summary)?;
                // Whom people have discharged is gone now, not with the next record.
                take_requests(plan, store, &mut state, clock.now(), &options.retry())?;
                while (state.attaching.is_due() || state.replays.is_due()) && !(options.stopped)() {
                    let admitted = nothing(plan, &mut state, clock.now(), AtEnd::LeaveWindows);
                    step(admitted, plan, store, &mut state, &notifier, options, &mut summary)?;
                    take_requests(plan, store, &mut state, clock.now(), &options.retry())?;
                }
                // What waits for a table that takes rows again, or was given out by a new query, is written now, not by the next run.
                while state.has_due_rows(plan, clock.now()) && !(options.stopped)() {
                    let admitted = nothing(plan, &mut state, clock.now(), AtEnd::LeaveWindows);
                    step(admitted, plan, store, &mut state, &notifier, options, &mut summary)?;
                }
                break;
            }
        }
    }
    if state.last_batch > state.last_snapshot && state.backfill.is_empty() {
        let snapshots = snapshots(plan, &state.memory);
        save_at_the_end(store, state.last_batch, &snapshots);
    }
    summary.failing = state.quarantine.len();
    summary.tables_at_fault = state.tables_at_fault().len();
    info!(batches = summary.batches, records = summary.records, rejects = summary.rejects, "stopped");
    Ok(summary)
}

/// Applies what people and systems have said since the batch before: of encounters, with what waited for that, and of rejects.
fn take_requests(
    plan: &Plan,
    store: &mut Store,
    state: &mut JobState,
    now: DateTime<Utc>,
    retry: &Retry<'_>,
) -> Result<(), RunError> {
    retry.until_done(|| state.replays.read(plan, store))?;
    let event_now = state.memory.event_time.now.unwrap_or(now);
    let asked = retry.until_done(|| store.open_encounters(event_now))?;
    state.attaching.apply(asked);
    retry.until_done(|| state.attaching.read_waiting(store))
}

/// Since when Kafka has not answered, if it does not.
fn kafka_outage(admitted: &AdmittedBatch, topics: &Topics) -> Option<Outage> {
    let lasts = admitted.batch.unread.kafka_away.as_ref()?.lasts;
    admitted.unread(topics).kafka_away.map(|(since, reason)| Outage {
        since,
        lasts,
        complaint: Complaint::default(),
        reason,
    })
}

/// A batch without records, by which windows may close or may not.
fn nothing(plan: &Plan, state: &mut JobState, now: DateTime<Utc>, at_end: AtEnd) -> AdmittedBatch {
    let partitions = state.claimed.keys().copied().collect();
    let mut nothing = MicroBatch::nothing(&plan.job.source, partitions);
    nothing.keeps_windows = at_end == AtEnd::LeaveWindows;
    AdmittedBatch::of(nothing, plan, state, now)
}

/// Spares the next start some reading; it does well without, too.
fn save_at_the_end(store: &mut Store, batch: BatchId, snapshots: &[Snapshot]) {
    // The first statement on a connection that is gone only finds that out.
    let saved = store.save_snapshots(batch, snapshots).or_else(|_| store.save_snapshots(batch, snapshots));
    if let Err(error) = saved {
        warn!(%error, "no snapshot at the end; the next start reads a little more again");
    }
}

/// Takes one batch from its rows to the store.
fn step(
    admitted: AdmittedBatch,
    plan: &mut Plan,
    store: &mut Store,
    state: &mut JobState,
    notifier: &Notifier,
    options: &mut RunOptions<'_>,
    summary: &mut Summary,
) -> Result<(), RunError> {
    claim_new_partitions(store, plan, state, &admitted.batch.ranges, &options.retry())?;
    let querying = Stopwatch::start();
    let evaluated = admitted.evaluate(plan, state);
    let queries = querying.elapsed();

    let committing = Stopwatch::start();
    let judged = evaluated.judge(plan, store, state, &notifier.outstanding(), options)?;
    let Some(committed) = judged.commit(plan, store, state, options)? else { return Ok(()) };
    let CommittedBatch { admitted, outcomes, changes, notifications } = &committed;
    if *notifications > 0 {
        notifier.wake();
    }
    if state.last_snapshot == admitted.id {
        plan.engine.mark_saved();
    }
    let AdmittedBatch { id, batch, .. } = admitted;
    let progress = Progress {
        batch: *id,
        micro_batch: batch,
        results: outcomes,
        alerts: changes,
        latency: batch.closed.elapsed(),
        queries,
        commit: committing.elapsed(),
    };
    summary.add(admitted);
    debug!(batch = %id, records = batch.records, rejects = batch.rejects.len(), late = admitted.rows.late.len(),
        queries_seconds = progress.queries.as_secs_f64(), commit_seconds = progress.commit.as_secs_f64(),
        latency_seconds = progress.latency.as_secs_f64(), "committed");
    (options.on_commit)(&progress);
    Ok(())
}

/// A partition that came while the job runs has no row in the store yet.
fn claim_new_partitions(
    store: &mut Store,
    plan: &Plan,
    state: &mut JobState,
    ranges: &Ranges,
    retry: &Retry<'_>,
) -> Result<(), RunError> {
    let new: Positions = ranges
        .iter()
        .filter(|(partition, _)| !state.claimed.contains_key(partition))
        .map(|(partition, OffsetRange { start, .. })| (*partition, *start))
        .collect();
    if !new.is_empty() {
        state.claimed = retry.until_done(|| store.claim(&plan.topics, &new))?;
    }
    Ok(())
}
