//! A record on its way into its stream.

/// What of a record its stream needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// Its row in the frame.
    pub(super) row: usize,
    pub(super) at: i64,
    pub(super) stamped: i64,
    pub(super) columns: u128,
    /// The columns that have a doubtful value in place of one.
    pub(super) doubts: u128,
    pub(super) hash: u32,
}
