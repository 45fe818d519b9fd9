//! HL7 version 2, in its encoding with bars: each OBX segment is an item, with the segments before it that it belongs to.
//!
//! Source: HL7 v2.5.1, chapters 2 (encoding, 2.5 and 2.7; time zones, 2.A.22) and 7 (ORU^R01, OBX).

use std::borrow::Cow;
use std::collections::BTreeMap;

use hl7_parser::Message;
use hl7_parser::message::{Segment, Separators};

use super::line::Line;
use super::schema::Layout;

/// Reads observations.
#[derive(Debug)]
pub(super) struct Hl7Reader {
    places: Vec<Place>,
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
    pub(super) fn new(layout: &Layout) -> Self {
        let place = |fields: &[String], is_time: bool| {
            let (segment, numbers) = fields.split_first().map_or((String::new(), &[][..]), |(s, n)| (s.clone(), n));
            Place { segment, numbers: numbers.iter().filter_map(|number| number.parse().ok()).collect(), is_time }
        };
        let places = layout.searched().iter().map(|searched| place(searched.fields(), searched.is_time)).collect();
        Self { places }
    }

    pub(super) fn read(&self, content: &[u8], take: &mut dyn FnMut(Line<'_>)) {
        let text = match text_of(content) {
            Ok(text) => text,
            Err(reason) => return take(Line::Fault(reason)),
        };
        for message in messages(&text) {
            match Message::parse_with_lenient_newlines(message, true) {
                Ok(message) => self.observations(&message, take),
                Err(error) => take(Line::Fault(format!("it is not valid HL7 v2: {error}"))),
            }
        }
    }

    fn observations(&self, message: &Message<'_>, take: &mut dyn FnMut(Line<'_>)) {
        let zone = message.segment("MSH").and_then(|msh| msh.field(7)).and_then(|time| zone_of(time.raw_value()));
        let mut before: BTreeMap<&str, &Segment<'_>> = BTreeMap::new();
        let mut has_any = false;
        for segment in message.segments() {
            match segment.name {
                // Another patient, or another group of observations: what was said of the one before is over.
                "PID" => before.retain(|name, _| *name == "MSH"),
                "OBR" => before.retain(|name, _| !matches!(*name, "OBX" | "NTE" | "OBR")),
                _ => {}
            }
            before.insert(segment.name, segment);
            if segment.name == "OBX" {
                has_any = true;
                take(Line::Item(&|place: usize| self.places[place].text(&before, &message.separators, zone)));
            }
        }
        if !has_any {
            take(Line::Nothing);
        }
    }
}

impl Place {
    fn text<'m>(
        &self,
        segments: &BTreeMap<&str, &'m Segment<'_>>,
        separators: &Separators,
        zone: Option<&str>,
    ) -> Option<Cow<'m, str>> {
        let (field, inside) = self.numbers.split_first()?;
        let field = segments.get(self.segment.as_str())?.field(*field)?;
        // Of repetitions the first counts.
        let raw = match inside {
            [] => field.repeat(1).map_or_else(|| field.raw_value(), |first| first.raw_value()),
            [component] => field.repeat(1)?.component(*component)?.raw_value(),
            [component, sub, ..] => field.repeat(1)?.component(*component)?.subcomponent(*sub)?.raw_value(),
        };
        // Two quotes delete what was known: no value.
        if raw.is_empty() || raw == "\"\"" {
            return None;
        }
        let text = match raw.contains(separators.escape) {
            true => Cow::Owned(separators.decode(raw).to_string()),
            false => Cow::Borrowed(raw),
        };
        match zone.filter(|_| self.is_time && has_time(&text) && zone_of(&text).is_none()) {
            Some(zone) => Some(Cow::Owned(format!("{text}{zone}"))),
            None => Some(text),
        }
    }
}

/// The text of a record, without the frame of MLLP, in the character set that it names.
fn text_of(content: &[u8]) -> Result<Cow<'_, str>, String> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content).trim_ascii();
    let content = content.strip_prefix(b"\x0b").unwrap_or(content);
    let content = content.strip_suffix(b"\x1c").unwrap_or(content).trim_ascii();
    if !content.starts_with(b"MSH") {
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
    let header = content.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let bar = *header.get(3)?;
    // MSH-1 is the bar itself.
    header.split(|byte| *byte == bar).nth(17)
}

/// The messages of a text, which begin with MSH each.
fn messages(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.match_indices("MSH").map(|(at, _)| at);
    let starts: Vec<usize> =
        starts.filter(|at| *at == 0 || matches!(text.as_bytes()[at - 1], b'\r' | b'\n' | 0x0b)).collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([text.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| text[start..end].trim_matches(['\u{b}', '\u{1c}', '\n', '\r']))
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
