//! A table query's rows in the order of their key, of each key the last one.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::row::{RowConverter, SortField};

/// Rows in whose place others of the same batch stand, which have their keys and come behind them.
#[derive(Debug, Clone)]
pub struct Replaced {
    /// Those rows.
    pub rows: RecordBatch,
    /// What is said of them, with the key of the first.
    pub reason: String,
}

/// `rows` sorted by the columns called `key`, of each key the last one, and the others.
///
/// Databases insert rows in the order of their key fastest, and two writers in one order cannot deadlock. That the last one counts is as
/// between batches, so it does not matter where one ends. A row whose key is NULL somewhere is left to the store, which puts it aside.
/// Errors: a column of the key is not there.
pub(super) fn in_key_order(rows: RecordBatch, key: &[String]) -> Result<(RecordBatch, Option<Replaced>), String> {
    let columns: Vec<ArrayRef> = key
        .iter()
        .map(|name| match rows.column_by_name(name) {
            Some(column) => Ok(column.clone()),
            None => Err(format!("key column \"{name}\" is not in the result")),
        })
        .collect::<Result<_, _>>()?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let keys = RowConverter::new(fields)
        .and_then(|converter| converter.convert_columns(&columns))
        .map_err(|error| error.to_string())?;

    let count = u32::try_from(rows.num_rows()).map_err(|_| "a result has at most 4 billion rows".to_owned())?;
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
    let is_whole = |row: u32| columns.iter().all(|column| column.is_valid(row as usize));
    let is_doubled = |pair: &&[u32]| keys.row(pair[0] as usize) == keys.row(pair[1] as usize) && is_whole(pair[0]);
    let replaced: Vec<u32> = order.windows(2).filter(is_doubled).map(|pair| pair[0]).collect();
    let taken =
        |order: Vec<u32>| take_record_batch(&rows, &UInt32Array::from(order)).map_err(|error| error.to_string());
    let Some(first) = replaced.first() else { return Ok((taken(order)?, None)) };
    let reason = format!("two rows have the key {}", describe(key, &columns, *first as usize));
    let gone: HashSet<u32> = replaced.iter().copied().collect();
    order.retain(|row| !gone.contains(row));
    Ok((taken(order)?, Some(Replaced { rows: taken(replaced)?, reason })))
}

fn describe(key: &[String], columns: &[ArrayRef], row: usize) -> String {
    let values = key.iter().zip(columns).map(|(name, column)| {
        let value = arrow::util::display::array_value_to_string(column, row).unwrap_or_default();
        format!("{name} = \"{value}\"")
    });
    values.collect::<Vec<_>>().join(", ")
}
