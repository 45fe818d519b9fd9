//! What a batch leaves goes into the store, in one transaction.

use std::sync::Arc;

use tracing::{info, warn};

use wardwatch_alert::{Change, OpenEpisodes, Outstanding, Reach, address};
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::terms::BatchId;
use wardwatch_sql::{Outcome, SavedQuery};
use wardwatch_store::{
    Alerting, Commit, CoverageChanges, Failed, QueryCost, QueryState, Snapshot, Store, StoreError, TableFault,
    TableRows, Way,
};

use super::admit::Taken;
use super::error::RunError;
use super::leaving::Leaving;
use super::memory::Memory;
use super::options::RunOptions;
use super::plan::Plan;
use super::quarantine::Quarantine;
use super::retry::Stall;
use super::standing::Standing;
use super::state::{Edits, JobState};
use super::tables::{MOST_PENDING, TableStates};

/// What became of alerts with a batch that is in the store.
pub(crate) struct Told {
    pub(super) changes: Vec<Change>,
    pub(super) notifications: usize,
}

/// How queries and their tables fared with a batch, as far as it is to be stored.
#[derive(Clone, Copy)]
pub(crate) struct Fared<'a> {
    failures: &'a [Failed],
    queries: &'a [QueryState],
    table_faults: &'a [TableFault],
}

/// A batch whose queries have run.
pub(crate) struct Prepared<'a> {
    pub(super) taken: &'a Taken,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) snapshots: Vec<Snapshot>,
    /// What queries have cost, where that is to be told.
    pub(super) costs: Vec<QueryCost>,
    /// What rules that begin gave on what stands.
    pub(super) standing: Vec<Standing>,
    /// What of the outbox nobody has taken.
    pub(super) outstanding: Arc<Outstanding>,
}

impl Prepared<'_> {
    /// Judges the rules and commits. Rows that their table does not take wait, and the batch goes on without them; whatever
    /// else the store does not take holds the batch until it does.
    ///
    /// Returns what became of alerts, or `None` where nothing had to be written: no record came, and nothing followed
    /// from the time that passed.
    pub(super) fn commit(
        self,
        plan: &Plan,
        store: &mut Store,
        state: &mut JobState,
        options: &RunOptions<'_>,
    ) -> Result<Option<Told>, RunError> {
        let (actions, refused) = options.retry().until_done(|| store.open_actions())?;
        if state.coverage.is_incomplete_due(self.taken.now) {
            let incomplete = options.retry().until_done(|| store.incomplete())?;
            state.coverage.note_incomplete(incomplete, self.taken.now);
        }
        state.outage = options.health.take_past_outage().or(state.outage);
        let mut quarantine = state.quarantine.clone();
        // A batch that is not committed ends the loop, and nobody asks for them any more.
        let mut episodes = std::mem::take(&mut state.episodes);
        if let Some(outage) = state.outage {
            episodes.note_outage(outage);
        }
        let (failures, mut failing) = self.taken.note_failures(plan, &self.outcomes, &mut quarantine);
        let unjudged =
            self.taken.judge(plan, &plan.rules, (&self.outcomes, &self.standing), state, (&quarantine, &mut episodes));
        let coverage = unjudged.map(|unjudged| state.coverage.changes(&unjudged));
        let (now, event_now) = (self.taken.now, self.taken.event_now());
        let (outlets, patience) = (&plan.job.notify, plan.job.alerts.unreached_after);
        episodes.judge_unreached(&self.outstanding, outlets, patience, (now, event_now));
        leave_out_known(&mut episodes, &self.taken.leaving, store, options)?;
        tell_apart(&mut episodes, store, options)?;
        let wards = state.attaching.wards(plan, event_now);
        let mut answers = episodes.act(&actions, &plan.job.alerts, &wards, now, event_now);
        answers.extend(refused.iter().cloned());
        let reach = Reach::new(outlets, &self.outstanding, patience);
        let notices = episodes.notices(&plan.rules, &plan.job.alerts, &wards, &reach, now);
        let alerts = episodes.take_changes();
        let notifications = address(&plan.job.name, &plan.job.notify, &notices, &wards);
        failing.extend(state.edits.forgotten.iter().cloned());
        let alerting = Alerting { changes: &alerts, answers: &answers, notifications: &notifications };
        let mut stall = Stall::new(options.stopped, options.health);
        let mut tables = state.tables.clone();
        loop {
            let faults = tables.changes(&state.tables, now);
            let queries = with_tables(&failing, &faults, &quarantine, self.taken.id);
            let fared = Fared { failures: &failures, queries: &queries, table_faults: &faults };
            let mut written = self.written(plan, &tables, alerting, fared, state);
            written.coverage = coverage.as_ref();
            if self.is_idle(&written, state) {
                drop(written);
                stall.is_over();
                state.tables = tables;
                state.episodes = episodes;
                state.memory.event_time = self.taken.event_time.clone();
                state.memory.forget(&self.taken.leaving);
                return Ok(None);
            }
            let is_result = |name: &str| written.tables.iter().any(|table| table.spec.name == name);
            match store.commit(&written) {
                Ok(outcome) => {
                    drop(written);
                    stall.is_over();
                    tables.committed(&faults, &outcome, now);
                    state.tables = tables;
                    if let Some(coverage) = coverage {
                        state.coverage.told(coverage, now);
                    }
                    state.committed(self, quarantine, episodes);
                    return Ok(Some(Told { changes: alerts, notifications: notifications.len() }));
                }
                // Where it is not clear whether the table is at fault or the store, the store is tried without the table: if
                // it takes the rest, it was the table.
                Err(StoreError::Table { table, reason } | StoreError::Unclear { table, reason })
                    if is_result(&table) =>
                {
                    tables.refused(&table, reason, now);
                }
                Err(trouble) => {
                    stall.wait(trouble)?;
                    // The batch is tried whole.
                    tables.clone_from(&state.tables);
                }
            }
        }
    }

    /// Whether a batch without records leaves nothing behind.
    fn is_idle(&self, written: &Commit<'_>, state: &JobState) -> bool {
        !self.taken.shows_life
            && written.ranges.is_empty()
            && written.alerting.is_empty()
            && written.encounters.is_empty()
            && written.attached_later.is_empty()
            && written.failures.is_empty()
            && written.queries.is_empty()
            && written.edits.is_empty()
            && written.coverage.is_none_or(CoverageChanges::is_empty)
            && written.reference_changes.is_empty()
            && written.table_faults.is_empty()
            && written.tables.iter().all(|table| {
                let waits_for_it = table.way == Way::CatchUp && table.pending.batches > 0;
                !waits_for_it && table.rows.iter().all(|rows| rows.num_rows() == 0)
            })
            && written.event_time.watermark == state.memory.event_time.watermark
    }

    fn written<'b>(
        &'b self,
        plan: &'b Plan,
        tables: &TableStates,
        alerting: Alerting<'b>,
        Fared { failures, queries, table_faults }: Fared<'b>,
        state: &'b JobState,
    ) -> Commit<'b> {
        let Taken { batch, rows, .. } = self.taken;
        let mut tables: Vec<TableRows<'b>> = plan
            .tables
            .iter()
            .filter_map(|spec| {
                let outcome = self.outcomes.iter().find(|outcome| outcome.query == spec.name);
                let new = outcome.and_then(|outcome| outcome.rows.as_ref().ok());
                let rows: Vec<_> = state.backfill.get(&spec.name).into_iter().flatten().chain(new).cloned().collect();
                let (way, pending) = tables.way(&spec.name, self.taken.now);
                (!rows.is_empty() || way == Way::CatchUp).then_some(TableRows { spec, rows, way, pending })
            })
            .collect();
        // A table that may still be at fault says so before much is written.
        tables.sort_by_key(|table| table.way != Way::CatchUp);
        Commit {
            batch: self.taken.id,
            now: self.taken.now,
            topic: &plan.job.source.topic,
            ranges: &batch.ranges,
            event_time: &self.taken.event_time,
            spans: &rows.spans,
            records: batch.records,
            frame_rows: batch.rows.num_rows() - self.taken.attached_later.len(),
            rejects: &batch.rejects,
            artefacts: &batch.artefacts,
            late: &rows.late,
            duplicates: rows.duplicates,
            tables,
            table_faults,
            most_pending: MOST_PENDING,
            unattached: &self.taken.unattached,
            attached_later: &self.taken.attached_later,
            encounters: state.attaching.answers(),
            encounters_version: state.attaching.encounters().version(),
            alerting,
            failures,
            queries,
            edits: &state.edits.looked_at,
            reference_changes: &state.edits.references,
            costs: &self.costs,
            coverage: None,
            snapshots: &self.snapshots,
            prepared_ms: batch.closed.elapsed().as_secs_f64() * 1_000.0,
        }
    }
}

/// Leaves out what a late sample of somebody who has left says again: of that time there is an alert that ended when they left.
pub(crate) fn leave_out_known(
    episodes: &mut OpenEpisodes,
    leaving: &Leaving,
    store: &mut Store,
    options: &RunOptions<'_>,
) -> Result<(), RunError> {
    let found_late = episodes.begun_of(leaving);
    if found_late.is_empty() {
        return Ok(());
    }
    let known = options.retry().until_done(|| store.overlapped_by_left(&found_late))?;
    known.iter().for_each(|episode| episodes.take_back(episode));
    let new = found_late.len() - known.len();
    if new > 0 {
        warn!(
            episodes = new,
            "late records tell of alerts of patients who have left; they stand in alerts, ended as left"
        );
    }
    Ok(())
}

/// Gives an episode that has just begun another name than any that the store has: what is over, and who acknowledged it, stays.
pub(crate) fn tell_apart(
    episodes: &mut OpenEpisodes,
    store: &mut Store,
    options: &RunOptions<'_>,
) -> Result<(), RunError> {
    let mut new = episodes.begun();
    while !new.is_empty() {
        let known = options.retry().until_done(|| store.known_episodes(&new))?;
        if !known.is_empty() {
            info!(episodes = known.len(), "episodes begin when others of their rule and patient began; both are kept");
        }
        new = known.iter().map(|key| episodes.begin_just_before(key)).collect();
    }
    Ok(())
}

/// The queries whose state is to be stored: those that fail or do no longer, and those whose table does.
pub(crate) fn with_tables(
    failing: &[QueryState],
    faults: &[TableFault],
    quarantine: &Quarantine,
    batch: BatchId,
) -> Vec<QueryState> {
    let is_new = |fault: &&TableFault| failing.iter().all(|state| state.query != fault.table);
    let of_tables = faults.iter().filter(is_new).map(|fault| quarantine.state(&fault.table, batch));
    failing.iter().cloned().chain(of_tables).collect()
}

impl JobState {
    /// Goes on behind a batch that is in the store.
    fn committed(&mut self, prepared: Prepared<'_>, quarantine: Quarantine, episodes: OpenEpisodes) {
        let Prepared { taken, snapshots, costs, .. } = prepared;
        if !costs.is_empty() {
            self.costs.told(taken.id);
        }
        self.edits = Edits::default();
        self.beginning.clear();
        self.outage = None;
        self.committed = Stopwatch::start();
        self.backfill.clear();
        self.attaching.answered();
        self.quarantine = quarantine;
        self.episodes = episodes;
        self.go_on(taken);
        self.shown.extend(taken.batch.ranges.iter().map(|(partition, range)| (*partition, *range)));
        if !snapshots.is_empty() {
            self.last_snapshot = taken.id;
        }
    }

    /// Time goes on behind a batch.
    pub(super) fn go_on(&mut self, taken: &Taken) {
        self.last_batch = taken.id;
        self.last_now = Some(taken.now);
        self.memory.event_time = taken.event_time.clone();
        self.memory.forget(&taken.leaving);
    }
}

/// What windowed queries keep, as far as it has changed, and what is known of streams; a query whose state cannot be written down is left out.
pub(crate) fn snapshots(plan: &mut Plan, memory: &Memory) -> Vec<Snapshot> {
    let saved = plan.engine.save().into_iter().filter_map(|saved| {
        saved.inspect_err(|failure| warn!(error = %failure, "no snapshot of a windowed query")).ok()
    });
    saved
        .map(|SavedQuery { query, fingerprint, changed, panes, closed_to, incomplete_before }| Snapshot {
            query,
            fingerprint,
            closed_to,
            incomplete_before,
            changed,
            panes,
        })
        .chain([memory.snapshot_of_streams()])
        .collect()
}

impl JobState {
    /// What windowed queries keep, if it is to be written with the batch.
    pub(super) fn due_snapshots(&self, plan: &mut Plan, taken: &Taken) -> Vec<Snapshot> {
        let is_due = taken.id.0 - self.last_snapshot.0 >= plan.job.sql.snapshot_every;
        if is_due && !taken.batch.ranges.is_empty() { snapshots(plan, &self.memory) } else { Vec::new() }
    }
}
