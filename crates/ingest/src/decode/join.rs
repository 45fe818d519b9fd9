//! Vitals of one record that were measured together, as one row.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::TimestampMicrosecondType;

use wardwatch_config::{ColumnType, Columns};
use wardwatch_model::record::{ITEM_COLUMN, OFFSET_COLUMN, PARTITION_COLUMN, STAMP_COLUMN, TOPIC_COLUMN};

use super::parsed::RowOf;

/// Rows of one record with the same patient, and the same texts, that are no further apart than `within` and have no vital twice,
/// put together into the first of them.
///
/// Shape: the order stays; what has nothing to be joined with stays as it is.
pub(super) fn join(
    rows: RecordBatch,
    of: Vec<RowOf>,
    columns: &Columns,
    within: Duration,
) -> (RecordBatch, Vec<RowOf>) {
    let is_joined = of.windows(2).any(|pair| pair[0].record == pair[1].record);
    if !is_joined {
        return (rows, of);
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
    let mut first_of_record = 0;
    for row in 0..of.len() {
        if row > 0 && of[row].record != of[row - 1].record {
            first_of_record = groups.len();
        }
        match groups[first_of_record..].iter_mut().find(|group| fits(group, row)) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    if groups.len() == of.len() {
        return (rows, of);
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
    (joined, groups.iter().map(|group| of[group[0]]).collect())
}
