//! A fault of a file that a person wrote: where it is and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault, shown as `file:line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What is wrong, and the nearest valid thing.
    pub message: String,
}

impl Diagnostic {
    /// A fault at a byte of `text`, which is the file's.
    #[must_use]
    pub fn at(file: &Path, text: &str, offset: usize, message: String) -> Self {
        let (line, column) = place(text, offset);
        Self { file: file.to_owned(), line, column, message }
    }
}

/// The line and the column in characters, both counted from 1, of a byte of `text`.
#[must_use]
pub fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line = before.matches('\n').count() + 1;
    (line, before.chars().rev().take_while(|letter| *letter != '\n').count() + 1)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)
    }
}

/// What is no fault but mostly a mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Where it is, and what is meant.
    pub diagnostic: Diagnostic,
    /// Of which kind it is: the name by which a file allows it.
    pub name: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { file, line, column, message } = &self.diagnostic;
        write!(f, "{}:{line}:{column}: warning: {message} [{}]", file.display(), self.name)
    }
}

/// Every fault that was found, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The name in `known` that is closest to `wrong`, if one is close enough to be meant.
///
/// Closeness is the Damerau–Levenshtein distance without regard to case; a third of the letters may differ.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= wrong.len().max(name.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `unknown <kind> "<wrong>"`, then the nearest of `known`, or all of them where none is near.
#[must_use]
pub fn unknown<'a>(kind: &str, wrong: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(wrong, known.clone()) {
        None if known.clone().next().is_none() => format!("unknown {kind} \"{wrong}\"; there is none"),
        Some(near) => format!("unknown {kind} \"{wrong}\"; did you mean \"{near}\"?"),
        None => format!("unknown {kind} \"{wrong}\"; known are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_close_to_a_known_one_are_recognised_and_others_are_not() {
        assert_eq!(nearest("hart_rate", ["spo2", "heart_rate"]), Some("heart_rate"));
        assert_eq!(nearest("temperature", ["spo2", "heart_rate"]), None);
    }
}
