//! Records taken apart, before their values are read.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use wardwatch_config::SourcePath;

/// What was parsed: a row per record of `kept`, in its order.
///
/// The batch lacks the paths that no record has.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(super) batch: RecordBatch,
    /// The index of each row's record.
    pub(super) kept: Vec<usize>,
    /// The index of each record that is no row, and why.
    pub(super) rejects: Vec<(usize, String)>,
    /// The values that could not be read, by the place where they stand, in the order of rows.
    pub(super) misread: BTreeMap<SourcePath, Vec<Unreadable>>,
}

/// A value that could not be read as its place's type wants it; the parsed batch has NULL there.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(super) row: usize,
    /// As it was sent.
    pub(super) text: String,
    /// What is said of it: `is not a valid number`.
    pub(super) reason: String,
}
