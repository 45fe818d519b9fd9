//! From records to columns: [`RawRecords`] in, [`Decoded`] out, nothing read or written on the way.
//!
//! Decoding never fails: an item of a record becomes a row or a [`Reject`], or is left out on purpose and counted; and a value that
//! cannot be read, or cannot be true, becomes NULL and an [`Artefact`]. Only a key, an event time or a required column without a
//! value costs the row. What becomes of a record depends on the record alone, never on its neighbours, so any split of a stream
//! decodes alike. It does not know where records come from, nor what is late or doubled.

mod avro;
mod cells;
mod csv;
mod decoded;
mod encounters;
mod form;
mod frame;
mod hl7;
mod items;
mod join;
mod json;
mod lacking;
mod line;
mod lines;
mod number;
mod parsed;
mod pattern;
mod protobuf;
pub(crate) mod raw;
mod reshape;
mod scan;
mod schema;
mod senml;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod tree;
mod unwrap;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};

use wardwatch_config::{SourceSpec, Subject};
use wardwatch_model::record::{Artefact, ITEM_COLUMN, Item, OFFSET_COLUMN, PARTITION_COLUMN, Reject};
use wardwatch_model::topics::Topics;

use crate::schemas::Schemas;
use form::{FormDecoder, FormRows, Taken};
use frame::Frame;
use parsed::RowOf;
use reshape::Reshaper;

pub use decoded::{Decoded, EncounterRecord, Found, FoundItem, places};
pub use form::{MOST_KEY_CHARS, ZONE_HINT};
pub use lacking::{Lacking, lacking, places_of};
pub use raw::{CHUNK, RawRecord, RawRecords};
pub use reshape::{Reshape, Reshaped, Reshaping};
pub use schema::frame_schema;
pub use unwrap::{Peeled, base64 as from_base64, peeled};

/// The schema registries of a job's forms, by their URLs; nobody has been asked for anything.
#[must_use]
pub fn registries(spec: &SourceSpec) -> BTreeMap<String, Schemas> {
    let urls = spec.forms.iter().filter_map(|form| form.format.registry());
    urls.map(|url| (url.to_owned(), Schemas::of_registry(url))).collect()
}

/// Rows that have the columns of a job's first source, as the loop has those of all sources.
#[must_use]
pub fn in_frame(spec: &SourceSpec, rows: &RecordBatch) -> RecordBatch {
    if spec.others.is_empty() { rows.clone() } else { Frame::of(spec).of_first(rows) }
}

/// Of which forms a record is.
enum Forms {
    One(usize),
    /// Of each part; `None` where it is of none.
    Each(Vec<Option<usize>>),
    /// There is nothing in it.
    Nothing,
    None,
}

/// A record of a form, and which of its parts are.
struct Own {
    record: usize,
    parts: Option<Vec<bool>>,
}

/// Decodes the records of one job's topics.
#[derive(Debug)]
pub struct Decoder {
    frame: Frame,
    event_time: String,
    /// The headers that columns are read from.
    headers: Vec<String>,
    forms: Vec<FormDecoder>,
    reshaper: Option<Reshaper>,
}

impl Decoder {
    /// A decoder for records as `spec` declares them.
    #[must_use]
    pub fn new(spec: &SourceSpec) -> Self {
        Self::reading(spec, &spec.topics.unnumbered())
    }

    /// The same for records of these topics.
    #[must_use]
    pub fn reading(spec: &SourceSpec, topics: &Topics) -> Self {
        Self::sharing(spec, &registries(spec), topics)
    }

    /// The same with what is known of schema registries, by their URLs, and with the topics of partitions.
    #[must_use]
    pub fn sharing(spec: &SourceSpec, registries: &BTreeMap<String, Schemas>, topics: &Topics) -> Self {
        let forms = spec.forms.iter().map(|form| {
            let schemas = form.format.registry().and_then(|url| registries.get(url));
            FormDecoder::new(spec, form, schemas, topics)
        });
        Self {
            headers: spec.headers(),
            frame: Frame::of(spec),
            event_time: spec.columns.event_time().name.clone(),
            forms: forms.collect(),
            reshaper: None,
        }
    }

    /// The same when somebody else makes rows of what is decoded.
    #[must_use]
    pub fn reshaped_by(mut self, spec: &SourceSpec, reshaping: Option<&Reshaping>) -> Self {
        self.reshaper = reshaping.map(|make| Reshaper::new(make(), spec, self.frame.schema_of(0)));
        self
    }

    /// Why records of some form cannot be read at all: its schema is wrong.
    pub fn faults(&mut self) -> Vec<String> {
        self.forms.iter_mut().filter_map(FormDecoder::fault).collect()
    }

    /// The headers of records that are wanted, in their order.
    #[must_use]
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The column with the event time.
    #[must_use]
    pub fn event_time(&self) -> &str {
        &self.event_time
    }

    /// The schema of the rows.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        self.frame.schema()
    }

    /// Decodes at most [`CHUNK`] records.
    pub fn decode(&mut self, records: &RawRecords) -> Decoded {
        debug_assert!(records.len() <= CHUNK, "so many are decoded at once");
        let mut decoded = match &mut self.forms[..] {
            [form] if form.takes_all() => vec![(0, form.decode(records).decoded)],
            _ => self.decode_each_form(records),
        };
        if let Some((reshaper, (_, first))) = self.reshaper.as_mut().zip(decoded.first_mut()) {
            reshaper.reshape(records, first);
        }
        let mut decoded = self.in_one_frame(decoded);
        self.complete_rejects(records, &mut decoded);
        decoded
    }

    /// What was decoded of each source, as rows of one frame. Sources have topics of their own, so no order is lost.
    fn in_one_frame(&self, decoded: Vec<(usize, Decoded)>) -> Decoded {
        let mut sources = match <[_; 1]>::try_from(decoded) {
            Ok([(_, only)]) => return only,
            Err(several) => several.into_iter().map(|(source, decoded)| self.frame.widened(source, decoded)),
        };
        let mut all = sources.next().unwrap_or_else(|| Decoded::of_rows(RecordBatch::new_empty(self.schema().clone())));
        let mut rows = vec![all.rows];
        for decoded in sources {
            rows.push(decoded.rows);
            all.rejects.extend(decoded.rejects);
            all.artefacts.extend(decoded.artefacts);
            all.encounters.extend(decoded.encounters);
            all.ignored += decoded.ignored;
        }
        all.rows =
            concat_batches(self.schema(), &rows).unwrap_or_else(|error| panic!("all are rows of the frame: {error}"));
        all.rejects.sort_by_key(|reject| reject.place);
        all.artefacts.sort_by(|a, b| (a.place, &a.column).cmp(&(b.place, &b.column)));
        all.encounters.sort_by_key(|encounter| encounter.place);
        all
    }

    /// Says of rejects what is found out from their records: headers, and whether anything of them became a row.
    fn complete_rejects(&self, records: &RawRecords, decoded: &mut Decoded) {
        if decoded.rejects.is_empty() {
            return;
        }
        let partitions = decoded.rows[PARTITION_COLUMN].as_primitive::<Int32Type>().values();
        let offsets = decoded.rows[OFFSET_COLUMN].as_primitive::<Int64Type>().values();
        let with_rows: HashSet<(i32, i64)> = partitions.iter().copied().zip(offsets.iter().copied()).collect();
        let mut counts: HashMap<(i32, i64), usize> = HashMap::new();
        let place = |reject: &Reject| (reject.place.partition.0, reject.place.offset.0);
        decoded.rejects.iter().for_each(|reject| *counts.entry(place(reject)).or_default() += 1);
        let by_place: HashMap<(i32, i64), usize> = match self.headers.is_empty() {
            true => HashMap::new(),
            false => (0..records.len())
                .map(|record| ((records.partition(record).0, records.offset(record).0), record))
                .collect(),
        };
        for reject in &mut decoded.rejects {
            let place = place(reject);
            reject.is_whole = reject.place.item.0 == 0 && counts[&place] == 1 && !with_rows.contains(&place);
            let Some(record) = by_place.get(&place) else { continue };
            let text = |(index, name): (usize, &String)| {
                let bytes = records.header(*record, index, self.headers.len())?;
                Some((name.clone(), std::str::from_utf8(bytes).ok()?.to_owned()))
            };
            reject.headers = self.headers.iter().enumerate().filter_map(text).collect();
        }
    }

    /// What becomes of one record, form by form where its items are of several, and where each of its values stood; `records` has no
    /// other.
    pub fn explain(&mut self, records: &RawRecords) -> Vec<Found> {
        let of =
            if self.forms.len() == 1 && self.forms[0].takes_all() { Forms::One(0) } else { self.forms_of(records, 0) };
        match of {
            Forms::One(form) => vec![self.explain_of(records, Some(form))],
            Forms::Each(parts) if self.reshaper.is_none() => self.explain_each(records, &parts),
            Forms::Each(_) | Forms::Nothing | Forms::None => vec![self.explain_of(records, None)],
        }
    }

    fn explain_each(&mut self, records: &RawRecords, parts: &[Option<usize>]) -> Vec<Found> {
        let mut all = Vec::new();
        for index in parts.iter().flatten().copied().collect::<BTreeSet<usize>>() {
            let form = &mut self.forms[index];
            let mut own = RawRecords::default();
            own.push_from(records, 0, self.headers.len());
            own.take_parts(Some(parts.iter().map(|of| *of == Some(index)).collect()));
            let FormRows { mut decoded, of, members, unnamed } = form.decode(&own);
            let items = form.places(&own, &decoded.artefacts);
            let mut members = members.unwrap_or_else(|| of.iter().map(|of| vec![of.item]).collect());
            if form.subject() == Subject::Encounters {
                decoded.encounters = encounters::encounters(&decoded.rows, form.topics());
                decoded.rows = RecordBatch::new_empty(Arc::clone(self.frame.schema_of(form.source())));
                members.clear();
            }
            all.push(Found { form: Some(form.name().to_owned()), items, members, unnamed, decoded });
        }
        let others = (0..).zip(parts).filter(|(_, form)| form.is_none());
        let rejects = others.map(|(item, _)| self.of_no_form(records, RowOf { record: 0, item: Item(item) }));
        let rejects: Vec<Reject> = rejects.collect();
        if !rejects.is_empty() {
            let decoded = Decoded { rejects, ..Decoded::of_rows(RecordBatch::new_empty(Arc::clone(self.schema()))) };
            all.push(Found { form: None, items: Vec::new(), members: Vec::new(), unnamed: Vec::new(), decoded });
        }
        all
    }

    fn explain_of(&mut self, records: &RawRecords, form: Option<usize>) -> Found {
        let of_readings = form.filter(|form| self.forms[*form].subject() == Subject::Readings);
        let (decoded, members, unnamed) = match (of_readings, &self.reshaper) {
            (Some(form), None) => {
                let FormRows { decoded, of, members, unnamed } = self.forms[form].decode(records);
                let members = members.unwrap_or_else(|| of.iter().map(|of| vec![of.item]).collect());
                (decoded, members, unnamed)
            }
            _ => {
                let decoded = self.decode(records);
                let numbers = decoded.rows[ITEM_COLUMN].as_primitive::<Int32Type>();
                let members = numbers.values().iter().map(|item| vec![Item(*item)]).collect();
                (decoded, members, Vec::new())
            }
        };
        let form = form.map(|form| &mut self.forms[form]);
        let (form, items) = match form {
            Some(form) => (Some(form.name().to_owned()), form.places(records, &decoded.artefacts)),
            None => (None, Vec::new()),
        };
        Found { form, items, members, unnamed, decoded }
    }

    /// The forms whose conditions a record meets, or each part of it, though the first counts; `records` has no other.
    #[must_use]
    pub fn forms_that_take(&self, records: &RawRecords) -> Vec<Vec<&str>> {
        let taken: Vec<(&str, Taken)> = self.forms.iter().map(|form| (form.name(), form.takes(records, 0))).collect();
        let parts = taken.iter().map(|(_, taken)| if let Taken::Parts(parts) = taken { parts.len() } else { 1 });
        let takes = |taken: &Taken, part: usize| match taken {
            Taken::Whole(takes) => *takes,
            Taken::Parts(parts) => parts.get(part) == Some(&true),
            Taken::Nothing => false,
        };
        (0..parts.max().unwrap_or(0))
            .map(|part| taken.iter().filter(|(_, taken)| takes(taken, part)).map(|(name, _)| *name).collect())
            .collect()
    }

    /// Of which form a record is or, of a list, each of its items.
    fn forms_of(&self, records: &RawRecords, record: usize) -> Forms {
        let mut parts: Option<Vec<Option<usize>>> = None;
        let mut is_nothing = records.payload(record).is_none();
        for (index, form) in self.forms.iter().enumerate() {
            let open = parts.as_ref().is_none_or(|parts| parts.iter().any(Option::is_none));
            if !open {
                break;
            }
            match form.takes(records, record) {
                Taken::Whole(false) => {}
                Taken::Nothing => is_nothing = true,
                Taken::Whole(true) => match &mut parts {
                    // What the forms before have left.
                    Some(parts) if parts.iter().any(Option::is_some) => {
                        parts.iter_mut().filter(|part| part.is_none()).for_each(|part| *part = Some(index));
                    }
                    _ => return Forms::One(index),
                },
                Taken::Parts(taken) => {
                    let parts = parts.get_or_insert_with(|| vec![None; taken.len()]);
                    if parts.len() == taken.len() {
                        let open = parts.iter_mut().zip(taken).filter(|(part, _)| part.is_none());
                        open.filter(|(_, taken)| *taken).for_each(|(part, _)| *part = Some(index));
                    }
                }
            }
        }
        let Some(parts) = parts else { return if is_nothing { Forms::Nothing } else { Forms::None } };
        let Some(first) = parts.iter().flatten().next().copied() else { return Forms::None };
        if parts.iter().all(|part| *part == Some(first)) { Forms::One(first) } else { Forms::Each(parts) }
    }

    fn of_no_form(&self, records: &RawRecords, of: RowOf) -> Reject {
        let raw = records.payload(of.record).unwrap_or_default().to_vec();
        if raw.trim_ascii().is_empty() {
            return Reject { raw, ..records.reject(of, None, None, "the record is empty".to_owned()) };
        }
        let is_open = |form: &&FormDecoder| form.reads_topic(records.partition(of.record));
        let names = self.forms.iter().filter(is_open).map(|form| format!("\"{}\"", form.name()));
        let reason = format!("it meets the conditions of none of the forms: {}", names.collect::<Vec<_>>().join(", "));
        Reject { raw, ..records.reject(of, None, None, reason) }
    }

    /// What becomes of records of several forms, source by source, the first source first.
    fn decode_each_form(&mut self, records: &RawRecords) -> Vec<(usize, Decoded)> {
        let mut of_form: Vec<Vec<Own>> = self.forms.iter().map(|_| Vec::new()).collect();
        let (mut unknown, mut nothing) = (Vec::new(), 0);
        for record in 0..records.len() {
            match self.forms_of(records, record) {
                Forms::One(form) => of_form[form].push(Own { record, parts: None }),
                Forms::Each(forms) => {
                    for form in forms.iter().flatten().copied().collect::<BTreeSet<usize>>() {
                        let parts = forms.iter().map(|of| *of == Some(form)).collect();
                        of_form[form].push(Own { record, parts: Some(parts) });
                    }
                    for (item, _) in (0..).zip(&forms).filter(|(_, form)| form.is_none()) {
                        unknown.push(self.of_no_form(records, RowOf { record, item: Item(item) }));
                    }
                }
                Forms::Nothing => nothing += 1,
                Forms::None => unknown.push(self.of_no_form(records, RowOf { record, item: Item(0) })),
            }
        }
        let mut sources = Vec::new();
        for source in 0..self.frame.count() {
            let mut decoded = self.decode_source(source, &mut of_form, records);
            decoded.rejects.append(&mut unknown);
            decoded.ignored += std::mem::take(&mut nothing);
            decoded.rejects.sort_by_key(|reject| reject.place);
            // One of a record has its bytes, whichever form it is of.
            decoded.rejects.dedup_by(|later, first| {
                if (later.place.partition, later.place.offset) == (first.place.partition, first.place.offset) {
                    later.raw = Vec::new();
                }
                false
            });
            sources.push((source, decoded));
        }
        sources
    }

    /// What becomes of the records of one source's forms.
    fn decode_source(&mut self, source: usize, of_form: &mut [Vec<Own>], records: &RawRecords) -> Decoded {
        let (mut batches, mut order) = (Vec::new(), Vec::new());
        let (mut rejects, mut artefacts, mut encounters, mut ignored) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for (form, own) in self.forms.iter_mut().zip(of_form) {
            if own.is_empty() || form.source() != source {
                continue;
            }
            let mut raw = RawRecords::default();
            let places: Vec<usize> = own.iter().map(|own| own.record).collect();
            for Own { record, parts } in own.drain(..) {
                raw.push_from(records, record, self.headers.len());
                raw.take_parts(parts);
            }
            let FormRows { decoded, of, .. } = form.decode(&raw);
            rejects.extend(decoded.rejects);
            artefacts.extend(decoded.artefacts);
            ignored += decoded.ignored;
            if form.subject() == Subject::Encounters {
                encounters.extend(encounters::encounters(&decoded.rows, form.topics()));
                continue;
            }
            let batch = batches.len();
            order.extend(of.iter().enumerate().map(|(row, of)| ((places[of.record], of.item), (batch, row))));
            batches.push(decoded.rows);
        }
        // In the order of the records, whatever their forms.
        order.sort_by_key(|(place, _)| *place);
        artefacts.sort_by(|a: &Artefact, b| (a.place, &a.column).cmp(&(b.place, &b.column)));
        let rows: Vec<(usize, usize)> = order.into_iter().map(|(_, row)| row).collect();
        let rows = match &batches[..] {
            [] => RecordBatch::new_empty(Arc::clone(self.frame.schema_of(source))),
            _ => interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &rows)
                .unwrap_or_else(|error| panic!("all forms have the columns of their source: {error}")),
        };
        encounters.sort_by_key(|encounter: &EncounterRecord| encounter.place);
        Decoded { rows, rejects, artefacts, encounters, ignored }
    }
}
