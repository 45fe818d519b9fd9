//! Records taken apart, before their values are read.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use wardwatch_model::record::Item;

/// What was parsed: rows, and what is none.
///
/// The batch lacks the paths that no row has.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(super) batch: RecordBatch,
    /// Of which record each row is.
    pub(super) rows: Vec<RowOf>,
    /// What became no row, and why.
    pub(super) rejects: Vec<(RowOf, String)>,
    /// How many records are none on purpose.
    pub(super) ignored: usize,
    /// The values that could not be read, by the place in the batch where they stand, in the order of rows.
    pub(super) misread: BTreeMap<Vec<String>, Vec<Unreadable>>,
    /// The rows as they were written for the JSON decoder; `None` where these are the records' own payloads.
    pub(super) texts: Option<Texts>,
}

impl Parsed {
    /// A row as it was written for the JSON decoder; `None` where that is the record's own payload.
    pub(super) fn text(&self, row: usize) -> Option<&[u8]> {
        self.texts.as_ref().map(|texts| texts.get(row))
    }
}

/// Which of a record's rows one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowOf {
    /// The record's index among those that are decoded.
    pub(super) record: usize,
    pub(super) item: Item,
}

/// A value that could not be read as its place's type wants it; the parsed batch has NULL there.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(super) row: usize,
    /// As it was sent.
    pub(super) text: String,
    /// What is said of it: `is not a valid number`.
    pub(super) reason: String,
    /// Whether it stands where an object with the place in it should: the place is not there, and another may be.
    pub(super) is_in_its_stead: bool,
}

/// Texts, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}
