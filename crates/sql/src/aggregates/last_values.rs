//! `last_values(time, offset, column, …)`: of each column the last value that is not NULL, and its time.
//!
//! The same as `last_value(… ORDER BY time, offset) FILTER (WHERE … IS NOT NULL)` and `max(time) FILTER (…)` of each column,
//! but in one go and for columns of any type. Only our own plans call it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::filter::passes;

/// Before the columns stand time and offset.
const BEFORE: usize = 2;

/// The field of the result with the last value of the column numbered so.
pub(crate) fn last_value(column: usize) -> String {
    format!("value_{column}")
}

/// The field of the result with that value's time.
pub(crate) fn last_at(column: usize) -> String {
    format!("at_{column}")
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct LastValues {
    signature: Signature,
}

impl Default for LastValues {
    fn default() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for LastValues {
    fn name(&self) -> &str {
        "last_values"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields(&arguments[BEFORE..])))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let columns = args.input_fields.iter().skip(BEFORE).enumerate();
        let fields = columns.flat_map(|(number, field)| {
            let part = |part, of: DataType| {
                let name = format_state_name(args.name, &format!("{part}_{number}"));
                Arc::new(Field::new(name, of, true))
            };
            [part("value", field.data_type().clone()), part("at", instant()), part("offset", DataType::Int64)]
        });
        Ok(fields.collect())
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Err(not_needed())
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let types = args.expr_fields.iter().skip(BEFORE).map(|field| field.data_type().clone());
        Ok(Box::new(Columns(types.map(Column::new).collect())))
    }
}

/// Our plans have a key and no other ways.
fn not_needed() -> DataFusionError {
    DataFusionError::NotImplemented("last_values() is only for groups".to_owned())
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn fields(types: &[DataType]) -> Fields {
    let of = |(number, of): (usize, &DataType)| {
        [Field::new(last_value(number), of.clone(), true), Field::new(last_at(number), instant(), true)]
    };
    types.iter().enumerate().flat_map(of).collect()
}

#[derive(Debug)]
struct Columns(Vec<Column>);

/// The last values of one column.
#[derive(Debug)]
struct Column {
    of: DataType,
    /// The arrays that the values stand in; the first is one NULL.
    arrays: Vec<ArrayRef>,
    /// Where each group's value stands; none that is not NULL has come before the first.
    last: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    time: i64,
    offset: i64,
    at: (usize, usize),
}

const NOWHERE: Place = Place { time: i64::MIN, offset: i64::MIN, at: (0, 0) };

impl Place {
    fn is_somewhere(&self) -> bool {
        self.at.0 > 0
    }
}

impl Column {
    fn new(of: DataType) -> Self {
        let arrays = vec![new_null_array(&of, 1)];
        Self { of, arrays, last: Vec::new() }
    }

    fn take(
        &mut self,
        [values, times, offsets]: [&ArrayRef; 3],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) {
        self.last.resize(total, NOWHERE);
        let array = self.arrays.len();
        let times = times.as_primitive::<TimestampMicrosecondType>().values();
        let offsets = offsets.as_primitive::<Int64Type>().values();
        let mut taken = false;
        for (row, group) in groups.iter().enumerate() {
            if values.is_null(row) || !passes(filter, row) {
                continue;
            }
            let known = &mut self.last[*group];
            if (known.time, known.offset) <= (times[row], offsets[row]) {
                *known = Place { time: times[row], offset: offsets[row], at: (array, row) };
                taken = true;
            }
        }
        if taken {
            self.arrays.push(Arc::clone(values));
        }
    }

    /// Values, times and offsets of the groups that are to be given, which are forgotten.
    fn emit(&mut self, emit_to: EmitTo) -> Result<[ArrayRef; 3]> {
        let places = emit_to.take_needed(&mut self.last);
        let arrays: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        let values = interleave(&arrays, &places.iter().map(|place| place.at).collect::<Vec<_>>())?;
        let known = |of: fn(&Place) -> i64| places.iter().map(move |place| place.is_somewhere().then(|| of(place)));
        let times = TimestampMicrosecondArray::from_iter(known(|place| place.time)).with_timezone("UTC");
        let offsets = Int64Array::from_iter(known(|place| place.offset));
        if self.last.is_empty() {
            *self = Self::new(self.of.clone());
        }
        Ok([values, Arc::new(times), Arc::new(offsets)])
    }
}

impl GroupsAccumulator for Columns {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let (before, columns) = values.split_at(BEFORE);
        for (column, values) in self.0.iter_mut().zip(columns) {
            column.take([values, &before[0], &before[1]], groups, filter, total);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        for (column, state) in self.0.iter_mut().zip(states.chunks(3)) {
            column.take([&state[0], &state[1], &state[2]], groups, None, total);
        }
        Ok(())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let columns = self.0.iter_mut().map(|column| column.emit(emit_to));
        Ok(columns.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let types: Vec<DataType> = self.0.iter().map(|column| column.of.clone()).collect();
        let columns = self.0.iter_mut().map(|column| column.emit(emit_to));
        let columns = columns.collect::<Result<Vec<_>>>()?.into_iter().flat_map(|[values, times, _]| [values, times]);
        Ok(Arc::new(StructArray::try_new(fields(&types), columns.collect(), None)?))
    }

    fn convert_to_state(&self, _values: &[ArrayRef], _filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        Err(not_needed())
    }

    fn size(&self) -> usize {
        let of = |column: &Column| {
            let arrays: usize = column.arrays.iter().map(|array| array.get_array_memory_size()).sum();
            arrays + column.last.capacity() * size_of::<Place>()
        };
        self.0.iter().map(of).sum()
    }
}
