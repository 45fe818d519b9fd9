//! What queries cost the running job, told now and then.

use wardwatch_model::terms::BatchId;

use super::Value;
use super::connection::Store;
use super::error::StoreError;
use super::insert::{Duplicates, batch_value, insert_system};
use super::quote::quoted;
use super::row::Row;
use super::system::QUERY_COSTS;

/// What a query has cost over some batches.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryCost {
    /// The query.
    pub query: String,
    /// Of how many batches.
    pub batches: u64,
    /// The mean time of a batch, in milliseconds.
    pub mean_ms: f64,
    /// The longest, in milliseconds.
    pub longest_ms: f64,
    /// How many rows it gave for a batch, in the mean.
    pub mean_rows: f64,
    /// The batch with which this was told.
    pub batch: BatchId,
}

impl Store {
    pub(super) fn write_costs(&mut self, costs: &[QueryCost]) -> Result<(), StoreError> {
        let job = Value::text(&self.job);
        let mut rows = costs.iter().map(|cost| {
            vec![
                job.clone(),
                Value::text(&cost.query),
                Value::Int(i64::try_from(cost.batches).unwrap_or(i64::MAX)),
                Value::Float(cost.mean_ms),
                Value::Float(cost.longest_ms),
                Value::Float(cost.mean_rows),
                batch_value(cost.batch),
            ]
        });
        insert_system(self.database.as_mut(), QUERY_COSTS, Duplicates::Replaced, &mut rows)
    }

    /// What each query cost when the job told last, by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn query_costs(&mut self) -> Result<Vec<QueryCost>, StoreError> {
        let sql = format!(
            "SELECT `query`, `batches`, `mean_ms`, `longest_ms`, `mean_rows`, `batch` FROM {} WHERE `job`=? ORDER BY `query`",
            quoted(QUERY_COSTS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(QUERY_COSTS, row);
                Ok(QueryCost {
                    query: row.text()?,
                    batches: row.batch()?.0,
                    mean_ms: row.optional_float().unwrap_or_default(),
                    longest_ms: row.optional_float().unwrap_or_default(),
                    mean_rows: row.optional_float().unwrap_or_default(),
                    batch: row.batch()?,
                })
            })
            .collect()
    }
}
