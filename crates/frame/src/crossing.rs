//! The one place where columns cross between Arrow and Polars, without a copy, by Arrow's C data interface.
//!
//! Both sides lay data out alike but are different crates with different types. What is computed here takes times as whole
//! numbers, for it needs no calendar; whole frames, which are for others, have them as times in UTC.

#![allow(unsafe_code, reason = "the C data interface is a contract about memory that no type can hold")]

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use polars::prelude as pl;
use polars::prelude::{Column, CompatLevel, DataFrame, PlSmallStr, PolarsError, Series};
use polars_arrow::ffi;

/// Why a column could not cross; only a type that the other side does not know.
#[derive(Debug, thiserror::Error)]
pub enum CrossingError {
    /// Arrow has no such type, or no such rows.
    #[error("Arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// Polars has no such type, or no such rows.
    #[error("Polars: {0}")]
    Polars(#[from] PolarsError),
}

/// Rows of Arrow as a frame of Polars. Times are in UTC, to the microsecond, without a zone: this build of Polars knows none.
///
/// # Errors
/// A column has a type that Polars does not know.
pub fn to_polars_frame(rows: &RecordBatch) -> Result<DataFrame, CrossingError> {
    let columns = rows.schema_ref().fields().iter().zip(rows.columns()).map(|(field, column)| {
        let series = to_polars(field.name(), column)?;
        let is_time = matches!(field.data_type(), DataType::Timestamp(_, _));
        let time = pl::DataType::Datetime(pl::TimeUnit::Microseconds, None);
        Ok(Column::from(if is_time { series.cast(&time)? } else { series }))
    });
    Ok(DataFrame::new(rows.num_rows(), columns.collect::<Result<Vec<_>, CrossingError>>()?)?)
}

/// A frame of Polars as rows of Arrow. Times without a zone are taken as UTC.
///
/// # Errors
/// A column has a type that Arrow does not know.
pub fn from_polars_frame(frame: &DataFrame) -> Result<RecordBatch, CrossingError> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for column in frame.columns() {
        let array = from_polars(column.as_materialized_series())?;
        let array: ArrayRef = match array.data_type() {
            DataType::Timestamp(_, None) => {
                let times = cast(&array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
                std::sync::Arc::new(times.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC"))
            }
            _ => array,
        };
        fields.push(Field::new(column.name().as_str(), array.data_type().clone(), true));
        columns.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(frame.height()));
    Ok(RecordBatch::try_new_with_options(std::sync::Arc::new(Schema::new(fields)), columns, &options)?)
}

/// A Polars series as a column of Arrow.
fn from_polars(series: &Series) -> Result<ArrayRef, CrossingError> {
    let array = series.rechunk().to_arrow(0, CompatLevel::newest());
    let field = polars_arrow::datatypes::Field::new(series.name().clone(), array.dtype().clone(), true);
    let (array, schema) = (ffi::export_array_to_c(array), ffi::export_field_to_c(&field));
    // SAFETY: as in `to_polars`, the other way: the array is moved to its new owner, who calls its release callback, and
    // `forget` keeps the old one from it. The schema is only read here and released by its owner.
    let data = unsafe {
        let moved = std::ptr::read((&raw const array).cast::<FFI_ArrowArray>());
        std::mem::forget(array);
        from_ffi(moved, &*(&raw const schema).cast::<FFI_ArrowSchema>())?
    };
    Ok(make_array(data))
}

/// `column` as a Polars series called `name`.
pub(super) fn to_polars(name: &str, column: &ArrayRef) -> Result<Series, CrossingError> {
    let (array, schema) = to_ffi(&without_time(column).to_data())?;
    // SAFETY: both crates declare the two structs of the C data interface as its specification lays them out, so a
    // pointer to one is a pointer to the other. The array is moved: its release callback is called by its new owner,
    // and `forget` keeps the old one from calling it too. The schema is only read here and released by its owner.
    unsafe {
        let field = ffi::import_field_from_c(&*(&raw const schema).cast::<ffi::ArrowSchema>())?;
        let moved = std::ptr::read((&raw const array).cast::<ffi::ArrowArray>());
        std::mem::forget(array);
        let imported = ffi::import_array_from_c(moved, field.dtype.clone())?;
        let series = Series::_try_from_arrow_unchecked(PlSmallStr::from_str(name), vec![imported], &field.dtype)?;
        Ok(series)
    }
}

fn without_time(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Timestamp(_, _) => {
            let times = column.as_primitive::<TimestampMicrosecondType>();
            std::sync::Arc::new(times.reinterpret_cast::<arrow::datatypes::Int64Type>())
        }
        _ => ArrayRef::clone(column),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray};
    use polars::prelude::AnyValue;

    use super::*;

    fn check(column: ArrayRef, expected: &[AnyValue<'_>]) {
        let series = to_polars("column", &column).expect("to Polars");
        drop(column); // the series keeps the memory
        let found: Vec<AnyValue<'_>> = series.iter().collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn columns_keep_their_values_and_outlive_the_side_that_they_came_from() {
        use AnyValue::{Boolean, Float64, Int64, Null, String};
        check(Arc::new(Float64Array::from(vec![Some(1.5), None])), &[Float64(1.5), Null]);
        check(Arc::new(Int64Array::from(vec![Some(7), None, Some(i64::MIN)]).slice(1, 2)), &[Null, Int64(i64::MIN)]);
        check(Arc::new(BooleanArray::from(vec![Some(true), None])), &[Boolean(true), Null]);
        let texts = StringViewArray::from(vec![Some("P1"), None, Some("an id longer than twelve bytes")]);
        check(Arc::new(texts), &[String("P1"), Null, String("an id longer than twelve bytes")]);
        let times = TimestampMicrosecondArray::from(vec![1, 2]).with_timezone("UTC");
        check(Arc::new(times), &[Int64(1), Int64(2)]);
    }

    #[test]
    fn a_frame_comes_back_as_it_went() {
        let columns: [(&str, ArrayRef); 5] = [
            ("patient_id", Arc::new(StringViewArray::from(vec![Some("P1"), None, Some("longer than twelve bytes")]))),
            ("heart_rate", Arc::new(Float64Array::from(vec![Some(72.5), None, Some(140.0)]))),
            ("count", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("is_paced", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("event_time", Arc::new(TimestampMicrosecondArray::from(vec![1, 2, -3]).with_timezone("UTC"))),
        ];
        let rows = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)));
        let rows = rows.expect("columns of one length");
        for rows in [rows.slice(1, 2), rows.slice(0, 0), rows] {
            let frame = to_polars_frame(&rows).expect("to Polars");
            assert_eq!(frame.height(), rows.num_rows());
            let back = from_polars_frame(&frame).expect("to Arrow");
            drop(frame); // the rows keep the memory
            assert_eq!(back, rows);
        }
    }
}
