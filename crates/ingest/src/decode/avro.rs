//! Apache Avro (version 1.11) to columns: datums of a schema in a file, or of the registry's in Confluent's form.
//!
//! Each writer's schema has a decoder of its own, so fields are found by name whatever version wrote them. Where columns are plain fields
//! they are taken from Arrow as they are; else records are written as JSON and searched like any.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringViewArray, UnionArray,
    new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, interleave, nullif};
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_avro::reader::{Decoder as ArrowAvro, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use bumpalo::Bump;
use serde_json::Value as Json;

use wardwatch_model::record::Item;

use super::json::JsonDecoder;
use super::parsed::{Parsed, RowOf};
use super::raw::{CHUNK, RawRecord, RawRecords};
use super::schema::Layout;
use super::unwrap::{Unwrapped, Wrapping};
use crate::schemas::{Schema, SchemaId, Schemas, id_and_rest};

/// Reads records of Avro.
#[derive(Debug)]
pub(super) struct AvroReader {
    source: Source,
    decoders: HashMap<SchemaId, OfSchema>,
    /// Reads what is written as JSON; `None` where columns are taken as they are.
    json: Option<JsonDecoder>,
    wrapping: Wrapping,
}

/// Where schemas come from.
#[derive(Debug)]
pub(super) enum Source {
    /// All records have this one.
    File(Result<String, String>),
    Registry(Schemas),
}

/// The id under which a file's schema is known: one whose bytes few datums end with.
const OF_FILE: SchemaId = SchemaId(0x6176_726f);

impl AvroReader {
    pub(super) fn new(source: Source, json: Option<JsonDecoder>, wrapping: Wrapping) -> Self {
        Self { source, decoders: HashMap::new(), json, wrapping }
    }

    /// Why nothing can be read, if so.
    pub(super) fn fault(&mut self) -> Option<String> {
        match &self.source {
            Source::Registry(_) => None,
            Source::File(Err(reason)) => Some(reason.clone()),
            Source::File(Ok(schema)) => OfSchema::new(OF_FILE, schema).err(),
        }
    }

    pub(super) fn parse(&mut self, records: &RawRecords, layout: &Layout) -> Parsed {
        let (mut rejects, mut ignored) = (Vec::new(), 0);
        let mut of_schema: BTreeMap<SchemaId, (Vec<RowOf>, Vec<Vec<u8>>)> = BTreeMap::new();
        for record in 0..records.len() {
            let of = RowOf { record, item: Item(0) };
            let arena = Bump::new();
            match self.wrapping.open(records.payload(record), &arena) {
                Unwrapped::Nothing => ignored += 1,
                Unwrapped::Fault(reason) => rejects.push((of, reason)),
                Unwrapped::Content { content, .. } => match self.datum(content) {
                    Ok((id, datum)) => {
                        let (rows, datums) = of_schema.entry(id).or_default();
                        rows.push(of);
                        datums.push(datum.to_vec());
                    }
                    Err(reason) => rejects.push((of, reason)),
                },
            }
        }
        let mut decoded = Vec::new();
        for (id, (rows, datums)) in of_schema {
            let decoder = self.decoders.get_mut(&id);
            let decoder = decoder.unwrap_or_else(|| panic!("what was taken for a datum of a schema has its decoder"));
            let (batch, kept, faults) = decoder.decode(&datums);
            rejects.extend(faults.into_iter().map(|(index, reason)| (rows[index], reason)));
            decoded.push((batch, kept.into_iter().map(|index| rows[index]).collect::<Vec<_>>()));
        }
        let parsed = match &mut self.json {
            Some(json) => as_json(json, &decoded, layout),
            None => as_it_is(&decoded, layout),
        };
        Parsed {
            rejects: rejects.into_iter().chain(parsed.rejects).collect(),
            ignored: ignored + parsed.ignored,
            ..parsed
        }
    }

    /// The schema of a record, for which there is a decoder, and its datum.
    fn datum<'a>(&mut self, content: &'a [u8]) -> Result<(SchemaId, &'a [u8]), String> {
        match &self.source {
            Source::File(schema) => {
                let schema = schema.clone()?;
                let decoder = match self.decoders.entry(OF_FILE) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(free) => free.insert(OfSchema::new(OF_FILE, &schema)?),
                };
                if content.starts_with(b"Obj\x01") && decoder.decode_one(content).is_err() {
                    return Err("it is a file of Avro (it begins with \"Obj\"), and a record is one datum".to_owned());
                }
                // With a registry's prefix or without: what is not a datum as it is may be one behind it.
                match id_and_rest(content).filter(|_| decoder.decode_one(content).is_err()) {
                    Some((_, rest)) if decoder.decode_one(rest).is_ok() => Ok((OF_FILE, rest)),
                    _ => Ok((OF_FILE, content)),
                }
            }
            Source::Registry(schemas) => {
                let Some((id, rest)) = id_and_rest(content) else {
                    return Err("it does not begin with a zero byte and the id of its schema".to_owned());
                };
                if let Entry::Vacant(free) = self.decoders.entry(id) {
                    // The source has asked for it before; a record of a file is asked for here.
                    schemas.look_up(id).map_err(|away| away.to_string())?;
                    match &*schemas
                        .get(id)
                        .unwrap_or_else(|| Err("its schema was asked for too long ago".to_owned()))?
                    {
                        Schema::Avro(schema) => drop(free.insert(OfSchema::new(id, schema)?)),
                        Schema::Protobuf(_) => return Err(format!("its schema {} is of Protobuf, not Avro", id.0)),
                        Schema::Json => return Err(format!("its schema {} is of JSON, not Avro", id.0)),
                    }
                }
                Ok((id, rest))
            }
        }
    }
}

/// What reads the datums of one schema.
#[derive(Debug)]
struct OfSchema {
    id: SchemaId,
    store: SchemaStore,
    /// Whether a field may have several types. arrow-avro goes on counting their values over batches, so its decoder serves once.
    has_union: bool,
    all: ArrowAvro,
    single: ArrowAvro,
}

impl OfSchema {
    fn new(id: SchemaId, schema: &str) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("its schema cannot be read: {error}");
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        let schema = AvroSchema::new(schema.to_owned());
        store.set(Fingerprint::Id(id.0), schema).map_err(|error| wrong(&error))?;
        let all = decoder(id, &store, CHUNK).map_err(|error| wrong(&error))?;
        let single = decoder(id, &store, 1).map_err(|error| wrong(&error))?;
        if all.schema().fields().is_empty() {
            return Err(wrong(&"it has no fields"));
        }
        let has_union = all.schema().fields().iter().any(|field| has_union(field.data_type()));
        Ok(Self { id, store, has_union, all, single })
    }

    /// The rows of `datums`, which of them these are, and why the others are none.
    fn decode(&mut self, datums: &[Vec<u8>]) -> (RecordBatch, Vec<usize>, Vec<(usize, String)>) {
        // Behind a datum, the bytes that stand before one are taken for the beginning of the next; only alone it is seen that none comes.
        let begins_another = |datum: &Vec<u8>| datum.ends_with(&prefix(self.id));
        let all = match datums.iter().any(begins_another) {
            true => Err("one may be followed by another one".to_owned()),
            false => feed(&mut self.all, self.id, datums.iter().map(Vec::as_slice)),
        };
        if self.has_union || all.is_err() {
            self.renew();
        }
        if let Ok(batch) = all {
            return (batch, (0..datums.len()).collect(), Vec::new());
        }
        let (mut kept, mut faults) = (Vec::new(), Vec::new());
        for (index, datum) in datums.iter().enumerate() {
            match self.decode_one(datum) {
                Ok(()) => kept.push(index),
                Err(reason) => faults.push((index, reason)),
            }
        }
        let batch = feed(&mut self.all, self.id, kept.iter().map(|index| datums[*index].as_slice()))
            .unwrap_or_else(|error| panic!("what is read one by one is read together: {error}"));
        if self.has_union {
            self.renew();
        }
        (batch, kept, faults)
    }

    fn decode_one(&mut self, datum: &[u8]) -> Result<(), String> {
        let read = feed(&mut self.single, self.id, std::iter::once(datum));
        if self.has_union || read.is_err() {
            self.renew();
        }
        read.map(|_| ()).map_err(|reason| format!("it is not valid Avro of its schema: {reason}"))
    }

    /// A decoder that has failed keeps half a record.
    fn renew(&mut self) {
        let new = |most: usize| {
            decoder(self.id, &self.store, most).unwrap_or_else(|error| panic!("it could be made before: {error}"))
        };
        (self.all, self.single) = (new(CHUNK), new(1));
    }
}

fn has_union(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) => true,
        DataType::Struct(fields) => fields.iter().any(|field| has_union(field.data_type())),
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => has_union(field.data_type()),
        _ => false,
    }
}

fn decoder(id: SchemaId, store: &SchemaStore, most: usize) -> Result<ArrowAvro, arrow::error::ArrowError> {
    ReaderBuilder::new()
        .with_writer_schema_store(store.clone())
        .with_active_fingerprint(Fingerprint::Id(id.0))
        .with_utf8_view(true)
        .with_batch_size(most)
        .build_decoder()
}

/// What stands before a datum: a zero byte, and the id of its schema.
fn prefix(id: SchemaId) -> [u8; 5] {
    let [a, b, c, d] = id.0.to_be_bytes();
    [0, a, b, c, d]
}

fn feed<'a>(
    decoder: &mut ArrowAvro,
    id: SchemaId,
    datums: impl Iterator<Item = &'a [u8]>,
) -> Result<RecordBatch, String> {
    let mut message = Vec::new();
    for datum in datums {
        message.clear();
        message.extend_from_slice(&prefix(id));
        message.extend_from_slice(datum);
        let room = decoder.capacity();
        let read = decoder.decode(&message).map_err(|error| error.to_string())?;
        if read == message.len() && room - decoder.capacity() != 1 {
            return Err("it is empty".to_owned());
        }
        if read != message.len() {
            return Err(match read > 5 {
                true => format!("{} bytes are left over", message.len() - read),
                false => "it ends too early".to_owned(),
            });
        }
    }
    let rows = decoder.flush().map_err(|error| error.to_string())?;
    Ok(rows.unwrap_or_else(|| RecordBatch::new_empty(decoder.schema())))
}

/// Rows whose columns are fields, taken as Arrow has them.
fn as_it_is(decoded: &[(RecordBatch, Vec<RowOf>)], layout: &Layout) -> Parsed {
    let mut order: Vec<(RowOf, (usize, usize))> = Vec::new();
    for (batch, (_, rows)) in decoded.iter().enumerate() {
        order.extend(rows.iter().enumerate().map(|(row, of)| (*of, (batch, row))));
    }
    order.sort_by_key(|(of, _)| *of);
    let places: Vec<(usize, usize)> = order.iter().map(|(_, place)| *place).collect();
    let fields = layout.parsed().fields();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(fields.len());
    let mut types = Vec::with_capacity(fields.len());
    for (field, searched) in fields.iter().zip(layout.searched()) {
        let of_batches: Vec<ArrayRef> =
            decoded.iter().map(|(batch, _)| column(batch, searched.fields(), field.data_type())).collect();
        // Of two schemas, one may have a number where the other has a text.
        let is_alike = of_batches.windows(2).all(|pair| pair[0].data_type() == pair[1].data_type());
        let of_batches = if is_alike { of_batches } else { of_batches.iter().map(|array| text(array)).collect() };
        let column = match &of_batches[..] {
            [] => new_null_array(field.data_type(), 0),
            [only] => Arc::clone(only),
            several => {
                let several: Vec<&dyn Array> = several.iter().map(AsRef::as_ref).collect();
                interleave(&several, &places).unwrap_or_else(|error| panic!("all are of one type: {error}"))
            }
        };
        types.push(field.as_ref().clone().with_data_type(column.data_type().clone()));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(order.len()));
    let schema = Arc::new(arrow::datatypes::Schema::new(types));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options)
        .unwrap_or_else(|error| panic!("a column for each place: {error}"));
    let rows = order.into_iter().map(|(of, _)| of).collect();
    Parsed { batch, rows, rejects: Vec::new(), ignored: 0, misread: BTreeMap::new(), texts: None }
}

/// The field that `names` lead to, as `wanted` where that loses nothing, else as text.
fn column(batch: &RecordBatch, names: &[String], wanted: &DataType) -> ArrayRef {
    let mut found = names.first().and_then(|name| batch.column_by_name(name)).cloned();
    for (depth, name) in names.iter().enumerate().skip(1) {
        found = found.and_then(|object| {
            if matches!(object.data_type(), DataType::Union(..) | DataType::Map(..)) {
                return Some(inside_of_each(&object, &names[depth..]));
            }
            let object = object.as_struct_opt()?;
            let inner = object.column_by_name(name)?;
            // What lies in an object that is not there is not there.
            match object.nulls() {
                None => Some(Arc::clone(inner)),
                Some(nulls) => nullif(inner, &BooleanArray::new(!nulls.inner(), None)).ok(),
            }
        });
        if found.as_ref().is_some_and(|found| found.data_type() == &DataType::Utf8View) {
            break;
        }
    }
    let Some(found) = found else { return new_null_array(wanted, batch.num_rows()) };
    let is_number = found.data_type().is_numeric();
    match wanted {
        DataType::Float64 if is_number => cast(&found, wanted),
        DataType::Boolean if *found.data_type() == DataType::Boolean => found,
        _ => text(&found),
    }
}

/// The texts that `names` lead to within values that are not all alike.
fn inside_of_each(array: &ArrayRef, names: &[String]) -> ArrayRef {
    let one = |row: usize| {
        let value = json_of(array, row);
        match names.iter().try_fold(&value, |value, name| value.get(name))? {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    };
    Arc::new((0..array.len()).map(one).collect::<StringViewArray>())
}

/// Values as texts; of a choice of types, whichever each has. What the type cannot mean, such as a time that is too large, is its digits.
fn text(array: &ArrayRef) -> ArrayRef {
    let is_scalar = !array.data_type().is_nested() && !matches!(array.data_type(), DataType::Union(..));
    if *array.data_type() == DataType::Utf8View {
        return Arc::clone(array);
    }
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    match cast_with_options(array, &DataType::Utf8View, &options) {
        Ok(texts) if is_scalar => texts,
        _ => {
            let one = |row: usize| match json_of(array, row) {
                Json::Null => None,
                Json::String(text) => Some(text),
                other => Some(other.to_string()),
            };
            Arc::new((0..array.len()).map(one).collect::<StringViewArray>())
        }
    }
}

fn cast(array: &ArrayRef, wanted: &DataType) -> ArrayRef {
    let options = CastOptions { safe: true, format_options: FormatOptions::default() };
    cast_with_options(array, wanted, &options).unwrap_or_else(|_| new_null_array(wanted, array.len()))
}

/// One value as JSON: of a choice of types whichever it has; bytes in hexadecimal; what JSON has no form for, as its text.
fn json_of(array: &ArrayRef, row: usize) -> Json {
    let list = |items: &ArrayRef| (0..items.len()).map(|item| json_of(items, item)).collect::<Json>();
    if array.is_null(row) {
        return Json::Null;
    }
    match array.data_type() {
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), json_of(column, row))).collect()
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let keys = text(entries.column(0));
            let key = |entry: usize| keys.as_string_view().value(entry).to_owned();
            (0..entries.len()).map(|entry| (key(entry), json_of(entries.column(1), entry))).collect()
        }
        DataType::Union(..) => match array.as_any().downcast_ref::<UnionArray>() {
            Some(union) => json_of(&union.value(row), 0),
            None => Json::Null,
        },
        DataType::Boolean => Json::Bool(array.as_boolean().value(row)),
        data_type => {
            let shown = ArrayFormatter::try_new(array, &FormatOptions::default()).ok();
            let shown = shown.and_then(|shown| shown.value(row).try_to_string().ok());
            // What the type cannot mean is what was sent.
            let shown = shown.or_else(|| {
                let digits = cast(array, &DataType::Int64);
                digits.as_primitive_opt::<Int64Type>().map(|digits| digits.value(row).to_string())
            });
            let shown = shown.unwrap_or_default();
            let number = data_type.is_numeric().then(|| serde_json::from_str(&shown).ok()).flatten();
            number.unwrap_or(Json::String(shown))
        }
    }
}

/// Rows that are searched for in what is written as JSON.
fn as_json(json: &mut JsonDecoder, decoded: &[(RecordBatch, Vec<RowOf>)], layout: &Layout) -> Parsed {
    let mut written: Vec<(usize, Vec<u8>)> = Vec::new();
    for (batch, rows) in decoded {
        for (row, of) in rows.iter().enumerate() {
            let fields = batch.schema_ref().fields().iter().zip(batch.columns());
            let object: Json = fields.map(|(field, column)| (field.name().clone(), json_of(column, row))).collect();
            written.push((of.record, object.to_string().into_bytes()));
        }
    }
    written.sort_by_key(|(record, _)| *record);
    parse_written(json, &written, layout)
}

/// Parses JSON that was made of records, each with the index of its own.
pub(super) fn parse_written(json: &mut JsonDecoder, written: &[(usize, Vec<u8>)], layout: &Layout) -> Parsed {
    let mut texts = RawRecords::default();
    for (_, text) in written {
        texts.push(RawRecord::of_payload(wardwatch_model::terms::Offset(0), text));
    }
    let mut parsed = json.parse(&texts, layout);
    if parsed.texts.is_none() {
        // The rows' texts are not the records' own.
        let mut own = super::parsed::Texts::default();
        written.iter().for_each(|(_, text)| own.push(text));
        parsed.texts = Some(own);
    }
    parsed.rows.iter_mut().for_each(|of| of.record = written[of.record].0);
    parsed.rejects.iter_mut().for_each(|(of, _)| of.record = written[of.record].0);
    parsed
}
