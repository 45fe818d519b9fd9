//! From a record's bytes to the items that become rows: the objects of a list, of several lines, or what the job's `rows` leads to.
//!
//! An item is written as one flat JSON object: its own fields, and what was searched for in and around it under names of their own.

use std::borrow::Cow;

use wardwatch_config::{Scope, SourcePath};

use super::scan::{self, Value};
use super::schema::{Layout, Searched};
use super::tree::{Finder, Node};

/// What one record has.
pub(super) enum Found<'t> {
    /// An item, written as one object.
    Item(&'t [u8]),
    /// Something that is no item, and why.
    Fault(String),
    /// No items, as an empty list.
    Nothing,
    /// An item that is of another form.
    OfAnother,
}

/// Splits the content of a record into its items, in their order; `outside` is what it was wrapped in, from the outside in, and `parts`
/// tells which of [`parts_of`] count, if not all do.
pub(super) fn split<'a>(
    content: &'a [u8],
    outside: &[Node<'a>],
    parts: Option<&[bool]>,
    layout: &Layout,
    take: &mut dyn FnMut(Found<'_>),
) {
    let content = scan::without_mark(content);
    if let Some(wanted) = parts {
        let outside: Vec<&Node<'_>> = outside.iter().collect();
        for (part, wanted) in parts_of(content).iter().zip(wanted) {
            match part {
                _ if !wanted => take(Found::OfAnother),
                Part::Object(root) => split_value(root, &outside, layout, take),
                Part::Other => take(Found::Fault("an item must be a JSON object; this is none".to_owned())),
            }
        }
        return;
    }
    if content.trim_ascii().is_empty() {
        return take(Found::Fault("the record is empty".to_owned()));
    }
    for value in scan::values(content) {
        match value {
            Err(reason) => take(Found::Fault(with_hint(reason, content))),
            Ok((raw, value)) => {
                let root = Node::new(raw, value);
                let outside: Vec<&Node<'_>> = outside.iter().collect();
                split_value(&root, &outside, layout, take);
            }
        }
    }
}

/// The parts of a record's content of which each may be of another form: the items of a list, what stands behind each other; and
/// whether each is one by itself.
pub(super) fn parts_of(content: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for value in scan::values(scan::without_mark(content)) {
        match value {
            Err(_) => parts.push(Part::Other),
            Ok((raw, value)) => {
                let node = Node::new(raw, value);
                match &node.value {
                    Value::List(list) if !node.items().is_empty() => parts.extend(
                        scan::items_of(list)
                            .unwrap_or_default()
                            .into_iter()
                            .map(|(raw, value)| Part::of(Node::new(raw, value))),
                    ),
                    _ => parts.push(Part::of(node)),
                }
            }
        }
    }
    parts
}

/// A part of a record.
pub(super) enum Part<'a> {
    Object(Node<'a>),
    /// Something else: a number, an empty list, what is no JSON.
    Other,
}

impl<'a> Part<'a> {
    fn of(node: Node<'a>) -> Self {
        if node.is_object() { Self::Object(node) } else { Self::Other }
    }
}

/// The text that an object has at `path`; of an object or list there, the whole of it.
pub(super) fn text_of(root: &Node<'_>, path: &SourcePath) -> Option<String> {
    let finder = Finder::to(path)?;
    let found = finder.find(root);
    let plain = |node: &&&Node<'_>| node.has_value() && node.is_plain();
    let best = found.iter().find(plain).or_else(|| found.iter().find(|node| node.has_value()));
    best.map(|node| node.value.sent().into_owned())
}

/// The text that `outer`, around a record, has at a path that says so.
pub(super) fn outer_text(outer: &Node<'_>, path: &SourcePath) -> Option<String> {
    let finder = Finder::to(path).filter(|finder| finder.scope == Scope::Enclosing)?;
    finder.find(outer).into_iter().find(|node| node.has_value()).map(|node| node.value.sent().into_owned())
}

/// Why a record is no JSON, and what it may be instead.
fn with_hint(reason: String, content: &[u8]) -> String {
    let hint = match content.trim_ascii_start() {
        [b'{' | b'[', rest @ ..] if rest.trim_ascii_start().starts_with(b"'") => {
            "; it looks like what Python prints of a dict: its producer should send json.dumps of it"
        }
        [b'M', b'S', b'H', ..] => "; it looks like HL7 v2: say format = \"hl7v2\"",
        [0x1f, 0x8b, ..] => "; it looks like gzip: say unwrap = [\"gzip\"]",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "; it looks like UTF-16, and JSON is UTF-8",
        [0, _, _, _, _, ..] => "; it looks like Confluent's form with a schema registry",
        [b'<', ..] => "; it looks like XML",
        _ => "",
    };
    format!("{reason}{hint}")
}

fn split_value<'n, 'a>(root: &'n Node<'a>, outside: &[&'n Node<'a>], layout: &Layout, take: &mut dyn FnMut(Found<'_>)) {
    // Where rows leads into objects, each of a list of them is meant.
    if !layout.rows().is_empty()
        && matches!(root.value, Value::List(_))
        && !layout.rows().iter().any(|rows| rows.goes_into_list())
    {
        return match root.items() {
            [] => take(Found::Nothing),
            items => items.iter().for_each(|item| match item.is_object() {
                true => split_value(item, outside, layout, take),
                false => take(Found::Fault(no_item(item))),
            }),
        };
    }
    let mut writer = Writer::new(layout, root);
    if !layout.rows().is_empty() {
        return split_by_rows(root, outside, layout, &mut writer, take);
    }
    match root.value {
        Value::Object(_) => take(Found::Item(writer.write(root, outside))),
        Value::List(_) if root.items().is_empty() => take(Found::Nothing),
        Value::List(_) => {
            for item in root.items() {
                match item.is_object() {
                    true => take(Found::Item(writer.write(item, outside))),
                    false => take(Found::Fault(no_item(item))),
                }
            }
        }
        _ => take(Found::Fault(no_object(&root.value))),
    }
}

/// Splits a value of a record by the job's `rows`.
fn split_by_rows<'n, 'a>(
    root: &'n Node<'a>,
    outside: &[&'n Node<'a>],
    layout: &Layout,
    writer: &mut Writer<'_, 'n, 'a>,
    take: &mut dyn FnMut(Found<'_>),
) {
    let mut is_empty = true;
    for rows in layout.rows() {
        for way in rows.ways(root) {
            let Some((item, around)) = way.split_last() else { continue };
            is_empty = false;
            match item.value {
                Value::Null => take(Found::Nothing),
                Value::List(_) if !layout.takes_lists() => take(Found::Fault(
                    "what rows leads to is a list; its path must lead to the items: end it with [*]".to_owned(),
                )),
                _ => {
                    let around: Vec<&Node<'a>> = outside.iter().chain(around).copied().collect();
                    take(Found::Item(writer.write(item, &around)));
                }
            }
        }
    }
    if is_empty {
        let leads_nowhere = !layout.empty_is_absent() && layout.rows().iter().all(|rows| rows.leads_nowhere(root));
        take(if leads_nowhere { Found::Fault(layout.rows_lead_nowhere()) } else { Found::Nothing });
    }
}

/// What is said of an item that is no object.
fn no_item(item: &Node<'_>) -> String {
    format!("an item of a list must be a JSON object; this is {}", item.value.kind())
}

/// What is said of a record that is no object.
fn no_object(value: &Value<'_>) -> String {
    let hint = match value {
        Value::Text(text) if text.trim_start().starts_with(['{', '[']) => {
            " with JSON in it: its producer encodes twice; say unwrap = [\"json-text\"]"
        }
        _ => "",
    };
    format!("a record must be a JSON object; this is {}{hint}", value.kind())
}

/// Writes items of one record.
struct Writer<'l, 'n, 'a> {
    layout: &'l Layout,
    /// What was found from the record.
    of_record: Vec<Option<&'n Node<'a>>>,
    around: Around<'n, 'a>,
    text: Vec<u8>,
}

/// What was found in the objects around an item, and which these are: it is the same for many items.
#[derive(Default)]
struct Around<'n, 'a> {
    objects: Vec<&'n Node<'a>>,
    found: Vec<Option<&'n Node<'a>>>,
}

impl<'l, 'n, 'a> Writer<'l, 'n, 'a> {
    fn new(layout: &'l Layout, root: &'n Node<'a>) -> Self {
        let of_record = layout.searched().iter().map(|searched| match searched.finder.scope {
            Scope::Record => searched.best(&searched.finder.find(root)),
            Scope::Item | Scope::Enclosing => None,
        });
        let of_record = of_record.collect();
        let nothing = layout.searched().iter().map(|_| None).collect();
        Self { layout, of_record, around: Around { objects: Vec::new(), found: nothing }, text: Vec::new() }
    }

    /// `around` is what the item lies in, from the outside in.
    fn write<'t>(&'t mut self, item: &'t Node<'_>, around: &[&'n Node<'a>]) -> &'t [u8] {
        let has_fields = self.layout.needs_fields() && item.is_object();
        if has_fields && self.layout.searched().is_empty() {
            return item.raw;
        }
        self.look_around(around);
        self.text.clear();
        match has_fields.then(|| item.raw.split_last()).flatten() {
            Some((_, open)) => self.text.extend_from_slice(open),
            None => self.text.push(b'{'),
        }
        for (index, searched) in self.layout.searched().iter().enumerate() {
            let found = match searched.finder.scope {
                Scope::Item => searched.best(&searched.finder.find(item)).map(|node| (node.raw, node.is_plain())),
                Scope::Record => self.of_record[index].map(|node| (node.raw, node.is_plain())),
                Scope::Enclosing => self.around.found[index].map(|node| (node.raw, node.is_plain())),
            };
            let found = found.map(|(raw, is_plain)| match searched.is_json && !is_plain {
                true => Cow::Owned(serde_json::Value::from(String::from_utf8_lossy(raw)).to_string().into_bytes()),
                false => Cow::Borrowed(raw),
            });
            // Neither of the two that read this minds a comma too many.
            self.text.extend_from_slice(b",\"");
            self.text.extend_from_slice(searched.name.as_bytes());
            self.text.extend_from_slice(b"\":");
            self.text.extend_from_slice(found.as_deref().unwrap_or(b"null"));
        }
        self.text.push(b'}');
        &self.text
    }

    /// Finds what is searched for around an item, in the nearest object that has it.
    fn look_around(&mut self, around: &[&'n Node<'a>]) {
        let objects: Vec<&'n Node<'a>> = around.iter().copied().filter(|node| node.is_object()).collect();
        let known = &self.around.objects;
        if known.len() == objects.len() && known.iter().zip(&objects).all(|(a, b)| std::ptr::eq(*a, *b)) {
            return;
        }
        let nearest = |searched: &Searched| match searched.finder.scope {
            Scope::Enclosing => objects
                .iter()
                .rev()
                .find_map(|object| searched.best(&searched.finder.find(object)).filter(|found| found.has_value())),
            Scope::Item | Scope::Record => None,
        };
        self.around.found = self.layout.searched().iter().map(nearest).collect();
        self.around.objects = objects;
    }
}

impl Searched {
    /// Of several values the one that counts: the first with a name that is known, if names are searched for; else the first that
    /// is neither object nor list, else the first.
    fn best<'n, 'a>(&self, found: &[&'n Node<'a>]) -> Option<&'n Node<'a>> {
        if self.is_json {
            return found.iter().find(|node| node.has_value()).copied();
        }
        let is_known = |node: &&&Node<'_>| self.known.iter().any(|known| *known == node.value.sent());
        let is_plain = |node: &&&Node<'_>| node.has_value() && node.is_plain();
        let named = if self.known.is_empty() { None } else { found.iter().find(is_known) };
        let best = named.or_else(|| found.iter().find(is_plain));
        best.or_else(|| found.first().filter(|_| !self.is_outer)).copied()
    }
}
