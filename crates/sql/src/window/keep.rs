//! What a windowed query keeps, on its way to the store and back, or to another plan of the same query.

use std::collections::BTreeMap;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::TimestampMicrosecondType;

use super::super::execute::{QueryFailure, Runner};
use super::rows::{broken, compact};
use super::saved;
use super::windowed::{Windowed, merging_with};

/// What a query keeps, as bytes.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The panes that changed.
    pub(crate) changed: Vec<(i64, Vec<u8>)>,
    /// The starts of all panes.
    pub(crate) panes: Vec<i64>,
    /// Windows that end by it were given out.
    pub(crate) closed_to: Option<i64>,
    /// Windows that start before it lack rows that can no longer be read.
    pub(crate) incomplete_before: Option<i64>,
}

impl Windowed {
    /// Forgets the groups whose first key, a text, is `gone`; of use where windows never close.
    pub(crate) fn forget(&mut self, gone: &dyn Fn(&str) -> bool) {
        let Ok(rows) = concat_batches(self.reduce.slot.schema(), &self.panes.all()) else { return };
        let keys = rows.column(0).as_string_view();
        let keep: BooleanArray = keys.iter().map(|key| Some(!key.is_some_and(gone))).collect();
        if keep.false_count() > 0
            && let Ok(kept) = filter_record_batch(&rows, &keep)
        {
            self.panes.replace(compact(&kept));
            self.shown = None;
            self.unshown = true;
        }
    }

    /// The first key, a text, of the groups whose first aggregate, a time, is before `time`.
    pub(crate) fn newest_by_group(&self) -> BTreeMap<String, i64> {
        let mut newest: BTreeMap<String, i64> = BTreeMap::new();
        for rows in self.panes.all() {
            let keys = rows.column(0).as_string_view();
            let times = rows.column(self.layout.keys + 1).as_primitive::<TimestampMicrosecondType>();
            for (key, time) in keys.iter().zip(times) {
                let Some((key, time)) = key.zip(time) else { continue };
                let known = newest.entry(key.to_owned()).or_insert(time);
                *known = (*known).max(time);
            }
        }
        newest
    }

    /// What was saved is in the store.
    pub(crate) fn mark_saved(&mut self) {
        self.panes.mark_saved();
    }

    /// What is kept, as far as it changed since [`Windowed::mark_saved`].
    ///
    /// Errors: what is kept cannot be folded.
    pub(crate) fn save(&mut self, runner: &Runner) -> Result<Saved, QueryFailure> {
        let merge = merging_with(&self.reduce, self.layout, runner);
        let mut changed = Vec::new();
        let mut failed = None;
        self.panes.save(&merge, &mut |start, rows| match saved::to_bytes(rows) {
            Ok(bytes) => changed.push((start, bytes)),
            Err(error) => failed = Some(broken(&error)),
        })?;
        match failed {
            Some(failure) => Err(failure),
            None => Ok(Saved {
                changed,
                panes: self.panes.starts().collect(),
                closed_to: self.closed_to,
                incomplete_before: self.mark_incomplete_before,
            }),
        }
    }

    /// Puts back what was kept. Returns whether it could: the bytes must be those that this plan saves.
    pub(crate) fn restore(
        &mut self,
        panes: &[(i64, Vec<u8>)],
        closed_to: Option<i64>,
        incomplete_before: Option<i64>,
    ) -> bool {
        let schema = self.reduce.slot.schema();
        let read: Option<Vec<(i64, RecordBatch)>> =
            panes.iter().map(|(start, bytes)| Some((*start, saved::from_bytes(bytes, schema)?))).collect();
        let Some(read) = read else { return false };
        for (start, rows) in read {
            self.panes.restore(start, rows);
        }
        self.closed_to = closed_to;
        self.mark_incomplete_before = incomplete_before;
        self.shown = None;
        // Nothing tells whether it was shown, and showing it again changes nothing.
        self.unshown = !panes.is_empty();
        true
    }

    /// Is as it was before the first batch.
    pub(crate) fn start_over(&mut self) {
        self.panes.clear();
        self.touched.clear();
        (self.closed_to, self.mark_incomplete_before, self.unshown, self.shown) = (None, None, false, None);
    }

    /// Goes on with what another plan of the same query keeps.
    pub(crate) fn adopt(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.panes, &mut other.panes);
        self.closed_to = other.closed_to;
        self.mark_incomplete_before = other.mark_incomplete_before;
        self.unshown = other.unshown;
        self.shown = None;
    }

    /// Marks windows that end by `time` as given out, without giving them out.
    pub(crate) fn start_at(&mut self, time: Option<i64>) {
        self.closed_to = time;
    }

    /// Nothing is given out of windows that start before `time`: what they had can no longer be known in full.
    pub(crate) fn mark_incomplete_before(&mut self, time: i64) {
        self.mark_incomplete_before = self.mark_incomplete_before.max(Some(time));
        self.shown = None;
    }
}
