//! wardwatch's own tables.

use super::schema::{Kind, TableSpec};

pub(super) const OFFSETS: &str = "offsets";
pub(super) const BATCHES: &str = "batches";
pub(super) const BATCH_RANGES: &str = "batch_ranges";
pub(super) const REJECTS: &str = "rejects";
pub(super) const ARTEFACTS: &str = "artefacts";
pub(super) const ALERTS: &str = "alerts";
pub(super) const QUERIES: &str = "queries";
pub(super) const QUERY_FAILURES: &str = "query_failures";

/// The names that no query may bear.
pub(crate) const NAMES: [&str; 8] =
    [OFFSETS, BATCHES, BATCH_RANGES, REJECTS, ARTEFACTS, ALERTS, QUERIES, QUERY_FAILURES];

/// The tables that every store has.
pub(super) fn tables() -> [TableSpec; 8] {
    [
        // Where each partition goes on, and the fence: a commit advances it from the expected offset or not at all.
        TableSpec::system(
            OFFSETS,
            &["job", "topic", "partition"],
            &[
                ("job", Kind::Text),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("next_offset", Kind::Int),
                ("watermark", Kind::Time),
            ],
        ),
        // The batch log: with `batch_ranges`, what a replay needs to repeat a batch.
        TableSpec::system(
            BATCHES,
            &["job", "batch"],
            &[
                ("job", Kind::Text),
                ("batch", Kind::Int),
                ("now_at", Kind::Time),
                ("records", Kind::Int),
                ("frame_rows", Kind::Int),
                ("rejects", Kind::Int),
                ("artefacts", Kind::Int),
                ("failures", Kind::Int),
                ("prepared_ms", Kind::Float),
            ],
        ),
        TableSpec::system(
            BATCH_RANGES,
            &["job", "batch", "topic", "partition"],
            &[
                ("job", Kind::Text),
                ("batch", Kind::Int),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("start_offset", Kind::Int),
                ("end_offset", Kind::Int),
                ("watermark", Kind::Time),
            ],
        ),
        TableSpec::system(
            REJECTS,
            &["job", "topic", "partition", "offset"],
            &[
                ("job", Kind::Text),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("offset", Kind::Int),
                ("key", Kind::Bytes),
                ("raw", Kind::Bytes),
                ("reason", Kind::Text),
                ("batch", Kind::Int),
            ],
        ),
        TableSpec::system(
            ARTEFACTS,
            &["job", "topic", "partition", "offset", "column_name"],
            &[
                ("job", Kind::Text),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("offset", Kind::Int),
                ("column_name", Kind::Text),
                ("patient_id", Kind::Text),
                ("event_time", Kind::Time),
                ("value", Kind::Float),
                ("batch", Kind::Int),
            ],
        ),
        TableSpec::system(
            ALERTS,
            &["job", "rule", "patient_id", "started_at"],
            &[
                ("job", Kind::Text),
                ("rule", Kind::Text),
                ("patient_id", Kind::Text),
                ("started_at", Kind::Time),
                ("severity", Kind::Text),
                ("state", Kind::Text),
                ("firing_at", Kind::Time),
                ("last_at", Kind::Time),
                ("clear_since", Kind::Time),
                ("ended_at", Kind::Time),
                ("samples", Kind::Int),
                ("text", Kind::Text),
                ("batch", Kind::Int),
            ],
        ),
        // How each query fares; a quarantined one is tried again with batch `retry_batch`.
        TableSpec::system(
            QUERIES,
            &["job", "query"],
            &[
                ("job", Kind::Text),
                ("query", Kind::Text),
                ("state", Kind::Text),
                ("failures", Kind::Int),
                ("retry_batch", Kind::Int),
                ("error", Kind::Text),
                ("batch", Kind::Int),
            ],
        ),
        // The batches that a query gave nothing for.
        TableSpec::system(
            QUERY_FAILURES,
            &["job", "query", "batch"],
            &[("job", Kind::Text), ("query", Kind::Text), ("batch", Kind::Int), ("error", Kind::Text)],
        ),
    ]
}
