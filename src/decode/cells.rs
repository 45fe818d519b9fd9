//! From parsed values to typed columns: aliases, empty texts, times, long records, values that cannot be true.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Float64Array, Float64Builder, Int64Array, Int64Builder,
    PrimitiveArray, RecordBatch, StringViewArray, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{is_not_null, max, min};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use chrono_tz::Tz;

use crate::config::{Column, ColumnType, Columns, SourcePath};

use super::schema::{Long, parsed_type};
use super::time;

/// The first fault of each row; a row with one becomes a reject.
#[derive(Debug)]
pub(super) struct Faults {
    by_row: Vec<Option<String>>,
    any: bool,
}

impl Faults {
    pub(super) fn new(rows: usize) -> Self {
        Self { by_row: vec![None; rows], any: false }
    }

    pub(super) fn add(&mut self, row: usize, reason: impl FnOnce() -> String) {
        self.any = true;
        self.by_row[row].get_or_insert_with(reason);
    }

    fn has(&self, row: usize) -> bool {
        self.any && self.by_row[row].is_some()
    }

    pub(super) fn reasons(&self) -> impl Iterator<Item = (usize, &str)> {
        self.by_row.iter().enumerate().filter_map(|(row, reason)| Some((row, reason.as_deref()?)))
    }

    /// Which rows to keep; `None` keeps all.
    pub(super) fn keep_mask(&self) -> Option<BooleanArray> {
        self.any.then(|| self.by_row.iter().map(|reason| Some(reason.is_none())).collect())
    }
}

/// For each row the value at the first of `paths` that has one; a path that no record has is not in `parsed`.
pub(super) fn first_not_null(parsed: &RecordBatch, paths: &[SourcePath], r#type: ColumnType) -> ArrayRef {
    let mut found: Option<ArrayRef> = None;
    for next in paths.iter().filter_map(|path| at_path(parsed, path)) {
        let first = match found {
            None => next,
            Some(first) if first.null_count() == first.len() => next,
            Some(first) if next.null_count() == next.len() => first,
            Some(first) => is_not_null(&first)
                .and_then(|mask| zip(&mask, &first, &next))
                .unwrap_or_else(|error| panic!("the aliases of a column have one type and length: {error}")),
        };
        if first.null_count() == 0 {
            return first;
        }
        found = Some(first);
    }
    found.unwrap_or_else(|| new_null_array(&parsed_type(r#type), parsed.num_rows()))
}

fn at_path(parsed: &RecordBatch, path: &SourcePath) -> Option<ArrayRef> {
    let mut names = path.0.iter();
    let mut found = names.next().and_then(|name| parsed.column_by_name(name));
    for name in names {
        found = found.and_then(|object| {
            let object: &StructArray = object.as_struct();
            object.column_by_name(name)
        });
    }
    found.map(Arc::clone)
}

/// The parsed values of one column as the column's type; a value that is none is a fault.
pub(super) fn typed(column: &Column, parsed: ArrayRef, zone: Tz, faults: &mut Faults) -> ArrayRef {
    match column.r#type {
        ColumnType::Text => without_empty(parsed),
        ColumnType::Float => nan_to_null(parsed),
        ColumnType::Time => times(column, &without_empty(parsed), zone, faults),
        ColumnType::Int => whole_numbers(column, &without_empty(parsed), faults),
        ColumnType::Bool => parsed,
    }
}

fn without_empty(parsed: ArrayRef) -> ArrayRef {
    let texts = parsed.as_string_view();
    // The low half of a view is its length.
    if texts.views().iter().all(|view| *view as u32 != 0) || texts.iter().all(|text| text != Some("")) {
        return parsed;
    }
    let kept: StringViewArray = texts.iter().map(|text| text.filter(|text| !text.is_empty())).collect();
    Arc::new(kept)
}

fn nan_to_null(parsed: ArrayRef) -> ArrayRef {
    let values = parsed.as_primitive::<Float64Type>();
    if values.values().iter().all(|value| !value.is_nan()) {
        return parsed;
    }
    let kept: Float64Array = values.iter().map(|value| value.filter(|value| !value.is_nan())).collect();
    Arc::new(kept)
}

fn times(column: &Column, parsed: &ArrayRef, zone: Tz, faults: &mut Faults) -> ArrayRef {
    let texts = parsed.as_string_view();
    let mut micros = TimestampMicrosecondArray::builder(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let read = text.map(|text| (text, time::micros(text, zone)));
        if let Some((text, None)) = read {
            faults.add(row, || {
                format!("column \"{}\": \"{text}\" is no time; write it like \"2026-01-01T00:00:00Z\"", column.name)
            });
        }
        micros.append_option(read.and_then(|(_, micros)| micros));
    }
    Arc::new(micros.finish().with_timezone("UTC"))
}

fn whole_numbers(column: &Column, parsed: &ArrayRef, faults: &mut Faults) -> ArrayRef {
    let rows = parsed.as_string_view().iter().enumerate().map(|(row, text)| (row, text.and_then(value_text)));
    Arc::new(parse_rows(rows, Int64Builder::new(), column, faults, whole))
}

/// The whole number that `text` writes, also as `88.0`.
fn whole(text: &str) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
    text.parse().ok().or_else(|| {
        let value: f64 = text.parse().ok()?;
        (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
    })
}

/// A text without the space around it; `None` where it is a form of "no value".
fn value_text(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("nan"))
}

/// The name and value of each long record.
pub(super) struct LongValues {
    names: StringViewArray,
    values: StringViewArray,
}

impl LongValues {
    /// A record that names nothing, or nothing that a column takes, is a fault.
    pub(super) fn new(long: &Long, parsed: &RecordBatch, faults: &mut Faults) -> Self {
        let text = |path| {
            let found = at_path(parsed, path).unwrap_or_else(|| new_null_array(&DataType::Utf8View, parsed.num_rows()));
            without_empty(found).as_string_view().clone()
        };
        let names = text(&long.name);
        for (row, name) in names.iter().enumerate() {
            match name {
                None => faults.add(row, || format!("field \"{}\" names no vital", long.name)),
                Some(name) if long.known.iter().any(|known| known == name) => {}
                Some(name) => faults.add(row, || {
                    let near = crate::diagnostic::nearest(name, long.known.iter().map(String::as_str));
                    let hint = near.map(|near| format!("; the nearest is \"{near}\"")).unwrap_or_default();
                    format!("no column is read from the vital \"{name}\"{hint}")
                }),
            }
        }
        Self { names, values: text(&long.value) }
    }

    /// The values of the records that bear one of `names`; NULL in the other rows.
    pub(super) fn column(&mut self, column: &Column, names: &[String], faults: &mut Faults) -> ArrayRef {
        let rows = self.names.iter().zip(self.values.iter()).enumerate().map(|(row, (name, value))| {
            let named = name.is_some_and(|name| names.iter().any(|known| known == name));
            (row, value.filter(|_| named).and_then(value_text))
        });
        match column.r#type {
            ColumnType::Int => Arc::new(parse_rows(rows, Int64Builder::new(), column, faults, whole)) as ArrayRef,
            ColumnType::Bool => {
                let mut flags = BooleanBuilder::new();
                for (row, value) in rows {
                    let flag = value.map(|value| match value.to_ascii_lowercase().as_str() {
                        "true" | "yes" | "1" => Some(true),
                        "false" | "no" | "0" => Some(false),
                        _ => None,
                    });
                    if flag == Some(None) {
                        faults.add(row, || not_a_value(column, value.unwrap_or_default(), "true or false"));
                    }
                    flags.append_option(flag.flatten());
                }
                Arc::new(flags.finish())
            }
            _ => Arc::new(parse_rows(rows, Float64Builder::new(), column, faults, |text| text.parse().ok())),
        }
    }
}

fn parse_rows<'a, T: ArrowPrimitiveType>(
    rows: impl Iterator<Item = (usize, Option<&'a str>)>,
    mut built: arrow::array::PrimitiveBuilder<T>,
    column: &Column,
    faults: &mut Faults,
    parse: impl Fn(&'a str) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    for (row, text) in rows {
        let value = text.map(|text| (text, parse(text)));
        if let Some((text, None)) = value {
            let wanted = if column.r#type == ColumnType::Int { "a whole number" } else { "a number" };
            faults.add(row, || not_a_value(column, text, wanted));
        }
        built.append_option(value.and_then(|(_, value)| value));
    }
    built.finish()
}

fn not_a_value(column: &Column, text: &str, wanted: &str) -> String {
    format!("column \"{}\": \"{text}\" is not {wanted}", column.name)
}

/// A value that cannot be true, before it was blanked.
#[derive(Debug)]
pub(super) struct Implausible {
    pub(super) row: usize,
    pub(super) column: String,
    pub(super) value: f64,
}

/// Sets values outside their column's plausible range, and infinite ones, to NULL, and tells which they were.
///
/// Rows with a fault are left alone: they are rejects, raw bytes and all.
pub(super) fn blank_implausible(columns: &Columns, arrays: &mut [ArrayRef], faults: &Faults) -> Vec<Implausible> {
    let mut found = Vec::new();
    for (column, array) in columns.all().iter().zip(arrays) {
        let [low, high] = column.plausible.unwrap_or([f64::MIN, f64::MAX]);
        let mut note = |row: usize, value: f64| {
            let implausible = !(low..=high).contains(&value);
            if implausible && !faults.has(row) {
                found.push(Implausible { row, column: column.name.clone(), value });
            }
            implausible
        };
        match array.data_type() {
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>();
                let within = |edge: Option<f64>| edge.is_none_or(|edge| (low..=high).contains(&edge));
                if !within(min(values)) || !within(max(values)) {
                    let kept: Float64Array = values
                        .iter()
                        .enumerate()
                        .map(|(row, value)| value.filter(|value| !note(row, *value)))
                        .collect();
                    *array = Arc::new(kept);
                }
            }
            #[allow(clippy::cast_precision_loss, reason = "a range is told in doubles")]
            DataType::Int64 if column.plausible.is_some() => {
                let values = array.as_primitive::<Int64Type>();
                let kept: Int64Array = values
                    .iter()
                    .enumerate()
                    .map(|(row, value)| value.filter(|value| !note(row, *value as f64)))
                    .collect();
                *array = Arc::new(kept);
            }
            _ => {}
        }
    }
    found
}

/// The event time column among `arrays`, which are in the order of `columns`.
pub(super) fn event_times<'a>(columns: &Columns, arrays: &'a [ArrayRef]) -> &'a TimestampMicrosecondArray {
    position(columns, columns.event_time(), arrays).as_primitive::<TimestampMicrosecondType>()
}

/// The key column among `arrays`, which are in the order of `columns`.
pub(super) fn patients<'a>(columns: &Columns, arrays: &'a [ArrayRef]) -> &'a StringViewArray {
    position(columns, columns.key(), arrays).as_string_view()
}

fn position<'a>(columns: &Columns, wanted: &Column, arrays: &'a [ArrayRef]) -> &'a ArrayRef {
    columns
        .all()
        .iter()
        .zip(arrays)
        .find(|(column, _)| column.name == wanted.name)
        .map_or_else(|| panic!("the key and the event time are declared columns"), |(_, array)| array)
}
