//! What a windowed query may read.

use super::call::Window;

/// What a name in FROM stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The micro-batch.
    Source,
    /// A table query with windows of this length and slide; sessions have neither.
    Windowed(Window),
    /// A table query without windows.
    Table,
    /// A view of the batch.
    View,
    /// The rows of the last while.
    History,
    /// The last values of each patient.
    Latest,
    /// The alerts that stand, and the batch's values that cannot be read or true.
    Moment,
    /// Rows that change only when they are read anew.
    Reference,
}

/// What the names of tables stand for, and which column of a stream is its time.
pub(crate) trait Inputs {
    /// What `table` stands for.
    fn input(&self, table: &str) -> Option<Input>;
    /// The column of a stream that windows may be over.
    fn time_column(&self, table: &str) -> Option<String>;
}
