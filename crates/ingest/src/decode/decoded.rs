//! What records became.

use arrow::array::RecordBatch;

use wardwatch_model::record::{Artefact, Reject};

/// What records became. Every item of a record is a row or a reject, in the order in which they came, or is left out on purpose
/// and counted.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The rows; schema: [`super::frame_schema`].
    pub rows: RecordBatch,
    /// The records, and items of them, that are no rows.
    pub rejects: Vec<Reject>,
    /// The values that cannot be read or cannot be true.
    pub artefacts: Vec<Artefact>,
    /// How many records, and items of them, are no rows on purpose.
    pub ignored: usize,
}
