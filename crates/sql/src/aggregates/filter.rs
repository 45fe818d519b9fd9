//! Which rows an aggregate counts.

use arrow::array::{Array, BooleanArray};

/// Whether a FILTER lets a row through.
pub(crate) fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}
