//! Comma-separated values (RFC 4180): each line is an item.

use std::borrow::Cow;

use csv::{ReaderBuilder, StringRecord};

use wardwatch_config::CsvFormat;

use super::line::{Line, utf8};
use super::schema::Layout;

/// Reads lines by a header that the job names, or by the first line of each record.
#[derive(Debug)]
pub(super) struct CsvReader {
    builder: ReaderBuilder,
    header: Vec<String>,
    /// The column of the header that each place reads.
    names: Vec<String>,
}

impl CsvReader {
    pub(super) fn new(format: &CsvFormat, layout: &Layout) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(format.delimiter).quote(format.quote);
        let names = layout.searched().iter().map(|searched| searched.fields().join("."));
        Self { builder, header: format.header.clone(), names: names.collect() }
    }

    pub(super) fn read(&self, content: &[u8], take: &mut dyn FnMut(Line<'_>)) {
        let content = match utf8(content) {
            Ok(content) => content,
            Err(reason) => return take(Line::Fault(reason)),
        };
        let mut reader = self.builder.from_reader(content.as_bytes());
        let mut header = self.header.clone();
        let mut line = StringRecord::new();
        let mut places = self.places(&header);
        let mut has_lines = false;
        loop {
            match reader.read_record(&mut line) {
                Ok(false) if !has_lines => return take(Line::Nothing), // a header, and nothing below it
                Ok(false) => return,
                Ok(true) => {}
                Err(error) => return take(Line::Fault(format!("it is not valid CSV: {error}"))),
            }
            let is_header = line.iter().map(str::trim).eq(header.iter().map(String::as_str));
            if header.is_empty() {
                header = line.iter().map(|name| name.trim().to_owned()).collect();
                places = self.places(&header);
                if places.iter().all(Option::is_none) {
                    let named = header.join(", ");
                    return take(Line::Fault(format!(
                        "no column is read from its header ({named}); where no line has the names, say csv = {{ header = […] }}"
                    )));
                }
                continue;
            }
            has_lines = true;
            if is_header {
                take(Line::Nothing); // some producers send it with each file
            } else if line.len() != header.len() {
                take(Line::Fault(format!(
                    "the line has {} values, and the header {}: {}",
                    line.len(),
                    header.len(),
                    header.join(", ")
                )));
            } else {
                take(Line::Item(&|place: usize| line.get(places[place]?).map(Cow::Borrowed)));
            }
        }
    }

    fn places(&self, header: &[String]) -> Vec<Option<usize>> {
        self.names.iter().map(|name| header.iter().position(|column| column == name)).collect()
    }
}
