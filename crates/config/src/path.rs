//! Where a value stands in a record, or beside it.

use std::fmt;

use serde_json::{Map, Value};

use wardwatch_model::diagnostic::unknown;

/// Where a value stands: as a job file's `from`, `field` and `rows` say it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourcePath {
    /// In this field of the row's object: names from the outside in, one at least.
    Fields(Vec<String>),
    /// In what Kafka has beside the record's value.
    Beside(KafkaField),
    /// Somewhere that has to be searched for.
    Search(Search),
    /// In several places: their texts, put together.
    Template(Template),
}

/// Texts of several places, put together: `{date} {time}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template(Vec<TemplatePart>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum TemplatePart {
    Text(String),
    Path(SourcePath),
}

impl Template {
    /// Errors: why `text` writes none.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" does not put places together; write them like \"{{date}} {{time}}\"");
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (path, behind) = behind.split_once('}').ok_or_else(wrong)?;
            if before.contains('}') {
                return Err(wrong());
            }
            if !before.is_empty() {
                parts.push(TemplatePart::Text(before.to_owned()));
            }
            parts.push(TemplatePart::Path(SourcePath::parse(path)?));
            rest = behind;
        }
        if rest.contains('}') {
            return Err(wrong());
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The places, in their order.
    pub fn paths(&self) -> impl Iterator<Item = &SourcePath> {
        self.0.iter().filter_map(|part| match part {
            TemplatePart::Path(path) => Some(path),
            TemplatePart::Text(_) => None,
        })
    }

    /// What comes of the texts of its places; `None` where one of them has none.
    pub fn fill(&self, text: &mut dyn FnMut(&SourcePath) -> Option<String>) -> Option<String> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                TemplatePart::Text(text) => filled.push_str(text),
                TemplatePart::Path(path) => filled.push_str(&text(path).filter(|text| !text.trim().is_empty())?),
            }
        }
        Some(filled)
    }
}

/// What Kafka has beside a record's value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KafkaField {
    /// The key.
    Key,
    /// The stamp.
    Stamp,
    /// The name of the topic.
    Topic,
    /// The header of this name.
    Header(String),
}

/// A search, which may find several values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Search {
    /// Where it begins.
    pub scope: Scope,
    /// The way from there.
    pub way: Way,
}

/// Where a search begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// At the item that becomes the row.
    Item,
    /// At the nearest object around the item in which something is found.
    Enclosing,
    /// At the record.
    Record,
}

/// The way of a search.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Step by step.
    Steps(Vec<Step>),
    /// What JSONPath (RFC 9535) finds; it begins with `$`.
    JsonPath(String),
}

/// A step from a value to one inside it, or to several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// To a field of an object.
    Field(String),
    /// To an item of a list, counted from 0; below 0 from its end.
    Index(i64),
    /// To each item of a list; an object is a list of one.
    Each,
    /// To each value of an object or list.
    Values,
}

/// What Kafka has beside a record's value, as paths name it.
const BESIDE: [&str; 4] = ["@key", "@stamp", "@topic", "@header.NAME"];

impl SourcePath {
    /// The path that `text` writes.
    ///
    /// - `vitals.hr` is field `hr` of the object in field `vitals`; `"a.b"` is one field with a point in its name.
    /// - `readings[0]`, `[-1]` and `[*]` go into lists.
    /// - `$` begins at the record, `^` at the nearest object around the item that has it, `@` or nothing at the item.
    /// - `[?…]`, `..` and whatever else JSONPath has may follow `$` and `@`.
    /// - `{date} {time}` puts the texts of several places together.
    /// - `@key`, `@stamp`, `@topic` and `@header.NAME` are no part of the record's value, but what Kafka has beside it.
    ///
    /// Errors: why it is no path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('{') {
            return Template::parse(text).map(Self::Template);
        }
        if let Some(name) = text.strip_prefix('@').filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic())) {
            let field = match name.split_once('.') {
                Some(("header", name)) if !name.is_empty() => KafkaField::Header(name.to_owned()),
                None if name == "key" => KafkaField::Key,
                None if matches!(name, "stamp" | "timestamp") => KafkaField::Stamp,
                None if name == "topic" => KafkaField::Topic,
                _ => return Err(unknown("place", text, BESIDE.into_iter())),
            };
            return Ok(Self::Beside(field));
        }
        let (scope, rest) = scope(text);
        let no_path = || format!("\"{text}\" is not a path; write field names separated by dots: \"vitals.hr\"");
        if text.is_empty() {
            return Err(no_path());
        }
        if is_for_jsonpath(rest) {
            return json_path(text, scope, rest).map(Self::Search);
        }
        let steps = steps(rest).ok_or_else(no_path)?;
        let fields: Option<Vec<String>> = steps
            .iter()
            .map(|step| match step {
                Step::Field(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        Ok(match fields {
            Some(fields) if scope == Scope::Item && !fields.is_empty() => Self::Fields(fields),
            _ => Self::Search(Search { scope, way: Way::Steps(steps) }),
        })
    }

    /// What Kafka has beside the record, where it is that.
    #[must_use]
    pub fn beside(&self) -> Option<&KafkaField> {
        match self {
            Self::Beside(field) => Some(field),
            Self::Fields(_) | Self::Search(_) | Self::Template(_) => None,
        }
    }

    /// The places of which it is made: itself, or those that it puts together.
    pub fn places(&self) -> impl Iterator<Item = &SourcePath> {
        let (own, several) = match self {
            Self::Template(template) => (None, Some(template)),
            _ => (Some(self), None),
        };
        own.into_iter().chain(several.into_iter().flat_map(Template::paths))
    }

    /// Puts a value there, in objects that are made as they are needed; nothing where it is no field.
    pub fn put(&self, record: &mut Map<String, Value>, value: Value) {
        let Self::Fields(names) = self else { return };
        let Some((last, outer)) = names.split_last() else { return };
        let mut object = record;
        for name in outer {
            let inner = object.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = inner else { return };
            object = inner;
        }
        object.insert(last.clone(), value);
    }
}

/// Where a path begins, and the rest of it. A field may be called `$oid`.
fn scope(text: &str) -> (Scope, &str) {
    const SIGNS: [(char, Scope); 3] = [('$', Scope::Record), ('^', Scope::Enclosing), ('@', Scope::Item)];
    for (sign, scope) in SIGNS {
        if let Some(rest) = text.strip_prefix(sign)
            && (rest.is_empty() || rest.starts_with(['.', '[']))
        {
            return (scope, rest);
        }
    }
    (Scope::Item, text)
}

/// Whether a path has what only JSONPath reads: a filter, a slice, several choices, descendants.
fn is_for_jsonpath(rest: &str) -> bool {
    rest.contains("[?") || rest.starts_with("..") || rest.contains("]..") || {
        let mut inside =
            rest.split('[').skip(1).filter_map(|part| part.split_once(']')).map(|(inside, _)| inside.trim());
        inside.any(|inside| {
            let is_number = |part: &str| part.trim().is_empty() || part.trim().parse::<i64>().is_ok();
            inside.contains(':') && inside.split(':').all(is_number)
        })
    }
}

fn json_path(text: &str, scope: Scope, rest: &str) -> Result<Search, String> {
    if scope == Scope::Enclosing {
        return Err(format!(
            "\"{text}\" searches around the item, where no JSONPath goes; begin it at the record: \"$…\""
        ));
    }
    let dot = if rest.is_empty() || rest.starts_with(['.', '[']) { "" } else { "." };
    let path = format!("${dot}{rest}");
    match serde_json_path::JsonPath::parse(&path) {
        Ok(_) => Ok(Search { scope, way: Way::JsonPath(path) }),
        Err(error) => Err(format!(
            "\"{text}\" is not a JSONPath (RFC 9535): {error}; write it like \"$.component[?@.code == 'x'].value\""
        )),
    }
}

/// The steps of `a."b.c"[0].d`; none where one is empty.
fn steps(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text.strip_prefix('.').unwrap_or(text);
    if rest.is_empty() {
        return text.is_empty().then_some(steps);
    }
    loop {
        if let Some((step, behind)) = bracketed(rest) {
            steps.push(step);
            rest = behind;
        } else {
            let (name, behind) = name(rest)?;
            steps.push(match name.as_str() {
                "*" => Step::Values,
                _ => Step::Field(name),
            });
            rest = behind;
        }
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Some(steps),
            None if rest.starts_with('[') => {}
            None => return None,
        }
    }
}

/// The step in brackets at the start of `text`, and what follows.
fn bracketed(text: &str) -> Option<(Step, &str)> {
    let inside = text.strip_prefix('[')?;
    if let Some((name, behind)) = quoted(inside, '\'').or_else(|| quoted(inside, '"')) {
        return Some((Step::Field(name), behind.strip_prefix(']')?));
    }
    let (inside, behind) = inside.split_once(']')?;
    let step = match inside.trim() {
        "*" => Step::Each,
        number => Step::Index(number.parse().ok()?),
    };
    Some((step, behind))
}

/// The field name at the start of `text`, and what follows.
fn name(text: &str) -> Option<(String, &str)> {
    if let Some(found) = quoted(text, '"') {
        return Some(found);
    }
    // A bracket that is no step is a part of the name: `Heart Rate [bpm]`. One that is not closed is a slip.
    let is_end = |(at, sign): (usize, char)| match sign {
        '.' => true,
        '[' => bracketed(&text[at..]).is_some(),
        _ => false,
    };
    let end = text.char_indices().find(|place| is_end(*place)).map_or(text.len(), |(at, _)| at);
    let name = &text[..end];
    let is_balanced = name.matches('[').count() == name.matches(']').count();
    (end > 0 && is_balanced).then(|| (name.to_owned(), &text[end..]))
}

/// The text between quotes at the start of `text`, and what follows; a backslash stands before a quote in it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let inside = text.strip_prefix(quote)?;
    let mut name = String::new();
    let mut signs = inside.char_indices();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '\\' => name.push(signs.next()?.1),
            sign if sign == quote => return Some((name, &inside[at + sign.len_utf8()..])),
            sign => name.push(sign),
        }
    }
    None
}

impl fmt::Display for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields(names) => write_steps(f, names.iter().map(|name| Shown::Field(name)), true),
            Self::Beside(KafkaField::Key) => f.write_str("@key"),
            Self::Beside(KafkaField::Stamp) => f.write_str("@stamp"),
            Self::Beside(KafkaField::Topic) => f.write_str("@topic"),
            Self::Beside(KafkaField::Header(name)) => write!(f, "@header.{name}"),
            Self::Search(search) => search.fmt(f),
            Self::Template(template) => template.0.iter().try_for_each(|part| match part {
                TemplatePart::Text(text) => f.write_str(text),
                TemplatePart::Path(path) => write!(f, "{{{path}}}"),
            }),
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.scope {
            Scope::Item => "@",
            Scope::Enclosing => "^",
            Scope::Record => "$",
        };
        match &self.way {
            Way::JsonPath(path) => write!(f, "{sign}{}", &path[1..]),
            Way::Steps(steps) => {
                let is_first = self.scope == Scope::Item && !steps.is_empty();
                if !is_first {
                    f.write_str(sign)?;
                }
                let shown = steps.iter().map(|step| match step {
                    Step::Field(name) => Shown::Field(name),
                    Step::Index(index) => Shown::Index(*index),
                    Step::Each => Shown::Each,
                    Step::Values => Shown::Values,
                });
                write_steps(f, shown, is_first)
            }
        }
    }
}

enum Shown<'a> {
    Field(&'a str),
    Index(i64),
    Each,
    Values,
}

fn write_steps<'a>(f: &mut fmt::Formatter<'_>, steps: impl Iterator<Item = Shown<'a>>, is_first: bool) -> fmt::Result {
    for (position, step) in steps.enumerate() {
        let dot = if is_first && position == 0 { "" } else { "." };
        match step {
            Shown::Field(name) if name.is_empty() || name.contains(['.', '[', '"']) || name == "*" => {
                write!(f, "{dot}\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))?;
            }
            Shown::Field(name) => write!(f, "{dot}{name}")?,
            Shown::Index(index) => write!(f, "[{index}]")?,
            Shown::Each => f.write_str("[*]")?,
            Shown::Values => write!(f, "{dot}*")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(names: &[&str]) -> SourcePath {
        SourcePath::Fields(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn search(scope: Scope, steps: &[Step]) -> SourcePath {
        SourcePath::Search(Search { scope, way: Way::Steps(steps.to_vec()) })
    }

    fn step(name: &str) -> Step {
        Step::Field(name.to_owned())
    }

    #[test]
    fn each_form_of_a_path_is_read_and_written_again() {
        let cases = [
            ("hr", fields(&["hr"])),
            ("vitals.hr", fields(&["vitals", "hr"])),
            ("@.hr", fields(&["hr"])),
            ("Heart Rate (BPM)", fields(&["Heart Rate (BPM)"])),
            ("\"a.b\".c", fields(&["a.b", "c"])),
            ("[\"a.b\"]", fields(&["a.b"])),
            ("['it\\'s']", fields(&["it's"])),
            ("$oid", fields(&["$oid"])),
            ("Heart Rate [bpm]", fields(&["Heart Rate [bpm]"])),
            ("\"say \\\"a\\\"\"", fields(&["say \"a\""])),
            ("readings[0].hr", search(Scope::Item, &[step("readings"), Step::Index(0), step("hr")])),
            ("[-1]", search(Scope::Item, &[Step::Index(-1)])),
            ("code.coding[*].code", search(Scope::Item, &[step("code"), step("coding"), Step::Each, step("code")])),
            ("devices.*.hr", search(Scope::Item, &[step("devices"), Step::Values, step("hr")])),
            ("$.data.metrics[*]", search(Scope::Record, &[step("data"), step("metrics"), Step::Each])),
            ("$", search(Scope::Record, &[])),
            ("@", search(Scope::Item, &[])),
            ("^.name", search(Scope::Enclosing, &[step("name")])),
            ("@key", SourcePath::Beside(KafkaField::Key)),
            ("@timestamp", SourcePath::Beside(KafkaField::Stamp)),
            ("{date} {^.time}", {
                let parts = [
                    TemplatePart::Path(fields(&["date"])),
                    TemplatePart::Text(" ".to_owned()),
                    TemplatePart::Path(search(Scope::Enclosing, &[step("time")])),
                ];
                SourcePath::Template(Template(parts.to_vec()))
            }),
            ("@header.ward.name", SourcePath::Beside(KafkaField::Header("ward.name".to_owned()))),
        ];
        for (text, path) in cases {
            assert_eq!(SourcePath::parse(text), Ok(path.clone()), "{text}");
            assert_eq!(SourcePath::parse(&path.to_string()), Ok(path), "{text} written again");
        }
    }

    #[test]
    fn filters_slices_and_descendants_are_jsonpath() {
        for (text, scope, path) in [
            ("$.component[?@.code=='x'].value", Scope::Record, "$.component[?@.code=='x'].value"),
            ("component[?@.code=='x'].value", Scope::Item, "$.component[?@.code=='x'].value"),
            ("@.a[0:2]", Scope::Item, "$.a[0:2]"),
            ("$..hr", Scope::Record, "$..hr"),
        ] {
            let search = Search { scope, way: Way::JsonPath(path.to_owned()) };
            assert_eq!(SourcePath::parse(text), Ok(SourcePath::Search(search)), "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "a.",
            "@kay",
            "@header.",
            "@header",
            "{a",
            "a}{b}",
            "a[0",
            "$.data[*",
            "^..hr",
            "^[?@.a]",
            "$.a[?@.b ==]",
        ] {
            let error = SourcePath::parse(text).expect_err(text);
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
        }
    }
}
