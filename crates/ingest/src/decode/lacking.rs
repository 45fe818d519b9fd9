//! What the schema in a file lacks of what the columns of a form read.

use std::path::Path;

use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value as Json;

use wardwatch_config::{Form, Format, SchemaSource, SourcePath, SourceSpec};
use wardwatch_model::diagnostic::nearest;

use crate::schemas::{ProtoFile, Schema};

/// A column that is read at no place that its form's schema has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The place of the form's source among the job's.
    pub source: usize,
    /// Its name.
    pub column: String,
    /// What is said of it.
    pub message: String,
}

/// The columns that no schema of a file has anything for. Of schemas in a registry nothing is known before records come.
#[must_use]
pub fn lacking(spec: &SourceSpec) -> Vec<Lacking> {
    // Where rows lie deeper, places begin there.
    let is_plain = |form: &&Form| form.rows.is_empty() && form.long.is_none() && form.unwrap.is_empty();
    spec.forms.iter().filter(is_plain).filter_map(|form| Some((form, Fields::of(form)?))).flat_map(of_form).collect()
}

fn of_form((form, (file, fields)): (&Form, (&Path, Fields))) -> Vec<Lacking> {
    let of_column = |column: &wardwatch_config::Column| {
        let places: Option<Vec<&[String]>> = column
            .from
            .iter()
            .map(|path| if let SourcePath::Fields(names) = path { Some(names.as_slice()) } else { None })
            .collect();
        let faults = places?.into_iter().map(|names| fields.fault(names)).collect::<Option<Vec<String>>>()?;
        let message = format!("column \"{}\": the schema \"{}\" {}", column.name, file.display(), faults.first()?);
        Some(Lacking { source: form.source, column: column.name.clone(), message })
    };
    form.columns.all().iter().filter_map(of_column).collect()
}

/// The places at which records of a schema have values, lists aside: the names that lead there. None are known of JSON.
#[must_use]
pub fn places_of(schema: &Schema, content: &[u8]) -> Vec<Vec<String>> {
    let fields = match schema {
        Schema::Avro(text) => serde_json::from_str(text).ok().map(Fields::Avro),
        Schema::Protobuf(file) => file.message_at(content).ok().map(|(message, _)| Fields::Protobuf(message)),
        Schema::Json => None,
    };
    let mut places = Vec::new();
    if let Some(fields) = fields {
        fields.note_places(&mut Vec::new(), &mut places);
    }
    places
}

/// The fields of a schema.
enum Fields {
    Avro(Json),
    Protobuf(MessageDescriptor),
}

/// What a field is.
enum Field {
    /// It has fields.
    Object(Fields),
    List,
    /// It has none, or nobody knows which.
    Value,
}

impl Fields {
    /// `None` where there is no file, or nothing can be read of it, which is a fault of its own.
    fn of(form: &Form) -> Option<(&Path, Self)> {
        match &form.format {
            Format::Avro(SchemaSource::File(file)) => {
                Some((file, Self::Avro(serde_json::from_slice(&std::fs::read(file).ok()?).ok()?)))
            }
            Format::Protobuf { schema: SchemaSource::File(file), message } => {
                Some((file, Self::Protobuf(ProtoFile::read(file).ok()?.message(message.as_deref()).ok()?)))
            }
            _ => None,
        }
    }

    /// A schema may contain itself, so no place lies deeper than this.
    const DEEPEST: usize = 6;

    fn note_places(&self, path: &mut Vec<String>, places: &mut Vec<Vec<String>>) {
        for name in self.field("").0 {
            let (_, field) = self.field(&name);
            path.push(name);
            match field {
                Some(Field::Object(inner)) if path.len() < Self::DEEPEST => inner.note_places(path, places),
                Some(Field::Value) => places.push(path.clone()),
                Some(Field::Object(_) | Field::List) | None => {}
            }
            path.pop();
        }
    }

    /// What is wrong with a path; `None` where it leads somewhere.
    fn fault(&self, names: &[String]) -> Option<String> {
        let (name, inside) = names.split_first()?;
        let (known, field) = self.field(name);
        match (field, inside) {
            (None, _) => {
                let meant = nearest(name, known.iter().map(String::as_str));
                let hint = meant.map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
                Some(format!("has no field \"{name}\" there{hint} Known are {}", known.join(", ")))
            }
            (Some(Field::Object(fields)), [_, ..]) => fields.fault(inside),
            (Some(Field::List), [_, ..]) => Some(format!(
                "has a list at \"{name}\": rows = \"$.{name}[*]\" makes a row of each, \"{name}[0]\" is the first"
            )),
            (Some(_), _) => None,
        }
    }

    /// The fields that there are, and the one of this name.
    fn field(&self, name: &str) -> (Vec<String>, Option<Field>) {
        match self {
            Self::Avro(schema) => {
                let Some(fields) = record_of(schema).and_then(|record| record["fields"].as_array()) else {
                    return (Vec::new(), Some(Field::Value));
                };
                let named = |field: &Json| field["name"].as_str().map(str::to_owned);
                let found = fields.iter().find(|field| field["name"] == *name);
                (fields.iter().filter_map(named).collect(), found.map(|field| of_avro(&field["type"])))
            }
            Self::Protobuf(message) => {
                let found = message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name));
                let field = found.map(|field| match field.kind() {
                    _ if field.is_list() => Field::List,
                    // What is well known is written as a text or number.
                    Kind::Message(inner) if !field.is_map() && inner.package_name() != "google.protobuf" => {
                        Field::Object(Self::Protobuf(inner))
                    }
                    _ => Field::Value,
                });
                (message.fields().map(|field| field.name().to_owned()).collect(), field)
            }
        }
    }
}

/// The record that an Avro schema is, or the one of a union's branches that is one.
fn record_of(schema: &Json) -> Option<&Json> {
    match schema {
        Json::Array(branches) => branches.iter().find_map(record_of),
        Json::Object(_) if schema["type"] == "record" => Some(schema),
        Json::Object(object) => object.get("type").filter(|inner| !inner.is_string()).and_then(record_of),
        _ => None,
    }
}

fn of_avro(schema: &Json) -> Field {
    match schema {
        _ if record_of(schema).is_some() => Field::Object(Fields::Avro(schema.clone())),
        Json::Array(branches) => match branches.iter().any(|branch| matches!(of_avro(branch), Field::List)) {
            true => Field::List,
            false => Field::Value,
        },
        Json::Object(object) if object.get("type").is_some_and(|of| of == "array") => Field::List,
        _ => Field::Value,
    }
}
