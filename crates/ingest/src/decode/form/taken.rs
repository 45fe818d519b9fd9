//! Which records are of a form: its topics, and its conditions on each part.

use std::borrow::Cow;

use bumpalo::Bump;

use wardwatch_config::{Format, SourcePath};
use wardwatch_model::terms::Partition;

use super::super::hl7;
use super::super::items::{Part, outer_text, parts_of, text_of};
use super::super::raw::RawRecords;
use super::super::text::value_text;
use super::super::unwrap::Unwrapped;
use super::{FormDecoder, Taken};

impl FormDecoder {
    /// Whether records of this partition may be of the form: it is of its source's topics.
    pub(in super::super) fn reads_topic(&self, partition: Partition) -> bool {
        self.own_topics.as_ref().is_none_or(|own| own.has(partition, &self.topics))
    }

    /// Which parts of a record meet the form's conditions, of those that are `open`: as many as the record has, or one where it is taken
    /// as a whole.
    pub(in super::super) fn takes(&self, records: &RawRecords, record: usize) -> Taken {
        if !self.reads_topic(records.partition(record)) {
            return Taken::Whole(false);
        }
        let beside = |path: &SourcePath| self.text_beside(path, record, records).ok().flatten().map(Cow::into_owned);
        let is_of_value = self
            .form
            .when
            .iter()
            .flat_map(|condition| &condition.fields)
            .flat_map(SourcePath::places)
            .any(|path| path.beside().is_none());
        if !is_of_value {
            return Taken::Whole(self.is_met(&mut |path| beside(path)));
        }
        let arena = Bump::new();
        let opened = self.wrapping.open(records.payload(record), &arena);
        let (content, around) = match opened {
            Unwrapped::Content { content, around } => (content, around),
            Unwrapped::Nothing => return Taken::Nothing,
            Unwrapped::Fault(_) => return Taken::Whole(false),
        };
        if matches!(self.form.format, Format::Hl7v2) {
            let headers = hl7::headers(content);
            let is_met = |header: &String| {
                self.is_met(&mut |path| match path.beside() {
                    Some(_) => beside(path),
                    None => hl7::text_of_header(header, path),
                })
            };
            return match &headers[..] {
                [] => Taken::Whole(false),
                [header] => Taken::Whole(is_met(header)),
                several => Taken::Parts(several.iter().map(is_met).collect()),
            };
        }
        let parts = parts_of(content).into_iter().map(|part| match part {
            Part::Other => false,
            Part::Object(root) => self.is_met(&mut |path| match path.beside() {
                Some(_) => beside(path),
                None => text_of(&root, path).or_else(|| around.iter().rev().find_map(|outer| outer_text(outer, path))),
            }),
        });
        Taken::Parts(parts.collect())
    }

    /// Whether all conditions are met by the texts of places.
    fn is_met(&self, text: &mut dyn FnMut(&SourcePath) -> Option<String>) -> bool {
        self.form.when.iter().all(|condition| {
            let found = condition.fields.iter().find_map(|path| {
                let found = match path {
                    SourcePath::Template(template) => template.fill(text),
                    path => text(path),
                };
                found.filter(|found| value_text(found).is_some())
            });
            condition.is_met(found.as_deref().and_then(value_text))
        })
    }
}
