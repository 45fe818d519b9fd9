//! The one place where columns cross from Arrow to Polars, without a copy, by Arrow's C data interface.
//!
//! Both sides lay data out alike but are different crates with different types. Times cross as whole numbers: what is
//! computed on them here needs no calendar.

#![allow(unsafe_code, reason = "the C data interface is a contract about memory that no type can hold")]

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::ffi::to_ffi;
use polars::prelude::{PlSmallStr, PolarsError, Series};
use polars_arrow::ffi;

/// Why a column could not cross; only a type that the other side does not know.
#[derive(Debug, thiserror::Error)]
pub(super) enum CrossingError {
    #[error("Arrow: {0}")]
    Arrow(#[from] ArrowError),
    #[error("Polars: {0}")]
    Polars(#[from] PolarsError),
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
}
