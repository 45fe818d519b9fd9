//! Multi-row INSERT statements of a size that the server takes.

use super::Value;
use super::bad_rows::BadRows;
use super::database::{Database, Failure, FailureKind};
use super::error::StoreError;
use super::quote::{quoted, quoted_list};

/// The most rows of one statement. A client keeps a description of every value that it prepares, so a live job's statements are
/// short: two hundred thousand descriptions were a fifth of its memory.
const MOST_ROWS: usize = 64;

/// The same where so many rows are to be written that round trips count.
const MOST_OF_MANY: usize = 256;
const MANY: usize = 8_192;

/// So many bytes of a packet are left to the statement and to what a value has beside its bytes.
const STATEMENT_BYTES: usize = 8 << 10;

/// What to do with a row whose key is there already. A key that is to be replaced must not be NULL.
#[derive(Debug, Clone, Copy)]
pub(super) enum OnDuplicate<'a> {
    /// It takes the new row's values; the names are those of the key.
    Replace(&'a [String]),
    /// That is an error.
    Fail,
}

/// Where rows go, and what becomes of one whose key is there already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) table: &'a str,
    pub(super) columns: &'a [String],
    pub(super) on_duplicate: OnDuplicate<'a>,
}

/// Writes rows to a table, all of them.
///
/// `rows` gives each row's values in the order of the columns. Statements have a power of two rows, so that few
/// different ones are prepared, and stay within the server's limits.
pub(super) fn insert(
    database: &mut dyn Database,
    target: Target<'_>,
    rows: &mut dyn Iterator<Item = Vec<Value>>,
) -> Result<(), StoreError> {
    insert_by(database, target, BadRow::Refused, rows).map(|_| ())
}

/// Writes the rows that can be written; the others come back, each with the reason.
///
/// Errors: something else than a row is at fault, as it is where the table takes none of very many rows. Of what triggers raise, see
/// [`BadRows::raised`].
pub(super) fn insert_good(
    database: &mut dyn Database,
    target: Target<'_>,
    rows: &mut dyn Iterator<Item = Vec<Value>>,
) -> Result<BadRows, StoreError> {
    insert_by(database, target, BadRow::PutAside, rows)
}

/// What becomes of a row that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BadRow {
    /// It is an error, and the rows behind it are not written either.
    Refused,
    /// The others are written.
    PutAside,
}

fn insert_by(
    database: &mut dyn Database,
    target: Target<'_>,
    bad_row: BadRow,
    rows: &mut dyn Iterator<Item = Vec<Value>>,
) -> Result<BadRows, StoreError> {
    let (most_bytes, most_values) = database.statement_limits();
    let most_rows = if rows.size_hint().0 >= MANY { MOST_OF_MANY } else { MOST_ROWS };
    let most_rows = (most_values / target.columns.len().max(1)).clamp(1, most_rows);
    let mut inserting = Inserting { database, target, bad_row, bad: BadRows::default() };
    let (mut waiting, mut count, mut bytes) = (Vec::with_capacity(most_rows * target.columns.len()), 0, 0);
    for row in rows {
        let size: usize = row.iter().map(Value::size).sum();
        if let Some(reason) = unwritable(&row, size, target, most_bytes) {
            if bad_row == BadRow::Refused {
                return Err(StoreError::Table { table: target.table.to_owned(), reason });
            }
            inserting.bad.add(&row, reason);
            continue;
        }
        if count == most_rows || (bytes + size > most_bytes / 2 && count > 0) {
            inserting.flush(&mut waiting)?;
            (count, bytes) = (0, 0);
        }
        bytes += size;
        count += 1;
        waiting.extend(row);
    }
    inserting.flush(&mut waiting)?;
    Ok(inserting.bad)
}

/// Why no table takes the row, where that can be told without asking one.
fn unwritable(row: &[Value], size: usize, target: Target<'_>, most_bytes: usize) -> Option<String> {
    if let OnDuplicate::Replace(key) = target.on_duplicate {
        let is_null = |(name, value): &(&String, &Value)| **value == Value::Null && key.contains(name);
        if let Some((name, _)) = target.columns.iter().zip(row).find(is_null) {
            return Some(format!("key column \"{name}\" is NULL"));
        }
    }
    let most = most_bytes.saturating_sub(STATEMENT_BYTES);
    (size > most).then(|| format!("it has {size} bytes, and the server's max_allowed_packet leaves room for {most}"))
}

/// A table that refuses so many rows of a batch and takes none is at fault itself.
const ENOUGH_BAD: usize = 100;

/// Rows on their way to a table.
struct Inserting<'a> {
    database: &'a mut dyn Database,
    target: Target<'a>,
    bad_row: BadRow,
    bad: BadRows,
}

impl Inserting<'_> {
    fn flush(&mut self, waiting: &mut Vec<Value>) -> Result<(), StoreError> {
        let width = self.target.columns.len().max(1);
        let mut from = 0;
        while from < waiting.len() {
            let rows = 1 << ((waiting.len() - from) / width).ilog2();
            let to = from + rows * width;
            self.write(&waiting[from..to]).map_err(|failure| failure.of_table(self.target.table))?;
            from = to;
        }
        waiting.clear();
        Ok(())
    }

    /// Writes rows as one statement; where a row is at fault, halves of them, until it is found.
    fn write(&mut self, values: &[Value]) -> Result<(), Failure> {
        let width = self.target.columns.len().max(1);
        let rows = values.len() / width;
        let sql = insert_sql(self.database, self.target, rows);
        match self.database.execute(&sql, values) {
            Ok(_) => {
                self.bad.written += rows;
                Ok(())
            }
            Err(failure)
                if !matches!(failure.kind, FailureKind::Row | FailureKind::Raised)
                    || self.bad_row == BadRow::Refused =>
            {
                Err(failure)
            }
            Err(failure) if rows == 1 => {
                self.bad.add(values, failure.message.clone());
                if failure.kind == FailureKind::Raised {
                    self.bad.raised = Some(failure.clone());
                }
                // A column that is too narrow for every row is the table's fault, however it is called.
                let takes_none = self.bad.written == 0 && self.bad.count() > ENOUGH_BAD;
                if takes_none { Err(Failure { kind: FailureKind::Table, ..failure }) } else { Ok(()) }
            }
            // A statement that is refused for a row is undone by itself, so the transaction stands as before it.
            Err(_) => {
                let (left, right) = values.split_at(rows / 2 * width);
                self.write(left)?;
                self.write(right)
            }
        }
    }
}

fn insert_sql(database: &dyn Database, target: Target<'_>, rows: usize) -> String {
    let Target { table, columns, on_duplicate } = target;
    let names = quoted_list(columns);
    let row = format!("({})", vec!["?"; columns.len()].join(","));
    let mut sql = format!("INSERT INTO {} ({names}) VALUES {}", quoted(table), vec![row; rows].join(","));
    if let OnDuplicate::Replace(key) = on_duplicate {
        sql.push_str(&upsert_clause(database, columns, key));
    }
    sql
}

/// Both families upsert, each in its own words. A table that is all key has nothing to set but the key itself.
fn upsert_clause(database: &dyn Database, columns: &[String], key: &[String]) -> String {
    let changed: Vec<&String> = columns.iter().filter(|column| !key.contains(column)).collect();
    let changed = if changed.is_empty() { key.iter().take(1).collect() } else { changed };
    let (clause, new): (String, fn(&str) -> String) = match database.dialect() {
        super::database::Dialect::Sqlite => {
            (format!(" ON CONFLICT ({}) DO UPDATE SET ", quoted_list(key)), |name| format!("excluded.{name}"))
        }
        // MySQL's newer row alias is unknown to MariaDB.
        _ => (" ON DUPLICATE KEY UPDATE ".to_owned(), |name| format!("VALUES({name})")),
    };
    let sets: Vec<String> = changed
        .iter()
        .map(|name| {
            let name = quoted(name);
            format!("{name}={}", new(&name))
        })
        .collect();
    clause + &sets.join(",")
}
