//! The set of queries, planned once and run on every micro-batch in the order of what they read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::physical_plan::{ExecutionPlan, displayable};

use wardwatch_model::clock::Stopwatch;
use wardwatch_model::diagnostic::Warning;

use super::batch::{Input, Outcome, Progress};
use super::execute::{QueryFailure, Runner};
use super::file::QueryKind;
use super::functions::FrozenTimes;
use super::given::ENCOUNTERS_NOW;
use super::latest::Latest;
use super::query::{Body, Planned, Query, Slots, StreamSlots};
use super::run::{Giving, Run, batch_number, own_watermark};
use super::sampled::numbered;
use super::slot::Slot;
use super::window::Open;

/// All queries of a set, ready to run, with what the windowed ones keep.
#[derive(Debug)]
pub struct Engine {
    pub(super) slots: Slots,
    pub(super) times: FrozenTimes,
    pub(super) queries: Vec<Query>,
    /// The last values of each patient, of each source whose queries read them.
    pub(super) latest: Vec<Latest>,
    /// Whether a query reads the rows of the last while.
    pub(super) reads_history: bool,
    /// Whether a query reads the alerts that stand.
    pub(super) reads_alerts: bool,
    /// Whether a query reads who is here.
    pub(super) reads_encounters: bool,
    /// What is no fault but mostly a mistake.
    pub(super) warnings: Vec<Warning>,
    pub(super) runner: Runner,
}

impl Engine {
    /// Gives a reference table other rows, from the next batch on.
    pub fn set_reference(&mut self, table: &str, rows: &RecordBatch) {
        if let Some(slot) = self.slots.references.get(table) {
            slot.fill(rows);
        }
    }

    /// The queries in the order in which they run.
    pub fn queries(&self) -> impl Iterator<Item = &Planned> + Clone {
        self.queries.iter().map(|query| &query.planned)
    }

    /// Runs every query on one batch, leaving out those that `skip` names.
    ///
    /// A query that fails leaves the others alone, but for those that read it. Windowed queries go on from batch to
    /// batch; the windows that they close are forgotten: their rows are the caller's.
    pub fn run(&mut self, input: &Input<'_>, skip: &dyn Fn(&str) -> bool) -> Vec<Outcome> {
        self.fill(input);
        self.fill_history(input.history);
        let unreadable = self.keep_latest(input, Giving::Rows, &|_| false);
        if let Some(again) = input.again {
            for stream in &self.slots.streams {
                stream.all.fill_all(&[input.rows, again].map(|rows| stream.own.of_batch(rows)));
            }
        }
        let mut run = Run::new(Giving::Rows, &self.slots);
        run.unreadable = unreadable;
        for query in &mut self.queries {
            let running = Stopwatch::start();
            run.query(query, &self.runner, input, skip);
            let (name, took) = (&query.planned.file.name, running.elapsed());
            tracing::debug!(query = name, batch = %input.batch, seconds = took.as_secs_f64(), "query run");
            if let Some(outcome) = run.outcomes.last_mut().filter(|outcome| outcome.query == *name) {
                outcome.took = took;
            }
        }
        self.judge_by_period(&mut run, input, skip);
        self.clear();
        self.evict_closed(input.reached);
        run.outcomes
    }

    /// Repeats a batch that was committed: windows count its rows and close.
    ///
    /// `left_out` names the queries that did not count its rows the first time either. Nothing is given out but the
    /// closed windows of those that `give` names.
    pub fn repeat(
        &mut self,
        input: &Input<'_>,
        left_out: &dyn Fn(&str) -> bool,
        give: &dyn Fn(&str) -> bool,
    ) -> Vec<(String, RecordBatch)> {
        self.fill(input);
        // What they lacked when the batch was run they lack again, and whoever reads them was told then.
        drop(self.keep_latest(input, Giving::Nothing, left_out));
        // Windows may look things up in views of reference tables.
        let is_wanted = |query: &Query| {
            query.planned.windowed || (query.planned.file.kind == QueryKind::View && !query.planned.per_row)
        };
        let mut run = Run::new(Giving::Nothing, &self.slots);
        for query in self.queries.iter_mut().filter(|query| is_wanted(query)) {
            let gives = query.planned.windowed && give(&query.planned.file.name);
            run.giving = if gives { Giving::Closed } else { Giving::Nothing };
            run.query(query, &self.runner, input, left_out);
        }
        self.clear();
        self.evict_closed(input.reached);
        let given = run.outcomes.into_iter().filter(|outcome| give(&outcome.query));
        given.filter_map(|outcome| Some((outcome.query, outcome.rows.ok()?))).collect()
    }

    /// Forgets the windows that the batch closed.
    fn evict_closed(&mut self, reached: &[Progress]) {
        let mut watermarks = BTreeMap::new();
        for query in &mut self.queries {
            if let Body::Windowed(windowed) = &mut query.body {
                let own = own_watermark((&windowed.stream, query.planned.source), &watermarks, reached);
                windowed.evict_closed(own);
                watermarks.insert(query.planned.file.name.clone(), windowed.complete_to(own));
            }
        }
    }

    pub(super) fn fill(&mut self, input: &Input<'_>) {
        self.times.set(input.now, input.event_now);
        let partitions = input.partition_nows.iter();
        self.times.partitions().set(partitions.map(|(partition, now)| (partition.0, now.timestamp_micros())));
        let numbered_rows = input.judged.map(|judged| numbered(judged.rows));
        for stream in &self.slots.streams {
            stream.all.fill(&stream.own.of_batch(input.rows));
            stream.on_time.fill(&stream.own.of_batch(input.on_time));
            numbered_rows.iter().for_each(|rows| stream.judged.fill(&stream.own.of_batch(rows)));
            let artefacts = input.artefacts.map(|artefacts| stream.own.artefacts_of(artefacts));
            stream.artefacts.fill_all(artefacts.as_slice());
        }
        if let Some(judged) = input.judged {
            for query in &self.queries {
                let Some(slot) = &query.judged else { continue };
                let rows = judged.composed.get(&query.planned.file.name).unwrap_or(judged.rows);
                slot.fill(&self.slots.streams[query.planned.source].own.of_batch(&numbered(rows)));
            }
        }
        self.slots.open_alerts.fill_all(input.open_alerts.map_or(&[], std::slice::from_ref));
        self.slots.encounters_now.fill_all(input.encounters_now.map_or(&[], std::slice::from_ref));
    }

    pub(super) fn fill_history(&self, history: &[RecordBatch]) {
        for stream in &self.slots.streams {
            stream.history.fill_all(&history.iter().map(|rows| stream.own.of_batch(rows)).collect::<Vec<_>>());
        }
    }

    /// Brings the last values of patients up to date, but for those that `left_out` names. Those who are let go of make room for
    /// others, and are let go of again where the batch has a row of them: it is of before.
    ///
    /// Returns which of them are not up to date, and why.
    fn keep_latest(
        &mut self,
        input: &Input<'_>,
        giving: Giving,
        left_out: &dyn Fn(&str) -> bool,
    ) -> Vec<(String, QueryFailure)> {
        let is_leaving = |patient: &str| input.leaving.contains_key(patient);
        let mut failed = Vec::new();
        for latest in self.latest.iter_mut().filter(|latest| !left_out(&latest.name)) {
            let running = Stopwatch::start();
            if !input.leaving.is_empty() {
                latest.windowed.forget(&is_leaving);
            }
            let kept = latest.windowed.fold(&self.runner, batch_number(input.batch));
            if !input.leaving.is_empty() {
                latest.windowed.forget(&is_leaving);
            }
            let folded = running.elapsed().as_secs_f64();
            let shown = match giving {
                Giving::Rows => {
                    let rows = latest.windowed.open(&self.runner, None, Open::All);
                    rows.map(|rows| latest.show(&rows, input.ages))
                }
                Giving::Closed | Giving::Nothing => Ok(()),
            };
            let seconds = running.elapsed().as_secs_f64();
            tracing::debug!(query = latest.name, batch = %input.batch, folded_seconds = folded, seconds, "query run");
            failed.extend(kept.and(shown).err().map(|failure| (latest.name.clone(), failure)));
        }
        failed
    }

    pub(super) fn clear(&mut self) {
        let Slots { streams, open_alerts, encounters_now, references: _ } = &self.slots;
        streams.iter().for_each(StreamSlots::clear);
        open_alerts.clear();
        encounters_now.clear();
        self.latest.iter().for_each(|latest| latest.slot.clear());
        for query in &self.queries {
            query.closed.iter().chain(&query.current).chain(&query.judged).for_each(Slot::clear);
        }
    }

    /// Whether a query reads the rows of the last while.
    #[must_use]
    pub fn reads_history(&self) -> bool {
        self.reads_history
    }

    /// What in the queries is no fault but mostly a mistake, in the order of the files.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The tables whose rows change without records: reference tables, and who is here.
    pub fn looked_up(&self) -> impl Iterator<Item = &str> {
        self.slots.references.keys().map(String::as_str).chain([ENCOUNTERS_NOW])
    }

    /// The tables that queries read and no query makes.
    #[must_use]
    pub fn given_reads(&self) -> BTreeSet<String> {
        self.queries.iter().flat_map(|query| query.planned.given.iter().cloned()).collect()
    }

    /// How `query` is computed: each step with DataFusion's plan of it, as text.
    #[must_use]
    pub fn explain(&self, query: &str) -> Vec<(&'static str, String)> {
        let Some(query) = self.queries.iter().find(|known| known.planned.file.name == query) else { return Vec::new() };
        let text = |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(false).to_string();
        let mut steps = match &query.body {
            Body::Plain(plan) => vec![("on the rows of each batch", text(plan))],
            Body::Windowed(windowed) => windowed.plans().into_iter().map(|(step, plan)| (step, text(plan))).collect(),
        };
        steps.extend(query.clear.iter().map(|plan| ("@clear_when, on the rows of each batch", text(plan))));
        steps
    }

    /// The window of `query` in words, where it has one.
    #[must_use]
    pub fn window(&self, query: &str) -> Option<String> {
        let query = self.queries.iter().find(|known| known.planned.file.name == query)?;
        match &query.body {
            Body::Plain(_) => None,
            Body::Windowed(windowed) => Some(windowed.window.to_string()),
        }
    }

    /// How long after a row the windows of `query` that have it have ended, by the devices' time and without the lateness: where it
    /// has windows of other windows, those count too.
    #[must_use]
    pub fn windows_last(&self, query: &str) -> Duration {
        let mut micros: i64 = 0;
        let mut name = query;
        while let Some(Query { body: Body::Windowed(windowed), .. }) =
            self.queries.iter().find(|known| known.planned.file.name == name)
        {
            micros = micros.saturating_add(windowed.lasts());
            name = &windowed.stream;
        }
        Duration::from_micros(micros.unsigned_abs())
    }

    /// Whether a query reads who is here.
    #[must_use]
    pub fn reads_encounters(&self) -> bool {
        self.reads_encounters
    }

    /// Whether a query reads the alerts that stand.
    #[must_use]
    pub fn reads_alerts(&self) -> bool {
        self.reads_alerts
    }
}
