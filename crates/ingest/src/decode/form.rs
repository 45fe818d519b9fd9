//! One form's records to columns: taken apart, read, checked, column by column.

mod faults;
mod taken;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
};
use arrow::compute::filter;
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use chrono::{DateTime, SecondsFormat};
use chrono_tz::Tz;

use wardwatch_config::{Column, Counts, Form, Format, KafkaField, SchemaSource, SourcePath, SourceSpec, Subject};
use wardwatch_model::record::{Artefact, Item};
use wardwatch_model::terms::Partition;
use wardwatch_model::topics::Topics;

use super::avro::{self, AvroReader};
use super::cells::{self, Beside, Faults, LongValues, Misread, Reader};
use super::decoded::{Decoded, FoundItem};
use super::join::join;
use super::json::{self, JsonDecoder};
use super::lines::LineReader;
use super::parsed::{Parsed, RowOf};
use super::protobuf::{self, ProtobufReader};
use super::raw::RawRecords;
use super::schema::{Layout, frame_schema, is_tree};
use super::text::{shortened, value_text};
use super::unwrap::Wrapping;
use crate::schemas::Schemas;

/// The longest id of a patient; the store keeps it in the keys of tables.
pub const MOST_KEY_CHARS: usize = 128;

/// How the hint begins that another time zone is meant.
pub const ZONE_HINT: &str = "; the time names no zone and is about";

/// What one form's records became, and of which record each row is.
pub(super) struct FormRows {
    pub(super) decoded: Decoded,
    pub(super) of: Vec<RowOf>,
    /// The items that each row was made of, where several were joined.
    pub(super) members: Option<Vec<Vec<Item>>>,
    /// The names of vitals that no column is read from.
    pub(super) unnamed: Vec<String>,
}

/// What of a record is of a form.
pub(super) enum Taken {
    /// All of it, or nothing.
    Whole(bool),
    /// Each part by itself.
    Parts(Vec<bool>),
    /// There is nothing in it: a tombstone, or a row that was deleted.
    Nothing,
}

/// Bytes that are no text.
struct NotText;

/// Decodes the records of one form.
#[derive(Debug)]
pub(super) struct FormDecoder {
    form: Form,
    topics: Topics,
    /// The topics of its source, where the job has others; with what was found out of partitions.
    own_topics: Option<OwnTopics>,
    time_zone: Tz,
    max_skew: Duration,
    layout: Layout,
    schema: SchemaRef,
    reader: RecordReader,
    wrapping: Wrapping,
    /// The headers that columns of any form are read from.
    headers: Vec<String>,
    left_out: LeftOut,
}

/// The topics of one of several sources.
#[derive(Debug)]
struct OwnTopics {
    spec: SourceSpec,
    source: usize,
    known: RefCell<HashMap<Partition, bool>>,
}

impl OwnTopics {
    fn has(&self, partition: Partition, topics: &Topics) -> bool {
        let is_own = || self.spec.source_of(&topics.name_of(partition)) == self.source;
        *self.known.borrow_mut().entry(partition).or_insert_with(is_own)
    }
}

/// Takes records apart.
#[derive(Debug)]
enum RecordReader {
    Json(Box<JsonDecoder>),
    Lines(LineReader),
    Avro(Box<AvroReader>),
    Protobuf(Box<ProtobufReader>),
}

impl RecordReader {
    fn of(form: &Form, layout: &Layout, wrapping: &Wrapping, schemas: Option<&Schemas>) -> Self {
        if let Some(lines) = LineReader::of(form, layout, wrapping) {
            return Self::Lines(lines);
        }
        let written = || JsonDecoder::new(layout, Wrapping::none());
        let own = |url: &str| schemas.cloned().unwrap_or_else(|| Schemas::of_registry(url));
        match &form.format {
            Format::Avro(schema) => {
                let source = match schema {
                    SchemaSource::Registry(url) => avro::Source::Registry(own(url)),
                    SchemaSource::File(file) => avro::Source::File(
                        std::fs::read_to_string(file)
                            .map_err(|error| format!("the schema \"{}\" cannot be read: {error}", file.display())),
                    ),
                };
                let json = is_tree(form).then(written);
                Self::Avro(Box::new(AvroReader::new(source, json, wrapping.clone())))
            }
            Format::Protobuf { schema, message } => {
                let source = match schema {
                    SchemaSource::Registry(url) => protobuf::Source::Registry(own(url)),
                    SchemaSource::File(file) => protobuf::Source::of_file(file, message.as_deref()),
                };
                Self::Protobuf(Box::new(ProtobufReader::new(source, written(), wrapping.clone())))
            }
            _ => Self::Json(Box::new(JsonDecoder::new(layout, wrapping.clone()))),
        }
    }
}

/// The names of vitals that are left out because no column is named after them, each told once.
#[derive(Debug, Default)]
struct LeftOut(RefCell<BTreeSet<String>>);

impl LeftOut {
    /// So many are told.
    const MOST: usize = 200;

    fn note(&self, names: &BTreeSet<&str>, layout: &Layout) {
        let mut told = self.0.borrow_mut();
        for name in names.iter().filter(|name| name.chars().count() <= MOST_KEY_CHARS) {
            if told.len() >= Self::MOST || !told.insert((*name).to_owned()) {
                continue;
            }
            let known = layout.long().map(|long| long.known.as_slice()).unwrap_or_default();
            match wardwatch_model::diagnostic::nearest(name, known.iter().map(String::as_str)) {
                Some(nearest) => tracing::warn!(vital = name, nearest, "no column is named after it; it is left out"),
                None => tracing::info!(vital = name, "no column is named after it; it is left out"),
            }
        }
    }
}

impl FormDecoder {
    /// `schemas` has those of the form's registry, if it has one.
    pub(super) fn new(spec: &SourceSpec, form: &Form, schemas: Option<&Schemas>, topics: &Topics) -> Self {
        let layout = Layout::of(form);
        let wrapping = Wrapping::new(&form.unwrap, spec.max_record_bytes);
        let (time_zone, max_skew) = spec.clock_of(form.source);
        let own_topics = (!spec.others.is_empty()).then(|| OwnTopics {
            spec: spec.clone(),
            source: form.source,
            known: RefCell::default(),
        });
        Self {
            own_topics,
            time_zone,
            max_skew,
            headers: spec.headers(),
            reader: RecordReader::of(form, &layout, &wrapping, schemas),
            wrapping,
            schema: frame_schema(&form.columns),
            form: form.clone(),
            topics: topics.clone(),
            layout,
            left_out: LeftOut::default(),
        }
    }

    /// Why no record of the form can be read, if so.
    pub(super) fn fault(&mut self) -> Option<String> {
        match &mut self.reader {
            RecordReader::Avro(avro) => avro.fault(),
            RecordReader::Protobuf(protobuf) => protobuf.fault(),
            RecordReader::Json(_) | RecordReader::Lines(_) => None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.form.name
    }

    pub(super) fn subject(&self) -> Subject {
        self.form.subject
    }

    /// Of which of the job's sources its records are.
    pub(super) fn source(&self) -> usize {
        self.form.source
    }

    pub(super) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Whether every record is of this form.
    pub(super) fn takes_all(&self) -> bool {
        self.form.when.is_empty() && self.own_topics.is_none()
    }

    /// Decodes at most [`super::CHUNK`] records, all of this form.
    ///
    /// All are decoded at once; only when that fails is each tried by itself, to find the ones at fault and to read
    /// what the fast way does not take (`NaN`, `""`, text for a number).
    pub(super) fn decode(&mut self, records: &RawRecords) -> FormRows {
        if matches!(self.form.counts, Counts::None) {
            let rows = RecordBatch::new_empty(Arc::clone(&self.schema));
            let decoded = Decoded { ignored: records.len(), ..Decoded::of_rows(rows) };
            return FormRows { decoded, of: Vec::new(), members: None, unnamed: Vec::new() };
        }
        let parsed = self.parse(records);
        let mut faults = Faults::new(parsed.rows.len());
        let (columns, misread, unnamed) = self.columns(&parsed, records, &mut faults);
        self.check_required(&columns, &misread, &mut faults);
        self.check_key_length(&columns, &mut faults);
        self.check_skew(&columns, &parsed, records, &mut faults);
        let rejects = self.rejects(&parsed, &columns, &faults, records);

        let mut arrays = columns;
        let implausible = cells::blank_implausible(&self.form.columns, &mut arrays, &faults);
        let artefacts = self.artefacts(misread, &implausible, &faults, &arrays, &parsed, records);
        arrays.extend(cells::doubtful(&self.form.columns, &implausible, parsed.rows.len()));
        arrays.extend(self.provenance(records, &parsed.rows));
        let mut of = parsed.rows;
        if let Some(keep) = faults.keep_mask() {
            // Before the batch is built: only now are the required columns without NULL.
            for array in &mut arrays {
                *array =
                    filter(array, &keep).unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"));
            }
            let mut kept = keep.values().iter();
            of.retain(|_| kept.next().unwrap_or(false));
        }
        let mut rows = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .unwrap_or_else(|error| panic!("the columns are made to the schema: {error}"));
        let mut members = None;
        if let Some(long) = &self.form.long {
            let groups;
            (rows, groups) = join(rows, &of, &self.form.columns, long.join_within);
            if let Some(groups) = groups {
                members = Some(groups.iter().map(|group| group.iter().map(|row| of[*row].item).collect()).collect());
                of = groups.iter().map(|group| of[group[0]]).collect();
            }
        }
        let ignored = parsed.ignored + faults.ignored();
        FormRows { decoded: Decoded { rejects, artefacts, ignored, ..Decoded::of_rows(rows) }, of, members, unnamed }
    }

    /// Where the values of each item of a record stand; `records` has no other, and `artefacts` are its.
    pub(super) fn places(&mut self, records: &RawRecords, artefacts: &[Artefact]) -> Vec<FoundItem> {
        if matches!(self.form.counts, Counts::None) {
            return Vec::new();
        }
        let parsed = self.parse(records);
        let first = |column: &Column, paths: &[SourcePath], row: usize| {
            let mut there = paths.iter().filter_map(|path| {
                let text = self.texts_at(std::slice::from_ref(path), row, &parsed, records).pop();
                text.filter(|text| value_text(text).is_some()).map(|text| (path.to_string(), text))
            });
            let first = there.next()?;
            // What could not be read was passed, if another place has something.
            let is_passed = |text: &str| {
                let item = parsed.rows[row].item;
                let mut of_item = artefacts.iter().filter(|artefact| artefact.place.item == item);
                of_item.any(|artefact| artefact.column == column.name && artefact.text == shortened(text))
            };
            if is_passed(&first.1) { there.find(|(_, text)| !is_passed(text)).or(Some(first)) } else { Some(first) }
        };
        let values = |row: usize| {
            let long = self.form.long.as_ref();
            let name = long.and_then(|long| {
                let names = self.texts_at(&long.name, row, &parsed, records);
                let is_known = |name: &&String| self.layout.long().is_some_and(|long| long.known.contains(*name));
                names.iter().find(is_known).or(names.first()).cloned()
            });
            let one = |column: &Column| {
                let is_named = name.as_ref().is_some_and(|name| column.named.contains(name));
                let of_name = long.filter(|_| is_named).and_then(|long| first(column, &long.value, row));
                let of_name =
                    of_name.map(|(path, text)| (format!("{path} of {}", name.as_deref().unwrap_or_default()), text));
                let (place, text) = of_name.or_else(|| first(column, &column.from, row))?;
                Some((column.name.clone(), place, shortened(&text)))
            };
            self.form.columns.all().iter().filter_map(one).collect()
        };
        (0..parsed.rows.len()).map(|row| FoundItem { item: parsed.rows[row].item, values: values(row) }).collect()
    }

    fn parse(&mut self, records: &RawRecords) -> Parsed {
        match &mut self.reader {
            RecordReader::Json(json) => json.parse(records, &self.layout),
            RecordReader::Lines(lines) => lines.parse(records, &self.layout),
            RecordReader::Avro(avro) => avro.parse(records, &self.layout),
            RecordReader::Protobuf(protobuf) => protobuf.parse(records, &self.layout),
        }
    }

    /// Leaves out the rows that do not count by the form's conditions.
    fn leave_out(&self, reader: &Reader<'_>, faults: &mut Faults) {
        let Counts::Some { only, ignore } = &self.form.counts else { return };
        let conditions = only.iter().map(|condition| (condition, true)).chain(ignore.iter().map(|one| (one, false)));
        for (condition, is_wanted) in conditions {
            let texts = reader.first_texts(&condition.fields);
            for row in 0..reader.parsed.rows.len() {
                let text = texts.as_ref().filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row));
                if condition.is_met(text.and_then(value_text)) != is_wanted {
                    faults.ignore(row);
                }
            }
        }
    }

    /// The declared columns, typed; the values that could not be read, one of a row and column, in the order of these; and the
    /// names of vitals that no column has.
    fn columns(
        &self,
        parsed: &Parsed,
        records: &RawRecords,
        faults: &mut Faults,
    ) -> (Vec<ArrayRef>, Vec<Misread>, Vec<String>) {
        let stamp = |row: usize| records.stamp_micros(parsed.rows[row].record);
        let beside = |path: &SourcePath| self.beside(path, &parsed.rows, records);
        let mut misread = Vec::new();
        let (layout, zone) = (&self.layout, self.time_zone);
        let mut reader = Reader {
            parsed,
            layout,
            column: self.form.columns.key(),
            index: 0,
            zone,
            stamp: &stamp,
            beside: &beside,
            misread: &mut misread,
            is_last: true,
        };
        self.leave_out(&reader, faults);
        let long = layout.long().map(|long| LongValues::new(long, &reader));
        let mut has_other = vec![false; parsed.rows.len()];
        let mut columns = Vec::new();
        for (index, column) in self.form.columns.all().iter().enumerate() {
            (reader.column, reader.index) = (column, index);
            let named = long.as_ref().filter(|_| !column.named.is_empty());
            let named = named.map(|long| long.column(&column.named, &mut reader));
            let is_beside = named.is_some() && !column.from.is_empty();
            let array = match named {
                Some(named) if column.from.is_empty() => named,
                named => reader.at_paths(&column.from, named),
            };
            if is_beside {
                (0..array.len()).filter(|&row| array.is_valid(row)).for_each(|row| has_other[row] = true);
            }
            columns.push(array);
        }
        let unnamed = long.as_ref().map(|long| long.check(&|row| has_other[row], faults)).unwrap_or_default();
        self.left_out.note(&unnamed, layout);
        let unnamed = unnamed.into_iter().map(str::to_owned).collect();
        misread.sort_by_key(|misread| (misread.row, misread.column));
        misread.dedup_by_key(|misread| (misread.row, misread.column));
        (columns, misread, unnamed)
    }

    /// What Kafka has beside the records at a place that is not in their values.
    fn beside(&self, path: &SourcePath, rows: &[RowOf], records: &RawRecords) -> Option<Beside> {
        let mut garbled = Vec::new();
        let mut texts = StringViewBuilder::with_capacity(rows.len()).with_deduplicate_strings();
        for (row, of) in rows.iter().enumerate() {
            match self.text_beside(path, of.record, records) {
                Ok(text) => texts.append_option(text),
                Err(NotText) => {
                    texts.append_null();
                    garbled.push(row);
                }
            }
        }
        Some(Beside { texts: texts.finish(), garbled })
    }

    fn text_beside<'a>(
        &'a self,
        path: &SourcePath,
        record: usize,
        records: &'a RawRecords,
    ) -> Result<Option<Cow<'a, str>>, NotText> {
        let Some(field) = path.beside() else { return Ok(None) };
        let bytes = match field {
            KafkaField::Topic => {
                return Ok(Some(Cow::Owned(self.topics.name_of(records.partition(record)).to_string())));
            }
            // In the form of time that no setting changes.
            KafkaField::Stamp => {
                let at = records.stamp_micros(record).and_then(DateTime::from_timestamp_micros);
                return Ok(at.map(|at| Cow::Owned(at.to_rfc3339_opts(SecondsFormat::Micros, true))));
            }
            KafkaField::Key => records.key(record),
            KafkaField::Header(name) => {
                let index = self.headers.iter().position(|known| known == name);
                index.and_then(|index| records.header(record, index, self.headers.len()))
            }
        };
        bytes.map(|bytes| std::str::from_utf8(bytes).map(Cow::Borrowed)).transpose().map_err(|_| NotText)
    }

    /// Each text of a row at one of `paths`, in their order.
    fn texts_at(&self, paths: &[SourcePath], row: usize, parsed: &Parsed, records: &RawRecords) -> Vec<String> {
        let record = parsed.rows[row].record;
        let one = |path: &SourcePath| match self.layout.names(path) {
            Some(names) => match (parsed.text(row), &self.reader) {
                (Some(text), _) => json::text_at(text, names),
                (None, RecordReader::Json(_)) => json::text_at(records.payload(record)?, names),
                (None, _) => {
                    let texts = cells::at_path(&parsed.batch, names)?;
                    texts.is_valid(row).then(|| array_value_to_string(&texts, row).ok()).flatten()
                }
            },
            None => self.text_beside(path, record, records).ok().flatten().map(Cow::into_owned),
        };
        let text = |path: &SourcePath| match path {
            SourcePath::Template(template) => template.fill(&mut |place| one(place)),
            path => one(path),
        };
        paths.iter().filter_map(text).collect()
    }

    fn topic_column(&self, records: &RawRecords, rows: &[RowOf]) -> StringViewArray {
        let (mut known, mut name): (Option<Partition>, Arc<str>) = (None, Arc::from(""));
        let mut column = StringViewBuilder::with_capacity(rows.len()).with_deduplicate_strings();
        for of in rows {
            let partition = records.partition(of.record);
            if known != Some(partition) {
                (known, name) = (Some(partition), self.topics.name_of(partition));
            }
            column.append_value(&*name);
        }
        column.finish()
    }

    /// `_topic`, `_partition`, `_offset`, `_item`, `_stamped_at`.
    fn provenance(&self, records: &RawRecords, rows: &[RowOf]) -> [ArrayRef; 5] {
        let topic = self.topic_column(records, rows);
        let partitions = Int32Array::from_iter_values(rows.iter().map(|of| records.partition(of.record).0));
        let offsets = Int64Array::from_iter_values(rows.iter().map(|of| records.offset(of.record).0));
        let items = Int32Array::from_iter_values(rows.iter().map(|of| of.item.0));
        let stamps: TimestampMicrosecondArray = rows.iter().map(|of| records.stamp_micros(of.record)).collect();
        let stamps = stamps.with_timezone("UTC");
        [Arc::new(topic), Arc::new(partitions), Arc::new(offsets), Arc::new(items), Arc::new(stamps)]
    }
}
