//! The tables that the job gives to queries beside the batch's rows: what they are called, and their columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The alerts that stood after the batch before.
pub(super) const OPEN_ALERTS: &str = "open_alerts";

/// Who is here at the devices' time of the batch.
pub(super) const ENCOUNTERS_NOW: &str = "encounters_now";

/// The tables that the job gives: what stands behind the source's name, and which rows they have.
const OF_SOURCE: [(&str, &str); 4] = [
    ("", "every row of the batch; in a window, those that were on time"),
    ("_history", "the batch's rows, and those of the last `[source] retain` before it"),
    (
        "_latest",
        "one row per patient: the last value of each column, its age, that of the newest record, and whether any value counts",
    ),
    ("_artefacts", "the batch's values that cannot be read, or lie outside their plausible range"),
];

/// Which rows a table has that no query makes; `sources` are the tables of the job's sources.
#[must_use]
pub fn given_rows(sources: &[&str], table: &str) -> &'static str {
    let is_of = |suffix: &str| sources.iter().any(|source| table.strip_prefix(source) == Some(suffix));
    match OF_SOURCE.iter().find(|(known, _)| is_of(known)) {
        Some((_, rows)) => rows,
        None if table == OPEN_ALERTS => "the alerts that stood after the batch before",
        None if table == ENCOUNTERS_NOW => {
            "one row per patient who is here, by the encounters; empty where there are none"
        }
        None => "a reference table: all its rows, read anew from the store every `[sql] reference_refresh`",
    }
}

/// The tables that the job gives where the source is called `vitals`, each with its rows and the columns that are its own.
pub(super) fn given_tables() -> Vec<(String, &'static str, String)> {
    let (source, key, event_time) = ("vitals", "patient_id", "event_time");
    let columns = |schema: &SchemaRef| {
        schema.fields().iter().map(|field| format!("`{}`", field.name())).collect::<Vec<_>>().join(", ")
    };
    let declared =
        "the job's columns, `<column>_doubtful` of those that may have doubtful values, its features, `_topic`, \
                    `_partition`, `_offset`, `_item`, `_stamped_at`"
            .to_owned();
    let latest = "the job's columns, `<column>_age_seconds` of each, `age_seconds`, `has_valid_value`".to_owned();
    let table = |name: String, columns: String| {
        let rows = given_rows(&[source], &name);
        (name, rows, columns)
    };
    vec![
        table(source.to_owned(), declared.clone()),
        table(history_name(source), declared),
        table(latest_name(source), latest),
        table(artefacts_name(source), columns(&artefacts_schema(key, event_time))),
        table(OPEN_ALERTS.to_owned(), columns(&open_alerts_schema(key))),
        table(ENCOUNTERS_NOW.to_owned(), columns(&encounters_now_schema(key))),
    ]
}

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
/// cannot be read or cannot be true, the number that was sent (NULL where it is none), the text as it was sent, and what is
/// wrong with it.
#[must_use]
pub fn artefacts_schema(key: &str, event_time: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(key, DataType::Utf8View, false),
        Field::new(event_time, instant(), false),
        Field::new("column_name", DataType::Utf8View, false),
        Field::new("value", DataType::Float64, true),
        Field::new("text", DataType::Utf8View, false),
        Field::new("reason", DataType::Utf8View, false),
    ]))
}

/// The columns of `encounters_now`, in their order: patient (as the source calls it), the devices or beds that the patient is attached
/// to, since and until when, where, and what is known of the patient. What nobody has said is NULL.
#[must_use]
pub fn encounters_now_schema(key: &str) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8View, true);
    Arc::new(Schema::new(vec![
        Field::new(key, DataType::Utf8View, false),
        text("device"),
        Field::new("from_at", instant(), true),
        Field::new("until_at", instant(), true),
        text("ward"),
        text("place"),
        text("name"),
        text("born"),
        text("age_band"),
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

/// The name of the table with the batch's values that cannot be read or true.
pub(super) fn artefacts_name(source: &str) -> String {
    format!("{source}_artefacts")
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
