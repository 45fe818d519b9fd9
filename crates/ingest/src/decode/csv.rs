//! Comma-separated values (RFC 4180): each line is an item.

use std::borrow::Cow;

use csv::{ReaderBuilder, StringRecord, Trim};

use wardwatch_config::CsvFormat;

use super::line::{Line, utf8};
use super::schema::Layout;
use super::text::quoted;

/// Reads lines by a header that the job names, or by the first line of each record.
#[derive(Debug)]
pub(super) struct CsvReader {
    builder: ReaderBuilder,
    header: Vec<String>,
    quote: u8,
    /// The column of the header that each place reads.
    names: Vec<String>,
}

impl CsvReader {
    pub(super) fn new(format: &CsvFormat, layout: &Layout) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).trim(Trim::All).delimiter(format.delimiter).quote(format.quote);
        let names = layout.searched().iter().map(|searched| searched.fields().join("."));
        Self { builder, header: format.header.clone(), quote: format.quote, names: names.collect() }
    }

    pub(super) fn read(&self, content: &[u8], take: &mut dyn FnMut(Line<'_>)) {
        let content = match utf8(content) {
            Ok(content) => content,
            Err(reason) => return take(Line::Fault(reason)),
        };
        let mut reading = Reading { places: self.places(&self.header), header: self.header.clone(), has_lines: false };
        let quote = char::from(self.quote);
        if !content.contains(quote) {
            self.read_lines(content, &mut reading, take);
        } else {
            // A quote that is not closed would take the lines behind it for a part of its value, so no value spans lines.
            let mut whole = String::new();
            for line in content.split_inclusive('\n') {
                if line.matches(quote).count().is_multiple_of(2) {
                    whole.push_str(line);
                    continue;
                }
                self.read_lines(&std::mem::take(&mut whole), &mut reading, take);
                reading.has_lines = true;
                take(Line::Fault(format!("a quote is not closed in the line {}", quoted(line.trim_end()))));
            }
            self.read_lines(&whole, &mut reading, take);
        }
        if !reading.has_lines {
            take(Line::Nothing); // a header, and nothing below it
        }
    }

    fn read_lines(&self, content: &str, reading: &mut Reading, take: &mut dyn FnMut(Line<'_>)) {
        let mut reader = self.builder.from_reader(content.as_bytes());
        let mut line = StringRecord::new();
        loop {
            match reader.read_record(&mut line) {
                Ok(false) => return,
                Ok(true) => {}
                Err(error) => {
                    reading.has_lines = true;
                    return take(Line::Fault(format!("it is not valid CSV: {error}")));
                }
            }
            if reading.header.is_empty() {
                reading.header = line.iter().map(str::to_owned).collect();
                reading.places = self.places(&reading.header);
                if reading.places.iter().all(Option::is_none) {
                    reading.has_lines = true;
                    let named = reading.header.join(", ");
                    return take(Line::Fault(format!(
                        "no column is read from its header ({named}); where no line has the names, say csv = {{ header = […] }}"
                    )));
                }
                continue;
            }
            reading.has_lines = true;
            if line.iter().eq(reading.header.iter().map(String::as_str)) {
                take(Line::Nothing); // some producers send it with each file
            } else if line.len() != reading.header.len() {
                take(Line::Fault(format!(
                    "the line has {} values, and the header {}: {}",
                    line.len(),
                    reading.header.len(),
                    reading.header.join(", ")
                )));
            } else {
                take(Line::Item(&|place: usize| line.get(reading.places[place]?).map(Cow::Borrowed)));
            }
        }
    }

    fn places(&self, header: &[String]) -> Vec<Option<usize>> {
        self.names.iter().map(|name| header.iter().position(|column| column == name)).collect()
    }
}

/// How far a record of CSV has been read.
struct Reading {
    header: Vec<String>,
    /// Where the header has what each place reads.
    places: Vec<Option<usize>>,
    has_lines: bool,
}
