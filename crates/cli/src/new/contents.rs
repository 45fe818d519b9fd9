//! What sample records are in: what is taken off them first, their format, and the objects that they hold.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use wardwatch_config::{SourcePath, Unwrap};
use wardwatch_ingest::decode::{Peeled, peeled};

use super::leaves::Place;
use super::names::{PATIENTS, TIMES, normal, quoted};
use super::vitals::named;

/// What lines of CSV are separated by.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// What records hold.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// What is taken off first, as the job file says it.
    pub(super) unwrap: Vec<String>,
    pub(super) format: Written,
    pub(super) objects: Vec<Json>,
    /// What stands around them, without what it stands around.
    pub(super) around: Vec<Json>,
    /// How many records are HL7 v2 where most are not, and how many are not where most are.
    pub(super) hl7: usize,
    pub(super) others: usize,
}

/// How records are written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Written {
    #[default]
    Json,
    Csv {
        delimiter: char,
        /// The names, where not every record begins with them.
        header: Option<Vec<String>>,
    },
    /// With the kinds of its messages, MSH-9.1.
    Hl7v2(BTreeSet<String>),
}

impl Contents {
    pub(super) fn of(payloads: &[&[u8]]) -> Self {
        let mut contents = Self::default();
        let mut texts = Vec::new();
        for payload in payloads {
            let Peeled { steps, content, around } = peeled(payload);
            contents.unwrap = merged(&contents.unwrap, steps.iter().map(written).collect());
            contents.around.extend(around.iter().filter_map(|object| own_fields(object)));
            texts.push(content);
        }
        texts.retain(|text| !text.trim_ascii().is_empty());
        let of_hl7: Vec<Vec<String>> = texts.iter().map(|text| kinds_of_hl7(text)).collect();
        let (hl7, all) = (of_hl7.iter().filter(|kinds| !kinds.is_empty()).count(), texts.len());
        if 2 * hl7 > all {
            contents.format = Written::Hl7v2(of_hl7.into_iter().flatten().collect());
            contents.others = all - hl7;
            return contents;
        }
        contents.hl7 = hl7;
        for text in &texts {
            for value in serde_json::Deserializer::from_slice(text).into_iter::<Json>().map_while(Result::ok) {
                match value {
                    Json::Array(items) => contents.objects.extend(items.into_iter().filter(Json::is_object)),
                    Json::Object(_) => contents.objects.push(value),
                    _ => {}
                }
            }
        }
        if contents.objects.is_empty() {
            contents.read_csv(&texts);
        }
        contents
    }

    /// Reads lines below a line of names, if that is what there is.
    fn read_csv(&mut self, texts: &[Vec<u8>]) {
        let Some(first) = texts.first() else { return };
        let first = String::from_utf8_lossy(first);
        let Some((delimiter, names)) = first.lines().next().and_then(header) else { return };
        let header_line = first.lines().next().unwrap_or_default().to_owned();
        let mut is_in_each = true;
        for text in texts {
            let text = String::from_utf8_lossy(text);
            let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
            is_in_each &= lines.next_if(|line| *line == header_line).is_some() && lines.peek().is_some();
            for line in lines {
                let values: Vec<&str> = line.split(delimiter).map(unquoted).collect();
                let fields = names.iter().cloned().zip(values.into_iter().map(Json::from));
                self.objects.push(Json::Object(fields.collect()));
            }
        }
        self.format = Written::Csv { delimiter, header: (!is_in_each).then_some(names) };
    }
}

/// The fields of an object that may say something of what it stands around.
fn own_fields(object: &[u8]) -> Option<Json> {
    const LONGEST: usize = 200;
    let Json::Object(fields) = serde_json::from_slice(object).ok()? else { return None };
    let is_own = |value: &Json| match value {
        Json::String(text) => text.len() <= LONGEST && !text.trim_start().starts_with(['{', '[']),
        other => !other.is_object() && !other.is_array(),
    };
    Some(Json::Object(fields.into_iter().filter(|(_, value)| is_own(value)).collect()))
}

/// Whether this begins as HL7 v2 does.
pub(super) fn is_hl7(bytes: &[u8]) -> bool {
    !kinds_of_hl7(bytes).is_empty()
}

/// Of each message of HL7 v2 in a text, the first part of MSH-9; none where it is not HL7.
fn kinds_of_hl7(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let begins = text.trim_start_matches(['\u{b}', '\u{feff}', ' ', '\r', '\n']);
    if !["MSH", "FHS", "BHS"].iter().any(|segment| begins.starts_with(segment)) {
        return Vec::new();
    }
    let segments = begins.split(['\r', '\n']).map(|line| line.trim_start_matches('\u{b}'));
    let of_message = segments.filter(|line| line.starts_with("MSH")).map(|line| {
        let field = line.chars().nth(3).and_then(|bar| line.split(bar).nth(8)).unwrap_or_default();
        field.split('^').next().unwrap_or_default().to_owned()
    });
    of_message.collect()
}

/// The names in a line, and what stands between them, if one of them is known.
fn header(line: &str) -> Option<(char, Vec<String>)> {
    let is_known = |name: &String| {
        let plain = normal(name);
        named(name).is_some() || PATIENTS.contains(&plain.as_str()) || TIMES.contains(&plain.as_str())
    };
    let split = |delimiter: char| {
        let names: Vec<String> = line.split(delimiter).map(|name| unquoted(name).to_owned()).collect();
        (delimiter, names)
    };
    let split = DELIMITERS.into_iter().map(split).filter(|(_, names)| names.len() > 1 && names.iter().any(is_known));
    split.max_by_key(|(_, names)| names.len())
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn written(step: &Unwrap) -> String {
    match step {
        Unwrap::Gzip => "\"gzip\"".to_owned(),
        Unwrap::Base64 => "\"base64\"".to_owned(),
        Unwrap::JsonText => "\"json-text\"".to_owned(),
        Unwrap::CloudEvents => "\"cloudevents\"".to_owned(),
        Unwrap::Debezium => "\"debezium\"".to_owned(),
        Unwrap::SenMl => "\"senml\"".to_owned(),
        Unwrap::Field(SourcePath::Fields(names)) => {
            format!("{{ field = {} }}", quoted(&Place::field(names).from(&Place::default())))
        }
        Unwrap::Field(_) => String::new(),
    }
}

/// The shortest steps that have both in their order: what is not wrapped in a step is left as it is by it.
fn merged(known: &[String], steps: Vec<String>) -> Vec<String> {
    let mut all = known.to_vec();
    let mut from = 0;
    for step in steps {
        match all[from..].iter().position(|known| *known == step) {
            Some(at) => from += at + 1,
            None => {
                all.insert(from, step);
                from += 1;
            }
        }
    }
    all
}
