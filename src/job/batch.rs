//! One micro-batch on its way: sorted out, run through the queries, judged, committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use crate::alert::{
    self, Change, Moment, OpenEpisodes, Outstanding, Reach, Rule, SampleColumns, Samples, address, check_rows,
    is_system_rule,
};
use crate::frame::{EventTime, Seen};
use crate::query::{Input, Outcome, QueryFailure};
use crate::source::MicroBatch;
use crate::store::{Alerting, Commit, Failed, QueryCost, QueryState, Snapshot, Store, TableRows};
use crate::terms::{BatchId, Partition};

use super::commit::{Committed, commit};
use super::given::{artefacts, open_alerts};
use super::memory::{Rows, patience};
use super::plan::Plan;
use super::quarantine::Quarantine;
use super::retry::Retry;
use super::run::{RunError, RunOptions};
use super::state::{Edits, JobState};

/// A batch whose rows are sorted out.
pub(super) struct Taken {
    pub(super) id: BatchId,
    pub(super) now: DateTime<Utc>,
    pub(super) batch: MicroBatch,
    pub(super) rows: Rows,
    /// Event time after it.
    pub(super) event_time: EventTime,
    partition_nows: BTreeMap<Partition, DateTime<Utc>>,
    /// At what its rules are judged.
    samples: Samples,
    /// Whether windows that are open are to be given out.
    pub(super) show_open: bool,
}

impl Taken {
    pub(super) fn of(batch: MicroBatch, plan: &Plan, state: &mut JobState, clock: DateTime<Utc>) -> Self {
        let now = state.next_now(clock);
        let rows = state.memory.take(plan, &batch.rows);
        let samples = Samples::of(&rows.all, &plan.samples, &state.memory.newest);
        state.memory.note_newest(plan, &rows.all);
        let active: BTreeSet<Partition> = batch.ranges.keys().copied().collect();
        let seen = Seen {
            watermarks: &rows.watermarks,
            active: &active,
            at_end: &batch.at_end,
            partitions: &batch.partitions,
            waiting_since: state.waiting_since,
            now,
        };
        let patience = patience(&plan.job.source);
        let event_time = state.memory.event_time.after(&seen, &patience);
        Self {
            id: state.last_batch.next(),
            now,
            show_open: event_time.is_silent(&seen, &patience),
            partition_nows: event_time.partition_nows(&seen, &patience),
            event_time,
            samples,
            rows,
            batch,
        }
    }

    /// Runs the queries, which see `episodes` as the alerts that stand.
    pub(super) fn run_queries(&self, plan: &mut Plan, state: &JobState, episodes: &OpenEpisodes) -> Vec<Outcome> {
        let open_alerts = plan.engine.reads_alerts().then(|| open_alerts(episodes, &plan.samples));
        let artefacts = artefacts(&self.batch.artefacts, &plan.samples);
        let input = Input {
            batch: self.id,
            rows: &self.rows.all,
            on_time: &self.rows.on_time,
            history: &state.memory.history(),
            open_alerts: open_alerts.as_ref(),
            artefacts: Some(&artefacts),
            now: self.now,
            event_now: self.event_now(),
            partition_nows: &self.partition_nows,
            watermark: self.event_time.watermark,
            show_open: self.show_open,
        };
        let mut outcomes = plan.engine.run(&input, &|query| state.quarantine.leaves_out(query, self.id));
        for outcome in &mut outcomes {
            let rule = plan.rules.iter().find(|rule| rule.name == outcome.query);
            if let (Some(rule), Ok(rows)) = (rule, &outcome.rows)
                && let Err(fault) = check_rows(rule, rows, &self.rows.all, &plan.samples)
            {
                outcome.rows = Err(QueryFailure(fault));
            }
        }
        outcomes
    }

    /// Judges every rule that gave rows.
    pub(super) fn judge(
        &self,
        rules: &[Rule],
        columns: &SampleColumns,
        outcomes: &[Outcome],
        state: &JobState,
        episodes: &mut OpenEpisodes,
    ) {
        let moment = Moment {
            frame: &self.rows.all,
            samples: &self.samples,
            newest: &state.memory.newest,
            columns,
            now: self.now,
            event_now: self.event_now(),
        };
        let is_gone = |rule: &str| !is_system_rule(rule) && !rules.iter().any(|known| known.name == rule);
        episodes.end_rules(&is_gone, moment.event_now);
        for rule in rules {
            let outcome = outcomes.iter().find(|outcome| outcome.query == rule.name);
            if let Some(Outcome { rows: Ok(conditions), clear, .. }) = outcome {
                episodes.judge(rule, &alert::Rows { conditions, clear: clear.as_ref() }, &moment);
            }
        }
        episodes.look_around(rules, &moment);
    }

    fn event_now(&self) -> DateTime<Utc> {
        self.event_time.now.unwrap_or(self.now)
    }
}

/// What became of alerts with a batch that is in the store.
pub(super) struct Told {
    pub(super) changes: Vec<Change>,
    pub(super) notifications: usize,
}

/// A batch whose queries have run.
pub(super) struct Prepared<'a> {
    pub(super) taken: &'a Taken,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) snapshots: Vec<Snapshot>,
    /// What queries have cost, where that is to be told.
    pub(super) costs: Vec<QueryCost>,
    /// What of the outbox nobody has taken.
    pub(super) outstanding: Arc<Outstanding>,
}

impl Prepared<'_> {
    /// Judges the rules and commits; a table that does not take its rows is left out, and what reads it too.
    ///
    /// Returns what became of alerts, or `None` where nothing had to be written: no record came, and nothing followed
    /// from the time that passed.
    pub(super) fn commit(
        mut self,
        plan: &Plan,
        store: &mut Store,
        state: &mut JobState,
        options: &RunOptions<'_>,
    ) -> Result<Option<Told>, RunError> {
        let mut owed = std::mem::take(&mut state.owed);
        let (actions, refused) = Retry::endless(options.stopped).until_done(|| store.open_actions())?;
        loop {
            let mut quarantine = state.quarantine.clone();
            let mut episodes = state.episodes.clone();
            self.taken.judge(&plan.rules, &plan.samples, &self.outcomes, state, &mut episodes);
            let (now, event_now) = (self.taken.now, self.taken.event_now());
            let (outlets, patience) = (&plan.job.notify, plan.job.alerts.unreached_after);
            episodes.judge_unreached(&self.outstanding, outlets, patience, (now, event_now));
            tell_apart(&mut episodes, store, options)?;
            let mut answers = episodes.act(&actions, &plan.job.alerts, &plan.wards, now, event_now);
            answers.extend(refused.iter().cloned());
            let reach = Reach::new(outlets, &self.outstanding, patience);
            let notices = episodes.notices(&plan.rules, &plan.job.alerts, &plan.wards, &reach, now);
            let alerts = episodes.take_changes();
            let notifications = address(&plan.job.name, &plan.job.notify, &notices, &plan.wards);
            let (failures, mut queries) = self.failures(&mut quarantine);
            queries.extend(state.edits.forgotten.iter().cloned());
            let alerting = Alerting { changes: &alerts, answers: &answers, notifications: &notifications };
            let written = self.written(plan, &owed, alerting, &failures, &queries, state);
            if self.is_idle(&written, state) {
                drop(written);
                state.owed = owed;
                state.memory.event_time = self.taken.event_time.clone();
                return Ok(None);
            }
            match commit(store, &written, options.stopped)? {
                Committed::Done => {
                    drop(written);
                    owed.retain(|table, _| !self.gave(table));
                    state.committed(self, quarantine, episodes);
                    state.owed.append(&mut owed);
                    return Ok(Some(Told { changes: alerts, notifications: notifications.len() }));
                }
                Committed::TableAtFault { table, reason } => {
                    drop(written);
                    self.leave_out(&table, reason, plan, &mut owed);
                }
            }
        }
    }

    /// Whether a batch without records leaves nothing behind.
    fn is_idle(&self, written: &Commit<'_>, state: &JobState) -> bool {
        written.ranges.is_empty()
            && written.alerting.is_empty()
            && written.failures.is_empty()
            && written.queries.is_empty()
            && written.edits.is_empty()
            && written.reference_changes.is_empty()
            && written.tables.iter().all(|table| table.rows.iter().all(|rows| rows.num_rows() == 0))
            && written.event_time.watermark == state.memory.event_time.watermark
    }

    /// A table's rows stay behind. Those of windows are kept to be written later: the windows are forgotten.
    fn leave_out(
        &mut self,
        table: &str,
        reason: String,
        plan: &Plan,
        owed: &mut BTreeMap<String, Vec<arrow::array::RecordBatch>>,
    ) {
        let failed = self.outcomes.iter_mut().find(|outcome| outcome.query == table);
        let failed = failed.unwrap_or_else(|| panic!("only tables of this batch are at fault"));
        let rows = std::mem::replace(&mut failed.rows, Err(QueryFailure(reason)));
        let windowed = plan.engine.queries().any(|query| query.windowed && query.file.name == table);
        if let (true, Ok(rows)) = (windowed, rows) {
            owed.entry(table.to_owned()).or_default().push(rows);
        }
        // What a snapshot would go on from has forgotten the windows whose rows are owed.
        self.snapshots.clear();
    }

    fn gave(&self, table: &str) -> bool {
        self.outcomes.iter().any(|outcome| outcome.query == table && outcome.rows.is_ok())
    }

    /// What failed in this batch, and the queries whose state changed with it.
    fn failures(&self, quarantine: &mut Quarantine) -> (Vec<Failed>, Vec<QueryState>) {
        let mut failures = Vec::new();
        let mut changed = Vec::new();
        for Outcome { query, rows, counted, trouble, .. } in &self.outcomes {
            let Some(failure) = rows.as_ref().err().or(trouble.as_ref()) else {
                changed.extend(quarantine.succeeded(query, self.taken.id));
                continue;
            };
            failures.push(Failed { query: query.clone(), error: failure.0.clone(), counted: *counted });
            if !quarantine.leaves_out(query, self.taken.id) {
                warn!(query, batch = %self.taken.id, error = %failure, "query failed; the others go on");
                changed.push(quarantine.failed(query, self.taken.id, &failure.0));
            }
        }
        (failures, changed)
    }

    fn written<'b>(
        &'b self,
        plan: &'b Plan,
        owed: &BTreeMap<String, Vec<arrow::array::RecordBatch>>,
        alerting: Alerting<'b>,
        failures: &'b [Failed],
        queries: &'b [QueryState],
        state: &'b JobState,
    ) -> Commit<'b> {
        let Taken { batch, rows, .. } = self.taken;
        let tables = plan.tables.iter().filter_map(|spec| {
            let outcome = self.outcomes.iter().find(|outcome| outcome.query == spec.name)?;
            let new = outcome.rows.as_ref().ok()?;
            let rows = owed.get(&spec.name).into_iter().flatten().chain([new]).cloned().collect();
            Some(TableRows { spec, rows })
        });
        Commit {
            batch: self.taken.id,
            now: self.taken.now,
            topic: &plan.job.source.topic,
            ranges: &batch.ranges,
            event_time: &self.taken.event_time,
            spans: &rows.spans,
            records: batch.records,
            frame_rows: batch.rows.num_rows(),
            rejects: &batch.rejects,
            artefacts: &batch.artefacts,
            late: &rows.late,
            duplicates: rows.duplicates,
            tables: tables.collect(),
            alerting,
            failures,
            queries,
            edits: &state.edits.looked_at,
            reference_changes: &state.edits.references,
            costs: &self.costs,
            snapshots: &self.snapshots,
            prepared_ms: batch.closed.elapsed().as_secs_f64() * 1_000.0,
        }
    }
}

/// Gives an episode that has just begun another name than any that the store has: what is over, and who acknowledged it, stays.
fn tell_apart(episodes: &mut OpenEpisodes, store: &mut Store, options: &RunOptions<'_>) -> Result<(), RunError> {
    let mut new = episodes.begun();
    while !new.is_empty() {
        let known = Retry::endless(options.stopped).until_done(|| store.known_episodes(&new))?;
        if !known.is_empty() {
            info!(episodes = known.len(), "episodes begin when others of their rule and patient began; both are kept");
        }
        new = known.iter().map(|key| episodes.begin_just_before(key)).collect();
    }
    Ok(())
}

impl JobState {
    /// Goes on behind a batch that is in the store.
    fn committed(&mut self, prepared: Prepared<'_>, quarantine: Quarantine, episodes: OpenEpisodes) {
        let Prepared { taken, snapshots, costs, .. } = prepared;
        if !costs.is_empty() {
            self.costs.told(taken.id);
        }
        self.edits = Edits::default();
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
    }
}
