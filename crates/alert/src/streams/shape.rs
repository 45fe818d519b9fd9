//! Which columns rules depend on, and so what streams keep apart.

use std::collections::BTreeSet;

use arrow::array::{AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};

use super::row::SampleRow;

/// Which columns rules depend on, and so what streams keep apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The column that names the device, where the job has one.
    pub(super) device: Option<String>,
    /// The columns by whose values a record that comes again is known, whatever rules there are; those that rules depend on
    /// where there are none.
    pub(super) values: Vec<String>,
    pub(super) columns: Vec<String>,
    pub(super) sets: Vec<ColumnSet>,
}

/// The columns that a rule depends on. An empty set is of rules for which every record is a sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnSet {
    /// Each column with those that may stand in for it, as `spo2_doubtful` for `spo2`.
    pub(super) vitals: Vec<Vec<String>>,
    /// The bits of each vital, and of all of them.
    pub(super) masks: Vec<u128>,
    pub(super) mask: u128,
}

/// Which of a shape's sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub(super) usize);

/// A column whose values are doubtful ones of another's.
pub(super) const DOUBTFUL: &str = "_doubtful";

impl ColumnSet {
    /// The set of the columns called `names`; a doubtful twin belongs to its column where both are named.
    pub(super) fn of(names: &[String], columns: &[String]) -> Self {
        let twin_of = |name: &str| {
            let base = name.strip_suffix(DOUBTFUL)?;
            names.iter().find(|other| *other == base)
        };
        let mut vitals: Vec<Vec<String>> =
            names.iter().filter(|name| twin_of(name).is_none()).map(|name| vec![name.clone()]).collect();
        for name in names {
            if let Some(base) = twin_of(name)
                && let Some(vital) = vitals.iter_mut().find(|vital| vital[0] == *base)
            {
                vital.push(name.clone());
            }
        }
        let bit = |name: &String| columns.iter().position(|column| column == name).map_or(0, bit);
        let masks: Vec<u128> =
            vitals.iter().map(|vital| vital.iter().map(bit).fold(0, |mask, bit| mask | bit)).collect();
        let mask = masks.iter().fold(0, |all, mask| all | mask);
        Self { vitals, masks, mask }
    }

    /// Whether a row with these columns is a sample of the set.
    pub(super) fn has_sample(&self, row: u128) -> bool {
        self.masks.is_empty() || row & self.mask != 0
    }

    /// Whether the set is of one vital, and a row with these columns has a value of it.
    pub(super) fn judges_one(&self, row: u128) -> bool {
        self.vitals.len() == 1 && row & self.mask != 0
    }

    /// Whether a row with these columns has a value of every vital.
    pub(super) fn is_complete(&self, row: u128) -> bool {
        self.masks.iter().all(|mask| row & mask != 0)
    }

    /// Whether a record has a value of each vital.
    pub(crate) fn given(&self, record: SampleRow) -> impl Iterator<Item = bool> {
        self.masks.iter().map(move |mask| record.columns & mask != 0)
    }

    /// Whether a record has a doubtful value in place of one, vital by vital.
    pub(crate) fn doubted(&self, record: SampleRow) -> impl Iterator<Item = bool> {
        self.masks.iter().map(move |mask| record.doubts & mask != 0)
    }

    /// The columns that hold its vital, as numbers, where it is of one and that is one.
    pub(super) fn numbers(&self, frame: &RecordBatch) -> Vec<Float64Array> {
        let [vital] = self.vitals.as_slice() else { return Vec::new() };
        let columns = vital.iter().filter_map(|name| frame.column_by_name(name));
        let numbers = columns.filter(|values| matches!(values.data_type(), DataType::Float64 | DataType::Int64));
        let numbers = numbers.filter_map(|values| arrow::compute::cast(values, &DataType::Float64).ok());
        numbers.map(|values| values.as_primitive::<Float64Type>().clone()).collect()
    }

    /// The columns of each vital.
    pub(crate) fn vital_columns(&self) -> &[Vec<String>] {
        &self.vitals
    }

    /// Its columns, by the name of the first that may stand for each.
    pub fn vitals(&self) -> impl Iterator<Item = &str> {
        self.vitals.iter().map(|vital| vital[0].as_str())
    }

    pub(crate) fn judges(&self, sample: SampleRow) -> bool {
        self.has_sample(sample.columns)
    }

    pub(crate) fn lacks_a_value(&self, sample: SampleRow) -> bool {
        !self.is_complete(sample.columns)
    }
}

/// The bit of a column; those beyond the hundred-and-twenty-seventh share one.
pub(super) fn bit(column: usize) -> u128 {
    1 << column.min(SHARED)
}

/// The bit that columns share which have none of their own.
const SHARED: usize = 127;

/// The columns whose bits are in `mask`, of so many.
pub(super) fn columns_in(mut mask: u128, columns: usize) -> impl Iterator<Item = usize> {
    let own = std::iter::from_fn(move || {
        let index = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(index)
    });
    own.flat_map(move |index| index..if index == SHARED { columns } else { index + 1 })
}

impl Shape {
    /// The shape for rules that depend on these lists of columns, each list in its order. Of rules of several vitals, each has a
    /// set of its own, too.
    pub fn new<'a>(device: Option<&str>, rules: impl Iterator<Item = &'a [String]> + Clone) -> Self {
        let columns: BTreeSet<&String> = rules.clone().flatten().collect();
        let columns: Vec<String> = columns.into_iter().cloned().collect();
        let vitals = rules.clone().map(|names| ColumnSet::of(names, &columns).vitals).filter(|vitals| vitals.len() > 1);
        // The empty set is the first.
        let sets: BTreeSet<Vec<String>> =
            rules.map(<[String]>::to_vec).chain(std::iter::once(Vec::new())).chain(vitals.flatten()).collect();
        let sets = sets.iter().map(|names| ColumnSet::of(names, &columns)).collect();
        Self { device: device.map(str::to_owned), values: Vec::new(), columns, sets }
    }

    /// The same where records have these columns.
    #[must_use]
    pub fn of_records(self, values: impl Iterator<Item = String>) -> Self {
        Self { values: values.collect(), ..self }
    }

    /// The set of a rule that depends on these columns.
    #[must_use]
    pub fn set(&self, vitals: &[String]) -> Option<SetId> {
        let wanted = ColumnSet::of(vitals, &self.columns);
        self.sets.iter().position(|set| *set == wanted).map(SetId)
    }

    /// What a set is made of.
    #[must_use]
    pub fn columns_of(&self, set: SetId) -> &ColumnSet {
        &self.sets[set.0]
    }

    /// Its sets.
    pub fn sets(&self) -> impl Iterator<Item = SetId> + use<> {
        (0..self.sets.len()).map(SetId)
    }
}
