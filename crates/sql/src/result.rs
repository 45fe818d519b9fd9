//! What is wrong with a query's result for what it is to become: a table's rows, a window's, an alert.

use arrow::datatypes::{DataType, SchemaRef};

use wardwatch_model::diagnostic::{Diagnostic, unknown};
use wardwatch_model::header::Emit;

use super::file::{QueryFile, QueryKind};
use super::query::Body;
use super::source::Source;

/// What is wrong with the columns of a result.
pub(super) fn check_result(file: &QueryFile, schema: &SchemaRef, source: &Source<'_>) -> Vec<Diagnostic> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    match &file.kind {
        QueryKind::Table(header) => {
            let unnamed = names().filter(|name| !is_plain(name)).map(|name| {
                let message =
                    format!("result column \"{name}\" needs a name of its own: write \"AS <name>\" in lower case");
                file.diagnostic(1, 1, message)
            });
            let (line, column) = file.header_place("key");
            let no_key = header
                .key
                .iter()
                .filter(|key| schema.index_of(key).is_err())
                .map(|key| file.diagnostic(line, column, format!("@key: {}", unknown("column", key, names()))));
            unnamed.chain(no_key).collect()
        }
        QueryKind::Rule(_) => {
            let is_text = |data_type: &DataType| matches!(data_type, DataType::Utf8View | DataType::Utf8);
            let key = match schema.field_with_name(source.key) {
                Ok(field) if is_text(field.data_type()) => None,
                Ok(_) => Some(format!("column \"{}\" must be the patient's, a text", source.key)),
                Err(_) => {
                    Some(format!("a rule must return the column \"{}\", so that its alert has a patient", source.key))
                }
            };
            let time = schema.field_with_name(source.event_time).ok().and_then(|field| {
                let same = source.schema.field_with_name(source.event_time).ok()?.data_type() == field.data_type();
                (!same).then(|| format!("column \"{}\" must be the sample's, unchanged", source.event_time))
            });
            key.into_iter().chain(time).map(|message| file.diagnostic(1, 1, message)).collect()
        }
        QueryKind::View => Vec::new(),
    }
}

/// What is wrong with a header beside a window, or without one.
pub(super) fn check_window(file: &QueryFile, body: &Body) -> Vec<Diagnostic> {
    let QueryKind::Table(header) = &file.kind else { return Vec::new() };
    let at = |name: &str, message: String| {
        let (line, column) = file.header_place(name);
        file.diagnostic(line, column, message)
    };
    match body {
        Body::Plain(_) => ["emit", "start"]
            .into_iter()
            .filter(|name| file.header_place(name) != (1, 1))
            .map(|name| at(name, format!("@{name} is for a query with a window; this one has none")))
            .collect(),
        Body::Windowed(windowed) if windowed.has_moving_start() && header.emit == Emit::Change => {
            vec![at(
                "emit",
                "a session's start may move until it closes, so it has no row to change; leave @emit out".to_owned(),
            )]
        }
        Body::Windowed(windowed) => match &windowed.time_column {
            Some(start) if header.key.contains(start) => Vec::new(),
            Some(start) => {
                vec![at("key", format!("@key must name \"{start}\", or a window would overwrite the one before"))]
            }
            None => vec![file.diagnostic(
                1,
                1,
                "the result must have the window's start as a column of its own, and @key must name it".to_owned(),
            )],
        },
    }
}

fn is_plain(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
