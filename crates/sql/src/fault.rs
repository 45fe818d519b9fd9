//! From DataFusion's errors to ours: the place in the file, the name quoted, the nearest valid name.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use wardwatch_model::diagnostic::{Diagnostic, nearest};

use super::file::QueryFile;

/// What is wrong with `file`, told by an error of parsing or planning it.
pub(super) fn diagnose(file: &QueryFile, error: &DataFusionError) -> Diagnostic {
    let root = error.find_root();
    let place =
        error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| (span.start.line, span.start.column));
    let (message, written) = match root {
        DataFusionError::SchemaError(schema, _) => schema_message(schema),
        DataFusionError::SQL(error, _) => (tidy(&error.to_string()), None),
        // Ours: what is refused of windows.
        DataFusionError::Plan(message) if place.is_none() => (message.clone(), subject(message)),
        other => (tidy(&other.strip_backtrace()), None),
    };
    let message = if matches!(root, DataFusionError::Plan(_)) && !message.contains("INTERVAL '") {
        tidy(&message)
    } else {
        message
    };
    let (message, at) = without_place(&message);
    let place = place.filter(|(line, _)| *line > 0).or(at).map(|(line, column)| (line as usize, column as usize));
    let (line, column) = place.or_else(|| find_word(&file.text, written.as_deref()?)).unwrap_or((1, 1));
    file.diagnostic(line, column, message)
}

/// What a message of planning is about, as it is written in the file: the function that it starts with, or the first
/// name that it quotes.
fn subject(message: &str) -> Option<String> {
    match message.split_once("():") {
        Some((function, _)) if function.chars().all(|c| c.is_ascii_lowercase() || c == '_') => {
            Some(format!("{function}("))
        }
        _ => message.split('"').nth(1).map(str::to_owned),
    }
}

/// The message, and the name as it is written in the file.
fn schema_message(error: &SchemaError) -> (String, Option<String>) {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let known = valid_fields.iter().map(|column| column.name.as_str());
            let hint = match nearest(&field.name, known) {
                Some(near) => format!("; did you mean \"{near}\"?"),
                None if valid_fields.is_empty() => String::new(),
                None => {
                    let names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
                    format!("; known are {}", names.join(", "))
                }
            };
            (format!("unknown column \"{}\"{hint}", field.name), Some(field.name.clone()))
        }
        other => (tidy(&other.to_string()), None),
    }
}

/// What the error says itself, in our form: its first line without DataFusion's own name for the kind of error, and
/// the name that it suggests.
pub(super) fn tidy(message: &str) -> String {
    let mut lines = message.lines();
    let mut text = lines.next().unwrap_or_default().trim();
    let hint = lines.find(|line| line.starts_with("Did you mean"));
    while let Some((kind, rest)) = text.split_once(": ") {
        let lower = kind.to_lowercase();
        let is_kind = lower.ends_with("error") || lower.starts_with("error during") || lower == "context";
        if !is_kind {
            break;
        }
        text = rest;
    }
    let hint = hint.map(|hint| format!("; {}", hint.replacen('D', "d", 1))).unwrap_or_default();
    let text = format!("{}{hint}", text.trim_end_matches('.')).replace('\'', "\"");
    let mut letters = text.chars();
    match letters.next() {
        // "SQL" and the like stay as they are.
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text,
    }
}

/// sqlparser ends its messages with "at Line: 3, Column: 7".
fn without_place(message: &str) -> (String, Option<(u64, u64)>) {
    let Some((before, place)) = message.rsplit_once(" at Line: ") else { return (message.to_owned(), None) };
    let numbers = place.split_once(", Column: ").and_then(|(line, column)| {
        let column: String = column.chars().take_while(char::is_ascii_digit).collect();
        Some((line.parse().ok()?, column.parse().ok()?))
    });
    (before.to_owned(), numbers)
}

/// Where `word` stands first in `text` outside a comment.
fn find_word(text: &str, word: &str) -> Option<(usize, usize)> {
    text.lines().zip(1..).find_map(|(line, number)| {
        let code = line.split("--").next().unwrap_or_default();
        Some((number, code[..code.find(word)?].chars().count() + 1))
    })
}
