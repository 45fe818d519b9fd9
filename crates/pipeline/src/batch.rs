//! One micro-batch on its way: sorted out, run through the queries, judged, committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use chrono::{DateTime, TimeDelta, Utc};
use tracing::{info, warn};

use wardwatch_alert::{
    self, Arrivals, Change, Composed, Findings, Judged, Moment, OpenEpisodes, Outstanding, Reach, Rule, Samples,
    Streams, Unjudged, Unread, ValidFor, Watch, address, check_rows, is_system_rule,
};
use wardwatch_frame::{Attached, attach_artefacts, unattached};
use wardwatch_ingest::source::{self, MicroBatch, Standstill};
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::event_time::{EventTime, Seen};
use wardwatch_model::record::Unattached;
use wardwatch_model::terms::{BatchId, Partition};
use wardwatch_sql::{Input, Outcome, QueryFailure};
use wardwatch_store::{
    Alerting, AttachedLater, Commit, CoverageChanges, Failed, QueryCost, QueryState, Snapshot, Store, StoreError,
    TableFault, TableRows, Way,
};

use super::attaching::{Leaving, attached_later};
use super::given::{artefacts, encounters_now, open_alerts};
use super::memory::{Rows, patience};
use super::periods::periods;
use super::plan::Plan;
use super::quarantine::Quarantine;
use super::retry::Stall;
use super::run::{RunError, RunOptions};
use super::standing::Standing;
use super::state::{Edits, JobState};
use super::tables::{MOST_PENDING, TableStates};

/// A batch whose rows are sorted out.
pub(super) struct Taken {
    pub(super) id: BatchId,
    pub(super) now: DateTime<Utc>,
    pub(super) batch: MicroBatch,
    /// Its rows as they were decoded, before they were attached to patients.
    pub(super) decoded: RecordBatch,
    pub(super) rows: Rows,
    /// Event time after it.
    pub(super) event_time: EventTime,
    partition_nows: BTreeMap<Partition, DateTime<Utc>>,
    /// The rows that are nobody's.
    unattached: Vec<Unattached>,
    /// The first of its rows, which waited for somebody to say whose they are.
    attached_later: Vec<AttachedLater>,
    /// The patients who are let go of with it.
    pub(super) leaving: Leaving,
    /// At what its rules are judged.
    pub(super) samples: Samples,
    /// How far each partition has got, by Kafka's stamps.
    pub(super) arrivals: Arrivals,
    /// Whether windows that are open are to be given out.
    pub(super) show_open: bool,
    /// Whether it is committed though it leaves nothing behind, so that others see that the job runs.
    pub(super) shows_life: bool,
}

impl Taken {
    pub(super) fn of(mut batch: MicroBatch, plan: &Plan, state: &mut JobState, now: DateTime<Utc>) -> Self {
        let now = state.after_last(now);
        let attaching = &mut state.attaching;
        let waited = attaching.take_waited();
        batch.rows = in_front(&waited.rows, &batch.rows);
        let Attached { rows: attached, nobody } = attaching.attach(plan, &batch.rows);
        let attached_later = attached_later(waited.places, &attached, &plan.samples.key);
        let unattached = unattached(&batch.rows, &nobody, (&plan.samples.key, &plan.samples.event_time));
        attach_artefacts(&mut batch.artefacts, attaching.keyed(), attaching.encounters());
        let decoded = std::mem::replace(&mut batch.rows, attached);
        let rows = state.memory.take(plan, &batch.rows, &nobody, now);
        let samples = state.memory.note_samples(plan, &rows.all, now);
        for (reject, stamped) in batch.rejects.iter().filter_map(|reject| Some((reject, reject.stamped_at?))) {
            state.memory.streams.reach(reject.partition, stamped.min(now));
        }
        // While the batch waited to be taken, more may have come.
        let since_look = batch.looked.and_then(|looked| TimeDelta::from_std(looked.elapsed()).ok()).unwrap_or_default();
        state.memory.streams.catch_up(&batch.at_end, now - since_look);
        state.coverage.note(&batch.artefacts, now);
        state.coverage.note_doubtful(plan, &batch.artefacts, now);
        state.coverage.note_rejects(&batch.rejects, &rows.all, (&state.memory.streams, &plan.samples), now);
        let active: BTreeSet<Partition> = batch.ranges.keys().copied().collect();
        let seen = Seen {
            watermarks: &rows.watermarks,
            active: &active,
            at_end: &batch.at_end,
            keeps_windows: batch.keeps_windows,
            partitions: &batch.partitions,
            waiting_since: state.waiting_since,
            now,
        };
        let patience = patience(&plan.job.source);
        let event_time = state.memory.event_time.after(&seen, &patience);
        let id = state.last_batch.next();
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
            show_open: event_time.is_silent(&seen, &patience),
            shows_life: false,
            partition_nows: event_time.partition_nows(&seen, &patience),
            arrivals,
            event_time,
            decoded,
            unattached,
            attached_later,
            leaving,
            samples,
            rows,
            batch,
        }
    }

    /// Runs the queries, which see `episodes` as the alerts that stand.
    pub(super) fn run_queries(&self, plan: &mut Plan, state: &JobState, episodes: &OpenEpisodes) -> Vec<Outcome> {
        let composed = composed_rows(plan, &self.samples);
        let periods = periods(self, plan, state, self.event_now());
        let beside = self.beside(plan, state, episodes);
        let input = Input {
            judged: Some(wardwatch_sql::Judged { rows: &self.rows.all, composed: &composed }),
            periods: &periods,
            ..beside.input()
        };
        let mut outcomes = plan.engine.run(&input, &|query| state.quarantine.leaves_out(query, self.id));
        for outcome in &mut outcomes {
            let rule = plan.rules.iter().find(|rule| rule.name == outcome.query);
            if let (Some(rule), Ok(rows)) = (rule, &outcome.rows)
                && let found = (Findings { rows, samples: outcome.samples.as_ref() })
                && let judged_on = self.samples.composed(rule).filter(|_| found.samples.is_some())
                && let frame = judged_on.map_or(&self.rows.all, Composed::rows)
                && let Err(fault) = check_rows(rule, found, frame, &plan.samples)
            {
                outcome.rows = Err(QueryFailure(fault));
            }
        }
        outcomes
    }

    /// What queries may look up beside the batch's rows.
    pub(super) fn beside<'a>(&'a self, plan: &Plan, state: &'a JobState, episodes: &OpenEpisodes) -> Beside<'a> {
        let encounters_now = plan.engine.reads_encounters().then(|| {
            let present = state.attaching.encounters().present(self.event_now());
            encounters_now(&present, &plan.samples)
        });
        Beside {
            taken: self,
            open_alerts: plan.engine.reads_alerts().then(|| open_alerts(episodes, &plan.samples)),
            artefacts: artefacts(&self.batch.artefacts, &plan.samples),
            encounters_now,
            history: state.memory.history(),
            ages: StreamAges { streams: &state.memory.streams, arrivals: &self.arrivals },
        }
    }

    /// Judges every rule that gave rows, and those that begin on what is `standing`. Returns which rules do not judge which patients, where that was found out again.
    pub(super) fn judge(
        &self,
        plan: &Plan,
        rules: &[Rule],
        (outcomes, standing): (&[Outcome], &[Standing]),
        state: &JobState,
        (quarantine, episodes): (&Quarantine, &mut OpenEpisodes),
    ) -> Option<Vec<Unjudged>> {
        let departures = state.attaching.encounters().departures(self.event_now());
        let moment = Moment {
            samples: &self.samples,
            streams: &state.memory.streams,
            arrivals: &self.arrivals,
            lateness: TimeDelta::from_std(plan.job.source.lateness).unwrap_or(TimeDelta::MAX),
            columns: &plan.samples,
            now: self.now,
            event_now: self.event_now(),
            departures: &departures,
        };
        let is_gone = |rule: &str| !is_system_rule(rule) && !rules.iter().any(|known| known.name == rule);
        episodes.end_rules(&is_gone, moment.event_now);
        for rule in rules {
            let outcome = outcomes.iter().find(|outcome| outcome.query == rule.name);
            if rule.judged == Judged::ByBatch {
                // What is known at a time is known of those who are here then.
                episodes.leave_rule(&rule.name, &self.leaving);
            }
            if let Some(Outcome { rows: Ok(rows), samples, clear, .. }) = outcome {
                // A sample is of a time at which its patient was here, or it would be nobody's.
                let here = (rule.judged == Judged::ByBatch)
                    .then(|| state.attaching.of_present(rows, &plan.samples.key, moment.event_now));
                let rows = here.as_ref().unwrap_or(rows);
                let conditions = Findings { rows, samples: samples.as_ref() };
                let clear = clear.as_ref().map(|(rows, samples)| Findings { rows, samples: samples.as_ref() });
                episodes.judge(rule, &wardwatch_alert::Rows { conditions, clear }, &moment);
            }
        }
        standing.iter().for_each(|standing| standing.judge(episodes, &moment));
        episodes.end_stays(rules, &moment);
        episodes.let_time_pass_until(rules, &self.leaving, &moment);
        episodes.leave(&self.leaving);
        episodes.let_time_pass(rules, &moment);
        let nobodys = state.attaching.nobodys().into_iter().map(|(patient, (text, _))| (patient, text));
        episodes.judge_unattached(&nobodys.collect(), &moment);
        state.coverage.is_due(self.now).then(|| {
            let failing = quarantine.failing_rules(rules.iter().map(|rule| rule.name.as_str()), &plan.reads());
            let (unread, wards) = (self.unread(), state.attaching.wards(plan, moment.event_now));
            let valid_for = |column: &str| plan.valid_for(column);
            let counts = |patient: &str| state.memory.streams.has_valid_value(patient, &self.arrivals, &valid_for);
            let others = state.coverage.others((&state.memory.streams, rules), &counts, &state.attaching, self.now);
            let rejected = state.coverage.why_rejected();
            let watch = Watch {
                rules,
                moment: &moment,
                valid_for: plan,
                bad_values: state.coverage.bad_values(),
                rejected: &rejected,
                failing: &failing,
                unread: &unread,
                wards: &wards,
                others: &others,
            };
            let unjudged = watch.unjudged(episodes);
            watch.judge(episodes, &unjudged);
            let at_fault = state.tables.at_fault();
            episodes.judge_tables(at_fault.iter().map(|fault| (fault.table.as_str(), fault.reason.as_str())), &moment);
            episodes.judge_unread(&unread, &moment);
            episodes.judge_incomplete(state.coverage.incomplete(), &moment);
            episodes.judge_host_clock(state.clock_behind, &moment);
            episodes.judge_references(state.reference_fault.as_deref(), &moment);
            episodes.judge_limits(&plan.lost_defaults(moment.event_now), &moment);
            episodes.judge_doubtful(&state.coverage.doubtful(plan, &state.memory.streams), &moment);
            episodes.judge_rejected(&state.coverage.rejected(), &moment);
            unjudged
        })
    }

    /// Takes note of how queries fared with this batch. Returns what failed, and the queries whose state has changed.
    pub(super) fn note_failures(
        &self,
        plan: &Plan,
        outcomes: &[Outcome],
        quarantine: &mut Quarantine,
    ) -> (Vec<Failed>, Vec<QueryState>) {
        let windows_last = |query: &str| {
            TimeDelta::from_std(plan.engine.windows_last(query) + plan.job.source.lateness).unwrap_or(TimeDelta::MAX)
        };
        quarantine.note(outcomes, &plan.reads(), &windows_last, (self.id, self.now))
    }

    /// What the source could not read, each since when by the job's clock.
    pub(super) fn unread(&self) -> Unread {
        let since = |stands: &Standstill| {
            let lasts = TimeDelta::from_std(stands.lasts).unwrap_or(TimeDelta::zero());
            (self.now - lasts, stands.reason.clone())
        };
        let source::Unread { kafka_away, stalled } = &self.batch.unread;
        Unread {
            kafka_away: kafka_away.as_ref().map(since),
            stalled: stalled.iter().map(|(partition, stands)| (*partition, since(stands))).collect(),
        }
    }

    fn event_now(&self) -> DateTime<Utc> {
        self.event_time.now.unwrap_or(self.now)
    }
}

/// Ages by what streams know of records' arrival.
#[derive(Debug)]
struct StreamAges<'a> {
    streams: &'a Streams,
    arrivals: &'a Arrivals,
}

impl wardwatch_sql::Ages for StreamAges<'_> {
    fn of_columns<'a>(&'a self, columns: &[&str]) -> wardwatch_sql::AgesOf<'a> {
        let ages = self.streams.ages(columns, self.arrivals);
        Box::new(move |patient| ages(patient).map(|(record, columns)| wardwatch_sql::PatientAges { record, columns }))
    }

    fn last_value(&self, patient: &str, column: &str) -> Option<DateTime<Utc>> {
        self.streams.last_value(patient, column)
    }
}

/// What queries may look up beside a batch's rows.
pub(super) struct Beside<'a> {
    taken: &'a Taken,
    open_alerts: Option<RecordBatch>,
    artefacts: RecordBatch,
    encounters_now: Option<RecordBatch>,
    history: Vec<RecordBatch>,
    ages: StreamAges<'a>,
}

impl Beside<'_> {
    /// The batch as queries see it, with nothing to judge yet.
    pub(super) fn input(&self) -> Input<'_> {
        let taken = self.taken;
        Input {
            batch: taken.id,
            rows: &taken.rows.all,
            judged: None,
            periods: &[],
            on_time: &taken.rows.on_time,
            ages: Some(&self.ages),
            history: &self.history,
            open_alerts: self.open_alerts.as_ref(),
            artefacts: Some(&self.artefacts),
            encounters_now: self.encounters_now.as_ref(),
            leaving: &taken.leaving,
            now: taken.now,
            event_now: taken.event_now(),
            partition_nows: &taken.partition_nows,
            watermark: taken.event_time.watermark,
            show_open: taken.show_open,
        }
    }
}

/// What each rule of several vitals is judged on, by its name.
fn composed_rows(plan: &Plan, samples: &Samples) -> BTreeMap<String, RecordBatch> {
    let composed =
        plan.rules.iter().filter_map(|rule| Some((rule.name.clone(), samples.composed(rule)?.rows().clone())));
    composed.collect()
}

/// What became of alerts with a batch that is in the store.
pub(super) struct Told {
    pub(super) changes: Vec<Change>,
    pub(super) notifications: usize,
}

/// How queries and their tables fared with a batch, as far as it is to be stored.
#[derive(Clone, Copy)]
struct Fared<'a> {
    failures: &'a [Failed],
    queries: &'a [QueryState],
    table_faults: &'a [TableFault],
}

/// A batch whose queries have run.
pub(super) struct Prepared<'a> {
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
fn leave_out_known(
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
fn tell_apart(episodes: &mut OpenEpisodes, store: &mut Store, options: &RunOptions<'_>) -> Result<(), RunError> {
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

/// Rows with others in front of them.
pub(super) fn in_front(first: &RecordBatch, rows: &RecordBatch) -> RecordBatch {
    if first.num_rows() == 0 {
        return rows.clone();
    }
    concat_batches(&rows.schema(), [first, rows])
        .unwrap_or_else(|error| panic!("both are of a decoder's schema: {error}"))
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
