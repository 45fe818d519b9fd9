//! The table with the last values of each patient, kept up as a windowed query without an end.

use arrow::datatypes::DataType;

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

/// For each patient: the newest event time and its age, and of every other column the last value that was not NULL and
/// the age of that, in seconds of the devices' time.
pub(super) fn latest_sql(source: &Source<'_>) -> String {
    let (table, key, time) = (source.table, source.key, source.event_time);
    let age = |of: &str| format!("date_part('epoch', partition_now(max(_partition))) - date_part('epoch', {of})");
    let columns = source.schema.fields().iter().map(|field| (field.name().as_str(), field.data_type()));
    let columns = columns.filter(|(name, _)| !name.starts_with('_') && *name != key && *name != time);
    let columns = columns.map(|(name, data_type)| {
        let last = |value: &str| {
            format!("last_value({value} ORDER BY \"{time}\", _offset) FILTER (WHERE \"{name}\" IS NOT NULL)")
        };
        // DataFusion keeps the last of truth values group by group, that of numbers for all groups together.
        let last = match data_type {
            DataType::Boolean => format!("CAST({} AS BOOLEAN)", last(&format!("CAST(\"{name}\" AS INT)"))),
            _ => last(&format!("\"{name}\"")),
        };
        let age = age(&format!("max(\"{time}\") FILTER (WHERE \"{name}\" IS NOT NULL)"));
        format!(", {last} AS \"{name}\", {age} AS \"{name}_age_seconds\"")
    });
    let newest = format!("max(\"{time}\")");
    format!(
        "SELECT \"{key}\", {newest} AS \"{time}\", {} AS age_seconds{} FROM \"{table}\" GROUP BY \"{key}\"",
        age(&newest),
        columns.collect::<String>()
    )
}
