//! The tables that the job gives to queries beside the batch's rows: what they are called, and their columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The alerts that stood after the batch before.
pub(super) const OPEN_ALERTS: &str = "open_alerts";

/// The columns of `open_alerts`, in their order: patient (as the source calls it), rule, severity, its rank from 0 (technical) to 3
/// (high), state, when the condition was first true, when the alert fired by the devices' time, the `now` of the batch with which it
/// fired, its text, whether somebody has taken it on, whether nothing is known of its condition at present.
#[must_use]
pub fn open_alerts_schema(key: &str) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8View, false);
    Arc::new(Schema::new(vec![
        text(key),
        text("rule"),
        text("severity"),
        Field::new("severity_rank", DataType::Int64, false),
        text("state"),
        Field::new("started_at", instant(), false),
        Field::new("firing_at", instant(), true),
        Field::new("since", instant(), true),
        text("text"),
        Field::new("is_acknowledged", DataType::Boolean, false),
        Field::new("is_stale", DataType::Boolean, false),
    ]))
}

/// The columns of `<source>_artefacts`, in their order: patient and event time (as the source calls them), the column whose value
/// cannot be true, the value as it was sent.
#[must_use]
pub fn artefacts_schema(key: &str, event_time: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(key, DataType::Utf8View, false),
        Field::new(event_time, instant(), false),
        Field::new("column_name", DataType::Utf8View, false),
        Field::new("value", DataType::Float64, false),
    ]))
}

/// The name of the table with the rows of the last while.
pub(super) fn history_name(source: &str) -> String {
    format!("{source}_history")
}

/// The name of the table with the last values of each patient.
pub(super) fn latest_name(source: &str) -> String {
    format!("{source}_latest")
}

/// The name of the table with the batch's values that cannot be true.
pub(super) fn artefacts_name(source: &str) -> String {
    format!("{source}_artefacts")
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
