//! Windowed queries: aggregates over spans of event time, kept up batch by batch.
//!
//! ```text
//!             ┌─ partial ──▶ state rows of this batch ─┐
//! batch ──────┤                                        ├─ reduce ──▶ panes ── finish ──▶ groups ── above ──▶ rows
//!             └─ (WHERE, joins with reference rows)    │  (fold)                (merge)           (HAVING, SELECT)
//!                               panes as they were ────┘
//! ```
//!
//! The plan is cut at its aggregate ([`mod@cut`]); the parts are planned once and run on slots that are filled anew. A
//! state row is a group's partial aggregate, for one pane and one partition: `keys…, partition, partial values…,
//! [last time of the session,] last batch`. This room does not decide when a window closes; it is told the watermark.

mod call;
mod cut;
mod panes;
mod parts;
mod rows;
mod saved;
mod sessions;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

use super::execute::{QueryFailure, Runner};
use super::slot::Slot;

pub(super) use call::{Window, functions};
pub(super) use cut::{Input, Inputs};

use call::floor;
use cut::{Cut, cut, cut_whole};
use panes::Panes;
use parts::{Fed, Partial, Parts};
use rows::{Layout, Partitions, broken, by_pane, compact, joined, whole, with_session};

/// A query that is kept up batch by batch.
#[derive(Debug)]
pub(super) struct Windowed {
    /// Its window.
    pub(super) window: Window,
    /// The source or the windowed table that it reads.
    pub(super) stream: String,
    /// The column of its rows that is the window's start, if it gives it.
    pub(super) time_column: Option<String>,
    /// What the state depends on: two queries with the same may go on from each other's state.
    pub(super) fingerprint: String,
    layout: Layout,
    partial: Partial,
    reduce: Fed,
    finish: Fed,
    above: Fed,
    panes: Panes,
    /// Windows that end by it were given out and are forgotten.
    closed_to: Option<i64>,
    /// The panes that the last batch added to.
    touched: BTreeSet<i64>,
    /// Whether open windows have changed since they were shown last.
    unshown: bool,
    /// Windows that start before it lack rows that can no longer be read.
    poorer_before: Option<i64>,
    /// Whether the rows of windows follow from what is kept alone: not from a clock, nor from what is looked up.
    is_pure: bool,
    /// The rows of the open windows that start at these times, as long as nothing changes them: windows over windows of a
    /// minute change once a minute.
    shown: Option<(BTreeSet<i64>, RecordBatch)>,
}

/// What a query keeps, as bytes.
#[derive(Debug)]
pub(super) struct Saved {
    /// The panes that changed.
    pub(super) changed: Vec<(i64, Vec<u8>)>,
    /// The starts of all panes.
    pub(super) panes: Vec<i64>,
    /// Windows that end by it were given out.
    pub(super) closed_to: Option<i64>,
}

/// Which open windows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    /// All of them.
    All,
    /// Those with a group that this batch has changed; of them only such groups.
    ChangedBy(i64),
}

impl Windowed {
    /// The query of `plan` if it has a window, with the schema of its rows.
    ///
    /// Errors: a window that cannot be computed batch by batch, or a plan that DataFusion does not make.
    pub(super) async fn plan(
        plan: &LogicalPlan,
        inputs: &dyn Inputs,
        state: &SessionState,
    ) -> Result<Option<(Self, SchemaRef)>> {
        match cut(plan, inputs)? {
            Some(cut) => Self::of(cut, state).await.map(Some),
            None => Ok(None),
        }
    }

    /// What is kept of all of time, for a plan of our own making over `stream`.
    pub(super) async fn whole(
        plan: &LogicalPlan,
        stream: &str,
        inputs: &dyn Inputs,
        state: &SessionState,
    ) -> Result<(Self, SchemaRef)> {
        Self::of(cut_whole(plan, stream, inputs)?, state).await
    }

    async fn of(cut: Cut, state: &SessionState) -> Result<(Self, SchemaRef)> {
        let window = cut.window;
        let is_pure = cut.is_pure()?;
        let physical = state.create_physical_plan(&cut.aggregate).await?;
        let Some(aggregate) = physical.downcast_ref::<AggregateExec>() else {
            return Err(DataFusionError::Plan(format!(
                "cannot be computed batch by batch: DataFusion plans it as {}",
                physical.name()
            )));
        };
        let layout = Layout { keys: cut.keys, window_key: cut.window_key, has_partition: cut.has_partition };
        let parts = Parts::of(aggregate, window, layout)?;

        let groups = Slot::new(cut.groups_schema());
        let above = cut.above(provider_as_source(groups.table()?))?;
        let time_column = cut.time_column(&above);
        let above = state.create_physical_plan(&above).await?;
        let schema = above.schema();
        let fingerprint = format!(
            "DataFusion {}\n{window:?}\n{}\n{}",
            datafusion::DATAFUSION_VERSION,
            cut.aggregate.display_indent(),
            parts.reduce.slot.schema()
        );
        let windowed = Self {
            window,
            stream: cut.stream,
            time_column,
            fingerprint,
            layout,
            partial: parts.partial,
            reduce: parts.reduce,
            finish: parts.finish,
            above: Fed { slot: groups, plan: above },
            panes: match window {
                Window::Tumble { .. } | Window::Hop { .. } => Panes::new(window.pane(), window.size()),
                Window::Session { .. } | Window::Whole => Panes::new(1, 1),
            },
            closed_to: None,
            touched: BTreeSet::new(),
            unshown: false,
            poorer_before: None,
            is_pure,
            shown: None,
        };
        Ok((windowed, schema))
    }

    /// Adds the rows that stand in the stream's slot.
    ///
    /// Errors: the state is as before.
    pub(super) fn fold(&mut self, runner: &Runner, batch: i64) -> Result<(), QueryFailure> {
        self.touched.clear();
        let rows = self.partial_rows(runner, batch)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.shown = None;
        let merge = merging_with(&self.reduce, self.layout, runner);
        match self.window {
            Window::Session { gap } => {
                let mut all = self.panes.all();
                all.push(rows);
                let merged = self.reduce.run(runner, &[joined(&all, self.layout, gap)?])?;
                let merged = compact(&merged);
                let (found, most) = (merged.num_rows(), runner.limits.groups);
                if found > most {
                    return Err(too_many_groups(found, most));
                }
                self.panes.replace(merged);
            }
            _ => {
                let by_pane = by_pane(&rows, self.layout)?;
                let touched = by_pane.iter().map(|(start, _)| *start).collect();
                self.panes.add(by_pane, runner.limits.groups, &merge)?;
                self.touched = touched;
            }
        }
        self.unshown = true;
        Ok(())
    }

    /// The rows of the windows that end by `watermark` and were not given out before.
    ///
    /// Errors: what could not be computed, window by window; the rows are those of the others.
    pub(super) fn closed(&mut self, runner: &Runner, watermark: Option<i64>) -> (RecordBatch, Option<QueryFailure>) {
        let Some(watermark) = watermark else { return (self.no_rows(), None) };
        match self.window {
            Window::Whole => (self.no_rows(), None),
            Window::Session { .. } => {
                let groups = self.session_groups(Some(watermark), End::ByThen);
                match groups.and_then(|groups| self.finished(runner, &groups, None)) {
                    Ok(rows) => (rows, None),
                    Err(failure) => (self.no_rows(), Some(failure)),
                }
            }
            _ => {
                let due = self.panes.windows_ending(self.closed_to, Some(watermark));
                match self.windows(runner, &due, Some(watermark), None) {
                    Ok(rows) => (rows, None),
                    // One group that cannot be computed costs its window, not all that close with it.
                    Err(failure) if due.len() == 1 => (self.no_rows(), Some(in_window(&due, failure))),
                    Err(_) => self.closed_one_by_one(runner, &due, watermark),
                }
            }
        }
    }

    fn closed_one_by_one(
        &mut self,
        runner: &Runner,
        due: &BTreeSet<i64>,
        watermark: i64,
    ) -> (RecordBatch, Option<QueryFailure>) {
        let mut rows = Vec::new();
        let mut failed = None;
        for start in due {
            let one = BTreeSet::from([*start]);
            match self.windows(runner, &one, Some(watermark), None) {
                Ok(batch) => rows.push(batch),
                Err(failure) => failed = failed.or(Some(in_window(&one, failure))),
            }
        }
        let rows = concat_batches(&self.above.plan.schema(), &rows);
        (rows.unwrap_or_else(|error| panic!("rows of one plan have one schema: {error}")), failed)
    }

    /// The rows of windows that have not closed by `watermark`, as they stand now.
    pub(super) fn open(
        &mut self,
        runner: &Runner,
        watermark: Option<i64>,
        which: Open,
    ) -> Result<RecordBatch, QueryFailure> {
        let changed_by = match which {
            Open::All => None,
            Open::ChangedBy(batch) => Some(batch),
        };
        match self.window {
            Window::Session { .. } => {
                let groups = self.session_groups(watermark, End::Later)?;
                self.finished(runner, &groups, changed_by)
            }
            Window::Whole => {
                let merge = merging_with(&self.reduce, self.layout, runner);
                let pieces = self.panes.pieces(0, None, &merge)?;
                let groups = pieces.iter().map(|rows| self.layout.group(rows, None)).collect::<Vec<_>>();
                self.finished(runner, &groups, changed_by)
            }
            _ => {
                let closed = watermark.max(self.closed_to);
                match which {
                    Open::All => self.all_open(runner, watermark, closed),
                    Open::ChangedBy(_) => {
                        let windows = self.panes.windows_touched(&self.touched, closed);
                        self.windows(runner, &windows, watermark, changed_by)
                    }
                }
            }
        }
    }

    /// The rows of all windows that end after `closed`; those of before where nothing has changed.
    fn all_open(
        &mut self,
        runner: &Runner,
        watermark: Option<i64>,
        closed: Option<i64>,
    ) -> Result<RecordBatch, QueryFailure> {
        let windows = self.panes.windows_ending(closed, None);
        if let Some((shown, rows)) = &self.shown
            && *shown == windows
        {
            return Ok(rows.clone());
        }
        let rows = self.windows(runner, &windows, watermark, None)?;
        self.shown = self.is_pure.then(|| (windows, rows.clone()));
        Ok(rows)
    }

    /// The rows of open windows, with those that stand in the stream's slot counted for this once.
    pub(super) fn open_beside(
        &mut self,
        runner: &Runner,
        watermark: Option<i64>,
        batch: i64,
    ) -> Result<RecordBatch, QueryFailure> {
        let (panes, touched, unshown) = (self.panes.clone(), self.touched.clone(), self.unshown);
        let rows = self.fold(runner, batch).and_then(|()| self.open(runner, watermark, Open::All));
        (self.panes, self.touched, self.unshown, self.shown) = (panes, touched, unshown, None);
        rows
    }

    /// Whether open windows have changed since they were shown last.
    pub(super) fn is_unshown(&self) -> bool {
        self.unshown
    }

    /// Open windows have been shown as they stand.
    pub(super) fn mark_shown(&mut self) {
        self.unshown = false;
    }

    /// Forgets the windows that end by `watermark`; their rows were given out.
    pub(super) fn settle(&mut self, watermark: Option<i64>) {
        let Some(watermark) = watermark.filter(|watermark| self.closed_to.is_none_or(|closed| *watermark > closed))
        else {
            return;
        };
        self.closed_to = Some(watermark);
        match self.window {
            Window::Whole => {}
            Window::Session { .. } => {
                if let Ok((rows, _, ends)) = self.sessions() {
                    let gap = self.window_gap();
                    let keep: BooleanArray = ends.iter().map(|end| Some(end.saturating_add(gap) > watermark)).collect();
                    if keep.false_count() > 0 {
                        let kept = filter_record_batch(&rows, &keep);
                        let kept = kept.unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"));
                        self.panes.replace(compact(&kept));
                    }
                }
            }
            _ => self.panes.drop_closed(watermark),
        }
    }

    /// The event time up to which rows of a windowed table have come: none that starts before will come any more.
    pub(super) fn complete_to(&self, watermark: Option<i64>) -> Option<i64> {
        let (slide, size) = (self.window.pane(), self.window.size());
        watermark.map(|watermark| floor(watermark.saturating_sub(size), slide).saturating_add(slide))
    }

    /// Whether a row that is still to come may have a window begin earlier.
    pub(super) fn has_moving_start(&self) -> bool {
        matches!(self.window, Window::Session { .. })
    }

    /// How many groups are kept, and in how many bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.panes.groups(), self.panes.bytes())
    }

    /// The steps in which it is computed, each with its plan.
    pub(super) fn plans(&self) -> Vec<(&'static str, &Arc<dyn ExecutionPlan>)> {
        let mut steps = match &self.partial {
            Partial::Panes(plan) => vec![("partial: on the rows of each batch that were on time", plan)],
            Partial::Sessions { rows, aggregate, .. } => vec![
                ("rows: of each batch that were on time", rows),
                ("partial: on those, once it is known which session each is in", &aggregate.plan),
            ],
        };
        steps.push(("reduce: what the batch gave, folded into what is kept", &self.reduce.plan));
        steps.push(("final: what is kept, for the windows that are due", &self.finish.plan));
        steps.push(("above: on the windows that are due", &self.above.plan));
        steps
    }

    /// Forgets the groups whose first aggregate, a time, is before `time`; of use where windows never close.
    pub(super) fn forget(&mut self, time: i64) {
        let Ok(rows) = concat_batches(self.reduce.slot.schema(), &self.panes.all()) else { return };
        let newest = rows.column(self.layout.keys + 1).as_primitive::<TimestampMicrosecondType>();
        let keep: BooleanArray = newest.iter().map(|newest| Some(newest.is_none_or(|newest| newest >= time))).collect();
        if keep.false_count() > 0
            && let Ok(kept) = filter_record_batch(&rows, &keep)
        {
            self.panes.replace(compact(&kept));
        }
    }

    /// What was saved is in the store.
    pub(super) fn mark_saved(&mut self) {
        self.panes.mark_saved();
    }

    /// What is kept, as far as it changed since [`Windowed::mark_saved`].
    ///
    /// Errors: what is kept cannot be folded.
    pub(super) fn save(&mut self, runner: &Runner) -> Result<Saved, QueryFailure> {
        let merge = merging_with(&self.reduce, self.layout, runner);
        let mut changed = Vec::new();
        let mut failed = None;
        self.panes.save(&merge, &mut |start, rows| match saved::to_bytes(rows) {
            Ok(bytes) => changed.push((start, bytes)),
            Err(error) => failed = Some(broken(&error)),
        })?;
        match failed {
            Some(failure) => Err(failure),
            None => Ok(Saved { changed, panes: self.panes.starts().collect(), closed_to: self.closed_to }),
        }
    }

    /// Puts back what was kept. Returns whether it could: the bytes must be those that this plan saves.
    pub(super) fn restore(&mut self, panes: &[(i64, Vec<u8>)], closed_to: Option<i64>) -> bool {
        let schema = self.reduce.slot.schema();
        let read: Option<Vec<(i64, RecordBatch)>> =
            panes.iter().map(|(start, bytes)| Some((*start, saved::from_bytes(bytes, schema)?))).collect();
        let Some(read) = read else { return false };
        for (start, rows) in read {
            self.panes.restore(start, rows);
        }
        self.closed_to = closed_to;
        self.shown = None;
        // Nothing tells whether it was shown, and showing it again changes nothing.
        self.unshown = !panes.is_empty();
        true
    }

    /// Is as it was before the first batch.
    pub(super) fn start_over(&mut self) {
        self.panes.clear();
        self.touched.clear();
        (self.closed_to, self.poorer_before, self.unshown, self.shown) = (None, None, false, None);
    }

    /// Goes on with what another plan of the same query keeps.
    pub(super) fn adopt(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.panes, &mut other.panes);
        self.closed_to = other.closed_to;
        self.poorer_before = other.poorer_before;
        self.unshown = other.unshown;
        self.shown = None;
    }

    /// Marks windows that end by `time` as given out, without giving them out.
    pub(super) fn start_at(&mut self, time: Option<i64>) {
        self.closed_to = time;
    }

    /// The start of the first window that is open at `watermark`; `None` where windows have no fixed length.
    pub(super) fn next_window(&self, watermark: i64) -> Option<i64> {
        match self.window {
            Window::Tumble { .. } | Window::Hop { .. } => self.complete_to(Some(watermark)),
            Window::Session { .. } | Window::Whole => None,
        }
    }

    /// Nothing is given out of windows that start before `time`: what they had can no longer be known in full.
    pub(super) fn poorer_before(&mut self, time: i64) {
        self.poorer_before = self.poorer_before.max(Some(time));
        self.shown = None;
    }

    pub(super) fn no_rows(&self) -> RecordBatch {
        RecordBatch::new_empty(self.above.plan.schema())
    }

    fn window_gap(&self) -> i64 {
        match self.window {
            Window::Session { gap } => gap,
            _ => 0,
        }
    }

    fn partial_rows(&self, runner: &Runner, batch: i64) -> Result<RecordBatch, QueryFailure> {
        let rows = match &self.partial {
            Partial::Panes(plan) => runner.run(plan)?,
            Partial::Sessions { rows, keys, gap, aggregate } => {
                let rows = runner.run(rows)?;
                let rows = with_session(&rows, keys, self.layout, *gap).map_err(|error| broken(&error))?;
                aggregate.run(runner, &[rows])?
            }
        };
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        if !self.layout.has_partition {
            columns.insert(self.layout.keys, Arc::new(Int32Array::from(vec![-1; count])));
        }
        columns.push(Arc::new(Int64Array::from(vec![batch; count])));
        RecordBatch::try_new(Arc::clone(self.reduce.slot.schema()), columns).map_err(|error| broken(&error))
    }

    /// The rows of `windows`, merged from their panes.
    fn windows(
        &mut self,
        runner: &Runner,
        windows: &BTreeSet<i64>,
        settled: Option<i64>,
        changed_by: Option<i64>,
    ) -> Result<RecordBatch, QueryFailure> {
        let merge = merging_with(&self.reduce, self.layout, runner);
        let mut groups = Vec::new();
        for start in windows.iter().filter(|start| self.poorer_before.is_none_or(|before| **start >= before)) {
            let pieces = self.panes.pieces(*start, settled, &merge)?;
            groups.extend(pieces.iter().map(|rows| self.layout.group(rows, Some(*start))));
        }
        self.finished(runner, &groups, changed_by)
    }

    /// Rows from state rows without a partition, of which each bears its window's start.
    fn finished(
        &self,
        runner: &Runner,
        groups: &[Vec<ArrayRef>],
        changed_by: Option<i64>,
    ) -> Result<RecordBatch, QueryFailure> {
        if groups.is_empty() {
            return Ok(self.no_rows());
        }
        let schema = self.finish.slot.schema();
        let batches: Vec<RecordBatch> = groups
            .iter()
            .map(|columns| RecordBatch::try_new(Arc::clone(schema), columns.clone()))
            .collect::<Result<_, _>>()
            .map_err(|error| broken(&error))?;
        let mut finished = self.finish.run(runner, &batches)?;
        if let Some(batch) = changed_by {
            let touched = finished.column(finished.num_columns() - 1).as_primitive::<Int64Type>();
            let changed: BooleanArray = touched.iter().map(|touched| Some(touched == Some(batch))).collect();
            finished = filter_record_batch(&finished, &changed).map_err(|error| broken(&error))?;
        }
        let wanted = self.above.slot.schema();
        let columns = finished.columns()[..wanted.fields().len()].to_vec();
        let groups = RecordBatch::try_new(Arc::clone(wanted), columns).map_err(|error| broken(&error))?;
        self.above.run(runner, &[groups])
    }

    /// All state rows of sessions, with the start and the end of the whole session of each, partitions taken together.
    fn sessions(&self) -> Result<(RecordBatch, Vec<i64>, Vec<i64>), QueryFailure> {
        let gap = self.window_gap();
        let rows = concat_batches(self.reduce.slot.schema(), &self.panes.all()).map_err(|error| broken(&error))?;
        let (starts, ends) = whole(&rows, self.layout, gap, Partitions::Together)?;
        Ok((rows, starts, ends))
    }

    fn session_groups(&self, watermark: Option<i64>, end: End) -> Result<Vec<Vec<ArrayRef>>, QueryFailure> {
        let (rows, starts, ends) = self.sessions()?;
        let gap = self.window_gap();
        let poorer = self.poorer_before.map_or(i64::MIN, |before| before.saturating_add(gap));
        let wanted: BooleanArray = ends
            .iter()
            .zip(&starts)
            .map(|(last, start)| {
                if *start < poorer {
                    return Some(false);
                }
                let over = watermark.is_some_and(|watermark| last.saturating_add(gap) <= watermark);
                Some(over == (end == End::ByThen))
            })
            .collect();
        if wanted.true_count() == 0 {
            return Ok(Vec::new());
        }
        let rows = self.layout.with_starts(&rows, starts);
        let rows = filter_record_batch(&rows, &wanted).map_err(|error| broken(&error))?;
        Ok(vec![self.layout.group(&rows, None)])
    }
}

/// Merges state rows of one piece of time, whichever panes they bear.
fn merging_with<'a>(
    reduce: &'a Fed,
    layout: Layout,
    runner: &'a Runner,
) -> impl Fn(i64, Vec<RecordBatch>) -> Result<RecordBatch, QueryFailure> + 'a {
    move |start, batches| {
        let of_one: Vec<RecordBatch> = match layout.window_key {
            Some(_) => batches.iter().map(|rows| layout.with_starts(rows, vec![start; rows.num_rows()])).collect(),
            None => batches,
        };
        reduce.run(runner, &of_one).map(|rows| compact(&rows))
    }
}

/// Whether sessions that are over or those that are not are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    ByThen,
    Later,
}

fn too_many_groups(found: usize, most: usize) -> QueryFailure {
    QueryFailure(format!("it would keep {found} groups, and max_groups allows {most}: group by fewer or coarser keys"))
}

fn in_window(windows: &BTreeSet<i64>, failure: QueryFailure) -> QueryFailure {
    let start = windows.first().and_then(|start| chrono::DateTime::from_timestamp_micros(*start));
    match start {
        Some(start) => QueryFailure(format!("the window of {}: {failure}", start.format("%Y-%m-%d %H:%M:%SZ"))),
        None => failure,
    }
}
