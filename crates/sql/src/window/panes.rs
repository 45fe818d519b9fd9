//! What a windowed query keeps: partial aggregates, piece by piece of event time.
//!
//! A *pane* is a piece as long as the window's slide; a window is merged from its panes. New rows are laid beside a
//! pane's own and folded into them when they have grown to some times as many, so that a batch costs by its own size. Panes that
//! can no longer change are also merged two by two into pieces of twice the length, and so on, so that a window of
//! hundreds of panes is put together from a dozen pieces. Nothing here knows SQL, time or the store.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;

use super::super::QueryFailure;
use super::call::floor;

/// Merges state rows to one row for each group, all of the pane, or the longer piece, that starts at the given time.
pub(super) type Merge<'a> = dyn Fn(i64, Vec<RecordBatch>) -> Result<RecordBatch, QueryFailure> + 'a;

/// A pane's new rows are folded when they are so many times its own. What is kept of a group may be long, as of a percentile, and
/// is copied with every fold.
const GROWN: usize = 8;

/// The panes of one query.
#[derive(Debug, Clone)]
pub(super) struct Panes {
    slide: i64,
    size: i64,
    panes: BTreeMap<i64, Pane>,
    /// Merged from panes that no longer change: level `n` is `2^n` slides long. Made when needed, never stored.
    merged: BTreeMap<(u32, i64), RecordBatch>,
}

#[derive(Debug, Clone, Default)]
struct Pane {
    folded: Option<RecordBatch>,
    added: Vec<RecordBatch>,
    added_rows: usize,
    /// Whether it differs from what the store has of it.
    unsaved: bool,
}

impl Pane {
    fn rows(&self) -> usize {
        self.folded.as_ref().map_or(0, RecordBatch::num_rows) + self.added_rows
    }

    fn batches(&self) -> Vec<RecordBatch> {
        self.folded.iter().chain(&self.added).cloned().collect()
    }

    fn fold(&mut self, start: i64, merge: &Merge<'_>) -> Result<(), QueryFailure> {
        if self.added.is_empty() {
            return Ok(());
        }
        self.folded = Some(merge(start, self.batches())?);
        self.added.clear();
        self.added_rows = 0;
        Ok(())
    }
}

impl Panes {
    pub(super) fn new(slide: i64, size: i64) -> Self {
        Self { slide, size, panes: BTreeMap::new(), merged: BTreeMap::new() }
    }

    /// Adds partial aggregates, each batch of one pane.
    ///
    /// Errors: folding fails, or there would be more than `most` groups; nothing is added then.
    pub(super) fn add(
        &mut self,
        rows: Vec<(i64, RecordBatch)>,
        most: usize,
        merge: &Merge<'_>,
    ) -> Result<(), QueryFailure> {
        let touched: BTreeSet<i64> = rows.iter().map(|(start, _)| *start).collect();
        let before: BTreeMap<i64, Option<Pane>> =
            touched.iter().map(|start| (*start, self.panes.get(start).cloned())).collect();
        for (start, batch) in rows {
            let pane = self.panes.entry(start).or_default();
            pane.added_rows += batch.num_rows();
            pane.added.push(batch);
            pane.unsaved = true;
        }
        let folded = self.fold_grown(&touched, most, merge);
        if folded.is_err() {
            for (start, pane) in before {
                match pane {
                    Some(pane) => self.panes.insert(start, pane),
                    None => self.panes.remove(&start),
                };
            }
        }
        folded
    }

    fn fold_grown(&mut self, touched: &BTreeSet<i64>, most: usize, merge: &Merge<'_>) -> Result<(), QueryFailure> {
        for start in touched {
            let Some(pane) = self.panes.get_mut(start) else { continue };
            let folded = pane.rows() - pane.added_rows;
            if pane.added_rows >= GROWN * folded || pane.added.len() >= 64 {
                pane.fold(*start, merge)?;
            }
        }
        if self.groups() > most {
            // Rows that wait to be folded may be of groups that are there already.
            self.fold_all(merge)?;
            if self.groups() > most {
                return Err(QueryFailure(format!(
                    "it would keep {} groups, and max_groups allows {most}: group by fewer or coarser keys, or by \
                     shorter windows",
                    self.groups()
                )));
            }
        }
        Ok(())
    }

    /// At least as many as there are groups: rows that wait to be folded count as groups of their own.
    pub(super) fn groups(&self) -> usize {
        self.panes.values().map(Pane::rows).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        let of = |batch: &RecordBatch| batch.get_array_memory_size();
        let panes = self.panes.values().flat_map(|pane| pane.folded.iter().chain(&pane.added));
        panes.chain(self.merged.values()).map(of).sum()
    }

    fn fold_all(&mut self, merge: &Merge<'_>) -> Result<(), QueryFailure> {
        self.panes.iter_mut().try_for_each(|(start, pane)| pane.fold(*start, merge))
    }

    /// The windows that `pane` is a piece of.
    fn windows_of(&self, pane: i64) -> impl Iterator<Item = i64> + use<> {
        let (slide, size) = (self.slide, self.size);
        (0..size / slide).map(move |back| pane.saturating_sub(back * slide))
    }

    /// The windows with rows that end after `from` and not after `to`.
    pub(super) fn windows_ending(&self, from: Option<i64>, to: Option<i64>) -> BTreeSet<i64> {
        let ends = |start: &i64| start.saturating_add(self.size);
        self.panes
            .keys()
            .flat_map(|pane| self.windows_of(*pane))
            .filter(|start| from.is_none_or(|from| ends(start) > from) && to.is_none_or(|to| ends(start) <= to))
            .collect()
    }

    /// The windows that the panes in `touched` are pieces of and that end after `from`.
    pub(super) fn windows_touched(&self, touched: &BTreeSet<i64>, from: Option<i64>) -> BTreeSet<i64> {
        let windows = touched.iter().flat_map(|pane| self.windows_of(*pane));
        windows.filter(|start| from.is_none_or(|from| start.saturating_add(self.size) > from)).collect()
    }

    /// The state rows that the window starting at `start` is merged from. Panes that end by `settled` change no more.
    pub(super) fn pieces(
        &mut self,
        start: i64,
        settled: Option<i64>,
        merge: &Merge<'_>,
    ) -> Result<Vec<RecordBatch>, QueryFailure> {
        let end = start.saturating_add(self.size);
        let mut pieces = Vec::new();
        let mut at = start;
        while at < end {
            let level = self.longest_piece(at, end, settled);
            if level == 0 {
                if let Some(pane) = self.panes.get_mut(&at) {
                    pane.fold(at, merge)?;
                    pieces.extend(pane.folded.clone());
                }
            } else {
                pieces.extend(self.merged_piece(level, at, merge)?);
            }
            at = at.saturating_add(self.slide << level);
        }
        Ok(pieces)
    }

    /// The level of the longest aligned piece from `at` that lies before `end` and changes no more.
    fn longest_piece(&self, at: i64, end: i64, settled: Option<i64>) -> u32 {
        let Some(settled) = settled else { return 0 };
        let limit = end.min(settled);
        let mut level = 0;
        while let Some(length) = self.slide.checked_shl(level + 1).filter(|length| *length > 0)
            && floor(at, length) == at
            && at.checked_add(length).is_some_and(|end| end <= limit)
        {
            level += 1;
        }
        level
    }

    fn merged_piece(&mut self, level: u32, start: i64, merge: &Merge<'_>) -> Result<Option<RecordBatch>, QueryFailure> {
        if level == 0 {
            let Some(pane) = self.panes.get_mut(&start) else { return Ok(None) };
            pane.fold(start, merge)?;
            return Ok(pane.folded.clone());
        }
        if let Some(known) = self.merged.get(&(level, start)) {
            return Ok(Some(known.clone()));
        }
        let half = self.slide << (level - 1);
        let halves = [self.merged_piece(level - 1, start, merge)?, self.merged_piece(level - 1, start + half, merge)?];
        let mut halves: Vec<RecordBatch> = halves.into_iter().flatten().collect();
        let piece = match halves.len() {
            0 => return Ok(None),
            1 => halves.remove(0),
            _ => merge(start, halves)?,
        };
        self.merged.insert((level, start), piece.clone());
        Ok(Some(piece))
    }

    /// Drops what no window that ends after `closed` needs.
    pub(super) fn drop_closed(&mut self, closed: i64) {
        // The last window that a pane is a piece of starts with it.
        let size = self.size;
        self.panes.retain(|start, _| start.saturating_add(size) > closed);
        let slide = self.slide;
        self.merged.retain(|(level, start), _| {
            let last = start.saturating_add((slide << level) - slide);
            last.saturating_add(size) > closed
        });
    }

    /// Calls `save` for each pane that changed since [`Panes::mark_saved`], folded.
    pub(super) fn save(
        &mut self,
        merge: &Merge<'_>,
        save: &mut dyn FnMut(i64, &RecordBatch),
    ) -> Result<(), QueryFailure> {
        for (start, pane) in self.panes.iter_mut().filter(|(_, pane)| pane.unsaved) {
            pane.fold(*start, merge)?;
            pane.folded.iter().for_each(|rows| save(*start, rows));
        }
        Ok(())
    }

    /// What was saved is in the store.
    pub(super) fn mark_saved(&mut self) {
        self.panes.values_mut().for_each(|pane| pane.unsaved = false);
    }

    /// The starts of all panes.
    pub(super) fn starts(&self) -> impl Iterator<Item = i64> {
        self.panes.keys().copied()
    }

    /// Puts back a pane that was saved.
    pub(super) fn restore(&mut self, start: i64, rows: RecordBatch) {
        self.panes.insert(start, Pane { folded: Some(rows), ..Pane::default() });
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.panes.clear();
        self.merged.clear();
    }

    /// All rows, folded or not.
    pub(super) fn all(&self) -> Vec<RecordBatch> {
        self.panes.values().flat_map(Pane::batches).collect()
    }

    /// Replaces everything by one pane with these rows; of use where there is but one.
    pub(super) fn replace(&mut self, rows: RecordBatch) {
        self.panes.clear();
        if rows.num_rows() > 0 {
            let pane = Pane { folded: Some(rows), unsaved: true, ..Pane::default() };
            self.panes.insert(0, pane);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    fn rows(value: i64) -> RecordBatch {
        RecordBatch::try_from_iter([("sum", Arc::new(Int64Array::from(vec![value])) as _)]).expect("rows")
    }

    fn sum(_start: i64, batches: Vec<RecordBatch>) -> Result<RecordBatch, QueryFailure> {
        let values = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
        Ok(rows(values.sum()))
    }

    fn total(pieces: Vec<RecordBatch>) -> i64 {
        sum(0, pieces).expect("summed").column(0).as_primitive::<Int64Type>().value(0)
    }

    proptest! {
        #[test]
        fn a_window_is_the_sum_of_its_panes_whatever_was_merged_before(
            values in proptest::collection::vec((-40_i64..40, 1_i64..100), 1..60),
            panes in 1_i64..13,
            settled in -60_i64..60,
        ) {
            let mut state = Panes::new(1, panes);
            for (start, value) in &values {
                state.add(vec![(*start, rows(*value))], usize::MAX, &sum).expect("added");
            }
            for window in -60..45 {
                let expected: i64 =
                    values.iter().filter(|(start, _)| (window..window + panes).contains(start)).map(|(_, v)| v).sum();
                let pieces = state.pieces(window, Some(settled), &sum).expect("pieces");
                prop_assert_eq!(total(pieces), expected);
            }
            let ending = state.windows_ending(Some(settled), None);
            prop_assert!(ending.iter().all(|start| start + panes > settled));
            state.drop_closed(settled);
            for window in ending {
                let expected: i64 =
                    values.iter().filter(|(start, _)| (window..window + panes).contains(start)).map(|(_, v)| v).sum();
                prop_assert_eq!(total(state.pieces(window, Some(settled), &sum).expect("pieces")), expected);
            }
        }
    }

    #[test]
    fn a_long_window_is_put_together_from_few_pieces() {
        let mut state = Panes::new(1, 300);
        for start in 0..400 {
            state.add(vec![(start, rows(1))], usize::MAX, &sum).expect("added");
        }
        for window in 0..100 {
            let pieces = state.pieces(window, Some(400), &sum).expect("pieces");
            assert!(pieces.len() <= 16, "{} pieces", pieces.len());
            assert_eq!(total(pieces), 300);
        }
    }

    #[test]
    fn more_groups_than_allowed_are_refused_and_leave_the_state_as_it_was() {
        let mut state = Panes::new(1, 1);
        state.add(vec![(0, rows(1)), (1, rows(1))], 2, &sum).expect("two groups");
        let refused = state.add(vec![(0, rows(5)), (2, rows(1))], 2, &sum).expect_err("three groups");
        assert!(refused.0.contains("max_groups allows 2"), "{refused}");
        assert_eq!(total(state.pieces(0, None, &sum).expect("pieces")), 1);
        assert_eq!(state.groups(), 2);
    }
}
