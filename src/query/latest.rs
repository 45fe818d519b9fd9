//! The table with the last values of each patient, kept up as a windowed query without an end.

use super::aggregates::{last_at, last_value};
use super::engine::Source;
use super::slot::Slot;
use super::window::Windowed;

/// The table with the last values of each patient, kept up as a windowed query without an end.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) name: String,
    pub(super) windowed: Windowed,
    pub(super) slot: Slot,
}

/// For each patient: the newest event time and its age, and of every other column but the doubtful ones the last value that was not NULL and
/// the age of that, in seconds of the devices' time.
pub(super) fn latest_sql(source: &Source<'_>) -> String {
    let (table, key, time) = (source.table, source.key, source.event_time);
    let names = source.schema.fields().iter().map(|field| field.name().as_str());
    let is_doubtful = |name: &str| source.doubtful.iter().any(|(doubtful, _)| doubtful == name);
    let is_kept = |name: &&str| !name.starts_with('_') && *name != key && *name != time && !is_doubtful(name);
    let names: Vec<&str> = names.filter(is_kept).collect();
    let age = |of: &str| format!("date_part('epoch', partition_now(\"partition\")) - date_part('epoch', {of})");
    let columns = names.iter().enumerate().map(|(number, name)| {
        let (value, at) = (last_value(number), last_at(number));
        format!(", \"last\"['{value}'] AS \"{name}\", {} AS \"{name}_age_seconds\"", age(&format!("\"last\"['{at}']")))
    });
    let columns: String = columns.collect();
    let all: String = names.iter().map(|name| format!(", \"{name}\"")).collect();
    let last = if names.is_empty() { "NULL".to_owned() } else { format!("last_values(\"{time}\", _offset{all})") };
    format!(
        "SELECT \"{key}\", \"newest\" AS \"{time}\", {} AS age_seconds{columns} FROM (\
         SELECT \"{key}\", max(\"{time}\") AS \"newest\", max(_partition) AS \"partition\", {last} AS \"last\" \
         FROM \"{table}\" GROUP BY \"{key}\")",
        age("\"newest\"")
    )
}
