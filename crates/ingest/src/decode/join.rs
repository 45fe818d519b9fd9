//! Vitals of one record that were measured together, as one row.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::TimestampMicrosecondType;

use wardwatch_config::{ColumnType, Columns};
use wardwatch_model::record::{ITEM_COLUMN, OFFSET_COLUMN, PARTITION_COLUMN, STAMP_COLUMN, TOPIC_COLUMN};

use super::parsed::RowOf;

/// A row is joined with one of so many at most: a record may have a vital many times of one time.
const MOST_TRIED: usize = 32;

/// Rows of one record with the same patient, and the same texts, that are no further apart than `within` and have no vital twice,
/// put together into the first of them.
///
/// Shape: the order stays; what has nothing to be joined with stays as it is. Returned are the rows and, for each, of what rows it was
/// made, the first first; `None` where each is one of before.
pub(super) fn join(
    rows: RecordBatch,
    of: &[RowOf],
    columns: &Columns,
    within: Duration,
) -> (RecordBatch, Option<Vec<Vec<usize>>>) {
    let is_joined = of.windows(2).any(|pair| pair[0].record == pair[1].record);
    if !is_joined {
        return (rows, None);
    }
    let within = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
    let times = rows[columns.event_time().name.as_str()].as_primitive::<TimestampMicrosecondType>();
    let schema = rows.schema();
    // A vital is what two rows may not both have; a text may be the same in both.
    let is_head = |name: &str| {
        [TOPIC_COLUMN, PARTITION_COLUMN, OFFSET_COLUMN, ITEM_COLUMN, STAMP_COLUMN].contains(&name)
            || name == columns.event_time().name
    };
    let texts: Vec<&ArrayRef> = columns
        .all()
        .iter()
        .filter(|column| column.r#type == ColumnType::Text)
        .map(|column| &rows[column.name.as_str()])
        .collect();
    let vitals: Vec<&ArrayRef> = schema
        .fields()
        .iter()
        .zip(rows.columns())
        .filter(|(field, _)| !is_head(field.name()))
        .filter(|(field, _)| columns.get(field.name()).is_none_or(|column| column.r#type != ColumnType::Text))
        .map(|(_, array)| array)
        .collect();
    let fits = |group: &[usize], row: usize| {
        let first = group[0];
        times.value(first).abs_diff(times.value(row)) <= within.unsigned_abs()
            && group.iter().all(|member| {
                vitals.iter().all(|array| array.is_null(*member) || array.is_null(row))
                    && texts.iter().all(|array| {
                        let texts = array.as_string_view();
                        texts.is_null(*member) || texts.is_null(row) || texts.value(*member) == texts.value(row)
                    })
            })
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    // The groups of the record by the times of their first rows.
    let mut by_time: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for row in 0..of.len() {
        if row > 0 && of[row].record != of[row - 1].record {
            by_time.clear();
        }
        let at = times.value(row);
        let near = by_time.range(at.saturating_sub(within)..=at.saturating_add(within));
        let near = near.flat_map(|(_, groups)| groups).take(MOST_TRIED);
        match near.copied().find(|group| fits(&groups[*group], row)) {
            Some(group) => groups[group].push(row),
            None => {
                by_time.entry(at).or_default().push(groups.len());
                groups.push(vec![row]);
            }
        }
    }
    if groups.len() == of.len() {
        return (rows, None);
    }
    let index = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
    let arrays = rows.columns().iter().map(|array| {
        let places = groups
            .iter()
            .map(|group| index(group.iter().copied().find(|row| array.is_valid(*row)).unwrap_or(group[0])));
        let places = UInt32Array::from_iter_values(places);
        take(array, &places, None).unwrap_or_else(|error| panic!("the places are those of rows: {error}"))
    });
    let arrays = arrays.collect();
    let joined = RecordBatch::try_new(Arc::clone(&schema), arrays)
        .unwrap_or_else(|error| panic!("columns are as they were: {error}"));
    (joined, Some(groups))
}
