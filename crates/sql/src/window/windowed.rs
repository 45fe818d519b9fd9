//! One windowed query: its plans, and what it keeps.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int32Array, Int64Array, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

use super::call::{Window, floor};
use super::cut::{Cut, cut, cut_whole};
use super::inputs::Inputs;
use super::panes::Panes;
use super::parts::{Fed, Partial, Parts};
use super::rows::{Layout, Partitions, broken, by_pane, compact, joined, whole, with_session};
use crate::execute::{QueryFailure, Runner};
use crate::slot::Slot;

/// A query that is kept up batch by batch.
#[derive(Debug)]
pub(crate) struct Windowed {
    /// Its window.
    pub(crate) window: Window,
    /// The source or the windowed table that it reads.
    pub(crate) stream: String,
    /// The column of its rows that is the window's start, if it gives it.
    pub(crate) time_column: Option<String>,
    /// What the state depends on: two queries with the same may go on from each other's state.
    pub(crate) fingerprint: String,
    pub(super) layout: Layout,
    partial: Partial,
    pub(super) reduce: Fed,
    pub(super) finish: Fed,
    pub(super) above: Fed,
    pub(super) panes: Panes,
    /// Windows that end by it were given out and are forgotten.
    pub(crate) closed_to: Option<i64>,
    /// The panes that the last batch added to.
    pub(crate) touched: BTreeSet<i64>,
    /// Whether open windows have changed since they were shown last.
    pub(crate) unshown: bool,
    /// Windows that start before it lack rows that can no longer be read.
    pub(crate) mark_incomplete_before: Option<i64>,
    /// Whether the rows of windows follow from what is kept alone: not from a clock, nor from what is looked up.
    pub(crate) is_pure: bool,
    /// The rows of the open windows that start at these times, as long as nothing changes them: windows over windows of a
    /// minute change once a minute.
    pub(crate) shown: Option<(BTreeSet<i64>, RecordBatch)>,
}

impl Windowed {
    /// The query of `plan` if it has a window, with the schema of its rows.
    ///
    /// Errors: a window that cannot be computed batch by batch, or a plan that DataFusion does not make.
    pub(crate) async fn plan(
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
    pub(crate) async fn whole(
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
            mark_incomplete_before: None,
            is_pure,
            shown: None,
        };
        Ok((windowed, schema))
    }

    /// Adds the rows that stand in the stream's slot.
    ///
    /// Errors: the state is as before.
    pub(crate) fn fold(&mut self, runner: &Runner, batch: i64) -> Result<(), QueryFailure> {
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

    /// Forgets the windows that end by `watermark`; their rows were given out.
    pub(crate) fn evict_closed(&mut self, watermark: Option<i64>) {
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
    pub(crate) fn complete_to(&self, watermark: Option<i64>) -> Option<i64> {
        let (slide, size) = (self.window.pane(), self.window.size());
        watermark.map(|watermark| floor(watermark.saturating_sub(size), slide).saturating_add(slide))
    }

    /// Whether a row that is still to come may have a window begin earlier.
    pub(crate) fn has_moving_start(&self) -> bool {
        matches!(self.window, Window::Session { .. })
    }

    /// How many groups are kept, and in how many bytes.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.panes.groups(), self.panes.bytes())
    }

    /// The steps in which it is computed, each with its plan.
    pub(crate) fn plans(&self) -> Vec<(&'static str, &Arc<dyn ExecutionPlan>)> {
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

    /// The start of the first window that is open at `watermark`; `None` where windows have no fixed length.
    pub(crate) fn next_window(&self, watermark: i64) -> Option<i64> {
        match self.window {
            Window::Tumble { .. } | Window::Hop { .. } => self.complete_to(Some(watermark)),
            Window::Session { .. } | Window::Whole => None,
        }
    }

    /// From the first row of a window to its end: of a session, how long nothing comes before it is over.
    pub(crate) fn lasts(&self) -> i64 {
        match self.window {
            Window::Session { gap } => gap,
            _ => self.window.size(),
        }
    }

    pub(crate) fn window_gap(&self) -> i64 {
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

    /// All state rows of sessions, with the start and the end of the whole session of each, partitions taken together.
    pub(crate) fn sessions(&self) -> Result<(RecordBatch, Vec<i64>, Vec<i64>), QueryFailure> {
        let gap = self.window_gap();
        let rows = concat_batches(self.reduce.slot.schema(), &self.panes.all()).map_err(|error| broken(&error))?;
        let (starts, ends) = whole(&rows, self.layout, gap, Partitions::Together)?;
        Ok((rows, starts, ends))
    }
}

/// Merges state rows of one piece of time, whichever panes they bear.
pub(super) fn merging_with<'a>(
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

pub(crate) fn too_many_groups(found: usize, most: usize) -> QueryFailure {
    QueryFailure(format!("it would keep {found} groups, and max_groups allows {most}: group by fewer or coarser keys"))
}
