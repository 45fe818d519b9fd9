//! Comma-separated values (RFC 4180): each line is an item.

use std::borrow::Cow;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use wardwatch_config::CsvFormat;

use super::line::{Line, utf8};
use super::schema::Layout;
use super::text::quoted;

/// Reads lines by a header that the job names, or by the first line of each record.
#[derive(Debug)]
pub(super) struct CsvReader {
    /// At the beginning of a line; its table is made once, which costs more than to read one.
    reader: Reader,
    header: Vec<String>,
    quote: u8,
    /// The column of the header that each place reads.
    names: Vec<String>,
}

impl CsvReader {
    pub(super) fn new(format: &CsvFormat, layout: &Layout) -> Self {
        let reader = ReaderBuilder::new().delimiter(format.delimiter).quote(format.quote).build();
        let names = layout.searched().iter().map(|searched| searched.fields().join("."));
        Self { reader, header: format.header.clone(), quote: format.quote, names: names.collect() }
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
        let mut values = Values::of(self.reader.clone(), content.as_bytes());
        while values.next() {
            let line: Vec<&str> = values.all().collect();
            if reading.header.is_empty() {
                reading.header = line.iter().map(|name| (*name).to_owned()).collect();
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
            if line.iter().copied().eq(reading.header.iter().map(String::as_str)) {
                take(Line::Nothing); // some producers send it with each file
            } else if line.len() != reading.header.len() {
                take(Line::Fault(format!(
                    "the line has {} values, and the header {}: {}",
                    line.len(),
                    reading.header.len(),
                    reading.header.join(", ")
                )));
            } else {
                take(Line::Item(&|place: usize| line.get(reading.places[place]?).map(|value| Cow::Borrowed(*value))));
            }
        }
    }

    fn places(&self, header: &[String]) -> Vec<Option<usize>> {
        self.names.iter().map(|name| header.iter().position(|column| column == name)).collect()
    }
}

/// The values of one line after the other.
struct Values<'a> {
    reader: Reader,
    input: &'a [u8],
    output: Vec<u8>,
    ends: Vec<usize>,
    /// How many values the line has.
    count: usize,
}

impl<'a> Values<'a> {
    fn of(reader: Reader, input: &'a [u8]) -> Self {
        // No value is longer than the text that it stands in, and no line has more values than it has bytes, and one.
        Self { reader, input, output: vec![0; input.len()], ends: vec![0; input.len() + 1], count: 0 }
    }

    /// Reads the next line; `false` where there is none.
    fn next(&mut self) -> bool {
        let (mut written, mut count) = (0, 0);
        loop {
            let (output, ends) = (&mut self.output[written..], &mut self.ends[count..]);
            let (result, read, out, more) = self.reader.read_record(self.input, output, ends);
            self.input = &self.input[read..];
            (written, count) = (written + out, count + more);
            match result {
                ReadRecordResult::InputEmpty => {} // asked again, it knows that nothing follows
                ReadRecordResult::Record => {
                    self.count = count;
                    return true;
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull | ReadRecordResult::End => {
                    return false;
                }
            }
        }
    }

    /// The values of the line, without what is around them.
    fn all(&self) -> impl Iterator<Item = &str> {
        (0..self.count).map(|index| {
            let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
            std::str::from_utf8(&self.output[start..self.ends[index]]).unwrap_or_default().trim()
        })
    }
}

/// How far a record of CSV has been read.
struct Reading {
    header: Vec<String>,
    /// Where the header has what each place reads.
    places: Vec<Option<usize>>,
    has_lines: bool,
}
