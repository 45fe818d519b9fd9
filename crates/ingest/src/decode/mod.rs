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
mod form;
mod hl7;
mod items;
mod join;
mod json;
mod line;
mod lines;
mod number;
mod parsed;
mod pattern;
mod protobuf;
pub(crate) mod raw;
mod scan;
mod schema;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod tree;
mod unwrap;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;

use wardwatch_config::SourceSpec;
use wardwatch_model::record::Item;

use crate::schemas::Schemas;
use form::{FormDecoder, FormRows};
use parsed::RowOf;

pub use decoded::{Decoded, Found, FoundItem};
pub use form::{MOST_KEY_CHARS, ZONE_HINT};
pub use raw::{CHUNK, RawRecord, RawRecords};
pub use schema::frame_schema;
pub use unwrap::base64 as from_base64;

/// The schema registries of a job's forms, by their URLs; nobody has been asked for anything.
#[must_use]
pub fn registries(spec: &SourceSpec) -> BTreeMap<String, Schemas> {
    let urls = spec.forms.iter().filter_map(|form| form.format.registry());
    urls.map(|url| (url.to_owned(), Schemas::of_registry(url))).collect()
}

/// Decodes the records of one job's topic.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    /// The headers that columns are read from.
    headers: Vec<String>,
    forms: Vec<FormDecoder>,
}

impl Decoder {
    /// A decoder for records as `spec` declares them.
    #[must_use]
    pub fn new(spec: &SourceSpec) -> Self {
        Self::sharing(spec, &registries(spec))
    }

    /// The same with what is known of schema registries, by their URLs.
    #[must_use]
    pub fn sharing(spec: &SourceSpec, registries: &BTreeMap<String, Schemas>) -> Self {
        let forms = spec.forms.iter().map(|form| {
            let schemas = form.format.registry().and_then(|url| registries.get(url));
            FormDecoder::new(spec, form, schemas)
        });
        Self { headers: spec.headers(), schema: frame_schema(&spec.columns), forms: forms.collect() }
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

    /// The schema of the rows.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Decodes at most [`CHUNK`] records.
    pub fn decode(&mut self, records: &RawRecords) -> Decoded {
        debug_assert!(records.len() <= CHUNK, "so many are decoded at once");
        if let [form] = &mut self.forms[..]
            && form.takes_all()
        {
            return form.decode(records).decoded;
        }
        self.decode_each_form(records)
    }

    /// What becomes of one record, and where each of its values stood; `records` has no other.
    pub fn explain(&mut self, records: &RawRecords) -> Found {
        let Some(form) = self.forms.iter_mut().find(|form| form.takes(records, 0)) else {
            return Found { form: None, items: Vec::new(), members: Vec::new(), decoded: self.decode(records) };
        };
        let items = form.places(records);
        let FormRows { decoded, of, members } = form.decode(records);
        let members = members.unwrap_or_else(|| of.iter().map(|of| vec![of.item]).collect());
        Found { form: Some(form.name().to_owned()), items, members, decoded }
    }

    fn decode_each_form(&mut self, records: &RawRecords) -> Decoded {
        let mut of_form: Vec<(Vec<usize>, RawRecords)> = self.forms.iter().map(|_| Default::default()).collect();
        let mut rejects = Vec::new();
        for record in 0..records.len() {
            match self.forms.iter().position(|form| form.takes(records, record)) {
                Some(form) => {
                    let (places, own) = &mut of_form[form];
                    places.push(record);
                    own.push_from(records, record, self.headers.len());
                }
                None => {
                    let names: Vec<String> = self.forms.iter().map(|form| format!("\"{}\"", form.name())).collect();
                    let reason = format!("it meets the conditions of none of the forms: {}", names.join(", "));
                    rejects.push(records.reject(RowOf { record, item: Item(0) }, None, None, reason));
                }
            }
        }
        let (mut batches, mut order) = (Vec::new(), Vec::new());
        let (mut artefacts, mut ignored) = (Vec::new(), 0);
        for (form, (places, own)) in self.forms.iter_mut().zip(&of_form) {
            if own.is_empty() {
                continue;
            }
            let FormRows { decoded, of, .. } = form.decode(own);
            let batch = batches.len();
            order.extend(of.iter().enumerate().map(|(row, of)| ((places[of.record], of.item), (batch, row))));
            batches.push(decoded.rows);
            rejects.extend(decoded.rejects);
            artefacts.extend(decoded.artefacts);
            ignored += decoded.ignored;
        }
        // In the order of the records, whatever their forms.
        order.sort_by_key(|(place, _)| *place);
        rejects.sort_by_key(|reject| reject.place);
        artefacts.sort_by(|a, b| (a.place, &a.column).cmp(&(b.place, &b.column)));
        let rows: Vec<(usize, usize)> = order.into_iter().map(|(_, row)| row).collect();
        let rows = match &batches[..] {
            [] => RecordBatch::new_empty(Arc::clone(&self.schema)),
            _ => interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &rows)
                .unwrap_or_else(|error| panic!("all forms have the columns of the frame: {error}")),
        };
        Decoded { rows, rejects, artefacts, ignored }
    }
}
