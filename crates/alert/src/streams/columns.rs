//! A batch's columns as streams read them: which values there are, and what tells records apart.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

/// The bits of the columns that have a value, row by row.
pub(super) fn masks(rows: usize, columns: &[(u128, ArrayRef)]) -> Vec<u128> {
    let mut masks = vec![0; rows];
    for (bit, values) in columns {
        match values.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => masks.iter_mut().for_each(|mask| *mask |= bit),
            Some(nulls) => nulls.valid_indices().for_each(|row| masks[row] |= bit),
        }
    }
    masks
}

/// The time and the values of each record as one number, by which a record that comes again is known. The same in every
/// process: what is saved is compared after a restart.
pub(super) fn hashes(times: &TimestampMicrosecondArray, values: &[&ArrayRef]) -> Vec<u32> {
    #[allow(clippy::cast_sign_loss, reason = "only the bits count")]
    let mut hashes: Vec<u64> = times.values().iter().map(|at| mixed(0, *at as u64)).collect();
    for values in values {
        mix(&mut hashes, values);
    }
    #[allow(clippy::cast_possible_truncation, reason = "the upper half of a product is the better one")]
    let shorts = hashes.into_iter().map(|hash| (hash >> 32) as u32).collect();
    shorts
}

fn mixed(hash: u64, value: u64) -> u64 {
    (hash.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// Mixes each value of a column into the hash of its row, as bits that tell it apart.
fn mix(hashes: &mut [u64], values: &ArrayRef) {
    let mut with = |bits: &dyn Fn(usize) -> u64| {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = mixed(*hash, if values.is_null(row) { u64::MAX } else { bits(row) });
        }
    };
    match values.data_type() {
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>().values();
            with(&|row| values[row].to_bits());
        }
        #[allow(clippy::cast_sign_loss, reason = "only the bits count")]
        DataType::Int64 => {
            let values = values.as_primitive::<Int64Type>().values();
            with(&|row| values[row] as u64);
        }
        DataType::Boolean => {
            let values = values.as_boolean().values();
            with(&|row| u64::from(values.value(row)));
        }
        DataType::Utf8View => {
            let values = values.as_string_view();
            with(&|row| values.value(row).bytes().map(u64::from).fold(1, mixed));
        }
        _ => with(&|_| 0),
    }
}

/// A text column, whichever of Arrow's two forms of text it has.
pub(crate) fn texts(rows: &RecordBatch, name: &str) -> Option<StringViewArray> {
    let column = rows.column_by_name(name)?;
    match column.data_type() {
        DataType::Utf8View => Some(column.as_string_view().clone()),
        _ => arrow::compute::cast(column, &DataType::Utf8View).ok().map(|cast| cast.as_string_view().clone()),
    }
}
