//! HL7 version 2, in its encoding with bars: each OBX segment is an item, with the segments before it that it belongs to.
//!
//! Source: HL7 v2.5.1, chapters 2 (encoding, 2.5 and 2.7; time zones, 2.A.22) and 7 (ORU^R01, OBX).

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;

use hl7_parser::message::{Field, Segment, Separators};
use hl7_parser::parser::{parse_msh, parse_segment_with_separators};

use wardwatch_config::SourcePath;

use super::line::Line;
use super::schema::{Layout, Searched};
use super::text::shortened;

/// Reads observations.
#[derive(Debug)]
pub(super) struct Hl7Reader {
    places: Vec<Place>,
    items: Items,
}

/// What of a message becomes an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    /// Each observation.
    Observations,
    /// Each patient that is spoken of.
    Patients,
}

/// A field of a segment, or a component of one.
#[derive(Debug)]
struct Place {
    segment: String,
    /// Field, component, subcomponent, counted from 1.
    numbers: Vec<usize>,
    is_time: bool,
}

impl Hl7Reader {
    pub(super) fn new(layout: &Layout, items: Items) -> Self {
        let place = |searched: &Searched| Place::of(searched.fields(), searched.is_time);
        Self { places: layout.searched().iter().map(place).collect(), items }
    }

    /// `parts` tells which messages count, if not all do.
    pub(super) fn read(&self, content: &[u8], parts: Option<&[bool]>, take: &mut dyn FnMut(Line<'_>)) {
        let text = match text_of(content) {
            Ok(text) => text,
            Err(reason) => return take(Line::Fault(reason)),
        };
        let mut message = None;
        let mut has_any = false;
        let mut is_faulty = false;
        let (mut number, is_own) = (0, Cell::new(true));
        // What others read is counted, so that each item of a record has a number of its own.
        let take = &mut |line: Line<'_>| take(if is_own.get() { line } else { Line::Other });
        for line in text.split(['\r', '\n']).map(|line| line.trim_matches(FRAME)).filter(|line| !line.trim().is_empty())
        {
            // What stands around several messages says nothing of any.
            if ["FHS", "BHS", "BTS", "FTS"].iter().any(|name| line.starts_with(name)) {
                continue;
            }
            if line.starts_with("MSH") {
                has_any |= self.take_patient(message.as_ref(), take);
                is_own.set(parts.is_none_or(|parts| parts.get(number) == Some(&true)));
                number += 1;
                message = match parse_msh(line) {
                    Ok((separators, segment)) => Some(Read::new(separators, segment)),
                    Err(error) => {
                        is_faulty = true;
                        take(Line::Fault(format!("its MSH is not valid HL7 v2: {error}")));
                        None
                    }
                };
                continue;
            }
            let Some(read) = &mut message else { continue };
            match parse_segment_with_separators(line, read.separators) {
                Ok(segment) if is_segment(line, read.separators.field) => {
                    if segment.name == "PID" {
                        has_any |= self.take_patient(Some(read), take);
                    }
                    if read.note(segment) && self.items == Items::Observations {
                        has_any = true;
                        take(Line::Item(&|place: usize| self.places[place].text(read)));
                    }
                }
                _ => {
                    is_faulty = true;
                    take(Line::Fault(format!("a line is no segment of HL7 v2: \"{}\"", shortened(line))));
                }
            }
        }
        has_any |= self.take_patient(message.as_ref(), take);
        if !has_any && !is_faulty {
            is_own.set(true);
            take(Line::Nothing);
        }
    }

    /// Takes the patient of whom a message has spoken so far, if these are wanted and there is one.
    fn take_patient(&self, read: Option<&Read<'_>>, take: &mut dyn FnMut(Line<'_>)) -> bool {
        let of_patients = read.filter(|_| self.items == Items::Patients);
        let Some(read) = of_patients.filter(|read| read.segments.contains_key("PID")) else { return false };
        take(Line::Item(&|place: usize| self.places[place].text(read)));
        true
    }
}

/// The MSH of each message of a record, by which forms are told apart.
pub(super) fn headers(content: &[u8]) -> Vec<String> {
    let Ok(text) = text_of(content) else { return Vec::new() };
    let lines = text.split(['\r', '\n']).map(|line| line.trim_matches(FRAME));
    lines.filter(|line| line.starts_with("MSH")).map(str::to_owned).collect()
}

/// The text at a place of an MSH.
pub(super) fn text_of_header(header: &str, path: &SourcePath) -> Option<String> {
    let SourcePath::Fields(names) = path else { return None };
    let (separators, segment) = parse_msh(header).ok()?;
    Place::of(names, false).text(&Read::new(separators, segment)).map(Cow::into_owned)
}

/// What stands around messages: MLLP's frame, and what pads.
const FRAME: [char; 4] = ['\u{b}', '\u{1c}', '\0', ' '];

/// A message as far as it has been read: the newest segment of each name.
struct Read<'m> {
    separators: Separators,
    zone: Option<String>,
    segments: BTreeMap<&'m str, Segment<'m>>,
}

impl<'m> Read<'m> {
    fn new(separators: Separators, msh: Segment<'m>) -> Self {
        let zone = msh.field(7).and_then(|time| zone_of(time.raw_value())).map(str::to_owned);
        Self { separators, zone, segments: BTreeMap::from([("MSH", msh)]) }
    }

    /// Whether the segment is an observation.
    fn note(&mut self, segment: Segment<'m>) -> bool {
        match segment.name {
            // Another patient, or another group of observations: what was said of the one before is over.
            "PID" => self.segments.retain(|name, _| matches!(*name, "MSH" | "EVN")),
            "OBR" => self.segments.retain(|name, _| !matches!(*name, "OBX" | "NTE" | "OBR")),
            _ => {}
        }
        let name = segment.name;
        self.segments.insert(name, segment);
        name == "OBX"
    }
}

/// Whether a line is a segment: three letters or digits, and a bar.
fn is_segment(line: &str, bar: char) -> bool {
    let is_name =
        line.get(..3).is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
    is_name && (line.len() == 3 || line[3..].starts_with(bar))
}

impl Place {
    fn of(fields: &[String], is_time: bool) -> Self {
        let (segment, numbers) = fields.split_first().map_or((String::new(), &[][..]), |(s, n)| (s.clone(), n));
        Self { segment, numbers: numbers.iter().filter_map(|number| number.parse().ok()).collect(), is_time }
    }

    fn text<'m>(&self, read: &Read<'m>) -> Option<Cow<'m, str>> {
        let Read { separators, zone, segments } = read;
        let (number, inside) = self.numbers.split_first()?;
        let segment = segments.get(self.segment.as_str())?;
        let field = segment.field(*number)?;
        // Of repetitions the first counts, but where the field is the value: two are no value.
        let raw = match inside {
            [] if field.has_repeats() => field.raw_value(),
            [] if self.segment == "OBX" && *number == 5 => value_of(segment, field, separators),
            [] => field.raw_value(),
            [component] => field.repeat(1)?.component(*component)?.raw_value(),
            [component, sub, ..] => field.repeat(1)?.component(*component)?.subcomponent(*sub)?.raw_value(),
        };
        // Two quotes delete what was known: no value.
        if raw.is_empty() || raw == "\"\"" {
            return None;
        }
        let text = match raw.contains(separators.escape) {
            true => Cow::Owned(unescaped(raw, separators)),
            false => Cow::Borrowed(raw),
        };
        // A time may tell the hour alone (2.A.22); elsewhere ten digits are seconds since 1970.
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let text = match self.is_time && digits == 10 {
            true => Cow::Owned(format!("{}00{}", &text[..digits], &text[digits..])),
            false => text,
        };
        let names_none = |text: &str| zone_of(text).is_none() && !text.ends_with(['Z', 'z']);
        match zone.as_deref().filter(|_| self.is_time && has_time(&text) && names_none(&text)) {
            Some(zone) => Some(Cow::Owned(format!("{text}{zone}"))),
            None => Some(text),
        }
    }
}

/// The value of an observation. A structured number (SN) without a comparator, or with "=", and without a second one is its number;
/// a coded one (CWE, CE) is its code, or its text where it has none.
fn value_of<'m>(segment: &Segment<'m>, field: &Field<'m>, separators: &Separators) -> &'m str {
    let raw = field.raw_value();
    let of_type = segment.field(2).map_or("", Field::raw_value);
    let is_structured = of_type == "SN";
    let mut parts = raw.split(separators.component);
    if matches!(of_type, "CWE" | "CE" | "CNE" | "CF") {
        return parts.find(|part| !part.is_empty()).unwrap_or(raw);
    }
    match (is_structured, parts.next(), parts.next(), parts.next()) {
        (true, Some("" | "="), Some(number), None | Some("")) => number,
        _ => raw,
    }
}

/// A text with its escapes replaced (chapter 2.7): separators, lines, bytes; what highlights says nothing.
fn unescaped(raw: &str, separators: &Separators) -> String {
    let mut text = String::new();
    let mut rest = raw;
    while let Some((before, behind)) = rest.split_once(separators.escape) {
        text.push_str(before);
        let Some((code, behind)) = behind.split_once(separators.escape) else {
            text.push(separators.escape);
            rest = behind;
            break;
        };
        rest = behind;
        match code {
            "F" => text.push(separators.field),
            "S" => text.push(separators.component),
            "T" => text.push(separators.subcomponent),
            "R" => text.push(separators.repetition),
            "E" => text.push(separators.escape),
            "H" | "N" => {}
            ".br" | ".sp" => text.push('\n'),
            _ => match code.strip_prefix('X').and_then(bytes_of) {
                Some(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
                None => {
                    text.push(separators.escape);
                    text.push_str(code);
                    text.push(separators.escape);
                }
            },
        }
    }
    text.push_str(rest);
    text
}

/// The bytes that hexadecimal digits write.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let is_hex =
        digits.len().is_multiple_of(2) && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    is_hex.then(|| (0..digits.len()).step_by(2).map(byte).collect()).flatten()
}

/// The text of a record, without the frame of MLLP, in the character set that it names.
fn text_of(content: &[u8]) -> Result<Cow<'_, str>, String> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content).trim_ascii();
    let content = content.strip_prefix(b"\x0b").unwrap_or(content);
    let content = content.strip_suffix(b"\x1c").unwrap_or(content).trim_ascii();
    if ![b"MSH", b"FHS", b"BHS"].iter().any(|name| content.starts_with(*name)) {
        return Err("it is not HL7 v2: it does not begin with \"MSH\"".to_owned());
    }
    match std::str::from_utf8(content) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        // ISO 8859-1 has the characters of Unicode below 256 in their places.
        Err(_) if charset(content) == Some(b"8859/1") => Ok(content.iter().map(|byte| char::from(*byte)).collect()),
        Err(error) => {
            Err(format!("it is not valid UTF-8 from byte {} on, and MSH-18 names no other", error.valid_up_to()))
        }
    }
}

/// What the message says of its characters in MSH-18.
fn charset(content: &[u8]) -> Option<&[u8]> {
    let header = content.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| line.starts_with(b"MSH"))?;
    let bar = *header.get(3)?;
    // MSH-1 is the bar itself.
    header.split(|byte| *byte == bar).nth(17)
}

/// Whether a time tells more than the day.
fn has_time(text: &str) -> bool {
    text.bytes().take_while(u8::is_ascii_digit).count() >= 10
}

/// The zone at the end of a time: `+0100`.
fn zone_of(text: &str) -> Option<&str> {
    let at = text.find(['+', '-'])?;
    Some(&text[at..]).filter(|zone| zone.len() == 5 && zone[1..].bytes().all(|byte| byte.is_ascii_digit()))
}
