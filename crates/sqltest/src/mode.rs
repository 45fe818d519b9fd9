//! In which splits of its records a test is played.

use std::fmt;

/// How a test's records are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayMode {
    /// In the batches of the test: what is expected is looked for here.
    AsGiven,
    /// Each record in a batch of its own: the same must follow.
    RecordByRecord,
    /// Batches that follow each other as one: the same must follow.
    AtOnce,
    /// With a stop and a recovery behind each batch: the same must follow.
    Interrupted,
}

impl fmt::Display for ReplayMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsGiven => "as given",
            Self::RecordByRecord => "record by record",
            Self::AtOnce => "all at once",
            Self::Interrupted => "stopped and recovered between batches",
        })
    }
}
