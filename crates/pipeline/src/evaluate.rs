//! A batch's rows go through the queries.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use tracing::warn;

use wardwatch_alert::{Arrivals, Composed, Findings, OpenEpisodes, Samples, Streams, check_rows};
use wardwatch_model::terms::{BatchId, Partition};
use wardwatch_sql::{Input, Outcome, QueryFailure, SavedQuery};
use wardwatch_store::{QueryCost, Snapshot};

use super::admit::AdmittedBatch;
use super::begin::{Begun, begin};
use super::given::{artefacts, encounters_now, open_alerts};
use super::memory::Memory;
use super::periods::periods;
use super::plan::Plan;
use super::state::JobState;

/// Ages by what streams know of records' arrival.
#[derive(Debug)]
pub(crate) struct StreamAges<'a> {
    streams: &'a Streams,
    arrivals: &'a Arrivals,
    /// The source of each partition that is not the first one's.
    others: BTreeMap<Partition, usize>,
}

impl wardwatch_sql::Ages for StreamAges<'_> {
    fn of_columns<'a>(&'a self, source: usize, columns: &[&str]) -> wardwatch_sql::AgesOf<'a> {
        let is_own = move |partition| self.others.get(&partition).copied().unwrap_or(0) == source;
        let ages = self.streams.ages(columns, self.arrivals, is_own);
        Box::new(move |patient| ages(patient).map(|(record, columns)| wardwatch_sql::PatientAges { record, columns }))
    }

    fn last_value(&self, patient: &str, column: &str) -> Option<DateTime<Utc>> {
        self.streams.last_value(patient, column)
    }
}

/// What queries may look up beside a batch's rows.
pub(crate) struct Beside<'a> {
    admitted: &'a AdmittedBatch,
    open_alerts: Option<RecordBatch>,
    artefacts: RecordBatch,
    encounters_now: Option<RecordBatch>,
    history: Vec<RecordBatch>,
    ages: StreamAges<'a>,
}

impl Beside<'_> {
    /// The batch as queries see it, with nothing to judge yet.
    pub(super) fn input(&self) -> Input<'_> {
        let admitted = self.admitted;
        Input {
            batch: admitted.id,
            rows: &admitted.rows.all,
            again: admitted.again.as_ref(),
            judged: None,
            periods: &[],
            on_time: &admitted.rows.on_time,
            ages: Some(&self.ages),
            history: &self.history,
            open_alerts: self.open_alerts.as_ref(),
            artefacts: Some(&self.artefacts),
            encounters_now: self.encounters_now.as_ref(),
            leaving: &admitted.leaving,
            now: admitted.now,
            event_now: admitted.event_now(),
            partition_nows: &admitted.partition_nows,
            reached: &admitted.reached,
        }
    }
}

/// What each rule of several vitals is judged on, by its name.
pub(crate) fn composed_rows(plan: &Plan, samples: &Samples) -> BTreeMap<String, RecordBatch> {
    let composed =
        plan.rules.iter().filter_map(|rule| Some((rule.name.clone(), samples.composed(rule)?.rows().clone())));
    composed.collect()
}

/// A batch whose queries have run.
pub(super) struct EvaluatedBatch {
    pub(super) admitted: AdmittedBatch,
    /// What each query gave.
    pub(super) outcomes: Vec<Outcome>,
    /// What rules that begin gave on what stands.
    pub(super) begun: Vec<Begun>,
    /// What windowed queries keep, where that is to be stored.
    pub(super) snapshots: Vec<Snapshot>,
    /// What queries have cost, where that is to be told.
    pub(super) costs: Vec<QueryCost>,
}

impl AdmittedBatch {
    /// Runs the queries on it.
    pub(super) fn evaluate(self, plan: &mut Plan, state: &mut JobState) -> EvaluatedBatch {
        let outcomes = self.run_queries(plan, state, &state.episodes);
        // A limit begins, or ends, also where nobody sets one.
        if let Some(before) = state.memory.event_time.now
            && !plan.engine.reference_changes(&plan.samples.key, before, self.event_now()).is_empty()
        {
            state.begin(plan.seldom_judged());
        }
        let begun = begin(&self, &outcomes, plan, state);
        state.costs.add(&outcomes);
        let costs = state.costs.due(self.id, plan.job.sql.snapshot_every);
        let snapshots = state.due_snapshots(plan, &self);
        EvaluatedBatch { admitted: self, outcomes, begun, snapshots, costs }
    }
}

impl AdmittedBatch {
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
            admitted: self,
            open_alerts: plan.engine.reads_alerts().then(|| open_alerts(episodes, &plan.samples)),
            artefacts: artefacts(&self.batch.artefacts, &plan.samples),
            encounters_now,
            history: state.memory.history(),
            ages: StreamAges {
                streams: &state.memory.streams,
                arrivals: &self.arrivals,
                others: plan.sources().others(self.event_time.watermarks.keys().copied()),
            },
        }
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
    pub(super) fn due_snapshots(&self, plan: &mut Plan, admitted: &AdmittedBatch) -> Vec<Snapshot> {
        let is_first = self.last_snapshot == BatchId(0);
        let is_due = is_first || admitted.id.0 - self.last_snapshot.0 >= plan.job.sql.snapshot_every;
        if is_due && !admitted.batch.ranges.is_empty() { snapshots(plan, &self.memory) } else { Vec::new() }
    }
}
