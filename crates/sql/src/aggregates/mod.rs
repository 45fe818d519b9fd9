//! Aggregates of our own, where DataFusion's keep more than they need from batch to batch. What they compute is the same.

mod counted;
mod last_values;

use arrow::array::{Array, BooleanArray};
use datafusion::logical_expr::AggregateUDF;

pub(super) use last_values::{last_at, last_value};

/// The aggregates, to be registered in place of DataFusion's of the same names.
pub(super) fn aggregates() -> [AggregateUDF; 2] {
    [AggregateUDF::from(counted::Percentile::default()), AggregateUDF::from(last_values::LastValues::default())]
}

/// Whether a FILTER lets a row through.
fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}
