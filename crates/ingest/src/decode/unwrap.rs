//! Takes off what a record is wrapped in: compression, base64, JSON within a text, envelopes.
//!
//! Each step takes off what is there and leaves alone what is not wrapped, so one topic may have both. Nothing grows beyond what a
//! record may have.

use std::borrow::Cow;
use std::io::Read;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bumpalo::Bump;
use flate2::read::MultiGzDecoder;

use wardwatch_config::{SourcePath, Unwrap};

use super::scan::{self, Value};
use super::senml;
use super::tree::Node;

/// What a record is without its wrapping.
pub(super) enum Unwrapped<'a> {
    /// This, and the objects around it, from the outside in.
    Content { content: &'a [u8], around: Vec<Node<'a>> },
    /// Nothing: it says that a row is gone.
    Nothing,
    /// It cannot be unwrapped, and why.
    Fault(String),
}

/// What the records of a form are wrapped in, and how long they may be, wrapped or not.
#[derive(Debug, Clone)]
pub(super) struct Wrapping {
    steps: Vec<Unwrap>,
    max_bytes: usize,
}

impl Wrapping {
    pub(super) fn new(steps: &[Unwrap], max_bytes: usize) -> Self {
        Self { steps: steps.to_vec(), max_bytes }
    }

    /// Of what is JSON already, made of a record.
    pub(super) fn none() -> Self {
        Self::new(&[], usize::MAX)
    }

    /// Whether a record is its content as it is.
    pub(super) fn is_none_of(&self, payload: Option<&[u8]>) -> bool {
        self.steps.is_empty() && payload.is_some_and(|payload| payload.len() <= self.max_bytes)
    }

    /// Takes it off a record's value. One that is null says that its key has no value any more.
    pub(super) fn open<'a>(&self, payload: Option<&'a [u8]>, arena: &'a Bump) -> Unwrapped<'a> {
        match payload {
            None => Unwrapped::Nothing,
            Some(payload) if payload.len() > self.max_bytes => Unwrapped::Fault(format!(
                "the record has {} bytes; max_record_bytes allows {}",
                payload.len(),
                self.max_bytes
            )),
            Some(payload) => unwrap(payload, &self.steps, self.max_bytes, arena),
        }
    }
}

/// Takes `steps` off `payload`; what has more than `max_bytes` then is a fault.
fn unwrap<'a>(payload: &'a [u8], steps: &[Unwrap], max_bytes: usize, arena: &'a Bump) -> Unwrapped<'a> {
    let mut content = payload;
    let mut around = Vec::new();
    for step in steps {
        let next = match step {
            Unwrap::Gzip => gunzip(content, max_bytes, arena),
            Unwrap::Base64 => Ok(from_base64(content, arena)),
            Unwrap::JsonText => Ok(text_in(content, arena)),
            Unwrap::CloudEvents => match root_object(content) {
                Some(event) if event.field("specversion").is_some() => {
                    content = match (event.field("data"), event.field("data_base64")) {
                        (None, Some(data)) => match from_base64(data.raw, arena) {
                            Some(data) => data,
                            None => return Unwrapped::Fault("its data_base64 is not valid base64".to_owned()),
                        },
                        (Some(data), _) => data.raw,
                        (None, None) => return Unwrapped::Nothing,
                    };
                    around.push(event);
                    continue;
                }
                _ => continue,
            },
            Unwrap::Debezium => match root_object(content).map(|root| row_of_change(&root)) {
                Some(Change::Row(row)) => {
                    around.extend(root_object(content));
                    Ok(Some(row))
                }
                Some(Change::Gone) => return Unwrapped::Nothing,
                Some(Change::Other) | None => continue,
            },
            Unwrap::SenMl => match single(content).map(|(raw, value)| senml::resolved(&Node::new(raw, value))) {
                Some(Ok(resolved)) => Ok(resolved.map(|resolved| &*arena.alloc_slice_copy(&resolved))),
                Some(Err(reason)) => Err(reason),
                None => Ok(None),
            },
            Unwrap::Field(SourcePath::Fields(names)) => {
                let root = root_object(content);
                let inner = root.as_ref().and_then(|root| {
                    names.iter().try_fold(root, |node, name| node.field(name)).filter(|inner| inner.has_value())
                });
                let inner = inner.map(|inner| inner.raw);
                if inner.is_some() {
                    around.extend(root);
                }
                Ok(inner)
            }
            Unwrap::Field(_) => continue,
        };
        match next {
            Ok(Some(next)) => content = next,
            Ok(None) => {}
            Err(reason) => return Unwrapped::Fault(reason),
        }
    }
    Unwrapped::Content { content, around }
}

fn gunzip<'a>(content: &'a [u8], max_bytes: usize, arena: &'a Bump) -> Result<Option<&'a [u8]>, String> {
    if !content.starts_with(&[0x1f, 0x8b]) {
        return Ok(None);
    }
    let mut inflated = Vec::new();
    let most = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    match MultiGzDecoder::new(content).take(most).read_to_end(&mut inflated) {
        Err(error) => Err(format!("it is not valid gzip: {error}")),
        Ok(length) if length > max_bytes => {
            Err(format!("it has more than {max_bytes} bytes once it is unpacked; max_record_bytes allows no more"))
        }
        Ok(_) => Ok(Some(arena.alloc_slice_copy(&inflated))),
    }
}

/// What base64 stands for, quoted or not; nothing where it is none, such as JSON.
fn from_base64<'a>(content: &'a [u8], arena: &'a Bump) -> Option<&'a [u8]> {
    let text = content.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    base64(std::str::from_utf8(text).ok()?).map(|decoded| &*arena.alloc_slice_copy(&decoded))
}

/// The bytes for which base64 stands (RFC 4648, sections 4 and 5), with padding or without, in lines or not; `None` where it is none.
#[must_use]
pub fn base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const ENGINES: [GeneralPurpose; 2] =
        [GeneralPurpose::new(&STANDARD, LENIENT), GeneralPurpose::new(&URL_SAFE, LENIENT)];
    // Lines are broken as mail does it.
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    ENGINES.iter().find_map(|engine| engine.decode(&text).ok()).filter(|_| !text.is_empty())
}

/// A record of which nothing is known, without what it seems to be wrapped in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peeled {
    /// The steps, from the outside in.
    pub steps: Vec<Unwrap>,
    /// What is inside of them.
    pub content: Vec<u8>,
    /// The objects around it, from the outside in.
    pub around: Vec<Vec<u8>>,
}

/// Takes off a record what it seems to be wrapped in.
#[must_use]
pub fn peeled(payload: &[u8]) -> Peeled {
    const MOST_STEPS: usize = 6;
    const MOST_BYTES: usize = 16 << 20;
    let (mut steps, mut outer) = (Vec::new(), Vec::new());
    let mut content = scan::without_mark(payload).to_vec();
    while let Some(step) = next_step(&content).filter(|_| steps.len() < MOST_STEPS) {
        let arena = Bump::new();
        let inner = match unwrap(&content, std::slice::from_ref(&step), MOST_BYTES, &arena) {
            Unwrapped::Content { content, around } => {
                outer.extend(around.iter().map(|object| object.raw.to_vec()));
                content.to_vec()
            }
            Unwrapped::Nothing => Vec::new(),
            Unwrapped::Fault(_) => break,
        };
        steps.push(step);
        content = inner;
    }
    Peeled { steps, content, around: outer }
}

/// What fields are called in which the record proper stands.
const CONTENTS: [&str; 10] =
    ["payload", "data", "body", "value", "message", "msg", "content", "record", "event", "object"];

/// What is to be taken off first of what seems to be wrapped.
fn next_step(content: &[u8]) -> Option<Unwrap> {
    if content.starts_with(&[0x1f, 0x8b]) {
        return Some(Unwrap::Gzip);
    }
    let in_base64 = |text: &[u8]| {
        from_base64(text, &Bump::new()).is_some_and(|inner| inner.starts_with(&[0x1f, 0x8b]) || is_structured(inner))
    };
    match single(content) {
        Some((_, Value::Text(text))) if is_structured(text.as_bytes()) => Some(Unwrap::JsonText),
        Some((raw, Value::Text(_))) if in_base64(raw) => Some(Unwrap::Base64),
        Some((raw, value @ Value::Object(_))) => {
            let root = Node::new(raw, value);
            if root.field("specversion").is_some() && (root.field("data").or(root.field("data_base64"))).is_some() {
                return Some(Unwrap::CloudEvents);
            }
            if !matches!(row_of_change(&root), Change::Other) {
                return Some(Unwrap::Debezium);
            }
            let is_wrapped = |node: &Node<'_>| match &node.value {
                Value::Text(text) => is_structured(text.as_bytes()) || in_base64(node.raw),
                _ => false,
            };
            // A text with JSON in it may also be a remark beside the vitals.
            let is_named = |name: &str| CONTENTS.iter().any(|known| name.eq_ignore_ascii_case(known));
            let field = scan::fields_of(raw)
                .ok()?
                .into_iter()
                .find(|(name, (raw, value))| is_named(name) && is_wrapped(&Node::new(raw, value.clone())));
            field.map(|(name, _)| Unwrap::Field(SourcePath::Fields(vec![name.into_owned()])))
        }
        None if !is_structured(content) && in_base64(content) => Some(Unwrap::Base64),
        _ => None,
    }
}

/// Whether this begins as JSON with fields does, or HL7.
fn is_structured(content: &[u8]) -> bool {
    let content = content.trim_ascii_start();
    match content.first() {
        Some(b'{' | b'[') => content.len() > 2 && single(content).is_some(),
        _ => content.starts_with(b"MSH") || content.starts_with(b"\x0bMSH"),
    }
}

/// What stands in a JSON text; nothing where it is none.
fn text_in<'a>(content: &'a [u8], arena: &'a Bump) -> Option<&'a [u8]> {
    match single(content)?.1 {
        Value::Text(Cow::Borrowed(text)) => Some(text.as_bytes()),
        Value::Text(Cow::Owned(text)) => Some(arena.alloc_slice_copy(text.as_bytes())),
        _ => None,
    }
}

enum Change<'a> {
    /// The row as it is after the change.
    Row(&'a [u8]),
    /// The row is gone, or nothing is said of one.
    Gone,
    /// It is no change.
    Other,
}

/// The row of what Debezium or Kafka Connect sends: `{schema, payload}` around `{before, after, op}`, either of them or both.
fn row_of_change<'a>(root: &Node<'a>) -> Change<'a> {
    // Connect's schema is an object that names a type, or nothing.
    let is_schema = |schema: &Node<'_>| schema.field("type").is_some() || !schema.has_value();
    let is_wrapped = root.field("schema").is_some_and(is_schema) && root.field("payload").is_some();
    let inner = if is_wrapped { root.field("payload") } else { None };
    let change = inner.unwrap_or(root);
    let Some(op) = change.field("op").filter(|_| change.field("after").is_some() || change.field("before").is_some())
    else {
        let is_deleted = change.field("__deleted").is_some_and(|deleted| deleted.value.sent() == "true");
        return match inner {
            _ if is_deleted => Change::Gone,
            Some(inner) if inner.has_value() => Change::Row(inner.raw),
            Some(_) => Change::Gone,
            None => Change::Other,
        };
    };
    match change.field("after").filter(|after| after.has_value() && op.value.sent() != "d") {
        Some(after) => Change::Row(after.raw),
        None => Change::Gone,
    }
}

fn root_object(content: &[u8]) -> Option<Node<'_>> {
    let (raw, value) = single(content)?;
    Some(Node::new(raw, value)).filter(Node::is_object)
}

/// The one JSON value of `content`.
fn single(content: &[u8]) -> Option<(&[u8], Value<'_>)> {
    let mut values = scan::values(scan::without_mark(content));
    values.next()?.ok().filter(|_| values.next().is_none())
}
