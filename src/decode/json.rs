//! JSON to Arrow: all records at once where arrow-json takes them, else each by itself to find the ones at fault.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder as ArrowJson;
use serde_json::{Map, Number, Value};

use crate::config::SourcePath;

use super::schema::Layout;
use super::{CHUNK, RawRecords, Reject};

/// Parses records to the layout's parsed schema.
#[derive(Debug)]
pub(super) struct JsonDecoder {
    schema: SchemaRef,
    leaves: Vec<(SourcePath, DataType)>,
    all: ArrowJson,
    single: ArrowJson,
    narrow: Narrow,
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

/// What was parsed: a row per record of `kept`, in its order.
///
/// The batch lacks the paths that no record has.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) batch: RecordBatch,
    /// The index of each row's record.
    pub(super) kept: Vec<usize>,
    pub(super) rejects: Vec<Reject>,
}

impl JsonDecoder {
    pub(super) fn new(layout: &Layout) -> Self {
        let schema = layout.parsed().clone();
        Self {
            all: arrow_json(&schema, CHUNK, Unknown::Skipped),
            single: arrow_json(&schema, 1, Unknown::Skipped),
            narrow: Narrow::Not(0),
            leaves: layout.leaves(),
            schema,
        }
    }

    pub(super) fn parse(&mut self, records: &RawRecords, max_bytes: usize) -> Parsed {
        let all: Vec<usize> = (0..records.len()).collect();
        let fits = |&record: &usize| records.payload(record).len() <= max_bytes;
        if all.iter().all(fits) {
            let payloads = || all.iter().map(|&record| records.payload(record));
            let parsed = self.parse_narrow(payloads()).map_or_else(|| self.parse_all(payloads()), Ok);
            if let Ok(batch) = parsed {
                self.narrow_to(&batch);
                return Parsed { batch, kept: all, rejects: Vec::new() };
            }
        }
        self.parse_each(records, max_bytes)
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

    fn parse_each(&mut self, records: &RawRecords, max_bytes: usize) -> Parsed {
        let mut kept = Vec::with_capacity(records.len());
        let mut texts: Vec<std::borrow::Cow<'_, [u8]>> = Vec::with_capacity(records.len());
        let mut rejects = Vec::new();
        for record in 0..records.len() {
            let payload = records.payload(record);
            if payload.len() > max_bytes {
                let reason = format!("the record has {} bytes; max_record_bytes allows {max_bytes}", payload.len());
                rejects.push(records.reject(record, reason));
            } else if self.parse_one(payload).is_ok() {
                kept.push(record);
                texts.push(payload.into());
            } else {
                match rewrite(payload, &self.leaves) {
                    Ok(text) => {
                        kept.push(record);
                        texts.push(text.into());
                    }
                    Err(reason) => rejects.push(records.reject(record, reason)),
                }
            }
        }
        let batch = self
            .parse_all(texts.iter().map(AsRef::as_ref))
            .unwrap_or_else(|error| panic!("what parses one by one parses together: {error}"));
        Parsed { batch, kept, rejects }
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

/// A record that arrow-json does not take, written anew so that it does; or why it is no row.
fn rewrite(payload: &[u8], leaves: &[(SourcePath, DataType)]) -> Result<Vec<u8>, String> {
    if payload.trim_ascii().is_empty() {
        return Err("the record is empty".to_owned());
    }
    let text = std::str::from_utf8(payload)
        .map_err(|error| format!("not UTF-8 text: invalid byte at position {}", error.valid_up_to()))?;
    let value: Value = serde_json::from_str(text)
        .or_else(|error| serde_json::from_str(&without_nan(text)).map_err(|_| error))
        .map_err(|error| format!("not JSON: {error}"))?;
    if !value.is_object() {
        return Err(format!("a record must be a JSON object; this is {}", kind(&value)));
    }
    let mut rewritten = Map::new();
    for (path, data_type) in leaves {
        let found = path.0.iter().try_fold(&value, |value, name| match value {
            Value::Object(fields) => Ok(fields.get(name).unwrap_or(&Value::Null)),
            Value::Null => Ok(&Value::Null),
            other => Err(format!("field \"{path}\" lies inside {}, not an object", kind(other))),
        })?;
        let cell = cell(found, data_type).map_err(|reason| format!("field \"{path}\": {reason}"))?;
        put(&mut rewritten, &path.0, cell);
    }
    Ok(Value::Object(rewritten).to_string().into_bytes())
}

fn put(object: &mut Map<String, Value>, path: &[String], cell: Value) {
    match path {
        [] => {}
        [name] => {
            object.insert(name.clone(), cell);
        }
        [name, rest @ ..] => {
            let inner = object.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, cell);
            }
        }
    }
}

/// `value` as one of the type's own kind; the forms that mean "no value" become null.
fn cell(value: &Value, data_type: &DataType) -> Result<Value, String> {
    let text = match value {
        Value::Null => return Ok(Value::Null),
        Value::String(text) => text.trim(),
        Value::Array(_) | Value::Object(_) => {
            return Err(format!("expected {}, found {}", wanted(data_type), kind(value)));
        }
        Value::Bool(_) | Value::Number(_) => "",
    };
    if value.is_string() && (text.is_empty() || text.eq_ignore_ascii_case("nan")) {
        return Ok(Value::Null);
    }
    let converted = match (data_type, value) {
        (DataType::Float64, Value::Number(_)) => Some(value.clone()),
        (DataType::Float64, Value::String(_)) => text.parse().ok().and_then(Number::from_f64).map(Value::Number),
        (DataType::Boolean, Value::Bool(_)) => Some(value.clone()),
        (DataType::Boolean, Value::Number(number)) => match number.as_i64() {
            Some(0) => Some(Value::Bool(false)),
            Some(1) => Some(Value::Bool(true)),
            _ => None,
        },
        (DataType::Boolean, Value::String(_)) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(Value::Bool(true)),
            "false" | "no" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        (DataType::Utf8View, _) => Some(value.clone()),
        _ => None,
    };
    converted.ok_or_else(|| format!("{value} is not {}", wanted(data_type)))
}

/// `text` with each bare `NaN`, `Infinity` and `-Infinity` outside strings replaced by `null`.
///
/// Python's `json.dumps` writes them; JSON (RFC 8259, section 6) does not have them.
fn without_nan(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside_string = false;
    while let Some(letter) = rest.chars().next() {
        let bare = ["-Infinity", "Infinity", "NaN"].into_iter().find(|name| !inside_string && rest.starts_with(name));
        let length = match bare {
            Some(name) => {
                written.push_str("null");
                name.len()
            }
            None => {
                let escaped = inside_string && letter == '\\';
                inside_string ^= letter == '"';
                let length: usize = rest.chars().take(if escaped { 2 } else { 1 }).map(char::len_utf8).sum();
                written.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[length..];
    }
    written
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn wanted(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Float64 => "a number",
        DataType::Boolean => "true or false",
        _ => "a text or a number",
    }
}
