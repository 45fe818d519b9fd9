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
    /// The header that the job names, and where it has what is read.
    header: Header,
    quote: u8,
    /// The column of the header that each place reads.
    names: Vec<String>,
}

impl CsvReader {
    pub(super) fn new(format: &CsvFormat, layout: &Layout) -> Self {
        let reader = ReaderBuilder::new().delimiter(format.delimiter).quote(format.quote).build();
        let names: Vec<String> = layout.searched().iter().map(|searched| searched.fields().join(".")).collect();
        let values = RefCell::new(Values { reader, output: Vec::new(), ends: Vec::new(), read: 0, count: 0 });
        Self { values, header: Header::new(format.header.clone(), &names), quote: format.quote, names }
    }

    pub(super) fn read(&self, content: &[u8], take: &mut dyn FnMut(Line<'_>)) {
        let content = match utf8(content) {
            Ok(content) => content,
            Err(reason) => return take(Line::Fault(reason)),
        };
        let mut reading = Reading { header: Cow::Borrowed(&self.header), has_lines: false };
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
        if content.trim().is_empty() {
            return take(Line::Fault("the record is empty".to_owned()));
        }
        if !reading.has_lines {
            take(Line::Nothing); // a header, and nothing below it
        }
    }

    fn read_lines<'r>(&'r self, content: &str, reading: &mut Reading<'r>, take: &mut dyn FnMut(Line<'_>)) {
        let mut values = self.values.borrow_mut();
        values.begin(content);
        while values.next(content) {
            if reading.header.columns.is_empty() {
                reading.header = Cow::Owned(Header::new(values.all().map(str::to_owned).collect(), &self.names));
                if let Some(twice) = reading.header.twice() {
                    let message = format!(
                        "two columns of its header are called \"{twice}\"; name all by csv = {{ header = […] }}"
                    );
                    reading.has_lines = true;
                    return take(Line::Fault(message));
                }
                if reading.header.places.iter().all(Option::is_none) {
                    reading.has_lines = true;
                    let named = reading.header.columns.join(", ");
                    let other = [";", "\t", "|"].into_iter().find(|sign| values.count == 1 && named.contains(sign));
                    let hint = match other {
                        Some(sign) => format!("is its delimiter {sign:?}? Say csv = {{ delimiter = {sign:?} }}"),
                        None => "where no line has the names, say csv = { header = […] }".to_owned(),
                    };
                    return take(Line::Fault(format!("no column is read from its header ({named}); {hint}")));
                }
                continue;
            }
            reading.has_lines = true;
            let Header { columns, places } = &*reading.header;
            if values.all().eq(columns.iter().map(String::as_str)) {
                take(Line::Nothing); // some producers send it with each file
            } else if values.count < columns.len() || values.has_more(columns.len()) {
                // A separator behind the last value says no more.
                take(Line::Fault(format!(
                    "the line has {} values, and the header {}: {}",
                    values.count,
                    columns.len(),
                    columns.join(", ")
                )));
            } else {
                take(Line::Item(&|place: usize| Some(Cow::Borrowed(values.get(places[place]?)))));
            }
        }
    }
}

/// The names of columns.
#[derive(Debug, Clone)]
struct Header {
    columns: Vec<String>,
    /// Where it has what each place reads.
    places: Vec<Option<usize>>,
}

impl Header {
    fn new(columns: Vec<String>, names: &[String]) -> Self {
        let places = names.iter().map(|name| columns.iter().position(|column| column == name)).collect();
        Self { columns, places }
    }

    /// A column that is read, and is there twice.
    fn twice(&self) -> Option<&str> {
        let read = self.places.iter().flatten().map(|place| self.columns[*place].as_str());
        read.into_iter().find(|name| self.columns.iter().filter(|column| column == name).count() > 1)
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

    /// Whether something stands behind so many values.
    fn has_more(&self, count: usize) -> bool {
        (count..self.count).any(|index| !self.get(index).is_empty())
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

    /// The values of the line.
    fn all(&self) -> impl Iterator<Item = &str> {
        (0..self.count).map(|index| self.get(index))
    }

    /// A value of the line, without what is around it.
    fn get(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        std::str::from_utf8(&self.output[start..self.ends[index]]).unwrap_or_default().trim()
    }
}

/// How far a record of CSV has been read.
struct Reading<'r> {
    header: Cow<'r, Header>,
    has_lines: bool,
}
