//! Records as they were written: which fields there are, and the text of each value.
//!
//! It takes what arrow-json takes, and takes it alike (the last of two fields with one name counts, commas may be missing
//! or too many, digits stay as they are), so that a value does not depend on which of the two read it. Beyond that it takes
//! `NaN`, `Infinity`, a leading plus, and texts with bytes or escapes that are no characters. It does not know types.

use std::borrow::Cow;

/// A value, with the text as which it stands in the record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// `null`, or `NaN`, which JSON (RFC 8259, section 6) does not have and Python's `json.dumps` writes.
    Null,
    Bool(bool),
    /// The digits as they were written; `Infinity` too.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// A text with what is no character in it; `U+FFFD` stands in its place here.
    Garbled(String),
    /// With its brackets.
    List(&'a [u8]),
    /// With its braces.
    Object(&'a [u8]),
}

impl Value<'_> {
    /// What it is, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) | Self::Garbled(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// As it was sent: of a text what stands between the quotes.
    pub(super) fn sent(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => if *value { "true" } else { "false" }.into(),
            Self::Number(text) => (*text).into(),
            Self::Text(text) => text.as_ref().into(),
            Self::Garbled(text) => text.into(),
            Self::List(bytes) | Self::Object(bytes) => String::from_utf8_lossy(bytes),
        }
    }
}

/// The values of a payload, one behind the other, with the bytes as which they stand there; or why there is none.
///
/// After what is no value it goes on with the next line that begins one, if there is any: of several lines, each stands for
/// itself.
pub(super) fn values(payload: &[u8]) -> impl Iterator<Item = Result<Placed<'_>, String>> {
    let mut scanner = Scanner { bytes: payload, at: 0 };
    std::iter::from_fn(move || {
        scanner.skip(|byte| is_space(byte) || byte == b',');
        if scanner.at >= payload.len() {
            return None;
        }
        let start = scanner.at;
        Some(match scanner.value() {
            Ok(value) => Ok((&payload[start..scanner.at], value)),
            Err(reason) => {
                let rest = &payload[start..];
                let begins = |at: &usize| rest[*at] == b'\n' && matches!(rest.get(at + 1), Some(b'{' | b'['));
                scanner.at = (0..rest.len()).find(begins).map_or(payload.len(), |at| start + at);
                Err(reason)
            }
        })
    })
}

/// A payload without what may stand before its JSON: a byte order mark, or the zero byte and id by which a schema registry knows its
/// schema, which JSON does without.
pub(super) fn without_mark(payload: &[u8]) -> &[u8] {
    match payload {
        [0, _, _, _, _, rest @ ..] if matches!(rest.trim_ascii_start(), [b'{' | b'[', ..]) => rest,
        _ => payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload),
    }
}

/// A value, and the bytes as which it stands there.
pub(super) type Placed<'a> = (&'a [u8], Value<'a>);

/// The fields of a [`Value::Object`].
pub(super) fn fields_of(object: &[u8]) -> Result<Vec<(Cow<'_, str>, Placed<'_>)>, String> {
    let mut scanner = Scanner { bytes: object, at: 1 };
    let mut fields = Vec::new();
    while scanner.next_in(b'}')? {
        let name = scanner.field_name()?;
        fields.push((name, scanner.placed()?));
    }
    Ok(fields)
}

/// The items of a [`Value::List`].
pub(super) fn items_of(list: &[u8]) -> Result<Vec<Placed<'_>>, String> {
    let mut scanner = Scanner { bytes: list, at: 1 };
    let mut items = Vec::new();
    while scanner.next_in(b']')? {
        items.push(scanner.placed()?);
    }
    Ok(items)
}

/// The fields of an object, in their order.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Fields<'a> {
    /// The fields of a record, which is one object and nothing else.
    ///
    /// Errors: why it is not.
    pub(super) fn of_record(payload: &'a [u8]) -> Result<Self, String> {
        if payload.trim_ascii().is_empty() {
            return Err("the record is empty".to_owned());
        }
        let mut scanner = Scanner { bytes: payload, at: 0 };
        let value = scanner.value()?;
        scanner.skip_space();
        if scanner.at < payload.len() {
            return Err(scanner.unexpected("the record's end"));
        }
        match value {
            Value::Object(object) => Self::of_object(object),
            other => Err(format!("a record must be a JSON object; this is {}", other.kind())),
        }
    }

    /// The fields of a [`Value::Object`].
    pub(super) fn of_object(object: &'a [u8]) -> Result<Self, String> {
        let mut scanner = Scanner { bytes: object, at: 1 };
        let mut fields = Vec::new();
        while scanner.next_in(b'}')? {
            let name = scanner.field_name()?;
            fields.push((name, scanner.value()?));
        }
        Ok(Self(fields))
    }

    /// The value of the last field called `name`.
    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

#[derive(Debug)]
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn placed(&mut self) -> Result<Placed<'a>, String> {
        self.skip_space();
        let start = self.at;
        let value = self.value()?;
        Ok((&self.bytes[start..self.at], value))
    }

    fn value(&mut self) -> Result<Value<'a>, String> {
        self.skip_space();
        let start = self.at;
        match self.peek() {
            Some(b'{') => self.skip_nested().map(|()| Value::Object(&self.bytes[start..self.at])),
            Some(b'[') => self.skip_nested().map(|()| Value::List(&self.bytes[start..self.at])),
            _ => self.scalar(),
        }
    }

    /// Goes past an object or a list, however deep it is nested.
    fn skip_nested(&mut self) -> Result<(), String> {
        let mut ends = vec![closing(self.bytes[self.at])];
        self.at += 1;
        while let Some(&end) = ends.last() {
            if !self.next_in(end)? {
                ends.pop();
                continue;
            }
            if end == b'}' {
                self.field_name()?;
                self.skip_space();
            }
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    ends.push(closing(open));
                    self.at += 1;
                }
                _ => drop(self.scalar()?),
            }
        }
        Ok(())
    }

    /// Whether there is another field or item before `end`, which it goes past.
    fn next_in(&mut self, end: u8) -> Result<bool, String> {
        self.skip(|byte| is_space(byte) || byte == b',');
        match self.peek() {
            None => Err(self.unexpected("a value")),
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => Ok(true),
        }
    }

    /// A field's name and the colon behind it.
    fn field_name(&mut self) -> Result<Cow<'a, str>, String> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a field's name in quotes"));
        }
        let name = self.text()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected("a colon"));
        }
        self.at += 1;
        Ok(match name {
            Value::Text(name) => name,
            name => Cow::Owned(name.sent().into_owned()),
        })
    }

    fn scalar(&mut self) -> Result<Value<'a>, String> {
        const WORDS: [(&str, Value<'static>); 6] = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Null),
            ("Infinity", Value::Number("Infinity")),
            ("-Infinity", Value::Number("-Infinity")),
        ];
        if self.peek() == Some(b'"') {
            return self.text();
        }
        let rest = &self.bytes[self.at..];
        if let Some((word, value)) = WORDS.into_iter().find(|(word, _)| rest.starts_with(word.as_bytes())) {
            self.at += word.len();
            return Ok(value);
        }
        if !rest.first().is_some_and(|first| matches!(first, b'0'..=b'9' | b'-' | b'+')) {
            return Err(self.unexpected("a value"));
        }
        let start = self.at;
        self.skip(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let digits = std::str::from_utf8(&self.bytes[start..self.at]);
        Ok(Value::Number(digits.unwrap_or_else(|_| panic!("a number is of ASCII characters"))))
    }

    fn text(&mut self) -> Result<Value<'a>, String> {
        self.at += 1;
        let start = self.at;
        loop {
            self.skip(|byte| byte != b'"' && byte != b'\\');
            match self.peek() {
                None => return Err(self.unexpected("a quote that ends the text")),
                Some(b'\\') => self.at += 2,
                Some(_) => break,
            }
        }
        let inside = &self.bytes[start..self.at];
        self.at += 1;
        Ok(match std::str::from_utf8(inside) {
            Ok(text) if !inside.contains(&b'\\') => Value::Text(text.into()),
            Ok(text) => unescaped(text).map_or_else(Value::Garbled, |text| Value::Text(text.into())),
            Err(_) => {
                let lossy = String::from_utf8_lossy(inside);
                Value::Garbled(unescaped(&lossy).unwrap_or_else(|garbled| garbled))
            }
        })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        self.skip(is_space);
    }

    fn skip(&mut self, of: impl Fn(u8) -> bool) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| !of(*byte)).unwrap_or(rest.len());
    }

    fn unexpected(&self, wanted: &str) -> String {
        match self.bytes.get(self.at..).and_then(|rest| rest.first()) {
            None => format!("not JSON: it ends where {wanted} is expected"),
            Some(_) => format!("not JSON: expected {wanted} at position {}", self.at),
        }
    }
}

fn closing(open: u8) -> u8 {
    if open == b'{' { b'}' } else { b']' }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// `text` with its escapes replaced by what they stand for; the error has `U+FFFD` for those that stand for nothing.
fn unescaped(text: &str) -> Result<String, String> {
    let mut written = String::with_capacity(text.len());
    let mut is_valid = true;
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        written.push_str(&rest[..at]);
        let (letter, length) = escape(&rest[at..]);
        is_valid &= letter.is_some();
        written.push(letter.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &rest[at + length..];
    }
    written.push_str(rest);
    if is_valid { Ok(written) } else { Err(written) }
}

/// The character that the escape at the start of `text` stands for, if it does, and the escape's length.
fn escape(text: &str) -> (Option<char>, usize) {
    let Some(letter) = text.chars().nth(1) else { return (None, text.len()) };
    let plain = match letter {
        '"' | '\\' | '/' => letter,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let unit = |at: usize| code_unit(text.get(at..)?);
            return match (unit(0), unit(6)) {
                (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) => {
                    let code = 0x1_0000 + (((high - 0xD800) << 10) | (low - 0xDC00));
                    (char::from_u32(code), 12)
                }
                (Some(unit), _) => (char::from_u32(unit), 6),
                (None, _) => (None, 2),
            };
        }
        other => return (None, 1 + other.len_utf8()),
    };
    (Some(plain), 2)
}

/// The UTF-16 unit that `\u0041` at the start of `text` writes.
fn code_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &[u8]) -> Value<'_> {
        let mut scanner = Scanner { bytes: text, at: 0 };
        let value = scanner.value().expect("a value");
        assert_eq!(scanner.at, text.len(), "all of it is one value");
        value
    }

    #[test]
    fn values_keep_the_text_as_which_they_were_sent() {
        for number in ["0", "-0", "4.10", "1e400", "123456789012345678901234567890", "007", "+5", "1--2", "-Infinity"] {
            assert_eq!(value(number.as_bytes()), Value::Number(number));
        }
        assert_eq!(value(b"NaN"), Value::Null);
        assert_eq!(value(br#""a \"b\" \u00e9\n\ud83d\ude00""#), Value::Text("a \"b\" \u{e9}\n\u{1f600}".into()));
        assert_eq!(value(br#"{"a":[1,{"b":"]}"}]}"#).sent(), r#"{"a":[1,{"b":"]}"}]}"#);
    }

    #[test]
    fn a_text_with_what_is_no_character_is_told_from_one_without() {
        for (text, shown) in [
            (&b"\"a\xffb\""[..], "a\u{fffd}b"),
            (br#""\ud83d""#, "\u{fffd}"),
            (br#""\ud83dx""#, "\u{fffd}x"),
            (br#""\u12""#, "\u{fffd}12"),
            (br#""\x41""#, "\u{fffd}41"),
            ("\"\\é\"".as_bytes(), "\u{fffd}"),
        ] {
            assert_eq!(value(text), Value::Garbled(shown.to_owned()));
        }
        assert_eq!(value("\"\u{fffd}\"".as_bytes()), Value::Text("\u{fffd}".into()));
    }

    #[test]
    fn the_last_of_two_fields_counts_and_any_depth_is_gone_past() {
        let deep = format!("{{\"x\":{}{},\"a\":1,\"a\":2}}", "[".repeat(100_000), "]".repeat(100_000));
        let fields = Fields::of_record(deep.as_bytes()).expect("a record");
        assert_eq!(fields.get("a"), Some(&Value::Number("2")));
        assert_eq!(fields.get("b"), None);
    }
}
