//! A table query's rows in the order of their key, which must differ from row to row.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::row::{RowConverter, SortField};

/// `rows` sorted by the columns called `key`.
///
/// Databases insert rows in the order of their key fastest, and two writers in one order cannot deadlock.
/// A row whose key is NULL somewhere is left to the store, which puts it aside. Errors: two rows with one key, named by its
/// values.
pub(super) fn in_key_order(rows: RecordBatch, key: &[String]) -> Result<RecordBatch, String> {
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
    if let Some(pair) = order.windows(2).find(is_doubled) {
        return Err(format!("two rows have the key {}", describe(key, &columns, pair[0] as usize)));
    }
    take_record_batch(&rows, &UInt32Array::from(order)).map_err(|error| error.to_string())
}

fn describe(key: &[String], columns: &[ArrayRef], row: usize) -> String {
    let values = key.iter().zip(columns).map(|(name, column)| {
        let value = arrow::util::display::array_value_to_string(column, row).unwrap_or_default();
        format!("{name} = \"{value}\"")
    });
    values.collect::<Vec<_>>().join(", ")
}
