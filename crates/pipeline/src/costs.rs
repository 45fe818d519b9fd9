//! What queries cost, added up until it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use wardwatch_model::terms::BatchId;
use wardwatch_sql::Outcome;
use wardwatch_store::QueryCost;

/// What queries have cost since it was told last.
#[derive(Debug, Default)]
pub(super) struct Costs {
    queries: BTreeMap<String, Cost>,
    /// The batch with which it was told last.
    told: Option<BatchId>,
}

#[derive(Debug, Default)]
struct Cost {
    batches: u64,
    took: Duration,
    longest: Duration,
    rows: u64,
}

impl Costs {
    pub(super) fn add(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let cost = self.queries.entry(outcome.query.clone()).or_default();
            cost.batches += 1;
            cost.took += outcome.took;
            cost.longest = cost.longest.max(outcome.took);
            cost.rows += outcome.rows.as_ref().map_or(0, |rows| rows.num_rows() as u64);
        }
    }

    /// What is to be told with `batch`: nothing, unless `every` batches have passed since the last time.
    pub(super) fn due(&self, batch: BatchId, every: u64) -> Vec<QueryCost> {
        if self.told.is_some_and(|told| batch.0 - told.0 < every) {
            return Vec::new();
        }
        #[allow(clippy::cast_precision_loss, reason = "counts of batches and rows are small")]
        let cost = |(query, cost): (&String, &Cost)| QueryCost {
            query: query.clone(),
            batches: cost.batches,
            mean_ms: cost.took.as_secs_f64() * 1_000.0 / cost.batches as f64,
            longest_ms: cost.longest.as_secs_f64() * 1_000.0,
            mean_rows: cost.rows as f64 / cost.batches as f64,
            batch,
        };
        self.queries.iter().map(cost).collect()
    }

    /// It was told with `batch`.
    pub(super) fn told(&mut self, batch: BatchId) {
        self.queries.clear();
        self.told = Some(batch);
    }
}
