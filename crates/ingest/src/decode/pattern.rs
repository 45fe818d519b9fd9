//! Text whose lines a regular expression takes apart: each line is an item.

use std::borrow::Cow;

use wardwatch_config::Pattern;

use super::line::{Line, utf8};
use super::schema::Layout;

/// Reads lines by the named groups of an expression.
#[derive(Debug)]
pub(super) struct PatternReader {
    pattern: Pattern,
    /// The group that each place reads.
    groups: Vec<String>,
}

impl PatternReader {
    pub(super) fn new(pattern: &Pattern, layout: &Layout) -> Self {
        let groups = layout.searched().iter().map(|searched| searched.fields().join(".")).collect();
        Self { pattern: pattern.clone(), groups }
    }

    pub(super) fn read(&self, content: &[u8], take: &mut dyn FnMut(Line<'_>)) {
        let content = match utf8(content) {
            Ok(content) => content,
            Err(reason) => return take(Line::Fault(reason)),
        };
        for line in content.lines().filter(|line| !line.trim().is_empty()) {
            match self.pattern.0.captures(line) {
                None => take(Line::Fault(format!("the pattern \"{}\" finds nothing in it", self.pattern.0.as_str()))),
                Some(found) => take(Line::Item(&|place: usize| {
                    found.name(&self.groups[place]).map(|found| Cow::Borrowed(found.as_str()))
                })),
            }
        }
    }
}
