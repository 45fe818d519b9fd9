//! JSON to Arrow: all records at once where arrow-json takes them, else each by itself to find the ones at fault.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder as ArrowJson;
use serde_json::Value as Json;

use bumpalo::Bump;

use wardwatch_model::record::Item;

use super::items::{Found, split};
use super::parsed::{Parsed, RowOf, Texts, Unreadable};
use super::raw::{CHUNK, RawRecords};
use super::scan::{self, Value};
use super::schema::{IS_TIME, Layout};
use super::unwrap::{Unwrapped, Wrapping};

/// Parses records to the layout's parsed schema.
#[derive(Debug)]
pub(super) struct JsonDecoder {
    schema: SchemaRef,
    all: ArrowJson,
    single: ArrowJson,
    narrow: Narrow,
    shape: Shape,
    wrapping: Wrapping,
}

/// What the last records were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Each is one object.
    Objects,
    /// Some are lists, or several.
    Several,
}

/// A faster decoder for the paths that the records have been using: most aliases of a column are never sent.
///
/// It is strict, so a record with any other field makes it fail, and all paths are looked at.
#[derive(Debug)]
enum Narrow {
    Decoder(ArrowJson),
    /// There is none for this many chunks, because the last one failed.
    Not(u32),
}

/// How many chunks go by before another narrow decoder is tried.
const DISTRUST: u32 = 64;

impl JsonDecoder {
    pub(super) fn new(layout: &Layout, wrapping: Wrapping) -> Self {
        let schema = layout.parsed().clone();
        Self {
            all: arrow_json(&schema, CHUNK, Unknown::Skipped),
            single: arrow_json(&schema, 1, Unknown::Skipped),
            narrow: Narrow::Not(0),
            shape: Shape::Objects,
            wrapping,
            schema,
        }
    }

    /// Takes records apart. Whichever way it goes, it comes to the same.
    pub(super) fn parse(&mut self, records: &RawRecords, layout: &Layout) -> Parsed {
        let is_fit =
            |record: usize| self.wrapping.is_none_of(records.payload(record)) && records.parts(record).is_none();
        if layout.takes_objects_as_they_are() && self.shape == Shape::Objects && (0..records.len()).all(is_fit) {
            let payloads = || (0..records.len()).map(|record| records.payload(record).unwrap_or_default());
            let parsed = self.parse_narrow(payloads()).map_or_else(|| self.parse_all(payloads()), Ok);
            if let Ok(batch) = parsed {
                self.narrow_to(&batch);
                let rows = (0..records.len()).map(|record| RowOf { record, item: Item(0) }).collect();
                let (rejects, misread) = (Vec::new(), BTreeMap::new());
                return Parsed { batch, rows, rejects, ignored: 0, misread, texts: None };
            }
        }
        self.parse_items(records, layout)
    }

    /// Takes records apart that may have several items, or are faulty.
    fn parse_items(&mut self, records: &RawRecords, layout: &Layout) -> Parsed {
        let (mut rows, mut texts) = (Vec::new(), Texts::default());
        let (mut rejects, mut ignored) = (Vec::new(), 0);
        let mut are_objects = true;
        for record in 0..records.len() {
            let mut of = RowOf { record, item: Item(0) };
            let arena = Bump::new();
            let (content, outside) = match self.wrapping.open(records.payload(record), &arena) {
                Unwrapped::Content { content, around } => (content, around),
                Unwrapped::Nothing => {
                    ignored += 1;
                    continue;
                }
                Unwrapped::Fault(reason) => {
                    rejects.push((of, reason));
                    continue;
                }
            };
            split(content, &outside, records.parts(record), layout, &mut |found| {
                match found {
                    Found::Item(text) => {
                        rows.push(of);
                        texts.push(text);
                    }
                    Found::Fault(reason) => rejects.push((of, reason)),
                    Found::Nothing => ignored += 1,
                    Found::OfAnother => {}
                }
                of.item.0 += 1;
            });
            if of.item == Item(0) {
                rejects.push((of, "not JSON: there is no value in it".to_owned()));
            }
            are_objects &= of.item == Item(1) && content.trim_ascii_start().starts_with(b"{");
        }
        self.shape = if are_objects { Shape::Objects } else { Shape::Several };
        let mut misread = BTreeMap::new();
        let batch = self.parse_texts(&texts).unwrap_or_else(|_| {
            let rewritten = self.leave_out_unreadable(&mut rows, &mut texts, &mut rejects, &mut misread);
            let parsed = self.parse_texts(&rewritten);
            parsed.unwrap_or_else(|error| panic!("what parses one by one parses together: {error}"))
        });
        Parsed { batch, rows, rejects, ignored, misread, texts: Some(texts) }
    }

    /// Finds the items that arrow-json does not take, and writes them so that it does, or takes them for rejects. Of those that are
    /// left, `texts` has what was sent, and what is returned what is to be parsed.
    fn leave_out_unreadable(
        &mut self,
        rows: &mut Vec<RowOf>,
        texts: &mut Texts,
        rejects: &mut Vec<(RowOf, String)>,
        misread: &mut BTreeMap<Vec<String>, Vec<Unreadable>>,
    ) -> Texts {
        let mut rewritten = Texts::default();
        let (all, written) = (std::mem::take(rows), std::mem::take(texts));
        for (index, of) in all.into_iter().enumerate() {
            let text = written.get(index);
            let parsed = match self.parse_one(text) {
                Ok(()) => Ok(Cow::Borrowed(text)),
                Err(_) => {
                    rewrite(text, self.schema.fields(), rows.len(), misread).map(|text| Cow::Owned(text.into_bytes()))
                }
            };
            match parsed {
                Ok(parsed) => {
                    rows.push(of);
                    texts.push(text);
                    rewritten.push(&parsed);
                }
                Err(reason) => rejects.push((of, reason)),
            }
        }
        rewritten
    }

    /// Parses so many texts as there are, which may be more than a decoder takes at once.
    fn parse_texts(&mut self, texts: &Texts) -> Result<RecordBatch, ArrowError> {
        let chunks: Vec<Range<usize>> =
            (0..texts.len()).step_by(CHUNK).map(|start| start..texts.len().min(start + CHUNK)).collect();
        let chunk = |range: Range<usize>| range.map(|index| texts.get(index));
        let narrow: Option<Vec<RecordBatch>> =
            chunks.iter().map(|range| self.parse_narrow(chunk(range.clone()))).collect();
        let batches = match narrow {
            Some(batches) => batches,
            None => chunks.iter().map(|range| self.parse_all(chunk(range.clone()))).collect::<Result<_, _>>()?,
        };
        let batch = match &batches[..] {
            [] => RecordBatch::new_empty(self.schema.clone()),
            [batch] => batch.clone(),
            [first, ..] => concat_batches(first.schema_ref(), &batches)?,
        };
        if batch.num_rows() > 0 {
            self.narrow_to(&batch);
        }
        Ok(batch)
    }

    fn parse_narrow<'a>(&mut self, payloads: impl Iterator<Item = &'a [u8]>) -> Option<RecordBatch> {
        let Narrow::Decoder(decoder) = &mut self.narrow else { return None };
        let parsed = feed(decoder, payloads).ok().flatten();
        if parsed.is_none() {
            self.narrow = Narrow::Not(DISTRUST);
        }
        parsed
    }

    /// Makes a decoder for the paths that have a value in `batch`, unless there is one or the last one has just failed.
    fn narrow_to(&mut self, batch: &RecordBatch) {
        match &mut self.narrow {
            Narrow::Decoder(_) => {}
            Narrow::Not(0) => {
                let schema = Arc::new(Schema::new(used(batch.schema_ref().fields(), batch.columns())));
                self.narrow = Narrow::Decoder(arrow_json(&schema, CHUNK, Unknown::Refused));
            }
            Narrow::Not(chunks) => *chunks -= 1,
        }
    }

    fn parse_all<'a>(&mut self, payloads: impl Iterator<Item = &'a [u8]>) -> Result<RecordBatch, ArrowError> {
        let parsed = feed(&mut self.all, payloads);
        if parsed.is_err() {
            self.all = arrow_json(&self.schema, CHUNK, Unknown::Skipped); // a failed decoder keeps half a record
        }
        Ok(parsed?.unwrap_or_else(|| RecordBatch::new_empty(self.schema.clone())))
    }

    fn parse_one(&mut self, payload: &[u8]) -> Result<(), ArrowError> {
        let parsed = feed(&mut self.single, std::iter::once(payload));
        if parsed.is_err() {
            self.single = arrow_json(&self.schema, 1, Unknown::Skipped);
        }
        parsed.map(|_| ())
    }
}

/// What becomes of a field that the schema does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Skipped,
    Refused,
}

fn arrow_json(schema: &SchemaRef, batch_size: usize, unknown: Unknown) -> ArrowJson {
    ReaderBuilder::new(schema.clone())
        .with_batch_size(batch_size)
        .with_coerce_primitive(true)
        .with_strict_mode(unknown == Unknown::Refused)
        .build_decoder()
        .unwrap_or_else(|error| panic!("arrow-json takes every type a job may declare: {error}"))
}

/// The fields that have a value in their column, objects narrowed likewise.
fn used(fields: &Fields, columns: &[ArrayRef]) -> Fields {
    let used = fields.iter().zip(columns).filter(|(_, column)| column.null_count() < column.len());
    used.map(|(field, column)| match field.data_type() {
        DataType::Struct(inner) => Field::new(field.name(), DataType::Struct(used_inside(inner, column)), true),
        _ => field.as_ref().clone(),
    })
    .collect()
}

fn used_inside(fields: &Fields, object: &ArrayRef) -> Fields {
    used(fields, object.as_struct().columns())
}

/// Parses each payload as exactly one JSON object.
fn feed<'a>(
    decoder: &mut ArrowJson,
    payloads: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<RecordBatch>, ArrowError> {
    for (before, payload) in payloads.enumerate() {
        let read = decoder.decode(payload)?;
        if read != payload.len() || decoder.len() != before + 1 || decoder.has_partial_record() {
            return Err(ArrowError::JsonError("a record is not exactly one JSON object".to_owned()));
        }
    }
    decoder.flush()
}

/// A record that arrow-json does not take, written again so that it does; or why it is no row.
fn rewrite(
    payload: &[u8],
    schema: &Fields,
    row: usize,
    misread: &mut BTreeMap<Vec<String>, Vec<Unreadable>>,
) -> Result<String, String> {
    let record = scan::Fields::of_record(payload)?;
    let mut rewriting = Rewriting { row, written: String::with_capacity(payload.len()), path: Vec::new(), misread };
    rewriting.object(schema, &record)?;
    Ok(rewriting.written)
}

/// A record that arrow-json does not take, written again so that it does, without the values that cannot be read.
struct Rewriting<'a> {
    row: usize,
    written: String,
    path: Vec<&'a str>,
    misread: &'a mut BTreeMap<Vec<String>, Vec<Unreadable>>,
}

impl<'a> Rewriting<'a> {
    fn object(&mut self, schema: &'a Fields, fields: &scan::Fields<'_>) -> Result<(), String> {
        self.written.push('{');
        for (position, field) in schema.iter().enumerate() {
            if position > 0 {
                self.written.push(',');
            }
            push_text(&mut self.written, field.name());
            self.written.push(':');
            self.path.push(field.name());
            self.field(field, fields.get(field.name()).unwrap_or(&Value::Null))?;
            self.path.pop();
        }
        self.written.push('}');
        Ok(())
    }

    fn field(&mut self, field: &'a Field, value: &Value<'_>) -> Result<(), String> {
        match (field.data_type(), value) {
            (DataType::Struct(inner), Value::Object(object)) => {
                return self.object(inner, &scan::Fields::of_object(object)?);
            }
            (DataType::Struct(_), Value::Null) => self.written.push_str("null"),
            (DataType::Struct(inner), other) => {
                self.written.push_str("null");
                self.note_inside(inner, other);
            }
            (_, list @ Value::List(_)) if field.metadata().contains_key(IS_TIME) => {
                // `time` knows the form: [2026,1,1,10,0].
                push_text(&mut self.written, &list.sent());
            }
            (leaf, value) => match cell(value, leaf) {
                Cell::Nothing => self.written.push_str("null"),
                Cell::Truth(value) => self.written.push_str(if value { "true" } else { "false" }),
                Cell::Text(text) => push_text(&mut self.written, &text),
                Cell::Unreadable(reason) => {
                    self.written.push_str("null");
                    self.note(value, reason, false);
                }
            },
        }
        Ok(())
    }

    /// Notes every place inside of something that is no object.
    fn note_inside(&mut self, schema: &'a Fields, value: &Value<'_>) {
        for field in schema {
            self.path.push(field.name());
            match field.data_type() {
                DataType::Struct(inner) => self.note_inside(inner, value),
                _ => self.note(
                    value,
                    format!("is {}, not an object with \"{}\" in it", value.kind(), field.name()),
                    true,
                ),
            }
            self.path.pop();
        }
    }

    fn note(&mut self, value: &Value<'_>, reason: String, is_in_its_stead: bool) {
        let path = self.path.iter().map(|name| (*name).to_owned()).collect();
        let misread = Unreadable { row: self.row, text: value.sent().into_owned(), reason, is_in_its_stead };
        self.misread.entry(path).or_default().push(misread);
    }
}

fn push_text(written: &mut String, text: &str) {
    written.push_str(&Json::from(text).to_string());
}

/// A value as arrow-json is to be given it.
enum Cell<'a> {
    Nothing,
    Truth(bool),
    /// A text, or a number as one: so digits stay as they were sent.
    Text(Cow<'a, str>),
    /// With the reason.
    Unreadable(String),
}

/// `value` as one of the type's own kind; the forms that mean "no value" are none.
fn cell<'a>(value: &'a Value<'_>, data_type: &DataType) -> Cell<'a> {
    let misread = || match data_type {
        DataType::Boolean => Cell::Unreadable("is not true or false".to_owned()),
        _ => Cell::Unreadable("is not a valid number".to_owned()),
    };
    let text: Cow<'a, str> = match value {
        Value::Null => return Cell::Nothing,
        Value::List(_) | Value::Object(_) => {
            return Cell::Unreadable(format!("is {}, not {}", value.kind(), wanted(data_type)));
        }
        Value::Garbled(_) if *data_type == DataType::Utf8View => {
            return Cell::Unreadable("is not valid UTF-8".to_owned());
        }
        Value::Garbled(_) => return misread(),
        Value::Bool(truth) if *data_type == DataType::Boolean => return Cell::Truth(*truth),
        Value::Bool(_) | Value::Number(_) | Value::Text(_) => value.sent(),
    };
    match data_type {
        DataType::Utf8View => Cell::Text(text),
        DataType::Boolean => match crate::decode::text::value_text(&text) {
            None => Cell::Nothing,
            Some(text) => crate::decode::text::truth(text).map_or_else(misread, Cell::Truth),
        },
        _ => match crate::decode::text::value_text(&text) {
            None => Cell::Nothing,
            Some(trimmed) if Float64Type::parse(trimmed).is_some() => Cell::Text(trimmed.to_owned().into()),
            Some(_) => misread(),
        },
    }
}

fn wanted(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Float64 => "a number",
        DataType::Boolean => "true or false",
        _ => "a text or a number",
    }
}

/// The text that stands at `names` in `object`; `None` where it is none, or empty.
pub(super) fn text_at(object: &[u8], names: &[String]) -> Option<String> {
    let fields = scan::Fields::of_record(object).ok()?;
    let (name, inside) = names.split_first()?;
    match fields.get(name)? {
        Value::Object(object) if !inside.is_empty() => text_at(object, inside),
        value if inside.is_empty() => match cell(value, &DataType::Utf8View) {
            Cell::Text(text) if !text.is_empty() => Some(text.into_owned()),
            _ => None,
        },
        _ => None,
    }
}
