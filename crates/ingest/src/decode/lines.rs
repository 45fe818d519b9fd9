//! Records of lines and segments: what is no tree, and has texts only.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringViewBuilder};
use bumpalo::Bump;
use std::collections::BTreeMap;
use std::sync::Arc;

use wardwatch_config::{Form, Format, Subject};
use wardwatch_model::record::Item;

use super::csv::CsvReader;
use super::hl7::{Hl7Reader, Items};
use super::line::Line;
use super::parsed::{Parsed, RowOf};
use super::pattern::PatternReader;
use super::raw::RawRecords;
use super::schema::Layout;
use super::unwrap::{Unwrapped, Wrapping};

/// Takes records of lines apart.
#[derive(Debug)]
pub(super) struct LineReader {
    format: LineFormat,
    wrapping: Wrapping,
}

#[derive(Debug)]
enum LineFormat {
    Csv(Box<CsvReader>),
    Hl7(Hl7Reader),
    Pattern(PatternReader),
}

impl LineReader {
    /// `None` where the form's records are JSON.
    pub(super) fn of(form: &Form, layout: &Layout, wrapping: &Wrapping) -> Option<Self> {
        let format = match &form.format {
            Format::Json | Format::Avro(_) | Format::Protobuf { .. } => return None,
            Format::Csv(csv) => LineFormat::Csv(Box::new(CsvReader::new(csv, layout))),
            Format::Hl7v2 => {
                let items = match form.subject {
                    Subject::Readings => Items::Observations,
                    Subject::Encounters => Items::Patients,
                };
                LineFormat::Hl7(Hl7Reader::new(layout, items))
            }
            Format::Text(pattern) => LineFormat::Pattern(PatternReader::new(pattern, layout)),
        };
        Some(Self { format, wrapping: wrapping.clone() })
    }

    pub(super) fn parse(&mut self, records: &RawRecords, layout: &Layout) -> Parsed {
        let count = layout.searched().len();
        let mut columns: Vec<StringViewBuilder> = (0..count).map(|_| StringViewBuilder::new()).collect();
        let (mut rows, mut rejects, mut ignored) = (Vec::new(), Vec::new(), 0);
        for record in 0..records.len() {
            let mut of = RowOf { record, item: Item(0) };
            let mut has_told = false;
            let mut take = |line: Line<'_>| {
                has_told = true;
                match line {
                    Line::Item(text) => {
                        rows.push(of);
                        columns.iter_mut().enumerate().for_each(|(place, column)| column.append_option(text(place)));
                    }
                    Line::Fault(reason) => rejects.push((of, reason)),
                    Line::Other => {}
                    Line::Nothing => {
                        ignored += 1;
                        return;
                    }
                }
                of.item.0 += 1;
            };
            let arena = Bump::new();
            let content = match self.wrapping.open(records.payload(record), &arena) {
                Unwrapped::Content { content, .. } if content.trim_ascii().is_empty() => {
                    take(Line::Fault("the record is empty".to_owned()));
                    continue;
                }
                Unwrapped::Content { content, .. } => content,
                Unwrapped::Nothing => {
                    take(Line::Nothing);
                    continue;
                }
                Unwrapped::Fault(reason) => {
                    take(Line::Fault(reason));
                    continue;
                }
            };
            match &self.format {
                LineFormat::Csv(csv) => csv.read(content, &mut take),
                LineFormat::Hl7(hl7) => hl7.read(content, records.parts(record), &mut take),
                LineFormat::Pattern(pattern) => pattern.read(content, &mut take),
            }
            if !has_told {
                // A byte order mark, say, and nothing behind it.
                rejects.push((of, "the record is empty".to_owned()));
            }
        }
        let columns = columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(layout.parsed().clone(), columns, &options)
            .unwrap_or_else(|error| panic!("a column for each place, texts all of them: {error}"));
        Parsed { batch, rows, rejects, ignored, misread: BTreeMap::new(), texts: None }
    }
}
