//! Faults and warnings as people read them: the line that they are about, a caret, and where the guide tells more.

use std::fmt::Write;

use serde_json::json;

use wardwatch_model::diagnostic::{Diagnostic, Warning};

use super::samples::OF_SAMPLES;

/// The fault as `file:line:column: message`, then its line with a caret below, then where the guide tells of it.
pub(super) fn fault(fault: &Diagnostic) -> String {
    format!("{fault}\n{}", excerpt(fault, guide(fault)))
}

/// The same of a warning.
pub(super) fn warning(warning: &Warning) -> String {
    format!("{warning}\n{}", excerpt(&warning.diagnostic, Some(guide_to(warning.name))))
}

/// Where the guides tell of a warning.
fn guide_to(name: &str) -> &'static str {
    match OF_SAMPLES.contains(&name) {
        true => "docs/forms.md#from-an-unknown-topic-to-a-running-job",
        false => "docs/analysts.md#warnings",
    }
}

/// Faults and warnings for editors: a JSON array.
pub(super) fn json(faults: &[Diagnostic], warnings: &[Warning]) -> String {
    let entry = |found: &Diagnostic, severity: &str, name: Option<&str>, guide: Option<&str>| {
        json!({
            "file": found.file.display().to_string(),
            "line": found.line,
            "column": found.column,
            "end_column": found.column + source_line(found).map_or(1, |line| length(&line, found.column)),
            "severity": severity,
            "name": name,
            "message": found.message,
            "guide": guide,
        })
    };
    let faults = faults.iter().map(|found| entry(found, "error", None, guide(found)));
    let warnings =
        warnings.iter().map(|found| entry(&found.diagnostic, "warning", Some(found.name), Some(guide_to(found.name))));
    let all: Vec<serde_json::Value> = faults.chain(warnings).collect();
    format!("{:#}", serde_json::Value::Array(all))
}

fn excerpt(found: &Diagnostic, guide: Option<&str>) -> String {
    let mut text = String::new();
    let number = found.line.to_string();
    let margin = " ".repeat(number.len());
    if let Some(line) = source_line(found) {
        // Tabs would shift the caret.
        let before: String =
            line.chars().take(found.column.saturating_sub(1)).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(length(&line, found.column));
        let _ = writeln!(text, " {margin} |\n {number} | {}\n {margin} | {before}{carets}", line.trim_end());
    }
    if let Some(guide) = guide {
        let _ = writeln!(text, " {margin} = {guide}");
    }
    text
}

/// The line that it is about; none where it is about the file as a whole.
fn source_line(found: &Diagnostic) -> Option<String> {
    let text = std::fs::read_to_string(&found.file).ok()?;
    text.lines().nth(found.line.checked_sub(1)?).filter(|line| !line.trim().is_empty()).map(str::to_owned)
}

/// How long the word is that starts in the column.
fn length(line: &str, column: usize) -> usize {
    let word =
        line.chars().skip(column.saturating_sub(1)).take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '@' | '.'));
    word.count().max(1)
}

/// Where the guide tells of it.
fn guide(fault: &Diagnostic) -> Option<&'static str> {
    const SQL: [(&str, &str); 9] = [
        ("unknown table", "docs/analysts.md#what-a-query-may-read"),
        ("unknown column", "docs/analysts.md#what-a-query-may-read"),
        ("batch by batch", "docs/analysts.md#windows"),
        ("window", "docs/analysts.md#windows"),
        ("function", "docs/analysts.md#functions"),
        ("header key", "docs/analysts.md#headers"),
        ("@", "docs/analysts.md#headers"),
        ("severity", "docs/analysts.md#headers"),
        ("a rule must", "docs/analysts.md#a-rule"),
    ];
    let folder = fault.file.parent().and_then(|folder| folder.file_name()).and_then(|name| name.to_str());
    let extension = fault.file.extension().and_then(|extension| extension.to_str());
    match (folder, extension) {
        (_, Some("csv")) => Some("docs/analysts.md#reference-tables"),
        (Some("tests"), Some("toml")) => Some("docs/analysts.md#tests"),
        (Some("reports"), Some("toml")) => Some("docs/reports.md#the-spec"),
        (_, Some("toml")) => Some("docs/analysts.md#the-job-file"),
        (_, Some("sql")) => {
            let chapter = SQL.iter().find(|(part, _)| fault.message.contains(part));
            Some(chapter.map_or("docs/analysts.md", |(_, guide)| *guide))
        }
        _ => None,
    }
}
