//! What a database must be able to do for the store.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::Value;
use super::error::StoreError;

/// A connection that is made again when it is broken.
///
/// Statements use `?` for values and `` ` `` around names, which both families take.
pub(super) trait Database: Debug + Send {
    fn dialect(&self) -> Dialect;

    /// Host and database, or the file; no secrets.
    fn address(&self) -> String;

    /// Runs a statement and returns how many rows it changed.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, Failure>;

    /// Changes, makes, renames or drops `table`. Waits only for a moment for others who have it in use: whoever comes behind
    /// one that waits for a table waits too, and that would be the batches.
    fn define(&mut self, table: &str, sql: &str) -> Result<(), Failure>;

    /// Runs a query and hands on its rows one by one.
    fn for_each(&mut self, sql: &str, values: &[Value], take: &mut dyn FnMut(Vec<Value>)) -> Result<(), Failure>;

    /// Runs a query and returns its rows.
    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, Failure> {
        let mut rows = Vec::new();
        self.for_each(sql, values, &mut |row| rows.push(row))?;
        Ok(rows)
    }

    /// The most bytes that one statement may have, and the most values.
    fn statement_limits(&self) -> (usize, usize);

    /// The columns of a table, by name, with the type as the database writes it and whether it is in the primary key;
    /// empty where there is no such table.
    fn columns(&mut self, table: &str) -> Result<Vec<StoredColumn>, Failure>;

    /// The unique indexes of a table but its key, by name, each with its columns.
    fn unique_indexes(&mut self, table: &str) -> Result<BTreeMap<String, Vec<String>>, Failure>;
    /// Whether a table has an index of this name.
    fn has_index(&mut self, table: &str, index: &str) -> Result<bool, Failure>;

    /// The names of all tables.
    fn tables(&mut self) -> Result<Vec<String>, Failure>;

    /// The server's number of the connection that holds the lock called `name`; `None` where it is free.
    fn locked_by(&mut self, name: &str) -> Result<Option<u64>, Failure>;

    /// Ends another connection to the server; one that is not there any more is as good.
    fn end_connection(&mut self, connection: u64) -> Result<(), Failure>;

    /// Takes the lock called `name`, which ends with the process. It is taken again after a broken connection.
    fn lock(&mut self, name: &str) -> Result<(), StoreError>;
}

/// The family of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// MySQL proper.
    MySql,
    /// MariaDB, which differs from MySQL in the names of collations.
    MariaDb,
    /// SQLite.
    Sqlite,
}

/// A column as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredColumn {
    pub(super) name: String,
    pub(super) r#type: String,
    pub(super) in_key: bool,
}

/// Why a statement failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) message: String,
}

/// What a failed statement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// Try the transaction again.
    Passing,
    /// Others have locked the table or a row: try again, or without the table.
    Locked,
    /// Others have the table in use, which is to be changed.
    Blocked,
    /// The values of a row are at fault. The statement is undone by itself, and the transaction goes on.
    Row,
    /// A trigger of the table refuses it: the row is at fault where the table takes others, else the table. The statement is undone by
    /// itself, and the transaction goes on.
    Raised,
    /// The table is at fault, whatever the rows: it is missing, crashed, not granted, read-only.
    Table,
    /// It cannot be told what is at fault.
    Unknown,
    /// The server refuses this client.
    Access,
    /// Another process is the writer.
    Fenced,
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::Passing | FailureKind::Locked => Self::Unavailable(failure.message),
            FailureKind::Blocked => Self::Blocked(failure.message),
            FailureKind::Row
            | FailureKind::Raised
            | FailureKind::Table
            | FailureKind::Unknown
            | FailureKind::Access => Self::Refused(failure.message),
            FailureKind::Fenced => Self::Fenced(failure.message),
        }
    }
}

/// Begins a transaction.
pub(super) const BEGIN: &str = "BEGIN";

impl Failure {
    /// What the failure means when it came from writing to `table`.
    pub(super) fn of_table(self, table: &str) -> StoreError {
        let table = table.to_owned();
        match self.kind {
            FailureKind::Row | FailureKind::Raised | FailureKind::Table => {
                StoreError::Table { table, reason: self.message }
            }
            FailureKind::Unknown | FailureKind::Locked => StoreError::Unclear { table, reason: self.message },
            FailureKind::Passing | FailureKind::Blocked | FailureKind::Access | FailureKind::Fenced => self.into(),
        }
    }
}
