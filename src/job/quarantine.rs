//! Which queries are left out for a while because they keep failing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::store::QueryState;
use crate::terms::BatchId;

/// A query that fails is left out for 1, 2, 4 … and at most this many batches.
const LONGEST: u64 = 64;

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

    /// Notes that a query failed; it is tried again after a while that doubles with each failure in a row.
    pub(super) fn failed(&mut self, query: &str, (batch, now): (BatchId, DateTime<Utc>), error: &str) -> QueryState {
        let before = self.0.get(query);
        let failures = before.map_or(0, |state| state.failures).saturating_add(1);
        let since = before.and_then(|state| state.since).or(Some(now));
        let pause = 1_u64.checked_shl(failures - 1).unwrap_or(LONGEST).min(LONGEST);
        let retry = BatchId(batch.0 + pause);
        let state = QueryState { query: query.to_owned(), failures, retry, error: error.to_owned(), since };
        self.0.insert(query.to_owned(), state.clone());
        state
    }

    /// Notes that a query is well; the state to store if it was not before.
    pub(super) fn succeeded(&mut self, query: &str, batch: BatchId) -> Option<QueryState> {
        self.0.remove(query).map(|state| QueryState {
            failures: 0,
            retry: batch,
            error: String::new(),
            since: None,
            ..state
        })
    }

    /// How a query fares, to be stored again because its table fares otherwise than before.
    pub(super) fn state(&self, query: &str, batch: BatchId) -> QueryState {
        let query = query.to_owned();
        let well = || QueryState { query: query.clone(), failures: 0, retry: batch, error: String::new(), since: None };
        self.0.get(&query).cloned().unwrap_or_else(well)
    }

    /// Forgets what is known of queries that were edited or are gone; their states to store.
    pub(super) fn forget(&mut self, is_gone: &dyn Fn(&str) -> bool, batch: BatchId) -> Vec<QueryState> {
        let gone: Vec<String> = self.0.keys().filter(|query| is_gone(query)).cloned().collect();
        gone.iter().filter_map(|query| self.succeeded(query, batch)).collect()
    }

    /// The queries that fail.
    pub(super) fn failing(&self) -> impl Iterator<Item = &QueryState> {
        self.0.values()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

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
