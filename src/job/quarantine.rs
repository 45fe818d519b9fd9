//! Which queries are left out for a while because they keep failing.

use std::collections::BTreeMap;

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
    pub(super) fn failed(&mut self, query: &str, batch: BatchId, error: &str) -> QueryState {
        let failures = self.0.get(query).map_or(0, |state| state.failures).saturating_add(1);
        let pause = 1_u64.checked_shl(failures - 1).unwrap_or(LONGEST).min(LONGEST);
        let state =
            QueryState { query: query.to_owned(), failures, retry: BatchId(batch.0 + pause), error: error.to_owned() };
        self.0.insert(query.to_owned(), state.clone());
        state
    }

    /// Notes that a query is well; the state to store if it was not before.
    pub(super) fn succeeded(&mut self, query: &str, batch: BatchId) -> Option<QueryState> {
        self.0.remove(query).map(|state| QueryState { failures: 0, retry: batch, error: String::new(), ..state })
    }

    /// How a query fares, to be stored again because its table fares otherwise than before.
    pub(super) fn state(&self, query: &str, batch: BatchId) -> QueryState {
        let well = || QueryState { query: query.to_owned(), failures: 0, retry: batch, error: String::new() };
        self.0.get(query).cloned().unwrap_or_else(well)
    }

    /// Forgets what is known of queries that were edited or are gone; their states to store.
    pub(super) fn forget(&mut self, is_gone: &dyn Fn(&str) -> bool, batch: BatchId) -> Vec<QueryState> {
        let gone: Vec<String> = self.0.keys().filter(|query| is_gone(query)).cloned().collect();
        gone.iter().filter_map(|query| self.succeeded(query, batch)).collect()
    }

    /// The queries that fail, with their last errors.
    pub(super) fn failing(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.values().map(|state| (state.query.as_str(), state.error.as_str()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_query_is_tried_again_after_pauses_that_double() {
        let mut quarantine = Quarantine::default();
        let mut tried = Vec::new();
        for batch in (1..=40).map(BatchId) {
            if !quarantine.leaves_out("bad", batch) {
                tried.push(batch.0);
                quarantine.failed("bad", batch, "it fails");
            }
        }
        assert_eq!(tried, [1, 2, 4, 8, 16, 32]);
        assert!(!quarantine.leaves_out("good", BatchId(3)));
        assert!(quarantine.succeeded("bad", BatchId(64)).is_some_and(|state| state.failures == 0));
        assert_eq!(quarantine.succeeded("bad", BatchId(65)), None);
    }
}
