//! A batch's rows go through the queries.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

use wardwatch_alert::{Arrivals, Composed, Findings, OpenEpisodes, Samples, Streams, check_rows};
use wardwatch_sql::{Input, Outcome, QueryFailure};

use super::admit::Taken;
use super::given::{artefacts, encounters_now, open_alerts};
use super::periods::periods;
use super::plan::Plan;
use super::state::JobState;

/// Ages by what streams know of records' arrival.
#[derive(Debug)]
pub(crate) struct StreamAges<'a> {
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
pub(crate) struct Beside<'a> {
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
pub(crate) fn composed_rows(plan: &Plan, samples: &Samples) -> BTreeMap<String, RecordBatch> {
    let composed =
        plan.rules.iter().filter_map(|rule| Some((rule.name.clone(), samples.composed(rule)?.rows().clone())));
    composed.collect()
}

impl Taken {
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
}
