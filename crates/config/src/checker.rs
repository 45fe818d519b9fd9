//! Takes values out of the raw job file and collects what is wrong with them, for every part of the file alike.

use std::ops::Range;
use std::path::{Path, PathBuf};

use wardwatch_model::diagnostic::Diagnostic;
use wardwatch_model::terms::{is_private_table, private_table};

use super::SourcePath;
use super::spanned::Spanned;
use super::units::expand;

/// Collects faults while values are taken out of the raw job.
pub(super) struct Checker<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    pub(super) errors: Vec<Diagnostic>,
}

impl Checker<'_> {
    pub(super) fn relative(&self, path: &str) -> PathBuf {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        // Shown in messages, so "jobs/../sql/vitals" becomes "sql/vitals".
        let mut tidy = PathBuf::new();
        for part in folder.join(path).components() {
            match part {
                std::path::Component::ParentDir if tidy.file_name().is_some() => {
                    tidy.pop();
                }
                std::path::Component::CurDir => {}
                other => tidy.push(other),
            }
        }
        if tidy.as_os_str().is_empty() { PathBuf::from(".") } else { tidy }
    }

    pub(super) fn path(&mut self, text: &str) -> Option<SourcePath> {
        let start = self.text.find(text).unwrap_or(0);
        self.path_at(text, start..start)
    }

    /// A path in a record's value.
    pub(super) fn field(&mut self, text: &str) -> Option<SourcePath> {
        let path = self.path(text)?;
        if path.beside().is_none() {
            return Some(path);
        }
        let start = self.text.find(text).unwrap_or(0);
        self.refuse(start..start, format!("\"{text}\" is beside the record; name a field of it here"))
    }

    pub(super) fn path_at(&mut self, text: &str, place: Range<usize>) -> Option<SourcePath> {
        match SourcePath::parse(text) {
            Ok(path) => Some(path),
            Err(message) => self.refuse(place, message),
        }
    }

    /// A number of something, at least one.
    pub(super) fn count_or(&mut self, value: Option<Spanned<i64>>, default: usize, what: &str) -> Option<usize> {
        let Some(value) = value else { return Some(default) };
        match usize::try_from(*value.get_ref()) {
            Ok(count) if count > 0 => Some(count),
            _ => self
                .refuse(value.span(), format!("\"{}\" is no number of {what}; it must be at least 1", value.get_ref())),
        }
    }

    pub(super) fn text_or(&mut self, value: Option<Spanned<String>>, default: &str) -> String {
        self.or_default(value, default, not_empty).unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn or_default<T>(
        &mut self,
        value: Option<Spanned<String>>,
        default: &str,
        convert: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match value {
            Some(value) => self.required(value, convert),
            None => convert(default).map_err(|message| self.refuse::<T>(0..0, message)).ok(),
        }
    }

    pub(super) fn required<T>(
        &mut self,
        value: Spanned<String>,
        convert: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let place = value.span();
        match expand(value.get_ref(), self.environment).and_then(|text| convert(&text)) {
            Ok(value) => Some(value),
            Err(message) => self.refuse(place, message),
        }
    }

    pub(super) fn refuse<T>(&mut self, place: Range<usize>, message: String) -> Option<T> {
        self.errors.push(Diagnostic::at(self.file, self.text, place.start, message));
        None
    }
}

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("this must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// A name that needs no quotes in SQL; one underscore at the start is kept for wardwatch's own columns.
pub(super) fn identifier(text: &str) -> Result<String, String> {
    let letters = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if letters && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.len() <= 64 {
        Ok(text.to_owned())
    } else {
        Err(format!("\"{text}\" is no name for SQL; use lower-case letters, digits and \"_\", a letter first"))
    }
}

/// The name of a table that SQL may read.
pub(super) fn table_name(text: &str) -> Result<String, String> {
    if is_private_table(text) { Err(private_table(text)) } else { identifier(text) }
}
