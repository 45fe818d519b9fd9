//! From parsed values to typed columns: aliases, empty texts, times, long records, values that cannot be read or true.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Float64Array, Float64Builder, Int64Array, Int64Builder,
    PrimitiveArray, PrimitiveBuilder, RecordBatch, StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::compute::kernels::cast_utils::Parser;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{is_not_null, max, min};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use chrono_tz::Tz;

use wardwatch_config::{Column, ColumnType, Columns, Condition, SourcePath};

use super::number::{Numbers, number_and_rest};
use super::parsed::{Parsed, Unreadable};
use super::schema::{Layout, Long, frame_type};
use super::text::{quoted, truth, value_text, whole};
use super::time::{self, Clock, TimeFields};

/// The first fault of each row; a row with one becomes a reject, or is left out.
#[derive(Debug)]
pub(super) struct Faults {
    by_row: Vec<Option<Fault>>,
    any: bool,
}

/// Why a row is none.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// It is a reject, for this reason.
    Reject(String),
    /// It is left out on purpose.
    Ignored,
}

impl Faults {
    pub(super) fn new(rows: usize) -> Self {
        Self { by_row: vec![None; rows], any: false }
    }

    pub(super) fn add(&mut self, row: usize, reason: impl FnOnce() -> String) {
        self.any = true;
        self.by_row[row].get_or_insert_with(|| Fault::Reject(reason()));
    }

    /// Leaves a row out that has no fault yet.
    pub(super) fn ignore(&mut self, row: usize) {
        self.any = true;
        self.by_row[row].get_or_insert(Fault::Ignored);
    }

    /// How many rows are left out on purpose.
    pub(super) fn ignored(&self) -> usize {
        self.by_row.iter().filter(|fault| **fault == Some(Fault::Ignored)).count()
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.any && self.by_row[row].is_some()
    }

    pub(super) fn reasons(&self) -> impl Iterator<Item = (usize, &str)> {
        self.by_row.iter().enumerate().filter_map(|(row, fault)| match fault {
            Some(Fault::Reject(reason)) => Some((row, reason.as_str())),
            Some(Fault::Ignored) | None => None,
        })
    }

    /// Which rows to keep; `None` keeps all.
    pub(super) fn keep_mask(&self) -> Option<BooleanArray> {
        self.any.then(|| self.by_row.iter().map(|fault| Some(fault.is_none())).collect())
    }
}

/// A value that could not be read as its column's type; the column has NULL there, unless another place has a value.
#[derive(Debug)]
pub(super) struct Misread {
    pub(super) row: usize,
    /// The column's place among the declared ones.
    pub(super) column: usize,
    /// As it was sent.
    pub(super) text: String,
    /// What is said of it: `is not a valid number`.
    pub(super) reason: String,
}

/// What Kafka has beside each row's record at one place.
pub(super) struct Beside {
    pub(super) texts: StringViewArray,
    /// The rows of which it is no text.
    pub(super) garbled: Vec<usize>,
}

/// A declared column while it is read from what was parsed.
pub(super) struct Reader<'a> {
    pub(super) parsed: &'a Parsed,
    pub(super) layout: &'a Layout,
    pub(super) column: &'a Column,
    /// Its place among the declared ones.
    pub(super) index: usize,
    pub(super) zone: Tz,
    /// When Kafka stamped each row's record, in microseconds since 1970.
    pub(super) stamp: &'a dyn Fn(usize) -> Option<i64>,
    /// What Kafka has beside the records' values, as text; with the places of those that are none.
    pub(super) beside: &'a dyn Fn(&SourcePath) -> Option<Beside>,
    /// Takes what cannot be read.
    pub(super) misread: &'a mut Vec<Misread>,
    /// Whether the column is read from no other place behind this one.
    pub(super) is_last: bool,
}

impl Reader<'_> {
    /// For each row the value `before`, or else at the first of `paths` that can be read. What stands before it and cannot be is
    /// noted.
    pub(super) fn at_paths(&mut self, paths: &[SourcePath], before: Option<ArrayRef>) -> ArrayRef {
        let mut found = before;
        for (place, path) in paths.iter().enumerate() {
            self.is_last = place + 1 == paths.len();
            self.note_unparsed(path, found.as_ref(), false);
            // A path that no record has is not among what was parsed.
            let Some(parsed) = self.parsed_at(path, found.as_ref()) else { continue };
            let next = self.typed(parsed, found.as_ref());
            let first = match found {
                None => next,
                Some(first) if first.null_count() == first.len() => next,
                Some(first) if next.null_count() == next.len() => first,
                Some(first) => is_not_null(&first)
                    .and_then(|mask| zip(&mask, &first, &next))
                    .unwrap_or_else(|error| panic!("the places of a column have one type and length: {error}")),
            };
            if first.null_count() == 0 {
                return first;
            }
            found = Some(first);
        }
        paths.iter().for_each(|path| self.note_unparsed(path, found.as_ref(), true));
        found.unwrap_or_else(|| new_null_array(&frame_type(self.column.r#type), self.parsed.batch.num_rows()))
    }

    /// What stands at `path` in or beside the records.
    fn parsed_at(&mut self, path: &SourcePath, found: Option<&ArrayRef>) -> Option<ArrayRef> {
        if let SourcePath::Template(_) = path {
            return Some(Arc::new(self.texts_at(path)?));
        }
        if path.beside().is_none() {
            return at_path(&self.parsed.batch, self.layout.names(path)?);
        }
        let Beside { texts, garbled } = (self.beside)(path)?;
        for row in garbled.into_iter().filter(|row| found.is_none_or(|found| found.is_null(*row))) {
            self.note(row, path.to_string().as_str(), "is not valid UTF-8".to_owned());
        }
        Some(Arc::new(texts))
    }

    /// The texts at `path`; `None` where no record has any.
    fn texts_at(&self, path: &SourcePath) -> Option<StringViewArray> {
        if let SourcePath::Template(template) = path {
            let places: Vec<(&SourcePath, Option<StringViewArray>)> =
                template.paths().map(|place| (place, self.texts_at(place))).collect();
            let text = |row: usize, place: &SourcePath| {
                let texts = places.iter().find(|(known, _)| *known == place)?.1.as_ref()?;
                texts.is_valid(row).then(|| texts.value(row).to_owned())
            };
            let rows = 0..self.parsed.batch.num_rows();
            return Some(rows.map(|row| template.fill(&mut |place| text(row, place))).collect());
        }
        if path.beside().is_none() {
            return at_path(&self.parsed.batch, self.layout.names(path)?)?.as_string_view_opt().cloned();
        }
        Some((self.beside)(path)?.texts)
    }

    /// The texts at the first of `paths` that has one, row by row; `None` where no record has any.
    pub(super) fn first_texts(&self, paths: &[SourcePath]) -> Option<StringViewArray> {
        paths.iter().filter_map(|path| self.texts_at(path)).reduce(|first, next| {
            let is_some = |text: &Option<&str>| text.is_some_and(|text| value_text(text).is_some());
            first
                .iter()
                .zip(next.iter())
                .map(|(first, next)| if is_some(&first) { first } else { next.or(first) })
                .collect()
        })
    }

    /// What JSON held at `path` and no type takes, where there is no value yet; or only what stood in its stead.
    fn note_unparsed(&mut self, path: &SourcePath, found: Option<&ArrayRef>, of_its_stead: bool) {
        for Unreadable { row, text, reason, is_in_its_stead } in self.unreadable(path) {
            if *is_in_its_stead == of_its_stead && found.is_none_or(|found| found.is_null(*row)) {
                self.note(*row, text, reason.clone());
            }
        }
    }

    fn note(&mut self, row: usize, text: &str, reason: String) {
        self.misread.push(Misread { row, column: self.index, text: text.to_owned(), reason });
    }

    /// The parsed values of one place as the column's type.
    fn typed(&mut self, parsed: ArrayRef, found: Option<&ArrayRef>) -> ArrayRef {
        match self.column.r#type {
            ColumnType::Text if self.column.words.is_none() && self.column.written.is_plain() => without_empty(parsed),
            ColumnType::Text => self.meanings(&parsed, found),
            ColumnType::Float if *parsed.data_type() == DataType::Float64 => nan_to_null(parsed),
            ColumnType::Bool if *parsed.data_type() == DataType::Boolean => parsed,
            ColumnType::Float | ColumnType::Bool | ColumnType::Time | ColumnType::Int => {
                let texts = parsed.as_string_view().iter().enumerate().map(|(row, text)| {
                    let is_open = found.is_none_or(|found| found.is_null(row));
                    (row, text.filter(|_| is_open).and_then(value_text))
                });
                self.read(texts)
            }
        }
    }

    /// The texts that are values, taken out of what stands there; those that do not count are noted.
    fn values<'t>(
        &mut self,
        texts: impl Iterator<Item = (usize, Option<&'t str>)>,
    ) -> Vec<(usize, Option<Cow<'t, str>>)> {
        let written = &self.column.written;
        let conditions: Vec<(&Condition, Option<StringViewArray>, HashSet<usize>)> = written
            .valid_when
            .iter()
            .map(|condition| (condition, self.first_texts(&condition.fields), self.garbled_at(&condition.fields)))
            .collect();
        let is_last = self.is_last;
        let mut value = |row: usize, text: &'t str| {
            if written.is_null(text.trim()) {
                return None;
            }
            for (condition, fields, garbled) in &conditions {
                if garbled.contains(&row) && fields.as_ref().is_none_or(|fields| fields.is_null(row)) {
                    let reason = format!("does not count: field {} is neither a text nor a number", condition.field());
                    self.note(row, text, reason);
                    return None;
                }
                let field = fields.as_ref().filter(|fields| fields.is_valid(row)).map(|fields| fields.value(row));
                let field = field.and_then(value_text);
                if !condition.is_met(field) {
                    self.note(row, text, condition.reason(field));
                    return None;
                }
            }
            let text = match &written.take {
                None => text,
                Some(take) => {
                    let found = take.0.captures(text.trim()).and_then(|found| found.iter().skip(1).flatten().next());
                    match found {
                        Some(found) => found.as_str(),
                        // Another place may have it.
                        None if !is_last => return None,
                        None => {
                            self.note(row, text, format!("has nothing that \"{}\" takes", take.0.as_str()));
                            return None;
                        }
                    }
                }
            };
            let Some(part) = &written.part else { return Some(Cow::Borrowed(text)) };
            match part.of(text) {
                None => {
                    let number = if part.index < 0 { part.index } else { part.index + 1 };
                    self.note(row, text, format!("has no part {number}, split at \"{}\"", part.separator));
                    None
                }
                Some(own) => {
                    let own = value_text(own).filter(|own| !written.is_null(own))?;
                    // The unit of all stands behind the last: 15.7/10.1 kPa.
                    let last = text.rsplit(part.separator.as_str()).next().unwrap_or_default();
                    let unit_of = |text: &'t str| number_and_rest(text.trim()).ok()?.1;
                    match unit_of(last).filter(|_| written.is_in_text && unit_of(own).is_none()) {
                        Some(unit) => Some(Cow::Owned(format!("{own} {unit}"))),
                        None => Some(Cow::Borrowed(own)),
                    }
                }
            }
        };
        texts.map(|(row, text)| (row, text.and_then(|text| value(row, text)))).collect()
    }

    /// What texts mean by the column's words, if it has any; those that are none of them are noted.
    fn meanings(&mut self, parsed: &ArrayRef, found: Option<&ArrayRef>) -> ArrayRef {
        let texts = parsed.as_string_view();
        let mut built = StringViewBuilder::with_capacity(texts.len()).with_deduplicate_strings();
        // A text that is no word stays as it was sent.
        let words = self.column.words.as_ref();
        let open = texts.iter().enumerate().map(|(row, text)| {
            let is_open = found.is_none_or(|found| found.is_null(row));
            let text = text.filter(|text| is_open && !text.is_empty());
            (row, if words.is_some() { text.and_then(value_text) } else { text })
        });
        for (row, text) in self.values(open) {
            let text = text.as_deref();
            let meaning = match words {
                None => text,
                Some(words) => text.and_then(|text| words.meaning(text)),
            };
            if let Some(text) = text.filter(|_| meaning.is_none()) {
                self.note(row, text, "is not a word that the column knows".to_owned());
            }
            built.append_option(meaning);
        }
        Arc::new(built.finish())
    }

    /// Texts as the column's type, which is not text; those that cannot be read are noted.
    fn read<'t>(&mut self, texts: impl Iterator<Item = (usize, Option<&'t str>)>) -> ArrayRef {
        if !self.column.written.is_plain() {
            let texts = self.values(texts);
            return self.read_values(texts.iter().map(|(row, text)| (*row, text.as_deref())));
        }
        self.read_values(texts)
    }

    fn read_values<'t>(&mut self, texts: impl Iterator<Item = (usize, Option<&'t str>)>) -> ArrayRef {
        let (zone, stamp) = (self.zone, self.stamp);
        let written = &self.column.written;
        match self.column.r#type {
            ColumnType::Int if written.is_plain() => Arc::new(self.read_each(texts, Int64Builder::new(), |_, text| {
                whole(text).map(Some).ok_or_else(|| "is not a valid whole number".to_owned())
            })),
            ColumnType::Int => {
                let numbers = self.numbers();
                Arc::new(self.read_each(texts, Int64Builder::new(), |row, text| numbers.read_whole(row, text)))
            }
            ColumnType::Float if !written.is_plain() => {
                let numbers = self.numbers();
                Arc::new(self.read_each(texts, Float64Builder::new(), |row, text| numbers.read(row, text)))
            }
            ColumnType::Time => {
                let origins = self.first_texts(&written.time.origin);
                let plus =
                    written.time.plus.as_ref().and_then(|(field, _)| self.first_texts(std::slice::from_ref(field)));
                let text_of = |texts: &Option<StringViewArray>, row: usize| {
                    let texts = texts.as_ref().filter(|texts| texts.is_valid(row))?;
                    value_text(texts.value(row)).map(str::to_owned)
                };
                let times = self.read_each(texts, TimestampMicrosecondArray::builder(0), |row, text| {
                    let clock = Clock { zone, stamp: stamp(row) };
                    let beside = TimeFields { origin: text_of(&origins, row), plus: text_of(&plus, row) };
                    time::read_as(text, clock, &written.time, &beside).map(Some)
                });
                Arc::new(times.with_timezone("UTC"))
            }
            ColumnType::Bool => {
                let mut flags = BooleanBuilder::new();
                for (row, text) in texts {
                    let flag = text.and_then(truth);
                    if let Some(text) = text.filter(|_| flag.is_none()) {
                        self.note(row, text, "is not true or false".to_owned());
                    }
                    flags.append_option(flag);
                }
                Arc::new(flags.finish())
            }
            ColumnType::Float | ColumnType::Text => {
                Arc::new(self.read_each(texts, Float64Builder::new(), |_, text| {
                    let value = Float64Type::parse(text).filter(|value| !value.is_nan());
                    value.map(Some).ok_or_else(|| "is not a valid number".to_owned())
                }))
            }
        }
    }

    fn read_each<'t, T: ArrowPrimitiveType>(
        &mut self,
        texts: impl Iterator<Item = (usize, Option<&'t str>)>,
        mut built: PrimitiveBuilder<T>,
        read: impl Fn(usize, &str) -> Result<Option<T::Native>, String>,
    ) -> PrimitiveArray<T> {
        for (row, text) in texts {
            match text.map(|text| (text, read(row, text))) {
                None => built.append_null(),
                Some((_, Ok(value))) => built.append_option(value),
                Some((text, Err(reason))) => {
                    self.note(row, text, reason);
                    built.append_null();
                }
            }
        }
        built.finish()
    }
}

impl<'a> Reader<'a> {
    /// How the column's numbers are written.
    fn numbers(&self) -> Numbers<'a> {
        let written = &self.column.written;
        let units = self.first_texts(&written.units.from);
        let without_unit = self.garbled_at(&written.units.from);
        Numbers { written, units, without_unit, known: RefCell::default() }
    }

    /// What stands at `path` and could not be read.
    pub(super) fn unreadable(&self, path: &SourcePath) -> &'a [Unreadable] {
        self.layout.names(path).and_then(|names| self.parsed.misread.get(names)).map_or(&[], Vec::as_slice)
    }

    /// The rows where something stands at one of `paths` that is no text and no number.
    fn garbled_at(&self, paths: &[SourcePath]) -> HashSet<usize> {
        let mut garbled = HashSet::new();
        for path in paths.iter().flat_map(SourcePath::places) {
            match path.beside() {
                None => garbled.extend(self.unreadable(path).iter().map(|unreadable| unreadable.row)),
                Some(_) => garbled.extend((self.beside)(path).into_iter().flat_map(|beside| beside.garbled)),
            }
        }
        garbled
    }
}

pub(super) fn at_path(parsed: &RecordBatch, names: &[String]) -> Option<ArrayRef> {
    let mut names = names.iter();
    let mut found = names.next().and_then(|name| parsed.column_by_name(name));
    for name in names {
        found = found.and_then(|object| object.as_struct_opt()?.column_by_name(name));
    }
    found.map(Arc::clone)
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

/// The name and value of each long record.
pub(super) struct LongValues<'a> {
    long: &'a Long,
    names: StringViewArray,
    values: StringViewArray,
    /// What could not be read of the names, and of the values, in the order of rows.
    odd_names: Vec<Odd>,
    odd_values: Vec<Odd>,
}

/// Row, text and reason of something that could not be read.
type Odd = (usize, String, String);

impl<'a> LongValues<'a> {
    /// `reader` reads texts, whatever its column.
    pub(super) fn new(long: &'a Long, reader: &Reader<'_>) -> Self {
        let is_known = |name: &str| long.known.iter().any(|known| known == name);
        let (names, odd_names) = Self::texts(&long.form.name, reader, &is_known);
        let (values, odd_values) = Self::texts(&long.form.value, reader, &|_| true);
        Self { long, names, values, odd_names, odd_values }
    }

    /// For each row the text at the first of `paths` that has one to prefer, or else any; and what could not be read before one was.
    fn texts(
        paths: &[SourcePath],
        reader: &Reader<'_>,
        is_preferred: &dyn Fn(&str) -> bool,
    ) -> (StringViewArray, Vec<Odd>) {
        let rows = reader.parsed.batch.num_rows();
        let mut texts: Option<StringViewArray> = None;
        let mut odd = Vec::new();
        for path in paths {
            let is_open = |row: usize| texts.as_ref().is_none_or(|texts| texts.is_null(row));
            let unreadable = reader.unreadable(path).iter().filter(|odd| is_open(odd.row));
            odd.extend(unreadable.map(|odd| (odd.row, odd.text.clone(), odd.reason.clone())));
            let Some(next) = reader.texts_at(path) else { continue };
            let next = without_empty(Arc::new(next)).as_string_view().clone();
            texts = Some(match texts {
                None => next,
                Some(first) => {
                    let better = |(first, next): (Option<&'_ str>, Option<&'_ str>)| match (first, next) {
                        (Some(first), Some(next)) if !is_preferred(first) && is_preferred(next) => {
                            Some(next.to_owned())
                        }
                        (first, next) => first.or(next).map(str::to_owned),
                    };
                    first.iter().zip(next.iter()).map(better).collect()
                }
            });
        }
        (texts.unwrap_or_else(|| StringViewArray::new_null(rows)), odd)
    }

    /// The values of the rows that bear one of `names`; NULL in the others.
    pub(super) fn column(&self, names: &[String], reader: &mut Reader<'_>) -> ArrayRef {
        let is_named = |name: Option<&str>| name.is_some_and(|name| names.iter().any(|known| known == name));
        let named_at = |row: usize| is_named(self.names.is_valid(row).then(|| self.names.value(row)));
        for (row, text, reason) in self.odd_values.iter().filter(|(row, ..)| named_at(*row)) {
            reader.note(*row, text, reason.clone());
        }
        if reader.column.r#type == ColumnType::Text {
            let values = self.values.iter().enumerate().map(|(row, value)| value.filter(|_| named_at(row)));
            return reader.typed(Arc::new(values.collect::<StringViewArray>()), None);
        }
        let texts = self.names.iter().zip(self.values.iter()).enumerate();
        reader.read(texts.map(|(row, (name, value))| (row, value.filter(|_| is_named(name)).and_then(value_text))))
    }

    /// Notes the rows of which no column has anything: by their name, though `has_other` tells of other places in them. Returns
    /// the names of those that are left out.
    pub(super) fn check(&self, has_other: &dyn Fn(usize) -> bool, faults: &mut Faults) -> BTreeSet<&str> {
        let mut left_out = BTreeSet::new();
        let path = self.long.form.name.iter().map(|path| format!("\"{path}\"")).collect::<Vec<_>>().join(" or ");
        for (row, text, reason) in self.odd_names.iter().filter(|(row, ..)| self.names.is_null(*row)) {
            faults.add(*row, || format!("field {path} names no vital: {} {reason}", quoted(text)));
        }
        let known = &self.long.known;
        for (row, name) in self.names.iter().enumerate() {
            match name {
                Some(name) if known.iter().any(|known| known == name) => {}
                _ if has_other(row) => {}
                None => faults.add(row, || format!("field {path} names no vital")),
                Some(name) if !self.long.is_strict() => {
                    left_out.insert(name);
                    faults.ignore(row);
                }
                Some(name) => faults.add(row, || {
                    let near = wardwatch_model::diagnostic::nearest(name, known.iter().map(String::as_str));
                    let hint = near.map(|near| format!("; the nearest is \"{near}\"")).unwrap_or_default();
                    format!("no column is read from the vital \"{name}\"{hint}")
                }),
            }
        }
        left_out
    }
}

/// A value that cannot be true, before it was blanked.
#[derive(Debug)]
pub(super) struct Implausible {
    pub(super) row: usize,
    /// The column's place among the declared ones.
    pub(super) column: usize,
    /// Infinite where it does not fit a double.
    pub(super) value: f64,
}

/// Sets values outside their column's plausible range, and infinite ones, to NULL, and tells which they were.
///
/// Rows with a fault are left alone: they are rejects, raw bytes and all.
pub(super) fn blank_implausible(columns: &Columns, arrays: &mut [ArrayRef], faults: &Faults) -> Vec<Implausible> {
    let mut found = Vec::new();
    for (index, (column, array)) in columns.all().iter().zip(arrays).enumerate() {
        let [low, high] = column.plausible.unwrap_or([f64::MIN, f64::MAX]);
        let mut note = |row: usize, value: f64| {
            let implausible = !(low..=high).contains(&value);
            if implausible && !faults.has(row) {
                found.push(Implausible { row, column: index, value });
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

/// The doubtful twins of the columns that have one, in their order: a value where it may be true though it is not plausible.
pub(super) fn doubtful(columns: &Columns, implausible: &[Implausible], rows: usize) -> Vec<ArrayRef> {
    let with_twin = columns.all().iter().enumerate().filter(|(_, column)| column.doubtful.is_some());
    let twin = |(index, column): (usize, &Column)| -> ArrayRef {
        let is_doubtful = |found: &&Implausible| found.column == index && column.is_doubtful(found.value);
        let mut found = implausible.iter().filter(is_doubtful).peekable();
        if found.peek().is_none() {
            return new_null_array(&frame_type(column.r#type), rows);
        }
        let mut values = vec![None; rows];
        found.for_each(|found| values[found.row] = Some(found.value));
        let values = Float64Array::from(values);
        #[allow(clippy::cast_possible_truncation, reason = "the values were whole numbers")]
        match column.r#type {
            ColumnType::Int => Arc::new(values.unary::<_, Int64Type>(|value| value as i64)),
            _ => Arc::new(values),
        }
    };
    with_twin.map(twin).collect()
}

/// What is said of a value that cannot be true.
pub(super) fn implausible_reason(column: &Column, value: f64) -> String {
    match column.plausible.filter(|_| value.is_finite()) {
        Some([low, high]) => format!("is outside the plausible range {low}–{high}"),
        None => "is too large to be a number".to_owned(),
    }
}

/// Whether values of this type are numbers.
pub(super) fn is_number(r#type: ColumnType) -> bool {
    matches!(r#type, ColumnType::Float | ColumnType::Int)
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
