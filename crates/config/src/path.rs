//! Where a value stands in a record.

use std::fmt;

use serde_json::{Map, Value};

use wardwatch_model::diagnostic::unknown;

/// Where a value stands in a record: field names from the outside in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePath(pub Vec<String>);

impl SourcePath {
    /// `vitals.hr` is field `hr` of the object in field `vitals`.
    ///
    /// Errors: an empty name.
    /// What begins with `@` is no field of the record's value, but what Kafka has beside it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('@') {
            let path = match text.split_once('.') {
                Some((first, name)) => Self(vec![first.to_owned(), name.to_owned()]),
                None => Self(vec![text.to_owned()]),
            };
            return match path.kafka_field() {
                KafkaField::Value => Err(unknown("place", text, PLACES.into_iter())),
                _ => Ok(path),
            };
        }
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            return Err(format!("\"{text}\" is not a path; write field names separated by dots: \"vitals.hr\""));
        }
        Ok(Self(names))
    }
}

/// What Kafka has beside a record's value, as `from` names it.
const PLACES: [&str; 4] = ["@key", "@stamp", "@topic", "@header.NAME"];

/// Where in a Kafka record a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaField<'a> {
    /// In its value.
    Value,
    /// It is the key.
    Key,
    /// It is Kafka's stamp.
    Stamp,
    /// It is the name of the topic.
    Topic,
    /// It is the header of this name.
    Header(&'a str),
}

impl SourcePath {
    /// Where in a Kafka record it stands.
    #[must_use]
    pub fn kafka_field(&self) -> KafkaField<'_> {
        let names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        match names[..] {
            ["@key"] => KafkaField::Key,
            ["@stamp" | "@timestamp"] => KafkaField::Stamp,
            ["@topic"] => KafkaField::Topic,
            ["@header", name] if !name.is_empty() => KafkaField::Header(name),
            _ => KafkaField::Value,
        }
    }

    /// Puts a value there, in objects that are made as they are needed.
    pub fn put(&self, record: &mut Map<String, Value>, value: Value) {
        if self.kafka_field() != KafkaField::Value {
            return;
        }
        let Some((last, outer)) = self.0.split_last() else { return };
        let mut object = record;
        for name in outer {
            let inner = object.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = inner else { return };
            object = inner;
        }
        object.insert(last.clone(), value);
    }
}

impl fmt::Display for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}
