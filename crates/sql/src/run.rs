//! One run over all queries: each on the batch, or on its windows, and what it gives to those behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use wardwatch_model::header::Emit;
use wardwatch_model::terms::BatchId;

use super::batch::{Closing, Input, Outcome, Progress};
use super::execute::{QueryFailure, Runner};
use super::file::{QueryFile, QueryKind};
use super::keyed::{Replaced, in_key_order};
use super::query::{Body, Planned, Query, Slots, StreamSlots};
use super::sampled::split;
use super::slot::Slot;
use super::window::windowed::Windowed;
use super::window::{ClosedWindows, Open};

pub(super) fn batch_number(batch: BatchId) -> i64 {
    i64::try_from(batch.0).unwrap_or(i64::MAX)
}

/// A windowed table closes windows by how far the windows that it reads have closed, or its source has got.
pub(super) fn own_watermark(
    (stream, source): (&str, usize),
    above: &BTreeMap<String, Option<i64>>,
    reached: &[Progress],
) -> Option<i64> {
    match above.get(stream) {
        Some(complete_to) => *complete_to,
        None => reached.get(source)?.watermark.map(|watermark| watermark.0.timestamp_micros()),
    }
}

/// Whether a run gives out rows, or only brings windows up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Giving {
    /// All that is to be given.
    Rows,
    /// The windows that close.
    Closed,
    Nothing,
}

/// One run over all queries.
pub(super) struct Run {
    pub(super) giving: Giving,
    pub(super) outcomes: Vec<Outcome>,
    /// A table that the job gives and that is not up to date: what it is called, and why.
    pub(super) unreadable: Vec<(String, QueryFailure)>,
    /// The sources of which the batch has rows.
    with_rows: BTreeSet<usize>,
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
    pub(super) fn new(giving: Giving, slots: &Slots) -> Self {
        let mut run = Self {
            giving,
            outcomes: Vec::new(),
            unreadable: Vec::new(),
            with_rows: BTreeSet::new(),
            silent: BTreeSet::new(),
            watermarks: BTreeMap::new(),
            shown: BTreeMap::new(),
        };
        run.note_rows(slots);
        run
    }

    /// Takes note of which sources have rows.
    pub(super) fn note_rows(&mut self, slots: &Slots) {
        let has_rows = |stream: &StreamSlots| stream.all.rows().iter().any(|rows| rows.num_rows() > 0);
        let with_rows = slots.streams.iter().enumerate().filter(|(_, stream)| has_rows(stream));
        self.with_rows = with_rows.map(|(source, _)| source).collect();
    }

    /// Takes note that a query is not run, for it has nothing to say.
    pub(super) fn note_silent(&mut self, query: String) {
        self.silent.insert(query);
    }

    pub(super) fn query(&mut self, query: &mut Query, runner: &Runner, input: &Input<'_>, skip: &dyn Fn(&str) -> bool) {
        let name = query.planned.file.name.clone();
        let left_out = skip(&name);
        let outcome = match &mut query.body {
            Body::Windowed(_) => self.windowed(query, runner, input, left_out),
            Body::Plain(_) if left_out => return,
            // Without rows of the batch, a query over them has nothing to say; others may read that it says nothing.
            Body::Plain(_) if query.planned.needs_rows && !self.with_rows.contains(&query.planned.source) => {
                self.silent.insert(name);
                return;
            }
            Body::Plain(plan) => {
                let mut rows = self.readable(&query.planned).and_then(|()| runner.run(plan));
                let mut replaced = None;
                rows = rows.and_then(|rows| keyed(&query.planned.file, rows, &mut replaced));
                let clear = query.clear.as_ref().filter(|_| rows.is_ok()).map(|plan| runner.run(plan));
                let clear = clear.transpose().unwrap_or_else(|failure| {
                    rows = Err(QueryFailure(format!("@clear_when: {failure}")));
                    None
                });
                if let (Some(slot), Ok(rows)) = (&query.current, &rows) {
                    slot.fill(rows);
                }
                let clear = clear.map(|rows| split(&rows));
                let (rows, samples) = match rows.map(|rows| split(&rows)) {
                    Ok((rows, samples)) => (Ok(rows), samples),
                    Err(failure) => (Err(failure), None),
                };
                let (closing, took) = (Closing::NoneDue, Duration::ZERO);
                Outcome { query: name, rows, replaced, samples, clear, counted: true, closing, trouble: None, took }
            }
        };
        self.outcomes.push(outcome);
    }

    /// Whether every table that the query reads has been run.
    fn readable(&self, planned: &Planned) -> Result<(), QueryFailure> {
        if let Some((table, failure)) = self.unreadable.iter().find(|(table, _)| planned.reads_of_sources(table)) {
            return Err(QueryFailure(format!("it reads table \"{table}\", which is not up to date: {failure}")));
        }
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
        let watermark = own_watermark((&windowed.stream, planned.source), &self.watermarks, input.reached);
        self.watermarks.insert(planned.file.name.clone(), windowed.complete_to(watermark));

        let uncounted = if left_out {
            Some(QueryFailure("left out, since it failed before".to_owned()))
        } else {
            windowed.fold(runner, batch).err()
        };
        let counted = uncounted.is_none();
        let mut trouble = uncounted;
        let mut closing = Closing::NoneDue;
        let mut given = Vec::new();
        if self.giving != Giving::Nothing || closed_slot.is_some() {
            let ClosedWindows { rows: closed, were_due, failure } = windowed.closed(runner, watermark);
            closing = match (were_due, &failure) {
                (_, Some(_)) => Closing::Failed,
                (true, None) => Closing::Computed,
                (false, None) => Closing::NoneDue,
            };
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
            if input.shows_open(planned.source) && (is_changed || closed_slot.is_some()) {
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
        let mut replaced = None;
        let rows = rows.and_then(|rows| keyed(&planned.file, rows, &mut replaced));
        let (samples, clear, took) = (None, None, Duration::ZERO);
        Outcome { query: planned.file.name.clone(), rows, replaced, samples, clear, counted, closing, trouble, took }
    }

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

pub(super) fn keyed(
    file: &QueryFile,
    rows: RecordBatch,
    replaced: &mut Option<Replaced>,
) -> Result<RecordBatch, QueryFailure> {
    match &file.kind {
        QueryKind::Table(header) => {
            let (rows, others) = in_key_order(rows, &header.key).map_err(QueryFailure)?;
            *replaced = others;
            Ok(rows)
        }
        QueryKind::Rule(_) | QueryKind::View => Ok(rows),
    }
}
