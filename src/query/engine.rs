//! The set of queries, planned once and run on every micro-batch in the order of what they read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::physical_plan::{ExecutionPlan, displayable};

use crate::clock::Stopwatch;
use crate::diagnostic::{Diagnostics, Warning};
use crate::terms::{BatchId, Partition, Watermark};

use super::execute::{Limits, QueryFailure, Runner};
use super::file::{QueryFile, QueryKind};
use super::functions::FrozenTimes;
use super::header::Emit;
use super::keyed::in_key_order;
use super::planner::{Body, Latest, Planner, Query};
use super::seed::Seed;
use super::slot::Slot;
use super::window::{Open, Saved, Windowed};

/// All queries of a set, ready to run, with what the windowed ones keep.
#[derive(Debug)]
pub struct Engine {
    pub(super) slots: Slots,
    pub(super) times: FrozenTimes,
    pub(super) queries: Vec<Query>,
    /// The last values of each patient, where a query reads them.
    pub(super) latest: Option<Latest>,
    /// Whether a query reads the rows of the last while.
    pub(super) reads_history: bool,
    /// Whether a query reads the alerts that stand.
    pub(super) reads_alerts: bool,
    /// What is no fault but mostly a mistake.
    pub(super) warnings: Vec<Warning>,
    pub(super) runner: Runner,
}

/// What queries read that is not another query's.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    /// Every row of the batch.
    pub(super) all: Slot,
    /// Those that were on time.
    pub(super) on_time: Slot,
    /// The rows of the last while.
    pub(super) history: Slot,
    /// The alerts that stood after the batch before.
    pub(super) open_alerts: Slot,
    /// The batch's values that cannot be true.
    pub(super) artefacts: Slot,
    /// Reference tables by name.
    pub(super) references: BTreeMap<String, Slot>,
}

/// A query that was planned.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its file.
    pub file: QueryFile,
    /// The schema of its rows.
    pub schema: SchemaRef,
    /// The queries it reads.
    pub reads: Vec<String>,
    /// The tables it reads that no query makes.
    pub given: Vec<String>,
    /// Whether its rows come from those of the batch, directly or through other queries. Where not, they are a matter
    /// of what is known at a time: of windows, of the last values, of reference tables.
    pub per_row: bool,
    /// Whether it has nothing to say on a batch without rows.
    pub needs_rows: bool,
    /// Whether it is kept up over windows.
    pub windowed: bool,
    /// Whether it reads rows of batches before this one.
    pub looks_back: bool,
    /// Of a query without windows: whether its rows depend on which records came in one batch.
    pub by_batch: bool,
    /// Of a rule: the columns of the source that its condition depends on.
    pub vitals: Vec<String>,
}

/// What the planner needs to know of the job: the source's table and the columns that name patient and time.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The name under which queries read the batch.
    pub table: &'a str,
    /// The schema of the batch.
    pub schema: SchemaRef,
    /// The column that a rule must return.
    pub key: &'a str,
    /// The column by which a rule tells samples apart, if it returns it, and by which windows go.
    pub event_time: &'a str,
}

/// One micro-batch as queries see it.
#[derive(Debug)]
pub struct Input<'a> {
    /// The batch.
    pub batch: BatchId,
    /// Every row of it.
    pub rows: &'a RecordBatch,
    /// Those that were on time: what windows count.
    pub on_time: &'a RecordBatch,
    /// The rows of the last while, those of this batch included.
    pub history: &'a [RecordBatch],
    /// The alerts that stood after the batch before, as [`open_alerts_schema`](super::open_alerts_schema) has them.
    pub open_alerts: Option<&'a RecordBatch>,
    /// Its values that cannot be true, as [`artefacts_schema`](super::artefacts_schema) has them.
    pub artefacts: Option<&'a RecordBatch>,
    /// Its frozen time.
    pub now: DateTime<Utc>,
    /// Its frozen time by the devices' clocks.
    pub event_now: DateTime<Utc>,
    /// The same for each partition; one that is read behind others has not got so far.
    pub partition_nows: &'a BTreeMap<Partition, DateTime<Utc>>,
    /// Windows that end by it close.
    pub watermark: Option<Watermark>,
    /// Whether windows that have not closed are to be given out as they stand, because nothing more may come.
    pub show_open: bool,
}

/// What one query gave on one batch.
#[derive(Debug)]
pub struct Outcome {
    /// The query's name.
    pub query: String,
    /// Its rows; those of a table query are in the order of their key.
    pub rows: Result<RecordBatch, QueryFailure>,
    /// Of a rule with `@clear_when`: the rows at which that is true.
    pub clear: Option<RecordBatch>,
    /// Whether the batch's rows are in its windows; `true` for a query without windows.
    pub counted: bool,
    /// What went wrong beside, though there are rows: the batch was not counted, or some window not computed.
    pub trouble: Option<QueryFailure>,
    /// How long it took.
    pub took: Duration,
}

impl Engine {
    /// Plans every query of the set.
    ///
    /// # Errors
    /// Every fault of every file: SQL that is none, what is refused, unknown names, cycles, results that no table
    /// or rule can have.
    pub fn plan(
        files: Vec<QueryFile>,
        seeds: &[Seed],
        source: &Source<'_>,
        limits: Limits,
    ) -> Result<Self, Diagnostics> {
        Planner::new(source, seeds, limits).plan_set(files)
    }

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
        self.slots.history.fill_all(input.history);
        self.keep_latest(input, Giving::Rows);
        let mut run = Run::new(Giving::Rows);
        for query in &mut self.queries {
            let running = Stopwatch::start();
            run.query(query, &self.runner, input, skip);
            let (name, took) = (&query.planned.file.name, running.elapsed());
            tracing::debug!(query = name, batch = %input.batch, seconds = took.as_secs_f64(), "query run");
            if let Some(outcome) = run.outcomes.last_mut().filter(|outcome| outcome.query == *name) {
                outcome.took = took;
            }
        }
        self.clear();
        self.settle(input.watermark);
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
        if self.latest.as_ref().is_some_and(|latest| !left_out(&latest.name)) {
            self.keep_latest(input, Giving::Nothing);
        }
        // Windows may look things up in views of reference tables.
        let is_wanted = |query: &Query| {
            query.planned.windowed || (query.planned.file.kind == QueryKind::View && !query.planned.per_row)
        };
        let mut run = Run::new(Giving::Nothing);
        for query in self.queries.iter_mut().filter(|query| is_wanted(query)) {
            let gives = query.planned.windowed && give(&query.planned.file.name);
            run.giving = if gives { Giving::Closed } else { Giving::Nothing };
            run.query(query, &self.runner, input, left_out);
        }
        self.clear();
        self.settle(input.watermark);
        let given = run.outcomes.into_iter().filter(|outcome| give(&outcome.query));
        given.filter_map(|outcome| Some((outcome.query, outcome.rows.ok()?))).collect()
    }

    /// Goes on with what `running` keeps for the queries that `names` says are the same there.
    pub fn adopt(&mut self, running: &mut Self, names: &dyn Fn(&str) -> bool) {
        let kept: Vec<String> = self.kept().map(|kept| kept.name.to_owned()).filter(|name| names(name)).collect();
        for name in kept {
            if let (Some(new), Some(old)) = (self.windowed_mut(&name), running.windowed_mut(&name)) {
                new.adopt(old);
            }
        }
        for (name, slot) in &self.slots.references {
            if let Some(known) = running.slots.references.get(name)
                && known.schema() == slot.schema()
            {
                slot.fill_all(&known.rows());
            }
        }
    }

    /// Is as it was before the first batch; reference tables keep their rows.
    pub fn start_over(&mut self) {
        for query in &mut self.queries {
            if let Body::Windowed(windowed) = &mut query.body {
                windowed.start_over();
            }
        }
        self.latest.iter_mut().for_each(|latest| latest.windowed.start_over());
    }

    /// Forgets the windows that the batch closed.
    fn settle(&mut self, watermark: Option<Watermark>) {
        let mut watermarks = BTreeMap::new();
        for query in &mut self.queries {
            if let Body::Windowed(windowed) = &mut query.body {
                let own = own_watermark(&windowed.stream, &watermarks, watermark);
                windowed.settle(own);
                watermarks.insert(query.planned.file.name.clone(), windowed.complete_to(own));
            }
        }
    }

    fn fill(&mut self, input: &Input<'_>) {
        self.times.set(input.now, input.event_now);
        let partitions = input.partition_nows.iter();
        self.times.partitions().set(partitions.map(|(partition, now)| (partition.0, now.timestamp_micros())));
        self.slots.all.fill(input.rows);
        self.slots.on_time.fill(input.on_time);
        self.slots.open_alerts.fill_all(input.open_alerts.map_or(&[], std::slice::from_ref));
        self.slots.artefacts.fill_all(input.artefacts.map_or(&[], std::slice::from_ref));
    }

    fn keep_latest(&mut self, input: &Input<'_>, giving: Giving) {
        let Some(Latest { windowed, slot, name }) = &mut self.latest else { return };
        let running = Stopwatch::start();
        let kept = windowed.fold(&self.runner, batch_number(input.batch));
        let folded = running.elapsed().as_secs_f64();
        let shown = match giving {
            Giving::Rows => windowed.open(&self.runner, None, Open::All).map(|rows| slot.fill(&rows)),
            Giving::Closed | Giving::Nothing => Ok(()),
        };
        let seconds = running.elapsed().as_secs_f64();
        tracing::debug!(query = name, batch = %input.batch, folded_seconds = folded, seconds, "query run");
        if let Err(failure) = kept.and(shown) {
            tracing::error!(table = name, error = %failure, "the last values of patients are not up to date");
        }
    }

    fn clear(&mut self) {
        let Slots { all, on_time, history, open_alerts, artefacts, .. } = &self.slots;
        for slot in [all, on_time, history, open_alerts, artefacts] {
            slot.clear();
        }
        self.latest.iter().for_each(|latest| latest.slot.clear());
        for query in &self.queries {
            query.closed.iter().chain(&query.current).for_each(Slot::clear);
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

    /// Whether a query reads the alerts that stand.
    #[must_use]
    pub fn reads_alerts(&self) -> bool {
        self.reads_alerts
    }

    /// What is kept from batch to batch, query by query; a query stands behind those that it reads.
    pub fn kept(&self) -> impl Iterator<Item = Kept<'_>> {
        let queries = self.queries.iter().filter_map(|query| match &query.body {
            Body::Windowed(windowed) => Some(Kept { name: &query.planned.file.name, windowed }),
            Body::Plain(_) => None,
        });
        queries.chain(self.latest.iter().map(|latest| Kept { name: &latest.name, windowed: &latest.windowed }))
    }

    /// What was saved is in the store: the next time, only what changes from here on is saved.
    pub fn mark_saved(&mut self) {
        for query in &mut self.queries {
            if let Body::Windowed(windowed) = &mut query.body {
                windowed.mark_saved();
            }
        }
        self.latest.iter_mut().for_each(|latest| latest.windowed.mark_saved());
    }

    /// What is kept, as bytes, as far as it has changed since [`Engine::mark_saved`].
    ///
    /// # Errors
    /// What a query keeps cannot be folded; of it there is nothing new then.
    pub fn save(&mut self) -> Vec<Result<SavedQuery, QueryFailure>> {
        let Self { queries, latest, runner, .. } = self;
        let queries = queries.iter_mut().filter_map(|query| match &mut query.body {
            Body::Windowed(windowed) => Some((query.planned.file.name.clone(), windowed.as_mut())),
            Body::Plain(_) => None,
        });
        let latest = latest.iter_mut().map(|latest| (latest.name.clone(), &mut latest.windowed));
        queries
            .chain(latest)
            .map(|(query, windowed)| {
                let saved = windowed.save(runner)?;
                let Saved { changed, panes, closed_to } = saved;
                Ok(SavedQuery { query, fingerprint: windowed.fingerprint.clone(), changed, panes, closed_to })
            })
            .collect()
    }

    /// Puts back what `query` kept. Returns whether the bytes are what it saves.
    pub fn restore(&mut self, query: &str, panes: &[(i64, Vec<u8>)], closed_to: Option<i64>) -> bool {
        self.windowed_mut(query).is_some_and(|windowed| windowed.restore(panes, closed_to))
    }

    /// Has `query` begin with the windows that end after `time`.
    pub fn start_at(&mut self, query: &str, time: Option<Watermark>) {
        if let Some(windowed) = self.windowed_mut(query) {
            windowed.start_at(time.map(|time| time.0.timestamp_micros()));
        }
    }

    /// Keeps `query` from giving out windows that start before `time`: they lack rows that can no longer be read.
    pub fn poorer_before(&mut self, query: &str, time: DateTime<Utc>) {
        if let Some(windowed) = self.windowed_mut(query) {
            windowed.poorer_before(time.timestamp_micros());
        }
    }

    /// Forgets patients of whom nothing has come since `time`.
    pub fn forget_patients(&mut self, time: DateTime<Utc>) {
        if let Some(latest) = &mut self.latest {
            latest.windowed.forget(time.timestamp_micros());
        }
    }

    fn windowed_mut(&mut self, name: &str) -> Option<&mut Windowed> {
        let query = self.queries.iter_mut().find_map(|query| match &mut query.body {
            Body::Windowed(windowed) if query.planned.file.name == name => Some(windowed.as_mut()),
            _ => None,
        });
        query.or_else(|| self.latest.as_mut().filter(|latest| latest.name == name).map(|latest| &mut latest.windowed))
    }
}

/// What one query keeps from batch to batch.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// The query, or the table with the last values.
    pub name: &'a str,
    windowed: &'a Windowed,
}

impl Kept<'_> {
    /// The source or the windowed table that it reads.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.windowed.stream
    }

    /// What must be the same for a snapshot to be of use.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.windowed.fingerprint
    }

    /// The start of the first window that is open at `watermark`; `None` where windows have no fixed length.
    #[must_use]
    pub fn next_window(&self, watermark: Watermark) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.windowed.next_window(watermark.0.timestamp_micros())?)
    }

    /// How many groups it keeps, and in how many bytes.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        self.windowed.held()
    }
}

/// What one query keeps, as bytes.
#[derive(Debug)]
pub struct SavedQuery {
    /// The query.
    pub query: String,
    /// What must be the same for it to be of use.
    pub fingerprint: String,
    /// The panes that have changed, by their start.
    pub changed: Vec<(i64, Vec<u8>)>,
    /// The starts of all panes.
    pub panes: Vec<i64>,
    /// Windows that end by it were given out.
    pub closed_to: Option<i64>,
}

fn batch_number(batch: BatchId) -> i64 {
    i64::try_from(batch.0).unwrap_or(i64::MAX)
}

/// A windowed table closes windows by how far the windows that it reads have closed.
fn own_watermark(stream: &str, above: &BTreeMap<String, Option<i64>>, watermark: Option<Watermark>) -> Option<i64> {
    match above.get(stream) {
        Some(complete_to) => *complete_to,
        None => watermark.map(|watermark| watermark.0.timestamp_micros()),
    }
}

/// Whether a run gives out rows, or only brings windows up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Giving {
    /// All that is to be given.
    Rows,
    /// The windows that close.
    Closed,
    Nothing,
}

/// One run over all queries.
struct Run {
    giving: Giving,
    outcomes: Vec<Outcome>,
    /// Queries that were not run, since the batch has no rows.
    silent: BTreeSet<String>,
    /// How far each windowed table is complete.
    watermarks: BTreeMap<String, Option<i64>>,
    /// The open windows of tables that windowed queries read, and where those look for them.
    shown: BTreeMap<String, (Slot, Shown)>,
}

/// Open windows as they stand.
#[derive(Debug)]
struct Shown {
    rows: RecordBatch,
    /// Whether they may be others than when they were shown last.
    is_changed: bool,
}

impl Run {
    fn new(giving: Giving) -> Self {
        Self {
            giving,
            outcomes: Vec::new(),
            silent: BTreeSet::new(),
            watermarks: BTreeMap::new(),
            shown: BTreeMap::new(),
        }
    }

    fn query(&mut self, query: &mut Query, runner: &Runner, input: &Input<'_>, skip: &dyn Fn(&str) -> bool) {
        let name = query.planned.file.name.clone();
        let left_out = skip(&name);
        let outcome = match &mut query.body {
            Body::Windowed(_) => self.windowed(query, runner, input, left_out),
            Body::Plain(_) if left_out => return,
            // Without rows of the batch, a query over them has nothing to say; others may read that it says nothing.
            Body::Plain(_) if query.planned.needs_rows && input.rows.num_rows() == 0 => {
                self.silent.insert(name);
                return;
            }
            Body::Plain(plan) => {
                let mut rows = self.readable(&query.planned).and_then(|()| runner.run(plan));
                rows = rows.and_then(|rows| keyed(&query.planned.file, rows));
                let clear = query.clear.as_ref().filter(|_| rows.is_ok()).map(|plan| runner.run(plan));
                let clear = clear.transpose().unwrap_or_else(|failure| {
                    rows = Err(QueryFailure(format!("@clear_when: {failure}")));
                    None
                });
                if let (Some(slot), Ok(rows)) = (&query.current, &rows) {
                    slot.fill(rows);
                }
                Outcome { query: name, rows, clear, counted: true, trouble: None, took: Duration::ZERO }
            }
        };
        self.outcomes.push(outcome);
    }

    /// Whether every table that the query reads has been run.
    fn readable(&self, planned: &Planned) -> Result<(), QueryFailure> {
        let has_rows =
            |read: &String| self.outcomes.iter().any(|outcome| outcome.query == *read && outcome.rows.is_ok());
        let is_there = |read: &&String| has_rows(read) || self.silent.contains(*read);
        match planned.reads.iter().find(|read| !is_there(read)) {
            Some(table) => Err(QueryFailure(format!("it reads table \"{table}\", which has no rows for this batch"))),
            None => Ok(()),
        }
    }

    fn windowed(&mut self, query: &mut Query, runner: &Runner, input: &Input<'_>, left_out: bool) -> Outcome {
        let Query { planned, body, closed: closed_slot, current: current_slot, .. } = query;
        let Body::Windowed(windowed) = body else { panic!("only windowed queries get here") };
        let QueryKind::Table(header) = &planned.file.kind else { panic!("only table queries have windows") };
        let batch = batch_number(input.batch);
        let watermark = own_watermark(&windowed.stream, &self.watermarks, input.watermark);
        self.watermarks.insert(planned.file.name.clone(), windowed.complete_to(watermark));

        let uncounted = if left_out {
            Some(QueryFailure("left out, since it failed before".to_owned()))
        } else {
            windowed.fold(runner, batch).err()
        };
        let counted = uncounted.is_none();
        let mut trouble = uncounted;
        let mut given = Vec::new();
        if self.giving != Giving::Nothing || closed_slot.is_some() {
            let (closed, failure) = windowed.closed(runner, watermark);
            trouble = trouble.or(failure);
            if let Some(slot) = closed_slot {
                slot.fill(&closed);
            }
            given.push(closed);
        }
        if self.giving == Giving::Rows {
            let closed = given[0].clone();
            let mut open = |which: Open| {
                let rows = windowed.open(runner, watermark, which);
                rows.map_err(|failure| trouble = trouble.take().or(Some(failure))).ok()
            };
            if header.emit == Emit::Change {
                given.extend(open(Open::ChangedBy(batch)));
            }
            if let Some(slot) = current_slot {
                slot.fill_all(&[closed].into_iter().chain(open(Open::All)).collect::<Vec<_>>());
            }
            let above_changed = self.shown.get(&windowed.stream).is_some_and(|(_, shown)| shown.is_changed);
            let is_changed = windowed.is_unshown() || above_changed;
            if input.show_open && (is_changed || closed_slot.is_some()) {
                let rows = self.show(windowed, runner, watermark, batch);
                windowed.mark_shown();
                if header.emit == Emit::Close && is_changed {
                    given.push(rows.clone());
                }
                if let Some(slot) = closed_slot {
                    self.shown.insert(planned.file.name.clone(), (slot.clone(), Shown { rows, is_changed }));
                }
            }
        }
        let rows = concat_batches(&planned.schema, &given).map_err(|error| QueryFailure(error.to_string()));
        let rows = rows.and_then(|rows| keyed(&planned.file, rows));
        Outcome { query: planned.file.name.clone(), rows, clear: None, counted, trouble, took: Duration::ZERO }
    }
}

impl Run {
    /// The open windows of a query as they stand. Where it reads another's windows, those that are open count too, but
    /// only for what is shown: they will come again when they close.
    fn show(&self, windowed: &mut Windowed, runner: &Runner, watermark: Option<i64>, batch: i64) -> RecordBatch {
        let rows = match self.shown.get(&windowed.stream) {
            Some((slot, shown)) => {
                let closed = slot.rows();
                slot.fill(&shown.rows);
                let rows = windowed.open_beside(runner, watermark, batch);
                slot.fill_all(&closed);
                rows
            }
            None => windowed.open(runner, watermark, Open::All),
        };
        rows.unwrap_or_else(|_| windowed.no_rows())
    }
}

fn keyed(file: &QueryFile, rows: RecordBatch) -> Result<RecordBatch, QueryFailure> {
    match &file.kind {
        QueryKind::Table(header) => in_key_order(rows, &header.key).map_err(QueryFailure),
        QueryKind::Rule(_) | QueryKind::View => Ok(rows),
    }
}
