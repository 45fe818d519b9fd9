//! Values apart from their columns, and rows with some of them filled in.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray, UInt64Array, new_null_array,
};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Float(f64),
    Whole(i64),
    Truth(bool),
    Text(Arc<str>),
}

/// The value in a row of a column; `None` where it has none.
pub(super) fn read(column: &ArrayRef, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Float64 => Some(Value::Float(column.as_primitive::<Float64Type>().value(row))),
        DataType::Int64 => Some(Value::Whole(column.as_primitive::<Int64Type>().value(row))),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(Value::Whole(column.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        DataType::Boolean => Some(Value::Truth(column.as_boolean().value(row))),
        DataType::Utf8View => Some(Value::Text(column.as_string_view().value(row).into())),
        _ => None,
    }
}

/// The values as a column of `kind`.
fn column(values: &[&Option<Value>], kind: &DataType) -> ArrayRef {
    let float = |value: &&Option<Value>| if let Some(Value::Float(value)) = value { Some(*value) } else { None };
    let whole = |value: &&Option<Value>| if let Some(Value::Whole(value)) = value { Some(*value) } else { None };
    let truth = |value: &&Option<Value>| if let Some(Value::Truth(value)) = value { Some(*value) } else { None };
    let text =
        |value: &&Option<Value>| if let Some(Value::Text(value)) = value { Some(Arc::clone(value)) } else { None };
    match kind {
        DataType::Float64 => Arc::new(values.iter().map(float).collect::<Float64Array>()),
        DataType::Int64 => Arc::new(values.iter().map(whole).collect::<Int64Array>()),
        DataType::Timestamp(_, zone) => {
            let times: TimestampMicrosecondArray = values.iter().map(whole).collect();
            Arc::new(times.with_timezone_opt(zone.clone()))
        }
        DataType::Boolean => Arc::new(values.iter().map(truth).collect::<BooleanArray>()),
        DataType::Utf8View => Arc::new(values.iter().map(text).collect::<StringViewArray>()),
        _ => new_null_array(kind, values.len()),
    }
}

/// The rows of a batch, some of them several times, with values filled in.
pub(super) struct Filled {
    /// How many rows the batch has.
    rows: usize,
    /// Whether each of them has been given out.
    is_used: Vec<bool>,
    /// Those that are there once more, behind the others.
    again: Vec<usize>,
    /// What is filled in: by vital and row, the values of its columns.
    values: BTreeMap<(usize, usize), Vec<Option<Value>>>,
}

impl Filled {
    pub(super) fn new(rows: usize) -> Self {
        Self { rows, is_used: vec![false; rows], again: Vec::new(), values: BTreeMap::new() }
    }

    /// A row as it is.
    pub(super) fn row(&mut self, row: usize) -> Option<i64> {
        i64::try_from(self.next_row(row)).ok()
    }

    /// A place for one more sample of a row of the batch.
    pub(super) fn next_row(&mut self, row: usize) -> usize {
        if !std::mem::replace(&mut self.is_used[row], true) {
            return row;
        }
        self.again.push(row);
        self.rows + self.again.len() - 1
    }

    /// The rows of the batch that are there once more, behind the others.
    pub(super) fn again(&self) -> &[usize] {
        &self.again
    }

    /// Fills the columns of a vital in at a place.
    pub(super) fn fill(&mut self, place: usize, vital: usize, values: &[Option<Value>]) {
        self.values.insert((vital, place), values.to_vec());
    }

    /// The rows of `frame` with everything filled in; `names` are the columns of each vital.
    pub(super) fn rows<'a>(self, frame: &RecordBatch, names: impl Iterator<Item = &'a [String]>) -> RecordBatch {
        if self.again.is_empty() && self.values.is_empty() {
            return frame.clone();
        }
        let mut columns = frame.columns().to_vec();
        if !self.again.is_empty() {
            let again = UInt64Array::from_iter_values(self.again.iter().map(|row| *row as u64));
            for column in &mut columns {
                let more = take(column, &again, None).unwrap_or_else(|error| panic!("the rows are there: {error}"));
                *column = concat(&[column, &more]).unwrap_or_else(|error| panic!("of one type: {error}"));
            }
        }
        for (vital, names) in names.enumerate() {
            let filled: Vec<(usize, &Vec<Option<Value>>)> =
                self.values.range((vital, 0)..(vital + 1, 0)).map(|((_, place), values)| (*place, values)).collect();
            if filled.is_empty() {
                continue;
            }
            for (index, name) in names.iter().enumerate() {
                let Ok(place) = frame.schema_ref().index_of(name) else { continue };
                let values: Vec<&Option<Value>> = filled.iter().map(|(_, values)| &values[index]).collect();
                let values = column(&values, columns[place].data_type());
                let mut from: Vec<(usize, usize)> = (0..columns[place].len()).map(|row| (0, row)).collect();
                filled.iter().enumerate().for_each(|(value, (row, _))| from[*row] = (1, value));
                columns[place] = interleave(&[columns[place].as_ref(), values.as_ref()], &from)
                    .unwrap_or_else(|error| panic!("of one type, and every row is there: {error}"));
            }
        }
        RecordBatch::try_new(frame.schema(), columns).unwrap_or_else(|error| panic!("the same columns: {error}"))
    }
}
