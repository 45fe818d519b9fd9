//! What a batch leaves goes into the store, in one transaction.

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_alert::Change;
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::terms::BatchId;
use wardwatch_sql::Outcome;
use wardwatch_store::{Alerting, Commit, CoverageChanges, QueryState, Store, StoreError, TableFault, TableRows, Way};

use super::admit::AdmittedBatch;
use super::error::RunError;
use super::evaluate::EvaluatedBatch;
use super::judge::JudgedBatch;
use super::options::RunOptions;
use super::plan::Plan;
use super::quarantine::Quarantine;
use super::retry::Stall;
use super::state::{Edits, JobState};
use super::tables::{MOST_PENDING, TableStates};

/// A batch that is in the store.
pub(super) struct CommittedBatch {
    pub(super) admitted: AdmittedBatch,
    /// What each query gave.
    pub(super) outcomes: Vec<Outcome>,
    /// What became of alerts.
    pub(super) changes: Vec<Change>,
    /// How many notifications wait in the outbox because of it.
    pub(super) notifications: usize,
}

impl JudgedBatch {
    /// Commits. Rows that their table does not take wait, and the batch goes on without them; whatever else the store does not take
    /// holds the batch until it does.
    ///
    /// Returns `None` where nothing had to be written: no record came, and nothing followed from the time that passed.
    pub(super) fn commit(
        self,
        plan: &Plan,
        store: &mut Store,
        state: &mut JobState,
        options: &RunOptions<'_>,
    ) -> Result<Option<CommittedBatch>, RunError> {
        let (id, now) = (self.admitted().id, self.admitted().now);
        let mut stall = Stall::new(options.stopped, options.health);
        let mut tables = state.tables.clone();
        loop {
            let faults = tables.changes(&state.tables, now);
            let queries = with_tables(&self.queries, &faults, &self.quarantine, id);
            let written = self.written(plan, &tables, (&queries, &faults), state);
            if self.is_idle(&written, state) {
                drop(written);
                stall.is_over();
                state.tables = tables;
                state.passed(self);
                return Ok(None);
            }
            let is_result = |name: &str| written.tables.iter().any(|table| table.spec.name == name);
            match store.commit(&written) {
                Ok(outcome) => {
                    drop(written);
                    stall.is_over();
                    tables.committed(&faults, &outcome, now);
                    state.tables = tables;
                    return Ok(Some(state.committed(self)));
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
                    // The batch is tried whole, unless it may be written already as it was tried.
                    if !store.is_in_doubt() {
                        tables.clone_from(&state.tables);
                    }
                }
            }
        }
    }

    /// Whether a batch without records leaves nothing behind.
    fn is_idle(&self, written: &Commit<'_>, state: &JobState) -> bool {
        !self.admitted().shows_life
            && written.ranges.is_empty()
            && written.alerting.is_empty()
            && written.encounters.is_empty()
            && written.attached_later.is_empty()
            && written.replays.is_empty()
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
            && written.event_time.by_table == state.memory.event_time.by_table
    }

    fn written<'b>(
        &'b self,
        plan: &'b Plan,
        tables: &TableStates,
        (queries, table_faults): (&'b [QueryState], &'b [TableFault]),
        state: &'b JobState,
    ) -> Commit<'b> {
        let EvaluatedBatch { admitted, outcomes, costs, snapshots, .. } = &self.evaluated;
        let AdmittedBatch { batch, rows, .. } = admitted;
        let mut tables: Vec<TableRows<'b>> = plan
            .tables
            .iter()
            .filter_map(|spec| {
                let outcome = outcomes.iter().find(|outcome| outcome.query == spec.name);
                let new = outcome.and_then(|outcome| outcome.rows.as_ref().ok());
                let rows: Vec<_> = state.backfill.get(&spec.name).into_iter().flatten().chain(new).cloned().collect();
                let (way, pending) = tables.way(&spec.name, admitted.now);
                let replaced = outcome.and_then(|outcome| Some(outcome.replaced.as_ref()?.rows.clone()));
                (!rows.is_empty() || way == Way::CatchUp).then_some(TableRows { spec, rows, replaced, way, pending })
            })
            .collect();
        // A table that may still be at fault says so before much is written.
        tables.sort_by_key(|table| table.way != Way::CatchUp);
        Commit {
            batch: admitted.id,
            now: admitted.now,
            topics: &plan.topics,
            ranges: &batch.ranges,
            event_time: &admitted.event_time,
            spans: &rows.spans,
            records: batch.records,
            frame_rows: batch.rows.num_rows() - admitted.attached_later.len(),
            rejects: &batch.rejects,
            artefacts: [&batch.artefacts, &admitted.artefacts_again],
            ignored: batch.ignored,
            late: &rows.late,
            duplicates: rows.duplicates,
            tables,
            table_faults,
            most_pending: MOST_PENDING,
            unattached: &admitted.unattached,
            attached_later: &admitted.attached_later,
            replays: &admitted.replays,
            forget_rejects: forget_rejects(plan, admitted.now),
            encounters: state.attaching.answers(),
            encounters_version: state.attaching.encounters().version(),
            alerting: Alerting { changes: &self.changes, answers: &self.answers, notifications: &self.notifications },
            failures: &self.failures,
            queries,
            edits: &state.edits.looked_at,
            reference_changes: &state.edits.references,
            costs,
            coverage: self.coverage.as_ref(),
            snapshots,
            prepared_ms: batch.closed.elapsed().as_secs_f64() * 1_000.0,
        }
    }
}

/// From before which time rejects are let go of.
fn forget_rejects(plan: &Plan, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let keep = plan.job.source.keep_rejects.and_then(|keep| TimeDelta::from_std(keep).ok())?;
    now.checked_sub_signed(keep)
}

/// The queries whose state is to be stored: those that fail or do no longer, and those whose table does.
fn with_tables(
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
    fn committed(&mut self, judged: JudgedBatch) -> CommittedBatch {
        let JudgedBatch { evaluated, quarantine, episodes, coverage, changes, notifications, .. } = judged;
        let EvaluatedBatch { admitted, outcomes, snapshots, costs, .. } = evaluated;
        if let Some(coverage) = coverage {
            self.coverage.told(coverage, admitted.now);
        }
        if !costs.is_empty() {
            self.costs.told(admitted.id);
        }
        self.edits = Edits::default();
        for rule in std::mem::take(&mut self.begun) {
            self.beginning.remove(&rule);
        }
        self.outage = None;
        self.lost_references.clear();
        self.committed = Stopwatch::start();
        self.backfill.clear();
        self.attaching.answered();
        self.quarantine = quarantine;
        self.episodes = episodes;
        self.go_on(&admitted);
        self.shown.extend(admitted.batch.ranges.iter().map(|(partition, range)| (*partition, *range)));
        if !snapshots.is_empty() {
            self.last_snapshot = admitted.id;
        }
        CommittedBatch { admitted, outcomes, changes, notifications: notifications.len() }
    }

    /// Goes on behind a batch that left nothing to be written: time has passed, and no more.
    fn passed(&mut self, judged: JudgedBatch) {
        let admitted = &judged.evaluated.admitted;
        self.memory.event_time = admitted.event_time.clone();
        self.memory.forget(&admitted.leaving);
        self.episodes = judged.episodes;
    }

    /// Time goes on behind a batch.
    pub(super) fn go_on(&mut self, admitted: &AdmittedBatch) {
        self.last_batch = admitted.id;
        self.last_now = Some(admitted.now);
        self.memory.event_time = admitted.event_time.clone();
        self.memory.forget(&admitted.leaving);
    }
}
