//! Which queries fail: those that are left out for a while because they keep failing, and those of which windows could not be
//! computed; and which rules cannot be trusted for it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use tracing::warn;

use wardwatch_model::terms::BatchId;
use wardwatch_sql::{Closing, Outcome, QueryFailure};
use wardwatch_store::{Failed, QueryState};

/// A query that fails is left out for 1, 2, 4 … and at most this many batches.
const LONGEST: u64 = 64;

/// The queries of a set in the order in which they run, each with those that it reads.
pub(super) type Reads<'a> = [(&'a str, &'a [String])];

/// The failing queries. It is stored with each batch, so that a restart repeats it.
#[derive(Debug, Clone, Default)]
pub(super) struct Quarantine(BTreeMap<String, QueryState>);

impl Quarantine {
    pub(super) fn new(states: Vec<QueryState>) -> Self {
        Self(states.into_iter().map(|state| (state.query.clone(), state)).collect())
    }

    /// Whether `query` is left out of `batch`.
    pub(super) fn leaves_out(&self, query: &str, batch: BatchId) -> bool {
        self.0.get(query).is_some_and(|state| batch < state.retry)
    }

    /// Takes note of how queries fared with a batch. `windows_last` tells after how long the windows of a query have ended.
    ///
    /// Returns what failed in this batch, and the queries whose state has changed with it. A query that fails because one that it
    /// reads has no rows is no failing query of its own: that one is to be mended.
    pub(super) fn note(
        &mut self,
        outcomes: &[Outcome],
        queries: &Reads<'_>,
        windows_last: &dyn Fn(&str) -> TimeDelta,
        (batch, now): (BatchId, DateTime<Utc>),
    ) -> (Vec<Failed>, Vec<QueryState>) {
        let (mut failures, mut changed) = (Vec::new(), Vec::new());
        // What has no rows because of itself, or of what it reads; and of what of this that is told of this batch.
        let (mut without_rows, mut told) = (BTreeSet::new(), BTreeSet::new());
        for (name, reads) in queries.iter().copied() {
            let Some(outcome) = outcomes.iter().find(|outcome| outcome.query == *name) else {
                if self.leaves_out(name, batch) {
                    without_rows.insert(name);
                }
                continue;
            };
            let Outcome { rows, counted, closing, trouble, .. } = outcome;
            let Some(failure) = rows.as_ref().err().or(trouble.as_ref()) else {
                changed.extend(self.went_well(name, *closing, windows_last(name), (batch, now)));
                continue;
            };
            let is_of_another = rows.is_err() && reads.iter().any(|read| without_rows.contains(read.as_str()));
            if rows.is_err() {
                without_rows.insert(name);
            }
            let is_untold = is_of_another && !reads.iter().any(|read| told.contains(read.as_str()));
            if is_untold {
                continue;
            }
            told.insert(name);
            failures.push(Failed { query: name.to_owned(), error: failure.0.clone(), counted: *counted });
            if is_of_another || self.leaves_out(name, batch) {
                continue;
            }
            let (state, is_new) = match rows.is_ok() && *counted {
                true => self.window_failed(name, (batch, now), failure),
                false => (self.failed(name, (batch, now), &failure.0), true),
            };
            if is_new {
                warn!(query = name, %batch, error = %failure, "query failed; the others go on");
            }
            changed.push(state);
        }
        (failures, changed)
    }

    /// Notes that nothing of a query failed in a batch; the state to store if it failed before and is well now. One of which windows
    /// could not be computed is well when one is, or when none has failed for longer than its windows last.
    fn went_well(
        &mut self,
        query: &str,
        closing: Closing,
        windows_last: TimeDelta,
        (batch, now): (BatchId, DateTime<Utc>),
    ) -> Option<QueryState> {
        let window_failed_at = self.0.get(query)?.window_failed_at;
        let is_over = window_failed_at.is_none_or(|at| closing == Closing::Computed || now - at > windows_last);
        if is_over { self.succeeded(query, batch) } else { None }
    }

    /// Notes that a query counted a batch, but that windows of it could not be computed. It is not left out for it, since windows
    /// would lack the rows of the batches in between. Returns its state, and whether that is worth a line in the log.
    fn window_failed(
        &mut self,
        query: &str,
        (batch, now): (BatchId, DateTime<Utc>),
        failure: &QueryFailure,
    ) -> (QueryState, bool) {
        let before = self.0.get(query);
        let failures = before.map_or(0, |state| state.failures).saturating_add(1);
        let is_new = failures.is_power_of_two();
        let since = before.and_then(|state| state.since).or(Some(now));
        // The first error stands: which window it was, or which value, changes each time, and would be told again each time.
        let error = before.filter(|state| state.window_failed_at.is_some()).map(|state| state.error.clone());
        let (query, error) = (query.to_owned(), error.unwrap_or_else(|| failure.0.clone()));
        let state =
            QueryState { query, failures, retry: BatchId(batch.0 + 1), error, since, window_failed_at: Some(now) };
        self.0.insert(state.query.clone(), state.clone());
        (state, is_new)
    }

    /// The failing queries that each rule goes by: it, or the first that it reads, directly or through others. In words, with since
    /// when.
    pub(super) fn failing_rules<'a>(
        &self,
        rules: impl Iterator<Item = &'a str>,
        queries: &Reads<'_>,
    ) -> BTreeMap<String, (String, DateTime<Utc>)> {
        if self.0.is_empty() {
            return BTreeMap::new();
        }
        let fails = |name: &str| self.0.get(name).map(|state| (state, state.since.unwrap_or(DateTime::UNIX_EPOCH)));
        let why = |rule: &str| {
            if let Some((state, since)) = fails(rule) {
                return Some((format!("its query fails: {}", state.error), since));
            }
            let mut seen = BTreeSet::from([rule]);
            let mut waiting = vec![rule];
            while let Some(name) = waiting.pop() {
                let reads = queries.iter().find(|(query, _)| *query == name).map(|(_, reads)| *reads);
                for read in reads.unwrap_or_default() {
                    if let Some((state, since)) = fails(read) {
                        return Some((format!("its query reads {read}, which fails: {}", state.error), since));
                    }
                    if seen.insert(read) {
                        waiting.push(read);
                    }
                }
            }
            None
        };
        rules.filter_map(|rule| Some((rule.to_owned(), why(rule)?))).collect()
    }

    /// Notes that a query failed; it is tried again after a while that doubles with each failure in a row.
    fn failed(&mut self, query: &str, (batch, now): (BatchId, DateTime<Utc>), error: &str) -> QueryState {
        let before = self.0.get(query);
        let failures = before.map_or(0, |state| state.failures).saturating_add(1);
        let since = before.and_then(|state| state.since).or(Some(now));
        let pause = 1_u64.checked_shl(failures - 1).unwrap_or(LONGEST).min(LONGEST);
        let retry = BatchId(batch.0 + pause);
        let window_failed_at = before.and_then(|state| state.window_failed_at);
        let (query, error) = (query.to_owned(), error.to_owned());
        let state = QueryState { query, failures, retry, error, since, window_failed_at };
        self.0.insert(state.query.clone(), state.clone());
        state
    }

    /// Notes that a query is well; the state to store if it was not before.
    pub(super) fn succeeded(&mut self, query: &str, batch: BatchId) -> Option<QueryState> {
        self.0.remove(query).map(|state| QueryState {
            failures: 0,
            retry: batch,
            error: String::new(),
            since: None,
            window_failed_at: None,
            ..state
        })
    }

    /// How a query fares, to be stored again because its table fares otherwise than before.
    pub(super) fn state(&self, query: &str, batch: BatchId) -> QueryState {
        let query = query.to_owned();
        let well = || QueryState {
            query: query.clone(),
            failures: 0,
            retry: batch,
            error: String::new(),
            since: None,
            window_failed_at: None,
        };
        self.0.get(&query).cloned().unwrap_or_else(well)
    }

    /// Forgets what is known of queries that were edited or are gone; their states to store.
    pub(super) fn forget(&mut self, is_gone: &dyn Fn(&str) -> bool, batch: BatchId) -> Vec<QueryState> {
        let gone: Vec<String> = self.0.keys().filter(|query| is_gone(query)).cloned().collect();
        gone.iter().filter_map(|query| self.succeeded(query, batch)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    /// A query whose rows of a batch are there, or failed; and what became of its windows.
    fn outcome(query: &str, failure: Option<&str>, counted: bool, closing: Closing) -> Outcome {
        let failure = failure.map(|text| QueryFailure(text.to_owned()));
        let is_of_windows = closing != Closing::NoneDue || !counted;
        let (rows, trouble) = match failure {
            Some(failure) if !is_of_windows => (Err(failure), None),
            trouble => (Ok(RecordBatch::new_empty(std::sync::Arc::new(Schema::empty()))), trouble),
        };
        let took = std::time::Duration::ZERO;
        Outcome {
            query: query.to_owned(),
            rows,
            replaced: None,
            samples: None,
            clear: None,
            counted,
            closing,
            trouble,
            took,
        }
    }

    /// The queries that fail after each of these batches, one a second, and those that are left out of the next.
    fn fares(quarantine: &mut Quarantine, second: u64, outcomes: &[Outcome]) -> (Vec<String>, Vec<String>) {
        let window = ["minutes".to_owned()];
        let view = ["newest".to_owned()];
        let queries: [(&str, &[String]); 3] = [("minutes", &[]), ("newest", &window), ("high", &view)];
        let (batch, now) = (BatchId(second), at(second.cast_signed()));
        quarantine.note(outcomes, &queries, &|_| TimeDelta::seconds(70), (batch, now));
        let failing = quarantine.failing_rules(["high"].into_iter(), &queries);
        let next = BatchId(second + 1);
        let left_out = queries.iter().map(|(name, _)| *name).filter(|name| quarantine.leaves_out(name, next));
        (failing.into_values().map(|(why, _)| why).collect(), left_out.map(str::to_owned).collect())
    }

    #[test]
    fn a_window_that_could_not_be_computed_is_a_failure_until_one_is_or_none_is_due_for_long() {
        let mut quarantine = Quarantine::default();
        let minutes = |closing, failure| [outcome("minutes", failure, true, closing)];
        let told = (vec!["its query reads minutes, which fails: no number".to_owned()], Vec::<String>::new());
        let well = (Vec::new(), Vec::new());
        assert_eq!(fares(&mut quarantine, 1, &minutes(Closing::NoneDue, None)), well);
        assert_eq!(fares(&mut quarantine, 60, &minutes(Closing::Failed, Some("no number"))), told);
        assert_eq!(fares(&mut quarantine, 61, &minutes(Closing::NoneDue, None)), told, "a batch in between");
        assert_eq!(fares(&mut quarantine, 120, &minutes(Closing::Failed, Some("no number"))), told);
        let stored = quarantine.0.values().cloned().collect();
        let mut quarantine = Quarantine::new(stored);
        assert_eq!(fares(&mut quarantine, 121, &minutes(Closing::NoneDue, None)), told, "after a restart");
        assert_eq!(fares(&mut quarantine.clone(), 180, &minutes(Closing::Computed, None)), well);
        assert_eq!(fares(&mut quarantine, 190, &minutes(Closing::NoneDue, None)), told);
        assert_eq!(fares(&mut quarantine, 191, &minutes(Closing::NoneDue, None)), well, "no window ends any more");
    }

    #[test]
    fn who_reads_what_fails_is_told_with_the_query_at_fault_and_is_tried_again_with_it() {
        let mut quarantine = Quarantine::default();
        let view = |failure| {
            [outcome("minutes", None, true, Closing::NoneDue), outcome("newest", failure, true, Closing::NoneDue)]
        };
        let rule = |failure| outcome("high", failure, true, Closing::NoneDue);
        let no_rows = || rule(Some("it reads table \"newest\", which has no rows for this batch"));
        let both = |failure| view(failure).into_iter().chain([no_rows()]).collect::<Vec<_>>();
        let told = vec!["its query reads newest, which fails: odd".to_owned()];
        assert_eq!(fares(&mut quarantine, 1, &both(Some("odd"))), (told.clone(), Vec::new()));
        assert_eq!(fares(&mut quarantine, 2, &both(Some("odd"))), (told.clone(), vec!["newest".to_owned()]));
        let left_out = [outcome("minutes", None, true, Closing::NoneDue), no_rows()];
        assert_eq!(fares(&mut quarantine, 3, &left_out), (told, Vec::new()), "only what is to be mended is left out");
        let well: Vec<Outcome> = view(None).into_iter().chain([rule(None)]).collect();
        assert_eq!(fares(&mut quarantine, 4, &well), (Vec::new(), Vec::new()));
        let own: Vec<Outcome> = view(None).into_iter().chain([rule(Some("divide by zero"))]).collect();
        assert_eq!(fares(&mut quarantine, 5, &own).0, ["its query fails: divide by zero"]);
    }

    #[test]
    fn a_failing_query_is_tried_again_after_pauses_that_double() {
        let mut quarantine = Quarantine::default();
        let mut tried = Vec::new();
        for batch in (1..=40).map(BatchId) {
            if !quarantine.leaves_out("bad", batch) {
                tried.push(batch.0);
                let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(batch.0 as i64);
                let state = quarantine.failed("bad", (batch, now), "it fails");
                assert_eq!(state.since, Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(1)), "since it failed first");
            }
        }
        assert_eq!(tried, [1, 2, 4, 8, 16, 32]);
        assert!(!quarantine.leaves_out("good", BatchId(3)));
        assert!(quarantine.succeeded("bad", BatchId(64)).is_some_and(|state| state.failures == 0));
        assert_eq!(quarantine.succeeded("bad", BatchId(65)), None);
    }
}
