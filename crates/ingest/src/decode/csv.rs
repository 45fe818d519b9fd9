//! Comma-separated values (RFC 4180): each line is an item.

use std::borrow::Cow;
use std::cell::RefCell;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use wardwatch_config::CsvFormat;

use super::line::{Line, utf8};
use super::schema::Layout;
use super::text::quoted;

/// Reads lines by a header that the job names, or by the first line of each record.
#[derive(Debug)]
pub(super) struct CsvReader {
    /// Its table is made once, which costs more than to read a line.
    values: RefCell<Values>,
    header: Vec<String>,
    quote: u8,
    /// The column of the header that each place reads.
    names: Vec<String>,
}

impl CsvReader {
    pub(super) fn new(format: &CsvFormat, layout: &Layout) -> Self {
        let reader = ReaderBuilder::new().delimiter(format.delimiter).quote(format.quote).build();
        let names = layout.searched().iter().map(|searched| searched.fields().join("."));
        let values = RefCell::new(Values { reader, output: Vec::new(), ends: Vec::new(), read: 0, count: 0 });
        Self { values, header: format.header.clone(), quote: format.quote, names: names.collect() }
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
        let mut values = self.values.borrow_mut();
        values.begin(content);
        while values.next(content) {
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

/// So much room is kept from record to record.
const KEPT: usize = 1 << 16;

/// The values of one line after the other.
#[derive(Debug)]
struct Values {
    /// Asked again and again: a copy of it has another table (csv-core 0.1.13 copies it in part).
    reader: Reader,
    output: Vec<u8>,
    ends: Vec<usize>,
    /// So many bytes of the content have been read.
    read: usize,
    /// How many values the line has.
    count: usize,
}

impl Values {
    /// Goes to the beginning of what is read.
    fn begin(&mut self, content: &str) {
        self.reader.reset();
        self.read = 0;
        // No line's values are longer than the text that it stands in. What one long record took is given back.
        self.output.truncate(KEPT);
        self.output.shrink_to(KEPT);
        self.output.resize(content.len() + 1, 0);
        self.ends.truncate(KEPT);
        self.ends.shrink_to(KEPT);
    }

    /// Reads the next line; `false` where there is none.
    fn next(&mut self, content: &str) -> bool {
        let (mut written, mut count) = (0, 0);
        loop {
            let (output, ends) = (&mut self.output[written..], &mut self.ends[count..]);
            let (result, read, out, more) = self.reader.read_record(&content.as_bytes()[self.read..], output, ends);
            self.read += read;
            (written, count) = (written + out, count + more);
            match result {
                ReadRecordResult::InputEmpty => {} // asked again, it knows that nothing follows
                ReadRecordResult::Record => {
                    self.count = count;
                    return true;
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * count + 16, 0),
                ReadRecordResult::OutputFull => self.output.resize(2 * written + 16, 0),
                ReadRecordResult::End => return false,
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
