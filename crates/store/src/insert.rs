//! Rows of our own tables on their way into the database.

use wardwatch_model::terms::BatchId;

use super::bad_rows::BadRowsOfBatch;
use super::clip::clipped;
use super::column::Kind;
use super::database::Database;
use super::error::StoreError;
use super::schema::TableSpec;
use super::statement::{OnDuplicate, Target, insert, insert_good};
use super::system::{ALERT_EVENTS, ALERTS, NOTIFICATIONS, SILENCES};
use super::{Value, system};

#[allow(clippy::cast_precision_loss, reason = "milliseconds of lateness are few")]
pub(crate) fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Duplicates {
    Replaced,
    Refused,
}

/// Writes rows of a table of ours, all of them.
pub(crate) fn insert_system(
    database: &mut dyn Database,
    name: &str,
    duplicates: Duplicates,
    rows: &mut dyn Iterator<Item = Vec<Value>>,
) -> Result<(), StoreError> {
    let spec = system::table(name);
    insert(database, target(spec, &spec.column_names(), duplicates), rows)
}

/// The tables of ours that alarms stand in. A row that one of them refuses is an alarm that nobody would hear of: our rows fit, so
/// somebody has changed the table, and the batch is held until it takes them.
const OF_ALARMS: [&str; 4] = [ALERTS, ALERT_EVENTS, NOTIFICATIONS, SILENCES];

/// Writes rows of a table of ours that come from records, rules and people: one that cannot be written costs itself, not
/// its batch, but where alarms stand in it.
pub(crate) fn insert_own(
    database: &mut dyn Database,
    name: &str,
    duplicates: Duplicates,
    rows: &mut dyn Iterator<Item = Vec<Value>>,
    bad: &mut BadRowsOfBatch,
) -> Result<(), StoreError> {
    let spec = system::table(name);
    let columns = spec.column_names();
    let most = most_text(database);
    let kinds: Vec<(Kind, bool)> =
        spec.columns().map(|(column, kind)| (kind, spec.key.iter().any(|key| key == column))).collect();
    let mut fitting = rows.map(|mut row| {
        for (value, (kind, in_key)) in row.iter_mut().zip(&kinds) {
            match value {
                Value::Text(text) if *kind == Kind::Text && !in_key && text.len() > most => *text = clipped(text, most),
                Value::Float(number) if !number.is_finite() => *value = Value::Null,
                _ => {}
            }
        }
        row
    });
    let refused = insert_good(database, target(spec, &columns, duplicates), &mut fitting)?;
    if let Some(reason) = refused.first_reason().filter(|_| OF_ALARMS.contains(&name)) {
        return Err(StoreError::Table { table: name.to_owned(), reason: reason.to_owned() });
    }
    bad.add(name, &columns, refused);
    match bad.raised_by_all(name) {
        Some(failure) => Err(failure.of_table(name)),
        None => Ok(()),
    }
}

/// The longest text of a row of ours, in bytes: several of them fit a packet, and each its column.
pub(crate) fn most_text(database: &dyn Database) -> usize {
    (database.statement_limits().0 / 16).min(1 << 20)
}

pub(crate) fn target<'a>(spec: &'a TableSpec, columns: &'a [String], duplicates: Duplicates) -> Target<'a> {
    let on_duplicate = match duplicates {
        Duplicates::Replaced => OnDuplicate::Replace(&spec.key),
        Duplicates::Refused => OnDuplicate::Fail,
    };
    Target { table: &spec.name, columns, on_duplicate }
}

pub(crate) fn batch_value(batch: BatchId) -> Value {
    Value::Int(i64::try_from(batch.0).unwrap_or(i64::MAX))
}
