//! `percentile_cont`, exact, of what is kept as counts: each value of a group once, and how often it came.
//!
//! A monitor shows whole numbers, so five minutes of a heart rate are three hundred readings but a dozen values. DataFusion
//! keeps every reading, which made a ward's percentiles most of what a job held.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::percentile_cont::PercentileCont;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature};
use datafusion::physical_expr::expressions::Literal;
use datafusion::scalar::ScalarValue;

use super::filter::passes;

/// `percentile_cont(value, share)`, and the same WITHIN GROUP: DataFusion's own, but for groups of doubles.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Percentile {
    inner: PercentileCont,
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.inner.simplify()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.supports_within_group_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if args.is_distinct || *args.input_fields[0].data_type() != DataType::Float64 {
            return self.inner.state_fields(args);
        }
        let list =
            |name, of| Field::new_list(format_state_name(args.name, name), Field::new_list_field(of, true), true);
        Ok(vec![Arc::new(list("values", DataType::Float64)), Arc::new(list("counts", DataType::UInt32))])
    }

    /// What runs where there are no groups, or a frame slides: nothing of it is kept.
    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if *args.expr_fields[0].data_type() != DataType::Float64 {
            return self.inner.create_groups_accumulator(args);
        }
        let descending = args.order_bys.first().is_some_and(|order| order.options.descending);
        let share = share(&args)?;
        Ok(Box::new(Counted::new(if descending { 1.0 - share } else { share })))
    }
}

/// The second argument, which must be a constant within 0 and 1.
fn share(args: &AccumulatorArgs<'_>) -> Result<f64> {
    let literal = args.exprs[1].downcast_ref::<Literal>();
    match literal.map(Literal::value) {
        Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(share) => Ok(*share),
        _ => Err(DataFusionError::Plan("percentile_cont(): the percentile is a number between 0 and 1".to_owned())),
    }
}

/// How often one value came in one group.
#[derive(Debug, Clone, Copy)]
struct Entry {
    value: f64,
    group: u32,
    count: u32,
}

impl Entry {
    fn new(group: usize, value: f64, count: u32) -> Self {
        let group = u32::try_from(group).unwrap_or_else(|_| panic!("max_groups is less than four billion"));
        Self { value, group, count }
    }
}

/// Entries that so many have been added to are put in order, however few there were.
const ADDED: usize = 4_096;

#[derive(Debug)]
struct Counted {
    share: f64,
    /// Up to `settled` by group and value, each once; behind that as they came.
    entries: Vec<Entry>,
    settled: usize,
    groups: usize,
}

impl Counted {
    fn new(share: f64) -> Self {
        Self { share, entries: Vec::new(), settled: 0, groups: 0 }
    }

    fn grow(&mut self, groups: usize) {
        self.groups = self.groups.max(groups);
        if self.entries.len() > 2 * self.settled + ADDED {
            self.compact();
        }
    }

    /// Puts entries in order and makes equal ones one: apart by group, which is counting, then each group's few by value.
    fn compact(&mut self) {
        if self.settled == self.entries.len() {
            return;
        }
        let mut ends = vec![0_usize; self.groups + 1];
        for entry in &self.entries {
            ends[entry.group as usize + 1] += 1;
        }
        for group in 0..self.groups {
            ends[group + 1] += ends[group];
        }
        let mut next = ends.clone();
        let mut apart = self.entries.clone();
        for entry in &self.entries {
            let place = &mut next[entry.group as usize];
            apart[*place] = *entry;
            *place += 1;
        }
        self.entries.clear();
        for group in 0..self.groups {
            let of_group = &mut apart[ends[group]..ends[group + 1]];
            of_group.sort_unstable_by(|a, b| a.value.total_cmp(&b.value));
            for same in of_group.chunk_by(|a, b| a.value.total_cmp(&b.value).is_eq()) {
                let count = same.iter().fold(0_u32, |count, entry| count.saturating_add(entry.count));
                self.entries.push(Entry { count, ..same[0] });
            }
        }
        self.settled = self.entries.len();
    }

    /// The entries of the groups that are to be given, and forgets those groups.
    fn take(&mut self, emit_to: EmitTo) -> Taken {
        self.compact();
        let groups = match emit_to {
            EmitTo::All => self.groups,
            EmitTo::First(groups) => groups,
        };
        let kept = self.entries.split_off(self.entries.partition_point(|entry| (entry.group as usize) < groups));
        let entries = std::mem::replace(&mut self.entries, kept);
        self.entries
            .iter_mut()
            .for_each(|entry| *entry = Entry::new(entry.group as usize - groups, entry.value, entry.count));
        self.settled = self.entries.len();
        self.groups -= groups;
        Taken { entries, groups }
    }
}

/// Entries by group and value.
struct Taken {
    entries: Vec<Entry>,
    groups: usize,
}

impl Taken {
    /// The entries of each group in turn; some have none.
    fn by_group(&self) -> impl Iterator<Item = &[Entry]> {
        let mut rest = self.entries.as_slice();
        (0..self.groups).map(move |group| {
            let (of_group, behind) =
                rest.split_at(rest.iter().take_while(|entry| entry.group as usize == group).count());
            rest = behind;
            of_group
        })
    }
}

impl GroupsAccumulator for Counted {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let values = values[0].as_primitive::<Float64Type>();
        for (row, group) in groups.iter().enumerate() {
            if values.is_valid(row) && passes(filter, row) {
                self.entries.push(Entry::new(*group, values.value(row), 1));
            }
        }
        self.grow(total);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let (values, counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        let (value_ends, count_ends) = (values.value_offsets(), counts.value_offsets());
        let all_values = values.values().as_primitive::<Float64Type>().values();
        let all_counts = counts.values().as_primitive::<UInt32Type>().values();
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| values.is_valid(*row)) {
            let values = &all_values[place(value_ends[row])..place(value_ends[row + 1])];
            let counts = &all_counts[place(count_ends[row])..place(count_ends[row + 1])];
            let entries = values.iter().zip(counts);
            self.entries.extend(entries.map(|(value, count)| Entry::new(*group, *value, *count)));
        }
        self.grow(total);
        Ok(())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let taken = self.take(emit_to);
        let offsets = OffsetBuffer::from_lengths(taken.by_group().map(<[Entry]>::len));
        let values = Float64Array::from_iter_values(taken.entries.iter().map(|entry| entry.value));
        let counts = UInt32Array::from_iter_values(taken.entries.iter().map(|entry| entry.count));
        let list = |of: DataType, items: ArrayRef| -> Result<ArrayRef> {
            let field = Arc::new(Field::new_list_field(of, true));
            Ok(Arc::new(ListArray::try_new(field, offsets.clone(), items, None)?))
        };
        Ok(vec![list(DataType::Float64, Arc::new(values))?, list(DataType::UInt32, Arc::new(counts))?])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let taken = self.take(emit_to);
        let found = taken.by_group().map(|entries| percentile(entries, self.share));
        Ok(Arc::new(Float64Array::from_iter(found)))
    }

    /// Asked for only of accumulators that say that they can.
    fn convert_to_state(&self, _values: &[ArrayRef], _filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        Err(DataFusionError::NotImplemented("percentile_cont() keeps counts of groups".to_owned()))
    }

    fn size(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

/// A list's end among all values.
fn place(end: i32) -> usize {
    usize::try_from(end).unwrap_or_else(|_| panic!("lists end where they do, which is not before the first value"))
}

/// The value that `share` of all lie below, linear between the two that it falls between (SQL:2003, `PERCENTILE_CONT`).
/// `entries` are by value.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place among fewer than 2^52 readings"
)]
fn percentile(entries: &[Entry], share: f64) -> Option<f64> {
    let count: u64 = entries.iter().map(|entry| u64::from(entry.count)).sum();
    let place = share * count.checked_sub(1)? as f64;
    let (below, above) = (at(entries, place.floor() as u64)?, at(entries, place.ceil() as u64)?);
    Some(if below.total_cmp(&above).is_eq() { below } else { below + (above - below) * place.fract() })
}

/// The value at a place, counted from 0.
fn at(entries: &[Entry], place: u64) -> Option<f64> {
    let mut passed = 0;
    entries.iter().find_map(|entry| {
        passed += u64::from(entry.count);
        (place < passed).then_some(entry.value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(of: &[Option<f64>]) -> [ArrayRef; 1] {
        [Arc::new(Float64Array::from(of.to_vec()))]
    }

    /// Sorted, all of them, as the standard says.
    fn expected(mut values: Vec<f64>, share: f64) -> Option<f64> {
        values.sort_by(f64::total_cmp);
        #[allow(clippy::cast_precision_loss, reason = "a test has few")]
        let place = share * values.len().checked_sub(1)? as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test has few")]
        let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
        Some(below + (above - below) * place.fract())
    }

    proptest! {
        /// Rows in any pieces, some of them as states of another run, give what sorting all of them gives.
        #[test]
        fn counts_give_what_all_values_give(
            rows in proptest::collection::vec((0_usize..4, proptest::option::of(-5_i8..5), any::<bool>()), 0..200),
            cuts in 1_usize..40,
            share in 0.0_f64..=1.0,
        ) {
            let mut whole = Counted::new(share);
            for piece in rows.chunks(cuts) {
                let of: Vec<_> = piece.iter().map(|(_, value, _)| value.map(f64::from)).collect();
                let groups: Vec<_> = piece.iter().map(|(group, ..)| *group).collect();
                let filter = BooleanArray::from_iter(piece.iter().map(|(.., passes)| Some(*passes)));
                let mut part = Counted::new(share);
                part.update_batch(&values(&of), &groups, Some(&filter), 4).expect("counted");
                let mut state = part.state(EmitTo::First(1)).expect("the first group");
                whole.merge_batch(&state, &[0], 4).expect("merged");
                state = part.state(EmitTo::All).expect("the others");
                whole.merge_batch(&state, &[1, 2, 3], 4).expect("merged");
            }
            let found = whole.evaluate(EmitTo::All).expect("evaluated");
            let found = found.as_primitive::<Float64Type>();
            for group in 0..4 {
                let of = rows.iter().filter(|(of, _, passes)| *of == group && *passes);
                let expected = expected(of.filter_map(|(_, value, _)| value.map(f64::from)).collect(), share);
                let found = (found.len() > group && found.is_valid(group)).then(|| found.value(group));
                match (found, expected) {
                    (Some(found), Some(expected)) => prop_assert!((found - expected).abs() < 1e-9),
                    (found, expected) => prop_assert_eq!(found, expected),
                }
            }
        }
    }

    #[test]
    fn a_thousand_equal_readings_are_kept_as_one() {
        let mut counted = Counted::new(0.5);
        for _ in 0..1_000 {
            counted.update_batch(&values(&[Some(72.0); 10]), &[0; 10], None, 1).expect("counted");
        }
        let state = counted.state(EmitTo::All).expect("state");
        assert_eq!(state[0].as_list::<i32>().value(0).len(), 1);
        assert_eq!(state[1].as_list::<i32>().value(0).as_primitive::<UInt32Type>().value(0), 10_000);
    }
}
