//! Multi-row INSERT statements of a size that the server takes.

use super::database::{Database, Failure};
use super::{StoreError, Value};

/// The most rows of one statement. A client keeps a description of every value that it prepares, so a live job's statements are
/// short: two hundred thousand descriptions were a fifth of its memory.
const MOST_ROWS: usize = 64;

/// The same where so many rows are to be written that round trips count.
const MOST_OF_MANY: usize = 256;
const MANY: usize = 8_192;

/// What to do with a row whose key is there already.
#[derive(Debug, Clone, Copy)]
pub(super) enum OnDuplicate<'a> {
    /// It takes the new row's values; the names are those of the key.
    Replace(&'a [String]),
    /// That is an error.
    Fail,
}

/// Writes rows to a table.
///
/// `rows` gives each row's values in the order of `columns`. Statements have a power of two rows, so that few
/// different ones are prepared, and stay within the server's limits.
pub(super) fn insert(
    database: &mut dyn Database,
    table: &str,
    columns: &[String],
    on_duplicate: OnDuplicate<'_>,
    rows: &mut dyn Iterator<Item = Vec<Value>>,
) -> Result<(), StoreError> {
    let (most_bytes, most_values) = database.statement_limits();
    let most_rows = if rows.size_hint().0 >= MANY { MOST_OF_MANY } else { MOST_ROWS };
    let most_rows = (most_values / columns.len().max(1)).clamp(1, most_rows);
    let mut waiting: Vec<Vec<Value>> = Vec::with_capacity(most_rows);
    let mut bytes = 0;
    for row in rows {
        let size: usize = row.iter().map(Value::size).sum();
        if waiting.len() == most_rows || (bytes + size > most_bytes / 2 && !waiting.is_empty()) {
            flush(database, table, columns, on_duplicate, &mut waiting)?;
            bytes = 0;
        }
        bytes += size;
        waiting.push(row);
    }
    flush(database, table, columns, on_duplicate, &mut waiting)
}

fn flush(
    database: &mut dyn Database,
    table: &str,
    columns: &[String],
    on_duplicate: OnDuplicate<'_>,
    waiting: &mut Vec<Vec<Value>>,
) -> Result<(), StoreError> {
    while !waiting.is_empty() {
        let count = 1 << waiting.len().ilog2();
        let sql = insert_sql(database, table, columns, on_duplicate, count);
        let values: Vec<Value> = waiting.drain(..count).flatten().collect();
        database.execute(&sql, &values).map_err(|failure: Failure| failure.of_table(table))?;
    }
    Ok(())
}

fn insert_sql(
    database: &dyn Database,
    table: &str,
    columns: &[String],
    on_duplicate: OnDuplicate<'_>,
    rows: usize,
) -> String {
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

/// A name as both families quote it.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn quoted_list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",")
}
