//! The rows of windows that are due: those that close, and those that are open as they stand.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Int64Type;

use super::super::execute::{QueryFailure, Runner};
use super::call::Window;
use super::rows::broken;
use super::windowed::{Windowed, merging_with};

/// Which open windows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// All of them.
    All,
    /// Those with a group that this batch has changed; of them only such groups.
    ChangedBy(i64),
}

/// Whether sessions that are over or those that are not are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    ByThen,
    Later,
}

/// What became of the windows that end by a watermark.
#[derive(Debug)]
pub(crate) struct ClosedWindows {
    /// The rows of those that could be computed.
    pub(crate) rows: RecordBatch,
    /// Whether any ended.
    pub(crate) were_due: bool,
    /// Why some could not be computed, where that is so.
    pub(crate) failure: Option<QueryFailure>,
}

fn in_window(windows: &BTreeSet<i64>, failure: QueryFailure) -> QueryFailure {
    let start = windows.first().and_then(|start| chrono::DateTime::from_timestamp_micros(*start));
    match start {
        Some(start) => QueryFailure(format!("the window of {}: {failure}", start.format("%Y-%m-%d %H:%M:%SZ"))),
        None => failure,
    }
}

impl Windowed {
    /// The rows of the windows that end by `watermark` and were not given out before. One that cannot be computed costs itself, not
    /// the others that end with it.
    pub(crate) fn closed(&mut self, runner: &Runner, watermark: Option<i64>) -> ClosedWindows {
        let none_due = |rows| ClosedWindows { rows, were_due: false, failure: None };
        let Some(watermark) = watermark else { return none_due(self.no_rows()) };
        match self.window {
            Window::Whole => none_due(self.no_rows()),
            Window::Session { .. } => {
                let groups = self.session_groups(Some(watermark), End::ByThen);
                let were_due = groups.as_ref().map_or(true, |groups| !groups.is_empty());
                match groups.and_then(|groups| self.finished(runner, &groups, None)) {
                    Ok(rows) => ClosedWindows { rows, were_due, failure: None },
                    Err(failure) => ClosedWindows { rows: self.no_rows(), were_due, failure: Some(failure) },
                }
            }
            _ => {
                let due = self.panes.windows_ending(self.closed_to, Some(watermark));
                let (rows, failure) = match self.windows(runner, &due, Some(watermark), None) {
                    Ok(rows) => (rows, None),
                    Err(failure) if due.len() == 1 => (self.no_rows(), Some(in_window(&due, failure))),
                    Err(_) => self.closed_one_by_one(runner, &due, watermark),
                };
                ClosedWindows { rows, were_due: !due.is_empty(), failure }
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
    pub(crate) fn open(
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
    pub(crate) fn open_beside(
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
    pub(crate) fn is_unshown(&self) -> bool {
        self.unshown
    }

    /// Open windows have been shown as they stand.
    pub(crate) fn mark_shown(&mut self) {
        self.unshown = false;
    }

    pub(crate) fn no_rows(&self) -> RecordBatch {
        RecordBatch::new_empty(self.above.plan.schema())
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
        for start in windows.iter().filter(|start| self.mark_incomplete_before.is_none_or(|before| **start >= before)) {
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

    fn session_groups(&self, watermark: Option<i64>, end: End) -> Result<Vec<Vec<ArrayRef>>, QueryFailure> {
        let (rows, starts, ends) = self.sessions()?;
        let gap = self.window_gap();
        let poorer = self.mark_incomplete_before.map_or(i64::MIN, |before| before.saturating_add(gap));
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
