//! MySQL and MariaDB through the `mysql` crate: prepared statements, strict mode, UTC.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{Datelike, NaiveDate, Timelike};
use mysql::consts::ColumnType;
use mysql::prelude::Queryable;
use mysql::{Column, Conn, Opts, OptsBuilder, Params, SslOpts, Value as SqlValue};

use super::Value;
use super::database::{BEGIN, Database, Dialect, Failure, FailureKind, StoredColumn};
use super::error::StoreError;
use super::mysql_errors::{failure, is_of_rights, is_of_shutdown};

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait for the lock of a predecessor that was killed: the server notices its closed connection.
const LOCK_PATIENCE_SECONDS: i64 = 5;

/// How long a batch waits for a table or a row that others have locked, in seconds. If it is rows of a query, they wait; the
/// ward's alarms must not.
const BATCHES_WAIT: &str = "SET SESSION lock_wait_timeout = 2, innodb_lock_wait_timeout = 2";

/// A table that is in use is tried so often before it counts as blocked: the batches of the job itself come and go.
const TRIES: u32 = 4;
const BETWEEN_TRIES: Duration = Duration::from_millis(150);

/// Whoever has a table in use for less than this is most likely done in a moment.
const LONG_SECONDS: u64 = 2;

pub(super) struct MySql {
    options: Opts,
    connection: Option<Conn>,
    dialect: Dialect,
    max_packet: usize,
    lock: Option<Lock>,
    /// Whether the server has refused something for want of a right: what is granted later counts for new connections.
    was_denied: bool,
}

/// The lock that makes this process the writer, and the server's number of the connection that holds it.
#[derive(Debug, Clone)]
struct Lock {
    name: String,
    holder: u32,
}

impl MySql {
    pub(super) fn connect(url: &str, patience: Duration) -> Result<Self, StoreError> {
        let options = options(url, patience).map_err(StoreError::Refused)?;
        let mut store = Self {
            options,
            connection: None,
            dialect: Dialect::MySql,
            max_packet: 1 << 20,
            lock: None,
            was_denied: false,
        };
        store.connected()?;
        Ok(store)
    }

    /// The connection, made anew where it was broken.
    fn connected(&mut self) -> Result<&mut Conn, Failure> {
        if self.connection.is_none() {
            let mut connection = Conn::new(self.options.clone()).map_err(|error| failure(&error))?;
            let found: Option<(String, u64)> =
                connection.query_first("SELECT VERSION(), @@max_allowed_packet").map_err(|error| failure(&error))?;
            let (version, packet) = found.unwrap_or_default();
            self.dialect = if version.contains("MariaDB") { Dialect::MariaDb } else { Dialect::MySql };
            self.max_packet = usize::try_from(packet).unwrap_or(usize::MAX).max(1 << 16);
            if let Some(lock) = self.lock.clone() {
                self.lock = Some(take_lock(&mut connection, &lock.name, Some(lock.holder))?);
            }
            self.connection = Some(connection);
        }
        self.connection
            .as_mut()
            .ok_or_else(|| Failure { kind: FailureKind::Passing, message: "there is no connection".to_owned() })
    }

    /// Locks are the server's, so those of another database have other names.
    fn lock_name(&self, name: &str) -> String {
        format!("{}.{name}", self.options.get_db_name().unwrap_or_default())
    }

    fn run<T>(&mut self, work: impl FnOnce(&mut Conn) -> mysql::Result<T>) -> Result<T, Failure> {
        let connection = self.connected()?;
        work(connection).map_err(|error| {
            // After anything but a plain error of the server the state of the connection is unknown.
            if !matches!(error, mysql::Error::MySqlError(_)) || is_of_shutdown(&error) {
                self.connection = None;
            }
            self.was_denied |= is_of_rights(&error);
            failure(&error)
        })
    }
}

impl Database for MySql {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn address(&self) -> String {
        format!(
            "MySQL at {}:{}, database \"{}\"",
            self.options.get_ip_or_hostname(),
            self.options.get_tcp_port(),
            self.options.get_db_name().unwrap_or_default()
        )
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, Failure> {
        if sql == BEGIN && std::mem::take(&mut self.was_denied) {
            self.connection = None;
        }
        self.run(|connection| {
            if values.is_empty() {
                connection.query_drop(sql)?;
            } else {
                connection.exec_drop(sql, Params::Positional(values.iter().map(to_sql).collect()))?;
            }
            Ok(connection.affected_rows())
        })
    }

    fn define(&mut self, table: &str, sql: &str) -> Result<(), Failure> {
        // Where it is seen that the table will not be free, it is not even asked for.
        if let Some(holders) = self.holders(table, LONG_SECONDS) {
            return Err(self.blocked(table, holders));
        }
        // A second is the least that MySQL can wait. MariaDB can do without, so it is tried more than once.
        let (seconds, tries) = if self.dialect == Dialect::MariaDb { (0, TRIES) } else { (1, 1) };
        self.run(|connection| connection.query_drop(format!("SET SESSION lock_wait_timeout = {seconds}")))?;
        let mut done = self.run(|connection| connection.query_drop(sql));
        for _ in 1..tries {
            if !matches!(&done, Err(failure) if is_lock_timeout(failure)) {
                break;
            }
            std::thread::sleep(BETWEEN_TRIES);
            done = self.run(|connection| connection.query_drop(sql));
        }
        self.run(|connection| connection.query_drop(BATCHES_WAIT))?;
        done.map_err(|failure| match is_lock_timeout(&failure) {
            true => {
                let holders = self.holders(table, 0).or_else(|| self.open_transactions());
                self.blocked(table, holders.unwrap_or_default())
            }
            false => failure,
        })
    }

    fn for_each(&mut self, sql: &str, values: &[Value], take: &mut dyn FnMut(Vec<Value>)) -> Result<(), Failure> {
        self.run(|connection| {
            let parameters = match values {
                [] => Params::Empty,
                values => Params::Positional(values.iter().map(to_sql).collect()),
            };
            for row in connection.exec_iter(sql, parameters)? {
                let row = row?;
                let columns = row.columns();
                let values = row.unwrap().into_iter().zip(columns.iter());
                take(values.map(|(value, column)| from_sql(value, column)).collect());
            }
            Ok(())
        })
    }

    fn statement_limits(&self) -> (usize, usize) {
        (self.max_packet, usize::from(u16::MAX))
    }

    fn columns(&mut self, table: &str) -> Result<Vec<StoredColumn>, Failure> {
        let sql = "SELECT column_name, column_type, column_key FROM information_schema.columns \
                   WHERE table_schema = DATABASE() AND table_name = ? ORDER BY ordinal_position";
        let found: Vec<(String, String, String)> = self.run(|connection| connection.exec(sql, (table,)))?;
        Ok(found.into_iter().map(|(name, r#type, key)| StoredColumn { name, r#type, in_key: key == "PRI" }).collect())
    }

    fn unique_indexes(&mut self, table: &str) -> Result<BTreeMap<String, Vec<String>>, Failure> {
        let sql = "SELECT index_name, column_name FROM information_schema.statistics WHERE table_schema = DATABASE() \
                   AND table_name = ? AND non_unique = 0 AND index_name <> 'PRIMARY' ORDER BY index_name, seq_in_index";
        let found: Vec<(String, Option<String>)> = self.run(|connection| connection.exec(sql, (table,)))?;
        let mut indexes = BTreeMap::<String, Vec<String>>::new();
        for (index, column) in found {
            // An index on an expression has no column there.
            indexes.entry(index).or_default().extend(column);
        }
        Ok(indexes)
    }

    fn has_index(&mut self, table: &str, index: &str) -> Result<bool, Failure> {
        let sql = "SELECT COUNT(*) FROM information_schema.statistics \
                   WHERE table_schema = DATABASE() AND table_name = ? AND index_name = ?";
        let found: Option<u64> = self.run(|connection| connection.exec_first(sql, (table, index)))?;
        Ok(found.is_some_and(|count| count > 0))
    }

    fn tables(&mut self) -> Result<Vec<String>, Failure> {
        let sql =
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name";
        self.run(|connection| connection.query(sql))
    }

    fn locked_by(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let name = self.lock_name(name);
        let sql = "SELECT IS_USED_LOCK(CONCAT('wardwatch.', LEFT(SHA2(?, 256), 48)))";
        let holder: Option<Option<u64>> = self.run(|connection| connection.exec_first(sql, (name,)))?;
        Ok(holder.flatten())
    }

    fn end_connection(&mut self, connection: u64) -> Result<(), Failure> {
        const NO_SUCH: u16 = 1094;
        self.run(|mine| match mine.query_drop(format!("KILL {connection}")) {
            Err(mysql::Error::MySqlError(error)) if error.code == NO_SUCH => Ok(()),
            ended => ended,
        })
    }

    fn lock(&mut self, name: &str) -> Result<(), StoreError> {
        let name = self.lock_name(name);
        match take_lock(self.connected()?, &name, None) {
            Ok(lock) => {
                self.lock = Some(lock);
                Ok(())
            }
            Err(failure) => {
                self.connection = None; // it may be the connection that is at fault
                Err(failure.into())
            }
        }
    }
}

impl MySql {
    /// Who has had a table in use for at least so many seconds, the longest first; `None` where nobody is known to.
    fn holders(&mut self, table: &str, seconds: u64) -> Option<Vec<Holder>> {
        // Of MariaDB, a plugin tells that is seldom there.
        let sql = match self.dialect {
            Dialect::MariaDb => {
                "SELECT p.id, p.user, p.host, p.command, p.time FROM information_schema.metadata_lock_info m \
                 JOIN information_schema.processlist p ON p.id = m.thread_id \
                 WHERE p.id <> CONNECTION_ID() AND p.time >= ? \
                 AND (m.table_schema = DATABASE() AND m.table_name = ? OR m.lock_type LIKE 'Global%') \
                 ORDER BY p.time DESC LIMIT 3"
            }
            _ => {
                "SELECT DISTINCT t.processlist_id, t.processlist_user, t.processlist_host, t.processlist_command, \
                 t.processlist_time FROM performance_schema.metadata_locks m \
                 JOIN performance_schema.threads t ON t.thread_id = m.owner_thread_id \
                 WHERE m.lock_status = 'GRANTED' AND t.processlist_id <> CONNECTION_ID() AND t.processlist_time >= ? \
                 AND (m.object_schema = DATABASE() AND m.object_name = ? \
                   OR m.object_type IN ('GLOBAL', 'BACKUP LOCK') AND m.lock_duration = 'EXPLICIT') \
                 ORDER BY t.processlist_time DESC LIMIT 3"
            }
        };
        self.found(sql, (seconds, table))
    }

    /// Whose transactions are open: what can be told where it is not known who has which table in use.
    fn open_transactions(&mut self) -> Option<Vec<Holder>> {
        let sql = "SELECT p.id, p.user, p.host, p.command, p.time FROM information_schema.innodb_trx x \
                   JOIN information_schema.processlist p ON p.id = x.trx_mysql_thread_id \
                   WHERE p.id <> CONNECTION_ID() ORDER BY x.trx_started LIMIT 3";
        self.found(sql, ())
    }

    /// What the server shows this user; not every user may see others' connections.
    fn found(&mut self, sql: &str, parameters: impl Into<Params>) -> Option<Vec<Holder>> {
        let holder = |(connection, user, host, command, seconds)| Holder::of(connection, user, host, command, seconds);
        let holders = self.run(|connection| connection.exec_map(sql, parameters, holder)).ok()?;
        (!holders.is_empty()).then_some(holders)
    }

    fn blocked(&self, table: &str, holders: Vec<Holder>) -> Failure {
        let told = holders.iter().map(|holder| {
            let doing = if holder.is_idle { "idle, with an open transaction, for" } else { "running a statement for" };
            let Holder { connection, user, seconds, .. } = holder;
            format!("connection {connection} of {user}, {doing} {seconds} s (KILL {connection} ends it)")
        });
        let told: Vec<String> = told.collect();
        let told = if told.is_empty() {
            "another connection, which this user may not see (GRANT PROCESS ON *.*, and SELECT ON performance_schema.*)"
                .to_owned()
        } else {
            told.join("; ")
        };
        let message = format!("table \"{table}\" cannot be changed while it is in use by {told}");
        Failure { kind: FailureKind::Blocked, message }
    }
}

/// A connection that has a table in use.
struct Holder {
    connection: u64,
    user: String,
    is_idle: bool,
    seconds: i64,
}

impl Holder {
    /// As the server lists it. What it does not tell is left open.
    fn of(
        connection: u64,
        user: Option<String>,
        host: Option<String>,
        command: Option<String>,
        seconds: Option<i64>,
    ) -> Self {
        Self {
            connection,
            user: format!("{}@{}", user.unwrap_or_default(), host.unwrap_or_default()),
            is_idle: command.as_deref() == Some("Sleep"),
            seconds: seconds.unwrap_or_default(),
        }
    }
}

fn is_lock_timeout(failure: &Failure) -> bool {
    failure.message.ends_with("(error 1205)")
}

impl std::fmt::Debug for MySql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.address())
    }
}

/// Takes a lock of the server; `mine` is an earlier connection of this process that may still seem to hold it.
fn take_lock(connection: &mut Conn, name: &str, mine: Option<u32>) -> Result<Lock, Failure> {
    let ask = |error: mysql::Error| failure(&error);
    // The server allows 64 characters, so the name is hashed.
    let holder: Option<Option<u32>> = connection
        .exec_first("SELECT IS_USED_LOCK(CONCAT('wardwatch.', LEFT(SHA2(?, 256), 48)))", (name,))
        .map_err(ask)?;
    if let (Some(Some(holder)), Some(mine)) = (holder, mine)
        && holder == mine
    {
        // The network is gone but the server has not noticed. It may just have ended by itself.
        let _ = connection.query_drop(format!("KILL {mine}"));
    }
    let taken: Option<Option<i64>> = connection
        .exec_first("SELECT GET_LOCK(CONCAT('wardwatch.', LEFT(SHA2(?, 256), 48)), ?)", (name, LOCK_PATIENCE_SECONDS))
        .map_err(ask)?;
    if taken == Some(Some(1)) {
        return Ok(Lock { name: name.to_owned(), holder: connection.connection_id() });
    }
    let holder = holder.flatten().map(|id| format!(" (connection {id} of the server)")).unwrap_or_default();
    Err(Failure {
        kind: FailureKind::Fenced,
        message: format!("another process{holder} writes for this job; it goes on, this one stops"),
    })
}

/// The options of a URL; `tls=true` asks for an encrypted connection with a certificate that the system trusts.
fn options(url: &str, patience: Duration) -> Result<Opts, String> {
    // The URL holds a password, so the error does not quote it.
    let wrong = |error: &dyn std::fmt::Display| format!("[store] url is no MySQL address: {error}");
    let (url, tls) = without_tls(url);
    let options = Opts::from_url(&url).map_err(|error| wrong(&error))?;
    if options.get_db_name().is_none_or(str::is_empty) {
        return Err("[store] url names no database; write \"mysql://user:password@host:port/database\"".to_owned());
    }
    let tls = options.get_ssl_opts().cloned().or_else(|| tls.then(SslOpts::default));
    let builder = OptsBuilder::from_opts(options)
        .ssl_opts(tls)
        .prefer_socket(false)
        .tcp_connect_timeout(Some(CONNECT_PATIENCE))
        .read_timeout(Some(patience))
        .write_timeout(Some(patience))
        .stmt_cache_size(256_usize)
        .init(vec![
            "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', NAMES utf8mb4",
            // Writers of different jobs meet in no gap.
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            // By default, a table that somebody else is changing is waited for without a word for a year.
            BATCHES_WAIT,
        ]);
    Ok(builder.into())
}

fn without_tls(url: &str) -> (String, bool) {
    let Some((address, query)) = url.split_once('?') else { return (url.to_owned(), false) };
    let (tls, others): (Vec<&str>, Vec<&str>) = query.split('&').partition(|part| *part == "tls=true");
    let address = if others.is_empty() { address.to_owned() } else { format!("{address}?{}", others.join("&")) };
    (address, !tls.is_empty())
}

fn to_sql(value: &Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::NULL,
        Value::Int(value) => SqlValue::Int(*value),
        Value::UInt(value) => SqlValue::UInt(*value),
        Value::Float(value) => SqlValue::Double(*value),
        Value::Text(text) => SqlValue::Bytes(text.as_bytes().to_vec()),
        Value::Bytes(bytes) => SqlValue::Bytes(bytes.clone()),
        Value::Date(date) => sql_date(*date, (0, 0, 0), 0),
        Value::Time(time) => {
            let clock = (time.hour() as u8, time.minute() as u8, time.second() as u8);
            sql_date(time.date_naive(), clock, time.timestamp_subsec_micros())
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "Value keeps years within 1000 and 9999")]
fn sql_date(date: NaiveDate, (hour, minute, second): (u8, u8, u8), micros: u32) -> SqlValue {
    SqlValue::Date(date.year() as u16, date.month() as u8, date.day() as u8, hour, minute, second, micros)
}

fn from_sql(value: SqlValue, column: &Column) -> Value {
    const BINARY: u16 = 63;
    let is_blob = matches!(
        column.column_type(),
        ColumnType::MYSQL_TYPE_BLOB
            | ColumnType::MYSQL_TYPE_LONG_BLOB
            | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
            | ColumnType::MYSQL_TYPE_TINY_BLOB
    );
    match value {
        SqlValue::NULL => Value::Null,
        SqlValue::Int(value) => Value::Int(value),
        SqlValue::UInt(value) => i64::try_from(value).map_or(Value::UInt(value), Value::Int),
        SqlValue::Float(value) => Value::Float(value.into()),
        SqlValue::Double(value) => Value::Float(value),
        SqlValue::Bytes(bytes) if is_blob && column.character_set() == BINARY => Value::Bytes(bytes),
        SqlValue::Bytes(bytes) => Value::Text(String::from_utf8_lossy(&bytes).into_owned()),
        SqlValue::Date(year, month, day, hour, minute, second, micros) => {
            NaiveDate::from_ymd_opt(year.into(), month.into(), day.into())
                .and_then(|date| date.and_hms_micro_opt(hour.into(), minute.into(), second.into(), micros))
                .map_or(Value::Null, |time| Value::Time(time.and_utc()))
        }
        SqlValue::Time(..) => Value::Null, // no table of ours has spans of time
    }
}
