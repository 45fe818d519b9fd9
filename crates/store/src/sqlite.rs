//! SQLite, the embedded default: one file, write-ahead log, full durability.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ffi::{SQLITE_CONSTRAINT_TRIGGER, SQLITE_ERROR};
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql, params_from_iter};

use super::complaint::LOCKED;
use super::database::{Database, Dialect, Failure, FailureKind, StoredColumn};
use super::error::StoreError;
use super::value::Value;

/// How long a writer waits for another one, such as somebody's shell.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Sqlite {
    connection: Connection,
    path: PathBuf,
    /// Held while this process writes for the job.
    lock: Option<File>,
}

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path)
            .and_then(|connection| {
                connection.busy_timeout(PATIENCE)?;
                connection.pragma_update(None, "journal_mode", "wal")?;
                connection.pragma_update(None, "synchronous", "full")?;
                connection.set_prepared_statement_cache_capacity(256);
                Ok(connection)
            })
            .map_err(|error| {
                let message = format!("SQLite file \"{}\" cannot be opened: {error}", path.display());
                match failure(error).kind {
                    // A full disk may have room later; a folder that is not there stays away.
                    FailureKind::Passing
                        if path.parent().is_none_or(|folder| folder == Path::new("") || folder.is_dir()) =>
                    {
                        StoreError::Unavailable(message)
                    }
                    _ => StoreError::Refused(message),
                }
            })?;
        Ok(Self { connection, path: path.to_owned(), lock: None })
    }
}

impl Database for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn address(&self) -> String {
        format!("SQLite file \"{}\"", self.path.display())
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, Failure> {
        if values.is_empty() {
            self.connection.execute_batch(sql).map_err(failure)?;
            return Ok(0);
        }
        let mut statement = self.connection.prepare_cached(sql).map_err(failure)?;
        let changed = statement.execute(params_from_iter(values)).map_err(failure)?;
        Ok(changed as u64)
    }

    fn define(&mut self, table: &str, sql: &str) -> Result<(), Failure> {
        let done = self.connection.execute_batch(sql);
        if done.is_err() && !self.connection.is_autocommit() {
            // It may be several statements within one transaction.
            self.connection.execute_batch("ROLLBACK").map_err(failure)?;
        }
        done.map_err(|error| {
            let is_busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            let failure = failure(error);
            let message = format!("table \"{table}\" cannot be changed: {}", failure.message);
            if is_busy { Failure { kind: FailureKind::Blocked, message } } else { failure }
        })
    }

    fn for_each(&mut self, sql: &str, values: &[Value], take: &mut dyn FnMut(Vec<Value>)) -> Result<(), Failure> {
        let mut statement = self.connection.prepare_cached(sql).map_err(failure)?;
        let width = statement.column_count();
        let mut rows = statement.query(params_from_iter(values)).map_err(failure)?;
        while let Some(row) = rows.next().map_err(failure)? {
            let values = (0..width).map(|column| Ok(value(row.get_ref(column)?)));
            take(values.collect::<Result<_, _>>().map_err(failure)?);
        }
        Ok(())
    }

    fn statement_limits(&self) -> (usize, usize) {
        (256 << 20, 32_766)
    }

    fn columns(&mut self, table: &str) -> Result<Vec<StoredColumn>, Failure> {
        let rows = self.query("SELECT name, type, pk FROM pragma_table_info(?)", &[Value::text(table)])?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                Some(StoredColumn {
                    name: row.first()?.as_text()?.to_owned(),
                    r#type: row.get(1)?.as_text()?.to_owned(),
                    in_key: row.get(2)?.as_int()? > 0,
                })
            })
            .collect())
    }

    fn unique_indexes(&mut self, table: &str) -> Result<BTreeMap<String, Vec<String>>, Failure> {
        let sql = "SELECT list.name, info.name FROM pragma_index_list(?) AS list, pragma_index_info(list.name) AS info \
                   WHERE list.\"unique\" = 1 AND list.origin <> 'pk' ORDER BY list.name, info.seqno";
        let mut indexes = BTreeMap::<String, Vec<String>>::new();
        for row in self.query(sql, &[Value::text(table)])? {
            let mut texts = row.iter().map(Value::as_text);
            let Some(index) = texts.next().flatten() else { continue };
            indexes.entry(index.to_owned()).or_default().extend(texts.flatten().map(str::to_owned));
        }
        Ok(indexes)
    }

    fn has_index(&mut self, _table: &str, index: &str) -> Result<bool, Failure> {
        let rows =
            self.query("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?", &[Value::text(index)])?;
        Ok(!rows.is_empty())
    }

    fn tables(&mut self) -> Result<Vec<String>, Failure> {
        let rows = self.query("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name", &[])?;
        Ok(rows.iter().filter_map(|row| Some(row.first()?.as_text()?.to_owned())).collect())
    }

    /// The operating system does not say who has locked a file, and ends the lock with the process.
    fn locked_by(&mut self, _name: &str) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    /// There are none: each process opens the file by itself.
    fn end_connection(&mut self, _connection: u64) -> Result<(), Failure> {
        Ok(())
    }

    fn lock(&mut self, _name: &str) -> Result<(), StoreError> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let refused = |error: std::io::Error| {
            StoreError::Refused(format!("lock file \"{}\" cannot be opened: {error}", Path::new(&path).display()))
        };
        let file = File::options().create(true).append(true).open(&path).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => {
                self.lock = Some(file);
                Ok(())
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Fenced(format!(
                "another process writes to \"{}\"; it goes on, this one stops",
                self.path.display()
            ))),
            Err(std::fs::TryLockError::Error(error)) => Err(refused(error)),
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(SqlValue::Null),
            Self::Int(value) => ToSqlOutput::Owned(SqlValue::Integer(*value)),
            #[allow(clippy::cast_precision_loss, reason = "SQLite has no larger whole number")]
            Self::UInt(value) => ToSqlOutput::Owned(SqlValue::Real(*value as f64)),
            Self::Float(value) => ToSqlOutput::Owned(SqlValue::Real(*value)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            // The same form for all, so that texts compare as times do.
            Self::Time(time) => ToSqlOutput::Owned(SqlValue::Text(time.format("%Y-%m-%d %H:%M:%S%.6f").to_string())),
            Self::Date(date) => ToSqlOutput::Owned(SqlValue::Text(date.format("%Y-%m-%d").to_string())),
        })
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Float(value),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is a map_err target")]
fn failure(error: rusqlite::Error) -> Failure {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    let kind = match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory,
        ) => FailureKind::Passing,
        Some(ErrorCode::PermissionDenied | ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => FailureKind::Access,
        // What a trigger raises may be of the row or of anything else.
        Some(ErrorCode::ConstraintViolation) if extended == Some(SQLITE_CONSTRAINT_TRIGGER) => FailureKind::Unknown,
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => FailureKind::Row,
        // Statements of ours are wrong only where a table or a column is not there.
        Some(ErrorCode::Unknown) if extended == Some(SQLITE_ERROR) => FailureKind::Table,
        _ => FailureKind::Unknown,
    };
    let message = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy) => {
            format!("{LOCKED} for more than {} s", PATIENCE.as_secs())
        }
        _ => error.to_string(),
    };
    Failure { kind, message }
}
