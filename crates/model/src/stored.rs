//! Tables that stand somewhere, as a SELECT reads them.

use std::fmt::Debug;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

/// Why stored tables cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StoredError {
    /// In words.
    pub reason: String,
    /// Whether they can perhaps be when it is tried again: the database does not answer.
    pub is_transient: bool,
}

/// Tables that are read where they stand.
pub trait StoredTables: Debug + Send + Sync {
    /// The names of all tables that may be read.
    ///
    /// # Errors
    /// Why they cannot be told.
    fn names(&self) -> Result<Vec<String>, StoredError>;

    /// Whether a name is that of a table that may not be read. Such a one has no schema, and is not among the names.
    fn is_private(&self, table: &str) -> bool;

    /// The columns of a table; `None` where there is none of that name.
    ///
    /// # Errors
    /// Why they cannot be told.
    fn schema(&self, table: &str) -> Result<Option<SchemaRef>, StoredError>;

    /// These columns of the rows that meet all of `conditions`, in their order; rows that meet some only may be among them.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn scan(&self, table: &str, columns: &[String], conditions: &[Condition]) -> Result<RecordBatch, StoredError>;
}

/// What a database may judge of a row.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The column.
    pub column: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what: one value, or several of [`Comparison::AnyOf`]; none is NULL.
    pub values: ArrayRef,
}

/// How a column is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `IN`
    AnyOf,
}
