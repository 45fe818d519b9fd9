//! Aggregates of our own, where DataFusion's keep more than they need from batch to batch. What they compute is the same.

mod counted;
mod filter;
mod last_values;

use datafusion::logical_expr::AggregateUDF;

pub(super) use last_values::{last_at, last_value};

/// The aggregates, to be registered in place of DataFusion's of the same names.
pub(super) fn aggregates() -> [AggregateUDF; 2] {
    [AggregateUDF::from(counted::Percentile::default()), AggregateUDF::from(last_values::LastValues::default())]
}
